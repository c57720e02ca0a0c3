"""What a soak looks at while it runs: a sample each minute, dead tuples and memory more often."""

import dataclasses
import os
import pathlib
import time

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
BLOCK = 8192
# The tables whose size must not depend on how long the engine has been running.
LIVE_TABLES = ("connections", "connection_state", "sync_jobs")
DEAD_EACH_SECONDS = 2
# A run is counted once its commit is certain to be there.
SETTLE_SECONDS = 2

SIZES = """
    SELECT t.name, pg_table_size(t.oid), pg_indexes_size(t.oid)
    FROM unnest(%s::text[]) n (name) CROSS JOIN LATERAL (SELECT n.name, ('sync.' || n.name)::regclass AS oid) t"""
# pg_stat's idea of live rows may be an old one; dead tuples are counted as they come and go.
TUPLES = """
    SELECT s.relname, s.n_dead_tup, s.n_live_tup, s.vacuum_count + s.autovacuum_count
    FROM pg_stat_user_tables s WHERE s.schemaname = 'sync' AND s.relname = ANY (%s)"""
COUNTERS = """
    SELECT pg_current_wal_insert_lsn() - '0/0', pg_stat_get_db_xact_commit(d.oid), pg_database_size(d.oid)
    FROM pg_database d WHERE d.datname = current_database()"""
WAITING = """
    SELECT (SELECT count(*) FROM ONLY sync.sync_jobs j
            WHERE j.status = 'queued' AND GREATEST(j.scheduled_at, j.retry_after) <= now()),
           (SELECT count(*) FROM sync.connection_state s WHERE s.due_at <= now())"""
PARTITIONS = "SELECT p.name FROM sync.partitions p WHERE p.parent = 'sync_executions' AND p.range_from <= now()"
# Only the blocks that may hold runs of this sample: the table grows at its end.
RUNS = """
    SELECT count(*), percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY x.lag)
    FROM (SELECT extract(epoch FROM e.started_at - e.scheduled_at)::float8 * 1000 AS lag FROM ({}) e
          WHERE e.finished_at >= %s AND e.finished_at < %s) x"""


@dataclasses.dataclass
class Sample:
    """One interval; rates are per second, times in milliseconds, processors in cores."""

    seconds: float = 0
    runs: int = 0
    lag_p50: float = 0
    lag_p99: float = 0
    lag_max: float = 0
    due_jobs: int = 0
    due_connections: int = 0
    table_bytes: dict = dataclasses.field(default_factory=dict)  # name: (heap, indexes)
    dead: dict = dataclasses.field(default_factory=dict)  # name: (dead, live) at its worst
    vacuums: dict = dataclasses.field(default_factory=dict)  # name: since the server started
    database_bytes: int = 0
    wal_bytes: int = 0
    commits: int = 0
    executor_cores: float = 0
    worker_cores: float = 0
    server_cores: float = 0
    worker_bytes: int = 0


def stat_fields(pid):
    """Fields of /proc/PID/stat from the third on; None once the process has gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_seconds(pid, with_ended_children=False):
    fields = stat_fields(pid)
    return sum(int(f) for f in fields[11:15 if with_ended_children else 13]) / CLOCK_TICKS if fields else 0.0


def server_cpu_seconds(postmaster):
    """The postmaster, its children that have ended and those that live."""
    total = cpu_seconds(postmaster, with_ended_children=True)
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = stat_fields(entry.name)
            if fields and int(fields[1]) == postmaster:
                total += cpu_seconds(entry.name)
    return total


def private_bytes(pid):
    """Memory of its own: the shared buffers that it has touched are not."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


class Sampler:
    def __init__(self, cluster, database, executor_pid):
        self.db = cluster.connect(database)
        self.executor = executor_pid
        self.postmaster = int(self.value("SHOW data_directory", file="postmaster.pid"))
        self.dead = {}
        self.blocks = [{}, {}]  # of the executions' partitions, one and two samples ago
        self.until = self.now()
        self.counters = self.read_counters()

    def value(self, query, file=None):
        found = self.db.execute(query).fetchone()[0]
        return (pathlib.Path(found) / file).read_text().splitlines()[0] if file else found

    def now(self):
        return self.value("SELECT clock_timestamp()")

    def worker(self):
        row = self.db.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                              " AND backend_type = 'sync_engine scheduler'").fetchone()
        return row[0] if row else 0

    def read_counters(self):
        wal, commits, size = self.db.execute(COUNTERS).fetchone()
        worker = self.worker()
        return {"at": time.monotonic(), "wal": int(wal), "commits": commits, "size": size, "worker_pid": worker,
                "executor": cpu_seconds(self.executor), "worker": cpu_seconds(worker),
                "server": server_cpu_seconds(self.postmaster)}

    def look(self):
        """Dead tuples at their worst since the last sample."""
        for name, dead, live, _ in self.db.execute(TUPLES, [list(LIVE_TABLES)]).fetchall():
            if dead >= self.dead.get(name, (0, 0))[0]:
                self.dead[name] = (dead, live)

    def count_runs(self, sample):
        until = self.value(f"SELECT clock_timestamp() - interval '{SETTLE_SECONDS} seconds'")
        partitions = [row[0] for row in self.db.execute(PARTITIONS).fetchall()]
        scans = " UNION ALL ".join(
            f"SELECT * FROM sync.{name} WHERE ctid >= '({self.blocks[0].get(name, 0)},0)'" for name in partitions)
        sample.runs, lags = self.db.execute(RUNS.format(scans), [self.until, until]).fetchone()
        sample.lag_p50, sample.lag_p99, sample.lag_max = lags or (0, 0, 0)
        sample.seconds = (until - self.until).total_seconds()
        self.until = until
        self.blocks = [self.blocks[1], {name: self.value(f"SELECT pg_relation_size('sync.{name}')") // BLOCK
                                        for name in partitions}]

    def take(self):
        """What happened since the last sample, and how things stand."""
        self.look()
        sample = Sample(dead=self.dead)
        self.dead = {}
        self.count_runs(sample)
        sample.due_jobs, sample.due_connections = self.db.execute(WAITING).fetchone()
        sample.table_bytes = {name: (heap, indexes) for name, heap, indexes
                              in self.db.execute(SIZES, [list(LIVE_TABLES)]).fetchall()}
        sample.vacuums = {row[0]: row[3] for row in self.db.execute(TUPLES, [list(LIVE_TABLES)]).fetchall()}
        before, after = self.counters, self.read_counters()
        self.counters = after
        spent = after["at"] - before["at"]
        sample.database_bytes = after["size"]
        sample.wal_bytes = after["wal"] - before["wal"]
        sample.commits = after["commits"] - before["commits"]
        sample.executor_cores = (after["executor"] - before["executor"]) / spent
        sample.worker_cores = (after["worker"] - before["worker"]) / spent
        sample.server_cores = (after["server"] - before["server"]) / spent
        sample.worker_bytes = private_bytes(after["worker_pid"])
        return sample
