#include "executor/application.hpp"

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connectors/connector.hpp"
#include "executor/address_policy.hpp"
#include "executor/curl_handles.hpp"
#include "executor/database.hpp"
#include "executor/deliverer.hpp"
#include "executor/deliveries.hpp"
#include "executor/event_loop.hpp"
#include "executor/http_client.hpp"
#include "executor/jobs.hpp"
#include "executor/lanes.hpp"
#include "executor/metrics.hpp"
#include "executor/runner.hpp"
#include "executor/secrets.hpp"
#include "executor/smtp_client.hpp"
#include "executor/stop_signals.hpp"
#include "executor/test_stops.hpp"
#include "executor/ticker.hpp"
#include "executor/waker.hpp"
#include "process/file_limit.hpp"
#include "process/json_string.hpp"
#include "process/log.hpp"
#include "process/own_secrets.hpp"
#include "process/redactor.hpp"

namespace sync_engine {

namespace {

std::string host_name() {
    std::array<char, 256> name{};
    return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "executor";
}

std::string default_name() {
    return host_name() + "-" + std::to_string(getpid());
}

std::string info_json(const Options& options) {
    std::string info = R"({"version":")" SYNC_ENGINE_VERSION R"(","host":)";
    append_json_string(info, host_name());
    info += R"(,"pid":)" + std::to_string(getpid());
    info += R"(,"concurrency":)" + std::to_string(options.concurrency) + "}";
    return info;
}

bool sends_mail(const Options& options) {
    return !options.smtp_url.empty() && options.mail_from.has_value();
}

DelivererSettings deliverer_settings(const Options& options) {
    DelivererSettings settings;
    settings.concurrency = static_cast<std::size_t>(options.delivery_concurrency);
    settings.email = sends_mail(options);
    settings.once = options.once;
    settings.poll_seconds = options.poll_seconds;
    settings.drain_seconds = options.drain_seconds;
    return settings;
}

MailSettings mail_settings(const Options& options) {
    return {options.mail_from.value_or(Mailbox()), options.unsubscribe_url};
}

// The password is made known to the redactor each time it is read, for it may have been rotated.
SmtpSettings smtp_settings(const Options& options, Redactor& redactor) {
    const auto password = [&options, &redactor]() -> std::optional<std::string> {
        auto value = options.smtp_password_file.empty() ? std::optional(options.smtp_password)
                                                        : read_secret_file(options.smtp_password_file);
        if (!value || value->empty()) {
            return std::nullopt;
        }
        redactor.add(*value);
        return value;
    };
    return {options.smtp_url, options.smtp_tls, options.smtp_user, password, options.ca_file};
}

void add_own_addresses(AddressPolicy& policy) {
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) {
        return;
    }
    const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owned(list, &freeifaddrs);
    for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
        if (i->ifa_addr == nullptr) {
            continue;
        }
        const socklen_t length =
            i->ifa_addr->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
        if (const auto endpoint = endpoint_of(i->ifa_addr, length)) {
            policy.add_own_address(endpoint->address);
        }
    }
}

std::optional<Endpoint> peer_of(int fd) {
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    auto* address = reinterpret_cast<sockaddr*>(&storage);
    return getpeername(fd, address, &length) == 0 ? endpoint_of(address, length) : std::nullopt;
}

RunnerSettings runner_settings(const Options& options, const std::string& name) {
    RunnerSettings settings;
    settings.name = name;
    settings.info_json = info_json(options);
    settings.batch_size = static_cast<std::size_t>(options.batch_size);
    if (options.prefetch) {
        settings.prefetch = static_cast<std::size_t>(*options.prefetch);
    }
    settings.once = options.once;
    settings.poll_seconds = options.poll_seconds;
    settings.heartbeat_seconds = options.heartbeat_seconds;
    settings.drain_seconds = options.drain_seconds;
    return settings;
}

// The parts of a running executor, in the order in which they depend on one another.
class Application {
  public:
    explicit Application(const Options& options)
        : options_(options),
          name_(options.name.empty() ? default_name() : options.name),
          log_(STDERR_FILENO, options.log_level, redactor_),
          stops_(options.test_stop_at),
          work_(work_connections()),
          wake_(loop_, log_, metrics_, options.database_url, "sync-executor " + name_ + " wake-up",
                "wake-up"),
          tick_(loop_, log_, metrics_, options.database_url, "sync-executor " + name_ + " tick", "tick"),
          notify_(loop_, log_, metrics_, options.database_url, "sync-executor " + name_ + " notify",
                  "notify"),
          http_(loop_, policy_, {options.max_body_bytes, options.user_agent, options.ca_file}),
          webhooks_(loop_, webhook_policy_,
                    {options.max_body_bytes, "sync-executor/" SYNC_ENGINE_VERSION, options.ca_file, true}),
          mails_(loop_, smtp_settings(options, redactor_)),
          mail_settings_(mail_settings(options)),
          secrets_(options.secret_env, options.secret_dirs, process_sources().environment, redactor_),
          runner_(loop_, lanes(), log_, metrics_, stops_, runner_settings(options, name_),
                  [this](int status) { stop(status); }),
          jobs_({http_, secrets_, redactor_, log_, metrics_, stops_}, &find_connector,
                static_cast<std::size_t>(options.concurrency),
                [this](FinishedJob&& job) { runner_.finished(std::move(job)); }),
          deliverer_(loop_, notify_, log_, metrics_, stops_, deliverer_settings(options)),
          deliveries_({loop_, webhooks_, mails_, mail_settings_, redactor_, log_, metrics_, stops_},
                      [this](FinishedDelivery&& delivery) { deliverer_.finished(std::move(delivery)); }),
          waker_(
              loop_, log_, wake_,
              [this] {
                  runner_.wake();
                  deliverer_.wake();
              },
              [this] { return runner_.wake_pause_seconds(); }),
          ticker_(loop_, log_, metrics_, tick_),
          signals_(loop_, [this] { drain(); }) {
        runner_.attach(jobs_);
        deliverer_.attach(deliveries_);
    }

    int run() {
        prepare();
        const bool tick_first = options_.tick && options_.once;
        if (tick_first) {
            ticker_.start_once(
                [this](bool ticked) { ticked ? runner_.release_claims() : runner_.give_up(1); });
        } else if (options_.tick) {
            ticker_.start();
        }
        if (options_.wake_up && !options_.once) {
            waker_.start();
        }
        runner_.start(tick_first);
        loop_.run();
        log_.info("stopped", {{"status", std::int64_t{status_}}});
        return status_;
    }

  private:
    std::vector<std::unique_ptr<Database>> work_connections() {
        std::vector<std::unique_ptr<Database>> connections;
        for (int i = 1; i <= options_.connections; ++i) {
            connections.push_back(std::make_unique<Database>(loop_, log_, metrics_, options_.database_url,
                                                             "sync-executor " + name_,
                                                             i == 1 ? "work" : "work-" + std::to_string(i)));
        }
        return connections;
    }

    Lanes lanes() const {
        std::vector<Database*> lanes;
        for (const auto& database : work_) {
            lanes.push_back(database.get());
        }
        return Lanes(std::move(lanes));
    }

    void prepare() {
        redactor_add_own_secrets(redactor_, options_.database_url);
        redactor_.add(options_.smtp_password);
        raise_file_limit(log_, static_cast<std::size_t>(options_.concurrency));
        for (const std::string& rule : options_.allowed_addresses) {
            policy_.allow(rule);
        }
        for (const std::string& rule : options_.webhook_addresses) {
            webhook_policy_.allow(rule);
        }
        add_own_addresses(policy_);
        add_own_addresses(webhook_policy_);
        for (const auto& database : work_) {
            database->on_peer([this](int fd) {
                policy_.set_database_endpoint(peer_of(fd));
                webhook_policy_.set_database_endpoint(peer_of(fd));
            });
        }
        if (options_.deliver) {
            prepare_deliveries();
        }
        loop_.on_idle([this] {
            jobs_.start_waiting();
            deliverer_.pump();
            runner_.pump();
            log_.flush();
        });
        if (!options_.metrics_address.empty()) {
            metrics_.expose(options_.metrics_address);
        }
        log_.info("started", {{"version", std::string_view(SYNC_ENGINE_VERSION)},
                              {"name", name_},
                              {"pid", static_cast<std::int64_t>(getpid())},
                              {"concurrency", std::int64_t{options_.concurrency}},
                              {"connectors", connector_names()}});
    }

    void prepare_deliveries() {
        if (options_.smtp_url.empty() != !options_.mail_from) {
            log_.warn("mails need both --smtp-url and --mail-from: none are sent");
        }
        const bool clear = options_.smtp_tls != SmtpTls::required && options_.smtp_url.starts_with("smtp:");
        if (clear && !options_.smtp_user.empty()) {
            log_.warn("the password for the mail server may travel in the clear; see --smtp-tls");
        }
        runner_.on_registered([this](const std::string& incarnation) { deliverer_.start(incarnation); });
        // A run that ended may be worth a notification.
        runner_.on_completed([this] { deliverer_.look_soon(); });
        runner_.exit_when([this] {
            if (options_.once && !draining_) {
                deliverer_.work_off();
            }
            return deliverer_.done();
        });
    }

    void drain() {
        draining_ = true;
        ticker_.stop();
        waker_.stop();
        deliverer_.drain();
        runner_.drain();
    }

    void stop(int status) {
        status_ = status == 0 && deliverer_.gave_up() ? 1 : status;
        loop_.stop();
    }

    const Options& options_;
    std::string name_;
    int status_ = 0;
    bool draining_ = false;
    CurlGlobal curl_;
    Redactor redactor_;
    Logger log_;
    Metrics metrics_;
    TestStops stops_;
    AddressPolicy policy_;
    AddressPolicy webhook_policy_;
    EventLoop loop_;
    std::vector<std::unique_ptr<Database>> work_;
    Database wake_;
    Database tick_;
    Database notify_;
    HttpClient http_;
    HttpClient webhooks_;
    SmtpClient mails_;
    MailSettings mail_settings_;
    AllowedSecrets secrets_;
    Runner runner_;
    Jobs jobs_;
    Deliverer deliverer_;
    Deliveries deliveries_;
    Waker waker_;
    Ticker ticker_;
    StopSignals signals_;
};

}  // namespace

int run_executor(const Options& options) {
    return Application(options).run();
}

}  // namespace sync_engine
