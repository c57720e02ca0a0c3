#include "gateway/hook_message.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include <rapidjson/document.h>

#include "connectors/ascii.hpp"
#include "connectors/json_text.hpp"
#include "connectors/url_text.hpp"
#include "core/utf8.hpp"
#include "gateway/json_depth.hpp"
#include "notify/base64.hpp"
#include "process/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::string_view kSlackToken = "token";

// Never what proves who sent it (signatures, tokens, cookies), nor what proxies add about the way.
constexpr std::array<std::string_view, 13> kKeptNames{
    "content-type",   "user-agent",   "webhook-id",      "webhook-timestamp", "svix-id",
    "svix-timestamp", "x-event-type", "x-event-key",     "x-event-time",      "idempotency-key",
    "x-delivery-id",  "x-request-id", "x-webhook-event",
};
constexpr std::array<std::string_view, 6> kKeptPrefixes{
    "ce-", "x-github-", "x-gitlab-", "x-goog-", "x-slack-retry-", "x-shopify-",
};
constexpr std::array<std::string_view, 4> kSecretWords{"token", "signature", "secret", "hmac"};

bool is_kept(std::string_view name) {
    const auto begins = [&](std::string_view prefix) { return name.starts_with(prefix); };
    const auto holds = [&](std::string_view word) { return name.find(word) != std::string_view::npos; };
    const bool listed = std::ranges::find(kKeptNames, name) != kKeptNames.end();
    return (listed || std::ranges::any_of(kKeptPrefixes, begins)) &&
           std::ranges::none_of(kSecretWords, holds);
}

std::string kept_headers(const HeaderList& headers) {
    std::map<std::string_view, std::string> kept;
    for (const auto& [name, value] : headers) {
        if (is_kept(name)) {
            std::string& joined = kept[name];
            joined += (joined.empty() ? "" : ", ") + value;
        }
    }
    std::string out = "{";
    for (const auto& [name, value] : kept) {
        out += out.size() > 1 ? "," : "";
        append_json_string(out, name);
        out += ':';
        append_json_string(out, value);
    }
    return out + "}";
}

// "application/json; charset=utf-8" -> "application/json"
std::string media_type(std::string_view content_type) {
    content_type = content_type.substr(0, content_type.find(';'));
    while (content_type.ends_with(' ') || content_type.ends_with('\t')) {
        content_type.remove_suffix(1);
    }
    std::string type(content_type);
    std::ranges::transform(type, type.begin(), ascii_lower);
    return type;
}

bool claims_json(std::string_view type) {
    return type == "application/json" || type == "text/json" || type.ends_with("+json");
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = utf8_character_length(text);
        if (length == 0) {
            return false;
        }
        text.remove_prefix(length);
    }
    return true;
}

std::string json_string_of(std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
}

std::string_view text_member(const rapidjson::Value& object, std::string_view name) {
    const rapidjson::Value* value = member(object, name);
    return value != nullptr && is_string(*value) ? string_view_of(*value) : std::string_view();
}

void read_slack(rapidjson::Document& document, HookMessage& message) {
    if (text_member(document, "type") == "url_verification") {
        message.challenge = text_member(document, "challenge");
    }
    if (const std::string_view id = text_member(document, "event_id"); !id.empty()) {
        message.delivery_id = std::string(id);
    }
    if (document.IsObject()) {
        document.EraseMember(std::string(kSlackToken));
    }
}

void read_json(std::string_view scheme, std::string_view text, HookMessage& message) {
    const std::string clean = clean_json(text).text;
    if (is_nested_deeper(clean, kMaxBodyDepth)) {
        message.fault = "the body is nested deeper than " + std::to_string(kMaxBodyDepth) + " levels";
        return;
    }
    rapidjson::Document document;
    std::string error;
    if (!parse_json(clean, document, error)) {
        message.fault = "the body is not JSON: " + error;
        return;
    }
    if (scheme == "slack") {
        read_slack(document, message);
    }
    message.payload = json_of(document);
}

struct FormField {
    std::string name;
    std::string value;
};

std::vector<FormField> form_fields(std::string_view body) {
    std::vector<FormField> fields;
    while (!body.empty()) {
        const std::size_t end = std::min(body.find('&'), body.size());
        const std::string_view field = body.substr(0, end);
        const std::size_t equals = std::min(field.find('='), field.size());
        if (!field.empty()) {
            fields.push_back({percent_decoded(field.substr(0, equals)),
                              percent_decoded(field.substr(std::min(equals + 1, field.size())))});
        }
        body.remove_prefix(std::min(end + 1, body.size()));
    }
    return fields;
}

void read_form(std::string_view scheme, std::string_view body, HookMessage& message) {
    const std::vector<FormField> fields = form_fields(body);
    const auto payload = std::ranges::find(fields, "payload", &FormField::name);
    if (payload != fields.end()) {
        read_json(scheme, payload->value, message);
        return;
    }
    message.payload = "{";
    for (const FormField& field : fields) {
        if (scheme == "slack" && field.name == kSlackToken) {
            continue;
        }
        message.payload += message.payload.size() > 1 ? "," : "";
        append_json_string(message.payload, field.name);
        message.payload += ':';
        append_json_string(message.payload, field.value);
    }
    message.payload += '}';
}

void read_body(std::string_view scheme, const HeaderList& headers, std::string_view body,
               HookMessage& message) {
    const std::string type = media_type(header_value(headers, "content-type"));
    if (type == "application/x-www-form-urlencoded") {
        read_form(scheme, body, message);
        return;
    }
    if (body.empty()) {
        // Google's notifications have none: their headers say it all.
        message.payload = "null";
        return;
    }
    read_json(scheme, body, message);
    if (!message.payload.empty() || claims_json(type)) {
        return;
    }
    message.fault.clear();
    message.payload = is_utf8(body) ? json_string_of(body) : json_string_of(base64_encode(body));
}

std::optional<std::string> first_of(const HeaderList& headers,
                                    std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) {
        if (const std::string_view value = header_value(headers, name); !value.empty()) {
            return std::string(value);
        }
    }
    return std::nullopt;
}

std::optional<std::string> joined(const HeaderList& headers, std::string_view first,
                                  std::string_view second) {
    const auto one = first_of(headers, {first});
    const auto other = first_of(headers, {second});
    return one && other ? std::optional(*one + "/" + *other) : std::nullopt;
}

// What the sender repeats with each attempt. A digest of the body is none: two equal events may be two.
std::optional<std::string> delivery_id(std::string_view scheme, const HeaderList& headers) {
    if (scheme == "github") {
        return first_of(headers, {"x-github-delivery"});
    }
    if (scheme == "standard") {
        // The one that was signed: another could make a delivery pass for one that was there before, or for
        // new.
        return first_of(headers, {standard_header_prefix(headers) + "id"});
    }
    if (scheme != "secret") {
        return std::nullopt;
    }
    if (auto of_channel = joined(headers, "x-goog-channel-id", "x-goog-message-number")) {
        return of_channel;
    }
    if (auto of_cloud_event = joined(headers, "ce-source", "ce-id")) {
        return of_cloud_event;
    }
    return first_of(headers, {"idempotency-key", "x-delivery-id", "x-request-id"});
}

// Messages that say no more than that there is a hook.
std::string reason_to_ignore(const HeaderList& headers) {
    if (header_value(headers, "x-github-event") == "ping") {
        return "a ping";
    }
    return header_value(headers, "x-goog-resource-state") == "sync" ? "the first message of a channel" : "";
}

}  // namespace

HookMessage read_hook_message(std::string_view scheme, const HeaderList& headers, std::string_view body) {
    HookMessage message;
    message.delivery_id = delivery_id(scheme, headers);
    if (message.delivery_id && !is_utf8(*message.delivery_id)) {
        message.delivery_id.reset();
    }
    message.headers = kept_headers(headers);
    message.ignored = reason_to_ignore(headers);
    read_body(scheme, headers, body, message);
    return message;
}

}  // namespace sync_engine
