"""A program of ours as a process: its log is read as it grows."""

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


def executable(name, variable, folder=""):
    """Named by the environment's variable, or the build folder's, or the one on the path."""
    built = pathlib.Path(__file__).parents[2] / "build" / folder / name
    chosen = os.environ.get(variable) or (str(built) if built.exists() else shutil.which(name))
    assert chosen, f"no {name}: build it, or name it in {variable}"
    return chosen


def environment(**extra):
    """Ours without what would lead libpq or our programs elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "SYNC_EXECUTOR", "SYNC_GATEWAY"))}
    return {**kept, **extra}


class Process:
    """`name` is the program's, which its messages begin with; `label` names the files of its output."""

    def __init__(self, folder, name, label, command, env=None, **popen):
        self.folder = pathlib.Path(folder)
        self.name = name
        self.out = self.folder / f"{label}.out"
        self.log = self.folder / f"{label}.log"
        self.command = command
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=log, env=environment(**(env or {})),
                                            cwd=self.folder, **popen)

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
        """Ends it if it runs, then checks what every program owes: JSON lines only, and no secret."""
        if self.process.poll() is None:
            self.kill()
        text = self.output()
        for raw in self.log.read_text(errors="replace").splitlines()[:-1]:
            assert raw.startswith("{") or raw.startswith(f"{self.name}: "), f"not a log line: {raw}\n{text[-6000:]}"
        for secret in PLANTED_SECRETS:
            assert secret not in text, f"a planted secret is in the output of {self.command}"
