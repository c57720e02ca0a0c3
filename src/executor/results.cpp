#include "executor/results.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "process/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kElementOverhead = 150;

std::string_view text_or(const std::string& json, std::string_view fallback) {
    return json.empty() ? fallback : std::string_view(json);
}

template <class Iterator>
void append_array(std::string& out, Iterator first, Iterator last) {
    out += '[';
    for (Iterator i = first; i != last; ++i) {
        out += i == first ? "" : ",";
        out += *i;
    }
    out += ']';
}

void append_result(std::string& out, const Page& page) {
    out += R"(,"signals":)";
    append_array(out, page.signals.begin(), page.signals.end());
    out += R"(,"next_cursor":)";
    out += text_or(page.next_cursor_json, "null");
    out += page.has_more ? R"(,"has_more":true,"stats":)" : R"(,"has_more":false,"stats":)";
    out += text_or(page.stats_json, "{}");
}

void append_result(std::string& out, const Failure& failure) {
    out += R"(,"error":)";
    out += text_or(failure.error_json, "{}");
    out += R"(,"kind":)";
    append_json_string(out, failure_kind_name(failure.kind));
    if (failure.retry_after_seconds && std::isfinite(*failure.retry_after_seconds)) {
        std::array<char, 64> number{};
        const int length = std::snprintf(number.data(), number.size(), "%.3f",
                                         std::clamp(*failure.retry_after_seconds, 0.0, 1e9));
        out += R"(,"retry_after_seconds":)";
        out.append(number.data(), static_cast<std::size_t>(length));
    }
}

std::vector<Statement> big_page_script(const FinishedJob& job, const Page& page) {
    const std::string id = std::to_string(job.job_id);
    std::vector<Statement> script;
    script.push_back({"BEGIN", {}});
    for (auto first = page.signals.begin(); first != page.signals.end();) {
        std::size_t bytes = 0;
        auto last = first;
        do {
            bytes += last->size() + 1;
            ++last;
        } while (last != page.signals.end() && static_cast<std::size_t>(last - first) < kChunkSignals &&
                 bytes + last->size() <= kChunkBytes);
        std::string signals;
        signals.reserve(bytes + 2);
        append_array(signals, first, last);
        script.push_back({"SELECT sync.add_signals($1::bigint, $2::uuid, $3::jsonb)",
                          {id, job.claim_token, std::move(signals)}});
        first = last;
    }
    script.push_back(
        {"SELECT sync.complete_job($1::bigint, $2::uuid, '[]', $3::jsonb, $4::boolean, $5::jsonb)",
         {id, job.claim_token, std::string(text_or(page.next_cursor_json, "null")),
          page.has_more ? "true" : "false", std::string(text_or(page.stats_json, "{}"))},
         true});
    script.push_back({"COMMIT", {}});
    return script;
}

}  // namespace

std::size_t result_size(const FinishedJob& job) {
    std::size_t size = kElementOverhead;
    if (const auto* page = std::get_if<Page>(&job.result)) {
        for (const std::string& signal : page->signals) {
            size += signal.size() + 1;
        }
        return size + page->next_cursor_json.size() + page->stats_json.size();
    }
    return size + std::get<Failure>(job.result).error_json.size();
}

bool is_big(const FinishedJob& job) {
    const auto* page = std::get_if<Page>(&job.result);
    return page != nullptr && (page->signals.size() > kChunkSignals || result_size(job) > kChunkBytes);
}

std::string results_json(const ResultBatch& batch) {
    std::string out;
    out.reserve(batch.bytes + 2);
    out += '[';
    for (const FinishedJob& job : batch.jobs) {
        out += out.size() > 1 ? R"(,{"job_id":)" : R"({"job_id":)";
        out += std::to_string(job.job_id);
        out += R"(,"claim_token":)";
        append_json_string(out, job.claim_token);
        std::visit([&](const auto& result) { append_result(out, result); }, job.result);
        out += '}';
    }
    out += ']';
    return out;
}

std::vector<Statement> result_script(const ResultBatch& batch) {
    if (batch.jobs.size() == 1 && is_big(batch.jobs.front())) {
        return big_page_script(batch.jobs.front(), std::get<Page>(batch.jobs.front().result));
    }
    std::vector<Statement> script;
    script.push_back(
        {"SELECT job_id, outcome, detail FROM sync.complete_jobs($1::jsonb) "
         "WHERE outcome <> 'completed' OR detail IS NOT NULL",
         {results_json(batch)}});
    return script;
}

void ResultQueue::push(FinishedJob job) {
    bytes_ += result_size(job);
    jobs_.push_back(std::move(job));
}

void ResultQueue::push_again(ResultBatch batch) {
    again_jobs_ += batch.jobs.size();
    again_.push_front(std::move(batch));
}

void ResultQueue::push_halves(ResultBatch batch) {
    const auto middle = batch.jobs.begin() + static_cast<std::ptrdiff_t>(batch.jobs.size() / 2);
    ResultBatch second{{std::make_move_iterator(middle), std::make_move_iterator(batch.jobs.end())},
                       batch.bytes};
    batch.jobs.erase(middle, batch.jobs.end());
    push_again(std::move(second));
    push_again(std::move(batch));
}

ResultBatch ResultQueue::pop() {
    ResultBatch batch;
    if (!again_.empty()) {
        batch = std::move(again_.front());
        again_.pop_front();
        again_jobs_ -= batch.jobs.size();
        return batch;
    }
    while (!jobs_.empty() && batch.jobs.size() < max_jobs_) {
        const std::size_t bytes = result_size(jobs_.front());
        const bool big = is_big(jobs_.front());
        if (!batch.jobs.empty() && (big || batch.bytes + bytes > max_bytes_)) {
            break;
        }
        batch.jobs.push_back(std::move(jobs_.front()));
        batch.bytes += bytes;
        jobs_.pop_front();
        bytes_ -= bytes;
        if (big) {
            break;
        }
    }
    return batch;
}

bool ResultQueue::remove(std::int64_t job_id) {
    const auto is_it = [&](const FinishedJob& job) { return job.job_id == job_id; };
    if (const auto found = std::find_if(jobs_.begin(), jobs_.end(), is_it); found != jobs_.end()) {
        bytes_ -= result_size(*found);
        jobs_.erase(found);
        return true;
    }
    return false;
}

}  // namespace sync_engine
