#!/usr/bin/python3
"""Measures the engine beside its rivals on private servers that bench/rivals.sh has started: see its --help."""

import argparse
import json
import pathlib
import signal
import statistics
import string
import subprocess
import sys
import time

import executor
import goals
import queues
import report
import rival_drain
import rival_latency
from cluster import Cluster
from queues import DRAINS, ENGINE, LATENCIES

FOLDER = pathlib.Path(__file__).resolve().parent
PACKAGES = ("graphile-worker", "pg-boss", "bullmq", "pg")
# Jobs of each drain; seconds of enqueueing in each round.
SIZES = {"full": {"jobs": 100_000, "seconds": 10}, "quick": {"jobs": 10_000, "seconds": 5}}


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket-dir", required=True, help="where the PostgreSQL server's socket is")
    parser.add_argument("--bindir", required=True, help="where PostgreSQL's programs are")
    parser.add_argument("--redis", required=True, help="the Redis server's socket")
    parser.add_argument("--node", required=True, help="the program node")
    parser.add_argument("--executor", required=True, help="the program sync-executor")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--runs", type=int, default=3, help="rounds whose medians are shown, 1 to 5")
    parser.add_argument("--output", required=True, help="file for the page, which is printed too")
    parser.add_argument("parts", nargs="+", choices=["drain", "latency"])
    return parser.parse_args()


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def versions(node):
    packages = [json.loads((FOLDER / "node_modules" / name / "package.json").read_text()) for name in PACKAGES]
    redis = dict(word.partition("=")[::2] for word in first_line("redis-server", "--version").split())["v"]
    return ", ".join([*(f"{p['name']} {p['version']}" for p in packages), f"Redis {redis}",
                      f"Node.js {first_line(node, '--version')}"])


def drain_table(costs):
    ours = costs[ENGINE, ""]
    rate = report.median(ours, lambda c: c.rate)

    def beside(rivals):
        theirs = report.median(rivals, lambda c: c.rate)
        return [report.number(theirs), report.number(rate / theirs)]

    def writes(rivals):
        return [report.wal_each(rivals), report.commits_each(rivals)]
    rows = [[ENGINE, "", "", "", report.number(rate), "", *writes(ours)]]
    for variant in DRAINS:
        if variant.work:
            work = costs[variant.name, variant.work]
            cells = ["", ""] if variant.script == "bullmq" else writes(work)
            rows.append([variant.name, variant.work, *beside(costs[variant.name, ""]), *beside(work), *cells])
    head = ["queue", "one at a time by", "bare jobs/s", f"{ENGINE} to bare", "same work jobs/s",
            f"{ENGINE} to it", "WAL bytes/job", "commits/job"]
    return report.table(head, rows)


# Whose figure at no work the engine shall reach at its whole work, as far as it goes.
STRETCH = ("graphile-worker", "pg-boss")


def goals_table(costs):
    """Ahead of each rival in the way of its that is fastest at the same work."""
    rate = report.median(costs[ENGINE, ""], lambda c: c.rate)
    found = []
    for name in dict.fromkeys(variant.name for variant in DRAINS):
        theirs = {variant.work: report.median(costs[name, variant.work], lambda c: c.rate)
                  for variant in DRAINS if variant.name == name}
        bare = theirs.pop("")
        best = max(theirs, key=theirs.get)
        found.append(goals.Goal("2", f"ahead of {name} ({best}) at the same work",
                                f"{report.number(rate / theirs[best])} times as fast", rate > theirs[best]))
        if name in STRETCH:
            found.append(goals.at_least("2, stretch", f"to bare {name}", rate / bare, 0.8))
    return goals.table(sorted(found, key=lambda goal: goal.of))


def latency_table(results):
    def figures(rounds):
        return [statistics.median(rival_latency.percentile(getattr(one, since), share) for one in rounds)
                for since in ("acknowledged", "called") for share in (0.5, 0.99)]
    ours = figures(results[ENGINE])
    rows = [[ENGINE, *map(report.number, ours), "", ""]]
    for variant in LATENCIES:
        theirs = figures(results[variant.name])
        rows.append([variant.name, *map(report.number, theirs),
                     *(report.number(mine / other) for mine, other in zip(ours[2:], theirs[2:]))])
    head = ["queue", "p50 ms", "p99 ms", "p50 from the call", "p99 from the call",
            f"{ENGINE} to it, p50 from the call", "p99"]
    return report.table(head, rows)


def main():
    chosen = options()
    # So that what runs beside us is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    size = SIZES[chosen.size]
    started = time.monotonic()
    cluster = Cluster(chosen.socket_dir, chosen.bindir)
    scripts = queues.Scripts(chosen.node, FOLDER, cluster, chosen.redis)
    first_due = cluster.value("SELECT date_trunc('minute', now()) - interval '1 hour'")

    def progress(text):
        print(f"rivals: {time.monotonic() - started:5.0f} s  {text}", file=sys.stderr, flush=True)

    parts = report.circumstances(cluster, chosen.runs) | {
        "command": "make bench-rivals" if chosen.size == "full" else "QUICK=1 make bench-rivals",
        "versions": versions(chosen.node), "jobs": f"{size['jobs']:,}", "seconds": str(size["seconds"]),
        "rate": str(rival_latency.RATE), "concurrency": str(executor.CONCURRENCY),
        "graphile_concurrency": str(queues.GRAPHILE["concurrency"]),
        "graphile_local_queue": str(queues.GRAPHILE["local_queue"]),
        "pgboss_batch": f"{queues.PGBOSS['batch']:,}", "pgboss_workers": str(queues.PGBOSS["workers"]),
        "bullmq_concurrency": str(queues.BULLMQ["concurrency"]),
        "goals": "Those of the drain, which was not run.",
        "drain": "Not measured in this run.", "latency": "Not measured in this run."}
    if "drain" in chosen.parts:
        bench = rival_drain.Bench(cluster, scripts, chosen.executor, size["jobs"])
        costs = bench.run(first_due, chosen.runs, progress)
        parts |= {"drain": drain_table(costs), "goals": goals_table(costs)}
    if "latency" in chosen.parts:
        bench = rival_latency.Bench(cluster, scripts, chosen.executor, size["seconds"])
        parts["latency"] = latency_table(bench.run(chosen.runs, progress))
    page = string.Template((FOLDER / "page.md").read_text()).substitute(parts)
    print(page)
    pathlib.Path(chosen.output).write_text(page)
    progress("done")


if __name__ == "__main__":
    main()
