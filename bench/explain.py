#!/usr/bin/python3
"""Prints EXPLAIN (ANALYZE, BUFFERS) of the statements inside the hot functions and of the API's requests, among a
million rows of each table, on a private server that bench/explain.sh has started."""

import argparse
import json
import re

import explain_api
from cluster import Cluster, WrongResult

DATABASE = "explain"
BATCH = 100
# A text of the statement, and what it is called. The first that fits counts.
STATEMENTS = {
    "claim": {"_lanes": "claim_jobs: what there is to claim",
              "_take_jobs(": "claim_jobs: locks and takes it"},
    "complete": {"_end_bare_jobs(": "complete_jobs: ends jobs with nothing but a cursor"},
    "land": {"_lock_results(": "complete_jobs: locks jobs and connections",
             "landed AS": "complete_jobs: lands signals",
             "ended AS MATERIALIZED": "complete_jobs: ends them"},
    "tick": {"unparked AS": "tick_batch: what is due"},
    "idle": {"overran": "idle tick: lost jobs", "unparked AS": "idle tick: nothing is due",
             "FROM (SELECT 1": "idle tick: backlog"},
    "next": {"min(x.due)": "next_claim_at"},
}


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket-dir", required=True, help="where the server's socket is")
    parser.add_argument("--bindir", required=True, help="where the server's programs are")
    parser.add_argument("--rows", type=int, default=1_000_000, help="connections, live jobs and finished jobs")
    parser.add_argument("--gateway", required=True, help="the program sync-gateway")
    return parser.parse_args()


class Explainer:
    def __init__(self, db):
        self.db = db
        self.plans = []
        db.add_notice_handler(lambda notice: self.plans.append(notice.message_primary))
        # The library is loaded by its first use: plans of nested statements come as notices.
        for setting in ("log_nested_statements = on", "log_analyze = on", "log_buffers = on", "log_timing = off",
                        "log_level = notice"):
            db.execute("LOAD 'auto_explain'")
            db.execute(f"SET auto_explain.{setting}")

    def explained(self, kind, query, *args):
        """The query's rows; its statements are printed."""
        self.plans.clear()
        self.db.execute("SET auto_explain.log_min_duration = 0")
        rows = self.db.execute(query, args).fetchall()
        self.db.execute("SET auto_explain.log_min_duration = -1")
        for text, title in STATEMENTS[kind].items():
            self.show(title, text)
        return rows

    def show(self, title, text):
        for message in self.plans:
            found = re.search(r"Query Text:(.*?)\n(?=\S[^\n]*\(cost=)(.*)", message, re.DOTALL)
            if found and text in found[1]:
                plan = re.sub(r"cost=\S+ rows=\d+ width=\d+\) \(", "", found[2])
                print(f"## {title}\n{plan.rstrip()}\n")
                return
        raise WrongResult(f"{title} was not seen")


def load(cluster, first_due, rows):
    cluster.create(DATABASE, "engine.sql", "growth.sql")
    with cluster.connect(DATABASE) as db:
        db.execute("INSERT INTO sync.providers (slug, connector) VALUES ('bench', 'noop')")
        db.execute("SELECT bench.fill(%s, 1, %s)", [rows, first_due])
        more = True
        while more:
            more = db.execute("SELECT more FROM sync.tick_batch(NULL, %s)", [first_due]).fetchone()[0]
        db.execute("SELECT bench.fill_others(%s, 'bench', %s + interval '10 minutes')", [10 * BATCH, first_due])
        db.execute("SELECT bench.finish_others(0, %s, %s)", [rows, first_due])
        db.execute("VACUUM ANALYZE")


def work(explain, as_of, due):
    """One of each call. The first rounds fill caches."""
    claim = "SELECT job_id, claim_token FROM sync.claim_jobs('explain', %s, %s)"
    complete = "SELECT * FROM sync.complete_jobs(%s, %s)"
    for kind, signals in (("complete", []), ("land", [{"kind": "item", "dedupe_key": "new"}])):
        rows = explain("claim", claim, BATCH, as_of)
        done = [{"job_id": job, "claim_token": str(token), "next_cursor": {"job": job}, "signals": signals}
                for job, token in rows]
        explain(kind, complete, json.dumps(done), as_of)
    explain("next", "SELECT sync.next_claim_at(%s)", as_of)
    explain("idle", "SELECT * FROM sync.tick(%s)", as_of)
    explain("tick", "SELECT * FROM sync.tick_batch(%s, %s)", BATCH, due)


def main():
    chosen = options()
    cluster = Cluster(chosen.socket_dir, chosen.bindir)
    first_due = cluster.value("SELECT date_trunc('minute', now()) - interval '1 hour'")
    as_of = cluster.value("SELECT %s + interval '4 minutes'", [first_due])
    due = cluster.value("SELECT %s + interval '10 minutes'", [first_due])
    load(cluster, first_due, chosen.rows)
    with cluster.connect(DATABASE) as db:
        for _ in range(3):
            as_of, due = (cluster.value("SELECT %s + interval '1 second'", [time]) for time in (as_of, due))
            work(lambda _, query, *args: db.execute(query, args).fetchall(), as_of, as_of)
        work(Explainer(db).explained, as_of, due)
    explain_api.explain(cluster, chosen.gateway, DATABASE)


if __name__ == "__main__":
    main()
