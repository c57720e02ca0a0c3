"""The HTTP server of sync-gateway as a process, and connections to it that send what no library would."""

import json
import socket
import ssl
import time

from .process import Process, executable
from .waiting import PATIENCE

REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class EchoServer(Process):
    """The server with the tests' own handler, which needs no database."""

    def __init__(self, folder, number, *flags, **popen):
        command = [executable("gateway_echo_server", "SYNC_GATEWAY_ECHO", "unit"), "--listen", "127.0.0.1:0", *flags]
        super().__init__(folder, "sync-gateway", f"gateway-{number}", command, **popen)
        try:
            self.port = self.wait_for("listening")["port"]
        except BaseException:
            self.kill()
            raise

    def connect(self, source="127.0.0.1", tls=None, buffer=None):
        return Client(self.port, source, tls, buffer)

    def get(self, target="/x", headers=b""):
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")
            return client.reply()

    def requests(self, **fields):
        """The lines of the log of requests."""
        return self.lines("request", **fields)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"

    def json(self):
        return json.loads(self.body)

    def problem(self):
        """Of an answer that is one: its code."""
        assert self.headers["content-type"] == "application/problem+json", self
        told = self.json()
        assert told["status"] == self.status and told["request_id"] == self.headers["x-request-id"], self
        return told["code"]


class Client:
    def __init__(self, port, source="127.0.0.1", tls=None, buffer=None):
        raw = socket.socket()
        if buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        raw.bind((source, 0))
        raw.settimeout(PATIENCE)
        raw.connect(("127.0.0.1", port))
        self.socket = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """What can be sent: the server may have closed meanwhile."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def trickle(self, data, pause, seconds=PATIENCE):
        """Byte by byte until the server answers or ends the connection, or all is sent. How long that took."""
        begun = time.monotonic()
        self.socket.settimeout(pause)
        for byte in data:
            try:
                self.socket.sendall(bytes([byte]))
                more = self.socket.recv(65536)
                self.received += more
                break
            except TimeoutError:
                pass
            except ConnectionError:
                break
            assert time.monotonic() - begun < seconds, "the server lets itself be kept waiting"
        self.socket.settimeout(PATIENCE)
        return time.monotonic() - begun

    def receive(self):
        try:
            more = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            more = b""
        self.received += more
        return bool(more)

    def until(self, text):
        while text not in self.received:
            assert self.receive(), f"ended without {text!r}: {self.received[-300:]!r}"
        before, self.received = self.received.split(text, 1)
        return before

    def take(self, count):
        while len(self.received) < count:
            assert self.receive(), f"ended after {len(self.received)} bytes of {count}"
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1."), lines
        headers = {}
        for name, value in (line.split(": ", 1) for line in lines[1:]):
            assert name.lower() not in headers, f"{name} stands there twice"
            headers[name.lower()] = value
        return Reply(int(lines[0].split(" ")[1]), headers, b"")

    def reply(self, to="GET"):
        """The next whole reply; one of 100 is returned by itself."""
        reply = self.head()
        return reply if to == "HEAD" else self.finish(reply)

    def finish(self, reply):
        """With its body, of which only the head has been read."""
        if reply.status in (100, 204, 304):
            return reply
        if reply.headers.get("transfer-encoding") == "chunked":
            while (size := int(self.until(b"\r\n"), 16)) > 0:
                reply.body += self.take(size)
                assert self.take(2) == b"\r\n"
            assert self.take(2) == b"\r\n"
        elif "content-length" in reply.headers:
            reply.body = self.take(int(reply.headers["content-length"]))
        else:
            reply.body = self.rest()
        return reply

    def rest(self):
        """All until the server ends the connection."""
        while self.receive():
            pass
        rest, self.received = self.received, b""
        return rest

    def ended(self):
        """Whether nothing but the end is left."""
        return self.rest() == b""
