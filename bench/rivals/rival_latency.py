"""How long after its enqueueing a job starts, while they come at an even rate."""

import dataclasses
import json
import math
import subprocess
import time

import tick
from cluster import PATIENCE_SECONDS, WrongResult, require, require_equal
from queues import ENGINE, LATENCIES, running

RATE = 200
WARM_UP = 50
# The wall clock may be slewed against the other, but not set, while both are compared.
CLOCK_TOLERANCE_NS = 200_000


@dataclasses.dataclass
class Delays:
    """Milliseconds until the start of each job, since the enqueueing call was acknowledged and since it was made."""
    acknowledged: list
    called: list


def percentile(values, share):
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def delays(calls, entries):
    """`calls` are (job, called, acknowledged), `entries` (job, entered), all in nanoseconds of the same clock."""
    entered = {job: at for job, at in entries if job > WARM_UP}
    require_equal("jobs started", sorted(entered), sorted(job for job, _, _ in calls))
    return Delays([(entered[job] - acknowledged) / 1e6 for job, _, acknowledged in calls],
                  [(entered[job] - called) / 1e6 for job, called, _ in calls])


def wall_clock_offset():
    """What to subtract from the wall clock to get the monotonic one; the closest of some pairs of readings."""
    pairs = []
    for _ in range(20):
        before = time.monotonic_ns()
        wall = time.time_ns()
        pairs.append((time.monotonic_ns() - before, wall - before))
    return min(pairs)[1]


class Bench:
    def __init__(self, cluster, scripts, program, seconds):
        self.cluster = cluster
        self.scripts = scripts
        self.program = program
        self.count = RATE * seconds
        self.told = {"rate": RATE, "count": self.count, "warm_up": WARM_UP, "database": "round"}

    def prepare(self):
        tomorrow = self.cluster.value("SELECT date_trunc('minute', now()) + interval '1 day'")
        tick.load(self.cluster, "rivals_engine", "engine.sql", "bench", tomorrow, WARM_UP + self.count, 1)
        with self.cluster.connect("rivals_engine") as db:
            # The connector stamps the signal that it returns: that is its entry.
            db.execute("UPDATE sync.providers SET config = %s", [json.dumps({"noop": {"cursor": True, "signals": 1}})])
            db.execute("VACUUM ANALYZE")
        self.cluster.admin.execute("CREATE DATABASE rivals_empty")

    def wait_for(self, db, query, expected, what):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while db.execute(query).fetchone()[0] != expected:
            if time.monotonic() > deadline:
                raise WrongResult(f"{ENGINE}: {what} did not come")
            time.sleep(0.1)

    def engine_round(self):
        command = [self.program, "--log-level", "warn", "--name", "bench", "--database-url",
                   f"host={self.cluster.socket_dir} dbname=round user=postgres"]
        with self.cluster.clone("rivals_engine") as db:
            offset = wall_clock_offset()
            with running(command, stderr=subprocess.PIPE):
                self.wait_for(db, "SELECT count(*) FROM sync.executors", 1, "the executor")
                calls = self.scripts.run("engine", "enqueue", **self.told)["calls"]
                self.wait_for(db, "SELECT count(*) FROM sync.signals", WARM_UP + self.count, "the last signal")
            require(abs(wall_clock_offset() - offset) > CLOCK_TOLERANCE_NS and "the clock was set during the run")
            require(db.execute("SELECT bench.drain_fault(%s, 'run')", [WARM_UP + self.count]).fetchone()[0])
            entries = db.execute("SELECT connection_id, (extract(epoch FROM occurred_at) * 1000000)::bigint"
                                 " FROM sync.signals").fetchall()
        return delays(calls, [(job, at * 1000 - offset) for job, at in entries])

    def rival_round(self, variant):
        told = variant.told() | self.told
        with self.cluster.clone("rivals_empty"):
            if variant.script == "bullmq":
                self.scripts.run("bullmq", "load", jobs=0, **told)
            # The receiver ends with the last job, so it is told of the warm-up too.
            with self.scripts.running(variant.script, "receive", **(told | {"count": WARM_UP + self.count})) as report:
                report("ready")
                calls = self.scripts.run(variant.script, "enqueue", **told)["calls"]
                entries = report("entries")
        return delays(calls, entries)

    def run(self, runs, progress):
        """{name: [delays]}"""
        self.prepare()
        results = {}
        for number in range(runs):
            progress(f"latency: {ENGINE}, round {number + 1} of {runs}")
            results.setdefault(ENGINE, []).append(self.engine_round())
            for variant in LATENCIES:
                progress(f"latency: {variant.name}, round {number + 1} of {runs}")
                results.setdefault(variant.name, []).append(self.rival_round(variant))
        self.cluster.drop("rivals_engine", "rivals_empty")
        return results
