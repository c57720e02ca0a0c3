"""Receivers of webhooks: a node process, for the npm package `standardwebhooks` judges what arrives."""

import json
import os
import pathlib
import shutil
import subprocess
import threading

from .waiting import PATIENCE, wait_until

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = ROOT / "test" / "webhooks" / "receiver.mjs"


def verifier():
    """SYNC_WEBHOOK_VERIFIER, or where scripts/run-tests.sh installs the package."""
    chosen = os.environ.get("SYNC_WEBHOOK_VERIFIER") or str(ROOT / "build" / "npm" / "webhooks")
    package = pathlib.Path(chosen) / "node_modules" / "standardwebhooks"
    assert package.is_dir(), f"no npm package in {package}: run these tests by scripts/run-tests.sh"
    return chosen


class Receivers:
    """The process. `http` and `https` are the ports that it has from the start."""

    def __init__(self, certificate):
        node = shutil.which("node") or shutil.which("nodejs")
        assert node, "no node: run scripts/install-deps.sh"
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            [node, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "SYNC_WEBHOOK_VERIFIER": verifier()},
        )
        self.http = self.call("listen")
        self.https = self.listen(certificate)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def call(self, name, **parameters):
        with self.lock:
            self.process.stdin.write(json.dumps({"call": name, **parameters}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        assert line, f"the receiver ended at {name}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["ok"]

    def listen(self, certificate):
        """Another port, served over TLS with this certificate."""
        return self.call("listen", key=certificate.key.read_text(), cert=certificate.chain.read_text())

    def receiver(self, path, port=None):
        return Receiver(self, path, port or self.https)


class Receiver:
    """One URL; what lies below its path is another."""

    def __init__(self, receivers, path, port):
        self.receivers = receivers
        self.path = path
        scheme = "http" if port == receivers.http else "https"
        self.url = f"{scheme}://127.0.0.1:{port}{path}"

    def script(self, *behaviours):
        """What the next requests meet: {"status", "headers", "body", "after": seconds} or {"kind": ...}, see
        receiver.mjs. Those after them are answered with 204, or as behave() says."""
        self.receivers.call("script", path=self.path, behaviours=list(behaviours))

    def behave(self, **behaviour):
        self.receivers.call("behave", path=self.path, behaviour=behaviour)

    def requests(self, kind=None):
        """Those that have arrived whole; with `kind`, those of this event type."""
        found = [r for r in self.receivers.call("requests", under=self.path) if r["path"] == self.path]
        whole = [Request(self.receivers, r) for r in found if r["complete"]]
        return [r for r in whole if kind is None or r.type == kind]

    def wait(self, count=1, kind=None, what="", seconds=PATIENCE):
        """The requests once there are so many."""
        wait_until(
            lambda: self.receivers.call("count", path=self.path) >= count and len(self.requests(kind)) >= count,
            lambda: f"{count} requests {kind or ''} at {self.url}: {self.requests()[-20:]}\n"
            f"{what() if callable(what) else what}",
            seconds,
        )
        return self.requests(kind)


class Request:
    """What arrived."""

    def __init__(self, receivers, record):
        self.receivers = receivers
        self.record = record
        self.headers = record["headers"]
        self.body = record["body"]
        self.at = record["at"]
        self.id = self.headers.get("webhook-id")

    def __repr__(self):
        return f"{self.record['method']} {self.record['path']} {self.headers} {self.body[:300]}"

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def type(self):
        return self.json["type"]

    @property
    def timestamp(self):
        return int(self.headers["webhook-timestamp"])

    def closed(self):
        """Whether the sender has gone, or the answer is complete."""
        return self.receivers.call("requests", under=self.record["path"]) and next(
            r["closed"] for r in self.receivers.call("requests") if r["number"] == self.record["number"]
        )

    def genuine(self, secret, **changes):
        """Whether the npm package takes it for one signed with this secret; `changes`: other headers or body."""
        said = self.receivers.call("verify", number=self.record["number"], secret=secret, changes=changes)
        if said["genuine"] and not changes:
            assert said["body"] == self.json
        return said["genuine"]
