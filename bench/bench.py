#!/usr/bin/python3
"""Measures the engine on a private server that bench/run.sh has started: see its --help."""

import argparse
import pathlib
import sys
import time

import drain
import executor
import growth
import latency
import report
import signals
import slow
import tick
from cluster import Cluster

# Due connections of a tick; jobs of a queue, and how many are drained one by one; the executor's jobs; pages of
# signals landed in each way; triggers at an even pace and as fast as possible, and seconds of idling.
SIZES = {
    "full": {"due": 100_000, "jobs": 50_000, "single": 10_000, "noop": 50_000, "http": 5_000, "slow": 20_000,
             "pages": 100, "paced": 4_000, "triggers": 40_000, "idle": 20},
    "quick": {"due": 10_000, "jobs": 10_000, "single": 1_000, "noop": 10_000, "http": 500, "slow": 10_000,
              "pages": 20, "paced": 1_000, "triggers": 8_000, "idle": 10},
}


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket-dir", required=True, help="where the server's socket is")
    parser.add_argument("--bindir", required=True, help="where pgbench is")
    parser.add_argument("--executor", required=True, help="the program sync-executor")
    parser.add_argument("--demo-api", required=True, help="demo_api.py")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--runs", type=int, default=3, help="rounds whose medians are shown, 1 to 5")
    parser.add_argument("--output", required=True, help="file for the page, which is printed too")
    parser.add_argument("parts", nargs="+",
                        choices=["tick", "drain", "growth", "signals", "executor", "latency", "slow"])
    return parser.parse_args()


def main():
    chosen = options()
    size = SIZES[chosen.size]
    runs = chosen.runs
    started = time.monotonic()
    cluster = Cluster(chosen.socket_dir, chosen.bindir)
    # An hour ago, so that nothing in the benchmark has to wait until it is due.
    first_due = cluster.value("SELECT date_trunc('minute', now()) - interval '1 hour'")

    def progress(text):
        print(f"bench: {time.monotonic() - started:5.0f} s  {text}", file=sys.stderr, flush=True)

    parts = report.circumstances(cluster, runs, chosen.size)
    if "tick" in chosen.parts:
        parts |= report.tick_tables(tick.Bench(cluster, first_due, size["due"], runs, progress).run())
    if "drain" in chosen.parts:
        costs = drain.run(cluster, first_due, size["jobs"], size["single"], runs, progress)
        parts |= report.drain_table(costs)
    if "growth" in chosen.parts:
        sizes = growth.SIZES[chosen.size]
        parts |= report.growth_tables(growth.Growth(cluster, first_due, sizes, runs, progress).run())
    if "signals" in chosen.parts:
        parts |= report.signals_table(signals.run(cluster, size["pages"], runs, progress))
    bench = executor.Bench(cluster, chosen.executor, chosen.demo_api)
    if "executor" in chosen.parts:
        parts |= report.executor_table(bench.run(first_due, size["noop"], size["http"], runs, progress))
    if "latency" in chosen.parts:
        measured = latency.Bench(cluster, chosen.executor, first_due, progress)
        parts |= report.latency_tables(measured.run(size["paced"], size["triggers"], size["idle"], runs))
    if "slow" in chosen.parts:
        parts |= report.slow_table(slow.run(bench, first_due, size["slow"], runs, progress))
    page = report.page(parts)
    print(page)
    pathlib.Path(chosen.output).write_text(page)
    progress("done")


if __name__ == "__main__":
    main()
