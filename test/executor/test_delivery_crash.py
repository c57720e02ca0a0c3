"""kill -9 at every step of a delivery, and messages lost between executor and database: what happened arrives, under
one id however often it is sent."""

import signal

import pytest
from harness.waiting import wait_until

ALICE = "alice@customer.example"
STEPS = [
    "delivery_claiming",
    "delivery_claim_sent",
    "delivery_claimed",
    "delivery_sending",
    "delivery_sent",
    "deliveries_completing",
    "deliveries_complete_sent",
    "deliveries_completed",
]
# Up to this step nothing has gone out.
UNSENT = STEPS[:3]
CLAIMS = b"sync.claim_deliveries"
COMPLETES = b"sync.complete_deliveries"


class Channel:
    """A setting of this channel, and what has arrived there."""

    def __init__(self, notices, name, mail, hook):
        self.notices = notices
        self.name = name
        self.mail = mail
        self.receiver = hook()
        events = ["success", "failure"]
        self.setting = notices.email(ALICE, events=events) if name == "email" \
            else notices.webhook(self.receiver, events=events)

    def executor(self, *flags, **options):
        return self.notices.executor(*flags, mail=self.mail if self.name == "email" else None, **options)

    def arrivals(self):
        """[(id, event)] in the order of arrival."""
        if self.name == "email":
            return [(m.id, m["Subject"]) for m in self.mail.accepted]
        return [(r.id, r.json["data"]["title"]) for r in self.receiver.requests()]

    def assert_delivered(self, events, most=1):
        """So many events have arrived, each at most so often, under an id of its own, and count as delivered once."""
        self.notices.wait_all_delivered()
        arrived = self.arrivals()
        ids = [key for key, _ in arrived]
        assert len(set(ids)) == len({title for _, title in arrived}) == len(set(arrived)) == events, arrived
        assert max(ids.count(key) for key in ids) <= most, arrived
        delivered = [row["message_id"] for row in self.notices.deliveries(outcome="delivered")]
        assert sorted(delivered) == sorted(set(ids))
        assert len(self.notices.events_of_messages()) == events
        assert set(self.notices.events_of_messages().values()) == {1}


@pytest.fixture(params=["email", "webhook"])
def channel(request, notices, mail, hook):
    return Channel(notices, request.param, mail, hook)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_of_the_first_delivery(engine, notices, channel, step):
    connections = [notices.connection(f"c{n}") for n in range(3)]
    for connection in connections:
        notices.fails(connection)
    killed = channel.executor("--test-stop-at", step)
    assert killed.wait() == -signal.SIGKILL, killed.output()[-3000:]
    if step in UNSENT:
        assert channel.arrivals() == []
    # The successor of the same name takes over; what it finds under way is due again at once or by the schedule.
    channel.executor().ready()
    channel.assert_delivered(3, most=2)


@pytest.mark.parametrize("step", ["delivery_claimed", "delivery_sent"])
def test_killed_without_a_successor_the_lease_ends_the_delivery(engine, notices, channel, step):
    engine.db.configure(lease_seconds=5, tick_interval_seconds=1)
    notices.fails(notices.connection())
    assert channel.executor("--test-stop-at", step, name="gone").wait() == -signal.SIGKILL
    channel.executor("--tick", name="other").ready()
    channel.assert_delivered(1, most=2)


@pytest.mark.parametrize("step", ["delivery_claimed:2", "delivery_sent:2", "deliveries_completed:2"])
def test_killed_at_a_later_delivery(engine, notices, channel, step):
    connections = [notices.connection(f"c{n}") for n in range(4)]
    notices.fails(connections[0])
    killed = channel.executor("--test-stop-at", step).ready()
    wait_until(channel.arrivals, killed.output)
    for connection in connections[1:]:
        notices.fails(connection)
    assert killed.wait() == -signal.SIGKILL
    channel.executor().ready()
    channel.assert_delivered(4, most=2)


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_claim_that_is_lost(engine, notices, channel, proxy, lost):
    engine.db.configure(lease_seconds=5, tick_interval_seconds=1)
    notices.fails(notices.connection())
    fault = proxy.lose(CLAIMS, lost)
    running = channel.executor("--wake-up", "off", "--tick", url=engine.db.url(proxy.port))
    wait_until(fault.happened.is_set, running.output)
    # Its executor is there, but does not know of it; no try takes longer than five minutes.
    engine.db.run("UPDATE sync.message_queue SET claimed_at = now() - interval '5 minutes' WHERE status = 'sending'")
    channel.assert_delivered(1)
    assert running.stop() == 0


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_complete_that_is_lost_is_sent_again(engine, notices, channel, proxy, lost):
    notices.fails(notices.connection())
    fault = proxy.lose(COMPLETES, lost)
    running = channel.executor("--wake-up", "off", url=engine.db.url(proxy.port)).ready()
    channel.assert_delivered(1)
    assert fault.happened.is_set()
    # It is told once, and nothing was sent again for it.
    assert len(notices.deliveries()) == 1
    assert running.stop() == 0


@pytest.mark.parametrize("pattern", [b"sync.next_delivery_at", b"sync.release_deliveries", b"sync.heartbeat"])
@pytest.mark.parametrize("lost", ["request", "reply"])
def test_any_other_call_that_is_lost_does_no_harm(engine, notices, hook, proxy, pattern, lost):
    receiver = hook()
    receiver.script({"status": 200, "after": 3})
    notices.webhook(receiver)
    notices.fails(notices.connection())
    flags = ("--wake-up", "off", "--drain-seconds", "0")
    first = notices.executor(*flags, url=engine.db.url(proxy.port)).ready()
    receiver.wait(what=engine.tails)
    fault = proxy.lose(pattern, lost)
    if pattern == b"sync.release_deliveries":
        assert first.stop() == 0
        first = notices.executor(*flags, url=engine.db.url(proxy.port)).ready()
    notices.wait_all_delivered()
    wait_until(fault.happened.is_set, lambda: f"{pattern} is never called\n{engine.tails()}")
    assert len({r.id for r in receiver.requests()}) == 1
    assert first.stop() == 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_is_restarted_in_between(engine, notices, channel, cluster, mode):
    engine.db.configure(lease_seconds=5, tick_interval_seconds=1)
    connections = [notices.connection(f"c{n}") for n in range(8)]
    for connection in connections[:4]:
        notices.fails(connection)
    running = channel.executor("--tick").ready()
    wait_until(channel.arrivals, running.output)
    cluster.restart(mode)
    for connection in connections[4:]:
        notices.fails(connection)
    channel.assert_delivered(8, most=3)
    assert running.stop() == 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_what_is_under_way_while_postgres_is_restarted_is_not_lost(engine, notices, hook, cluster, mode):
    engine.db.configure(lease_seconds=5, tick_interval_seconds=1)
    receiver = hook()
    receiver.script({"status": 200, "after": 2})
    notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor("--tick").ready()
    receiver.wait(what=engine.tails)
    cluster.restart(mode)
    notices.wait_all_delivered()
    assert len({r.id for r in receiver.requests()}) == 1
    assert running.stop() == 0


def test_what_was_sent_is_still_known_when_the_server_has_crashed(engine, notices, hook, cluster):
    """Messages are made by a claim: before they are on the server's disk nothing may go out, or it goes out again under
    another id."""
    receiver = hook()
    receiver.script({"status": 200, "after": 2})
    notices.webhook(receiver)
    notices.fails(notices.connection())
    with cluster.connect() as admin:
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        admin.execute("SELECT pg_reload_conf()")
    try:
        # Nothing else that it commits in this time takes the claim along to the disk.
        running = notices.executor("--heartbeat-seconds", "3600").ready()
        receiver.wait(what=engine.tails)
        cluster.restart("immediate")
    finally:
        with cluster.connect() as admin:
            admin.execute("ALTER SYSTEM RESET wal_writer_delay")
            admin.execute("SELECT pg_reload_conf()")
    # Its executor may not remember it.
    engine.db.run("UPDATE sync.message_queue SET claimed_at = now() - interval '5 minutes' WHERE status = 'sending'")
    notices.wait_all_delivered()
    assert len({r.id for r in receiver.requests()}) == 1
    assert running.stop() == 0


@pytest.mark.parametrize("step", ["claimed", "replied", "completing", "complete_sent", "completed"])
def test_a_job_that_is_killed_between_fetch_and_commit_tells_nothing_twice(engine, notices, hook, step):
    receiver = hook()
    repo = engine.repo(items=5)
    engine.github()
    connection = engine.github_connection(repo)
    notices.webhook(receiver, events=["success", "failure"])
    engine.trigger(connection)
    killed = notices.executor("--deliver", "off", "--test-stop-at", step)
    assert killed.wait() == -signal.SIGKILL
    notices.executor().ready()
    engine.wait_idle()
    notices.wait_all_delivered()
    engine.assert_exactly_once(connection, repo)
    assert [r.type for r in receiver.requests()] == ["sync.succeeded"]
    assert receiver.requests()[0].json["data"]["counts"]["created"] == 5


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_jobs_end_that_is_sent_twice_is_told_once(engine, notices, hook, proxy, lost):
    receiver = hook()
    repo = engine.repo(items=5)
    repo.script({"kind": "status", "status": 404})
    engine.github()
    connection = engine.github_connection(repo)
    notices.webhook(receiver, events=["success", "failure", "recovered"])
    fault = proxy.lose(b"sync.complete_jobs", lost)
    running = notices.executor("--wake-up", "off", url=engine.db.url(proxy.port)).ready()
    engine.wait_status(engine.trigger(connection), "failed")
    assert fault.happened.is_set()
    receiver.wait(what=engine.tails)
    notices.wait_all_delivered()
    assert [r.type for r in receiver.requests()] == ["sync.failed"]
    assert running.stop() == 0


def test_two_executors_deliver_each_message_once(engine, notices, mail, hook):
    receiver = hook()
    engine.db.configure(notification_burst=10000)
    notices.webhook(receiver)
    notices.email(ALICE)
    both = [notices.executor(name=f"executor-{n}", mail=mail).ready() for n in (1, 2)]
    notices.connections(100)
    notices.all_fail()
    receiver.wait(100, what=engine.tails)
    mail.wait(100, what=engine.tails)
    notices.wait_all_delivered()
    assert len({r.id for r in receiver.requests()}) == len(receiver.requests()) == 100
    assert len({m.id for m in mail.accepted}) == len(mail.accepted) == 100
    assert len(notices.deliveries()) == 200
    assert [e.stop() for e in both] == [0, 0]
    senders = engine.db.rows("SELECT DISTINCT split_part(claimed_by, '#', 1) FROM sync.delivery_attempts ORDER BY 1")
    assert senders == [("executor-1",), ("executor-2",)]


def test_what_is_in_flight_may_arrive_when_it_is_told_to_stop(engine, notices, hook):
    receiver = hook()
    receiver.script({"status": 204, "after": 1})
    notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor().ready()
    receiver.wait(what=engine.tails)
    assert running.stop() == 0
    (row,) = notices.deliveries()
    assert row["outcome"] == "delivered"


def test_what_is_in_flight_for_too_long_is_handed_back_at_no_cost(engine, notices, hook):
    receiver = hook()
    receiver.script({"kind": "hang"})
    notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor("--drain-seconds", "0.5").ready()
    receiver.wait(what=engine.tails)
    assert running.stop() == 0
    assert engine.db.row("SELECT status, attempts, claim_token FROM sync.message_queue") == ("queued", 0, None)
    (row,) = notices.deliveries()
    assert (row["status"], row["outcome"]) == ("queued", None)
    notices.executor().ready()
    (row,) = notices.wait_all_delivered()
    assert row["attempt"] == 1
    first, second = receiver.requests()
    assert first.id == second.id


def test_mail_in_flight_for_too_long_is_handed_back(engine, notices, mail):
    mail.delay("data", 30)
    notices.email(ALICE)
    notices.fails(notices.connection())
    running = notices.executor("--drain-seconds", "0.5", mail=mail).ready()
    wait_until(lambda: mail.received[True].endswith(b"\r\n.\r\n"), engine.tails)
    assert running.stop() == 0
    assert mail.messages == []
    (row,) = notices.deliveries()
    assert (row["status"], row["outcome"]) == ("queued", None)
    notices.executor(mail=mail).ready()
    notices.wait_all_delivered()
    assert len({m.id for m in mail.accepted}) == 1
