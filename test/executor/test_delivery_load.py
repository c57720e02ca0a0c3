"""Everything fails at once: nobody gets ten thousand mails, and nobody is told of anything twice."""

import datetime

import pytest

ALICE = "alice@customer.example"
CONNECTIONS = 10_000
BURST = 10

MAKE = """
INSERT INTO sync.connections (tenant_id, provider_slug, name, last_incremental_finished_at, metadata)
SELECT 'acme', 'noop', 'connection ' || n, now(), '{"sync": {"next_run_at": "2999-01-01T00:00:00Z"}}'
FROM generate_series(1, %s) n
"""
# In batches, as an executor does it.
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


@pytest.fixture
def everything_fails(engine, notices):
    notices.connection("one more, for the provider")
    engine.db.run("DELETE FROM sync.connections")
    engine.db.run(MAKE, CONNECTIONS)
    engine.db.run("ANALYZE")

    def fail():
        engine.db.run(FAIL_ALL)

    return fail


def told(payloads):
    """[events that have a message of their own], {events that bundles tell of: in how many}"""
    single = [p["data"]["event_id"] for p in payloads if p["type"] != "sync.bundle"]
    bundled = sum(p["data"]["total"] for p in payloads if p["type"] == "sync.bundle")
    return single, bundled


def test_ten_thousand_failures_at_once_are_few_mails_and_one_bundle(engine, notices, mail, everything_fails):
    setting = notices.email(ALICE, events=["failure"])
    notices.in_app("alice", events=["failure"])
    everything_fails()
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


def test_ten_thousand_failures_reach_a_webhook_one_by_one(engine, notices, hook, everything_fails):
    """Programs count; they want each."""
    receiver = hook()
    notices.webhook(receiver, events=["failure"])
    everything_fails()
    running = notices.executor("--log-level", "info").ready()
    requests = receiver.wait(CONNECTIONS, seconds=240, what=lambda: running.output()[-2000:])
    events = {r.json["data"]["event_id"] for r in requests}
    assert len(requests) == len({r.id for r in requests}) == len(events) == CONNECTIONS
    assert running.stop() == 0
