// Settings: their definitions, and the reading of those that belong together.
#include "extension/guc.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

#include "extension/compat.hpp"

extern "C" {
#include "miscadmin.h"
}

namespace sync_engine {

namespace guc {
char* actor = nullptr;
int api_requests_per_minute = 600;
int audit_retention_days = 400;
int auto_pause_failures = 100;
bool background_ticks = true;
double backoff_jitter_factor = 0.1;
int backoff_base_seconds = 5;
int backoff_max_seconds = 900;
int dedupe_retention_days = -1;
int default_interval_seconds = 900;
bool enabled = true;
bool fair_share = false;
int execution_retention_days = 30;
int hook_dedupe_hours = 72;
int inbox_retention_days = 90;
int incident_reminder_seconds = 3600;
bool internal = false;
char* tenant_id = nullptr;
int job_retention_days = 30;
double jitter_pct_max = 0.2;
double jitter_pct_min = 0.0;
int late_warning_seconds = 3600;
int lease_seconds = 60;
char* link_base = nullptr;
int max_attempts = 20;
int max_databases = 64;
int max_metric_series = 4096;
int max_metric_tenants = 100;
int max_overridden_interval_seconds = 86400;
int max_pages_per_run = 10000;
int max_run_seconds = 3600;
int notification_burst = 10;
int notification_retention_days = 90;
int notification_window_seconds = 900;
int notify_after_failures = 3;
int rate_limit_warning_seconds = 3600;
char* request_id = nullptr;
int signal_retention_days = 0;
int tick_batch_size = 1000;
int tick_interval_seconds = 60;
bool webhook_allow_http = false;
}  // namespace guc

namespace {

constexpr JitterSettings kDefaultJitter = {0.0, 0.2};
constexpr BackoffSettings kDefaultBackoff = {5.0, 900.0};

struct IntSetting {
    const char* name;
    const char* description;
    int* variable;
    int boot, min, max;
};

struct RealSetting {
    const char* name;
    const char* description;
    double* variable;
    double boot, min, max;
};

struct BoolSetting {
    const char* name;
    const char* description;
    bool* variable;
    bool boot;
};

// Alphabetical, as the name is looked up by bisection.
constexpr IntSetting kIntSettings[] = {
    {"sync_engine.api_requests_per_minute",
     "Requests that an API token which sets no limit of its own may make in a minute; 0: any number.",
     &guc::api_requests_per_minute, 600, 0, 1000000},
    {"sync_engine.audit_retention_days", "Days that the audit log is kept, 0 for ever.",
     &guc::audit_retention_days, 400, 0, 36500},
    {"sync_engine.auto_pause_failures",
     "Runs in a row that failed for good, after which a connection is paused; 0: never.",
     &guc::auto_pause_failures, 100, 0, 100000},
    {"sync_engine.backoff_base_seconds",
     "Wait after the first failure of a job; it doubles with each further one.", &guc::backoff_base_seconds,
     5, 1, 86400},
    {"sync_engine.backoff_max_seconds",
     "Longest wait between two attempts that is not asked for by the remote.", &guc::backoff_max_seconds, 900,
     1, 604800},
    {"sync_engine.dedupe_retention_days",
     "Days that dedupe keys are remembered, 0 for ever, -1 as long as their signals.",
     &guc::dedupe_retention_days, -1, -1, 36500},
    {"sync_engine.default_interval_seconds", "Interval of connections that do not set their own.",
     &guc::default_interval_seconds, 900, 60, 86400},
    {"sync_engine.execution_retention_days", "Days that finished attempts are kept, 0 for ever.",
     &guc::execution_retention_days, 30, 0, 36500},
    {"sync_engine.hook_dedupe_hours",
     "Hours, at least, for which a delivery of a webhook that was accepted is a duplicate when it comes "
     "again.",
     &guc::hook_dedupe_hours, 72, 1, 720},
    {"sync_engine.inbox_retention_days", "Days that in-app notifications are kept, 0 for ever.",
     &guc::inbox_retention_days, 90, 0, 36500},
    {"sync_engine.incident_reminder_seconds",
     "Time until an incident that lasts is told again; each further reminder waits three times as long.",
     &guc::incident_reminder_seconds, 3600, 60, 604800},
    {"sync_engine.job_retention_days", "Days that finished jobs are kept, 0 for ever.",
     &guc::job_retention_days, 30, 0, 36500},
    {"sync_engine.late_warning_seconds", "A job that could have begun so long ago is an incident; 0: never.",
     &guc::late_warning_seconds, 3600, 0, 604800},
    {"sync_engine.lease_seconds", "A job whose executor is silent for so long is taken away from it.",
     &guc::lease_seconds, 60, 5, 86400},
    {"sync_engine.max_attempts",
     "Attempts, not counting rate-limited ones, after which a job fails for good.", &guc::max_attempts, 20, 1,
     1000},
    {"sync_engine.max_metric_tenants",
     "Tenants that are counted by name in each database; the others fold into one.", &guc::max_metric_tenants,
     100, 0, 10000},
    {"sync_engine.max_overridden_interval_seconds", "Longest interval that a connection may set for itself.",
     &guc::max_overridden_interval_seconds, 86400, 60, 604800},
    {"sync_engine.max_pages_per_run", "Pages after which a run counts as endless and fails.",
     &guc::max_pages_per_run, 10000, 1, 10000000},
    {"sync_engine.max_run_seconds", "A job that runs longer is failed as lost.", &guc::max_run_seconds, 3600,
     10, 604800},
    {"sync_engine.notification_burst",
     "E-mails and in-app notifications of one setting that go out one by one in a window; more are bundled.",
     &guc::notification_burst, 10, 1, 10000},
    {"sync_engine.notification_retention_days",
     "Days that delivered notifications and resolved incidents are kept, 0 for ever.",
     &guc::notification_retention_days, 90, 0, 36500},
    {"sync_engine.notification_window_seconds", "Length of the window that notification_burst counts in.",
     &guc::notification_window_seconds, 900, 1, 86400},
    {"sync_engine.notify_after_failures",
     "Failures of a job that is retried after which that is an incident.", &guc::notify_after_failures, 3, 1,
     1000},
    {"sync_engine.rate_limit_warning_seconds",
     "A connection that is told to slow down for so long is an incident.", &guc::rate_limit_warning_seconds,
     3600, 0, 604800},
    {"sync_engine.signal_retention_days", "Days that signals are kept, 0 for ever.",
     &guc::signal_retention_days, 0, 0, 36500},
    {"sync_engine.tick_batch_size", "Connections that one transaction of the tick looks at.",
     &guc::tick_batch_size, 1000, 1, 100000},
    {"sync_engine.tick_interval_seconds", "Time between two ticks of a background worker.",
     &guc::tick_interval_seconds, 60, 1, 3600},
};

constexpr RealSetting kRealSettings[] = {
    {"sync_engine.backoff_jitter_factor", "Part of a wait that is added to it at random.",
     &guc::backoff_jitter_factor, 0.1, 0.0, 1.0},
    {"sync_engine.jitter_pct_max", "Most jitter of a scheduled run, as a fraction of its interval.",
     &guc::jitter_pct_max, 0.2, 0.0, 1.0},
    {"sync_engine.jitter_pct_min", "Least jitter of a scheduled run, as a fraction of its interval.",
     &guc::jitter_pct_min, 0.0, 0.0, 1.0},
};

constexpr BoolSetting kBoolSettings[] = {
    {"sync_engine.background_ticks", "Whether the background workers tick.", &guc::background_ticks, true},
    {"sync_engine.enabled", "Off: no worker ticks and no job is claimed.", &guc::enabled, true},
    {"sync_engine.fair_share", "Within a priority, tenants are served in proportion to their weights.",
     &guc::fair_share, false},
    {"sync_engine.webhook_allow_http", "Whether webhook URLs may be http instead of https.",
     &guc::webhook_allow_http, false},
};

// They size shared memory, so a running server cannot change them.
constexpr IntSetting kSizeSettings[] = {
    {"sync_engine.max_databases", "Databases that the launcher keeps a worker for.", &guc::max_databases, 64,
     1, 1024},
    {"sync_engine.max_metric_series", "Series of metrics that shared memory has room for.",
     &guc::max_metric_series, 4096, 256, 65536},
};

constexpr std::string_view kPrefix = "sync_engine.";

void define_int(const IntSetting& s, GucContext context) {
    DefineCustomIntVariable(s.name, s.description, nullptr, s.variable, s.boot, s.min, s.max, context, 0,
                            nullptr, nullptr, nullptr);
}

// The entry whose name is the prefix and `name`, or null.
template <typename Setting, std::size_t Size>
const Setting* find_setting(const Setting (&settings)[Size], std::string_view name) {
    const auto without_prefix = [](const Setting& s) {
        return std::string_view(s.name).substr(kPrefix.size());
    };
    const Setting* found = std::lower_bound(
        std::begin(settings), std::end(settings), name,
        [&](const Setting& s, std::string_view wanted) { return without_prefix(s) < wanted; });
    return found != std::end(settings) && without_prefix(*found) == name ? found : nullptr;
}

}  // namespace

void define_gucs() {
    for (const IntSetting& s : kIntSettings) {
        define_int(s, PGC_SUSET);
    }
    for (const RealSetting& s : kRealSettings) {
        DefineCustomRealVariable(s.name, s.description, nullptr, s.variable, s.boot, s.min, s.max, PGC_SUSET,
                                 0, nullptr, nullptr, nullptr);
    }
    for (const BoolSetting& s : kBoolSettings) {
        DefineCustomBoolVariable(s.name, s.description, nullptr, s.variable, s.boot, PGC_SUSET, 0, nullptr,
                                 nullptr, nullptr);
    }
    // A variable of the server's start cannot be defined later; without preloading it has no effect anyway.
    for (const IntSetting& s : kSizeSettings) {
        define_int(s, process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP);
    }
    DefineCustomStringVariable("sync_engine.actor", "Who acts, for the audit log: set by applications.",
                               nullptr, &guc::actor, "", PGC_USERSET, GUC_NOT_IN_SAMPLE, nullptr, nullptr,
                               nullptr);
    // Whoever could set it would write past the triggers, and past the audit log. The functions that set it
    // do so with their owner's rights.
    DefineCustomBoolVariable("sync_engine.internal", "Set by the engine's own functions while they write.",
                             nullptr, &guc::internal, false, PGC_SUSET,
                             GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, nullptr, nullptr,
                             nullptr);
    DefineCustomStringVariable("sync_engine.link_base",
                               "Address of the console or application that notifications link to, without a "
                               "slash at its end.",
                               nullptr, &guc::link_base, "", PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("sync_engine.request_id",
                               "The request that is being answered, for the audit log: set by applications.",
                               nullptr, &guc::request_id, "", PGC_USERSET, GUC_NOT_IN_SAMPLE, nullptr,
                               nullptr, nullptr);
    DefineCustomStringVariable("sync_engine.tenant_id", "The tenant that this transaction is confined to.",
                               nullptr, &guc::tenant_id, "", PGC_USERSET, 0, nullptr, nullptr, nullptr);
    reserve_guc_prefix("sync_engine");
}

JitterSettings jitter_settings() {
    static JitterSettings reported = {-1.0, -1.0};
    const JitterSettings now = {guc::jitter_pct_min, guc::jitter_pct_max};
    if (now.pct_min <= now.pct_max) {
        return now;
    }
    if (reported.pct_min != now.pct_min || reported.pct_max != now.pct_max) {
        reported = now;
        ereport(LOG_SERVER_ONLY,
                (errcode(ERRCODE_CONFIG_FILE_ERROR),
                 errmsg("sync_engine.jitter_pct_min (%g) is greater than sync_engine.jitter_pct_max (%g), "
                        "using %g and %g",
                        now.pct_min, now.pct_max, kDefaultJitter.pct_min, kDefaultJitter.pct_max),
                 errhidestmt(true), errhidecontext(true)));
    }
    return kDefaultJitter;
}

BackoffSettings backoff_settings() {
    static BackoffSettings reported = {-1.0, -1.0};
    const BackoffSettings now = {static_cast<double>(guc::backoff_base_seconds),
                                 static_cast<double>(guc::backoff_max_seconds)};
    if (now.base_seconds <= now.max_seconds) {
        return now;
    }
    if (reported.base_seconds != now.base_seconds || reported.max_seconds != now.max_seconds) {
        reported = now;
        ereport(LOG_SERVER_ONLY, (errcode(ERRCODE_CONFIG_FILE_ERROR),
                                  errmsg("sync_engine.backoff_base_seconds (%g) is greater than "
                                         "sync_engine.backoff_max_seconds (%g), "
                                         "using %g and %g",
                                         now.base_seconds, now.max_seconds, kDefaultBackoff.base_seconds,
                                         kDefaultBackoff.max_seconds),
                                  errhidestmt(true), errhidecontext(true)));
    }
    return kDefaultBackoff;
}

bool numeric_setting(const char* name, int length, double* value) {
    const std::string_view wanted(name, static_cast<std::size_t>(length));
    if (const IntSetting* s = find_setting(kIntSettings, wanted)) {
        *value = s->variable == &guc::backoff_base_seconds  ? backoff_settings().base_seconds
                 : s->variable == &guc::backoff_max_seconds ? backoff_settings().max_seconds
                                                            : *s->variable;
        return true;
    }
    if (const RealSetting* s = find_setting(kRealSettings, wanted)) {
        *value = s->variable == &guc::jitter_pct_min   ? jitter_settings().pct_min
                 : s->variable == &guc::jitter_pct_max ? jitter_settings().pct_max
                                                       : *s->variable;
        return true;
    }
    if (const BoolSetting* s = find_setting(kBoolSettings, wanted)) {
        *value = *s->variable ? 1.0 : 0.0;
        return true;
    }
    if (const IntSetting* s = find_setting(kSizeSettings, wanted)) {
        *value = *s->variable;
        return true;
    }
    return false;
}

}  // namespace sync_engine
