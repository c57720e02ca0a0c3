#include "executor/jobs.hpp"

#include <algorithm>
#include <exception>

#include "core/utf8.hpp"
#include "process/json_string.hpp"
#include "process/wall_clock.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kMaxErrorBytes = 8192;
constexpr double kMeanWeight = 0.05;  // of the newest attempt in the moving mean

Failure failure(FailureKind kind, std::string_view code, std::string_view message) {
    std::string error = R"({"code":)";
    append_json_string(error, code);
    error += R"(,"message":)";
    append_json_string(error, message);
    error += '}';
    return {kind, std::move(error), std::nullopt};
}

// Of std::exception from a connector: a fault of ours, or no memory for a large reply. Tried again.
Failure internal_failure(const std::exception& error) {
    return failure(FailureKind::transient, "internal", error.what());
}

}  // namespace

Jobs::Jobs(const Tools& tools, FindConnector find_connector, std::size_t concurrency, Finished finished)
    : tools_(tools),
      find_connector_(std::move(find_connector)),
      concurrency_(concurrency),
      finished_(std::move(finished)) {}

void Jobs::add(std::vector<ClaimedJob> claimed) {
    const auto now = Clock::now();
    for (ClaimedJob& job : claimed) {
        const std::int64_t id = job.job.job_id;
        if (held_.contains(id)) {
            drop(id);  // it was lost to us, and now it is ours again: only the new token counts
        }
        Held held;
        held.claimed = std::move(job);
        held.added = now;
        held_.insert_or_assign(id, std::move(held));
        waiting_.push_back(id);
    }
    count_in_flight();
}

void Jobs::start_waiting() {
    if (waiting_.empty()) {
        return;
    }
    while (!waiting_.empty() && running_ < concurrency_) {
        const auto found = held_.find(waiting_.front());
        waiting_.pop_front();
        if (found != held_.end() && found->second.stage == Stage::waiting) {
            start(found->second);
        }
    }
    count_in_flight();
}

void Jobs::start(Held& held) {
    const Job& job = held.claimed.job;
    held.stage = Stage::running;
    held.started = Clock::now();
    ++running_;
    tools_.stops.reach("started");
    const Connector* const connector = find_connector_(job.connector);
    if (connector == nullptr) {
        finish(held, failure(FailureKind::permanent, "unknown_connector",
                             "this executor has no connector named '" + job.connector + "', only " +
                                 std::string(connector_names())));
        return;
    }
    Step step;
    try {
        step = connector->prepare(job, tools_.secrets, wall_clock_now());
    } catch (const std::exception& error) {
        step = internal_failure(error);
    }
    if (auto* request = std::get_if<ApiRequest>(&step)) {
        send(held, std::move(*request));
    } else if (auto* page = std::get_if<Page>(&step)) {
        finish(held, std::move(*page));
    } else {
        finish(held, std::get<Failure>(std::move(step)));
    }
}

void Jobs::send(Held& held, ApiRequest request) {
    const std::int64_t id = held.claimed.job.job_id;
    held.request = std::move(request);
    tools_.stops.reach("sending");
    held.transfer =
        tools_.http.start(held.request, [this, id](HttpResponse&& response) { received(id, response); });
}

void Jobs::received(std::int64_t job_id, const HttpResponse& response) {
    tools_.metrics.http_request(response.error_code.empty() ? response.status : 0);
    tools_.stops.reach("replied");
    const auto found = held_.find(job_id);
    if (found == held_.end()) {
        return;
    }
    Held& held = found->second;
    held.transfer = 0;
    if (!response.error_code.empty()) {
        tools_.log.debug("request failed", {{"job_id", job_id},
                                            {"connection_id", held.claimed.job.connection_id},
                                            {"error_code", response.error_code},
                                            {"error", response.error_message}});
    }
    Outcome result;
    try {
        const Connector* const connector = find_connector_(held.claimed.job.connector);
        result = connector->interpret(held.claimed.job, held.request, response, wall_clock_now());
    } catch (const std::exception& error) {
        result = internal_failure(error);
    }
    finish(held, std::move(result));
}

void Jobs::finish(Held& held, Outcome result) {
    held.stage = Stage::finished;
    held.request = {};
    --running_;
    held.seconds = std::chrono::duration<double>(Clock::now() - held.started).count();
    mean_run_seconds_ += (held.seconds - mean_run_seconds_) * (mean_run_seconds_ == 0 ? 1 : kMeanWeight);
    tools_.metrics.run_took(held.seconds);
    if (auto* failed = std::get_if<Failure>(&result)) {
        tools_.redactor.scrub_in_place(failed->error_json);
        if (failed->error_json.size() > kMaxErrorBytes) {
            *failed = Failure{
                failed->kind,
                failure(failed->kind, "long_error", truncate_utf8(failed->error_json, kMaxErrorBytes / 2))
                    .error_json,
                failed->retry_after_seconds};
        }
    }
    tools_.stops.reach("finished");
    finished_({held.claimed.job.job_id, held.claimed.claim_token, std::move(result)});
}

std::vector<std::int64_t> Jobs::held_ids() const {
    std::vector<std::int64_t> ids;
    ids.reserve(held_.size());
    for (const auto& [id, held] : held_) {
        ids.push_back(id);
    }
    return ids;
}

void Jobs::drop(std::int64_t job_id) {
    const auto found = held_.find(job_id);
    if (found == held_.end()) {
        return;
    }
    const Held& held = found->second;
    const Job& job = held.claimed.job;
    tools_.log.info("job was taken away", {{"job_id", job_id},
                                           {"connection_id", job.connection_id},
                                           {"tenant_id", job.tenant_id},
                                           {"provider", job.provider_slug},
                                           {"outcome", "cancelled"}});
    tools_.metrics.job_ended("cancelled");
    give_up([job_id](const Held& other) { return other.claimed.job.job_id == job_id; });
}

bool Jobs::held_since(std::int64_t job_id, Clock::time_point when) const {
    const auto found = held_.find(job_id);
    return found != held_.end() && found->second.added <= when;
}

bool Jobs::is_finished(std::int64_t job_id) const {
    const auto found = held_.find(job_id);
    return found != held_.end() && found->second.stage == Stage::finished;
}

Jobs::Released Jobs::give_up_waiting(Clock::time_point before) {
    return give_up(
        [before](const Held& held) { return held.stage == Stage::waiting && held.added < before; });
}

Jobs::Released Jobs::give_up_unfinished() {
    return give_up([](const Held& held) { return held.stage != Stage::finished; });
}

Jobs::Released Jobs::give_up(const std::function<bool(const Held&)>& which) {
    Released released;
    for (auto i = held_.begin(); i != held_.end();) {
        Held& held = i->second;
        if (!which(held)) {
            ++i;
            continue;
        }
        if (held.stage == Stage::running) {
            tools_.http.cancel(held.transfer);
            --running_;
        } else if (held.stage == Stage::waiting) {
            std::erase(waiting_, i->first);
        }
        released.job_ids.push_back(i->first);
        released.claim_tokens.push_back(std::move(held.claimed.claim_token));
        i = held_.erase(i);
    }
    count_in_flight();
    return released;
}

void Jobs::ended(const FinishedJob& finished, std::string_view outcome, std::string_view detail) {
    const auto* page = std::get_if<Page>(&finished.result);
    const auto* failed = std::get_if<Failure>(&finished.result);
    const bool stored = outcome == "completed" || outcome == "repeated";
    const std::string_view word = stored && failed != nullptr ? "failed" : stored ? "completed" : outcome;
    tools_.metrics.job_ended(word);
    if (stored && page != nullptr) {
        tools_.metrics.signals(page->signals.size());
    } else if (stored) {
        tools_.metrics.job_failed(failure_kind_name(failed->kind));
    }
    const auto found = held_.find(finished.job_id);
    if (found == held_.end() || found->second.claimed.claim_token != finished.claim_token) {
        return;
    }
    const LogLevel level = word == "completed" ? LogLevel::info : LogLevel::warn;
    if (tools_.log.wants(level)) {
        const Job& job = found->second.claimed.job;
        const double milliseconds = found->second.seconds * 1000;
        const std::int64_t attempt = job.attempts + 1;
        if (page != nullptr) {
            tools_.log.log(level, "job ended",
                           {{"job_id", job.job_id},
                            {"connection_id", job.connection_id},
                            {"tenant_id", job.tenant_id},
                            {"provider", job.provider_slug},
                            {"job_type", job.job_type},
                            {"attempt", attempt},
                            {"duration_ms", milliseconds},
                            {"outcome", word},
                            {"signals", static_cast<std::int64_t>(page->signals.size())},
                            {"has_more", page->has_more},
                            {"detail", detail}});
        } else {
            tools_.log.log(level, "job ended",
                           {{"job_id", job.job_id},
                            {"connection_id", job.connection_id},
                            {"tenant_id", job.tenant_id},
                            {"provider", job.provider_slug},
                            {"job_type", job.job_type},
                            {"attempt", attempt},
                            {"duration_ms", milliseconds},
                            {"outcome", word},
                            {"kind", failure_kind_name(failed->kind)},
                            {"error", failed->error_json},
                            {"detail", detail}});
        }
    }
    held_.erase(found);
    count_in_flight();
}

void Jobs::count_in_flight() {
    tools_.metrics.in_flight(waiting_.size(), running_, held_.size() - waiting_.size() - running_);
}

}  // namespace sync_engine
