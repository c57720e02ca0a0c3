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
CACHED = 100  # connections' ids that a client takes at once
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
STATEMENT = re.compile(rb"LOG:  (?:statement|execute [^:]*): ")
CONNECTION = re.compile(rb'"connection":\{"id":(\d+)')
BODY = b'{"next_cursor": {"run": 1}}'
REPLY = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)) + BODY


@dataclasses.dataclass
class Results:
    milliseconds: list = dataclasses.field(default_factory=list)  # of each round, sorted
    paces: list = dataclasses.field(default_factory=list)  # triggers/s reached in each round
    idle_cpu: list = dataclasses.field(default_factory=list)  # cores
    idle_queries: list = dataclasses.field(default_factory=list)  # a second
    triggers: list = dataclasses.field(default_factory=list)  # triggers/s of neighbours: (with wake-ups, without)

    @property
    def ratios(self):
        return [on / off for on, off in self.triggers]


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

    def queries_logged(self):
        return len(STATEMENT.findall((pathlib.Path(self.cluster.socket_dir) / "server.log").read_bytes()))

    def idle(self, seconds):
        """CPU, and statements of every kind: the server logs those of this database."""
        with self.cluster.clone("latency"):
            self.cluster.admin.execute("ALTER DATABASE round SET log_statement = 'all'")
            with self.executor() as process:
                time.sleep(1)
                cpu, queries = cpu_seconds(process.pid), self.queries_logged()
                time.sleep(seconds)
                self.results.idle_cpu.append((cpu_seconds(process.pid) - cpu) / seconds)
                self.results.idle_queries.append((self.queries_logged() - queries) / seconds)

    def triggering(self, db, wake_up, count):
        """Triggers/s of clients that trigger as fast as they can, beside an executor with or without wake-ups. One
        without looks for work so often that it does its share during the turn: otherwise they raced an idle one."""
        with self.executor("--wake-up", wake_up, "--poll-seconds", "1"):
            seconds = self.cluster.pgbench("trigger.sql", CLIENTS, count // CLIENTS)
            wait_until(lambda: self.live(db) == 0, "the last job to end")
        return count / seconds

    def in_turns(self, count, pairs):
        """With wake-ups and without, each way first as often as the other; a turn before is not counted."""
        with self.cluster.clone("latency") as db:
            self.triggering(db, "on", count)
            for number in range(pairs):
                rates = {way: self.triggering(db, way, count)
                         for way in (("off", "on") if number % 2 else ("on", "off"))}
                self.results.triggers.append((rates["on"], rates["off"]))
            done = db.execute("SELECT count(*) FROM sync.sync_executions WHERE status = 'succeeded'").fetchone()[0]
            require_equal("executions", done, count * (2 * pairs + 1))

    def run(self, paced, triggers, pairs, idle_seconds, runs):
        """`triggers` in each turn, `pairs` of turns in each round."""
        self.progress("latency: loading connections")
        triggers -= triggers % CLIENTS
        # A client that goes leaves some of its numbers unused.
        connections = max(paced + WARM_UP, (triggers + CLIENTS * CACHED) * (2 * pairs + 1))
        load(self.cluster, "latency", "engine.sql", "bench", self.first_due, connections, 1)
        with self.cluster.connect("latency") as db:
            db.execute(f"CREATE SEQUENCE bench.next CACHE {CACHED}")
            # Nothing is due by itself.
            db.execute("UPDATE sync.connection_state SET due_at = due_at + interval '1 day'")
        for number in range(runs):
            self.progress(f"latency: round {number + 1} of {runs}, paced")
            self.latency(paced)
            self.progress(f"latency: round {number + 1} of {runs}, idle")
            self.idle(idle_seconds)
            self.progress(f"latency: round {number + 1} of {runs}, as fast as possible")
            self.in_turns(triggers, pairs)
        self.cluster.drop("latency")
        return self.results


def quantile(results, part):
    """Median over the rounds of that part of the way through a round's latencies."""
    return statistics.median(times[int(part * (len(times) - 1))] for times in results.milliseconds)


if __name__ == "__main__":
    asyncio.run(serve())
