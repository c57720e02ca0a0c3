"""Whether cost grows with what lies in the tables: claims, completions and ticks beside the same on an empty system,
by turns, batch by batch."""

import contextlib
import dataclasses
import json
import statistics
import time

import psycopg
from cluster import require_equal

BATCH = 100
# Of each way in each round, after as many that warm up caches and plans.
BATCHES = 20
WARM_UP = 10
IDLE_TICKS = 20
CLOSE_BATCHES = 50

SIZES = {
    "full": {"finished": 10_000_000, "connections": 1_000_000, "backoff": 500_000, "paused": 100_000,
             "pinned": 150_000},
    "quick": {"finished": 200_000, "connections": 50_000, "backoff": 20_000, "paused": 10_000,
              "pinned": 20_000},
}


@dataclasses.dataclass
class Costs:
    """Milliseconds of each batch."""

    claim: list = dataclasses.field(default_factory=list)
    complete: list = dataclasses.field(default_factory=list)

    @property
    def both(self):
        return [claim + complete for claim, complete in zip(self.claim, self.complete)]


@dataclasses.dataclass
class Beside:
    """One situation: how much lies there, the cost on an empty system and behind it."""

    what: str
    amount: int
    empty: Costs
    grown: Costs


@dataclasses.dataclass
class Results:
    connections: int
    beside: list = dataclasses.field(default_factory=list)
    pinned: Beside = None
    idle_ms: dict = dataclasses.field(default_factory=dict)  # situation: [milliseconds]


def timed(db, query, args):
    started = time.monotonic()
    rows = db.execute(query, args, prepare=True).fetchall()
    return rows, (time.monotonic() - started) * 1000


class Growth:
    def __init__(self, cluster, first_due, sizes, runs, progress):
        self.cluster = cluster
        self.first_due = first_due
        # Jitter is three minutes at most: all that fell due is claimable.
        self.as_of = cluster.value("SELECT %s + interval '4 minutes'", [first_due])
        self.later = cluster.value("SELECT %s + interval '1 day'", [first_due])
        self.sizes = sizes
        self.batches = BATCHES * runs
        self.progress = progress
        self.results = Results(sizes["connections"] + sizes["paused"])

    def work(self):
        """Jobs that a database needs for all batches that it is measured with."""
        return (WARM_UP + self.batches) * BATCH

    def tick_all(self, db, due):
        more = True
        enqueued = 0
        while more:
            row = db.execute("SELECT enqueued, more FROM sync.tick_batch(NULL, %s)", [due]).fetchone()
            enqueued += row[0]
            more = row[1]
        return enqueued

    def count(self, db, rows, args=None):
        return db.execute(f"SELECT count(*) FROM {rows}", args).fetchone()[0]

    def make(self, name, jobs, fill=None):
        """A database with so many claimable jobs, among what `fill` puts there."""
        self.cluster.create(name, "engine.sql", "growth.sql")
        with self.cluster.connect(name) as db:
            db.execute("INSERT INTO sync.providers (slug, connector) VALUES ('bench', 'noop'), ('halted', 'noop')")
            db.execute("SELECT bench.fill(%s, 1, %s)", [jobs, self.first_due])
            require_equal("enqueued", self.tick_all(db, self.first_due), jobs)
            if fill:
                fill(db)
            db.execute("VACUUM ANALYZE")
            db.execute("CHECKPOINT")

    @contextlib.contextmanager
    def copy(self, name, template, fill):
        """A copy of the template, with what `fill` puts there."""
        self.cluster.admin.execute("CHECKPOINT")
        self.cluster.admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            with self.cluster.connect(name) as db:
                db.execute("SELECT sync.adopt_database()")
                fill(db)
                db.execute("VACUUM ANALYZE")
                db.execute("CHECKPOINT")
                yield db
        finally:
            self.cluster.drop(name)

    def one_batch(self, db, costs):
        rows, milliseconds = timed(db, "SELECT job_id, claim_token FROM sync.claim_jobs('bench', %s, %s)",
                                   [BATCH, self.as_of])
        require_equal("jobs claimed", len(rows), BATCH)
        costs.claim.append(milliseconds)
        done = json.dumps([{"job_id": job, "claim_token": str(token), "next_cursor": {"job": job}}
                           for job, token in rows])
        rows, milliseconds = timed(db, "SELECT count(*) FROM sync.complete_jobs(%s, %s) WHERE outcome = 'completed'",
                                   [done, self.as_of])
        require_equal("jobs completed", rows[0][0], BATCH)
        costs.complete.append(milliseconds)

    def by_turns(self, empty, grown, batches, warm_up=WARM_UP):
        costs = (Costs(), Costs())
        for number in range(warm_up + batches):
            kept = costs if number >= warm_up else (Costs(), Costs())
            self.one_batch(empty, kept[0])
            self.one_batch(grown, kept[1])
        return costs

    def idle(self, db, what, as_of):
        times = self.results.idle_ms.setdefault(what, [])
        db.execute("SELECT * FROM sync.tick(%s)", [as_of])
        for _ in range(IDLE_TICKS):
            rows, milliseconds = timed(db, "SELECT enqueued, backlog FROM sync.tick(%s)", [as_of])
            require_equal("enqueued and backlog of an idle tick", rows[0], (0, 0))
            times.append(milliseconds)

    def compare(self, what, amount, grown):
        """The grown database beside a new one that holds the same work alone."""
        self.progress(f"growth: {amount:,} {what}")
        self.make("growth_empty", self.work())
        with self.cluster.connect("growth_empty") as empty:
            costs = self.by_turns(empty, grown, self.batches)
            for db in (empty, grown):
                require_equal("cursors kept", self.count(
                    db, "sync.connections WHERE metadata #>> '{sync,cursor,job}' IS NOT NULL"), self.work())
        self.results.beside.append(Beside(what, amount, *costs))
        self.cluster.drop("growth_empty")

    def finished(self):
        count = self.sizes["finished"]
        self.progress(f"growth: loading {count:,} finished jobs")
        self.make("growth_finished", self.work(),
                  lambda db: db.execute("SELECT bench.finish_others(%s, %s)", [count, self.as_of]))
        with self.cluster.connect("growth_finished") as db:
            self.compare("finished jobs", count, db)
            require_equal("executions", self.count(db, "sync.sync_executions WHERE status = 'succeeded'"),
                          count + self.work())
        self.cluster.drop("growth_finished")

    def waiting(self):
        """Jobs that nobody can claim, in copies of one database of many connections."""
        connections = self.sizes["connections"]
        backoff = self.sizes["backoff"]
        paused = self.sizes["paused"]

        def fill(db):
            db.execute("SELECT bench.fill_others(%s, 'bench', %s)", [connections, self.later])
            db.execute("SELECT bench.fill_others(%s, 'halted', %s)", [paused, self.later])

        def queue(db, count, *args):
            queued = db.execute("SELECT bench.queue_others(%s, %s, %s, %s)", [count, *args]).fetchone()[0]
            require_equal("queued", queued, count)

        def pause(db):
            queue(db, paused, "halted", self.first_due, None)
            db.execute("UPDATE sync.providers SET status = 'paused' WHERE slug = 'halted'")

        self.progress(f"growth: loading {connections:,} connections")
        self.make("growth_waiting", self.work(), fill)
        with self.copy("growth_copy", "growth_waiting",
                       lambda db: queue(db, connections, "bench", self.later, None)) as db:
            self.compare("jobs in the future", connections, db)
        with self.copy("growth_copy", "growth_waiting",
                       lambda db: queue(db, backoff, "bench", self.first_due, self.later)) as db:
            self.compare("jobs in backoff", backoff, db)
        with self.copy("growth_copy", "growth_waiting", pause) as db:
            self.compare("jobs of a paused provider", paused, db)
        with self.cluster.connect("growth_waiting") as db:
            self.idle(db, "none is due", self.as_of)
            self.progress(f"growth: enqueuing {connections + paused:,} jobs")
            require_equal("enqueued", self.tick_all(db, self.later), connections + paused)
            db.execute("VACUUM ANALYZE")
            overdue = self.cluster.value("SELECT %s + interval '1 hour'", [self.later])
            self.idle(db, "all are overdue, their jobs wait", overdue)
        self.cluster.drop("growth_waiting")

    def pinned(self):
        """Vacuum is held back while the jobs pass; then batches beside those of a database that nobody holds."""
        count = self.sizes["pinned"]
        self.progress(f"growth: {count:,} jobs under an open snapshot")
        close = CLOSE_BATCHES * BATCH
        self.make("growth_pinned", count + close + WARM_UP * BATCH)
        self.make("growth_empty", close + WARM_UP * BATCH)
        holder = psycopg.connect(host=self.cluster.socket_dir, dbname="growth_pinned", user="postgres")
        try:
            holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            holder.execute("SELECT count(*) FROM sync.providers")
            with self.cluster.connect("growth_pinned") as db, self.cluster.connect("growth_empty") as empty:
                for _ in range(count // BATCH):
                    self.one_batch(db, Costs())
                costs = self.by_turns(empty, db, CLOSE_BATCHES)
                require_equal("open snapshots", self.count(
                    db, "pg_stat_activity WHERE datname = 'growth_pinned' AND backend_xmin IS NOT NULL"
                    " AND pid = %s", [holder.info.backend_pid]), 1)
            self.results.pinned = Beside("jobs under an open snapshot", count, *costs)
        finally:
            holder.close()
        self.cluster.drop("growth_pinned", "growth_empty")

    def run(self):
        self.finished()
        self.waiting()
        self.pinned()
        return self.results
