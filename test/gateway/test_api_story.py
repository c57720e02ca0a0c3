"""The story's acceptance criteria as an application sees them: all by HTTP, but for the executor's part."""

import datetime
import json

import pytest

from harness.notices import Notices

UTC = datetime.timezone.utc
DAY = datetime.timedelta(days=1)


@pytest.fixture
def api(service):
    """Of a database of its own, where what is due is all this test's."""
    service.engine.provider("noop", "noop")
    return service.client()


@pytest.fixture
def tenant(shared_service, request):
    """A client of a tenant of its own."""
    shared_service.db.run("INSERT INTO sync.providers (slug, connector) VALUES ('noop', 'noop') ON CONFLICT DO NOTHING")
    return shared_service.client(request.node.name)


def connection(api, **members):
    made = api.post("/connections", {"provider_slug": "noop", "name": "shop", **members})
    assert made.status == 201, made
    return made.json()["id"]


def schedule(api, schedule_type="daily", of=None, **members):
    body = {"connection_id": of or connection(api), "name": "s", "schedule_type": schedule_type, **members}
    made = api.post("/sync-schedules", body)
    assert made.status == 201, made
    return made.json()


def time(text):
    return datetime.datetime.fromisoformat(text)


def work(service, at=None, error=None, kind="permanent", records=2):
    """What is due at that time is enqueued, claimed and ended. How many runs that were."""
    db, at = service.db, at or datetime.datetime.now(UTC)
    db.run("SELECT sync.tick(%s)", at)
    claimed = db.rows("SELECT job_id, claim_token FROM sync.claim_jobs('by hand', 100, %s)", at)
    for job, token in claimed:
        if error:
            told = json.dumps({"message": error})
            db.run("SELECT sync.fail_job(%s, %s, %s, %s, as_of => %s)", job, token, told, kind, at)
        else:
            signals = json.dumps([{"kind": "row"}] * records)
            db.run("SELECT sync.complete_job(%s, %s, %s, '{}', as_of => %s)", job, token, signals, at)
    while db.value("SELECT sync.run_notifications(%s)", at):
        pass
    return len(claimed)


def following(api, made, count=3):
    planned = api.get(f"/sync-schedules/{made['id']}/preview", count=count).json()
    return [item["local_time"] for item in planned["items"]]


def test_ac1_a_schedule_is_made_for_a_connector(tenant):
    assert [provider["slug"] for provider in tenant.get("/providers").json()["items"]] == ["noop"]
    made = schedule(tenant, name="nightly", description="what the shop sold", config={"full": True})
    assert made["name"] == "nightly" and made["config"] == {"full": True} and made["is_active"]
    assert tenant.get("/sync-schedules", connection_id=made["connection_id"]).json()["items"] == [made]
    shown = tenant.get(f"/connections/{made['connection_id']}").json()
    assert shown["has_schedules"] and time(shown["next_run_at"]) == time(made["next_run_at"])


@pytest.mark.parametrize(("kind", "cron", "members"), [
    ("realtime", None, {}),
    ("hourly", "0 * * * *", {}),
    ("daily", "0 2 * * *", {}),
    ("weekly", "0 2 * * 0", {}),
    ("monthly", "0 2 1 * *", {}),
    ("custom", "*/10 8-18 * * MON-FRI", {"cron_expression": "*/10 8-18 * * MON-FRI"}),
])
def test_ac1_realtime_hourly_daily_weekly(tenant, kind, cron, members):
    made = schedule(tenant, kind, **members)
    assert made["schedule_type"] == kind and made["cron_expression"] == cron
    assert (made["next_run_at"] is None) == (kind == "realtime"), made
    assert len(following(tenant, made)) == (0 if kind == "realtime" else 3)
    if cron:
        assert made["runs"] == tenant.get("/cron/describe", expression=cron).json()["description"]


@pytest.mark.parametrize(("kind", "members", "cron"), [
    ("hourly", {"at": "00:15"}, "15 * * * *"),
    ("daily", {"at": "18:45"}, "45 18 * * *"),
    ("weekly", {"at": "06:30", "days": ["mon", "wed"]}, "30 6 * * mon,wed"),
    ("weekly", {"at": "06:30", "days": [1, 3]}, "30 6 * * 1,3"),
    ("monthly", {"at": "23:00", "days": [1, "L"]}, "0 23 1,L * *"),
])
def test_ac1_days_and_times(tenant, kind, members, cron):
    made = schedule(tenant, kind, timezone="America/New_York", **members)
    assert made["cron_expression"] == cron and made["timezone"] == "America/New_York"
    preview = tenant.get("/cron/preview", expression=cron, timezone="America/New_York", count=5).json()
    assert [item["local_time"] for item in preview["items"]] == following(tenant, made, 5)
    assert preview["items"][0]["local_time"] == made["next_run_local"]


def test_ac1_what_cannot_be_a_schedule_is_told_where(tenant):
    of = connection(tenant)
    for members, pointer in (
        ({"schedule_type": "custom", "cron_expression": "61 * * * *"}, "/cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "0 0 31 2 *"}, "/cron_expression"),
        ({"schedule_type": "custom"}, "/cron_expression"),
        ({"schedule_type": "daily", "timezone": "Mars/Olympus"}, "/timezone"),
        ({"schedule_type": "daily", "at": "25:00"}, "/at"),
        ({"schedule_type": "daily", "at": "2 o'clock"}, "/at"),
        ({"schedule_type": "weekly", "days": ["mon", "tue wed"]}, "/days/1"),
        ({"schedule_type": "daily", "starts_at": "tomorrow"}, "/starts_at"),
        ({"schedule_type": "fortnightly"}, "/schedule_type"),
        ({"schedule_type": "daily", "name": ""}, "/name"),
        ({"schedule_type": "daily", "jitter_seconds": -1}, "/jitter_seconds"),
    ):
        reply = tenant.post("/sync-schedules", {"connection_id": of, "name": "s", **members})
        assert reply.status == 422 and reply.problem() == "invalid", (members, reply)
        assert [error["pointer"] for error in reply.json().get("errors", [])] == [pointer], (members, reply)
    assert tenant.get("/sync-schedules").json()["items"] == []


def test_ac2_daily_at_two_runs_every_day_and_history_tells_how(service, api):
    made = schedule(api, "daily", at="02:00")
    first = time(made["next_run_at"])
    assert (first.hour, first.minute, first.tzinfo.utcoffset(None)) == (2, 0, datetime.timedelta(0))
    told = api.post("/notifications", {
        "notification_type": "email", "schedule_id": made["id"], "events": ["success", "failure"],
        "config": {"to": ["me@example.com"]},
    })
    assert told.status == 201, told
    for day, error in enumerate((None, "connection refused", None)):
        assert work(service, first + day * DAY - datetime.timedelta(minutes=1)) == 0
        assert work(service, first + day * DAY, error) == 1
    fires = api.get(f"/sync-schedules/{made['id']}/history").json()["items"]
    assert [fire["status"] for fire in fires] == ["succeeded", "failed", "succeeded"]
    assert [time(fire["first_planned_at"]) for fire in fires] == [first + 2 * DAY, first + DAY, first]
    assert [fire["error_message"] for fire in fires] == [None, "connection refused", None]
    assert [fire["records_processed"] for fire in fires] == [2, 0, 2]
    for fire in fires:
        run = api.get(f"/executions/{fire['execution']}").json()
        assert run["status"] == fire["status"] and run["schedule_id"] == made["id"] and run["duration_ms"] is not None
    sent = api.get("/deliveries", notification_id=told.json()["id"], sort="id").json()["items"]
    assert [message["event_type"] for message in sent][:2] == ["sync.succeeded", "sync.failed"], sent
    assert {message["recipient"] for message in sent} == {"me@example.com"}


def test_ac3_what_was_landed_since_the_last_sync(service, api):
    made = schedule(api, "hourly")
    first = time(made["next_run_at"])
    work(service, first, records=3)
    landed = api.get("/signals").json()
    assert len(landed["items"]) == 3
    assert api.get("/signals", after=landed["next"]).json() == {"items": [], "next": landed["next"]}
    work(service, first + datetime.timedelta(hours=1), records=1)
    assert len(api.get("/signals", after=landed["next"]).json()["items"]) == 1
    shown = api.get(f"/connections/{made['connection_id']}").json()
    assert time(shown["last_incremental_finished_at"]) == first + datetime.timedelta(hours=1)


def test_ac3_waiting_for_a_rate_limit_is_shown(service, api):
    of = connection(api)
    api.post(f"/connections/{of}/trigger")
    work(service, error="429 Too Many Requests", kind="rate_limited")
    shown = api.get(f"/connections/{of}").json()
    assert shown["health"] == "rate_limited" and shown["live_job"]["last_error_kind"] == "rate_limited"
    assert time(shown["held_until"]) > datetime.datetime.now(UTC), "and until when"
    assert api.get("/overview").json()["connections"] == {"rate_limited": 1}
    assert [item["id"] for item in api.get("/connections", health="rate_limited").json()["items"]] == [of]
    assert any("429" in item["detail"] or "rate" in item["detail"]
               for item in api.get(f"/connections/{of}/explain").json()["items"])


def test_ac4_retries_by_itself_then_failed_then_by_hand(service, api):
    of = connection(api)
    run = api.post(f"/connections/{of}/trigger").json()["execution"]
    at, waits = datetime.datetime.now(UTC), []
    while True:
        assert work(service, at, "connection reset", "transient") == 1
        shown = api.get(f"/executions/{run}").json()
        if shown["status"] == "failed":
            break
        assert shown["status"] == "queued" and time(shown["scheduled_at"]) > at, shown
        waits.append(time(shown["scheduled_at"]) - at)
        at = time(shown["scheduled_at"])
    assert len(waits) >= 5 and all(later > before for before, later in zip(waits[:5], waits[1:5])), waits
    assert shown["failed_attempts"] == len(waits) + 1 == len(shown["attempt_list"])
    assert shown["error_message"] == "connection reset" and shown["error_kind"] == "transient"
    assert {attempt["error_details"]["message"] for attempt in shown["attempt_list"]} == {"connection reset"}
    assert [item["id"] for item in api.get("/executions", connection_id=of, status="failed").json()["items"]] == [run]
    failures = api.pages("/failures", connection_id=of, limit=2)
    assert len(failures) == len(waits) + 1 and {failure["execution"] for failure in failures} == {run}
    assert [incident["class"] for incident in api.get("/incidents", open=True).json()["items"]] != []

    again = api.post(f"/executions/{run}/retry")
    assert again.status == 202 and again.json()["created"], again
    work(service, at)
    mended = api.get(again.headers["location"].removeprefix(api.BASE)).json()
    assert mended["status"] == "succeeded" and mended["trigger_type"] == "retry", mended
    assert api.get("/incidents", open=True).json()["items"] == []
    refused = api.post(f"/executions/{mended['id']}/retry")
    assert refused.status == 409 and refused.problem() == "not_possible"


def test_ac5_dashboard(service, api):
    ours = [schedule(api, kind, name=kind) for kind in ("hourly", "daily", "weekly")]
    listed = api.get("/sync-schedules", sort="next_run_at").json()["items"]
    assert [item["next_run_at"] for item in listed] == sorted(item["next_run_at"] for item in ours)
    overview = api.get("/overview").json()
    assert overview["schedules"] == {"active": 3, "paused": 0} and overview["connections"] == {"healthy": 3}
    # 24 of the hourly one, one of the daily one, and perhaps the weekly one's.
    runs = [hour["runs"] for hour in overview["next_24_hours"]]
    assert len(runs) == 24 and all(runs) and sum(runs) in (25, 26), runs

    path = f"/sync-schedules/{ours[0]['id']}"
    paused = api.post(path + "/pause", {"reason": "stocktaking"}).json()
    assert not paused["is_active"] and paused["pause_reason"] == "stocktaking"
    assert not any(item["runs"] for item in api.get(path + "/preview").json()["items"])
    assert [item["name"] for item in api.get("/sync-schedules", is_active=False).json()["items"]] == ["hourly"]
    assert api.get("/overview").json()["schedules"] == {"active": 2, "paused": 1}
    resumed = api.post(path + "/resume").json()
    assert resumed["is_active"] and resumed["next_run_at"] and resumed["pause_reason"] is None
    skipped = api.post(path + "/skip-next").json()["skipped"]
    planned = api.get(path + "/preview", count=2).json()["items"]
    assert time(skipped) == time(resumed["next_run_at"]) == time(planned[0]["run_at"])
    assert [item["runs"] for item in planned] == [False, True], planned

    triggered = api.post(path + "/trigger")
    assert triggered.status == 202 and triggered.json()["status"] == "queued"
    assert api.get(path).json()["live_job"]["id"] == triggered.json()["job_id"]
    assert work(service) == 1
    fire = api.get(path + "/history").json()["items"][0]
    assert api.get(path + "/history", outcome="triggered").json()["items"] == [fire]
    assert api.get(path + "/history", outcome="missed,dst_gap").json()["items"] == []
    assert fire["execution"] == triggered.json()["execution"] and fire["status"] == "succeeded"

    assert api.delete(path).status == 204
    assert api.get(path).status == 404 and api.delete(path).status == 404
    assert [item["name"] for item in api.get("/sync-schedules", sort="name").json()["items"]] == ["daily", "weekly"]
    assert api.get(triggered.headers["location"].removeprefix(api.BASE)).status == 200, "its history stays"


def test_ac5_a_run_is_cancelled(service, api):
    of = schedule(api, "realtime")["connection_id"]
    run = api.post(f"/connections/{of}/trigger").json()["execution"]
    cancelled = api.post(f"/executions/{run}/cancel", {"reason": "not now"})
    assert cancelled.status == 200 and cancelled.json()["status"] == "cancelled", cancelled
    assert api.post(f"/executions/{run}/cancel").json()["status"] == "cancelled"
    assert work(service) == 0
    assert api.get(f"/connections/{of}/history").status == 200


@pytest.mark.parametrize(("kind", "config"), [
    ("email", {"to": ["a@example.com", "b@example.com"]}),
    ("webhook", {"url": "https://hooks.example.com/x"}),
    ("in_app", {"users": ["u1", "u2"]}),
])
def test_ac6_email_in_app_or_webhook(tenant, kind, config):
    events = ["success", "failure", "warning", "recovered"]
    made = tenant.post("/notifications", {"notification_type": kind, "events": events, "config": config})
    assert made.status == 201, made
    shown = made.json()
    assert shown["notification_type"] == kind and sorted(shown["events"]) == sorted(events) and shown["is_active"]
    assert shown["config"].items() >= config.items() and (shown["verified_at"] is None) == (kind == "webhook")
    path = f"/notifications/{shown['id']}"
    fewer = tenant.patch(path, {"events": ["failure"], "is_active": False}).json()
    assert fewer["events"] == ["failure"] and not fewer["is_active"] and fewer["config"] == shown["config"]
    assert tenant.delete(path).status == 204 and tenant.get(path).status == 404


def test_ac6_what_cannot_be_told_is_refused(tenant):
    for kind, events, config, pointer in (
        ("email", ["failure"], {"to": ["nobody"]}, "/config/to"),
        ("email", ["failure"], {"cc": ["a@b.example"]}, "/config"),
        ("webhook", ["failure"], {"url": "ftp://x.example"}, "/config/url"),
        ("webhook", ["failure"], {}, "/config/url"),
        ("in_app", ["failure"], {}, "/config/users"),
        ("in_app", ["digest"], {"users": ["u"], "digest": {"every": "year"}}, "/config/digest"),
        ("email", ["disaster"], {"to": ["a@b.example"]}, "/events/0"),
        ("pigeon", ["failure"], {}, "/notification_type"),
    ):
        reply = tenant.post("/notifications", {"notification_type": kind, "events": events, "config": config})
        assert reply.status == 422 and [error["pointer"] for error in reply.json()["errors"]] == [pointer], reply


def test_ac6_success_failure_and_warning_reach_the_inbox(service, api):
    api.post("/notifications", {"notification_type": "in_app", "events": ["success", "failure", "warning", "recovered"],
                                "config": {"users": ["u1"]}})
    notices = Notices(service.engine, None)
    of = connection(api, name="Anvils")
    notices.succeeds(of)
    notices.fails(of, "the API said no")
    notices.route()
    notices.succeeds(of)
    for _ in range(2):
        notices.route()
    items = api.pages("/inbox", user_id="u1", limit=1)
    assert {"sync.succeeded", "sync.failed", "sync.recovered"} <= {item["event_type"] for item in items}, items
    failed = next(item for item in items if item["event_type"] == "sync.failed")
    assert "Anvils" in failed["title"] and "the API said no" in failed["body"] + json.dumps(failed["data"])
    unread = api.get("/inbox/unread", user_id="u1").json()["unread"]
    assert unread == len(items) == len(api.pages("/inbox", user_id="u1", unread=True))
    assert api.post("/inbox/read", {"user_id": "u1", "ids": [failed["id"]]}).json() == {"marked": 1}
    assert failed["id"] not in {item["id"] for item in api.pages("/inbox", user_id="u1", unread=True)}
    assert api.post("/inbox/read", {"user_id": "u1"}).json() == {"marked": unread - 1}
    assert api.get("/inbox/unread", user_id="u1").json() == {"unread": 0}
    assert api.pages("/inbox", user_id="u2") == []


@pytest.mark.parametrize("every", ["day", "week"])
def test_ac6_digests(service, api, every):
    made = api.post("/notifications", {
        "notification_type": "in_app", "events": ["digest"], "config": {"users": ["u1"], "digest": {"every": every}},
    })
    assert made.status == 201, made
    work(service, datetime.datetime.now(UTC))
    of = connection(api)
    Notices(service.engine, None).succeeds(of)
    for _ in range(3):
        work(service, datetime.datetime.now(UTC) + 8 * DAY)
    wanted = "digest.daily" if every == "day" else "digest.weekly"
    assert wanted in [item["event_type"] for item in api.pages("/inbox", user_id="u1")]


def test_ac6_a_test_message_and_the_secret_of_a_webhook(tenant):
    made = tenant.post("/notifications", {"notification_type": "webhook", "events": ["failure"],
                                       "config": {"url": "https://hooks.example.com/x"}}).json()
    path = f"/notifications/{made['id']}"
    sent = tenant.post(path + "/test")
    (message,) = tenant.get(f"/deliveries/{sent.json()['delivery_id']}").json()["items"]
    assert sent.status == 202 and message["status"] == "queued"
    secret = tenant.get(path + "/secret").json()["secret"]
    assert secret.startswith("whsec_") and secret not in json.dumps(tenant.get(path).json())
    rotated = tenant.post(path + "/rotate-secret", {"overlap_seconds": 60}).json()["secret"]
    assert rotated != secret and tenant.get(path + "/secret").json()["secret"] == rotated
