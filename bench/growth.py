"""Whether cost grows with what lies in the tables: claims, completions and ticks beside the same on an empty system,
by turns, batch by batch, at several sizes on the way."""

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

# Points of the curve under an open snapshot.
PINNED_POINTS = 15

# The parts of each size at which costs are looked at come last.
SIZES = {
    "full": {"finished": 10_000_000, "connections": 1_000_000, "future": 1_000_000, "backoff": 500_000,
             "paused": 100_000, "pinned": 150_000, "parts": (100, 10, 1)},
    "quick": {"finished": 200_000, "connections": 200_000, "future": 50_000, "backoff": 20_000,
              "paused": 10_000, "pinned": 10_000, "parts": (10, 1)},
}
OVERDUE = "all are overdue, their jobs wait"


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
    passing: list = dataclasses.field(default_factory=list)  # (jobs passed under the snapshot, [ms of each claim])
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
        return (WARM_UP + self.batches) * BATCH * len(self.sizes["parts"])

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
            self.settle(db)

    @staticmethod
    def settle(db):
        db.execute("VACUUM ANALYZE")
        db.execute("CHECKPOINT")

    @contextlib.contextmanager
    def copy(self, template):
        self.cluster.admin.execute("CHECKPOINT")
        self.cluster.admin.execute(f"CREATE DATABASE growth_copy TEMPLATE {template}")
        try:
            with self.cluster.connect("growth_copy") as db:
                db.execute("SELECT sync.adopt_database()")
                yield db
        finally:
            self.cluster.drop("growth_copy")

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

    def compare(self, what, most, grown, grow):
        """The database beside a new one that holds the same work alone; `grow` adds to it what number there is to
        what number there shall be."""
        self.make("growth_empty", self.work())
        there = 0
        with self.cluster.connect("growth_empty") as empty:
            for part in self.sizes["parts"]:
                amount = most // part
                self.progress(f"growth: {amount:,} {what}")
                grow(grown, there, amount)
                there = amount
                for db in (empty, grown):
                    self.settle(db)
                self.results.beside.append(Beside(what, amount, *self.by_turns(empty, grown, self.batches)))
            for db in (empty, grown):
                require_equal("cursors kept", self.count(
                    db, "sync.connections WHERE metadata #>> '{sync,cursor,job}' IS NOT NULL"), self.work())
        self.cluster.drop("growth_empty")

    def finished(self):
        most = self.sizes["finished"]
        self.make("growth_finished", self.work())
        with self.cluster.connect("growth_finished") as db:
            self.compare("finished jobs", most, db, lambda db, there, amount: db.execute(
                "SELECT bench.finish_others(%s, %s, %s)", [there, amount, self.as_of]))
            require_equal("executions", self.count(db, "sync.sync_executions WHERE status = 'succeeded'"),
                          most + self.work())
        self.cluster.drop("growth_finished")

    @staticmethod
    def queue(db, there, amount, *args):
        """Jobs of connections that have none yet."""
        queued = db.execute("SELECT bench.queue_others(%s, %s, %s, %s, %s)", [there, amount, *args]).fetchone()[0]
        require_equal("queued", queued, amount - there)

    def pause(self, db, there, amount):
        self.queue(db, there, amount, "halted", self.first_due, None)
        db.execute("UPDATE sync.providers SET status = 'paused' WHERE slug = 'halted'")

    def waiting(self):
        """Jobs that nobody can claim, in copies of one database of many connections."""
        connections = self.sizes["connections"]
        paused = self.sizes["paused"]

        def fill(db):
            db.execute("SELECT bench.fill_others(%s, 'bench', %s)", [connections, self.later])
            db.execute("SELECT bench.fill_others(%s, 'halted', %s)", [paused, self.later])

        self.progress(f"growth: loading {connections + paused:,} connections")
        self.make("growth_waiting", self.work(), fill)
        with self.copy("growth_waiting") as db:
            self.compare("jobs in the future", self.sizes["future"], db,
                         lambda *size: self.queue(*size, "bench", self.later, None))
        with self.copy("growth_waiting") as db:
            self.compare("jobs in backoff", self.sizes["backoff"], db,
                         lambda *size: self.queue(*size, "bench", self.first_due, self.later))
        with self.copy("growth_waiting") as db:
            self.compare("jobs of a paused provider", paused, db, self.pause)
        with self.cluster.connect("growth_waiting") as db:
            self.overdue(db)
        self.cluster.drop("growth_waiting")

    def overdue(self, db):
        """Ticks that find nothing to do: while nothing is due, and while all is, but queued already."""
        self.idle(db, "none is due", self.as_of)
        self.progress(f"growth: enqueuing {self.results.connections:,} jobs")
        require_equal("enqueued", self.tick_all(db, self.later), self.results.connections)
        db.execute("VACUUM ANALYZE")
        self.idle(db, OVERDUE, self.cluster.value("SELECT %s + interval '1 hour'", [self.later]))

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
                passing = Costs()
                for _ in range(count // BATCH):
                    self.one_batch(db, passing)
                costs = self.by_turns(empty, db, CLOSE_BATCHES)
                require_equal("open snapshots", self.count(
                    db, "pg_stat_activity WHERE datname = 'growth_pinned' AND backend_xmin IS NOT NULL"
                    " AND pid = %s", [holder.info.backend_pid]), 1)
            self.results.pinned = Beside("jobs under an open snapshot", count, *costs)
            each = max(1, len(passing.claim) // PINNED_POINTS)
            self.results.passing = [((start + each) * BATCH, passing.claim[start:start + each])
                                    for start in range(0, len(passing.claim) - each + 1, each)]
        finally:
            holder.close()
        self.cluster.drop("growth_pinned", "growth_empty")

    def run(self):
        self.finished()
        self.waiting()
        self.pinned()
        return self.results
