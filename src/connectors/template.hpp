// Texts with places to fill in: "/repos/{{config.owner}}/issues", "{{record./id}}@{{now}}".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <rapidjson/document.h>

#include "connectors/json_pointer.hpp"
#include "core/time.hpp"

namespace sync_engine {

// What a template may refer to. A null pointer is an absent document.
struct TemplateScope {
    const rapidjson::Value* config = nullptr;
    const rapidjson::Value* cursor = nullptr;
    const rapidjson::Value* input = nullptr;
    const rapidjson::Value* record = nullptr;
    TimestampUs now = 0;
};

enum class TemplateUse { request, record };  // request: config, cursor, input, now. record: record alone

class TextTemplate {
  public:
    enum class Root { literal, config, cursor, input, record, now };

    struct Part {
        Root root = Root::literal;
        std::string text;  // the literal, or the reference as written
        JsonPointer pointer;
    };

    // Nothing when `text` is malformed or refers to what `use` has not; `error` then says why.
    static std::optional<TextTemplate> parse(std::string_view text, TemplateUse use, std::string& error);

    // A text that stands for itself, whatever braces it holds.
    static TextTemplate literal(std::string text);
    static TextTemplate single(Part part);

    const std::vector<Part>& parts() const { return parts_; }
    bool is_literal() const;

  private:
    std::vector<Part> parts_;
};

// What a template came to: its text, or which reference has no value, and why.
struct Rendered {
    std::string text;
    std::string missing;  // "config.owner"; empty when the text is complete
    std::string problem;  // "is missing", "is an object"
    bool absent = false;  // the value is missing, rather than of the wrong kind
};

enum class TextEncoding {
    plain,
    uri_component,  // RFC 3986: of what is filled in, everything but unreserved characters is percent-encoded
};

Rendered render(const TextTemplate& text, const TemplateScope& scope, TextEncoding encoding);

// Everything but A-Z a-z 0-9 - . _ ~ percent-encoded.
std::string percent_encoded(std::string_view text);

// Strings, numbers and booleans as plain text; nothing for the rest.
std::optional<std::string> scalar_text(const rapidjson::Value& value);

}  // namespace sync_engine
