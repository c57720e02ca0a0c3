"""Everything fails at once: nobody gets ten thousand mails, and nobody is told of anything twice."""

import datetime

ALICE = "alice@customer.example"
CONNECTIONS = 10_000
BURST = 10


def told(payloads):
    """[events that have a message of their own], {events that bundles tell of: in how many}"""
    single = [p["data"]["event_id"] for p in payloads if p["type"] != "sync.bundle"]
    bundled = sum(p["data"]["total"] for p in payloads if p["type"] == "sync.bundle")
    return single, bundled


def test_ten_thousand_failures_at_once_are_few_mails_and_one_bundle(engine, notices, mail):
    setting = notices.email(ALICE, events=["failure"])
    notices.in_app("alice", events=["failure"])
    notices.connections(CONNECTIONS)
    notices.all_fail()
    open_ones = "SELECT count(*), count(DISTINCT connection_id) FROM sync.incidents WHERE resolved_at IS NULL"
    assert engine.db.row(open_ones) == (CONNECTIONS, CONNECTIONS)
    running = notices.executor("--log-level", "info", mail=mail).ready()
    mail.wait(BURST, what=engine.tails)
    notices.wait_deliveries(BURST, channel="email", outcome="delivered")
    # All events have been looked at; no more than the burst, and perhaps a word that more is to come, has gone out.
    for _ in range(200):
        if engine.db.value("SELECT count(*) FROM sync.outbox") == 0:
            break
        notices.route()
    notices.wait_all_delivered()
    assert BURST <= len(mail.accepted) <= BURST + 1
    # The window ends.
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=901)
    notices.route(end)
    notices.retry_now()
    notices.wait_all_delivered()
    assert running.stop() == 0
    messages = [row[0] for row in engine.db.rows(
        "SELECT payload FROM sync.messages WHERE notification_id = %s ORDER BY id", setting)]
    assert len(messages) == len(mail.accepted) <= BURST + 2
    bundles = [m["data"] for m in messages if m["type"] == "sync.bundle"]
    single, bundled = told(messages)
    assert len(bundles) == 1
    assert len(single) == len(set(single)) and len(single) + bundled == CONNECTIONS
    assert [(b["type"], b["count"]) for b in bundles[0]["by"]] == [("sync.failed", bundled)]
    assert len(bundles[0]["events"]) <= 50
    assert not {e["event_id"] for e in bundles[0]["events"]} & set(single)
    # Each event is in exactly one message of the setting.
    assert engine.db.row(
        "SELECT count(*), count(DISTINCT e) FROM sync.messages m, unnest(m.event_ids) e WHERE notification_id = %s",
        setting) == (CONNECTIONS, CONNECTIONS)
    assert str(bundled) in mail.accepted[-1]["Subject"] + mail.accepted[-1].part("plain")
    assert len(notices.inbox("alice")) <= BURST + 2


def test_failures_at_once_reach_a_webhook_one_by_one(engine, notices, hook):
    """Programs count; they want each."""
    count = 500
    receiver = hook()
    notices.webhook(receiver, events=["failure"])
    notices.connections(count)
    notices.all_fail()
    running = notices.executor("--log-level", "info").ready()
    requests = receiver.wait(count, what=lambda: running.output()[-2000:])
    events = {r.json["data"]["event_id"] for r in requests}
    assert len(requests) == len({r.id for r in requests}) == len(events) == count
    assert running.stop() == 0
