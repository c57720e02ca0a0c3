#!/usr/bin/python3
"""Keeps a million connections in sync for a while, in real time, on a private server that bench/soak.sh has started,
and judges what it sees: see its --help."""

import argparse
import math
import pathlib
import re
import signal
import string
import subprocess
import sys
import time

import report
from cluster import Cluster, WrongResult
from sampler import DEAD_EACH_SECONDS, LIVE_TABLES, Sampler

FOLDER = pathlib.Path(__file__).resolve().parent
DATABASE = "soak"
CONCURRENCY = 64
# Samples that are not judged: caches and tables are still becoming what they will be.
WARM_UP_SAMPLES = 2
MOST_LAG_MS = 1000
MOST_GROWTH = 1.05
MOST_DEAD_SHARE = 0.20
MOST_DEAD = 50_000
LEAST_RATE = 0.98
MOST_WORKER_CORES = 0.25
TICK = re.compile(r"sync_engine tick in database .* backlog (\d+), batches \d+, duration (\d+) ms")
SETTINGS = (*(name for name in report.SETTINGS if name != "sync_engine.background_ticks"),
            "autovacuum_naptime", "sync_engine.tick_interval_seconds",
            "sync_engine.jitter_pct_min", "sync_engine.jitter_pct_max")


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket-dir", required=True, help="where the server's socket is")
    parser.add_argument("--bindir", required=True, help="where the server's programs are")
    parser.add_argument("--executor", required=True, help="the program sync-executor")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--interval", type=int, default=900, help="seconds between two runs of a connection")
    parser.add_argument("--tick-interval", type=int, default=60, help="seconds between two ticks")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--sample-seconds", type=int, default=60)
    parser.add_argument("--command", required=True, help="what the page says it was made by")
    parser.add_argument("--output", required=True, help="file for the page, which is printed too")
    return parser.parse_args()


class Soak:
    def __init__(self, chosen):
        self.chosen = chosen
        self.folder = pathlib.Path(chosen.socket_dir)
        self.cluster = Cluster(chosen.socket_dir, chosen.bindir)
        self.started = time.monotonic()
        self.samples = []
        self.judgements = []
        self.executor = None

    def progress(self, text):
        print(f"soak: {time.monotonic() - self.started:5.0f} s  {text}", file=sys.stderr, flush=True)

    def configure(self, setting, value):
        """For all sessions, the worker's among them, as soon as they look."""
        self.cluster.admin.execute(f"ALTER SYSTEM SET sync_engine.{setting} = {value}")
        self.cluster.admin.execute("SELECT pg_reload_conf()")

    def jitter_seconds(self):
        """Bounds of the jitter, whole seconds."""
        return self.db.execute("SELECT lo, hi FROM sync.jitter_bounds(%s)", [self.chosen.interval]).fetchone()

    def load(self):
        """All times lie around a moment that has not come yet; the worker and the executor begin then."""
        chosen = self.chosen
        seconds = 20 + chosen.connections // 4000
        self.progress(f"loading {chosen.connections:,} connections")
        self.cluster.create(DATABASE, "soak.sql")
        self.configure("default_interval_seconds", chosen.interval)
        self.configure("tick_interval_seconds", chosen.tick_interval)
        self.db = self.cluster.connect(DATABASE)
        self.lo, self.hi = self.jitter_seconds()
        start = self.cluster.value("SELECT clock_timestamp() + %s * interval '1 second'", [seconds])
        self.db.execute("SELECT bench.fill(%s, %s, %s, %s)", [chosen.connections, chosen.interval, self.hi, start])
        self.db.execute("VACUUM ANALYZE")
        self.db.execute("CHECKPOINT")
        left = self.cluster.value("SELECT extract(epoch FROM %s - clock_timestamp())::float8", [start])
        if left < 0:
            raise WrongResult(f"loading took {-left:.0f} s longer than {seconds} s: is the machine busy?")
        self.progress(f"loaded; work begins in {left:.0f} s")
        time.sleep(left)

    def begin(self):
        log = open(self.folder / "executor.log", "wb")
        url = f"host={self.chosen.socket_dir} dbname={DATABASE} user=soak_executor"
        self.executor = subprocess.Popen(
            [self.chosen.executor, "--name", "soak", "--concurrency", str(CONCURRENCY), "--log-level", "warn",
             "--database-url", url], stdout=log, stderr=log)
        self.configure("background_ticks", "on")

    def end(self):
        """When nothing runs any more. A session that waits while its client goes says so in the server's log."""
        self.log_bytes = (self.folder / "server.log").stat().st_size
        self.configure("background_ticks", "off")
        self.executor.send_signal(signal.SIGTERM)
        status = self.executor.wait(timeout=60)
        self.judge("the executor stopped as told", status == 0, f"status {status}")

    def watch(self):
        sampler = Sampler(self.cluster, DATABASE, self.executor.pid)
        begun = time.monotonic()
        for number in range(1, round(self.chosen.minutes * 60 / self.chosen.sample_seconds) + 1):
            due = begun + number * self.chosen.sample_seconds
            while (left := due - time.monotonic()) > 0:
                if self.executor.poll() is not None:
                    raise WrongResult(f"sync-executor ended with status {self.executor.returncode}")
                time.sleep(min(DEAD_EACH_SECONDS, left))
                sampler.look()
            sample = sampler.take()
            self.samples.append(sample)
            self.progress(f"sample {number}: {sample.runs / sample.seconds:,.0f} runs/s, lag p50"
                          f" {sample.lag_p50:.1f} p99 {sample.lag_p99:.0f} ms, server {sample.server_cores:.2f} cores,"
                          f" dead " + ", ".join(f"{name} {dead:,}" for name, (dead, _) in sample.dead.items()))

    def judge(self, what, good, found):
        self.judgements.append((what, bool(good), found))

    def judge_samples(self):
        judged = self.samples[WARM_UP_SAMPLES:]
        lag = max(s.lag_p99 for s in judged)
        self.judge(f"queue lag p99 under {MOST_LAG_MS:,} ms in each sample", lag < MOST_LAG_MS,
                   f"at most {lag:,.0f} ms")
        rate = sum(s.runs for s in judged) / sum(s.seconds for s in judged)
        expected = self.chosen.connections / (self.chosen.interval + (self.lo + self.hi) / 2)
        self.judge(f"at least {LEAST_RATE:.0%} of the {expected:,.0f} runs/s that fall due",
                   rate >= LEAST_RATE * expected, f"{rate:,.0f} runs/s")
        cores = sum(s.worker_cores * s.seconds for s in judged) / sum(s.seconds for s in judged)
        self.judge(f"the worker under {MOST_WORKER_CORES} of one core", cores < MOST_WORKER_CORES,
                   f"{cores:.3f}, at most {max(s.worker_cores for s in judged):.3f} in a sample")
        third = self.samples[math.ceil(len(self.samples) / 3) - 1]
        for name in LIVE_TABLES:
            for part, what in ((0, "table"), (1, "indexes")):
                growth = self.samples[-1].table_bytes[name][part] / third.table_bytes[name][part]
                self.judge(f"{name}, {what}: at the end at most {MOST_GROWTH} of the size at one third",
                           growth <= MOST_GROWTH, f"{growth:.3f}")
            dead, live = max((s.dead[name] for s in judged), key=lambda worst: worst[0])
            self.judge(f"{name}: dead tuples under {MOST_DEAD_SHARE:.0%} of live or {MOST_DEAD:,}",
                       dead < max(MOST_DEAD, MOST_DEAD_SHARE * live), f"at most {dead:,} beside {live:,}")

    def judge_history(self, seen):
        attempts, jobs, failed, shortest, longest = self.db.execute("SELECT * FROM bench.history()").fetchone()
        self.judge("every run is one attempt that succeeded", attempts == jobs and failed == 0,
                   f"{attempts:,} attempts of {jobs:,} jobs, {failed} failed")
        self.judge("the samples saw every run", attempts >= seen, f"{seen:,} before the last seconds")
        latest = self.chosen.interval + 2 * self.hi
        if longest is not None:
            self.judge(f"a connection runs again after {self.chosen.interval} to {latest} s",
                       shortest >= self.chosen.interval and longest <= latest, f"{shortest:.1f} to {longest:.1f} s")
        oldest, missed = self.db.execute(
            "SELECT extract(epoch FROM max(x.age))::float8, count(*) FILTER (WHERE x.age > %s * interval '1 second')"
            " FROM (SELECT now() - c.last_incremental_finished_at AS age FROM sync.connections c) x",
            [latest]).fetchone()
        self.judge(f"no connection's last run is more than {latest} s ago", missed == 0, f"the oldest {oldest:.1f} s")

    def judge_logs(self):
        text = (self.folder / "server.log").read_bytes()[:self.log_bytes].decode(errors="replace")
        ticks = [tuple(map(int, found)) for found in TICK.findall(text)]
        self.judge("no tick leaves a backlog", ticks and not any(backlog for backlog, _ in ticks),
                   f"{sum(1 for backlog, _ in ticks if backlog)} of {len(ticks)} ticks, the longest took"
                   f" {max((took for _, took in ticks), default=0):,} ms")
        faults = re.findall(r"^.*\b(?:WARNING|ERROR|FATAL|PANIC): .*$", text, re.MULTILINE)
        self.judge("no warning or error in the server's log", not faults, f"{len(faults)} lines")
        said = (self.folder / "executor.log").read_text(errors="replace").splitlines()
        self.judge("no warning or error in the executor's log", not said, f"{len(said)} lines")
        for line in faults[:10] + said[:10]:
            self.progress(line)

    def run(self):
        try:
            self.load()
            self.begin()
            self.watch()
            self.end()
        finally:
            if self.executor and self.executor.poll() is None:
                self.executor.kill()
                self.executor.wait(timeout=30)
        self.progress("judging")
        self.judge_samples()
        self.judge_history(sum(s.runs for s in self.samples))
        self.judge_logs()
        return self.page()

    def page(self):
        chosen = self.chosen
        facts = report.circumstances(self.cluster, 1, SETTINGS) | {
            "command": chosen.command, "connections": f"{chosen.connections:,}", "interval": str(chosen.interval),
            "jitter": f"{self.lo} to {self.hi}", "minutes": f"{chosen.minutes:g}",
            "sample": f"{chosen.sample_seconds} s", "warm_up": str(WARM_UP_SAMPLES),
            "soak_concurrency": str(CONCURRENCY),
            "judgements": report.table(
                ["", "judgement", "found"],
                [["holds" if good else "FAILS", what, found] for what, good, found in self.judgements]),
        }
        return string.Template((FOLDER / "soak.md").read_text()).substitute(facts | tables(self.samples))


def megabytes(size):
    return f"{size / 2**20:,.0f}"


def tables(samples):
    work, growth = [], []
    for number, s in enumerate(samples, 1):
        per = max(s.runs, 1)
        work.append([str(number), f"{s.runs / s.seconds:,.0f}", report.number(s.lag_p50), report.number(s.lag_p99),
                     report.number(s.lag_max), f"{s.due_jobs:,}", f"{s.due_connections:,}", f"{s.wal_bytes / per:,.0f}",
                     f"{s.commits / per:.3f}", f"{s.server_cores:.2f}", f"{s.worker_cores:.3f}",
                     f"{s.executor_cores:.3f}", f"{s.worker_bytes / 2**20:.1f}"])
        row = [str(number)]
        for name in LIVE_TABLES:
            heap, indexes = s.table_bytes[name]
            dead, live = s.dead[name]
            row += [megabytes(heap), megabytes(indexes), f"{dead:,}", f"{100 * dead / max(live, 1):.0f} %",
                    str(s.vacuums[name])]
        growth.append([*row, megabytes(s.database_bytes)])
    head = ["sample"]
    for name in LIVE_TABLES:
        head += [f"{name} MB", "indexes MB", "dead", "of live", "vacuums"]
    return {
        "work": report.table(["sample", "runs/s", "lag p50 ms", "p99 ms", "longest ms", "due jobs", "due connections",
                              "WAL bytes/run", "commits/run", "server cores", "worker", "executor", "worker MB"], work),
        "growth": report.table([*head, "database MB"], growth),
    }


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = options()
    soak = Soak(chosen)
    page = soak.run()
    print(page)
    pathlib.Path(chosen.output).write_text(page)
    failed = [what for what, good, _ in soak.judgements if not good]
    soak.progress(f"{len(failed)} of {len(soak.judgements)} judgements fail" if failed
                  else f"all {len(soak.judgements)} judgements hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
