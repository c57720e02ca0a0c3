// What the `http` connector keeps between runs and between the pages of a run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <rapidjson/document.h>

#include "connectors/http_config.hpp"
#include "core/time.hpp"

namespace sync_engine {

// Which page comes next. One of url, token and number, as the type of paging has it.
struct PagePosition {
    std::string url;             // without the parameters that hold secrets
    std::string token;           // of cursor_param
    std::optional<long> number;  // page number or offset
    long count = 0;              // pages of this run before it
    TimestampUs started = 0;     // of the run
    TimestampUs written = 0;     // of this position
};

// JSON texts are empty where there is none.
struct SyncCursor {
    std::string watermark_json;
    std::string max_json;  // the candidate that becomes the watermark when the run's last page has landed
    std::optional<PagePosition> page;
    std::string etag;
    std::string etag_of;     // which URL it belongs to: see url_mark
    bool restarted = false;  // the position was refused by the server and given up once
    // Other members, set by hand for {{cursor.name}}: name and JSON text. They are kept as they are.
    std::vector<std::pair<std::string, std::string>> others;
};

// Reads a job's cursor. A string or a number that was set by hand is a watermark. Nothing when it is
// something else.
std::optional<SyncCursor> read_cursor(std::string_view json);

std::string write_cursor(const SyncCursor& cursor);

// The later of two marks (JSON texts, "" is none): times by time, numbers and texts that are numbers by
// value, other texts byte by byte. Of marks of different sorts `b`, unless it is such a text.
std::string later_mark(const std::string& a, const std::string& b);

// The mark of a record: a string or a number, as JSON text; else "".
std::string mark_of(const rapidjson::Value& record, const JsonPointer& pointer);

// `mark`, but where it is a time, not after `started` less the lag: rows that became visible late are fetched
// again, and a row dated in the future hides none that come after it.
std::string lagged_mark(const std::string& mark, const CursorConfig& config, TimestampUs started);

// A short mark for "the same URL".
std::string url_mark(std::string_view url);

}  // namespace sync_engine
