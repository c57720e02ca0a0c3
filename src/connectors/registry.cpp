#include "connectors/connector.hpp"

#include "connectors/function_connector.hpp"
#include "connectors/http_connector.hpp"
#include "connectors/noop_connector.hpp"

namespace sync_engine {

std::string_view failure_kind_name(FailureKind kind) {
    switch (kind) {
        case FailureKind::transient:
            return "transient";
        case FailureKind::rate_limited:
            return "rate_limited";
        case FailureKind::unauthorized:
            return "unauthorized";
        case FailureKind::permanent:
            return "permanent";
    }
    return "transient";
}

const Connector* find_connector(std::string_view name) {
    if (name == "http") {
        return http_connector();
    }
    if (name == "function") {
        return function_connector();
    }
    if (name == "noop") {
        return noop_connector();
    }
    return nullptr;
}

std::string_view connector_names() {
    return "function, http, noop";
}

}  // namespace sync_engine
