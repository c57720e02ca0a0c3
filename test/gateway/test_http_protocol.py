"""What the server takes for a request, what it refuses, and what its answers look like."""

import pytest
from harness.gateway import REQUEST

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"

# A request that two servers could read differently, or that is none: what is sent, the answer's status and code.
MALFORMED = {
    "length and coding": (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding and length": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "the same length twice": (HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "a list of lengths": (HEAD + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "a length with a sign": (HEAD + b"Content-Length: +5\r\n\r\nhello", 400),
    "a negative length": (HEAD + b"Content-Length: -5\r\n\r\nhello", 400),
    "a hexadecimal length": (HEAD + b"Content-Length: 0x5\r\n\r\nhello", 400),
    "an empty length": (HEAD + b"Content-Length:\r\n\r\nhello", 400),
    "a length beyond all numbers": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "an unknown coding": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "identity": (HEAD + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "something like chunked": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "chunked and more": (HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    "chunked twice": (HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked in two fields": (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "quoted chunked": (HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "chunked behind a vertical tab": (HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "no coding": (HEAD + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a blank before the colon": (HEAD + b"Content-Length : 5\r\n\r\nhello", 400),
    "a tab before the colon": (HEAD + b"X-A\t: 5\r\n\r\n", 400),
    "a folded line": (HEAD + b"X-A: 1\r\n 2\r\n\r\n", 400),
    "a folded coding": (HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "a folded first line": (b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "a bare LF": (b"GET /x HTTP/1.1\nHost: a\n\n", 400),
    "a bare LF between fields": (HEAD + b"X-A: 1\nX-B: 2\r\n\r\n", 400),
    "a bare LF at the end": (HEAD + b"X-A: 1\r\n\n", 400),
    "a bare CR in a value": (HEAD + b"X-A: 1\rX-B: 2\r\n\r\n", 400),
    "CR CR LF": (HEAD + b"X-A: 1\r\r\n\r\n", 400),
    "NUL in a value": (HEAD + b"X-A: 1\x002\r\n\r\n", 400),
    "DEL in a value": (HEAD + b"X-A: 1\x7f2\r\n\r\n", 400),
    "NUL in the target": (b"GET /x\x00y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab in the target": (b"GET /x\ty HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a blank in the target": (b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bytes beyond ASCII in the target": (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a backslash": (b"GET /x\\y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an escape that is none": (b"GET /x%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "half an escape": (b"GET /x%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target without a slash": (b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an address of another scheme": (b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an address of another host": (b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no host": (b"GET /x HTTP/1.1\r\n\r\n", 400),
    "an empty host": (b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two hosts": (b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "two hosts in one": (b"GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "two hosts in HTTP/1.0": (b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a host with a path": (b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "no colon": (HEAD + b"X-A\r\n\r\n", 400),
    "no name": (HEAD + b": 1\r\n\r\n", 400),
    "a name with brackets": (HEAD + b"X(A): 1\r\n\r\n", 400),
    "a method that is no word": (b"G@T /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no version": (b"GET /x\r\nHost: a\r\n\r\n", 400),
    "a lower case version": (b"GET /x http/1.1\r\nHost: a\r\n\r\n", 400),
    "a version of one number": (b"GET /x HTTP/1\r\nHost: a\r\n\r\n", 400),
    "two blanks": (b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a blank at the end": (b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "many empty lines": (b"\r\n" * 5 + REQUEST, 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /x HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    "TRACE": (b"TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "an expectation": (HEAD + b"Expect: a-pony\r\nContent-Length: 5\r\n\r\nhello", 417),
}
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "no number": b"xyz\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a blank before": b" 5\r\nhello\r\n0\r\n\r\n",
    "nothing": b"\r\nhello\r\n0\r\n\r\n",
    "a number beyond all numbers": b"fffffffffffffffff\r\n",
    "more data than said": b"5\r\nhelloworld\r\n0\r\n\r\n",
    "a bare LF": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "an extension that is none": b"5;\x00\r\nhello\r\n0\r\n\r\n",
    "an extension without end": b"5;x=" + b"y" * 20000,
    "a trailer without end": b"5\r\nhello\r\n0\r\n" + b"X-A: 1\r\n" * 3000,
    "a length in the trailer": b"5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n",
    "a coding in the trailer": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a trailer that is none": b"5\r\nhello\r\n0\r\nX A\r\n\r\n",
    "a folded trailer with a bare LF": b"5\r\nhello\r\n0\r\nX-A: 1\n 2\r\n\r\n",
}
CODES = {400: "malformed_request", 417: "unknown_expectation", 505: "unknown_http_version"}


def refused(client, status, code=None):
    reply = client.reply()
    assert reply.status == status, reply
    told = reply.problem()
    assert code is None or told == code, reply
    assert reply.headers["connection"] == "close", reply
    assert client.ended(), "something was answered after a request was refused"
    return reply


@pytest.mark.parametrize("name", MALFORMED)
def test_refused(common, name):
    sent, status = MALFORMED[name]
    with common.connect() as client:
        # What follows must not be taken for a request: nobody knows where it begins.
        client.send(sent + REQUEST)
        refused(client, status, CODES.get(status))


@pytest.mark.parametrize("name", MALFORMED)
def test_refused_byte_by_byte(common, name):
    sent, status = MALFORMED[name]
    with common.connect() as client:
        for byte in sent:
            client.send(bytes([byte]))
        refused(client, status)


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_chunks_refused(common, name):
    with common.connect() as client:
        client.send(CHUNKED + BAD_CHUNKS[name] + REQUEST)
        refused(client, 400, "malformed_request")


def test_echo(common):
    with common.connect() as client:
        client.send(b"PUT /a%20b/c?d=e&f HTTP/1.1\r\nhOsT: a.example:80\r\nX-One:  two \r\nX-one:\r\n"
                    b"Content-Length: 5\r\n\r\nhello")
        told = client.reply().json()
        assert told["method"] == "PUT" and told["target"] == "/a%20b/c?d=e&f"
        assert told["path"] == "/a%20b/c" and told["query"] == "d=e&f"
        assert told["body"] == "hello" and told["client"] == "127.0.0.1" and told["secure"] == "no"
        assert told["headers"]["host"] == "a.example:80"
        assert common.get("/x", b"X-A: \tb c\t \r\n").json()["headers"]["x-a"] == "b c"
        assert common.get("/x", b"X-A: \xff\xfe\r\n").status == 200


def test_chunked_body(common):
    with common.connect() as client:
        for piece in (CHUNKED, b"5;name=value;other=\"quoted\"\r\nhel", b"lo\r\n", b"00006\r", b"\n world\r\n0;x\r\n",
                      b"Authorization: smuggled\r\n", b"\r\n", REQUEST):
            client.send(piece)
        told = client.reply().json()
        assert told["body"] == "hello world"
        # What stands behind the body is none of the header's business.
        assert "authorization" not in told["headers"]
        assert client.reply().json()["method"] == "GET"


def test_answers_header(common):
    reply = common.get("/x")
    assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["cache-control"] == "no-store"
    assert reply.headers["date"].endswith(" GMT") and len(reply.headers["x-request-id"]) == 32
    assert "strict-transport-security" not in reply.headers and "connection" not in reply.headers
    reply = common.get("/headers")
    assert reply.headers["cache-control"] == "max-age=5" and reply.headers["content-length"] == str(len(reply.body))
    assert not {"x-split", "x-injected", "x bad", "transfer-encoding"} & set(reply.headers)


def test_request_id(common):
    assert common.get("/x", b"X-Request-Id: a-B_9.c\r\n").headers["x-request-id"] == "a-B_9.c"
    for odd in (b"", b"a b", b"a" * 65, b"a\"b", b"\xff"):
        assert len(common.get("/x", b"X-Request-Id: " + odd + b"\r\n").headers["x-request-id"]) == 32


def test_keep_alive(common):
    with common.connect() as client:
        for _ in range(3):
            assert client.send(REQUEST).reply().status == 200
        client.send(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n") + REQUEST)
        assert client.reply().headers["connection"] == "close"
        assert client.ended()


def test_http_1_0(common):
    with common.connect() as client:
        client.send(b"GET /x HTTP/1.0\r\n\r\n")
        assert client.head().headers["connection"] == "close"
    with common.connect() as client:
        for _ in range(2):
            client.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert client.reply().headers["connection"] == "keep-alive"


def test_pipelining(common):
    with common.connect() as client:
        # The first takes longer than the others, and is answered first.
        client.send(b"GET /slow?ms=200 HTTP/1.1\r\nHost: a\r\n\r\n"
                    + b"".join(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d\r\n" % (n, n)
                               for n in range(40)))
        assert client.reply().json()["path"] == "/slow"
        for n in range(40):
            told = client.reply().json()
            assert told["path"] == f"/{n}" and told["body"] == f"{n:02}"


def test_head(common):
    with common.connect() as client:
        client.send(b"HEAD /big?bytes=1234 HTTP/1.1\r\nHost: a\r\n\r\n" + REQUEST)
        assert client.reply("HEAD").headers["content-length"] == "1234"
        assert client.reply().json()["path"] == "/x"
        client.send(b"HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.reply("HEAD").headers["content-type"] == "text/event-stream"
        assert client.ended()


@pytest.mark.parametrize("status", [204, 304])
def test_no_body(common, status):
    with common.connect() as client:
        client.send(b"GET /x?status=%d HTTP/1.1\r\nHost: a\r\n\r\n" % status + REQUEST)
        reply = client.reply()
        assert reply.status == status and "content-length" not in reply.headers
        assert client.reply().status == 200


def test_absolute_target(common):
    with common.connect() as client:
        client.send(b"GET HTTP://A/x?y HTTP/1.1\r\nHost: a\r\n\r\nGET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n")
        told = client.reply().json()
        assert told["path"] == "/x" and told["query"] == "y"
        told = client.reply().json()
        assert told["path"] == "/" and told["query"] == "y"
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.reply().json()["path"] == "*"


def test_expect_continue(common):
    with common.connect() as client:
        client.send(HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.reply().status == 100
        assert client.send(b"hello").reply().json()["body"] == "hello"
        # Who does not wait is not told to go on.
        client.send(HEAD + b"Content-Length: 5\r\nExpect: 100-Continue\r\n\r\nhello")
        assert client.reply().json()["body"] == "hello"
    with common.connect() as client:
        client.send(HEAD + b"Content-Length: 50000000\r\nExpect: 100-continue\r\n\r\n")
        refused(client, 413, "body_too_large")


def test_upgrade_is_ignored(common):
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    assert common.get("/x", upgrade).status == 200


def test_client_that_ends_its_side(common):
    with common.connect() as client:
        client.send(b"GET /slow?ms=200 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.socket.shutdown(1)
        assert client.reply().status == 200
        assert client.ended()


def test_handler_that_throws(common):
    with common.connect() as client:
        reply = client.send(b"GET /throw?a HTTP/1.1\r\nHost: a\r\n\r\n").reply()
        assert reply.status == 500 and reply.problem() == "internal"
        assert "this handler" not in reply.body.decode()
        assert client.send(REQUEST).reply().status == 200
    line = common.wait_for("a request failed", request_id=reply.headers["x-request-id"])
    assert line["error"] == "this handler throws"


def test_access_log(common):
    with common.connect() as client:
        client.send(b"POST /hooks/github/whk_0123456789abcdef?secret=topsecret HTTP/1.1\r\nHost: a\r\n"
                    b"Authorization: Bearer topsecret\r\nX-Request-Id: the-one\r\nContent-Length: 9\r\n\r\ntopsecret")
        size = len(client.reply().body)
    line = common.wait_for("request", request_id="the-one")
    assert line["method"] == "POST" and line["path"] == "/hooks/github/***" and line["status"] == 200
    assert line["bytes"] == size and line["client"] == "127.0.0.1" and 0 < line["duration_ms"] < 60000
    assert line["complete"] is True
    assert "topsecret" not in common.output() and "whk_0123" not in common.output()


def test_metrics(common):
    with common.connect() as client:
        for method in (b"GET", b"DELETE", b"BREW", b"BOIL"):
            assert client.send(method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n").reply().status == 200
        client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        text = client.reply().body.decode()
    assert 'sync_gateway_requests_total{method="DELETE",status="2xx"}' in text
    assert 'method="other"' in text and "BREW" not in text
    assert 'sync_gateway_request_seconds_bucket{le="0.005"}' in text
    assert "sync_gateway_connections " in text and "sync_gateway_streams " in text
