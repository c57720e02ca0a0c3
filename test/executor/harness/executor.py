"""sync-executor as a process: its log is read as it grows."""

import json
import os
import pathlib
import shutil
import signal
import subprocess

from .server import DATABASE_PASSWORD
from .waiting import PATIENCE, wait_until

# Values that no output may ever contain; tests add theirs.
PLANTED_SECRETS = {DATABASE_PASSWORD}

SHORT_CYCLES = ("--poll-seconds", "0.2", "--heartbeat-seconds", "1", "--drain-seconds", "20", "--log-level", "debug")
LOOPBACK = ("--allow-private-addresses", "loopback")


def executable():
    """SYNC_EXECUTOR, or the build folder's, or the one on the path."""
    built = pathlib.Path(__file__).parents[3] / "build" / "sync-executor"
    chosen = os.environ.get("SYNC_EXECUTOR") or (str(built) if built.exists() else shutil.which("sync-executor"))
    assert chosen, "no sync-executor: build it, or name it in SYNC_EXECUTOR"
    return chosen


def environment(**extra):
    """Ours without what would lead libpq or the executor elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "SYNC_EXECUTOR"))}
    return {**kept, **extra}


class Executor:
    def __init__(self, folder, number, url, *flags, env=None, within=()):
        self.folder = pathlib.Path(folder)
        self.out = self.folder / f"executor-{number}.out"
        self.log = self.folder / f"executor-{number}.log"
        self.command = [*within, executable(), *flags]
        extra = {"SYNC_EXECUTOR_DATABASE_URL": url} if url else {}
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=log, env=environment(**extra, **(env or {})), cwd=self.folder
            )

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.out.read_text(errors="replace") + self.log.read_text(errors="replace")

    def lines(self, msg=None, **fields):
        """The log's objects so far, those with this message and these fields."""
        found = []
        for raw in self.log.read_text(errors="replace").splitlines():
            if raw.startswith("{") and raw.endswith("}"):
                line = json.loads(raw)
                if (msg is None or line["msg"] == msg) and all(line.get(k) == v for k, v in fields.items()):
                    found.append(line)
        return found

    def wait_for(self, msg, **fields):
        def seen():
            found = self.lines(msg, **fields)
            if not found and self.process.poll() is not None:
                raise AssertionError(f"ended without {msg!r} {fields}:\n{self.output()[-4000:]}")
            return found

        return wait_until(seen, lambda: f"{msg!r} {fields} in\n{self.output()[-4000:]}")[0]

    def ready(self):
        self.wait_for("registered")
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=PATIENCE):
        """Its exit status; negative: the signal that killed it."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running:\n{self.output()[-4000:]}") from None

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        """Ends it if it runs, then checks what every executor owes: JSON lines only, and no secret."""
        if self.process.poll() is None:
            self.kill()
        text = self.output()
        for raw in self.log.read_text(errors="replace").splitlines()[:-1]:
            assert raw.startswith("{") or raw.startswith("sync-executor: "), f"not a log line: {raw}\n{text[-6000:]}"
        for secret in PLANTED_SECRETS:
            assert secret not in text, f"a planted secret is in the output of {self.command}"
