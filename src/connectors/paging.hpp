#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <rapidjson/document.h>

#include "connectors/connector.hpp"
#include "connectors/cursor.hpp"
#include "connectors/http_config.hpp"

namespace sync_engine {

// The target of the first link with rel=next in the Link headers (RFC 8288), as it is written there.
std::optional<std::string> next_link(const Headers& headers);

// A page that was fetched.
struct FetchedPage {
    std::string_view url;  // of the request, without secrets
    const Headers& headers;
    const rapidjson::Value& reply;
    std::size_t records = 0;
    const PagePosition& position;  // where it was; the first page has only its times
};

struct NextPage {
    std::optional<PagePosition> position;  // none: it was the last page
    std::string_view stopped;              // why it was the last although more was announced; or "max_pages"
    bool run_ends = false;                 // max_pages: the next run goes on at the position
};

// Where the next page is. A link to another origin that is not allowed is a permanent failure.
std::variant<NextPage, Failure> next_page(const HttpConfig& config, const FetchedPage& page);

// The parameters that ask for the page at `position` (null: the first).
std::vector<std::pair<std::string, std::string>> page_parameters(const PagingConfig& paging,
                                                                 const PagePosition* position);

// Whether the position is one of this type of paging.
bool position_fits(const PagingConfig& paging, const PagePosition& position);

// Records of a full page as far as the configuration tells; 0 when it does not.
long full_page(const HttpConfig& config);

// Why a request may not go to `url`; nothing when it may.
std::optional<Failure> refuse_origin(const HttpConfig& config, std::string_view url);

}  // namespace sync_engine
