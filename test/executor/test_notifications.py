"""The story of sync scheduling (1.4), acceptance criteria 2, 4 and 6, as far as they are about notifications. Tests
carry the criteria's words."""

import datetime

import psycopg
import pytest

ALICE = "alice@customer.example"


def test_ac2_i_receive_an_email_notification_when_the_sync_completes(engine, notices, mail):
    """A daily schedule at 2:00 AM: it runs by itself, and a mail says so."""
    _, connection = notices.repo_connection()
    schedule = engine.db.value(
        "SELECT sync.create_schedule(%s, 'nightly', 'daily', '02:00', as_of => now() - interval '2 days')", connection)
    setting = notices.email(ALICE, events=["success"], schedule_id=schedule, name="operations")
    engine.db.run("SELECT sync.tick()")
    running = notices.executor(mail=mail).ready()
    (message,) = mail.wait(what=engine.tails)
    assert message.recipients == [ALICE]
    assert "Anvils" in message["Subject"]
    for kind in ("plain", "html"):
        assert "Anvils" in message.part(kind) and "nightly" in message.part(kind) and "7" in message.part(kind)
    (delivery,) = notices.wait_deliveries(notification_id=setting, outcome="delivered")
    assert (delivery["event_type"], delivery["message_id"]) == ("sync.succeeded", message.id)
    history = engine.db.rows("SELECT outcome, run_status FROM sync.schedule_history(%s)", schedule)
    assert ("fired", "succeeded") in history
    # Runs of the connection that are not the schedule's are not told.
    engine.wait_status(engine.trigger(connection))
    assert running.stop() == 0
    assert notices.pending() == 0
    assert len(mail.accepted) == 1


def test_ac4_i_receive_a_failure_notification_with_error_details(engine, notices, mail, hook):
    """A sync that fails due to connection issues is retried with backoff, and told once, when it is given up."""
    receiver = hook()
    repo, connection = notices.repo_connection()
    repo.behave("status", status=503)
    engine.db.run("UPDATE sync.providers SET max_attempts = 2")
    notices.email(ALICE, events=["failure"])
    notices.webhook(receiver, events=["failure"])
    running = notices.executor(mail=mail).ready()
    job = engine.trigger(connection)
    assert engine.wait_status(job, "failed")["attempts"] == 2
    (request,) = receiver.wait(what=engine.tails)
    data = request.json["data"]
    assert request.type == "sync.failed"
    assert data["error"]["class"] == "transient"
    assert data["error"]["attempts"] == 2
    assert "503" in data["error"]["message"]
    assert data["connection"]["id"] == connection
    assert data["run"]["job_id"] == job
    assert "503" in data["title"] + data["summary"]
    (message,) = mail.wait(what=engine.tails)
    assert "Anvils" in message["Subject"]
    for kind in ("plain", "html"):
        assert "503" in message.part(kind) and "Anvils" in message.part(kind)
    assert [a["status"] for a in engine.attempts(connection)] == ["failed", "failed"]
    # I trigger a retry by hand; it recovers.
    repo.behave("ok")
    engine.wait_status(engine.trigger(connection))
    assert running.stop() == 0
    assert len(receiver.requests()) == len(mail.accepted) == 1


def test_ac6_i_can_choose_email_in_app_or_webhook(engine, notices, mail, hook):
    receiver = hook()
    connection = notices.connection()
    settings = {
        "email": notices.email(ALICE), "in_app": notices.in_app("alice"), "webhook": notices.webhook(receiver),
    }
    notices.executor(mail=mail).ready()
    notices.fails(connection, "the API said no: 4711")
    (message,) = mail.wait(what=engine.tails)
    assert "4711" in message.part("plain")
    (request,) = receiver.wait(what=engine.tails)
    assert request.json["data"]["error"]["message"] == "the API said no: 4711"
    assert request.genuine(notices.secret(settings["webhook"]))
    notices.wait_all_delivered()
    (row,) = notices.inbox("alice")
    assert (row["event_type"], row["severity"], row["read_at"]) == ("sync.failed", "failure", None)
    assert row["title"] == request.json["data"]["title"]


@pytest.mark.parametrize("event", ["success", "failure", "warning"])
def test_ac6_i_receive_notifications_for_success_failure_or_warnings(engine, notices, mail, hook, event):
    """Each for itself: only what was chosen arrives."""
    engine.db.configure(notify_after_failures=1)
    good, bad, shaky = (notices.connection(name) for name in ("Good one", "Bad one", "Shaky one"))
    receiver = hook()
    notices.email(ALICE, events=[event])
    notices.in_app("alice", events=[event])
    notices.webhook(receiver, events=[event])
    notices.succeeds(good, records=3)
    notices.fails(bad)
    notices.fails(shaky, "not now", kind="transient")
    # Its next attempt, which succeeds, is not for now.
    engine.db.run("UPDATE sync.sync_jobs SET retry_after = now() + interval '1 hour' WHERE status = 'queued'")
    notices.executor(mail=mail).ready()
    (request,) = receiver.wait(what=engine.tails)
    (message,) = mail.wait(what=engine.tails)
    notices.wait_all_delivered()
    expected = {"success": ("sync.succeeded", "Good one"), "failure": ("sync.failed", "Bad one"),
                "warning": ("sync.retrying", "Shaky one")}[event]
    assert (request.type, request.json["data"]["connection"]["name"]) == expected
    assert expected[1] in message["Subject"]
    assert [row["event_type"] for row in notices.inbox("alice")] == [expected[0]]
    assert (len(receiver.requests()), len(mail.accepted)) == (1, 1)


@pytest.mark.parametrize("every", ["day", "week"])
def test_ac6_i_can_configure_daily_or_weekly_digest_summaries_of_sync_activity(engine, notices, mail, hook, every):
    receiver = hook()
    good, bad = notices.connection("Good one"), notices.connection("Bad one")
    # It was due a minute ago, and made two hours ago: so there is one period that has ended.
    due = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=1)
    digest = {"every": every, "at": due.strftime("%H:%M"), "timezone": "UTC"}
    if every == "week":
        digest["weekday"] = due.strftime("%A").lower()
    made = due.replace(second=0, microsecond=0) - datetime.timedelta(hours=2)
    arguments = {"events": ["digest"], "config": {"digest": digest}, "as_of": made}
    notices.email(ALICE, **arguments)
    notices.in_app("alice", **arguments)
    notices.webhook(receiver, **arguments)
    notices.succeeds(good, records=5, at=made + datetime.timedelta(minutes=5))
    notices.fails(bad, at=made + datetime.timedelta(minutes=6))
    notices.route()
    notices.executor(mail=mail).ready()
    (message,) = mail.wait(what=engine.tails)
    (request,) = receiver.wait(what=engine.tails)
    notices.wait_all_delivered()
    assert request.type == ("digest.daily" if every == "day" else "digest.weekly")
    runs = request.json["data"]["runs"]
    assert (runs["succeeded"], runs["failed"]) == (1, 1)
    assert request.json["data"]["records"]["processed"] == 5
    assert "Bad one" in message.part("plain") and "Bad one" in message.part("html")
    assert [row["event_type"] for row in notices.inbox("alice")] == [request.type]
    # The next is not due.
    notices.route()
    assert notices.pending() == 0


@pytest.mark.parametrize("kind, config", [
    ("webhook", {"url": "http://hooks.example/x"}),
    ("webhook", {"url": "ftp://hooks.example/x"}),
    ("webhook", {"url": "https://user:password@hooks.example/x"}),
    ("webhook", {"url": "https://hooks.example/x\r\nX-Evil: 1"}),
    ("webhook", {"url": "hooks.example"}),
    ("webhook", {}),
    ("email", {"to": ["alice"]}),
    ("email", {"to": ["alice@customer.example\r\nBcc: eve@evil.example"]}),
    ("email", {"to": ["Alice <alice@customer.example>"]}),
    ("email", {"to": ["alice@customer.example,eve@evil.example"]}),
    ("email", {"to": []}),
    ("in_app", {"users": []}),
])
def test_notification_security_urls_and_addresses_are_validated(engine, notices, kind, config):
    with pytest.raises(psycopg.Error) as refused:
        notices.create(kind, ["failure"], config)
    assert refused.value.sqlstate.startswith("22"), refused.value


def test_what_fails_again_is_one_incident_and_told_once(engine, notices, hook):
    receiver = hook()
    connection = notices.connection()
    notices.webhook(receiver, events=["failure", "recovered"])
    notices.executor().ready()
    for _ in range(3):
        notices.fails(connection, "the API said no")
    (failed,) = receiver.wait(what=engine.tails)
    notices.wait_all_delivered()
    assert failed.json["data"]["incident"]["state"] == "opened"
    notices.succeeds(connection)
    receiver.wait(2, what=engine.tails)
    notices.wait_all_delivered()
    assert [r.type for r in receiver.requests()] == ["sync.failed", "sync.recovered"]
    recovered = receiver.requests()[-1].json["data"]
    assert recovered["incident"]["id"] == failed.json["data"]["incident"]["id"]
    assert engine.db.row("SELECT count(*), max(failed_runs), bool_and(resolved_at IS NOT NULL) FROM sync.incidents") \
        == (1, 3, True)


def test_tenants_are_told_of_their_own_alone(engine, notices, hook):
    receivers = {tenant: hook(tenant) for tenant in ("acme", "umbrella")}
    connections = {tenant: notices.connection(f"of {tenant}", tenant=tenant) for tenant in receivers}
    secrets = {t: notices.secret(notices.webhook(r, tenant=t)) for t, r in receivers.items()}
    assert len(set(secrets.values())) == 2
    notices.executor().ready()
    for connection in connections.values():
        notices.fails(connection)
    notices.wait_all_delivered()
    for tenant, receiver in receivers.items():
        (request,) = receiver.wait(what=engine.tails)
        assert request.json["data"]["tenant"] == tenant
        assert request.json["data"]["connection"]["id"] == connections[tenant]
        assert [t for t in secrets if request.genuine(secrets[t])] == [tenant]
