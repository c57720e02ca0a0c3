#include "connectors/paging.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "connectors/auth.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/json_text.hpp"
#include "connectors/url_text.hpp"

namespace sync_engine {
namespace {

using Type = PagingConfig::Type;

constexpr std::size_t kMaxTokenBytes = 8192;

// The reply's own word on where the next page is, empty when it has none.
std::string announced(const PagingConfig& paging, const FetchedPage& page) {
    if (paging.type == Type::link_header) {
        return next_link(page.headers).value_or("");
    }
    const rapidjson::Value* value = paging.pointer.find(page.reply);
    return value == nullptr || value->IsBool() ? std::string() : scalar_text(*value).value_or("");
}

std::variant<NextPage, Failure> next_by_url(const HttpConfig& config, const FetchedPage& page,
                                            const std::string& reference, PagePosition next) {
    const auto url = resolve_reference(page.url, reference);
    if (!url) {
        return permanent_failure("paging", "the link to the next page is not a plain http or https URL");
    }
    if (auto refused = refuse_origin(config, *url)) {
        return *std::move(refused);
    }
    next.url = without_parameters(*url, secret_parameters(config));
    if (next.url == page.url) {
        return NextPage{std::nullopt, "repeated_url", false};
    }
    return NextPage{std::move(next), {}, false};
}

// Page number and offset: nobody says whether there is more.
NextPage next_by_count(const PagingConfig& paging, const FetchedPage& page, PagePosition next) {
    if (page.records == 0 ||
        (paging.stop_on_short_page && page.records < static_cast<std::size_t>(paging.size))) {
        return {};
    }
    const bool by_page = paging.type == Type::page_number;
    const long current = page.position.number.value_or(by_page ? paging.start : 0);
    next.number = current + (by_page ? 1 : static_cast<long>(page.records));
    return {std::move(next), {}, false};
}

std::variant<NextPage, Failure> next_by_announcement(const HttpConfig& config, const FetchedPage& page,
                                                     PagePosition next) {
    const std::string reference = announced(config.paging, page);
    if (reference.empty()) {
        return NextPage{};
    }
    if (page.records == 0 && config.paging.stop_on_empty_page) {
        return NextPage{std::nullopt, "empty_page", false};
    }
    if (config.paging.type != Type::cursor_param) {
        return next_by_url(config, page, reference, std::move(next));
    }
    if (reference.size() > kMaxTokenBytes) {
        return permanent_failure("paging", "the token of the next page is longer than 8192 bytes");
    }
    if (reference == page.position.token) {
        return NextPage{std::nullopt, "repeated_token", false};
    }
    next.token = reference;
    return NextPage{std::move(next), {}, false};
}

}  // namespace

std::variant<NextPage, Failure> next_page(const HttpConfig& config, const FetchedPage& page) {
    const PagingConfig& paging = config.paging;
    if (paging.type == Type::none) {
        return NextPage{};
    }
    PagePosition next;
    next.count = page.position.count + 1;
    next.started = page.position.started;
    next.written = page.position.written;
    const bool counted = paging.type == Type::page_number || paging.type == Type::offset;
    const auto advance = [&] {
        return counted ? next_by_count(paging, page, next) : next_by_announcement(config, page, next);
    };
    auto result = advance();
    auto* found = std::get_if<NextPage>(&result);
    if (found != nullptr && found->position && paging.max_pages > 0 &&
        found->position->count >= paging.max_pages) {
        found->position->count = 0;
        found->stopped = "max_pages";
        found->run_ends = true;
    }
    return result;
}

std::vector<std::pair<std::string, std::string>> page_parameters(const PagingConfig& paging,
                                                                 const PagePosition* position) {
    std::vector<std::pair<std::string, std::string>> parameters;
    if (paging.type == Type::cursor_param && position != nullptr && !position->token.empty()) {
        parameters.emplace_back(paging.param, position->token);
    }
    if (paging.type == Type::page_number || paging.type == Type::offset) {
        const long first = paging.type == Type::page_number ? paging.start : 0;
        const long number = position == nullptr ? first : position->number.value_or(first);
        parameters.emplace_back(paging.param, std::to_string(number));
        if (!paging.size_param.empty()) {
            parameters.emplace_back(paging.size_param, std::to_string(paging.size));
        }
    }
    return parameters;
}

bool position_fits(const PagingConfig& paging, const PagePosition& position) {
    switch (paging.type) {
        case Type::none:
            return false;
        case Type::link_header:
        case Type::next_url:
            return !position.url.empty();
        case Type::cursor_param:
            return !position.token.empty();
        case Type::page_number:
        case Type::offset:
            return position.number.has_value();
    }
    return false;
}

long full_page(const HttpConfig& config) {
    if (config.paging.size > 0) {
        return config.paging.size;
    }
    constexpr std::array<std::string_view, 6> names = {"per_page",   "page_size", "pageSize",
                                                       "page[size]", "limit",     "count"};
    for (const NamedText& entry : config.query) {
        const auto& parts = entry.value.text.parts();
        if (std::ranges::find(names, entry.name) == names.end() || entry.value.is_secret() ||
            parts.size() != 1) {
            continue;
        }
        long size = 0;
        std::from_chars(parts[0].text.data(), parts[0].text.data() + parts[0].text.size(), size);
        return size > 0 ? size : 0;
    }
    return 0;
}

std::optional<Failure> refuse_origin(const HttpConfig& config, std::string_view url) {
    const auto parsed = parse_url(url);
    if (!parsed) {
        return permanent_failure("paging", "the next page's address is not a plain http or https URL");
    }
    if (parsed->origin() == config.base.origin() || is_allowed_host(*parsed, config.allowed_hosts)) {
        return std::nullopt;
    }
    return permanent_failure("paging", "the next page is at another origin, " + parsed->origin() +
                                           ", which is not among the provider's allowed_hosts");
}

}  // namespace sync_engine
