#!/usr/bin/python3
"""What it takes to keep 1,000 slow requests under way: each is answered a second after it came, over plain HTTP."""

import asyncio
import dataclasses
import os
import pathlib
import subprocess
import sys
import threading
import time

from cluster import Cost, WrongResult, require, require_equal

CONCURRENCY = 1000
REPLY_SECONDS = 1
LIMIT_SECONDS = 300
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
BODY = b'[{"id": 1, "at": "2026-03-01T12:15:00Z"}]'
REPLY = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)) + BODY
CONFIG = {"records": "", "mapping": {"kind": "item", "dedupe_key": "{{record.id}}"},
          "cursor": {"max_of": "/at"}, "paging": {"type": "none"}}


@dataclasses.dataclass
class Run(Cost):
    cpu_seconds: float = 0
    peak_bytes: int = 0
    requests_at_once: int = 0


class SlowReplies(asyncio.Protocol):
    """Keeps connections open and answers each request after a while; requests have no body."""

    waiting = 0
    most = 0

    def connection_made(self, transport):
        self.transport = transport
        self.head = b""

    def data_received(self, data):
        self.head += data
        while b"\r\n\r\n" in self.head:
            _, _, self.head = self.head.partition(b"\r\n\r\n")
            SlowReplies.waiting += 1
            SlowReplies.most = max(SlowReplies.most, SlowReplies.waiting)
            asyncio.get_running_loop().call_later(REPLY_SECONDS, self.answer)

    def answer(self):
        SlowReplies.waiting -= 1
        if not self.transport.is_closing():
            self.transport.write(REPLY)


async def serve():
    """Says its port, then serves until its input ends, and says at last how many requests waited at once."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(SlowReplies, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set))).start()
    await ended.wait()
    print(SlowReplies.most, flush=True)


class SlowApi:
    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)

    def stop(self):
        """The most requests that ever waited at once."""
        out, _ = self.process.communicate(timeout=30)
        return int(out)


def peak_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a process that has ended has no memory


def drain(cluster, program, run):
    """Fills in time, CPU and peak of resident memory of an executor that works off the queue."""
    command = [program, "--once", "--concurrency", str(CONCURRENCY), "--log-level", "warn",
               "--allow-private-addresses", "loopback",
               "--database-url", f"host={cluster.socket_dir} dbname=round user=postgres"]
    before = os.times()
    started = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            if time.monotonic() > started + LIMIT_SECONDS:
                raise WrongResult("sync-executor did not end")
            run.peak_bytes = max(run.peak_bytes, peak_bytes(process.pid))
            time.sleep(0.02)
    finally:
        process.kill()
        faults = process.communicate()[1]
    run.seconds = time.monotonic() - started
    if process.returncode != 0:
        raise WrongResult(f"sync-executor failed: {faults[-2000:]}")
    after = os.times()
    run.cpu_seconds = (after.children_user + after.children_system
                       - before.children_user - before.children_system)


def run(bench, first_due, jobs, runs, progress):
    """[runs]; `bench` is executor.Bench."""
    results = []
    progress(f"slow: loading {jobs:,} jobs")
    bench.prepare("executor_slow", first_due, jobs, "http", CONFIG, "NULL")
    for number in range(runs):
        progress(f"slow: round {number + 1} of {runs}")
        with SlowApi() as api, bench.cluster.clone("executor_slow") as db:
            db.execute("UPDATE sync.providers SET config = config || jsonb_build_object('base_url', %s::text)",
                       [api.url])
            cost = Run(jobs, 0, 0, 0)
            with bench.cluster.counted("round", cost):
                drain(bench.cluster, bench.program, cost)
            require(db.execute("SELECT bench.drain_fault(%s, 'watermark')", [jobs]).fetchone()[0])
            require_equal("signals", db.execute("SELECT count(*) FROM sync.signals").fetchone()[0], jobs)
            cost.requests_at_once = api.stop()
        results.append(cost)
    bench.cluster.drop("executor_slow")
    return results


if __name__ == "__main__":
    asyncio.run(serve())
