#pragma once

// Values checked against the schemas of the API's description: the part of JSON Schema that RapidJSON's
// validator knows, which is that of draft 4.

#include <memory>
#include <optional>
#include <string>

#include <rapidjson/document.h>
#include <rapidjson/schema.h>

namespace sync_engine {

struct SchemaFault {
    std::string pointer;  // JSON pointer of the value that is wrong; empty: the whole
    std::string message;  // "must be one of ..."
};

class JsonSchema {
  public:
    JsonSchema() = default;
    // `schema` must hold no references.
    explicit JsonSchema(const rapidjson::Value& schema);

    // The first fault; none: the value is as it should be.
    std::optional<SchemaFault> check(const rapidjson::Value& value) const;

  private:
    std::shared_ptr<const rapidjson::Document> source_;
    std::shared_ptr<const rapidjson::SchemaDocument> compiled_;
};

}  // namespace sync_engine
