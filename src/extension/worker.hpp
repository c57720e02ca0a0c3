// The scheduler worker of one database: what the launcher starts, and what pg_stat_activity calls it.
#pragma once

namespace sync_engine {

inline constexpr const char* kWorkerType = "sync_engine scheduler";

}  // namespace sync_engine
