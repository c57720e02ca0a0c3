"""What claims cost where they keep to limits, with very much held back before them and over very many tenants; and how
long a tenant's single job waits beside one with very many."""

import contextlib
import dataclasses
import datetime
import json
import random
import statistics

from cluster import require_equal
from growth import timed

BATCHES = (1, 100)
# Of each way in each round, after as many that warm up caches and plans.
ROUND = 20
WARM_UP = 10
# Running jobs of the tenant that may run no more.
CAP = 10
SINGLES = 100
# In how many claims of one job each of those tenants comes again, on average.
PAUSE = 300
TURN_BATCHES = (1, 10)
LANES_BATCH = 100

SIZES = {
    "full": {"behind": 1_000_000, "lanes": (1, 100, 1_000, 10_000), "lane_jobs": 40_000, "claims": 3_000},
    "quick": {"behind": 20_000, "lanes": (1, 100, 1_000), "lane_jobs": 10_000, "claims": 1_000},
}
CAPPED, HELD = "due jobs of a tenant that may run no more", "due jobs that wait for held credentials"
WAYS = ("plain", "without", "behind")
LANE_WAYS = ("plain", "limits", "turns")


@dataclasses.dataclass
class Turns:
    """What single jobs went through, in claims of `batch`."""

    batch: int
    claims: int
    passed: list = dataclasses.field(default_factory=list)  # claims that passed before each was claimed
    most: list = dataclasses.field(default_factory=list)  # jobs of the busiest other tenant among them


@dataclasses.dataclass
class Results:
    behind: int
    costs: dict = dataclasses.field(default_factory=dict)  # (what, batch): {way: [ms]}
    lanes: dict = dataclasses.field(default_factory=dict)  # lanes: {way: [ms]}
    turns: list = dataclasses.field(default_factory=list)


class Limits:
    def __init__(self, cluster, first_due, sizes, runs, progress):
        self.cluster = cluster
        self.first_due = first_due
        self.created = first_due - datetime.timedelta(days=1)
        # What is held back became due before what is claimed.
        self.work_due = first_due + datetime.timedelta(minutes=25)
        self.as_of = first_due + datetime.timedelta(minutes=45)
        self.sizes = sizes
        self.batches = ROUND * runs
        self.progress = progress
        self.results = Results(sizes["behind"])

    def queue(self, db, count, tenants, prefix, provider, due):
        db.execute("SELECT bench.fill_tenants(%s, %s, %s, %s, %s)", [count, tenants, prefix, provider, self.created])
        queued = db.execute("SELECT bench.queue_tenants(%s, %s)", [prefix, due]).fetchone()[0]
        require_equal("queued", queued, count)

    @contextlib.contextmanager
    def database(self, name, fill):
        self.cluster.create(name, "engine.sql", "limits.sql")
        try:
            with self.cluster.connect(name) as db:
                db.execute("INSERT INTO sync.providers (slug, connector) VALUES ('bench', 'noop'), ('other', 'noop')")
                fill(db)
                db.execute("VACUUM ANALYZE")
                db.execute("CHECKPOINT")
                yield db
        finally:
            self.cluster.drop(name)

    def work(self, batches):
        return (WARM_UP + self.batches) * sum(batches)

    def claim(self, db, batch, prefix, as_of=None):
        """Milliseconds of one claim, whose jobs are then completed."""
        as_of = as_of or self.as_of
        rows, milliseconds = timed(
            db, "SELECT job_id, claim_token, tenant_id FROM sync.claim_jobs('bench', %s, %s)", [batch, as_of])
        require_equal("jobs claimed", len(rows), batch)
        require_equal("jobs of others", [row for row in rows if not row[2].startswith(prefix)], [])
        done = json.dumps([{"job_id": job, "claim_token": str(token)} for job, token, _ in rows])
        found, _ = timed(db, "SELECT count(*) FROM sync.complete_jobs(%s, %s) WHERE outcome = 'completed'",
                         [done, as_of])
        require_equal("jobs completed", found[0][0], batch)
        return milliseconds, rows

    def by_turns(self, databases, batch, prefix):
        costs = {way: [] for way in databases}
        for number in range(WARM_UP + self.batches):
            for way, db in databases.items():
                milliseconds, _ = self.claim(db, batch, prefix)
                if number >= WARM_UP:
                    costs[way].append(milliseconds)
        return costs

    def cap(self, db, behind):
        """A tenant that runs as many jobs as it may, with so many more that are due."""
        db.execute("SELECT sync.set_tenant_limits('big0', max_running => %s)", [CAP])
        self.queue(db, CAP + behind, 1, "big", "bench", self.first_due)
        claimed, _ = timed(db, "SELECT count(*) FROM sync.claim_jobs('bench', %s, %s)", [CAP + 1, self.as_of])
        require_equal("running jobs of the tenant", claimed[0][0], CAP)

    def hold(self, db, behind):
        """A provider whose credentials are held back, with so many due jobs."""
        db.execute("UPDATE sync.providers SET config = %s WHERE slug = 'bench'",
                   ['{"auth": {"type": "bearer", "token": {"$env": "ALL"}}}'])
        self.queue(db, 1 + behind, 1, "big", "bench", self.first_due)
        db.execute("SELECT sync.fail_job(j.job_id, j.claim_token, '{}', 'rate_limited', 86400, %s)"
                   " FROM sync.claim_jobs('bench', 1, %s) j", [self.as_of, self.as_of])
        require_equal("held credentials", db.execute("SELECT count(*) FROM sync.credential_holds").fetchone()[0], 1)

    def beside(self, what, limit, provider):
        """Claims that pass by what is held back, beside the same with nothing behind the limit, and with no limit."""
        behind = self.sizes["behind"]
        self.progress(f"limits: loading {behind:,} {what}")

        def fill(limited, amount):
            def do(db):
                if limited:
                    limit(db, amount)
                self.queue(db, self.work(BATCHES), 100, "work", provider, self.work_due)
            return do

        with self.database("limits_plain", fill(False, 0)) as plain, \
                self.database("limits_without", fill(True, 0)) as without, \
                self.database("limits_behind", fill(True, behind)) as full:
            for batch in BATCHES:
                self.progress(f"limits: claims of {batch} with {behind:,} {what}")
                databases = dict(zip(WAYS, (plain, without, full)))
                self.results.costs[what, batch] = self.by_turns(databases, batch, "work")
            if limit == self.cap:
                self.turns(full)

    def turns(self, db):
        """The tenant is free to run, and others have single jobs now and then."""
        db.execute("DELETE FROM sync.tenant_limits")
        db.execute("SET sync_engine.fair_share = on")
        db.execute("SELECT bench.fill_tenants(%s, %s, 'single', 'bench', %s)", [SINGLES, SINGLES, self.created])
        rows, _ = timed(db, "SELECT tenant_id, id FROM sync.connections WHERE starts_with(external_id, 'single ')", [])
        singles = dict(rows)
        for batch in TURN_BATCHES:
            self.progress(f"limits: turns in claims of {batch}")
            self.results.turns.append(self.take_turns(db, batch, singles))

    def take_turns(self, db, batch, singles):
        turns = Turns(batch, self.sizes["claims"] if batch == 1 else self.sizes["claims"] // 3)
        draw = random.Random(batch)
        at = {}  # when the single job of each tenant is due, in claims

        def come_again(tenant, now):
            # Queued before it is due: nothing but its time makes it claimable.
            at[tenant] = now + draw.uniform(0, 2 * PAUSE / batch)
            db.execute("SELECT bench.queue_one(%s, %s)",
                       [singles[tenant], self.as_of + datetime.timedelta(seconds=at[tenant])])

        for tenant in singles:
            come_again(tenant, 0)
        others = {}  # of each that waits, the jobs of others claimed since
        for number in range(turns.claims):
            for tenant, due in at.items():
                if due <= number and tenant not in others:
                    others[tenant] = (number, {})
            _, rows = self.claim(db, batch, "", self.as_of + datetime.timedelta(seconds=number))
            claimed = [row[2] for row in rows]
            for tenant in sorted(set(claimed) & set(singles)):
                since, seen = others.pop(tenant)
                turns.passed.append(number - since)
                turns.most.append(max(seen.values(), default=0))
                come_again(tenant, number)
            for _, seen in others.values():
                for tenant in claimed:
                    seen[tenant] = seen.get(tenant, 0) + 1
        db.execute("SELECT bench.unqueue('single')")
        return turns

    def many_lanes(self, lanes):
        """The same jobs, each tenant's in a lane of its own: in claim order and in turns, beside no limit at all."""
        jobs = self.sizes["lane_jobs"]
        self.progress(f"limits: {lanes:,} tenants with due jobs")

        def fill(limited):
            def do(db):
                if limited:
                    # Never reached.
                    db.execute("SELECT sync.set_tenant_limits('*', max_running => 1000)")
                self.queue(db, jobs, lanes, "work", "bench", self.work_due)
            return do

        with self.database("limits_plain", fill(False)) as plain, \
                self.database("limits_lanes", fill(True)) as limited, \
                self.cluster.connect("limits_lanes") as fair:
            fair.execute("SET sync_engine.fair_share = on")
            self.results.lanes[lanes] = self.by_turns(dict(zip(LANE_WAYS, (plain, limited, fair))), LANES_BATCH, "work")

    def run(self):
        self.beside(CAPPED, self.cap, "bench")
        self.beside(HELD, self.hold, "other")
        for lanes in self.sizes["lanes"]:
            self.many_lanes(lanes)
        return self.results


def ratio(costs, way, to):
    return statistics.median(costs[way]) / statistics.median(costs[to])
