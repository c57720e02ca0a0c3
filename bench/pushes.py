"""Signed pushes as GitHub sends them, at an even pace whether or not those before have been answered."""

import asyncio
import hashlib
import hmac
import json
import time

PUSH = {"ref": "refs/heads/main", "before": "0" * 40, "after": "1" * 40, "repository": {"full_name": "acme/rockets"},
        "pusher": {"name": "bench"}, "commits": [{"id": "1" * 40, "message": "x" * 400, "added": ["a"] * 20}]}
REPLY = b"HTTP/1.1 202 "


def request(number, path, secret):
    body = json.dumps({**PUSH, "number": number}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    head = (f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"User-Agent: GitHub-Hookshot/bench\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: push-{number}\r\n"
            f"X-Hub-Signature-256: sha256={signature}\r\n\r\n")
    return head.encode() + body


class Sender:
    """Keeps connections for the next push, as many as are ever under way at once."""

    def __init__(self, port):
        self.port = port
        self.idle = []
        self.answered = {}  # number of the push: seconds from when it was due until its answer
        self.faults = []

    async def send(self, number, message, due):
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = await reader.readexactly(length)
        self.answered[number] = time.time() - due
        if not head.startswith(REPLY):
            self.faults.append(head + body)
        self.idle.append((reader, writer))

    async def send_all(self, messages, rate):
        """When each was due, by this machine's clock."""
        began = time.time() + 0.1
        tasks, due = [], []
        for number, message in enumerate(messages):
            due.append(began + number / rate)
            await asyncio.sleep(max(0, due[-1] - time.time()))
            tasks.append(asyncio.create_task(self.send(number, message, due[-1])))
        await asyncio.gather(*tasks)
        for _, writer in self.idle:
            writer.close()
        return due


def run(port, hooks, rate):
    """Of [(path, secret)], a push each: when each was due, how long its answer took, and answers that were not 202."""
    messages = [request(number, path, secret) for number, (path, secret) in enumerate(hooks)]
    sender = Sender(port)
    due = asyncio.run(sender.send_all(messages, rate))
    return due, sender.answered, sender.faults
