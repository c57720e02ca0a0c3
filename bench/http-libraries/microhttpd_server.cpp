// libmicrohttpd with one thread and epoll, run from outside: how it would sit beside libpq in one loop.
#include <cstdlib>

#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include "reply.hpp"

namespace {

MHD_Result answer(void*, MHD_Connection* connection, const char*, const char*, const char*, const char*,
                  std::size_t* upload_size, void** state) {
    static int begun;
    if (*state == nullptr) {
        *state = &begun;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    MHD_Response* response = MHD_create_response_from_buffer(
        reply_text().size(), const_cast<char*>(reply_text().data()), MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Content-Type", "application/json");
    const MHD_Result queued = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return queued;
}

}  // namespace

int main(int, char** argv) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[1])));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    MHD_Daemon* daemon =
        MHD_start_daemon(MHD_USE_EPOLL, 0, nullptr, nullptr, answer, nullptr, MHD_OPTION_SOCK_ADDR, &address,
                         MHD_OPTION_CONNECTION_TIMEOUT, 3U, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (daemon == nullptr) {
        return 1;
    }
    const int own = epoll_create1(0);
    epoll_event event{EPOLLIN, {}};
    epoll_ctl(own, EPOLL_CTL_ADD, MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, &event);
    while (true) {
        MHD_UNSIGNED_LONG_LONG milliseconds = 0;
        const bool has_timeout = MHD_get_timeout(daemon, &milliseconds) == MHD_YES;
        epoll_wait(own, &event, 1, has_timeout ? static_cast<int>(milliseconds) : -1);
        MHD_run(daemon);
    }
}
