"""How fast queued jobs drain through claim_jobs and complete_jobs, beside a bare queue table."""

from cluster import Cost, require, require_equal
from tick import load

BATCHES = (1, 10, 100, 1000)
CLIENTS = {"full": (1, 2), "quick": (2,)}
WAYS = ("engine", "bare")


def prepare(cluster, first_due, jobs):
    """Templates whose queues hold that many jobs."""
    load(cluster, "drain_engine", "engine.sql", "bench", first_due, jobs, 1)
    load(cluster, "drain_bare", "bare.sql", "bare", first_due, jobs, 1)
    for way, tick in (("engine", "SELECT enqueued FROM sync.tick(%s)"), ("bare", "SELECT bare.tick(%s)")):
        with cluster.connect(f"drain_{way}") as db:
            require_equal("enqueued", db.execute(tick, [first_due]).fetchone()[0], jobs)
            db.execute("VACUUM ANALYZE")


def fault_of(db, way, count):
    if way == "engine":
        return db.execute("SELECT bench.drain_fault(%s, 'job')", [count]).fetchone()[0]
    done = db.execute("SELECT count(*) FROM bare.sync_jobs"
                      " WHERE status = 'succeeded' AND cursor ->> 'job' = id::text").fetchone()[0]
    return "" if done == count else f"{done} jobs finished, not {count}"


def one_round(cluster, way, batch, clients, count, as_of):
    with cluster.clone(f"drain_{way}") as db:
        cost = Cost(count, 0, 0, 0)
        with cluster.counted("round", cost):
            transactions = count // batch // clients
            script = f"drain_{way}.sql"
            cost.seconds = cluster.pgbench(script, clients, transactions, batch=batch, as_of=as_of)
        require(fault_of(db, way, count))
    return cost


def jobs_of(batch, jobs, most):
    """How many are drained: less at small batches, always a multiple of a batch for each client."""
    unit = batch * 2  # clients at most
    return min(jobs, most * max(1, batch // 2)) // unit * unit


def run(cluster, first_due, jobs, single, clients_each, runs, progress):
    """{(way, batch, clients): [costs]}; of `jobs`, `single` are drained singly, four fifths in batches."""
    progress(f"drain: loading {jobs:,} jobs twice")
    prepare(cluster, first_due, jobs)
    as_of = cluster.value("SELECT (%s + interval '4 minutes')::text", [first_due])
    costs = {}
    for number in range(runs):
        for batch in BATCHES:
            for clients in clients_each:
                progress(f"drain: batch {batch}, clients {clients}, round {number + 1} of {runs}")
                for way in WAYS:
                    count = jobs_of(batch, jobs * 4 // 5, single)
                    cost = one_round(cluster, way, batch, clients, count, as_of)
                    costs.setdefault((way, batch, clients), []).append(cost)
    cluster.drop("drain_engine", "drain_bare")
    return costs
