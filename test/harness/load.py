"""Load on gateways by senders that repeat what was not answered, and a function that runs while more arrives."""

import dataclasses
import hashlib
import hmac
import http.client
import http.server
import json
import threading
import time

from .waiting import PATIENCE, wait_until

SUCCESS = (200, 202)


@dataclasses.dataclass(frozen=True)
class Hook:
    id: int
    connection: int
    path: str
    secret: str


def post(gateway, path, body, headers):
    """The answer's (status, object), or None where there was none: nobody listens, or the connection broke."""
    client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
    try:
        client.request("POST", path, body, headers)
        reply = client.getresponse()
        text = reply.read()
        return reply.status, json.loads(text)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        client.close()


class Progress:
    """How many requests have been answered well, for those who wait for more of them."""

    def __init__(self):
        self.changed = threading.Condition()
        self.count = 0
        self.ended = False

    def step(self):
        with self.changed:
            self.count += 1
            self.changed.notify_all()

    def end(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, more):
        """Until so many more have been answered, or there are no more to come. False: neither in good time."""
        with self.changed:
            goal = self.count + more
            return self.changed.wait_for(lambda: self.ended or self.count >= goal, PATIENCE)


class Load:
    """`gateways` may change meanwhile: a gateway that was killed makes room for its successor."""

    def __init__(self, gateways, hooks, token, progress):
        self.gateways = gateways
        self.hooks = hooks
        self.token = token
        self.progress = progress
        self.lock = threading.Lock()
        self.outcomes = {}  # (hook's id, delivery id): outcomes of the answers
        self.triggers = []  # (connection, when it was sent first) of those answered
        self.unanswered = 0
        self.faults = []
        self.threads = []

    def start(self, senders, triggerers):
        work = [(self.deliveries, number) for number in range(senders)]
        work += [(self.triggering, number) for number in range(triggerers)]
        for target, number in work:
            self.threads.append(threading.Thread(target=self.guarded, args=(target, number), daemon=True))
            self.threads[-1].start()

    def stop(self):
        """Once everybody has got the answer to what was sent last."""
        self.progress.end()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a sender gets no answer"
        assert not self.faults, self.faults[0]

    def guarded(self, target, number):
        try:
            target(number)
        except Exception as fault:
            with self.lock:
                self.faults.append(fault)

    def until_answered(self, first, path, body, headers):
        """Sends it, by one gateway after the other, until it is answered with 2xx."""
        turn = first

        def answered():
            nonlocal turn
            reply = post(self.gateways[turn % len(self.gateways)], path, body, headers)
            turn += 1
            if reply and reply[0] in SUCCESS:
                self.progress.step()
                return reply
            assert reply is None or reply[0] == 503, f"{path}: {reply}"
            with self.lock:
                self.unanswered += 1
            return None

        return wait_until(answered, f"an answer to {path}")

    def deliver(self, turn, hook, delivery):
        body = json.dumps({"delivery": delivery}).encode()
        signature = hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": delivery,
                   "X-Hub-Signature-256": f"sha256={signature}"}
        _, told = self.until_answered(turn, hook.path, body, headers)
        with self.lock:
            self.outcomes.setdefault((hook.id, delivery), []).append(told["outcome"])

    def deliveries(self, sender):
        """Every fourth is sent by all senders, at about the same time; every fifth by this one once more."""
        number = 0
        while not self.progress.ended:
            name = f"all-{number}" if number % 4 == 0 else f"{sender}-{number}"
            hook = self.hooks[number % len(self.hooks)]
            for turn in range(2 if number % 5 == 0 else 1):
                self.deliver(sender + turn, hook, name)
            number += 1

    def triggering(self, sender):
        number = 0
        while not self.progress.ended:
            connection = self.hooks[(sender + number) % len(self.hooks)].connection
            headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": f"{sender}-{number}"}
            sent = time.time()
            self.until_answered(sender + number, f"/api/v2/connections/{connection}/trigger", None, headers)
            with self.lock:
                self.triggers.append((connection, sent))
            number += 1


class SlowFunction:
    """A connector's function that answers when two more requests have been answered at the gateways, so that something
    arrives while it runs. Every third run has two pages."""

    def __init__(self, progress):
        self.progress = progress
        self.lock = threading.Lock()
        self.calls = []  # (connection, when it was called, delivery ids)
        function = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reply = json.dumps(function.answer(asked)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def handle(self):
                # The executor may have been killed meanwhile.
                try:
                    super().handle()
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, asked):
        events = (asked["input"] or {}).get("events", [])
        with self.lock:
            self.calls.append((asked["connection"]["id"], time.time(), [e["delivery_id"] for e in events]))
        self.progress.wait_for(2)
        pages = (asked["cursor"] or {"pages": 0})["pages"] + 1
        return {"signals": [], "next_cursor": {"pages": pages}, "has_more": pages % 4 == 3}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
