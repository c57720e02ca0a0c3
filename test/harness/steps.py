"""Steps that tests of the API go through: objects made by it, runs ended without an executor."""

import datetime
import json

UTC = datetime.timezone.utc


def noop_provider(db):
    db.run("INSERT INTO sync.providers (slug, connector) VALUES ('noop', 'noop') ON CONFLICT DO NOTHING")


def make(api, path, **members):
    """What POST answers where it makes something."""
    made = api.post(path, members)
    assert made.status == 201, made
    return made.json()


def connection(api, **members):
    return make(api, "/connections", **{"provider_slug": "noop", "name": "shop", **members})["id"]


def schedule(api, of, schedule_type="daily", **members):
    body = {"connection_id": of, "name": "s", "schedule_type": schedule_type, **members}
    return make(api, "/sync-schedules", **body)


def time(text):
    return datetime.datetime.fromisoformat(text)


def claim(db, of, at=None):
    """The run of that connection which is due, as an executor gets it, or None. Those of others are given back."""
    at = at or datetime.datetime.now(UTC)
    mine = None
    for (job,) in db.rows("SELECT to_jsonb(j) FROM sync.claim_jobs('by hand', 100, %s) j", at):
        if job["connection_id"] == of:
            mine = job
        else:
            db.run("SELECT sync.release_jobs('by hand', ARRAY[%s]::bigint[], ARRAY[%s]::uuid[], %s)",
                   job["job_id"], job["claim_token"], at)
    return mine


def succeed(db, job, records=1, cursor=None, at=None):
    signals = json.dumps([{"kind": "row"}] * records)
    following = None if cursor is None else json.dumps(cursor)
    assert db.value("SELECT sync.complete_job(%s, %s, %s, %s, as_of => %s)", job["job_id"], job["claim_token"], signals,
                    following, at or datetime.datetime.now(UTC))


def fail(db, job, message="connection reset", kind="transient", at=None):
    db.run("SELECT sync.fail_job(%s, %s, %s, %s, as_of => %s)", job["job_id"], job["claim_token"],
           json.dumps({"message": message}), kind, at or datetime.datetime.now(UTC))
