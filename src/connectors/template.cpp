#include "connectors/template.hpp"

#include <algorithm>
#include <array>

#include "connectors/ascii.hpp"
#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

using Root = TextTemplate::Root;

struct RootName {
    std::string_view name;
    Root root;
    TemplateUse use;
};

constexpr std::array<RootName, 5> kRoots = {{{"config", Root::config, TemplateUse::request},
                                             {"cursor", Root::cursor, TemplateUse::request},
                                             {"input", Root::input, TemplateUse::request},
                                             {"now", Root::now, TemplateUse::request},
                                             {"record", Root::record, TemplateUse::record}}};

std::string known_roots(TemplateUse use) {
    std::string names;
    for (const RootName& root : kRoots) {
        if (root.use == use) {
            names += (names.empty() ? "" : ", ") + std::string(root.name);
        }
    }
    return names;
}

// What the templates must not put into an address: it is, or may be, a secret.
bool is_private(const TextTemplate::Part& part) {
    if (part.root != Root::config) {
        return false;
    }
    const std::string& first = part.pointer.parts().front();
    return first == "auth" || first == "headers" || first == "sync_engine";
}

bool is_now_form(const JsonPointer& pointer) {
    const auto& parts = pointer.parts();
    return parts.empty() || (parts.size() == 1 && (parts[0] == "date" || parts[0] == "epoch_seconds" ||
                                                   parts[0] == "epoch_milliseconds"));
}

// Reads what stands between the braces.
std::optional<TextTemplate::Part> parse_reference(std::string_view text, TemplateUse use,
                                                  std::string& error) {
    const std::size_t name_end = std::min(text.find('.'), text.size());
    const auto* root = std::ranges::find_if(
        kRoots, [&](const RootName& r) { return r.use == use && r.name == text.substr(0, name_end); });
    if (root == kRoots.end()) {
        error =
            "{{" + std::string(text) + "}} is unknown; a reference begins with one of " + known_roots(use);
        return std::nullopt;
    }
    TextTemplate::Part part{root->root, std::string(text), {}};
    if (name_end < text.size()) {
        const std::string_view rest = text.substr(name_end + 1);
        auto pointer = rest.starts_with('/') ? JsonPointer::parse(rest) : JsonPointer::parse_dotted(rest);
        if (!pointer) {
            error = "{{" + std::string(text) + "}} is not a dotted path or a JSON pointer";
            return std::nullopt;
        }
        part.pointer = *std::move(pointer);
    }
    if (part.root == Root::now ? !is_now_form(part.pointer)
                               : part.root == Root::config && part.pointer.parts().empty()) {
        error =
            "{{" + std::string(text) + "}} is unknown" +
            (part.root == Root::now ? "; known are now, now.date, now.epoch_seconds, now.epoch_milliseconds"
                                    : "");
        return std::nullopt;
    }
    if (is_private(part)) {
        error = "{{" + std::string(text) + "}} may hold a secret and cannot be filled in";
        return std::nullopt;
    }
    return part;
}

std::string now_text(const JsonPointer& form, TimestampUs now) {
    if (form.parts().empty()) {
        return format_utc(now);
    }
    if (form.parts()[0] == "date") {
        return format_utc(now).substr(0, format_utc(now).find('T'));
    }
    const std::int64_t scale = form.parts()[0] == "epoch_seconds" ? 1 : 1000;
    const std::int64_t units = clamp_finite(now) / (kMicrosPerSecond / scale);
    return std::to_string(units + kUnixEpochOffset * scale);
}

const rapidjson::Value* document_of(Root root, const TemplateScope& scope) {
    return root == Root::config   ? scope.config
           : root == Root::cursor ? scope.cursor
           : root == Root::input  ? scope.input
           : root == Root::record ? scope.record
                                  : nullptr;
}

}  // namespace

std::optional<TextTemplate> TextTemplate::parse(std::string_view text, TemplateUse use, std::string& error) {
    TextTemplate result;
    while (!text.empty()) {
        const std::size_t open = std::min(text.find("{{"), text.size());
        const std::string_view literal = text.substr(0, open);
        if (literal.find("}}") != std::string_view::npos) {
            error = "}} without {{ before it";
            return std::nullopt;
        }
        if (!literal.empty()) {
            result.parts_.push_back({Root::literal, std::string(literal), {}});
        }
        text.remove_prefix(open);
        if (text.empty()) {
            break;
        }
        const std::size_t close = text.find("}}");
        if (close == std::string_view::npos) {
            error = "{{ without }} after it";
            return std::nullopt;
        }
        auto part = parse_reference(trimmed(text.substr(2, close - 2), " "), use, error);
        if (!part) {
            return std::nullopt;
        }
        result.parts_.push_back(*std::move(part));
        text.remove_prefix(close + 2);
    }
    return result;
}

TextTemplate TextTemplate::literal(std::string text) {
    return single({Root::literal, std::move(text), {}});
}

TextTemplate TextTemplate::single(Part part) {
    TextTemplate result;
    result.parts_.push_back(std::move(part));
    return result;
}

bool TextTemplate::is_literal() const {
    return std::ranges::all_of(parts_, [](const Part& part) { return part.root == Root::literal; });
}

Rendered render(const TextTemplate& text, const TemplateScope& scope, TextEncoding encoding) {
    Rendered out;
    for (const TextTemplate::Part& part : text.parts()) {
        if (part.root == Root::literal) {
            out.text += part.text;
            continue;
        }
        std::optional<std::string> filled;
        if (part.root == Root::now) {
            filled = now_text(part.pointer, scope.now);
        } else {
            const rapidjson::Value* document = document_of(part.root, scope);
            const rapidjson::Value* value = document == nullptr ? nullptr : part.pointer.find(*document);
            if (value != nullptr) {
                filled = scalar_text(*value);
            }
            if (!filled) {
                out.missing = part.text;
                out.absent = value == nullptr;
                out.problem = out.absent ? "is missing" : "is an " + std::string(json_type_name(*value));
                return out;
            }
        }
        out.text += encoding == TextEncoding::plain ? *filled : percent_encoded(*filled);
    }
    return out;
}

std::string percent_encoded(std::string_view text) {
    static constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                c == '-' || c == '.' || c == '_' || c == '~';
        if (unreserved) {
            out.push_back(c);
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += {'%', digits[byte >> 4U], digits[byte & 15U]};
        }
    }
    return out;
}

std::optional<std::string> scalar_text(const rapidjson::Value& value) {
    if (is_number(value)) {
        return std::string(number_text(value));
    }
    if (value.IsString()) {
        return std::string(string_view_of(value));
    }
    if (value.IsBool()) {
        return value.GetBool() ? "true" : "false";
    }
    return std::nullopt;
}

}  // namespace sync_engine
