#include "extension/server_zone.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "utils/timestamp.h"
}

namespace sync_engine {

namespace {

// pg_time_t counts from 1970.
constexpr pg_time_t kEpoch = static_cast<pg_time_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

}  // namespace

ZoneSpan ServerZone::span_at(InstantSeconds instant) const {
    // There is a function for the change that follows, none for the one before.
    pg_time_t from = instant + kEpoch - kZoneReach - 1;
    ZoneSpan span = {from - kEpoch, kInstantMax, 0};
    for (;;) {
        long before = 0;
        long after = 0;
        int before_is_dst = 0;
        int after_is_dst = 0;
        pg_time_t change = 0;
        const int found =
            pg_next_dst_boundary(&from, &before, &before_is_dst, &change, &after, &after_is_dst, zone_);
        span.offset = static_cast<std::int32_t>(before);
        if (found != 1) {
            return span;
        }
        if (change - kEpoch > instant) {
            span.end = change - kEpoch;
            return span;
        }
        span.begin = change - kEpoch;
        // A second later: right at the last change that its table holds, the function knows of no further
        // one.
        from = change + 1;
    }
}

const pg_tz* zone_named(const char* name) {
    const pg_tz* zone = strlen(name) <= TZ_STRLEN_MAX ? pg_tzset(name) : nullptr;
    if (zone == nullptr || !pg_tz_acceptable(const_cast<pg_tz*>(zone))) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("time zone \"%s\" is not known", name),
                 errhint("Names such as Europe/Berlin are listed in pg_timezone_names.")));
    }
    return zone;
}

}  // namespace sync_engine
