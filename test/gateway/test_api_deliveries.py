"""Messages that are sent again by the API: which are queued anew, which are not, and what is told of it."""

import datetime
import json

import pytest

from harness.notices import ATTEMPT, Notices
from harness.steps import UTC, time

HOURS = 4
# What becomes of the messages of each hour: its receiver refuses it, takes it, fails for now; nobody has tried it yet.
OUTCOMES = ("refused", "delivered", "failed", None)
SUCCEEDS = "PERFORM sync.complete_job(job.job_id, job.claim_token, '[]', '{}', as_of => at);"
CLAIM = "SELECT to_jsonb(d) FROM sync.claim_deliveries('by hand', 100, '{email,webhook}', %s) d"
RELEASE = "SELECT sync.release_deliveries('by hand', %s::bigint[], %s::uuid[], %s)"
SENT_AT_ONCE = datetime.timedelta(minutes=5)


class Mailbox:
    """Two settings of a tenant, and a message of each for every hour since some hours ago."""

    def __init__(self, service, session, tenant):
        self.db, self.tenant = session, tenant
        self.api = service.client(tenant)
        self.begun = datetime.datetime.now(UTC).replace(microsecond=0) - datetime.timedelta(hours=HOURS + 1)
        notices = Notices(service.engine, None)
        notices.db = session
        connections = [notices.connection(f"{tenant} {n}", tenant=tenant) for n in range(2)]
        self.settings = [
            notices.email(f"{n}@{tenant}.example", tenant=tenant, connection_id=of, as_of=self.begun)
            for n, of in enumerate(connections)
        ]
        # In one transaction: the server's housekeeping makes messages, too, but of now.
        with session.connection.transaction():
            for hour, outcome in enumerate(OUTCOMES):
                for of in connections:
                    session.run(ATTEMPT.format(connection=of, at=f"'{self.at(hour)}'::timestamptz", end=SUCCEEDS))
                while session.value("SELECT sync.run_notifications(%s)", self.at(hour)):
                    pass
                if outcome:
                    self.end(outcome, self.claim(self.at(hour)), self.at(hour))
        # {(setting, hour): the delivery's id}
        self.messages = {
            (setting, self.hour(made)): delivery
            for setting, made, delivery in self.db.rows(
                "SELECT notification_id, created_at, id FROM sync.messages WHERE tenant_id = %s", tenant)
        }
        assert len(self.messages) == len(self.settings) * HOURS
        self.waiting = self.due()

    def at(self, hour):
        return self.begun + datetime.timedelta(hours=hour + 1)

    def hour(self, at):
        return (at - self.begun) // datetime.timedelta(hours=1) - 1

    def restore(self):
        """What waits is what has waited in the beginning."""
        self.db.run("DELETE FROM sync.message_queue WHERE tenant_id = %s AND message_id <> ALL (%s)",
                    self.tenant, list(self.waiting))
        for delivery, due in self.waiting.items():
            self.db.run("UPDATE sync.message_queue SET due_at = %s WHERE message_id = %s", due, delivery)

    def claim(self, at=None):
        """This tenant's deliveries that are due, as an executor gets them. Those of others are given back."""
        at = at or datetime.datetime.now(UTC)
        claimed = [row[0] for row in self.db.rows(CLAIM, at)]
        others = [row for row in claimed if row["tenant_id"] != self.tenant]
        self.db.run(RELEASE, *([row[name] for row in others] for name in ("delivery_id", "claim_token")), at)
        return [row for row in claimed if row["tenant_id"] == self.tenant]

    def end(self, outcome, claimed=None, at=None):
        claimed = self.claim(at) if claimed is None else claimed
        results = [{"delivery_id": row["delivery_id"], "claim_token": row["claim_token"], "outcome": outcome}
                   for row in claimed]
        self.db.run("SELECT sync.complete_deliveries(%s, %s)", json.dumps(results), at or datetime.datetime.now(UTC))

    def due(self):
        """{delivery: since when it may be sent} of what is queued and not sent yet."""
        return dict(self.db.rows("SELECT q.message_id, q.due_at FROM sync.message_queue q"
                                 " WHERE q.tenant_id = %s AND q.status = 'queued' ORDER BY 1", self.tenant))

    def ids(self, hours, setting=None):
        return {self.messages[s, hour] for s in self.settings for hour in hours if setting in (None, s)}

    def tries(self, delivery):
        reply = self.api.get(f"/deliveries/{delivery}")
        assert reply.status == 200, reply
        return reply.json()["items"]

    def status(self, delivery):
        (status,) = {item["status"] for item in self.tries(delivery)}
        return status

    def replay(self, **members):
        reply = self.api.post("/deliveries/replay", members)
        assert reply.status == 202, reply
        return reply.json()["replayed"]


@pytest.fixture
def box(shared_service, session):
    """Of a tenant of its own, for a test that sends."""
    box.count = getattr(box, "count", 0) + 1
    return Mailbox(shared_service, session, f"tenant-{box.count}")


@pytest.fixture(scope="module")
def everybodys(shared_service, session):
    return Mailbox(shared_service, session, "shared")


@pytest.fixture
def stage(everybodys):
    """For tests that send nothing."""
    yield everybodys
    everybodys.restore()


def text(at):
    return at.isoformat()


def test_the_stage_is_as_it_is_meant_to_be(stage):
    for hour, status in enumerate(("failed", "delivered", "queued", "queued")):
        assert {stage.status(delivery) for delivery in stage.ids([hour])} == {status}, hour
    assert set(stage.due()) == stage.ids([2, 3])


# One message.

@pytest.mark.parametrize("hour", [0, 1])
def test_a_message_that_was_ended_is_sent_again_under_its_id(box, hour):
    box.end("delivered")
    delivery = box.messages[box.settings[0], hour]
    (first,) = box.tries(delivery)
    reply = box.api.post(f"/deliveries/{delivery}/replay")
    assert reply.status == 202 and reply.json() == {"replayed": True}, reply
    assert box.status(delivery) == "queued"
    (claimed,) = box.claim()
    assert claimed["delivery_id"] == delivery and claimed["message_id"] == first["message_id"]
    assert claimed["attempt"] == 2 and claimed["recipient"] == first["recipient"]
    box.end("delivered", [claimed])
    assert [item["outcome"] for item in box.tries(delivery)] == [OUTCOMES[hour], "delivered"]
    assert box.status(delivery) == "delivered" and box.claim() == []


def test_a_message_that_waits_for_its_next_try_is_sent_at_once(box):
    delivery = box.messages[box.settings[1], 2]
    # Its next try is far away.
    box.db.run("UPDATE sync.message_queue SET due_at = now() + interval '1 day' WHERE message_id = %s", delivery)
    assert box.api.post(f"/deliveries/{delivery}/replay").json() == {"replayed": True}
    (item,) = box.tries(delivery)
    assert time(item["next_attempt_at"]) < datetime.datetime.now(UTC) + SENT_AT_ONCE
    assert delivery in {row["delivery_id"] for row in box.claim()}


def test_a_message_that_is_being_sent_is_not_sent_twice(box):
    claimed = box.claim()
    for row in claimed:
        assert box.api.post(f"/deliveries/{row['delivery_id']}/replay").json() == {"replayed": False}
        assert box.status(row["delivery_id"]) == "sending"
    assert box.replay(**{"from": text(box.at(2))}) == 0 and box.due() == {}
    box.end("delivered", claimed)
    assert {box.status(row["delivery_id"]) for row in claimed} == {"delivered"} and box.due() == {}


def test_what_nobody_is_told_any_more_is_not_sent_again(box):
    path = f"/deliveries/{box.messages[box.settings[0], 0]}/replay"
    setting = f"/notifications/{box.settings[0]}"
    for change in ({"is_active": False}, {"is_active": True, "config": {"to": ["other@x.example"]}}):
        assert box.api.patch(setting, change).status == 200
        reply = box.api.post(path)
        assert reply.status == 409 and reply.problem() == "not_possible", reply
        assert box.replay(**{"from": text(box.begun), "to": text(box.at(1))}) == 1, "only that of the other setting"
    assert box.api.delete(setting).status == 204
    reply = box.api.post(path)
    assert reply.status == 409 and reply.problem() == "not_possible", reply
    assert box.messages[box.settings[0], 0] not in box.due()


def test_there_is_no_such_message(stage, shared_service):
    delivery = stage.messages[stage.settings[0], 0]
    stranger = shared_service.client("stranger")
    for api, path in ((stage.api, f"/deliveries/{2**62}/replay"), (stranger, f"/deliveries/{delivery}/replay")):
        reply = api.post(path)
        assert reply.status == 404 and reply.problem() == "not_found", reply
    assert stage.status(delivery) == "failed"


# All of a time.

# {what is asked for besides the time and the setting: which hours that takes}
CHOICES = {"": [0, 2, 3], "only_failed": [0, 2, 3], "all": [0, 1, 2, 3]}
MEMBERS = {"": {}, "only_failed": {"only_failed": True}, "all": {"only_failed": False}}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("of", [None, 0, 1])
def test_what_was_made_in_a_time_is_sent_again(stage, choice, of):
    setting = None if of is None else stage.settings[of]
    for begin, end in ((0, None), (0, 1), (0, 2), (1, 2), (1, 4), (2, 3), (4, None)):
        members = {"from": text(stage.at(begin)), **MEMBERS[choice]}
        if end is not None:
            members["to"] = text(stage.at(end))
        if setting:
            members["notification_id"] = setting
        # The end of the time does not belong to it.
        hours = [hour for hour in CHOICES[choice] if begin <= hour < (HOURS if end is None else end)]
        expected = stage.ids(hours, setting)
        assert stage.replay(**members) == len(expected), members
        assert set(stage.due()) == set(stage.waiting) | expected, members
        stage.restore()


def test_a_message_that_arrived_in_the_end_is_none_that_failed(box):
    delivery = box.messages[box.settings[0], 0]
    box.api.post(f"/deliveries/{delivery}/replay")
    box.end("delivered")
    assert box.status(delivery) == "delivered"
    when = {"from": text(box.begun), "to": text(box.at(1))}
    assert box.replay(**when) == 1 and set(box.due()) == {box.messages[box.settings[1], 0]}
    assert box.replay(**when, only_failed=False) == 2 and set(box.due()) == box.ids([0])


def test_null_is_as_if_it_were_left_away(stage):
    assert stage.replay(**{"from": text(stage.at(0)), "to": None, "notification_id": None}) == 6


def test_a_time_counts_with_its_zone(stage):
    berlin = datetime.timezone(datetime.timedelta(hours=2))
    begin, end = (stage.at(hour).astimezone(berlin) for hour in (0, 1))
    assert stage.replay(**{"from": text(begin), "to": text(end)}) == 2


def test_others_messages_are_not_sent_again(stage, shared_service):
    before = stage.due()
    stranger = shared_service.client("stranger")
    for members in ({}, {"notification_id": stage.settings[0]}):
        reply = stranger.post("/deliveries/replay", {"from": text(stage.begun), "only_failed": False, **members})
        assert reply.status == 202 and reply.json() == {"replayed": 0}, reply
    assert stage.due() == before


def test_a_time_that_ends_before_it_begins_is_refused(stage):
    reply = stage.api.post("/deliveries/replay", {"from": text(stage.at(2)), "to": text(stage.at(1))})
    assert reply.status == 422 and reply.problem() == "invalid", reply
    assert [error["pointer"] for error in reply.json().get("errors", [])] in (["/from"], ["/to"]), reply
    for members in ({}, {"from": None}, {"from": "yesterday"}, {"from": text(stage.begun), "only_failed": "yes"}):
        assert stage.api.post("/deliveries/replay", members).status == 422, members
    assert set(stage.due()) == stage.ids([2, 3])


def test_the_audit_log_says_what_was_sent_again(stage):
    stage.replay(**{"from": text(stage.at(0)), "notification_id": stage.settings[0], "only_failed": False})
    stage.api.post(f"/deliveries/{stage.messages[stage.settings[1], 1]}/replay")
    one, many = stage.api.get("/audit-log", action="notification.replay", limit=2).json()["items"]
    assert many["object_id"] == str(stage.settings[0]), many
    assert many["after"].items() >= {"only_failed": False, "deliveries": 4}.items(), many
    assert one["object_id"] == str(stage.settings[1]), one
    assert one["after"] == {"delivery_id": stage.messages[stage.settings[1], 1]}, one
