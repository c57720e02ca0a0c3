"""What a tick costs, with all connections due and with parts of them, beside a bare INSERT and UPDATE."""

import dataclasses
import time

from cluster import Cost, require, require_equal

# Groups of connections, of which one is due at a time. With fewer than the most each round has fresh copies.
GROUPS = {"full": (1, 3, 10), "quick": (1, 10)}
IDLE_TICKS = 20


@dataclasses.dataclass
class Results:
    costs: dict = dataclasses.field(default_factory=dict)  # (connections, way): [costs]
    batch_seconds: dict = dataclasses.field(default_factory=dict)  # connections: [seconds of each tick_batch]
    idle_ms: dict = dataclasses.field(default_factory=dict)  # connections: [milliseconds]

    def add(self, connections, way, cost):
        self.costs.setdefault((connections, way), []).append(cost)


def load(cluster, name, script, schema, first_due, connections, groups):
    """A database of the script with so many connections, of which a group falls due every five minutes."""
    cluster.create(name, script)
    with cluster.connect(name) as db:
        if schema == "bench":
            db.execute("INSERT INTO sync.providers (slug, connector) VALUES ('bench', 'noop')")
        db.execute(f"SELECT {schema}.fill(%s, %s, %s)", [connections, groups, first_due])
        db.execute("VACUUM ANALYZE")
        # Tables in use have free space on every page; fresh ones would need new pages for each update.
        for _ in range(2):
            db.execute(f"SELECT {schema}.rewrite()")
            db.execute("VACUUM ANALYZE")


class Bench:
    def __init__(self, cluster, first_due, due_count, groups, runs, progress):
        self.cluster = cluster
        self.first_due = first_due
        self.count = due_count
        self.groups = groups
        self.runs = runs
        self.progress = progress
        self.results = Results()

    def whole(self, db, due):
        """sync.tick: all of it in one transaction."""
        return db.execute("SELECT enqueued FROM sync.tick(%s)", [due]).fetchone()[0]

    def batches(self, db, due, seconds):
        """sync.tick_batch with its default size until nothing is left, a transaction each, as the worker."""
        enqueued = 0
        more = True
        while more:
            started = time.monotonic()
            row = db.execute("SELECT enqueued, more FROM sync.tick_batch(NULL, %s)", [due]).fetchone()
            seconds.append(time.monotonic() - started)
            enqueued += row[0]
            more = row[1]
        return enqueued

    def bare(self, db, due):
        return db.execute("SELECT bare.tick(%s)", [due]).fetchone()[0]

    def measure(self, db, work):
        cost = Cost(self.count, 0, 0, 0)
        with self.cluster.counted(db.info.dbname, cost):
            enqueued = work()
        require_equal("enqueued", enqueued, self.count)
        return cost

    def engine_round(self, db, connections, due, way):
        seconds = self.results.batch_seconds.setdefault(connections, [])
        ways = {"tick": lambda: self.whole(db, due), "tick_batch": lambda: self.batches(db, due, seconds)}
        self.results.add(connections, way, self.measure(db, ways[way]))
        require(db.execute("SELECT bench.tick_fault(%s, %s)", [self.count, due]).fetchone()[0])
        for _ in range(IDLE_TICKS):
            started = time.monotonic()
            row = db.execute("SELECT enqueued, backlog FROM sync.tick(%s)", [due]).fetchone()
            self.results.idle_ms.setdefault(connections, []).append((time.monotonic() - started) * 1000)
            require_equal("enqueued and backlog of an idle tick", row, (0, 0))

    def bare_round(self, db, connections, due):
        self.results.add(connections, "bare", self.measure(db, lambda: self.bare(db, due)))
        jobs = db.execute(
            "SELECT count(*) FROM bare.sync_jobs j JOIN bare.connections c ON c.id = j.connection_id"
            " WHERE j.status = 'queued' AND c.last_incremental_finished_at = %s - interval '900 seconds'",
            [due]).fetchone()[0]
        require_equal("jobs of the bare statement", jobs, self.count)

    def on_copies(self, connections):
        with self.cluster.clone("tick_bare") as db:
            self.bare_round(db, connections, self.first_due)
        for way in ("tick", "tick_batch"):
            with self.cluster.clone("tick_engine") as db:
                self.engine_round(db, connections, self.first_due, way)

    def as_time_goes_by(self, number, connections):
        """Each round takes the next groups of the same tables."""
        with self.cluster.connect("tick_engine") as db, self.cluster.connect("tick_bare") as bare:
            for group, way in ((2 * number, "tick"), (2 * number + 1, "tick_batch")):
                due = self.cluster.value("SELECT %s + %s * interval '5 minutes'", [self.first_due, group])
                self.bare_round(bare, connections, due)
                self.engine_round(db, connections, due, way)

    def run(self):
        for groups in self.groups:
            connections = self.count * groups
            self.progress(f"tick: loading {connections:,} connections twice")
            load(self.cluster, "tick_engine", "engine.sql", "bench", self.first_due, connections, groups)
            load(self.cluster, "tick_bare", "bare.sql", "bare", self.first_due, connections, groups)
            self.cluster.admin.execute("CHECKPOINT")
            for number in range(self.runs):
                self.progress(f"tick: {self.count:,} of {connections:,}, round {number + 1} of {self.runs}")
                if groups < max(self.groups):
                    self.on_copies(connections)
                else:
                    self.as_time_goes_by(number, connections)
            self.cluster.drop("tick_engine", "tick_bare")
        return self.results
