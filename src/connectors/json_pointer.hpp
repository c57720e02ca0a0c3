#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <rapidjson/document.h>

namespace sync_engine {

// A place in a JSON document: RFC 6901, "" is the whole document.
class JsonPointer {
  public:
    JsonPointer() = default;

    // Nothing unless `text` is empty or begins with '/' and each '~' is followed by 0 or 1.
    static std::optional<JsonPointer> parse(std::string_view text);

    // "a.b.0": the same place as "/a/b/0". Nothing when a part is empty.
    static std::optional<JsonPointer> parse_dotted(std::string_view text);

    // What is there; null when nothing is, or JSON null.
    const rapidjson::Value* find(const rapidjson::Value& root) const;

    // The same, but JSON null is something.
    const rapidjson::Value* find_or_null(const rapidjson::Value& root) const;

    const std::vector<std::string>& parts() const { return parts_; }

    // As it is written in a message: $.a.b, or $ for the whole document.
    std::string path() const;

  private:
    std::vector<std::string> parts_;
};

}  // namespace sync_engine
