// libevent's evhttp with one thread.
#include <cstdlib>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#include "reply.hpp"

namespace {

void answer(evhttp_request* request, void*) {
    evbuffer* body = evbuffer_new();
    evbuffer_add_reference(body, reply_text().data(), reply_text().size(), nullptr, nullptr);
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
    evhttp_send_reply(request, 200, "OK", body);
    evbuffer_free(body);
}

}  // namespace

int main(int, char** argv) {
    event_base* base = event_base_new();
    evhttp* server = evhttp_new(base);
    evhttp_set_timeout(server, 3);
    evhttp_set_gencb(server, answer, nullptr);
    if (evhttp_bind_socket(server, "127.0.0.1", static_cast<std::uint16_t>(std::atoi(argv[1]))) != 0) {
        return 1;
    }
    event_base_dispatch(base);
}
