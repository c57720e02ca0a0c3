#include "connectors/json_pointer.hpp"

#include <algorithm>
#include <charconv>
namespace sync_engine {
namespace {

std::optional<std::string> unescaped(std::string_view part) {
    std::string out;
    for (std::size_t i = 0; i < part.size(); ++i) {
        if (part[i] != '~') {
            out.push_back(part[i]);
            continue;
        }
        if (i + 1 == part.size() || (part[i + 1] != '0' && part[i + 1] != '1')) {
            return std::nullopt;
        }
        out.push_back(part[++i] == '0' ? '~' : '/');
    }
    return out;
}

// An array index as RFC 6901 wants it: digits without a leading zero.
std::optional<rapidjson::SizeType> array_index(std::string_view part) {
    rapidjson::SizeType index = 0;
    const auto [end, code] = std::from_chars(part.data(), part.data() + part.size(), index);
    if (code != std::errc() || end != part.data() + part.size() || (part.size() > 1 && part[0] == '0')) {
        return std::nullopt;
    }
    return index;
}

}  // namespace

std::optional<JsonPointer> JsonPointer::parse(std::string_view text) {
    JsonPointer pointer;
    while (!text.empty()) {
        if (text.front() != '/') {
            return std::nullopt;
        }
        text.remove_prefix(1);
        const std::size_t length = std::min(text.find('/'), text.size());
        auto part = unescaped(text.substr(0, length));
        if (!part) {
            return std::nullopt;
        }
        pointer.parts_.push_back(*std::move(part));
        text.remove_prefix(length);
    }
    return pointer;
}

std::optional<JsonPointer> JsonPointer::parse_dotted(std::string_view text) {
    JsonPointer pointer;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t end = std::min(text.find('.', start), text.size());
        if (end == start) {
            return std::nullopt;
        }
        pointer.parts_.emplace_back(text.substr(start, end - start));
        start = end + 1;
    }
    return pointer;
}

const rapidjson::Value* JsonPointer::find(const rapidjson::Value& root) const {
    const rapidjson::Value* value = find_or_null(root);
    return value == nullptr || value->IsNull() ? nullptr : value;
}

const rapidjson::Value* JsonPointer::find_or_null(const rapidjson::Value& root) const {
    const rapidjson::Value* value = &root;
    for (const std::string& part : parts_) {
        if (value->IsArray()) {
            const auto index = array_index(part);
            value = index && *index < value->Size() ? &(*value)[*index] : nullptr;
        } else if (value->IsObject()) {
            const auto length = static_cast<rapidjson::SizeType>(part.size());
            const auto found = value->FindMember(rapidjson::Value(rapidjson::StringRef(part.data(), length)));
            value = found == value->MemberEnd() ? nullptr : &found->value;
        } else {
            value = nullptr;
        }
        if (value == nullptr) {
            return nullptr;
        }
    }
    return value;
}

std::string JsonPointer::path() const {
    std::string text = "$";
    for (const std::string& part : parts_) {
        text += "." + part;
    }
    return text;
}

}  // namespace sync_engine
