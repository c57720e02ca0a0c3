#pragma once

#include <functional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "gateway/pg_connection.hpp"
#include "process/log.hpp"

namespace sync_engine {

// The one connection of a gateway that listens to what the database notifies.
class LiveListener {
  public:
    // `changed`: called with the name of each tenant that was notified; empty: any may have changed.
    LiveListener(const boost::asio::any_io_executor& executor, Logger& log, const PgSettings& settings,
                 std::function<void(const std::string&)> changed);

    // Until close(); connects again when the connection is lost.
    boost::asio::awaitable<void> run();
    void close();

  private:
    boost::asio::awaitable<bool> connect();
    void tell(const std::string& payload);

    Logger& log_;
    std::function<void(const std::string&)> changed_;
    PgSession session_;
    bool closed_ = false;
};

}  // namespace sync_engine
