#!/usr/bin/python3
"""Compares HTTP libraries: how many requests a server of each answers, and what it makes of requests out of order.

Needs wrk and, beside what the gateway is built with, Debian's libmicrohttpd-dev, libevent-dev and libcpp-httplib-dev.
Prints Markdown. SECONDS (5) and RUNS (3) change how long it takes.
"""

import itertools
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "http-libraries"
SECONDS = int(os.environ.get("SECONDS", "5"))
RUNS = int(os.environ.get("RUNS", "3"))
CONNECTIONS = (1, 16, 64)
GATEWAY = ["--header-timeout", "3", "--max-connections-per-client", "1000",
           "--max-requests-per-connection", "1000000000"]
SERVERS = {
    "sync-gateway's server, requests logged": ("beast_server", GATEWAY),
    "sync-gateway's server, `--log-level warn`": ("beast_server", [*GATEWAY, "--log-level", "warn"]),
    "Beast as in its examples": ("bare_beast_server", None),
    "libmicrohttpd, external epoll": ("microhttpd_server", None),
    "libevent evhttp": ("evhttp_server", None),
    "cpp-httplib, 64 threads": ("httplib_server", None),
}
TARGETS = sorted({program for program, _ in SERVERS.values()})
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
PROBES = {
    "length and chunked": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "`Transfer-Encoding: xchunked`": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "blank before the colon": POST + b"Content-Length : 0\r\n\r\n",
    "folded line": POST + b"X-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"GET /x HTTP/1.1\nHost: a\n\n",
    "no Host": b"GET /x HTTP/1.1\r\n\r\n",
}
PATIENCE = 12


def build():
    subprocess.run(["cmake", "-S", HERE, "-B", BUILD, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
    parallel = str(os.cpu_count())
    command = ["cmake", "--build", BUILD, "--parallel", parallel, "--target", *TARGETS]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Running:
    """A server on a port of its own: cpp-httplib cannot take one that has just been in use."""

    ports = itertools.count(18473)

    def __init__(self, server):
        program, flags = SERVERS[server]
        self.port = next(self.ports)
        arguments = [str(self.port)] if flags is None else ["--listen", f"127.0.0.1:{self.port}", *flags]
        self.log = open(BUILD / f"{program}.log", "wb")
        self.process = subprocess.Popen([BUILD / program, *arguments], stdout=self.log, stderr=self.log)

    def __enter__(self):
        self.connect().close()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def connect(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port))
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def processor_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, connections):
        """Requests per second, the 99th percentile in milliseconds, microseconds of processor for a request."""
        before = self.processor_seconds()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", f"http://127.0.0.1:{self.port}/x"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in told, told
        requests = int(re.search(r"(\d+) requests in", told)[1])
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])
        latency, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", told).groups()
        milliseconds = float(latency) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
        return rate, milliseconds, (self.processor_seconds() - before) / requests * 1e6


def statuses(connection):
    """Statuses of what is answered until the end, or until nothing comes any more."""
    connection.settimeout(1)
    received = b""
    try:
        while more := connection.recv(65536):
            received += more
    except (TimeoutError, ConnectionError):
        pass
    return [int(status) for status in re.findall(rb"HTTP/1\.\d (\d{3})", received)]


def probe(running, text):
    """What becomes of a request out of order, by the first answer to it."""
    with running.connect() as connection:
        connection.sendall(text)
        answered = statuses(connection)
    if not answered:
        return "cut off"
    return f"**taken** ({answered[0]})" if answered[0] < 400 else f"refused ({answered[0]})"


def slow_header(running):
    """How long a header may arrive byte by byte where 3 seconds are set as the limit."""
    begun = time.monotonic()
    with running.connect() as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: ")
        connection.settimeout(0.2)
        while time.monotonic() - begun < PATIENCE:
            try:
                connection.sendall(b"y")
                connection.recv(4096)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        took = time.monotonic() - begun
    return f"{took:.1f} s" if took < PATIENCE else f"**no** (still there after {PATIENCE} s)"


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def show_speed():
    results = {server: {connections: [] for connections in CONNECTIONS} for server in SERVERS}
    memory = {}
    # Round by round, so that what else the machine does hits all alike.
    for _ in range(RUNS):
        for server in SERVERS:
            with Running(server) as running:
                for connections in CONNECTIONS:
                    results[server][connections].append(running.load(connections))
                memory[server] = running.memory()
    row("requests/s (p99; processor)", *(f"{n} connection{'s' if n > 1 else ''}" for n in CONNECTIONS), "memory")
    row("---", *("--:" for _ in CONNECTIONS), "--:")
    for server, by_connections in results.items():
        cells = []
        for runs in by_connections.values():
            rate, latency, processor = (statistics.median(values) for values in zip(*runs))
            cells.append(f"{rate:,.0f} ({latency:.1f} ms; {processor:.0f} µs)")
        row(server, *cells, f"{memory[server]:.0f} MB")


def show_probes():
    row("", "header limit of 3 s is absolute", *PROBES)
    row("---", *("---" for _ in range(len(PROBES) + 1)))
    for server in SERVERS:
        if "warn" not in server:
            with Running(server) as running:
                answers = (probe(running, text) for text in PROBES.values())
                row(server.split(", requests")[0], slow_header(running), *answers)


def main():
    build()
    show_speed()
    print()
    show_probes()


if __name__ == "__main__":
    main()
