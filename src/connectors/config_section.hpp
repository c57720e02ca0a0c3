#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <rapidjson/document.h>

#include "connectors/connector.hpp"
#include "connectors/json_pointer.hpp"
#include "connectors/template.hpp"

namespace sync_engine {

// A configured string: a template, or a reference to a secret.
struct ConfigText {
    enum class Source { text, env, file };
    Source source = Source::text;
    TextTemplate text;
    std::string name;  // of the reference

    bool is_secret() const { return source != Source::text; }
};

// An object of a configuration being read. Each getter returns nothing for a key that is absent or wrong;
// what is wrong is added to the errors, under its JSON path.
class ConfigSection {
  public:
    // All three must outlive it.
    ConfigSection(const rapidjson::Value& value, std::string path, std::vector<ConfigError>& errors)
        : value_(value), path_(std::move(path)), errors_(errors) {}

    const rapidjson::Value& value() const { return value_; }
    std::string path_of(std::string_view key) const { return path_ + "." + std::string(key); }
    void error(std::string_view key, std::string message) const;
    bool has(std::string_view key) const;

    // A key not among `known` is an error that suggests the nearest.
    void known_keys(std::span<const std::string_view> known) const;
    void known_keys(std::initializer_list<std::string_view> known) const {
        known_keys(std::span(known.begin(), known.size()));
    }
    void require(std::string_view key) const;

    std::optional<ConfigSection> section(std::string_view key) const;
    std::optional<std::string> text(std::string_view key) const;
    std::optional<JsonPointer> pointer(std::string_view key) const;
    std::optional<double> number(std::string_view key, double lo, double hi) const;
    std::optional<long> whole(std::string_view key, long lo, long hi) const;
    std::optional<bool> flag(std::string_view key) const;
    // Which of `names` it is.
    std::optional<std::size_t> one_of(std::string_view key, std::span<const std::string_view> names) const;
    std::optional<TextTemplate> text_template(std::string_view key, TemplateUse use) const;
    // A string, number or boolean (with templates in it if `templates`), or a secret reference.
    std::optional<ConfigText> config_text(std::string_view key, bool templates) const;

  private:
    const rapidjson::Value& value_;
    std::string path_;
    std::vector<ConfigError>& errors_;
};

// The name in `names` that takes the fewest edits to come from `name`; empty when none is near.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> names);

}  // namespace sync_engine
