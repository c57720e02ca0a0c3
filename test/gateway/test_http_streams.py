"""Streams of events: how they go over the wire, and how they end."""

import signal

from harness.gateway import REQUEST
from harness.waiting import wait_until


def events(query=b"", version=b"1.1", extra=b""):
    return b"GET /events?%s HTTP/%s\r\nHost: a\r\nX-Request-Id: stream\r\n%s\r\n" % (query, version, extra)


def streams(server):
    return int(server.get("/streams").body)


def test_stream(serve):
    server = serve()
    with server.connect() as client:
        reply = client.send(events(b"count=3")).reply()
        assert reply.headers["content-type"] == "text/event-stream" and reply.headers["connection"] == "close"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.body == b": hello\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n"
        assert client.ended()
    line = server.wait_for("request", request_id="stream")
    assert line["bytes"] == len(reply.body) and line["complete"] is True
    with server.connect() as client:
        assert client.send(events(b"count=2", b"1.0")).reply().body == b": hello\n\ndata: 1\n\ndata: 2\n\n"
    assert streams(server) == 0


def test_client_leaves(serve):
    server = serve()
    # Nothing is written for an hour: only the client's end can tell.
    with server.connect() as client:
        client.send(events(b"ms=3600000")).until(b"hello")
        assert streams(server) == 1
        assert b"sync_gateway_streams 1" in server.get("/metrics").body
    wait_until(lambda: streams(server) == 0, "the stream's end")
    assert server.wait_for("request", request_id="stream")["complete"] is False
    assert b"sync_gateway_streams 0" in server.get("/metrics").body


def test_client_that_talks(serve):
    server = serve()
    with server.connect() as client:
        client.send(events(b"ms=5")).until(b"data: 1")
        client.send(REQUEST)
        client.until(b"data: 50")
        client.send(b"x" * 100000)
        client.rest()
    wait_until(lambda: streams(server) == 0, "the stream's end")


def test_reader_that_takes_nothing(serve):
    server = serve("--write-timeout", "1")
    with server.connect(buffer=4096) as client:
        client.send(events(b"ms=0&bytes=500000"))
        assert server.wait_for("request", request_id="stream")["complete"] is False
        assert streams(server) == 0


def test_stop_ends_streams(serve):
    server = serve()
    for version in (b"1.1", b"1.0"):
        with server.connect() as one:
            one.send(events(b"ms=3600000", version)).until(b"hello")
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.send(events(b"ms=3600000"))
        client.head()
    old = server.connect()
    old.send(events(b"ms=3600000", b"1.0")).head()
    server.signal(signal.SIGTERM)
    for client in clients:
        rest = client.rest()
        assert rest.endswith(b"retry: 1000\nevent: stopping\ndata: {}\n\n\r\n0\r\n\r\n"), rest
    assert old.rest().endswith(b"event: stopping\ndata: {}\n\n")
    assert server.wait() == 0
    assert server.requests(complete=True, path="/events", status=200)
