// The sections of the `http` connector's configuration: see http_config.hpp.
#pragma once

#include "connectors/http_config.hpp"

namespace sync_engine {

AuthConfig read_auth(const ConfigSection& section);
MappingConfig read_mapping(const ConfigSection& section);
CursorConfig read_cursor_config(const ConfigSection& section);
PagingConfig read_paging(const ConfigSection& section);
std::map<long, FailureKind> read_status_map(const ConfigSection& section);

// Header and query parameter names: the section's keys in their order.
std::vector<NamedText> read_named_texts(const ConfigSection& section, bool headers);

}  // namespace sync_engine
