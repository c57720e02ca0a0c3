#!/usr/bin/python3
"""Measures the engine on a private server that bench/run.sh has started: see its --help."""

import argparse
import pathlib
import sys
import time

import big_page
import drain
import executor
import gateway
import goals
import growth
import latency
import limits
import plots
import report
import schedules
import signals
import slow
import tick
import worker
from cluster import Cluster

# Due connections of a tick; schedules due in one minute; ticks of the worker; jobs of a queue, and how many are
# drained one by one; the executor's jobs; pages of signals landed in each way; triggers at an even pace, in each turn
# of as fast as possible, pairs of such turns, and seconds of idling; connections of the gateway's tenant, seconds
# of each kind of request, and pushes.
SIZES = {
    "full": {"due": 100_000, "schedules": 100_000, "ticks": 10_000, "jobs": 50_000, "single": 10_000, "noop": 50_000,
             "http": 5_000, "slow": 40_000, "pages": 100, "paced": 4_000, "triggers": 24_000, "pairs": 4, "idle": 60,
             "api_connections": 50_000, "api_seconds": 5, "pushes": 4_000},
    "quick": {"due": 10_000, "schedules": 10_000, "ticks": 1_000, "jobs": 10_000, "single": 1_000, "noop": 10_000,
              "http": 500, "slow": 20_000, "pages": 12, "paced": 1_000, "triggers": 6_000, "pairs": 2, "idle": 8,
              "api_connections": 20_000, "api_seconds": 2, "pushes": 1_000},
}


class Run:
    """The parts by name; each returns what the page says of it, which goals it answers, and its plots."""

    PARTS = ("tick", "schedules", "worker", "drain", "growth", "limits", "signals", "executor", "latency", "gateway",
             "slow")

    def __init__(self, chosen):
        self.chosen = chosen
        self.size = SIZES[chosen.size]
        self.cluster = Cluster(chosen.socket_dir, chosen.bindir)
        self.started = time.monotonic()
        # An hour ago, so that nothing in the benchmark has to wait until it is due.
        self.first_due = self.cluster.value("SELECT date_trunc('minute', now()) - interval '1 hour'")
        self.drainer = executor.Bench(self.cluster, chosen.executor, chosen.demo_api)

    def progress(self, text):
        print(f"bench: {time.monotonic() - self.started:5.0f} s  {text}", file=sys.stderr, flush=True)

    def tick(self):
        bench = tick.Bench(self.cluster, self.first_due, self.size["due"], tick.GROUPS[self.chosen.size],
                           self.chosen.runs, self.progress)
        results = bench.run()
        return report.tick_tables(results), goals.tick(results), plots.tick(results)

    def schedules(self):
        results = schedules.Bench(self.cluster, self.size["schedules"], self.chosen.runs, self.progress).run()
        return report.schedules_tables(results), goals.schedules(results), {}

    def worker(self):
        results = worker.Bench(self.cluster, self.first_due, self.size["ticks"], self.progress).run()
        return report.worker_table(results), goals.memory(results), {}

    def drain(self):
        costs = drain.run(self.cluster, self.first_due, self.size["jobs"], self.size["single"],
                          drain.CLIENTS[self.chosen.size], self.chosen.runs, self.progress)
        return report.drain_table(costs), goals.drain(costs), plots.drain(costs)

    def growth(self):
        sizes = growth.SIZES[self.chosen.size]
        results = growth.Growth(self.cluster, self.first_due, sizes, self.chosen.runs, self.progress).run()
        return report.growth_tables(results), goals.grown(results), plots.growth(results)

    def limits(self):
        sizes = limits.SIZES[self.chosen.size]
        results = limits.Limits(self.cluster, self.first_due, sizes, self.chosen.runs, self.progress).run()
        return report.limits_tables(results), goals.limits(results), {}

    def signals(self):
        results = signals.run(self.cluster, self.size["pages"], self.chosen.runs, self.progress)
        peaks = big_page.run(self.drainer, self.first_due, self.progress)
        said = report.signals_table(results) | report.big_page_table(peaks)
        return said, goals.landing(results) + goals.big_page(peaks), {}

    def executor(self):
        results = self.drainer.run(self.first_due, self.size["noop"], self.size["http"], self.chosen.runs,
                                   self.progress)
        return report.executor_table(results), [], {}

    def latency(self):
        size = self.size
        bench = latency.Bench(self.cluster, self.chosen.executor, self.first_due, self.progress)
        results = bench.run(size["paced"], size["triggers"], size["pairs"], size["idle"], self.chosen.runs)
        return report.latency_tables(results), goals.latencies(results), {}

    def gateway(self):
        size = self.size
        programs = {"gateway": self.chosen.gateway, "executor": self.chosen.executor}
        bench = gateway.Bench(self.cluster, programs, self.first_due, self.progress)
        results = bench.run(size["api_connections"], size["api_seconds"], size["pushes"], self.chosen.runs)
        return report.gateway_tables(results), goals.pushes(results), {}

    def slow(self):
        runs = slow.run(self.drainer, self.first_due, self.size["slow"], self.chosen.runs, self.progress)
        return report.slow_table(runs), goals.slow(runs), {}

    def command(self):
        words = ["QUICK=1"] if self.chosen.size == "quick" else []
        if self.chosen.runs != (1 if words else 3):
            words.append(f"RUNS={self.chosen.runs}")
        if set(self.chosen.parts) != set(self.PARTS):
            words.append(f'PARTS="{" ".join(self.chosen.parts)}"')
        return " ".join([*words, "make bench"])

    def page(self):
        chosen = self.chosen
        said = report.circumstances(self.cluster, chosen.runs) | {"command": self.command()}
        found, drawn, seconds = [], {}, {}
        for part in (name for name in self.PARTS if name in chosen.parts):
            began = time.monotonic()
            tables, answered, pictures = getattr(self, part)()
            seconds[part] = time.monotonic() - began
            said |= tables
            found += answered
            drawn |= pictures
        said |= plots.draw(drawn, chosen.plots)
        found.sort(key=lambda goal: goal.of)
        said["goals"] = goals.table(found) if found else "The parts that were run answer none."
        self.progress("done: " + ", ".join(f"{part} {spent:.0f} s" for part, spent in seconds.items()))
        return report.page(said)


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket-dir", required=True, help="where the server's socket and log are")
    parser.add_argument("--bindir", required=True, help="where pgbench is")
    parser.add_argument("--executor", required=True, help="the program sync-executor")
    parser.add_argument("--gateway", required=True, help="the program sync-gateway")
    parser.add_argument("--demo-api", required=True, help="demo_api.py")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--runs", type=int, default=3, help="rounds whose medians are shown, 1 to 5")
    parser.add_argument("--output", required=True, help="file for the page, which is printed too")
    parser.add_argument("--plots", required=True, help="folder for the plots")
    parser.add_argument("parts", nargs="+", choices=Run.PARTS)
    return parser.parse_args()


def main():
    chosen = options()
    page = Run(chosen).page()
    print(page)
    pathlib.Path(chosen.output).write_text(page)


if __name__ == "__main__":
    main()
