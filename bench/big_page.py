"""What memory one page of very many signals takes in the executor and in its session's process."""

import contextlib
import dataclasses
import http.server
import json
import pathlib
import subprocess
import threading
import time

from cluster import WrongResult, require_equal
from signals import SIGNAL_BYTES

SIGNALS = 100_000
BODY_LIMIT = 64 * 2**20
LIMIT_SECONDS = 300
CONFIG = {"path": "/items", "records": "/items", "max_body_bytes": BODY_LIMIT,
          "mapping": {"kind": "item", "occurred_at": "/at", "dedupe_key": "{{record.id}}"}}
# Sessions that have gone have no row, so they are asked for while the executor runs.
SESSIONS = ("SELECT pid FROM pg_stat_activity WHERE datname = 'round' AND application_name LIKE 'sync-executor%'"
            " AND backend_type = 'client backend'")


@dataclasses.dataclass
class Peaks:
    """Bytes; resident includes the shared buffers that a session has touched, its own memory does not."""

    seconds: float = 0
    executor: int = 0
    session_resident: int = 0
    session_own: int = 0


def page():
    """Records that become signals of so many bytes."""
    frame = len('{"kind":"item","occurred_at":"2026-03-01T12:15:00Z","dedupe_key":"k00000","payload":}')
    records = []
    for number in range(SIGNALS):
        record = {"id": f"k{number}", "at": "2026-03-01T12:15:00Z", "labels": ["bug", "help wanted"], "text": ""}
        record["text"] = "x" * (SIGNAL_BYTES - frame - len(json.dumps(record)))
        records.append(record)
    return json.dumps({"items": records}).encode()


@contextlib.contextmanager
def api_of(body):
    """Answers every request with the same body; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def bytes_of(pid, field):
    """Of /proc/PID/status; 0 once the process has gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def watch(cluster, program):
    command = [program, "--once", "--log-level", "warn", "--allow-private-addresses", "loopback",
               "--max-body-bytes", str(BODY_LIMIT),
               "--database-url", f"host={cluster.socket_dir} dbname=round user=postgres"]
    peaks = Peaks()
    started = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            if time.monotonic() > started + LIMIT_SECONDS:
                raise WrongResult("sync-executor did not end")
            peaks.executor = max(peaks.executor, bytes_of(process.pid, "VmHWM"))
            for (pid,) in cluster.admin.execute(SESSIONS).fetchall():
                peaks.session_resident = max(peaks.session_resident, bytes_of(pid, "VmHWM"))
                peaks.session_own = max(peaks.session_own, bytes_of(pid, "RssAnon"))
            time.sleep(0.01)
    finally:
        process.kill()
        faults = process.communicate()[1]
    peaks.seconds = time.monotonic() - started
    if process.returncode != 0:
        raise WrongResult(f"sync-executor failed: {faults[-2000:]}")
    return peaks


def run(bench, first_due, progress):
    """`bench` is executor.Bench."""
    progress(f"signals: a page of {SIGNALS:,}")
    with api_of(page()) as url:
        bench.prepare("executor_page", first_due, 1, "http", CONFIG | {"base_url": url}, "NULL")
        with bench.cluster.clone("executor_page") as db:
            peaks = watch(bench.cluster, bench.program)
            landed = db.execute("SELECT count(*), count(DISTINCT dedupe_key) FROM sync.signals").fetchone()
            require_equal("signals and distinct ones", landed, (SIGNALS, SIGNALS))
        bench.cluster.drop("executor_page")
    return peaks
