#include "executor/metrics.hpp"

#include <exception>
#include <stdexcept>

namespace sync_engine {

namespace {

using prometheus::Histogram;

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

Histogram* histogram(prometheus::Registry& registry, const char* name, const char* help,
                     const Histogram::BucketBoundaries& bounds) {
    return &prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, bounds);
}

std::array<prometheus::Gauge*, 3> in_flight_gauges(prometheus::Registry& registry) {
    auto& family = prometheus::BuildGauge()
                       .Name("sync_executor_jobs_in_flight")
                       .Help("Jobs held, by what they wait for: a slot, the API, the database")
                       .Register(registry);
    return {&family.Add({{"waits_for", "slot"}}), &family.Add({{"waits_for", "api"}}),
            &family.Add({{"waits_for", "database"}})};
}

const Histogram::BucketBoundaries kSeconds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                           1,     2.5,    5,     10,   30,    60,   120, 300,  600};
const Histogram::BucketBoundaries kSizes{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};

}  // namespace

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      claimed_(&counters(*registry_, "sync_executor_jobs_claimed_total", "Jobs claimed").Add({})),
      claim_seconds_(
          histogram(*registry_, "sync_executor_claim_duration_seconds", "Round trip of a claim", kSeconds)),
      in_flight_(in_flight_gauges(*registry_)),
      ended_(
          counters(*registry_, "sync_executor_jobs_ended_total", "Jobs that left this executor, by outcome")),
      failed_(counters(*registry_, "sync_executor_job_failures_total", "Failed attempts, by kind")),
      run_seconds_(histogram(*registry_, "sync_executor_run_duration_seconds",
                             "From the start of an attempt to its result", kSeconds)),
      signals_(
          &counters(*registry_, "sync_executor_signals_total", "Signals handed to the database").Add({})),
      requests_(
          counters(*registry_, "sync_executor_http_requests_total", "HTTP requests, by class of status")),
      batch_jobs_(
          histogram(*registry_, "sync_executor_complete_batch_jobs", "Results in one transaction", kSizes)),
      connects_(counters(*registry_, "sync_executor_database_connects_total", "Database connections made")),
      losses_(counters(*registry_, "sync_executor_database_losses_total",
                       "Database connections lost or not made")),
      ticks_(&counters(*registry_, "sync_executor_ticks_total", "Batches ticked with --tick").Add({})),
      enqueued_(
          &counters(*registry_, "sync_executor_tick_enqueued_total", "Jobs enqueued with --tick").Add({})),
      deliveries_(counters(*registry_, "sync_executor_deliveries_total",
                           "Deliveries of notifications that left this executor, by result")),
      delivery_seconds_(prometheus::BuildHistogram()
                            .Name("sync_executor_delivery_duration_seconds")
                            .Help("From the start of a delivery to its result")
                            .Register(*registry_)) {
    for (const char* kind : {"transient", "rate_limited", "unauthorized", "permanent"}) {
        failed_.Add({{"kind", kind}});
    }
}

void Metrics::expose(const std::string& address) {
    try {
        exposer_ = std::make_unique<prometheus::Exposer>(address, 1);
        exposer_->RegisterCollectable(registry_);
    } catch (const std::exception& error) {
        throw std::runtime_error("cannot serve metrics on " + address + ": " + error.what());
    }
}

void Metrics::claimed(std::size_t jobs, double seconds) {
    claimed_->Increment(static_cast<double>(jobs));
    claim_seconds_->Observe(seconds);
}

void Metrics::in_flight(std::size_t waiting, std::size_t running, std::size_t finishing) {
    in_flight_[0]->Set(static_cast<double>(waiting));
    in_flight_[1]->Set(static_cast<double>(running));
    in_flight_[2]->Set(static_cast<double>(finishing));
}

void Metrics::job_ended(std::string_view outcome) {
    ended_.Add({{"outcome", std::string(outcome)}}).Increment();
}

void Metrics::job_failed(std::string_view kind) {
    failed_.Add({{"kind", std::string(kind)}}).Increment();
}

void Metrics::http_request(long status) {
    const std::string kind = status < 100 || status > 599 ? "none" : std::to_string(status / 100) + "xx";
    requests_.Add({{"status", kind}}).Increment();
}

void Metrics::database_connected(std::string_view role) {
    connects_.Add({{"connection", std::string(role)}}).Increment();
}

void Metrics::database_lost(std::string_view role) {
    losses_.Add({{"connection", std::string(role)}}).Increment();
}

void Metrics::delivery_ended(std::string_view channel, std::string_view result) {
    deliveries_.Add({{"channel", std::string(channel)}, {"result", std::string(result)}}).Increment();
}

void Metrics::delivery_took(std::string_view channel, double seconds) {
    delivery_seconds_.Add({{"channel", std::string(channel)}}, kSeconds).Observe(seconds);
}

void Metrics::ticked(std::size_t enqueued) {
    ticks_->Increment();
    enqueued_->Increment(static_cast<double>(enqueued));
}

}  // namespace sync_engine
