#!/usr/bin/python3
"""How soon a triggered job reaches its connector, what an idle executor costs, and what wake-ups cost those who
trigger."""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

from cluster import PATIENCE_SECONDS, WrongResult, require_equal
from tick import load

RATE = 200  # triggers a second
WARM_UP = 200  # triggers that are not counted
CLIENTS = 8
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
CONNECTION = re.compile(rb'"connection":\{"id":(\d+)')
BODY = b'{"next_cursor": {"run": 1}}'
REPLY = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)) + BODY


@dataclasses.dataclass
class Results:
    milliseconds: list = dataclasses.field(default_factory=list)  # of each round, sorted
    paces: list = dataclasses.field(default_factory=list)  # triggers/s reached in each round
    idle_cpu: list = dataclasses.field(default_factory=list)  # cores
    idle_transactions: list = dataclasses.field(default_factory=list)  # a second
    triggers: dict = dataclasses.field(default_factory=dict)  # wake-ups: [triggers/s]


class Arrivals(asyncio.Protocol):
    """An API that notes when a request for a connection came and answers at once."""

    times = {}

    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        now = time.monotonic_ns()
        self.received += data
        if self.received.endswith(b"}"):
            Arrivals.times[int(CONNECTION.search(self.received)[1])] = now
            self.received = b""
            self.transport.write(REPLY)


async def serve():
    """Says its port, serves until its input ends, and says at last what came when."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Arrivals, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set))).start()
    await ended.wait()
    print(json.dumps(Arrivals.times), flush=True)


class Api:
    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/"
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)

    def stop(self):
        """{connection: nanoseconds}"""
        out, _ = self.process.communicate(timeout=30)
        return {int(connection): at for connection, at in json.loads(out).items()}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise WrongResult(f"waited in vain for {what}")
        time.sleep(0.01)


class Bench:
    def __init__(self, cluster, program, first_due, progress):
        self.cluster = cluster
        self.program = program
        self.first_due = first_due
        self.progress = progress
        self.results = Results()

    @contextlib.contextmanager
    def executor(self, *flags):
        """An executor that has registered and waits for work."""
        command = [self.program, "--log-level", "warn", "--allow-private-addresses", "loopback", *flags,
                   "--database-url", f"host={self.cluster.socket_dir} dbname=round user=postgres"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: self.ready("off" not in flags), "the executor to be ready")
            yield process
            process.terminate()
            faults = process.communicate(timeout=PATIENCE_SECONDS)[1]
            if process.returncode != 0:
                raise WrongResult(f"sync-executor failed: {faults[-2000:]}")
        finally:
            process.kill()
            process.communicate()

    def ready(self, wakes):
        """Registered and idle; where it wants wake-ups, waiting for them. Asked in another database, whose transactions
        are not counted."""
        return self.cluster.value(
            "SELECT count(*) FILTER (WHERE state = 'idle' AND query LIKE '%%next_claim_at%%') > 0"
            " AND (NOT %s OR count(*) FILTER (WHERE state = 'active' AND query LIKE 'CALL%%') > 0)"
            " FROM pg_stat_activity WHERE application_name LIKE 'sync-executor%%'", [wakes])

    def latency(self, count):
        """One client triggers connections that have no job, at an even pace."""
        with Api() as api, self.cluster.clone("latency") as db:
            db.execute("UPDATE sync.providers SET connector = 'function', config = jsonb_build_object('url', %s::text)",
                       [api.url])
            ids = [row[0] for row in db.execute("SELECT id FROM sync.connections ORDER BY id LIMIT %s",
                                                [count + WARM_UP])]
            acknowledged = {}
            with self.executor():
                started = time.monotonic()
                for number, connection in enumerate(ids):
                    time.sleep(max(0, started + number / RATE - time.monotonic()))
                    db.execute("SELECT sync.trigger(%s)", [connection], prepare=True)
                    acknowledged[connection] = time.monotonic_ns()
                self.results.paces.append(len(ids) / (time.monotonic() - started))
                wait_until(lambda: self.live(db) == 0, "the last job to end")
            arrived = api.stop()
            require_equal("executions", db.execute("SELECT count(*) FROM sync.sync_executions"
                                                   " WHERE status = 'succeeded'").fetchone()[0], len(ids))
        require_equal("connections asked for", sorted(arrived), sorted(ids))
        self.results.milliseconds.append(sorted((arrived[c] - acknowledged[c]) / 1e6 for c in ids[WARM_UP:]))

    @staticmethod
    def live(db):
        return db.execute("SELECT count(*) FROM ONLY sync.sync_jobs").fetchone()[0]

    def idle(self, seconds):
        """CPU, and transactions: those of a long run less those of a short one, so that the start is not in it."""
        transactions = []
        with self.cluster.clone("latency"):
            for extra in (0, seconds):
                _, before = self.cluster.counters("round")
                with self.executor() as process:
                    time.sleep(1)
                    cpu = cpu_seconds(process.pid)
                    time.sleep(extra)
                    cpu = cpu_seconds(process.pid) - cpu
                transactions.append(self.cluster.counters("round")[1] - before)
        self.results.idle_cpu.append(cpu / seconds)
        self.results.idle_transactions.append((transactions[1] - transactions[0]) / seconds)

    def triggering(self, wake_up, count):
        """Clients that trigger as fast as they can, beside an executor with and without wake-ups."""
        with self.cluster.clone("latency") as db:
            with self.executor("--wake-up", wake_up):
                seconds = self.cluster.pgbench("trigger.sql", CLIENTS, count // CLIENTS)
                wait_until(lambda: self.live(db) == 0, "the last job to end")
            require_equal("executions", db.execute("SELECT count(*) FROM sync.sync_executions"
                                                   " WHERE status = 'succeeded'").fetchone()[0], count)
        self.results.triggers.setdefault(wake_up, []).append(count / seconds)

    def run(self, paced, triggers, idle_seconds, runs):
        self.progress("latency: loading connections")
        load(self.cluster, "latency", "engine.sql", "bench", self.first_due, max(paced + WARM_UP, triggers), 1)
        with self.cluster.connect("latency") as db:
            db.execute("CREATE SEQUENCE bench.next CACHE 100")
            # Nothing is due by itself.
            db.execute("UPDATE sync.connection_state SET due_at = due_at + interval '1 day'")
        for number in range(runs):
            self.progress(f"latency: round {number + 1} of {runs}")
            self.latency(paced)
            self.idle(idle_seconds)
            for wake_up in ("off", "on") if number % 2 else ("on", "off"):
                self.triggering(wake_up, triggers)
        self.cluster.drop("latency")
        return self.results


def quantile(results, part):
    """Median over the rounds of that part of the way through a round's latencies."""
    return statistics.median(times[int(part * (len(times) - 1))] for times in results.milliseconds)


if __name__ == "__main__":
    asyncio.run(serve())
