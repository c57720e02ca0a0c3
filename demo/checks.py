"""What must be true at the end of a demo. Each check returns (passed, sentence)."""

SIGNALS_QUERY = """
    SELECT c.external_id, (g.payload ->> 'id')::bigint, g.payload ->> 'updated_at', count(*)
    FROM sync.signals g JOIN sync.connections c ON c.id = g.connection_id GROUP BY 1, 2, 3
"""

ATTEMPTS_QUERY = """
    SELECT status, kind, extract(epoch FROM retry_after - finished_at)::float8, retry_after
    FROM sync.sync_executions WHERE connection_id = %s ORDER BY finished_at, id
"""


def landed(db):
    """{(repository, id, updated_at): how often} of what is in sync.signals."""
    return {(repo, number, updated): times for repo, number, updated, times in db.execute(SIGNALS_QUERY)}


def signals_are_what_was_served(db, served):
    """Each version of an item that the API gave away is there once, and nothing else is."""
    here = landed(db)
    wanted = {(row["repo"], row["id"], row["updated_at"]) for row in served}
    missing, strange = wanted - set(here), set(here) - wanted
    twice = [key for key, times in here.items() if times > 1]
    passed = bool(wanted) and not missing and not strange and not twice
    sentence = (f"sync.signals holds {sum(here.values())} signals for {len(wanted)} items served: "
                f"{len(missing)} missing, {len(twice)} twice, {len(strange)} never served")
    return passed, sentence


def everything_was_fetched(served, items, left_out):
    """What exists at the API was served, but for the connections that cannot succeed."""
    exist = {(row["repo"], row["id"], row["updated_at"]) for row in items if row["repo"] not in left_out}
    got = {(row["repo"], row["id"], row["updated_at"]) for row in served}
    return not exist - got, f"{len(exist & got)} of the {len(exist)} items that exist were fetched"


def rate_limited_recovered(db, connection_id, name):
    kinds = [kind or status for status, kind, _, _ in db.execute(ATTEMPTS_QUERY, [connection_id])]
    first = kinds.index("rate_limited") if "rate_limited" in kinds else None
    passed = first is not None and "succeeded" in kinds[first:]
    return passed, f"{name}: {kinds.count('rate_limited')} times rate limited, then " + (
        "went on and succeeded" if passed else "no success")


def failing_backs_off(db, connection_id, name):
    failed = [(wait, again) for status, _, wait, again in db.execute(ATTEMPTS_QUERY, [connection_id])
              if status == "failed" and again is not None]
    waits = [wait for wait, _ in failed]
    times = [again for _, again in failed]
    passed = len(failed) >= 2 and waits == sorted(waits) and times == sorted(times) and waits[-1] > waits[0]
    return passed, f"{name}: {len(failed)} failures, waits " + ", ".join(f"{wait:.1f}s" for wait in waits)


def real_repository(db, connection_id, name):
    """At least one page of a real repository landed, and no signal twice."""
    here = landed(db)
    rows = db.execute(ATTEMPTS_QUERY, [connection_id]).fetchall()
    pages = sum(1 for status, _, _, _ in rows if status == "succeeded")
    twice = sum(1 for times in here.values() if times > 1)
    sentence = f"{name}: {pages} pages, {sum(here.values())} signals, {twice} twice"
    if not pages:
        error = db.execute("SELECT kind, error ->> 'message' FROM sync.sync_executions"
                           " WHERE status = 'failed' ORDER BY finished_at DESC LIMIT 1").fetchone()
        sentence += f"; last error: {error[0]}: {error[1]}" if error else "; nothing was tried"
    return pages > 0 and not twice, sentence
