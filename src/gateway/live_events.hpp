// Events of a stream: what clients choose, and their text. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sync_engine {

inline constexpr std::string_view kResetEvent = "reset";
inline constexpr std::string_view kEndEvent = "end";

struct LiveEvent {
    std::string position;       // from which a client goes on that has had this event
    std::string kind;           // job, connection, schedule, notification; reset: all may have changed
    std::string connection_id;  // empty: of no connection
    std::string data;           // JSON of one line
};

// Which events a client wants. Empty: all.
struct LiveFilter {
    std::vector<std::string> kinds;
    std::string connection_id;

    bool takes(const LiveEvent& event) const;
};

// From the parameters `kinds` (a list with commas) and `connection_id` of a request's target. On failure
// false, and `fault` and `parameter` say what is wrong.
bool read_live_filter(std::string_view target, LiveFilter& filter, std::string& parameter,
                      std::string& fault);

LiveEvent reset_event(std::string position);

// As text/event-stream has it.
std::string event_text(const LiveEvent& event);
std::string end_text(std::string_view reason);
// Keeps proxies awake, and tells the client, which sees no event, from where to go on. `position` may be
// empty.
std::string ping_text(std::string_view position);
// The beginning of each stream.
std::string opening_text(std::string_view position);

}  // namespace sync_engine
