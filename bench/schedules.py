"""What the next run of an expression costs, and a tick with very many schedules due in one minute."""

import dataclasses
import datetime
import pathlib
import statistics
import time

from cluster import Cost, require, require_equal

EXPRESSIONS = ("* * * * *", "30 2 * * MON-FRI", "0 0 29 2 *")
ZONES = ("UTC", "Europe/Berlin")
MOMENTS = 200_000
TURNS = 3
IDLE_TICKS = 20
BEFORE, AFTER = "before they were due", "right after all were"
# A noon of the future, since a copy does not catch up with what was planned before it was adopted, and of a day on
# which no clock is changed, so that each expression runs at that instant and once.
DUE = "SELECT make_timestamptz(extract(year FROM now())::int + 1, 6, 16, 12, 0, 0, 'UTC')"


@dataclasses.dataclass
class Results:
    schedules: int
    cpu: dict = dataclasses.field(default_factory=dict)  # (expression, None for date_trunc, zone): [seconds]
    costs: dict = dataclasses.field(default_factory=dict)  # way: [costs]
    batch_seconds: list = dataclasses.field(default_factory=list)  # of each tick_batch
    idle_ms: dict = dataclasses.field(default_factory=dict)  # when: [milliseconds]

    def next_seconds(self, expression, zone):
        """CPU time of one next run."""
        return statistics.median(self.cpu[expression, zone]) / MOMENTS


def cpu_seconds(db):
    """Of the session's process so far."""
    return int(pathlib.Path(f"/proc/{db.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9


class Bench:
    def __init__(self, cluster, count, runs, progress):
        self.cluster = cluster
        self.due = cluster.value(DUE)
        self.runs = runs
        self.progress = progress
        self.results = Results(count)

    def load(self):
        self.cluster.create("schedules", "engine.sql", "schedules.sql")
        with self.cluster.connect("schedules") as db:
            db.execute("SELECT bench.fill_schedules(%s, %s)", [self.results.schedules, self.due])
            db.execute("SELECT bench.fill_moments(%s)", [MOMENTS])
            db.execute("VACUUM ANALYZE")
            # Tables in use have free space on every page; fresh ones would need new pages for each update.
            for _ in range(2):
                db.execute("SELECT bench.rewrite_schedules()")
                db.execute("VACUUM ANALYZE")

    def over_moments(self, db, what, *args):
        """CPU seconds of one scan of all moments that reckons something of each."""
        before = cpu_seconds(db)
        found = db.execute(f"SELECT count({what}) FROM bench.moments m", args).fetchone()[0]
        require_equal("moments reckoned from", found, MOMENTS)
        return cpu_seconds(db) - before

    def reckon(self, db):
        db.execute("SET max_parallel_workers_per_gather = 0")
        self.over_moments(db, "m.at")  # reads them once
        for _ in range(TURNS):
            empty = self.over_moments(db, "m.at")
            for zone in ZONES:
                spent = self.over_moments(db, "date_trunc('minute', m.at, %s) + interval '1 minute'", zone)
                self.results.cpu.setdefault((None, zone), []).append(spent - empty)
                for expression in EXPRESSIONS:
                    spent = self.over_moments(db, "sync.cron_next(%s, %s, m.at)", expression, zone)
                    self.results.cpu.setdefault((expression, zone), []).append(spent - empty)

    def batches(self, db):
        """sync.tick_batch with its default size until nothing is left, a transaction each, as the worker."""
        enqueued = 0
        more = True
        while more:
            started = time.monotonic()
            row = db.execute("SELECT enqueued, more FROM sync.tick_batch(NULL, %s)", [self.due]).fetchone()
            self.results.batch_seconds.append(time.monotonic() - started)
            enqueued += row[0]
            more = row[1]
        return enqueued

    def bare(self, db):
        return db.execute("SELECT bare.tick_schedules(%s)", [self.due]).fetchone()[0]

    def measure(self, db, way, work):
        # So that the first change of each page is written whole, as right after any checkpoint.
        self.cluster.admin.execute("CHECKPOINT")
        cost = Cost(self.results.schedules, 0, 0, 0)
        with self.cluster.counted(db.info.dbname, cost):
            enqueued = work(db)
        require_equal("enqueued", enqueued, cost.count)
        require(db.execute(f"SELECT {way}.fires_fault(%s, %s)", [cost.count, self.due]).fetchone()[0])
        self.results.costs.setdefault(way, []).append(cost)

    def idle(self, db, when, as_of):
        for _ in range(IDLE_TICKS):
            started = time.monotonic()
            row = db.execute("SELECT enqueued, backlog FROM sync.tick(%s)", [as_of]).fetchone()
            self.results.idle_ms.setdefault(when, []).append((time.monotonic() - started) * 1000)
            require_equal("enqueued and backlog of an idle tick", row, (0, 0))

    def one_round(self, number):
        with self.cluster.clone("schedules") as db:
            self.reckon(db)
            self.idle(db, BEFORE, self.due - datetime.timedelta(minutes=5))
            ways = [("bare", self.bare), ("bench", self.batches)]
            for way, work in ways if number % 2 == 0 else reversed(ways):
                self.measure(db, way, work)
            self.idle(db, AFTER, self.due)

    def run(self):
        self.progress(f"schedules: creating {self.results.schedules:,} schedules")
        self.load()
        for number in range(self.runs):
            self.progress(f"schedules: round {number + 1} of {self.runs}")
            self.one_round(number)
        self.cluster.drop("schedules")
        return self.results
