"""What a page of 100,000 signals, 50 MB, takes in sync-executor and in its backend: at most 200 MB each."""

import pathlib
import re
import sys

from harness.executor import executable
from harness.server import EXECUTOR_ROLE
from harness.waiting import wait_until

# The page that `make bench` measures.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from big_page import BODY_LIMIT, CONFIG, SIGNALS, api_of, page  # noqa: E402

MOST_BYTES = 200 * 2**20
PATIENCE_SECONDS = 120


def is_sanitized():
    return b"__asan_init" in pathlib.Path(executable()).read_bytes()


def peak_bytes(pid):
    """The most that was resident so far, shared memory with it."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def test_a_page_of_100_000_signals_takes_little_memory(engine):
    with api_of(page()) as url:
        engine.provider("big", config=CONFIG | {"base_url": url})
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
