"""What a page of 100,000 signals, 50 MB, takes in sync-executor and in its backend: at most 200 MB each."""

import contextlib
import http.server
import json
import pathlib
import re
import threading

from harness.executor import executable
from harness.server import EXECUTOR_ROLE
from harness.waiting import wait_until

SIGNALS = 100_000
SIGNAL_BYTES = 500
MOST_BYTES = 200 * 2**20
BODY_LIMIT = 64 * 2**20
PATIENCE_SECONDS = 120


def big_page():
    """Records that become signals of SIGNAL_BYTES each."""
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


def is_sanitized():
    return b"__asan_init" in pathlib.Path(executable()).read_bytes()


def peak_bytes(pid):
    """The most that was resident so far, shared memory with it."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def test_a_page_of_100_000_signals_takes_little_memory(engine):
    with api_of(big_page()) as url:
        engine.provider("big", config={
            "base_url": url, "path": "/items", "records": "/items", "max_body_bytes": BODY_LIMIT,
            "mapping": {"kind": "item", "occurred_at": "/at", "dedupe_key": "{{record.id}}"}})
        connection = engine.connection("big")
        job = engine.trigger(connection)
        running = engine.executor("--max-body-bytes", str(BODY_LIMIT), "--log-level", "info")

        wait_until(lambda: engine.attempts(connection), "the page to land", PATIENCE_SECONDS)
        assert engine.job(job)["status"] == "succeeded", engine.attempts(connection)
        backends = [pid for (pid,) in engine.db.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = %s", EXECUTOR_ROLE)]
        assert backends
        peaks = {"executor": peak_bytes(running.pid), **{f"backend {pid}": peak_bytes(pid) for pid in backends}}
        running.stop()
    assert engine.db.row("SELECT count(*), count(DISTINCT dedupe_key) FROM sync.signals WHERE connection_id = %s",
                         connection) == (SIGNALS, SIGNALS)
    # A sanitizer's memory is not the program's.
    counted = {name: peak for name, peak in peaks.items() if name != "executor" or not is_sanitized()}
    assert {name: peak // 2**20 for name, peak in counted.items() if peak > MOST_BYTES} == {}, peaks
