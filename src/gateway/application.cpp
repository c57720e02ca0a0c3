#include "gateway/application.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>

#include <unistd.h>

#include <boost/asio/signal_set.hpp>

#include "gateway/server.hpp"
#include "process/file_limit.hpp"
#include "process/own_secrets.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

extern "C" void exit_at_once(int number) noexcept {
    _exit(128 + number);
}

void set_signal(int number, void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, nullptr);
}

class Application {
  public:
    Application(const GatewayOptions& options, const HandlerFactory& make_handler)
        : options_(options),
          log_(STDERR_FILENO, options.log_level, redactor_),
          handler_(make_handler({io_, options_, log_, redactor_, metrics_})),
          server_(io_, options_, *handler_, log_, metrics_),
          stop_(io_, SIGTERM, SIGINT),
          hang_up_(io_, SIGHUP) {}

    int run() {
        redactor_add_own_secrets(redactor_, options_.database_url);
        raise_file_limit(log_, static_cast<std::size_t>(options_.max_connections));
        set_signal(SIGPIPE, SIG_IGN);
        await_stop();
        await_hang_up();
        server_.start();
        log_.info("listening", {{"host", options_.listen_host},
                                {"port", std::int64_t{server_.port()}},
                                {"tls", !options_.tls_cert.empty()},
                                {"version", std::string_view(SYNC_ENGINE_VERSION)},
                                {"pid", static_cast<std::int64_t>(getpid())}});
        turn([this] { return server_.drained(); });
        end_handlers();
        log_.info("stopped");
        return EXIT_SUCCESS;
    }

  private:
    // The log is written when nothing is to be done, so that a line costs a request no system call.
    template <class Ended>
    void turn(Ended ended) {
        while (!ended()) {
            if (io_.poll_one() == 0) {
                log_.flush();
                io_.run_one();
            }
        }
    }

    void await_stop() {
        stop_.async_wait([this](const boost::system::error_code& error, int) {
            if (error) {
                return;
            }
            // From here on without the loop, which may be what hangs.
            stop_.clear();
            set_signal(SIGTERM, exit_at_once);
            set_signal(SIGINT, exit_at_once);
            server_.drain();
        });
    }

    void await_hang_up() {
        hang_up_.async_wait([this](const boost::system::error_code& error, int) {
            if (!error) {
                server_.reload_certificate();
                await_hang_up();
            }
        });
    }

    // Handlers whose request was given up were told to stop. One that does not must not be destroyed under
    // its feet.
    void end_handlers() {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
        while (server_.handling() > 0 && std::chrono::steady_clock::now() < until) {
            io_.run_one_for(std::chrono::milliseconds(50));
        }
        if (server_.handling() > 0) {
            log_.warn("stopped while requests were under way",
                      {{"requests", static_cast<std::int64_t>(server_.handling())}});
            log_.flush();
            std::_Exit(EXIT_SUCCESS);
        }
    }

    const GatewayOptions& options_;
    Redactor redactor_;
    Logger log_;
    GatewayMetrics metrics_;
    asio::io_context io_{1};
    std::unique_ptr<Handler> handler_;
    Server server_;
    asio::signal_set stop_;
    asio::signal_set hang_up_;
};

}  // namespace

int run_gateway(const GatewayOptions& options, const HandlerFactory& make_handler) {
    return Application(options, make_handler).run();
}

}  // namespace sync_engine
