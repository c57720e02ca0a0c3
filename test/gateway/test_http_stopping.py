"""How the server stops: what is under way ends well, and nothing holds it up for ever."""

import signal
import time

import pytest
from harness.gateway import REQUEST


def test_requests_under_way_finish(serve):
    server = serve()
    with server.connect() as slow, server.connect() as sending, server.connect() as idle, server.connect() as fresh:
        assert idle.send(REQUEST).reply().status == 200
        slow.send(b"GET /slow?ms=1500 HTTP/1.1\r\nHost: a\r\n\r\n")
        sending.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert sending.reply().status == 100
        server.signal(signal.SIGTERM)
        server.wait_for("draining")
        assert idle.ended() and fresh.ended()
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        for client in (sending.send(b"hello"), slow):
            reply = client.reply()
            assert reply.status == 200 and reply.headers["connection"] == "close"
            assert client.ended()
        assert server.wait() == 0


def test_pipelined_requests_are_not_begun(serve):
    server = serve()
    with server.connect() as client:
        client.send(b"GET /slow?ms=500 HTTP/1.1\r\nHost: a\r\n\r\n" + REQUEST)
        server.signal(signal.SIGINT)
        assert client.reply().headers["connection"] == "close"
        assert client.ended()
    assert server.wait() == 0


def test_drain_has_an_end(serve):
    server = serve("--drain-seconds", "1")
    with server.connect() as client:
        client.send(b"GET /slow?ms=3600000 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.send(b"")
        assert server.get().status == 200
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert 0.9 < time.monotonic() - begun < 20
        assert client.rest() == b""
    server.wait_for("requests that are still under way are cut off")


def test_handler_that_does_not_stop(serve):
    server = serve("--drain-seconds", "0.2")
    with server.connect() as client:
        client.send(b"GET /stuck?ms=3600000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.get().status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    server.wait_for("stopped while requests were under way")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal(serve, number):
    server = serve()
    with server.connect() as client:
        client.send(b"GET /slow?ms=3600000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.get().status == 200
        server.signal(signal.SIGTERM)
        server.wait_for("draining")
        server.signal(number)
        assert server.wait() == 128 + number


def test_stop_while_connections_come(serve):
    server = serve("--max-connections-per-client", "1000")
    clients = [server.connect() for _ in range(200)]
    for client in clients:
        client.send(REQUEST)
    server.signal(signal.SIGTERM)
    # All of them had come before the end.
    for client in clients:
        assert client.reply().status == 200
    assert server.wait() == 0


def test_stop_while_answers_are_written(serve):
    """A connection whose answer still says keep-alive when the server begins to stop must not idle on."""
    server = serve("--drain-seconds", "3600", "--max-connections-per-client", "1000")
    clients = [server.connect() for _ in range(200)]
    for client in clients:
        client.send(REQUEST * 50)
    clients[0].reply()
    server.signal(signal.SIGTERM)
    for client in clients:
        while client.receive():
            pass
    assert server.wait() == 0
