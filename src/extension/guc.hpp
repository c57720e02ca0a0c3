// The settings of the engine. Each variable holds the value of sync_engine.<name> in this process.
#pragma once

namespace sync_engine {

namespace guc {
extern char* actor;
extern int api_requests_per_minute;
extern int audit_retention_days;
extern int auto_pause_failures;
extern bool background_ticks;
extern double backoff_jitter_factor;
extern int backoff_base_seconds;
extern int backoff_max_seconds;
extern int dedupe_retention_days;
extern int default_interval_seconds;
extern bool enabled;
extern int execution_retention_days;
extern bool fair_share;
extern int hook_dedupe_hours;
extern int inbox_retention_days;
extern int incident_reminder_seconds;
extern bool internal;
extern int job_retention_days;
extern double jitter_pct_max;
extern double jitter_pct_min;
extern int late_warning_seconds;
extern int lease_seconds;
extern char* link_base;
extern int max_attempts;
extern int max_databases;
extern int max_metric_series;
extern int max_metric_tenants;
extern int max_overridden_interval_seconds;
extern int max_pages_per_run;
extern int max_run_seconds;
extern int notification_burst;
extern int notification_retention_days;
extern int notification_window_seconds;
extern int notify_after_failures;
extern int rate_limit_warning_seconds;
extern char* request_id;
extern int signal_retention_days;
extern int tick_batch_size;
extern int tick_interval_seconds;
extern bool webhook_allow_http;
// Empty unless set; the server keeps it.
extern char* tenant_id;
}  // namespace guc

// Lower bound of an interval that a connection sets for itself.
inline constexpr int kMinIntervalSeconds = 60;

// Defines every setting; called once, from _PG_init. Those that size shared memory can be changed only where
// the library is preloaded.
void define_gucs();

struct JitterSettings {
    double pct_min;
    double pct_max;
};

struct BackoffSettings {
    double base_seconds;
    double max_seconds;
};

// Pairs as they are to be used. One that contradicts itself is replaced by its defaults, and the server log
// says so, once for each such pair of values in each process.
JitterSettings jitter_settings();
BackoffSettings backoff_settings();

// The value of the setting without its prefix, booleans as 0 and 1, contradictory pairs replaced. false:
// there is no such setting. `name` need not end in a zero byte.
bool numeric_setting(const char* name, int length, double* value);

}  // namespace sync_engine
