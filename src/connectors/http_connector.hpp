#pragma once

#include "connectors/connector.hpp"

namespace sync_engine {

// Reads a REST API as its configuration says: docs/connectors.md is the contract. Stateless; never throws.
class HttpConnector final : public Connector {
  public:
    Step prepare(const Job& job, SecretResolver& secrets, TimestampUs now) const override;
    Outcome interpret(const Job& job, const ApiRequest& request, const HttpResponse& response,
                      TimestampUs now) const override;
    std::vector<ConfigError> validate(std::string_view config_json) const override;
};

const Connector* http_connector();

}  // namespace sync_engine
