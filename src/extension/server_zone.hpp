// Time zones of the server's own database, for the core.
#pragma once

#include "core/time_zone.hpp"
#include "extension/compat.hpp"

extern "C" {
#include "pgtime.h"
}

namespace sync_engine {

// Lives as long as nobody needs it; the zone itself is the server's, which keeps every zone that was loaded.
class ServerZone final : public TimeZone {
  public:
    explicit ServerZone(const pg_tz* zone) : zone_(zone) {}

    [[nodiscard]] ZoneSpan span_at(InstantSeconds instant) const override;

  private:
    const pg_tz* zone_;
};

// The zone of that name; raises 22023 where there is none.
const pg_tz* zone_named(const char* name);

}  // namespace sync_engine
