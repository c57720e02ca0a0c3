"""What receivers of webhooks answer, and what becomes of the delivery."""

import datetime
import time

import pytest
from harness.executor import PLANTED_SECRETS
from harness.waiting import wait_until

ALICE = "alice@customer.example"
# Seconds after the first attempt, the second, and so on.
SCHEDULE = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]


def wait_of(row):
    """Seconds from an attempt's end to the next, by the database."""
    return (as_time(row["next_attempt_at"]) - as_time(row["finished_at"])).total_seconds()


def as_time(text):
    return datetime.datetime.fromisoformat(text)


def refused_once(notices, receiver, **behaviour):
    """The first attempt of a failure's delivery to a receiver that behaves so."""
    receiver.script(behaviour)
    notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor().ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    return running, row


def assert_arrives_on_retry(notices, receiver, requests=2):
    notices.retry_now()
    notices.wait_all_delivered()
    assert len(receiver.requests()) == requests
    assert len({r.id for r in receiver.requests()}) == 1


def test_a_redirect_is_a_failure_and_never_followed(notices, receivers, hook):
    elsewhere, here = hook("elsewhere", receivers.http), hook("here")
    settings = [hook(f"hook{status}") for status in (301, 302, 307, 308)]
    for receiver, status in zip(settings, (301, 302, 307, 308)):
        target = elsewhere if status % 2 else here
        receiver.script({"status": status, "headers": {"Location": target.url}})
        notices.webhook(receiver)
    notices.fails(notices.connection())
    notices.executor().ready()
    rows = notices.wait_deliveries(4, outcome="failed")
    assert sorted(row["reply_status"] for row in rows) == [301, 302, 307, 308]
    assert {row["error_code"] for row in rows} == {"status"}
    notices.retry_now()
    notices.wait_all_delivered()
    assert elsewhere.requests() == here.requests() == []


def test_only_2xx_is_a_success(engine, notices, hook):
    statuses = (200, 201, 202, 204, 299, 300, 304, 400, 401, 404, 429, 500, 503)
    receivers = {status: hook(str(status)) for status in statuses}
    settings = {}
    for status, receiver in receivers.items():
        receiver.script({"status": status, "body": "" if status in (204, 304) else "thank you"})
        settings[status] = notices.webhook(receiver)
    interim = hook("interim")
    interim.script({"kind": "raw", "text": "HTTP/1.1 100 Continue\r\n\r\n"})
    settings[None] = notices.webhook(interim)
    notices.fails(notices.connection())
    running = notices.executor().ready()
    for status, setting in settings.items():
        good = status is not None and status < 300
        (row,) = notices.wait_deliveries(notification_id=setting, outcome="delivered" if good else "failed")
        assert row["reply"] in (("", None) if status in (204, 304, None) else ("thank you",))
        if status is not None:
            assert (row["reply_status"], row["error_code"]) == (status, None if good else "status")
    notices.wait_all_delivered()
    for status, receiver in receivers.items():
        assert len(receiver.requests()) == (1 if status < 300 else 2)
        assert len({r.id for r in receiver.requests()}) == 1
    assert running.stop() == 0


def test_attempts_follow_the_standards_schedule_and_end(engine, notices, hook):
    receiver = hook()
    receiver.behave(status=500)
    setting = notices.webhook(receiver)
    notices.in_app("alice", events=["warning"])
    notices.fails(notices.connection())
    running = notices.executor().ready()
    for number, seconds in enumerate(SCHEDULE, 1):
        row = notices.wait_deliveries(number, notification_id=setting, outcome="failed")[-1]
        assert row["attempt"] == number
        assert seconds <= wait_of(row) <= seconds * 1.1 + 0.5, number
        notices.retry_now()
    last = notices.wait_deliveries(10, notification_id=setting, outcome="failed")[-1]
    assert (last["next_attempt_at"], last["status"]) == (None, "failed")
    assert notices.db.value("SELECT count(*) FROM sync.message_queue") == 0
    # It was silent for days: it is disabled, and another channel says so.
    notices.route()
    assert [row["event_type"] for row in notices.inbox("alice")] == ["notification.disabled"]
    assert len({r.id for r in receiver.requests()}) == 1
    assert running.stop() == 0


def test_retry_after_is_honoured_where_it_is_longer(notices, hook):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 900))
    cases = [(503, "600", 600), (429, "120", 120), (500, "60", 60), (503, "2", 5), (503, "soon", 5), (503, date, 840)]
    settings = []
    for number, (status, header, _) in enumerate(cases):
        receiver = hook(f"hook{number}")
        receiver.script({"status": status, "headers": {"Retry-After": header}})
        settings.append(notices.webhook(receiver))
    notices.fails(notices.connection())
    running = notices.executor().ready()
    for setting, (_, header, seconds) in zip(settings, cases):
        (row,) = notices.wait_deliveries(notification_id=setting, outcome="failed")
        assert seconds <= wait_of(row) <= (900 if header is date else seconds) * 1.1 + 1, header
    notices.wait_all_delivered()
    assert running.stop() == 0


def test_gone_disables_the_setting_and_tells_by_another_channel(engine, notices, mail, hook):
    gone, there = hook("gone"), hook("there")
    gone.behave(status=410, body="we have moved")
    disabled = notices.webhook(gone, name="the old one")
    notices.webhook(there)
    notices.email(ALICE)
    notices.in_app("alice")
    running = notices.executor(mail=mail).ready()
    notices.fails(notices.connection("one"))
    (row,) = notices.wait_deliveries(notification_id=disabled, outcome="gone")
    assert (row["reply_status"], row["next_attempt_at"]) == (410, None)
    there.wait(2, what=engine.tails)
    mail.wait(2, what=engine.tails)
    wait_until(lambda: notices.pending() == 0, engine.tails)
    assert sorted(r.type for r in there.requests()) == ["notification.disabled", "sync.failed"]
    assert sorted(i["event_type"] for i in notices.inbox("alice")) == ["notification.disabled", "sync.failed"]
    (told,) = [r.json["data"] for r in there.requests("notification.disabled")]
    assert "the old one" in told["title"] + told["summary"]
    # It gets nothing more.
    notices.fails(notices.connection("two"))
    there.wait(3, what=engine.tails)
    wait_until(lambda: notices.pending() == 0, engine.tails)
    assert len(gone.requests()) == 1
    # A test that is answered takes it up again.
    gone.behave(status=204)
    engine.db.run("SELECT sync.test_notification(%s)", disabled)
    gone.wait(2, what=engine.tails)
    wait_until(lambda: notices.pending() == 0, engine.tails)
    notices.fails(notices.connection("three"))
    gone.wait(3, what=engine.tails)
    assert [r.type for r in gone.requests()] == ["sync.failed", "test", "sync.failed"]
    assert running.stop() == 0


def test_replies_are_kept_to_a_kilobyte_without_secrets(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    secret = notices.secret(setting)
    token = "planted-token-of-an-operator-77x"
    PLANTED_SECRETS.update((secret, token))
    receiver.script({"status": 500, "body": f"your key {secret} is refused, " + "€" * 5000})
    notices.fails(notices.connection())
    running = notices.executor("--allow-secret-env", "TOKEN", env={"TOKEN": token}).ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert row["reply"].startswith("your key [redacted] is refused, €")
    assert len(row["reply"].encode()) <= 1024
    assert secret not in str(row)
    assert_arrives_on_retry(notices, receiver)
    assert running.stop() == 0


@pytest.mark.parametrize("reply", ["bnVsABBoZXJlAA==", "//79IGJhZCBVVEYtOCCA", "", "G1szMW0Kcm93CgoK", "4oKs4oI="])
def test_replies_of_any_bytes_are_kept_as_text(notices, hook, reply):
    receiver = hook()
    _, row = refused_once(notices, receiver, kind="bytes", status=500, base64=reply)
    assert row["reply_status"] == 500
    assert_arrives_on_retry(notices, receiver)


def test_bodies_that_never_end_do_not_spoil_a_success(engine, notices, hook):
    receivers = {kind: hook(kind) for kind in ("endless", "huge")}
    for kind, receiver in receivers.items():
        receiver.behave(kind=kind)
        notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor().ready()
    rows = notices.wait_deliveries(2, outcome="delivered")
    assert {row["reply_status"] for row in rows} == {200}
    assert all(len((row["reply"] or "").encode()) <= 1024 for row in rows)
    for receiver in receivers.values():
        (request,) = receiver.requests()
        wait_until(request.closed, "the executor to hang up")
    assert running.stop() == 0


def test_receivers_that_do_not_answer_time_out_and_keep_nobody_waiting(engine, notices, hook):
    stuck = {kind: hook(kind) for kind in ("hang", "slow_headers")}
    for kind, receiver in stuck.items():
        receiver.script({"kind": kind})
        notices.webhook(receiver)
    prompt = hook("prompt")
    notices.webhook(prompt)
    running = notices.executor().ready()
    began = time.monotonic()
    notices.fails(notices.connection("one"))
    for receiver in stuck.values():
        receiver.wait(what=engine.tails)
    notices.fails(notices.connection("two"))
    prompt.wait(2, what=engine.tails)
    assert time.monotonic() - began < 10
    rows = notices.wait_deliveries(2, outcome="failed")
    assert {row["error_code"] for row in rows} == {"timeout"}
    assert all(10_000 <= row["duration_ms"] < 60_000 for row in rows)
    notices.retry_now()
    notices.wait_all_delivered()
    assert running.stop() == 0


def test_a_connection_that_closes_without_an_answer_is_tried_again(notices, hook):
    receiver = hook()
    _, row = refused_once(notices, receiver, kind="close")
    assert (row["reply_status"], row["error_code"] in ("connect", "other")) == (None, True)
    assert_arrives_on_retry(notices, receiver)


def test_a_reply_that_is_no_http_is_tried_again(notices, hook):
    receiver = hook()
    _, row = refused_once(notices, receiver, kind="raw", text="I speak another protocol\r\n\r\n")
    assert row["reply_status"] in (None, 0) and row["next_attempt_at"]
    assert_arrives_on_retry(notices, receiver)


def test_one_receiver_that_fails_keeps_nothing_from_another(engine, notices, hook):
    bad, good = hook("bad"), hook("good")
    bad.behave(status=500)
    notices.webhook(bad)
    notices.webhook(good)
    for number in range(5):
        notices.fails(notices.connection(f"c{number}"))
    running = notices.executor().ready()
    good.wait(5, what=engine.tails)
    assert len({r.id for r in good.requests()}) == 5
    assert running.stop() == 0
