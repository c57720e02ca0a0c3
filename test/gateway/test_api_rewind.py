"""What is done with connections and schedules by hand: back to a cursor, pausing, skipping, asking when and why."""

import datetime

import pytest

from harness.steps import UTC, claim, connection, noop_provider, schedule, succeed, time

MICROSECOND = datetime.timedelta(microseconds=1)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def api(shared_service, request):
    """A client of a tenant that this test has alone."""
    noop_provider(shared_service.db)
    return shared_service.client(request.node.name)


def run(session, api, of, job_type="incremental", **end):
    """One run to its end; the id of its attempt and what it was claimed with."""
    triggered = api.post(f"/connections/{of}/trigger", {"job_type": job_type})
    assert triggered.status == 202, triggered
    claimed = claim(session, of)
    succeed(session, claimed, **end)
    (attempt,) = api.get(f"/executions/{triggered.json()['execution']}").json()["attempt_list"]
    return attempt, claimed


def cursor(api, of):
    return api.get(f"/connections/{of}").json()["metadata"].get("sync", {}).get("cursor")


@pytest.fixture
def ran(session, api):
    """A connection that has run three times, with 2, 3 and 4 records, and its attempts."""
    of = connection(api)
    attempts = [run(session, api, of, records=n + 2, cursor={"n": n})[0] for n in range(3)]
    assert cursor(api, of) == {"n": 2}
    return of, attempts


def rewind(api, of, attempt, **members):
    reply = api.post(f"/connections/{of}/rewind", {"execution_id": attempt["id"], **members})
    assert reply.status == 200, reply
    return reply.json()


# Back to where an attempt began.

@pytest.mark.parametrize("members", [{}, {"dry_run": True}])
def test_a_rewind_that_is_not_asked_for_in_earnest_only_tells_what_it_costs(api, ran, members):
    of, attempts = ran
    before = api.get(f"/connections/{of}").json()
    for back, (then, records) in enumerate(((None, 9), ({"n": 0}, 7), ({"n": 1}, 4))):
        told = rewind(api, of, attempts[back], **members)
        assert time(told.pop("since")) == time(attempts[back]["started_at"])
        assert told == {"cursor_now": {"n": 2}, "cursor_then": then, "pages_again": 3 - back, "records_again": records,
                        "rewound": False}
    assert api.get(f"/connections/{of}").json() == before
    assert api.get("/audit-log", action="connection.rewind").json()["items"] == []


@pytest.mark.parametrize(("back", "then", "records"), [(0, None, 9), (1, {"n": 0}, 7), (2, {"n": 1}, 4)])
def test_the_next_run_reads_from_where_the_attempt_began(session, api, ran, back, then, records):
    of, attempts = ran
    told = rewind(api, of, attempts[back], dry_run=False)
    assert told.items() >= {"cursor_now": {"n": 2}, "cursor_then": then, "pages_again": 3 - back,
                            "records_again": records, "rewound": True}.items(), told
    assert cursor(api, of) == then
    (entry,) = api.get("/audit-log", action="connection.rewind").json()["items"]
    assert entry["object_id"] == str(of) and entry["after"] == {"execution_id": attempts[back]["id"]}, entry
    _, claimed = run(session, api, of, cursor={"n": 9})
    assert claimed["cursor"] == then
    assert cursor(api, of) == {"n": 9}


def test_where_the_cursor_is_there_already_nothing_is_lost(api, ran):
    of, attempts = ran
    rewind(api, of, attempts[1], dry_run=False)
    again = rewind(api, of, attempts[1], dry_run=False)
    assert again["cursor_now"] == again["cursor_then"] == {"n": 0} and again["rewound"]
    assert cursor(api, of) == {"n": 0}


def test_what_cannot_be_rewound_is_refused_and_leaves_the_cursor(session, api, ran):
    of, attempts = ran
    path = f"/connections/{of}/rewind"
    full, _ = run(session, api, of, "full")
    reply = api.post(path, {"execution_id": full["id"], "dry_run": False})
    assert reply.status == 409 and reply.problem() == "not_possible", reply
    other, _ = run(session, api, connection(api), cursor={"of": "another"})
    for strange in (other["id"], 2**62):
        reply = api.post(path, {"execution_id": strange, "dry_run": False})
        assert reply.status == 404 and reply.problem() == "not_found", reply
    for body in ({}, {"execution_id": "1"}, {"execution_id": 0}, {"execution_id": attempts[0]["id"], "dry_run": "no"}):
        assert api.post(path, body).status == 422, body
    assert api.post(f"/connections/{2**62}/rewind", {"execution_id": attempts[0]["id"]}).status == 404
    api.post(f"/connections/{of}/trigger")
    claimed = claim(session, of)
    reply = api.post(path, {"execution_id": attempts[0]["id"], "dry_run": False})
    assert reply.status == 409 and reply.problem() == "not_possible", reply
    assert rewind(api, of, attempts[0])["records_again"] == 9, "asking is possible"
    assert cursor(api, of) == {"n": 2}
    succeed(session, claimed, cursor={"n": 3})
    assert cursor(api, of) == {"n": 3}


def test_an_attempt_beyond_all_ids_is_told_with_its_pointer(api, ran):
    reply = api.post(f"/connections/{ran[0]}/rewind", {"execution_id": 2**63})
    assert reply.status == 422 and reply.problem() == "invalid", reply
    assert [error["pointer"] for error in reply.json().get("errors", [])] == ["/execution_id"], reply


# Pausing.

def test_a_paused_connection_says_why_until_it_is_resumed(api):
    of = connection(api)
    path = f"/connections/{of}"
    waiting = api.post(path + "/trigger").json()["execution"]
    paused = api.post(path + "/pause", {"reason": "stocktaking"})
    assert paused.status == 200, paused
    assert paused.json().items() >= {"status": "paused", "status_reason": "stocktaking", "health": "paused"}.items()
    assert api.get(path).json() == paused.json() and api.get(path).headers["etag"] == paused.headers["etag"]
    assert api.get(f"/executions/{waiting}").json()["status"] == "cancelled"
    refused = api.post(path + "/trigger")
    assert refused.status == 409 and refused.problem() == "not_possible" and "stocktaking" in refused.json()["detail"]
    assert [item["id"] for item in api.get("/connections", status="paused").json()["items"]] == [of]
    assert [item["runs"] for item in api.get(path + "/preview").json()["items"]] == [False]

    assert api.post(path + "/pause", {"reason": "holidays"}).json()["status_reason"] == "holidays"
    for body in (None, {}, {"reason": None}):
        assert api.post(path + "/pause", body).json()["status"] == "paused", body

    resumed = api.post(path + "/resume")
    assert resumed.status == 200, resumed
    assert resumed.json().items() >= {"status": "active", "status_reason": None, "health": "healthy"}.items(), resumed
    assert api.get(path).json() == resumed.json()
    assert api.post(path + "/resume").json()["status"] == "active"
    assert [item["runs"] for item in api.get(path + "/preview").json()["items"]] == [True]
    assert api.post(path + "/trigger").status == 202
    for call in ("pause", "resume"):
        assert api.post(f"/connections/{2**62}/{call}").status == 404, call


@pytest.mark.parametrize("stopped", ["connection", "provider"])
@pytest.mark.parametrize("has_schedule", [False, True])
def test_the_preview_of_a_connection_that_is_stopped_says_that_nothing_runs(session, api, stopped, has_schedule):
    slug = f"provider {stopped} {has_schedule}"
    session.run("INSERT INTO sync.providers (slug, connector) VALUES (%s, 'noop')", slug)
    of = connection(api, provider_slug=slug)
    if has_schedule:
        schedule(api, of)
    path = f"/connections/{of}/preview"
    assert api.get(path).json()["items"][0]["runs"]
    if stopped == "connection":
        api.post(f"/connections/{of}/pause")
    else:
        session.run("SELECT sync.pause_provider(%s)", slug)
    assert not any(item["runs"] for item in api.get(path).json()["items"])


def test_a_connection_is_paused_without_a_reason(api):
    of = connection(api)
    shown = api.post(f"/connections/{of}/pause").json()
    assert shown["status"] == "paused" and shown["status_reason"] is None, shown


def test_a_schedule_that_is_paused_until_a_time_runs_again_from_then_on(session, api):
    of = connection(api)
    made = schedule(api, of, at="02:00")
    path = f"/sync-schedules/{made['id']}"
    first = time(made["next_run_at"])
    # Between the third of its times and the fourth.
    again = first + 2 * DAY + datetime.timedelta(hours=1)
    paused = api.post(path + "/pause", {"reason": "stocktaking", "resume_at": again.isoformat()})
    assert paused.status == 200, paused
    shown = paused.json()
    assert not shown["is_active"] and shown["pause_reason"] == "stocktaking" and time(shown["resume_at"]) == again
    assert time(shown["next_run_at"]) == first + 3 * DAY
    planned = api.get(path + "/preview", count=5).json()["items"]
    assert [time(item["run_at"]) for item in planned] == [first + n * DAY for n in range(5)]
    assert [item["runs"] for item in planned] == [False, False, False, True, True]
    assert [item["note"] for item in planned] == ["paused"] * 3 + [None] * 2

    session.run("SELECT sync.tick(%s)", again - MICROSECOND)
    assert not api.get(path).json()["is_active"]
    session.run("SELECT sync.tick(%s)", again + datetime.timedelta(minutes=1))
    shown = api.get(path).json()
    assert shown["is_active"] and shown["resume_at"] is None and shown["pause_reason"] is None, shown
    assert time(shown["next_run_at"]) == first + 3 * DAY
    fires = api.get(path + "/history", sort="-fire_id").json()["items"]
    assert {fire["outcome"] for fire in fires} == {"skipped_paused"}, fires
    assert {fire["reason"] for fire in fires} == {"the schedule is paused: stocktaking"}, fires
    assert sum(fire["planned_count"] for fire in fires) == 3, fires


def test_a_schedule_is_paused_until_somebody_resumes_it(api):
    made = schedule(api, connection(api))
    path = f"/sync-schedules/{made['id']}"
    api.post(path + "/pause", {"resume_at": (datetime.datetime.now(UTC) + DAY).isoformat()})
    shown = api.post(path + "/pause", {"reason": "for good", "resume_at": None}).json()
    assert shown["resume_at"] is None and shown["next_run_at"] is None and not shown["is_active"], shown
    assert not any(item["runs"] for item in api.get(path + "/preview", count=50).json()["items"])
    assert api.post(path + "/resume").json()["next_run_at"] == made["next_run_at"]


# Skipping.

def test_skip_next_of_a_connection_skips_what_its_preview_tells_next(api):
    of = connection(api)
    for name, at in (("late", "18:00"), ("early", "06:00"), ("noon", "12:00")):
        schedule(api, of, name=name, at=at)
    off = schedule(api, of, name="off", at="00:00")
    api.post(f"/sync-schedules/{off['id']}/pause")
    schedule(api, of, "realtime", name="push")
    path = f"/connections/{of}"

    def preview():
        return api.get(path + "/preview", count=24).json()["items"]

    expected = preview()
    assert [item["run_at"] for item in expected] == sorted(item["run_at"] for item in expected)
    assert sum(item["runs"] for item in expected) == 18 and len(expected) == 24
    for _ in range(5):
        upcoming = next(item for item in expected if item["runs"])
        assert api.get(path).json()["next_run_at"] == upcoming["run_at"]
        skipped = api.post(path + "/skip-next")
        assert skipped.status == 200, skipped
        assert skipped.json() == {"schedule_id": upcoming["schedule_id"], "skipped": upcoming["run_at"]}
        upcoming.update(runs=False, note="skipped: skip_next was called")
        assert preview() == expected
    of_schedule = [item for item in expected if item["schedule_id"] == upcoming["schedule_id"]]
    told = api.get(f"/sync-schedules/{upcoming['schedule_id']}/preview", count=len(of_schedule)).json()["items"]
    assert told == [{name: item[name] for name in ("run_at", "local_time", "runs", "note")} for item in of_schedule]


def test_a_connection_that_plans_no_run_has_none_to_skip(api):
    interval, realtime, paused = connection(api), connection(api), connection(api)
    schedule(api, realtime, "realtime")
    api.post(f"/sync-schedules/{schedule(api, paused)['id']}/pause")
    for of in (interval, realtime, paused, 2**62):
        reply = api.post(f"/connections/{of}/skip-next")
        assert reply.status == 404 and reply.problem() == "not_found", reply


def test_a_preview_is_as_long_as_it_is_asked_to_be(api):
    of = connection(api, interval_seconds=600)
    path = f"/connections/{of}/preview"
    (only,) = api.get(path, count=200).json()["items"]
    assert only["runs"] and only["note"] == "every 600 s" and only["schedule_id"] is None, only
    for name in ("a", "b"):
        schedule(api, of, "hourly", name=name)
    for asked, count in (({}, 10), ({"count": 1}, 1), ({"count": 3}, 3), ({"count": 200}, 200)):
        assert len(api.get(path, **asked).json()["items"]) == count
    for wrong in (0, 201, "x"):
        assert api.get(path, count=wrong).status == 400, wrong
    assert api.get(f"/connections/{2**62}/preview").status == 404


# When a schedule runs.

def test_a_preview_begins_after_the_time_that_is_asked_for(api):
    path = f"/sync-schedules/{schedule(api, connection(api), at='02:00')['id']}/preview"

    def days(**query):
        items = api.get(path, **query).json()["items"]
        assert all(item["local_time"].endswith("T02:00:00") and item["runs"] for item in items), items
        return [item["local_time"][:10] for item in items]

    assert days(after="2030-01-01T00:00:00Z", count=3) == ["2030-01-01", "2030-01-02", "2030-01-03"]
    assert days(after="2030-01-01T02:00:00Z", count=1) == ["2030-01-02"]
    assert days(after="2030-01-01T01:59:59.999999Z", count=1) == ["2030-01-01"]
    assert days(after="2030-01-01T03:59:00+02:00", count=1) == ["2030-01-01"]
    assert len(days(after="2030-01-01T00:00:00Z")) == 10 and len(days(count=200)) == 200
    for wrong in ({"count": 0}, {"count": 201}, {"after": "tomorrow"}):
        assert api.get(path, **wrong).status == 400, wrong


def test_a_preview_tells_what_the_clocks_do(api):
    made = schedule(api, connection(api), at="02:30", timezone="Europe/Berlin", dst_gap="skip", dst_fold="second")
    path = f"/sync-schedules/{made['id']}/preview"
    # That many run; what the clocks prevent comes in addition.
    spring = api.get(path, after="2030-03-30T00:00:00Z", count=2).json()["items"]
    assert [item["run_at"][:16] for item in spring] == ["2030-03-30T01:30", "2030-03-31T01:00", "2030-04-01T00:30"]
    assert [item["runs"] for item in spring] == [True, False, True]
    assert spring[1]["note"] == "02:30 does not exist: does not run" and spring[0]["note"] is None
    autumn = api.get(path, after="2030-10-26T22:00:00Z", count=1).json()["items"]
    assert [(item["run_at"][:16], item["note"]) for item in autumn] == [("2030-10-27T01:30",
                                                                         "02:30 occurs twice: the second")]


# Why it did or did not run.

def test_an_instant_is_explained_before_and_after_it(session, api):
    of = connection(api)
    made = schedule(api, of, at="02:00")
    path = f"/sync-schedules/{made['id']}"
    first = time(made["next_run_at"])

    def explained(at):
        items = api.get(path + "/explain", at=at.isoformat()).json()["items"]
        return [(item["aspect"], item["verdict"]) for item in items], items[0]["detail"]

    told = [("instant", "planned")], "its time has not come"
    berlin = datetime.timezone(datetime.timedelta(hours=2))
    assert explained(first) == explained(first.astimezone(berlin)) == told
    verdict, detail = explained(first + datetime.timedelta(minutes=1))
    assert verdict == [("instant", "not planned")]
    assert f"{first:%Y-%m-%dT%H:%M:%SZ}" in detail and f"{first + DAY:%Y-%m-%dT%H:%M:%SZ}" in detail, detail
    assert explained(first - 30 * DAY)[0] == [("instant", "unknown")]

    assert time(api.post(path + "/skip-next").json()["skipped"]) == first
    for at in (first, first + DAY):
        session.run("SELECT sync.tick(%s)", at)
    claimed = claim(session, of, first + DAY)
    succeed(session, claimed, at=first + DAY)
    verdict, detail = explained(first)
    assert verdict == [("instant", "skipped_by_user")] and "skip_next" in detail, detail
    verdict, detail = explained(first + DAY)
    assert verdict == [("instant", "fired"), ("run", "succeeded")] and str(claimed["job_id"]) in detail, detail
    assert explained(first + 2 * DAY) == told


def test_without_an_instant_the_next_one_is_explained(api):
    made = schedule(api, connection(api), name="nightly", at="02:00")
    path = f"/sync-schedules/{made['id']}/explain"
    first, *_ = api.get(path).json()["items"]
    assert first["aspect"] == "schedule" and first["verdict"] == "waiting" and "nightly" in first["detail"], first
    assert f"{time(made['next_run_at']):%Y-%m-%dT%H:%M:%SZ}" in first["detail"]
    assert api.get(path, at="then").status == 400
    assert api.get(f"/sync-schedules/{2**62}/explain").status == 404
