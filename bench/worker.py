"""What the background worker holds in memory after many ticks: with nothing due, and with a connection due at each."""

import dataclasses
import pathlib
import time

from cluster import PATIENCE_SECONDS, WrongResult, require_equal
from tick import load

FIRST_LOOK = 100
SITUATIONS = ("nothing is due", "a connection is due at each")
SETTINGS = {"background_ticks": "on", "tick_interval_seconds": "3600"}


@dataclasses.dataclass
class Memory:
    """Bytes; what is its own are neither shared buffers nor files."""

    resident: int
    own: int


@dataclasses.dataclass
class Results:
    ticks: int
    seen: dict = dataclasses.field(default_factory=dict)  # situation: (Memory after the first ticks, after all)


def memory(pid):
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            fields[name] = int(value.split()[0]) * 1024
    return Memory(fields["VmRSS"], fields["RssAnon"])


class Bench:
    def __init__(self, cluster, first_due, ticks, progress):
        self.cluster = cluster
        self.first_due = first_due
        self.ticks = ticks
        self.progress = progress

    def worker(self):
        """Its process id, once it is there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            row = self.cluster.admin.execute("SELECT pid FROM pg_stat_activity WHERE datname = 'round'"
                                             " AND backend_type = 'sync_engine scheduler'").fetchone()
            if row:
                return row[0]
            if time.monotonic() > deadline:
                raise WrongResult("no background worker came")
            time.sleep(0.05)

    def configure(self, statements):
        for statement in statements:
            self.cluster.admin.execute(statement)
        self.cluster.admin.execute("SELECT pg_reload_conf()")

    def situation(self, busy):
        with self.cluster.clone("worker") as db:
            pid = self.worker()
            looks = []
            for first, last in ((1, FIRST_LOOK), (FIRST_LOOK + 1, self.ticks)):
                db.execute("CALL bench.tick_times(%s, %s, %s)", [first, last, busy])
                looks.append(memory(pid))
            require_equal("worker at the end", self.worker(), pid)
            queued = db.execute("SELECT count(*) FROM ONLY sync.sync_jobs WHERE status = 'queued'").fetchone()[0]
            require_equal("jobs enqueued by the worker", queued, self.ticks if busy else 0)
        return tuple(looks)

    def run(self):
        load(self.cluster, "worker", "engine.sql", "bench", self.first_due, self.ticks, 1)
        with self.cluster.connect("worker") as db:
            db.execute((pathlib.Path(__file__).parent / "worker.sql").read_text())
            db.execute("UPDATE sync.connection_state SET due_at = due_at + interval '1 day'")
        results = Results(self.ticks)
        try:
            self.configure(f"ALTER SYSTEM SET sync_engine.{name} = {value}" for name, value in SETTINGS.items())
            for busy, what in enumerate(SITUATIONS):
                self.progress(f"worker: {self.ticks:,} ticks, {what}")
                results.seen[what] = self.situation(bool(busy))
        finally:
            self.configure(f"ALTER SYSTEM RESET sync_engine.{name}" for name in SETTINGS)
        self.cluster.drop("worker")
        return results
