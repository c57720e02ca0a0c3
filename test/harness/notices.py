"""Notifications of an engine: settings, events that concern them, and what became of their deliveries."""

import json

from .waiting import wait_until

MAIL_FROM = "Sync <sync@robots.example>"
SENDER = "sync@robots.example"
DOMAIN = "robots.example"
WEBHOOKS = ("--webhook-allow-private-addresses", "loopback")

# One attempt of a connection without an executor, in one transaction: whoever runs beside it sees only its end.
ATTEMPT = """
DO $do$
DECLARE
    job record;
    at timestamptz := {at};
BEGIN
    PERFORM sync.trigger({connection}, as_of => at);
    SELECT * INTO STRICT job FROM sync.claim_jobs('by hand', 1, at);
    IF job.connection_id <> {connection} THEN
        RAISE 'claimed a job of connection %', job.connection_id;
    END IF;
    {end}
END
$do$
"""


CONNECTIONS = """
INSERT INTO sync.connections (tenant_id, provider_slug, name, last_incremental_finished_at, metadata)
SELECT 'acme', 'noop', 'connection ' || n, now(), '{"sync": {"next_run_at": "2999-01-01T00:00:00Z"}}'
FROM generate_series(1, %s) n
"""
# All fail, in batches, as an executor does it.
FAIL_ALL = """
DO $$
DECLARE
    results jsonb;
BEGIN
    PERFORM sync.trigger(id) FROM sync.connections;
    LOOP
        SELECT jsonb_agg(jsonb_build_object('job_id', job_id, 'claim_token', claim_token, 'kind', 'permanent',
                                            'error', '{"message": "the provider is down"}'::jsonb))
        INTO results FROM sync.claim_jobs('by hand', 1000);
        EXIT WHEN results IS NULL;
        PERFORM sync.complete_jobs(results);
    END LOOP;
END
$$
"""


class Notices:
    def __init__(self, engine, authority):
        self.engine = engine
        self.db = engine.db
        self.authority = authority
        self.mail = None

    def executor(self, *flags, mail=None, env=None, **options):
        """One that trusts the tests' authority, may reach webhooks on loopback and sends its mail to `mail`."""
        more = []
        if mail:
            more += mail_flags(mail)
            env = {**mail_environment(mail), **(env or {})}
        return self.engine.executor("--ca-file", str(self.authority.file), *WEBHOOKS, *more, *flags, env=env, **options)

    # Settings. Further arguments of sync.create_notification by name.

    def create(self, kind, events, config, tenant="acme", **arguments):
        names = "".join(f", {name} => %s" for name in arguments)
        return self.db.value(
            f"SELECT sync.create_notification(%s, %s, %s::text[], %s{names})",
            tenant, kind, list(events), json.dumps(config), *arguments.values(),
        )

    def email(self, *to, events=("success", "failure", "warning"), config=None, **arguments):
        return self.create("email", events, {"to": list(to), **(config or {})}, **arguments)

    def in_app(self, *users, events=("success", "failure", "warning"), config=None, **arguments):
        return self.create("in_app", events, {"users": list(users), **(config or {})}, **arguments)

    def webhook(self, receiver, events=("success", "failure", "warning"), verify=False, config=None, **arguments):
        """Where nothing else is said, the test event is waived."""
        url = receiver if isinstance(receiver, str) else receiver.url
        return self.create("webhook", events, {"url": url, **(config or {})}, verify=verify, **arguments)

    def secret(self, notification):
        return self.db.value("SELECT sync.webhook_secret(%s)", notification)

    # Events.

    def connection(self, name="Anvils", tenant="acme"):
        """One whose runs are fails() and succeeds()."""
        self._provider()
        return self.db.value(
            "INSERT INTO sync.connections (tenant_id, provider_slug, name, last_incremental_finished_at, metadata)"
            " VALUES (%s, 'noop', %s, now(), %s) RETURNING id",
            tenant, name, json.dumps({"sync": {"next_run_at": "2999-01-01T00:00:00Z"}}),
        )

    def connections(self, count):
        self._provider()
        self.db.run(CONNECTIONS, count)
        self.db.run("ANALYZE")

    def all_fail(self):
        """Every connection, for good, in one transaction."""
        self.db.run(FAIL_ALL)

    def _provider(self):
        self.db.run("INSERT INTO sync.providers (slug, connector) VALUES ('noop', 'noop') ON CONFLICT DO NOTHING")

    def only_failure(self, address, mail, name="Anvils", message="the API said no", tenant="acme"):
        """One failure that this address is told of by mail; its message."""
        self.email(address, tenant=tenant)
        self.fails(self.connection(name, tenant=tenant), message)
        self.executor(mail=mail).ready()
        (received,) = mail.wait(what=self.engine.tails)
        self.wait_all_delivered()
        return received

    def repo_connection(self, items=7, name="Anvils"):
        """A repository of the demo API and a connection to it, for runs by an executor."""
        repo = self.engine.repo(items=items)
        self.engine.github()
        connection = self.engine.github_connection(repo)
        self.db.run("UPDATE sync.connections SET name = %s WHERE id = %s", name, connection)
        return repo, connection

    def fails(self, connection, message="the API said no", kind="permanent", at=None, **error):
        """A run that fails; for good, unless the kind says otherwise."""
        self._attempt(
            connection, at,
            f"PERFORM sync.fail_job(job.job_id, job.claim_token, {quoted({'message': message, **error})}, "
            f"{quoted(kind)}, as_of => at);",
        )

    def succeeds(self, connection, records=0, at=None):
        signals = [{"kind": "issue", "payload": {"id": n}, "dedupe_key": f"i{n}"} for n in range(records)]
        self._attempt(
            connection, at,
            f"PERFORM sync.complete_job(job.job_id, job.claim_token, {quoted(signals)}, '{{}}', as_of => at);",
        )

    def _attempt(self, connection, at, end):
        time = f"{quoted(at.isoformat())}::timestamptz" if at else "now()"
        self.db.run(ATTEMPT.format(connection=int(connection), at=time, end=end))

    def retry_now(self):
        """What waits for its next attempt is due."""
        self.db.run("UPDATE sync.message_queue SET due_at = now() WHERE status = 'queued'")

    def route(self, as_of=None):
        """Makes messages of the events so far, at this time."""
        if as_of is None:
            self.db.run("SELECT sync.run_notifications()")
        else:
            self.db.run("SELECT sync.run_notifications(%s)", as_of)

    # What became of them.

    def deliveries(self, **columns):
        """Rows of sync.deliveries with these values, by delivery and attempt."""
        where = "".join(f" AND {name} = %s" for name in columns)
        return [
            row[0]
            for row in self.db.rows(
                "SELECT to_jsonb(d) FROM sync.deliveries d WHERE true" + where
                + " ORDER BY delivery_id, attempt NULLS LAST, attempted_at",
                *columns.values(),
            )
        ]

    def wait_deliveries(self, count=1, **columns):
        """Such rows once there are so many."""
        return wait_until(
            lambda: len(found := self.deliveries(**columns)) >= count and found,
            lambda: f"{count} deliveries {columns} of {self.deliveries()}\n{self.engine.tails()}",
        )

    def wait_all_delivered(self):
        """Until nothing waits, not even for the time of its next attempt; each delivery has ended with its arrival."""

        def nothing_waits():
            if self.pending() == 0:
                return True
            self.db.run("UPDATE sync.message_queue SET due_at = now() WHERE status = 'queued' AND due_at > now()")
            return False

        wait_until(
            nothing_waits,
            lambda: f"{self.pending()} wait: {self.deliveries()}\n{self.engine.tails()}",
        )
        last = {}
        for row in self.deliveries():
            last[row["delivery_id"]] = row
        assert last, "there was nothing to deliver"
        assert {row["outcome"] for row in last.values()} == {"delivered"}, last
        return list(last.values())

    def pending(self):
        """Events of which no message was made yet, and messages that have yet to arrive."""
        return self.db.value(
            "SELECT (SELECT count(*) FROM sync.outbox) + (SELECT count(*) FROM sync.message_queue)"
        )

    def events_of_messages(self):
        """{event: in how many messages it is}"""
        return dict(self.db.rows("SELECT e, count(*) FROM sync.messages m, unnest(m.event_ids) e GROUP BY 1"))

    def inbox(self, user):
        return [
            row[0]
            for row in self.db.rows("SELECT to_jsonb(i) FROM sync.inbox i WHERE user_id = %s ORDER BY id", user)
        ]


def quoted(value):
    """As an SQL literal within a body; what is no text, as jsonb."""
    if isinstance(value, str):
        return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    return quoted(json.dumps(value)) + "::jsonb"


def mail_flags(server):
    """How an executor is told of a mail server."""
    flags = ["--smtp-url", server.url(), "--mail-from", MAIL_FROM]
    return flags


def mail_environment(server):
    from .mail import PASSWORD, USER

    if not server.auth:
        return {}
    return {"SYNC_EXECUTOR_SMTP_USER": USER, "SYNC_EXECUTOR_SMTP_PASSWORD": PASSWORD}
