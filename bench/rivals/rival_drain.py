"""How fast each queue is worked off: by the rivals bare, by the rivals doing the engine's work, and by the engine."""

import executor
from cluster import Cost, require, require_equal
from queues import DRAINS, ENGINE

# What a drain must have left: (query, how many it counts for so many jobs).
CHECKS = {
    ("graphile", False): [("SELECT count(*) FROM graphile_worker._private_jobs", lambda jobs: 0)],
    ("graphile", True): [
        ("SELECT count(*) FROM graphile_worker._private_jobs", lambda jobs: 0),
        ("SELECT count(*) FROM history", lambda jobs: jobs),
        ("SELECT count(*) FROM history h JOIN connections c ON c.id = h.connection_id"
         " WHERE c.cursor ->> 'job' = h.job_id::text", lambda jobs: jobs)],
    ("pgboss", False): [
        ("SELECT count(*) FROM pgboss.job WHERE name = 'job' AND state = 'completed'", lambda jobs: jobs)],
    ("pgboss", True): [
        ("SELECT count(*) FROM pgboss.job j JOIN connections c ON c.id = (j.data ->> 'connection')::bigint"
         " WHERE j.name = 'job' AND j.state = 'completed' AND c.cursor ->> 'job' = j.id::text", lambda jobs: jobs),
        ("SELECT count(*) FROM pgboss.job WHERE name = 'job' AND state <> 'completed'", lambda jobs: 0)],
    ("bullmq", False): [],
    ("bullmq", True): [("SELECT count(DISTINCT cursor ->> 'job') FROM connections", lambda jobs: jobs)],
}


class Bench:
    def __init__(self, cluster, scripts, program, jobs):
        self.cluster = cluster
        self.scripts = scripts
        self.engine = executor.Bench(cluster, program, None)
        self.jobs = jobs

    def template(self, variant):
        """Queues in Redis have no templates: only their connections do."""
        if variant.script == "bullmq":
            return "rivals_connections"
        return f"rivals_{variant.script}_{variant.work or 'bare'}"

    def prepare(self, first_due, progress):
        progress(f"drain: loading {self.jobs:,} jobs for each")
        self.engine.prepare("rivals_engine", first_due, self.jobs, "noop", {"noop": {"cursor": True}}, "NULL")
        self.cluster.create("rivals_connections", "rivals/connections.sql")
        with self.cluster.connect("rivals_connections") as db:
            db.execute("SELECT fill(%s)", [self.jobs])
            # As the engine's: tables in use have free space on every page.
            for _ in range(2):
                db.execute("VACUUM ANALYZE")
                db.execute("SELECT rewrite()")
            db.execute("VACUUM ANALYZE")
        for variant in DRAINS:
            if variant.script != "bullmq":
                name = self.template(variant)
                self.cluster.admin.execute(f"CREATE DATABASE {name} TEMPLATE rivals_connections")
                self.scripts.run(variant.script, "load", database=name, jobs=self.jobs, **variant.told())
                with self.cluster.connect(name) as db:
                    db.execute("VACUUM ANALYZE")

    def engine_round(self):
        with self.cluster.clone("rivals_engine") as db:
            cost = Cost(self.jobs, 0, 0, 0)
            with self.cluster.counted("round", cost):
                cost.seconds, _ = self.engine.drain()
            require(db.execute("SELECT bench.drain_fault(%s, 'run')", [self.jobs]).fetchone()[0])
        return cost

    def rival_round(self, variant):
        told = variant.told() | {"database": "round", "jobs": self.jobs}
        with self.cluster.clone(self.template(variant)) as db:
            if variant.script == "bullmq":
                self.scripts.run("bullmq", "load", **told)
            cost = Cost(self.jobs, 0, 0, 0)
            with self.cluster.counted("round", cost):
                result = self.scripts.run(variant.script, "drain", **told)
                cost.seconds = result["seconds"]
            if variant.script == "bullmq":
                require_equal("jobs that BullMQ kept and left", (result["completed"], result["left"]),
                              (self.jobs if variant.work else 0, 0))
            for query, expected in CHECKS[variant.script, bool(variant.work)]:
                require_equal(f"{variant.name}, {query}", db.execute(query).fetchone()[0], expected(self.jobs))
        return cost

    def run(self, first_due, runs, progress):
        """{(name, work): [costs]}"""
        self.prepare(first_due, progress)
        # A server that is new has no WAL segments to use again, nor any of its memory mapped: that is nobody's cost.
        progress("drain: warming up")
        self.engine_round()
        costs = {}
        for number in range(runs):
            progress(f"drain: {ENGINE}, round {number + 1} of {runs}")
            costs.setdefault((ENGINE, ""), []).append(self.engine_round())
            for variant in DRAINS:
                progress(f"drain: {variant.name} {variant.work or 'bare'}, round {number + 1} of {runs}")
                costs.setdefault((variant.name, variant.work), []).append(self.rival_round(variant))
        self.cluster.drop("rivals_engine", "rivals_connections",
                          *{self.template(v) for v in DRAINS if v.script != "bullmq"})
        return costs
