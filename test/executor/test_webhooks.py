"""Notifications by webhook, after Standard Webhooks: the npm package of that name says what is genuine."""

import re
import time

from harness.waiting import wait_until


def test_a_webhook_is_signed_the_way_the_standard_says(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    connection = notices.connection("Änvils 🦊")
    notices.fails(connection, "the API said <no> \"quoted\" \\ ü \u2028 end")
    notices.executor().ready()
    (request,) = receiver.wait(what=engine.tails)
    (delivery,) = notices.wait_all_delivered()
    secret = notices.secret(setting)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{32,88}={0,2}", secret)
    assert request.genuine(secret)
    assert not request.genuine(secret, body=request.body + "\n")
    assert request.record["method"] == "POST"
    assert request.headers["content-type"].split(";")[0] == "application/json"
    assert re.fullmatch(r"msg_[0-9a-f]{32}", request.id) and request.id == delivery["message_id"]
    assert abs(request.timestamp - request.at) <= 3
    assert len(request.headers["webhook-signature"].split(" ")) == 1
    assert request.record["bytes"] == len(request.body.encode()) == int(request.headers["content-length"])
    assert not {"cookie", "authorization", "expect"} & request.headers.keys()
    payload = request.json
    assert payload["type"] == "sync.failed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", payload["timestamp"])
    data = payload["data"]
    assert (data["tenant"], data["notification"]["id"]) == ("acme", setting)
    assert (data["connection"]["id"], data["connection"]["name"]) == (connection, "Änvils 🦊")
    assert data["error"]["class"] == "permanent"
    assert data["title"] and "\n" not in data["title"] and data["summary"]
    assert len(request.body.encode()) < 20_000
    assert (delivery["reply_status"], delivery["attempt"], delivery["recipient"]) == (204, 1, receiver.url)
    assert delivery["duration_ms"] > 0


def test_a_body_stays_small_whatever_the_error_says(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    notices.fails(notices.connection("n" * 5000), "🔥\r\n<x>" * 150_000)
    notices.executor().ready()
    (request,) = receiver.wait(what=engine.tails)
    assert request.genuine(notices.secret(setting))
    assert request.record["bytes"] <= 25_000


def test_while_a_key_is_rotated_both_sign(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    old = notices.secret(setting)
    new = engine.db.value("SELECT sync.rotate_webhook_secret(%s)", setting)
    assert new == notices.secret(setting) != old
    running = notices.executor().ready()
    notices.fails(notices.connection("one"))
    (both,) = receiver.wait(what=engine.tails)
    assert both.genuine(old) and both.genuine(new)
    first, second = both.headers["webhook-signature"].split(" ")
    assert both.genuine(new, headers={**both.headers, "webhook-signature": first}), "the newest comes first"
    assert both.genuine(old, headers={**both.headers, "webhook-signature": second})
    notices.wait_all_delivered()
    # The overlap ends.
    engine.db.run("UPDATE sync.webhook_secrets SET expires_at = now() WHERE expires_at IS NOT NULL")
    notices.fails(notices.connection("two"))
    only = receiver.wait(2, what=engine.tails)[-1]
    assert only.genuine(new) and not only.genuine(old)
    assert len(only.headers["webhook-signature"].split(" ")) == 1
    assert running.stop() == 0


def test_a_rotation_without_overlap_retires_the_key_at_once(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    old = notices.secret(setting)
    new = engine.db.value("SELECT sync.rotate_webhook_secret(%s, '0')", setting)
    notices.fails(notices.connection())
    notices.executor().ready()
    (request,) = receiver.wait(what=engine.tails)
    assert request.genuine(new) and not request.genuine(old)


def test_the_id_stays_and_the_timestamp_is_the_attempts(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    secret = notices.secret(setting)
    receiver.script({"status": 500}, {"kind": "close"}, {"status": 502})
    notices.fails(notices.connection())
    running = notices.executor().ready()
    for failures in (1, 2, 3):
        notices.wait_deliveries(failures, outcome="failed")
        # Whole seconds of the clock, so that timestamps differ.
        wait_until(lambda: time.time() > receiver.requests()[-1].timestamp + 1, "the next second")
        notices.retry_now()
    (delivery,) = notices.wait_all_delivered()
    assert delivery["attempt"] == 4
    engine.db.run("SELECT sync.replay_delivery(%s::bigint)", delivery["delivery_id"])
    requests = receiver.wait(5, what=engine.tails)
    notices.wait_all_delivered()
    assert len({r.id for r in requests}) == len({r.body for r in requests}) == 1
    assert all(abs(r.timestamp - r.at) <= 3 for r in requests)
    assert len({r.timestamp for r in requests[:4]}) == 4
    assert all(r.genuine(secret) for r in requests)
    rows = notices.deliveries()
    assert [row["reply_status"] for row in rows] == [500, None, 502, 204, 204]
    assert [row["attempt"] for row in rows] == [1, 2, 3, 4, 5]
    assert running.stop() == 0


def test_a_range_is_replayed_with_what_failed_alone(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    notices.fails(notices.connection("arrives"))
    running = notices.executor().ready()
    (arrived,) = receiver.wait(what=engine.tails)
    notices.wait_all_delivered()
    receiver.script(*[{"status": 500}] * 10)
    notices.fails(notices.connection("does not"))
    for failures in range(1, 11):
        notices.wait_deliveries(failures, outcome="failed")
        notices.retry_now()
    wait_until(lambda: notices.pending() == 0, engine.tails)
    # That disabled the setting: a test takes it up again.
    replay = "SELECT sync.replay_delivery(tstzrange(now() - interval '1 hour', now()), %s)"
    assert engine.db.value(replay, setting) == 0
    engine.db.run("SELECT sync.test_notification(%s)", setting)
    receiver.wait(12, what=engine.tails)
    wait_until(lambda: notices.pending() == 0, engine.tails)
    assert engine.db.value(replay, setting) == 1
    receiver.wait(13, what=engine.tails)
    wait_until(lambda: notices.pending() == 0, engine.tails)
    ids = [r.id for r in receiver.requests("sync.failed")]
    assert ids.count(arrived.id) == 1 and len(ids) == 12 and len(set(ids)) == 2
    assert notices.deliveries(message_id=ids[-1])[-1]["outcome"] == "delivered"
    assert running.stop() == 0


def test_nothing_is_sent_before_a_test_event_was_answered(engine, notices, hook):
    receiver = hook()
    receiver.script({"status": 500}, {"status": 404})
    setting = notices.webhook(receiver, verify=True)
    running = notices.executor().ready()
    for failures in (1, 2):
        notices.fails(notices.connection("before"))
        notices.wait_deliveries(failures, outcome="failed")
        assert [r.type for r in receiver.requests()] == ["test"] * failures
        notices.retry_now()
    receiver.wait(3, what=engine.tails)
    notices.wait_all_delivered()
    notices.fails(notices.connection("after"))
    requests = receiver.wait(4, what=engine.tails)
    notices.wait_all_delivered()
    assert [r.type for r in requests] == ["test", "test", "test", "sync.failed"]
    assert all(r.genuine(notices.secret(setting)) for r in requests)
    assert len({r.id for r in requests[:3]}) == 1 and requests[3].id != requests[0].id
    assert requests[3].json["data"]["connection"]["name"] == "after"
    assert requests[0].json["data"]["title"] and requests[0].json["data"]["notification"]["id"] == setting
    assert running.stop() == 0


def test_a_test_event_can_be_waived_and_asked_for(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver, verify=False)
    running = notices.executor().ready()
    notices.fails(notices.connection())
    receiver.wait(what=engine.tails)
    assert [r.type for r in receiver.requests()] == ["sync.failed"]
    assert engine.db.value("SELECT sync.test_notification(%s)", setting) > 0
    receiver.wait(2, what=engine.tails)
    notices.wait_all_delivered()
    assert [r.type for r in receiver.requests()] == ["sync.failed", "test"]
    assert running.stop() == 0
