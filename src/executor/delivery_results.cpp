#include "executor/delivery_results.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <string_view>
#include <utility>

#include "core/utf8.hpp"
#include "process/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kMaxErrorBytes = 1000;
constexpr double kMostSeconds = 1e9;
constexpr std::string_view kReplacementError = "the database cannot store what the delivery came to";

void append_text(std::string& out, std::string_view name, std::string_view text, std::size_t max_bytes) {
    if (text.empty()) {
        return;
    }
    out += ",\"";
    out += name;
    out += "\":";
    append_json_string(out, truncate_utf8(text, max_bytes));
}

void append_number(std::string& out, std::string_view name, double value) {
    std::array<char, 64> number{};
    const int length = std::snprintf(number.data(), number.size(), "%.3f",
                                     std::isfinite(value) ? std::clamp(value, 0.0, kMostSeconds) : 0.0);
    out += ",\"";
    out += name;
    out += "\":";
    out.append(number.data(), static_cast<std::size_t>(length));
}

// What is not UTF-8 becomes U+FFFD before the text is cut: that takes three bytes where there was one.
std::string valid_utf8(std::string_view text, std::size_t max_bytes) {
    std::string out;
    for (std::size_t i = 0; i < text.size() && out.size() < max_bytes;) {
        const std::size_t length = utf8_character_length(text.substr(i));
        out += length == 0 || text[i] == '\0' ? std::string_view("\xEF\xBF\xBD") : text.substr(i, length);
        i += length == 0 ? 1 : length;
    }
    return std::string(truncate_utf8(out, max_bytes));
}

void append_result(std::string& out, const FinishedDelivery& finished) {
    const DeliveryOutcome& outcome = finished.outcome;
    out += R"({"delivery_id":)" + std::to_string(finished.delivery_id);
    out += R"(,"claim_token":)";
    append_json_string(out, finished.claim_token);
    out += R"(,"outcome":)";
    append_json_string(out, delivery_result_name(outcome.result));
    append_number(out, "duration_ms", finished.seconds * 1000);
    if (outcome.status > 0) {
        out += R"(,"status":)" + std::to_string(outcome.status);
    }
    append_text(out, "error_code", outcome.error_code, kMaxErrorBytes);
    append_text(out, "error", valid_utf8(outcome.error, kMaxErrorBytes), kMaxErrorBytes);
    if (outcome.retry_after_seconds) {
        append_number(out, "retry_after_seconds", *outcome.retry_after_seconds);
    }
    append_text(out, "reply", valid_utf8(outcome.reply, kReplyBytes), kReplyBytes);
    out += '}';
}

}  // namespace

std::string delivery_results_json(const DeliveryBatch& batch) {
    std::string out = "[";
    for (const FinishedDelivery& finished : batch) {
        out += out.size() > 1 ? "," : "";
        append_result(out, finished);
    }
    return out + "]";
}

FinishedDelivery replacement_for(const FinishedDelivery& refused) {
    FinishedDelivery replacement{refused.delivery_id, refused.claim_token, {}, refused.seconds};
    replacement.outcome.error_code = "other";
    replacement.outcome.error = kReplacementError;
    return replacement;
}

bool is_replacement(const FinishedDelivery& finished) {
    return finished.outcome.error == kReplacementError;
}

void DeliveryResultQueue::push_halves(DeliveryBatch batch) {
    const auto middle = batch.begin() + static_cast<std::ptrdiff_t>(batch.size() / 2);
    DeliveryBatch second(std::make_move_iterator(middle), std::make_move_iterator(batch.end()));
    batch.erase(middle, batch.end());
    push_again(std::move(second));
    push_again(std::move(batch));
}

DeliveryBatch DeliveryResultQueue::pop() {
    DeliveryBatch batch;
    if (!again_.empty()) {
        batch = std::move(again_.front());
        again_.pop_front();
        return batch;
    }
    while (!waiting_.empty() && batch.size() < max_batch_) {
        batch.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
    }
    return batch;
}

std::size_t DeliveryResultQueue::size() const noexcept {
    std::size_t size = waiting_.size();
    for (const DeliveryBatch& batch : again_) {
        size += batch.size();
    }
    return size;
}

}  // namespace sync_engine
