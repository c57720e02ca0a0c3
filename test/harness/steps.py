"""Steps that tests of the API go through: objects made by it, runs ended without an executor."""

import datetime
import json

UTC = datetime.timezone.utc


class Session:
    """A database's shorthands over one connection: a new one for each statement would learn all functions anew."""

    def __init__(self, database):
        self.connection = database.connect()

    def close(self):
        self.connection.close()

    def rows(self, sql, *params):
        cursor = self.connection.execute(sql, params or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, sql, *params):
        ((only,),) = self.rows(sql, *params)
        return only

    def run(self, sql, *params):
        self.rows(sql, *params)


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
    claimed = [row[0] for row in db.rows("SELECT to_jsonb(j) FROM sync.claim_jobs('by hand', 100, %s) j", at)]
    others = [job for job in claimed if job["connection_id"] != of]
    db.run("SELECT sync.release_jobs('by hand', %s::bigint[], %s::uuid[], %s)",
           *([job[name] for job in others] for name in ("job_id", "claim_token")), at)
    return next((job for job in claimed if job["connection_id"] == of), None)


def succeed(db, job, records=1, cursor=None, at=None):
    signals = json.dumps([{"kind": "row"}] * records)
    following = None if cursor is None else json.dumps(cursor)
    assert db.value("SELECT sync.complete_job(%s, %s, %s, %s, as_of => %s)", job["job_id"], job["claim_token"], signals,
                    following, at or datetime.datetime.now(UTC))


def fail(db, job, message="connection reset", kind="transient", at=None):
    db.run("SELECT sync.fail_job(%s, %s, %s, %s, as_of => %s)", job["job_id"], job["claim_token"],
           json.dumps({"message": message}), kind, at or datetime.datetime.now(UTC))
