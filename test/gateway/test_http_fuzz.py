"""Random bytes and damaged requests: the server answers or ends the connection, lives, and serves others.

SEED=n repeats a run; FULL=1 sends ten times as much.
"""

import os
import random

from harness.gateway import REQUEST

SEED = int(os.environ.get("SEED", "20240607"))
ROUNDS = 30000 if os.environ.get("FULL") == "1" else 3000
GOOD = [
    REQUEST,
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"HEAD /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, [::1]:5\r\nX-Request-Id: abc\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b": ",
    b",", b";", b"%", b"%00", b"/", b"?", b"#",
    b"\xff", b"\x7f", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n", b"[", b"]", b"\xc3\xa4",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Host: b\r\n", b" folded\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n",
    b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"5\r\n",
    b"x" * 5000, b"A: b\r\n" * 120, b"X-Forwarded-For: " + b"1," * 500 + b"\r\n",
]


def damaged(rng):
    text = bytearray(b"".join(rng.choices(GOOD, k=rng.choice((1, 1, 1, 2, 3)))))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            text[at:at] = rng.choice(PIECES)
        elif kind == 1 and text:
            text[min(at, len(text) - 1)] = rng.randrange(256)
        elif kind == 2:
            del text[at:at + rng.choice((1, 1, 2, 10))]
        elif kind == 3:
            end = rng.randrange(len(text) + 1)
            text[at:at] = text[min(at, end):max(at, end)]
        elif kind == 4:
            del text[at:]
        else:
            piece = rng.choice(PIECES)
            text[at:at + len(piece)] = piece
    return bytes(text) if rng.random() < 0.97 else rng.randbytes(rng.randrange(1, 3000))


def answers(client):
    """Statuses of the replies until the end. Each must be one that is whole."""
    rest = client.rest()
    statuses = []
    while rest:
        assert rest.startswith(b"HTTP/1."), rest[:200]
        head, _, rest = rest.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        statuses.append(int(lines[0].split(b" ")[1]))
        length = [int(line[16:]) for line in lines if line.lower().startswith(b"content-length: ")]
        if length and rest[:length[0]].startswith(b"{"):
            assert len(rest) >= length[0], "an answer is cut short"
            rest = rest[length[0]:]
    return statuses


def test_damaged_requests(serve):
    server = serve("--header-timeout", "1", "--body-timeout", "1", "--idle-timeout", "1",
                   "--max-connections-per-client", "1000")
    rng = random.Random(SEED)
    seen = {}
    for number in range(ROUNDS):
        sent = damaged(rng)
        try:
            with server.connect() as client:
                cut = rng.randrange(len(sent) + 1)
                for part in (sent[:cut], sent[cut:]) if rng.random() < 0.3 else (sent,):
                    client.send(part)
                # The end of our side: what is unfinished is no request.
                try:
                    client.socket.shutdown(1)
                except OSError:
                    pass
                for status in answers(client):
                    seen[status] = seen.get(status, 0) + 1
            if number % 10 == 0:
                assert server.get().status == 200
        except Exception as error:
            raise AssertionError(f"SEED={SEED}, number {number}: {error!r} after {sent[:3000]!r}\n"
                                 f"{server.output()[-4000:]}") from error
    assert server.process.poll() is None
    # Damaged in all the ways there are, but not so much that nothing else is tested.
    assert {200, 400, 501, 505} <= set(seen) and not {500, 503} & set(seen), seen
    assert server.get().status == 200


def test_many_at_once(serve):
    server = serve("--header-timeout", "0.5", "--body-timeout", "0.5", "--idle-timeout", "0.5",
                   "--max-connections-per-client", "1000")
    rng = random.Random(SEED + 1)
    for _ in range(ROUNDS // 300):
        clients = [server.connect() for _ in range(100)]
        parts = [damaged(rng) for _ in clients]
        while any(parts):
            for at, client in enumerate(clients):
                size = rng.randrange(1, 400)
                client.send(parts[at][:size])
                parts[at] = parts[at][size:]
        for client in clients[::2]:
            client.close()
        assert server.get().status == 200
        for client in clients[1::2]:
            client.rest()
            client.close()
    assert server.get().status == 200
