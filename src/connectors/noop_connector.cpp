#include "connectors/noop_connector.hpp"

#include <charconv>
#include <string>

#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

struct NoopConfig {
    long signals = 0;
    long pages = 1;
    bool cursor = false;
    std::optional<FailureKind> fail;
    std::optional<double> retry_after_seconds;
};

constexpr long kMaxSignals = 1'000'000;
constexpr long kMaxCounter = 1'000'000'000'000'000;

std::optional<long> whole_number(const rapidjson::Value& value) {
    long number = 0;
    if (!is_number(value)) {
        return std::nullopt;
    }
    const std::string_view text = number_text(value);
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    return code == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

std::optional<FailureKind> kind_of(std::string_view name) {
    for (const auto kind : {FailureKind::transient, FailureKind::rate_limited, FailureKind::unauthorized,
                            FailureKind::permanent}) {
        if (name == failure_kind_name(kind)) {
            return kind;
        }
    }
    return std::nullopt;
}

void read_key(const std::string& key, const rapidjson::Value& value, NoopConfig& config,
              std::vector<ConfigError>& errors) {
    const auto bad = [&](std::string message) { errors.push_back({"$.noop." + key, std::move(message)}); };
    if (key == "signals" || key == "pages") {
        const auto number = whole_number(value);
        if (!number || *number < (key == "pages" ? 1 : 0) || *number > kMaxSignals) {
            bad("expected a whole number up to " + std::to_string(kMaxSignals));
        } else {
            (key == "pages" ? config.pages : config.signals) = *number;
        }
    } else if (key == "cursor") {
        config.cursor = value.IsTrue();
        if (!value.IsBool()) {
            bad("expected true or false");
        }
    } else if (key == "fail") {
        config.fail = is_string(value) ? kind_of(string_view_of(value)) : std::nullopt;
        if (!config.fail) {
            bad("expected one of transient, rate_limited, unauthorized, permanent");
        }
    } else if (key == "retry_after_seconds") {
        const auto number = whole_number(value);
        if (!number || *number < 0) {
            bad("expected a whole number");
        } else {
            config.retry_after_seconds = static_cast<double>(*number);
        }
    } else {
        bad("unknown key; known are signals, pages, cursor, fail, retry_after_seconds");
    }
}

NoopConfig read_config(std::string_view json, std::vector<ConfigError>& errors) {
    NoopConfig config;
    rapidjson::Document document;
    std::string error;
    if (!parse_json(json.empty() ? "{}" : json, document, error)) {
        errors.push_back({"$", error});
        return config;
    }
    if (!document.IsObject()) {
        errors.push_back({"$", "expected an object"});
        return config;
    }
    const rapidjson::Value* own = member(document, "noop");
    if (own == nullptr) {
        return config;
    }
    if (!own->IsObject()) {
        errors.push_back({"$.noop", "expected an object"});
        return config;
    }
    for (const auto& m : own->GetObject()) {
        read_key(std::string(string_view_of(m.name)), m.value, config, errors);
    }
    return config;
}

// The counter of that name in the cursor, 0 when there is none that can be counted on.
long counter(const std::string& cursor_json, std::string_view name) {
    rapidjson::Document document;
    std::string error;
    if (cursor_json.empty() || !parse_json(cursor_json, document, error)) {
        return 0;
    }
    const rapidjson::Value* value = member(document, name);
    const long count = value == nullptr ? 0 : whole_number(*value).value_or(0);
    return count >= 0 && count < kMaxCounter ? count : 0;
}

class NoopConnector final : public Connector {
  public:
    Step prepare(const Job& job, SecretResolver&, TimestampUs now) const override {
        std::vector<ConfigError> errors;
        const NoopConfig config = read_config(job.config_json, errors);
        if (!errors.empty()) {
            std::string error = R"({"code":"bad_config","message":)";
            append_json_text(error, errors.front().path + ": " + errors.front().message);
            return Failure{FailureKind::permanent, error + "}", std::nullopt};
        }
        if (config.fail) {
            return Failure{*config.fail, R"({"code":"noop","message":"the configuration says so"})",
                           config.retry_after_seconds};
        }
        return page(job, config, now);
    }

    Outcome interpret(const Job&, const ApiRequest&, const HttpResponse&, TimestampUs) const override {
        return Failure{FailureKind::permanent, R"({"code":"noop","message":"noop sends nothing"})",
                       std::nullopt};
    }

    std::vector<ConfigError> validate(std::string_view config_json) const override {
        std::vector<ConfigError> errors;
        read_config(config_json, errors);
        return errors;
    }

  private:
    static Page page(const Job& job, const NoopConfig& config, TimestampUs now) {
        const long run = counter(job.cursor_json, "run");
        const long page = counter(job.cursor_json, "page");
        Page result;
        for (long i = 0; i < config.signals; ++i) {
            const std::string key =
                std::to_string(run) + "/" + std::to_string(page) + "/" + std::to_string(i);
            result.signals.push_back(R"({"kind":"noop","occurred_at":")" + format_utc(now) +
                                     R"(","dedupe_key":")" + key + R"(","payload":{"key":")" + key + "\"}}");
        }
        result.has_more = page + 1 < config.pages;
        if (result.has_more) {
            result.next_cursor_json =
                "{\"run\":" + std::to_string(run) + ",\"page\":" + std::to_string(page + 1) + "}";
        } else if (config.cursor || config.pages > 1) {
            result.next_cursor_json = "{\"run\":" + std::to_string(run + 1) + "}";
        }
        return result;
    }
};

}  // namespace

const Connector* noop_connector() {
    static const NoopConnector connector;
    return &connector;
}

}  // namespace sync_engine
