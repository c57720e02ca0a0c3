"""Whom the server takes for the client when proxies stand between."""

import pytest

CASES = {
    "none": (b"", "127.0.0.1"),
    "one": (b"X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"),
    "the client's own word": (b"X-Forwarded-For: 1.1.1.1, 203.0.113.7\r\n", "203.0.113.7"),
    "a chain": (b"X-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.1.2.3\r\n", "203.0.113.7"),
    "in two fields": (b"X-Forwarded-For: 1.1.1.1, 203.0.113.7\r\nX-Forwarded-For: 10.1.2.3\r\n", "203.0.113.7"),
    "with a port": (b"X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7"),
    "IPv6": (b"X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
    "IPv6 with a port": (b"X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1"),
    "an IPv4 address in IPv6": (b"X-Forwarded-For: ::ffff:203.0.113.7\r\n", "203.0.113.7"),
    "no address": (b"X-Forwarded-For: 1.1.1.1, unknown\r\n", "127.0.0.1"),
    "only proxies": (b"X-Forwarded-For: 10.9.9.9, 10.1.2.3\r\n", "10.9.9.9"),
    "behind no address": (b"X-Forwarded-For: 1.1.1.1, unknown, 10.1.2.3\r\n", "10.1.2.3"),
}


@pytest.fixture(scope="module")
def behind(workspace):
    from harness.gateway import EchoServer

    folder = workspace / "behind"
    folder.mkdir()
    server = EchoServer(folder, 0, "--trusted-proxy", "127.0.0.1, 10.0.0.0/8", "--trusted-proxy", "fd00::/8")
    yield server
    assert server.stop() == 0
    server.close()


@pytest.mark.parametrize("case", CASES)
def test_client(behind, case):
    sent, client = CASES[case]
    assert behind.get("/x", sent).json()["client"] == client


def test_scheme(behind):
    for sent, secure in ((b"https", "yes"), (b"HTTPS", "yes"), (b"http", "no"), (b"https, http", "no"), (b"", "no")):
        reply = behind.get("/x", b"X-Forwarded-Proto: " + sent + b"\r\n")
        assert reply.json()["secure"] == secure
        assert ("strict-transport-security" in reply.headers) == (secure == "yes")


def test_nobody_is_trusted(common):
    told = common.get("/x", b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n").json()
    assert told["client"] == "127.0.0.1" and told["secure"] == "no"


def test_others_are_not_trusted(behind):
    with behind.connect("127.0.0.2") as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
        assert client.reply().json()["client"] == "127.0.0.2"


def test_log_has_the_client(behind):
    reply = behind.get("/x", b"X-Forwarded-For: 203.0.113.99\r\n")
    line = behind.wait_for("request", request_id=reply.headers["x-request-id"])
    assert line["client"] == "203.0.113.99"
