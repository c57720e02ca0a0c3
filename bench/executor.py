"""How fast sync-executor drains a queue: with a connector that calls nothing, and over HTTP."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

from cluster import Cost, WrongResult, require, require_equal
from tick import load

CONCURRENCY = 64
ITEMS_PER_CONNECTION = 10
LIMIT_SECONDS = 300
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Run(Cost):
    signals: int = 0
    cpu_seconds: float = 0
    api_cpu_seconds: float = 0


class Api:
    """The demo API, which makes a repository of so many issues for every name it is asked for."""

    def __init__(self, program):
        command = [sys.executable, program, "--port", "0", "--exit-with-parent",
                   "--auto-items", str(ITEMS_PER_CONNECTION)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)

    def cpu_seconds(self):
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


class Bench:
    def __init__(self, cluster, program, demo_api):
        self.cluster = cluster
        self.program = program
        self.demo_api = demo_api

    def prepare(self, name, first_due, jobs, connector, config, connection_config):
        """A template whose queue holds that many jobs of the connector."""
        load(self.cluster, name, "engine.sql", "bench", first_due, jobs, 1)
        with self.cluster.connect(name) as db:
            db.execute("UPDATE sync.providers SET connector = %s, config = %s",
                       [connector, json.dumps(config)])
            db.execute(f"UPDATE sync.connections SET config = {connection_config}")
            enqueued = db.execute("SELECT enqueued FROM sync.tick(%s)", [first_due]).fetchone()[0]
            require_equal("enqueued", enqueued, jobs)
            db.execute("VACUUM ANALYZE")

    def drain(self):
        """Runs the executor until nothing is due; returns seconds and CPU seconds of the whole process."""
        command = [self.program, "--once", "--concurrency", str(CONCURRENCY), "--log-level", "warn",
                   "--allow-private-addresses", "loopback",
                   "--database-url", f"host={self.cluster.socket_dir} dbname=round user=postgres"]
        before = os.times()
        started = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise WrongResult("sync-executor did not end") from error
        seconds = time.monotonic() - started
        after = os.times()
        if done.returncode != 0:
            raise WrongResult(f"sync-executor failed: {done.stderr[-2000:]}")
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return seconds, spent

    def round(self, template, jobs, cursor_key, signals, api):
        with self.cluster.clone(template) as db:
            run = Run(jobs, 0, 0, 0, signals)
            with self.cluster.counted("round", run):
                api_before = api.cpu_seconds()
                run.seconds, run.cpu_seconds = self.drain()
                run.api_cpu_seconds = api.cpu_seconds() - api_before
            require(db.execute("SELECT bench.drain_fault(%s, %s)", [jobs, cursor_key]).fetchone()[0])
            landed = db.execute("SELECT count(*), count(DISTINCT (connection_id, dedupe_key))"
                                " FROM sync.signals").fetchone()
            require_equal("signals and distinct ones", landed, (signals, signals))
        return run

    def run(self, first_due, noop_jobs, http_jobs, runs, progress):
        """{connector: [runs]}"""
        results = {"noop": [], "http": []}
        progress(f"executor: loading {noop_jobs:,} and {http_jobs:,} jobs")
        with Api(self.demo_api) as api:
            self.prepare("executor_noop", first_due, noop_jobs, "noop", {"noop": {"cursor": True}}, "NULL")
            self.prepare("executor_http", first_due, http_jobs, "http",
                         {"preset": "github-issues", "base_url": api.url},
                         "jsonb_build_object('repo', 'bench/r' || id)")
            for number in range(runs):
                progress(f"executor: round {number + 1} of {runs}")
                results["noop"].append(self.round("executor_noop", noop_jobs, "run", 0, api))
                results["http"].append(self.round("executor_http", http_jobs, "watermark",
                                                  http_jobs * ITEMS_PER_CONNECTION, api))
        self.cluster.drop("executor_noop", "executor_http")
        return results
