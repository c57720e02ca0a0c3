"""Streams of server-sent events, read as they come."""

import json
import time
import urllib.parse

from .waiting import PATIENCE

END = "end"


class Stream:
    """A stream that is read as it comes. HTTP/1.0: nothing but the events, until the connection ends."""

    def __init__(self, gateway, token, last=None, buffer=None, **query):
        self.client = gateway.connect(buffer)
        self.position = None
        target = "/api/v2/events" + ("?" + urllib.parse.urlencode(query) if query else "")
        lines = f"GET {target} HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        if last:
            lines += f"Last-Event-ID: {last}\r\n"
        self.client.send(lines.encode() + b"\r\n")
        self.head = self.client.head()
        self.events = []
        if self.head.status == 200:
            assert self.head.headers["content-type"] == "text/event-stream"
            self.opening = self.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def read(self):
        """The next block of lines as a dictionary; comments are left out."""
        block = {}
        for line in self.client.until(b"\n\n").decode().split("\n"):
            if line and not line.startswith(":"):
                name, value = line.split(": ", 1)
                block[name] = value
        self.position = block.get("id", self.position)
        return block

    def next(self):
        """The next event: its kind and data."""
        # What keeps a quiet stream alive is no answer.
        deadline = time.monotonic() + PATIENCE
        while "event" not in (block := self.read()):
            assert time.monotonic() < deadline, "no event comes"
        return block["event"], json.loads(block["data"])

    def until(self, wanted):
        """All events up to one of which wanted(kind, data) is true, which is the last one."""
        found = [self.next()]
        while not wanted(*found[-1]):
            assert found[-1][0] != END, found
            found.append(self.next())
        return found


def connection_is(status):
    return lambda kind, data: kind == "connection" and data["connection"]["status"] == status
