"""Sizes, times and numbers that the server holds its clients to."""

import time

import pytest
from harness.gateway import REQUEST
from harness.waiting import wait_until

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"


def refused(client, status, code):
    reply = client.reply()
    assert reply.status == status and reply.problem() == code, reply
    assert reply.headers["connection"] == "close", reply
    assert client.ended()
    return reply


def test_long_heads(serve):
    server = serve("--max-header-bytes", "2000")
    fits = 2000 - len(REQUEST) - len(b"X: \r\n")
    assert server.get("/x", b"X: " + b"y" * fits + b"\r\n").status == 200
    for head, status, code in (
        (REQUEST.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * (fits + 1) + b"\r\n\r\n"), 431, "header_too_large"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100000, 431, "header_too_large"),
        (b"GET /" + b"x" * 100000, 414, "target_too_long"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n" + b"A:\r\n" * 101 + b"\r\n", 431, "header_too_large"),
    ):
        with server.connect() as client:
            refused(client.send(head), status, code)


def test_long_bodies(serve):
    server = serve("--max-body-bytes", "1000")
    chunks = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    longest = b"x" * 1000
    for good in (HEAD + b"Content-Length: 1000\r\n\r\n" + longest, chunks + b"3e8\r\n" + longest + b"\r\n0\r\n\r\n"):
        with server.connect() as client:
            assert len(client.send(good).reply().json()["body"]) == 1000
    for long in (
        HEAD + b"Content-Length: 1001\r\n\r\n",
        # The answer reaches a client though it goes on sending.
        HEAD + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3000000,
        chunks + b"3e9\r\n",
        chunks + b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501,
        chunks + b"ffffffffffffffff\r\n",
    ):
        with server.connect() as client:
            refused(client.send(long), 413, "body_too_large")


def test_slow_header(serve):
    server = serve("--header-timeout", "1")
    # Bytes that keep coming do not put it off.
    with server.connect() as client:
        took = client.trickle(b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000, 0.05, 20)
        assert 0.9 < took < 15
        refused(client, 408, "timeout")
    # Nor does a connection that has had a request already.
    with server.connect() as client:
        assert client.send(REQUEST).reply().status == 200
        assert client.trickle(b"GET /x HTTP/1.1\r\nX: " + b"y" * 1000, 0.05, 20) > 0.9
        refused(client, 408, "timeout")
    # Who says nothing gets no answer.
    with server.connect() as client:
        assert client.ended()


def test_slow_body(serve):
    server = serve("--body-timeout", "1", "--header-timeout", "30")
    for begin in (HEAD + b"Content-Length: 1000\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"):
        with server.connect() as client:
            client.send(begin)
            assert client.trickle(b"1\r\nx\r\n" * 200, 0.05, 20) > 0.9
            refused(client, 408, "timeout")


def test_idle_connection(serve):
    server = serve("--idle-timeout", "1", "--header-timeout", "30")
    with server.connect() as client:
        assert client.send(REQUEST).reply().status == 200
        begun = time.monotonic()
        assert client.ended()
        assert 0.9 < time.monotonic() - begun < 15


def test_slow_reader(serve):
    server = serve("--write-timeout", "1")
    with server.connect(buffer=4096) as client:
        client.send(b"GET /big?bytes=50000000 HTTP/1.1\r\nHost: a\r\nX-Request-Id: big\r\n\r\n")
        line = server.wait_for("request", request_id="big")
        assert line["complete"] is False
        assert len(client.rest()) < 50000000


def test_slow_handler(serve):
    server = serve("--request-timeout", "1")
    with server.connect() as client:
        for path in (b"/slow?ms=100000", b"/stuck?ms=3000"):
            reply = client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path).reply()
            assert reply.status == 503 and reply.problem() == "timeout"
        assert client.send(REQUEST).reply().status == 200
        assert b"sync_gateway_request_timeouts_total 2" in server.get("/metrics").body


def test_requests_of_a_connection(serve):
    server = serve("--max-requests-per-connection", "2")
    with server.connect() as client:
        client.send(REQUEST * 3)
        assert "connection" not in client.reply().headers
        assert client.reply().headers["connection"] == "close"
        assert client.ended()


def occupy(server, count, source="127.0.0.1"):
    clients = [server.connect(source) for _ in range(count)]
    for client in clients:
        assert client.send(REQUEST).reply().status == 200
    return clients


def test_connections(serve):
    server = serve("--max-connections", "3")
    held = occupy(server, 3)
    with server.connect() as client:
        assert refused(client.send(REQUEST), 503, "too_many_connections").headers["retry-after"] == "1"
    held.pop().close()
    # The server learns of the end a moment later.
    told = wait_until(lambda: (reply := server.get("/metrics")).status == 200 and reply, "a place for another")
    assert b'sync_gateway_refused_connections_total{reason="connections"}' in told.body
    for client in held:
        assert client.send(REQUEST).reply().status == 200


def test_connections_of_a_client(serve):
    server = serve("--max-connections-per-client", "2", "--trusted-proxy", "127.0.0.3")
    occupied = occupy(server, 2)
    with server.connect() as client:
        refused(client.send(REQUEST), 503, "too_many_connections")
    with server.connect("127.0.0.2") as client:
        assert client.send(REQUEST).reply().status == 200
    occupied += occupy(server, 5, "127.0.0.3")
    assert len(occupied) == 7


@pytest.mark.parametrize("flags", [("--listen", "nowhere"), ("--trusted-proxy", "x"), ("--max-connections", "0"),
                                   ("--tls-cert", "x"), ("--public-url", "here")])
def test_options_that_cannot_be(serve, flags):
    with pytest.raises(AssertionError, match="ended without"):
        serve(*flags)


def test_address_in_use(serve):
    server = serve()
    with pytest.raises(AssertionError, match="already in use"):
        serve("--listen", f"127.0.0.1:{server.port}")
