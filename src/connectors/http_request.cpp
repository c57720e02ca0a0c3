#include "connectors/http_request.hpp"

#include <algorithm>
#include <array>

#include "connectors/ascii.hpp"
#include "connectors/auth.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/json_text.hpp"
#include "connectors/paging.hpp"
#include "connectors/url_text.hpp"

namespace sync_engine {
namespace {

// All that another origin gets to see of the configured headers.
constexpr std::array<std::string_view, 3> kHarmlessHeaders = {"accept", "accept-language", "user-agent"};

// The documents that templates refer to, kept alive while a request is built.
struct Documents {
    rapidjson::Document cursor;
    rapidjson::Document input;
    TemplateScope scope;
};

void parse_into(std::string_view json, rapidjson::Document& document) {
    std::string error;
    if (!json.empty()) {
        parse_json(clean_json(json).text, document, error);
    }
}

// {{cursor.watermark}} is the cursor's own, else the configured beginning; other members are as they were
// set.
void fill_documents(const Job& job, const HttpConfig& config, const SyncCursor& cursor, TimestampUs now,
                    Documents& documents) {
    parse_into(job.cursor_json, documents.cursor);
    if (!documents.cursor.IsObject()) {
        documents.cursor.SetObject();
    }
    const std::string& watermark =
        cursor.watermark_json.empty() ? config.cursor.initial_json : cursor.watermark_json;
    if (!watermark.empty()) {
        rapidjson::Document value(&documents.cursor.GetAllocator());
        parse_into(watermark, value);
        documents.cursor.RemoveMember("watermark");
        documents.cursor.AddMember("watermark", rapidjson::Value(value, documents.cursor.GetAllocator()),
                                   documents.cursor.GetAllocator());
    }
    parse_into(job.input_json, documents.input);
    documents.scope = {&config.document, &documents.cursor, &documents.input, nullptr, now};
}

// Literal parts of a path as configured, but nothing that a URL cannot hold; what is filled in is one
// segment's part.
std::variant<std::string, Failure> render_path(const TextTemplate& path, const TemplateScope& scope) {
    std::string text;
    for (const auto& part : path.parts()) {
        if (part.root == TextTemplate::Root::literal) {
            for (const char c : part.text) {
                const bool plain = static_cast<unsigned char>(c) > 0x20 &&
                                   static_cast<unsigned char>(c) < 0x7F && c != '"' && c != '<' && c != '>' &&
                                   c != '{' && c != '}';
                text += plain ? std::string(1, c) : percent_encoded(std::string_view(&c, 1));
            }
            continue;
        }
        const Rendered rendered = render(TextTemplate::single(part), scope, TextEncoding::uri_component);
        if (!rendered.missing.empty() || rendered.text.empty()) {
            return permanent_failure("bad_config",
                                     "the path needs {{" + part.text + "}}, which " +
                                         (rendered.missing.empty() ? "is empty" : rendered.problem));
        }
        text += rendered.text;
    }
    // Dot segments would lead elsewhere than the template says.
    for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = std::min(text.find('/', start + 1), text.size());
        const std::string segment =
            percent_decoded(std::string_view(text).substr(start + 1, end - start - 1));
        if (segment == "." || segment == "..") {
            return permanent_failure("bad_config", "the path has a segment \"" + segment + "\"");
        }
        start = end;
    }
    return text;
}

using Parameters = std::vector<std::pair<std::string, std::string>>;

// base_url, path, query and the position's parameters, without secrets.
std::variant<std::string, Failure> first_url(const HttpConfig& config, const PagePosition* position,
                                             const TemplateScope& scope, SecretResolver& secrets) {
    std::string url = config.base_url;
    for (const TextTemplate* path : {&config.base_path, &config.path}) {
        auto text = render_path(*path, scope);
        if (auto* failure = std::get_if<Failure>(&text)) {
            return std::move(*failure);
        }
        url += std::get<std::string>(text);
    }
    const Parameters paging = page_parameters(config.paging, position);
    const auto add = [&url](const std::string& name, std::string_view value) {
        url += url.find('?') == std::string::npos ? '?' : '&';
        url += percent_encoded(name) + "=" + percent_encoded(value);
    };
    for (const NamedText& entry : config.query) {
        const bool of_paging =
            std::ranges::any_of(paging, [&](const auto& parameter) { return parameter.first == entry.name; });
        if (entry.value.is_secret() || of_paging) {
            continue;
        }
        auto value = resolve_text(entry.value, scope, secrets, config.base.host);
        if (auto* failure = std::get_if<Failure>(&value)) {
            return std::move(*failure);
        }
        if (const auto& text = std::get<std::optional<std::string>>(value)) {
            add(entry.name, *text);
        }
    }
    for (const auto& [name, value] : paging) {
        add(name, value);
    }
    return url;
}

// The headers and secret parameters of a request to the provider's own origin.
std::optional<Failure> add_headers_and_secrets(const HttpConfig& config, const TemplateScope& scope,
                                               SecretResolver& secrets, ApiRequest& request) {
    auto auth = credentials(config.auth, scope, secrets, config.base.host);
    if (auto* failure = std::get_if<Failure>(&auth)) {
        return std::move(*failure);
    }
    auto& [headers, parameters] = std::get<Credentials>(auth);
    for (const NamedText& entry : config.headers) {
        const bool of_auth = std::ranges::any_of(
            headers, [&](const auto& header) { return same_ignoring_case(header.first, entry.name); });
        auto value = resolve_text(entry.value, scope, secrets, config.base.host);
        if (auto* failure = std::get_if<Failure>(&value)) {
            return std::move(*failure);
        }
        if (auto& text = std::get<std::optional<std::string>>(value); text && !of_auth) {
            request.headers.emplace_back(entry.name, *std::move(text));
        }
    }
    request.headers.insert(request.headers.end(), headers.begin(), headers.end());
    for (const NamedText& entry : config.query) {
        if (!entry.value.is_secret()) {
            continue;
        }
        auto value = resolve_text(entry.value, scope, secrets, config.base.host);
        if (auto* failure = std::get_if<Failure>(&value)) {
            return std::move(*failure);
        }
        parameters.emplace_back(entry.name, std::get<std::optional<std::string>>(value).value_or(""));
    }
    for (const auto& [name, value] : parameters) {
        request.url = with_parameter(request.url, name, value);
    }
    return std::nullopt;
}

void add_harmless_headers(const HttpConfig& config, const TemplateScope& scope, ApiRequest& request) {
    for (const NamedText& entry : config.headers) {
        const bool harmless = std::ranges::any_of(
            kHarmlessHeaders, [&](std::string_view name) { return same_ignoring_case(entry.name, name); });
        if (harmless && !entry.value.is_secret()) {
            const Rendered text = render(entry.value.text, scope, TextEncoding::plain);
            if (text.missing.empty()) {
                request.headers.emplace_back(entry.name, text.text);
            }
        }
    }
}

std::optional<Failure> check_headers(const ApiRequest& request) {
    for (const auto& [name, value] : request.headers) {
        if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
            return permanent_failure("bad_config", "the value of the header " + name + " holds a line break");
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<Failure> config_failure(const HttpConfig& config, const std::vector<ConfigError>& errors) {
    if (!config.refused.empty()) {
        return permanent_failure("refused", config.refused);
    }
    if (errors.empty()) {
        return std::nullopt;
    }
    constexpr std::size_t kMostShown = 20;
    std::string message;
    for (std::size_t i = 0; i < std::min(errors.size(), kMostShown); ++i) {
        message += (i == 0 ? "" : "; ") + errors[i].path + ": " + errors[i].message;
    }
    return permanent_failure("bad_config", message);
}

std::variant<SyncCursor, Failure> current_cursor(const Job& job, const HttpConfig& config, TimestampUs now) {
    auto cursor = read_cursor(job.cursor_json);
    if (!cursor) {
        return permanent_failure(
            "bad_cursor", "the cursor is not an object, a string or a number; sync.set_cursor replaces it");
    }
    if (cursor->page) {
        const TimestampUs oldest = add_seconds(now, -config.paging.resume_within_seconds);
        if (!position_fits(config.paging, *cursor->page) || cursor->page->written < oldest) {
            cursor->page.reset();
            cursor->max_json.clear();
            cursor->restarted = false;
        }
    }
    return *std::move(cursor);
}

std::variant<ApiRequest, Failure> build_request(const Job& job, const HttpConfig& config,
                                                const SyncCursor& cursor, SecretResolver& secrets,
                                                TimestampUs now) {
    Documents documents;
    fill_documents(job, config, cursor, now, documents);
    ApiRequest request;
    request.prepared_at = now;
    request.timeout_ms = config.timeout_ms;
    request.connect_timeout_ms = config.connect_timeout_ms;
    request.max_body_bytes = config.max_body_bytes;
    const PagePosition* position = cursor.page ? &*cursor.page : nullptr;
    bool own_origin = true;
    if (position != nullptr && !position->url.empty()) {
        if (auto refused = refuse_origin(config, position->url)) {
            return *std::move(refused);
        }
        request.url = position->url;
        own_origin = parse_url(request.url)->origin() == config.base.origin();
    } else {
        auto url = first_url(config, position, documents.scope, secrets);
        if (auto* failure = std::get_if<Failure>(&url)) {
            return std::move(*failure);
        }
        request.url = std::get<std::string>(url);
    }
    const bool revalidate =
        position == nullptr && !cursor.etag.empty() && cursor.etag_of == url_mark(request.url);
    if (!own_origin) {
        add_harmless_headers(config, documents.scope, request);
    } else if (auto failure = add_headers_and_secrets(config, documents.scope, secrets, request)) {
        return *std::move(failure);
    }
    if (revalidate) {
        request.headers.emplace_back("If-None-Match", cursor.etag);
    }
    if (auto failure = check_headers(request)) {
        return *std::move(failure);
    }
    if (!parse_url(request.url)) {
        return permanent_failure("bad_config",
                                 "the address that base_url, path and query come to is not valid "
                                 "or longer than 8192 bytes");
    }
    return request;
}

}  // namespace sync_engine
