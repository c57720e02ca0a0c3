"""Realtime by the API alone: a schedule, a hook for it, and what webhooks at its path bring about."""

import base64
import datetime
import hashlib
import hmac
import itertools
import json

import pytest

from harness.hook_sender import SIGNERS, post, send
from harness.steps import claim, connection, make, noop_provider, schedule, succeed, time
from harness.waiting import wait_until

GIVEN = {
    "github": "given-by-the-sender-1",
    "standard": "whsec_" + base64.b64encode(b"given-by-the-sender-1234").decode(),
}


@pytest.fixture
def api(shared_service, request):
    """A client of a tenant that this test has alone."""
    noop_provider(shared_service.db)
    return shared_service.client(request.node.name)


class Hook:
    """One that is made by the API, and its sender."""

    def __init__(self, api, of, scheme="github", **members):
        self.api, self.connection, self.scheme = api, of, scheme
        self.made = make(api, "/hooks", connection_id=of, scheme=scheme, **members)
        self.place = f"/hooks/{self.made['id']}"
        self.secret = self.made["secret"]
        self.deliveries = map("delivery-{}".format, itertools.count())

    def send(self, payload=None, secret=None, delivery=None):
        """The reply to a message under an id of its own."""
        body = json.dumps(payload or {}).encode()
        delivery = delivery or next(self.deliveries)
        return send(self.api.gateway, self.made["path"], self.scheme, secret or self.secret, delivery, body)

    def accepted(self, payload=None):
        """The job that takes it."""
        reply = self.send(payload)
        assert reply.status == 202 and reply.json()["outcome"] == "accepted", reply
        return reply.json()["job_id"]

    def rotate(self, **members):
        reply = self.api.post(self.place + "/rotate-secret", members or None)
        assert reply.status == 200, reply
        return reply.json()["secret"]


def runs(api, of):
    return api.pages("/executions", connection_id=of)


def live(api, of):
    """The one run that waits or runs."""
    (run,) = [run for run in runs(api, of) if run["status"] in ("queued", "running")]
    return run


def waits(api, of, hook):
    """How long the run waits from when the hook was used first."""
    received = time(api.get(hook.place).json()["last_received_at"])
    return time(live(api, of)["scheduled_at"]) - received


def seconds(count):
    return datetime.timedelta(seconds=count)


@pytest.mark.parametrize("scheme", ["github", "standard"])
def test_a_webhook_runs_the_realtime_schedule_with_its_payload(session, api, scheme):
    of = connection(api)
    planned = schedule(api, of, "realtime", name="push", config={"full": True})
    hook = Hook(api, of, scheme, schedule_id=planned["id"], name="pushes")
    job = hook.accepted({"ref": "refs/heads/main", "n": [1, None]})

    run = live(api, of)
    assert run["id"] == f"{of}-{job}" and run["schedule_id"] == planned["id"], run
    assert run["trigger_type"] == "realtime" and run["status"] == "queued", run
    assert api.get(f"/sync-schedules/{planned['id']}").json()["live_job"]["id"] == job
    claimed = claim(session, of)
    (event,) = claimed["input"]["events"]
    assert event["payload"] == {"ref": "refs/heads/main", "n": [1, None]} and event["hook_id"] == hook.made["id"]
    assert claimed["input"]["full"] is True and claimed["input"]["events_dropped"] == 0
    assert live(api, of)["status"] == "running"
    succeed(session, claimed, records=3)

    ended = api.get(f"/executions/{run['id']}").json()
    assert ended["status"] == "succeeded" and ended["schedule_id"] == planned["id"], ended
    (fire,) = api.get(f"/sync-schedules/{planned['id']}/history").json()["items"]
    assert fire["outcome"] == "triggered" and fire["reason"] == f"hook {hook.made['id']}", fire
    assert fire["execution"] == run["id"] and fire["status"] == "succeeded" and fire["records_processed"] == 3, fire


def test_what_arrives_while_it_runs_is_one_more_run_and_one_more_row(session, api):
    of = connection(api)
    planned = schedule(api, of, "realtime")
    hook = Hook(api, of, schedule_id=planned["id"])
    first = hook.accepted({"n": 0})
    claimed = claim(session, of)
    for n in (1, 2):
        assert hook.accepted({"n": n}) == first
    succeed(session, claimed)
    following = claim(session, of)
    assert [event["payload"] for event in following["input"]["events"]] == [{"n": 1}, {"n": 2}]
    succeed(session, following)
    fires = api.get(f"/sync-schedules/{planned['id']}/history").json()["items"]
    assert [fire["outcome"] for fire in fires] == ["triggered", "triggered"], fires
    assert [run["schedule_id"] for run in runs(api, of)] == [planned["id"]] * 2
    assert claim(session, of) is None


def test_what_a_hook_is_made_with_is_kept(api):
    of = connection(api)
    planned = schedule(api, of, "realtime")
    hook = Hook(api, of, "standard", schedule_id=planned["id"], name="all", job_type="backfill", debounce_seconds=3600)
    shown = api.get(hook.place).json()
    assert shown.items() >= {
        "connection_id": of, "schedule_id": planned["id"], "name": "all", "scheme": "standard", "job_type": "backfill",
        "debounce_seconds": 3600, "is_active": True, "last_received_at": None,
    }.items(), shown
    assert hook.made["path"].split("/")[3].startswith(shown["token_hint"])
    assert hook.secret not in json.dumps(shown)
    plain = api.get(Hook(api, of).place).json()
    assert plain.items() >= {"schedule_id": None, "name": None, "job_type": "incremental",
                             "debounce_seconds": 0}.items(), plain


@pytest.mark.parametrize("scheme", GIVEN)
def test_a_hook_is_made_with_the_senders_secret(api, scheme):
    hook = Hook(api, connection(api), scheme, secret=GIVEN[scheme])
    assert hook.secret == GIVEN[scheme]
    hook.accepted()


def test_the_job_type_of_a_hook_is_that_of_its_runs(session, api):
    of = connection(api)
    hook = Hook(api, of, job_type="backfill")
    hook.accepted({"n": 1})
    assert live(api, of)["job_type"] == "backfill" and live(api, of)["schedule_id"] is None
    claimed = claim(session, of)
    assert claimed["job_type"] == "backfill" and claimed["priority"] == 10, claimed


def test_of_a_hook_with_a_schedule_the_schedules_job_type_and_priority_count(session, api):
    of = connection(api)
    planned = schedule(api, of, "realtime", job_type="full", priority=70)
    hook = Hook(api, of, schedule_id=planned["id"], job_type="backfill")
    hook.accepted()
    claimed = claim(session, of)
    assert claimed["job_type"] == "full" and claimed["priority"] == 70, claimed
    succeed(session, claimed)
    changed = api.patch(f"/sync-schedules/{planned['id']}", {"job_type": "delta", "priority": 80})
    assert changed.status == 200, changed
    hook.accepted()
    claimed = claim(session, of)
    assert claimed["job_type"] == "delta" and claimed["priority"] == 80, claimed


def test_a_debounced_run_begins_so_long_after_the_first_delivery(session, api):
    of = connection(api)
    hook = Hook(api, of, debounce_seconds=600)
    hook.accepted({"n": 1})
    assert waits(api, of, hook) == seconds(600)
    hook.accepted({"n": 2})
    assert waits(api, of, hook) == seconds(600), "a later one does not put it off"
    due = time(live(api, of)["scheduled_at"])
    assert claim(session, of, due - seconds(1)) is None
    assert len(claim(session, of, due)["input"]["events"]) == 2


def test_a_debounced_run_that_is_triggered_by_hand_does_not_wait(session, api):
    of = connection(api)
    job = Hook(api, of, debounce_seconds=3600).accepted()
    triggered = api.post(f"/connections/{of}/trigger")
    assert triggered.status == 200 and triggered.json()["job_id"] == job, triggered
    assert len(claim(session, of)["input"]["events"]) == 1


def test_a_changed_debounce_counts_from_the_next_delivery(session, api):
    of = connection(api)
    hook = Hook(api, of, name="x", debounce_seconds=3600)
    hook.accepted()
    before = api.get(hook.place)
    changed = api.patch(hook.place, {"debounce_seconds": 0})
    assert changed.status == 200 and changed.headers["etag"] != before.headers["etag"], changed
    same = ("name", "is_active", "job_type", "schedule_id", "last_received_at")
    assert changed.json()["debounce_seconds"] == 0
    assert [changed.json()[name] for name in same] == [before.json()[name] for name in same]
    assert waits(api, of, hook) == seconds(3600)
    assert claim(session, of) is None
    hook.accepted()
    assert len(claim(session, of)["input"]["events"]) == 2
    for wrong in (-1, 3601, "5", None, 1.5):
        reply = api.patch(hook.place, {"debounce_seconds": wrong})
        assert reply.status == 422 and reply.json()["errors"][0]["pointer"] == "/debounce_seconds", (wrong, reply)


@pytest.mark.parametrize("scheme", GIVEN)
def test_the_senders_new_secret_counts_beside_the_old_one_for_the_overlap(session, api, scheme):
    hook = Hook(api, connection(api), scheme)
    assert hook.rotate(secret=GIVEN[scheme], overlap_seconds=3600) == GIVEN[scheme]
    for secret in (hook.secret, GIVEN[scheme]):
        assert hook.send(secret=secret).status == 202
    overlap = session.value(
        "SELECT o.expires_at - n.created_at FROM sync.hook_secrets o JOIN sync.hook_secrets n USING (hook_id)"
        " WHERE o.hook_id = %s AND n.expires_at IS NULL AND o.expires_at IS NOT NULL", hook.made["id"])
    assert overlap == seconds(3600)


@pytest.mark.parametrize("scheme", GIVEN)
def test_without_an_overlap_the_old_secret_is_refused_at_once(api, scheme):
    hook = Hook(api, connection(api), scheme)
    hook.accepted()
    fresh = hook.rotate(secret=GIVEN[scheme], overlap_seconds=0)
    assert hook.send(delivery="again", secret=hook.secret).problem() == "bad_signature"
    assert hook.send(delivery="again", secret=fresh).status == 202


def test_an_overlap_ends(api):
    hook = Hook(api, connection(api))
    fresh = hook.rotate(overlap_seconds=1)
    wait_until(lambda: hook.send(secret=hook.secret).status == 401, "the former secret to be refused")
    assert hook.send(secret=fresh).status == 202


def test_a_secret_is_made_where_none_is_given_and_both_count(api):
    for scheme in GIVEN:
        hook = Hook(api, connection(api), scheme)
        fresh = hook.rotate()
        assert fresh != hook.secret and fresh.startswith("whsec_") == (scheme == "standard")
        for secret in (hook.secret, fresh):
            assert hook.send(secret=secret).status == 202


def test_a_secret_that_cannot_be_one_changes_nothing(api):
    hook = Hook(api, connection(api), "standard")
    for wrong in ("short", GIVEN["github"], "whsec_" + "x" * 31, "whsec_" + "A" * 400):
        reply = api.post(hook.place + "/rotate-secret", {"secret": wrong, "overlap_seconds": 0})
        assert reply.status == 422 and reply.json()["errors"][0]["pointer"] == "/secret", (wrong, reply)
    hook.accepted()


def test_the_path_of_a_deleted_hook_is_unknown_and_what_it_accepted_runs(session, api):
    of = connection(api)
    hook, other = Hook(api, of), Hook(api, of)
    hook.accepted({"n": 1})
    assert api.delete(hook.place).status == 204
    reply = hook.send()
    assert reply.status == 404 and reply.problem() == "not_found", reply
    assert api.get(hook.place).status == 404 and api.delete(hook.place).status == 404
    assert api.patch(hook.place, {"is_active": True}).status == 404
    assert api.post(hook.place + "/rotate-secret").status == 404
    assert [item["id"] for item in api.pages("/hooks", connection_id=of)] == [other.made["id"]]
    other.accepted({"n": 2})
    assert [event["payload"]["n"] for event in claim(session, of)["input"]["events"]] == [1, 2]


def test_a_hook_goes_with_its_schedule(api):
    of = connection(api)
    planned = schedule(api, of, "realtime")
    hook = Hook(api, of, schedule_id=planned["id"])
    assert api.delete(f"/sync-schedules/{planned['id']}").status == 204
    assert hook.send().status == 404 and api.get(hook.place).status == 404


def test_a_hook_that_is_not_active_is_as_if_it_were_not_there(api):
    of = connection(api)
    hook = Hook(api, of)
    idle = api.patch(hook.place, {"is_active": False})
    assert idle.status == 200 and idle.json()["is_active"] is False
    reply = hook.send(delivery="one")
    assert reply.status == 404 and reply.problem() == "not_found", reply
    assert runs(api, of) == [] and api.get(hook.place).json()["last_received_at"] is None
    assert api.patch(hook.place, {"is_active": True}).json()["is_active"] is True
    again = hook.send(delivery="one")
    assert again.status == 202 and again.json()["outcome"] == "accepted", "nothing of it had been kept"


def test_a_paused_schedule_ignores_its_hook(api):
    of = connection(api)
    planned = schedule(api, of, "realtime")
    hook = Hook(api, of, schedule_id=planned["id"])
    path = f"/sync-schedules/{planned['id']}"
    assert api.post(path + "/pause", {"reason": "stocktaking"}).status == 200
    told = hook.send(delivery="one").json()
    assert told["outcome"] == "ignored" and "paused" in told["reason"] and "stocktaking" in told["reason"], told
    assert runs(api, of) == [] and api.get(path + "/history").json()["items"] == []
    assert api.post(path + "/resume").status == 200
    assert hook.send(delivery="one").json()["outcome"] == "accepted"


def test_a_delivery_to_a_schedule_counts_once(api):
    of = connection(api)
    planned = schedule(api, of, "realtime")
    hook = Hook(api, of, "standard", schedule_id=planned["id"])
    first, again = hook.send(delivery="one"), hook.send(delivery="one")
    assert (first.status, again.status) == (202, 200) and again.json()["job_id"] == first.json()["job_id"]
    assert len(api.get(f"/sync-schedules/{planned['id']}/history").json()["items"]) == 1


def test_of_several_signatures_one_has_to_be_good(api):
    hook = Hook(api, connection(api), "standard")
    signed = SIGNERS["standard"](hook.secret, b"{}", "one")
    wrong = "v1," + base64.b64encode(hmac.new(b"x", b"{}", hashlib.sha256).digest()).decode()
    for signature, status in ((wrong, 401), (f"{wrong} {signed['webhook-signature']}", 202)):
        reply = post(api.gateway, hook.made["path"], {**signed, "webhook-signature": signature})
        assert reply.status == status, reply
