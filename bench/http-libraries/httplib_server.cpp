// cpp-httplib: a thread for each connection that is served, out of a pool.
#include <cstdlib>

#include <httplib.h>

#include "reply.hpp"

int main(int, char** argv) {
    httplib::Server server;
    server.new_task_queue = [] { return new httplib::ThreadPool(64); };
    server.set_read_timeout(3);
    server.set_keep_alive_max_count(100000000);
    server.set_tcp_nodelay(true);
    const auto answer = [](const httplib::Request&, httplib::Response& response) {
        response.set_content(reply_text(), "application/json");
    };
    server.Get(".*", answer);
    server.Post(".*", answer);
    return server.listen("127.0.0.1", std::atoi(argv[1])) ? 0 : 1;
}
