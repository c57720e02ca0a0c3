"""The overview: how many connections are in which health, who needs somebody first, and what runs next."""

import datetime

import pytest

from harness.steps import UTC, claim, connection, fail, noop_provider, schedule, succeed, time

MINUTE = datetime.timedelta(minutes=1)
DAY = datetime.timedelta(days=1)
HEALTHS = ("error", "healthy", "late", "paused", "rate_limited", "retrying", "revoked", "running")
# In which order those come for whom something has to be done.
BAD = ("error", "retrying", "late")


@pytest.fixture
def api(shared_service, request):
    """A client of a tenant that this test has alone."""
    noop_provider(shared_service.db)
    return shared_service.client(request.node.name)


class Stage:
    """Brings connections of a tenant into each health."""

    def __init__(self, db, api):
        self.db, self.api = db, api

    def healthy(self, **members):
        return connection(self.api, interval_seconds=3600, **members)

    def waiting(self, since, **members):
        """With a job that is due since then."""
        of = self.healthy(**members)
        self.db.run("SELECT sync.trigger(%s, as_of => now() - %s)", of, since)
        return of

    def late(self, since=5 * MINUTE, **members):
        return self.waiting(since, **members)

    def retrying(self, attempts=1, **members):
        of = self.healthy(**members)
        self.db.run("SELECT sync.trigger(%s)", of)
        at = datetime.datetime.now(UTC)
        for _ in range(attempts):
            fail(self.db, claim(self.db, of, at), at=at)
            at = self.db.value("SELECT GREATEST(scheduled_at, retry_after) FROM ONLY sync.sync_jobs"
                               " WHERE connection_id = %s", of)
        return of

    def rate_limited(self, **members):
        of = self.waiting(MINUTE * 0, **members)
        fail(self.db, claim(self.db, of), "429 Too Many Requests", "rate_limited")
        return of

    def error(self, **members):
        of = self.waiting(MINUTE * 0, **members)
        fail(self.db, claim(self.db, of), "the key is gone", "unauthorized")
        return of

    def running(self, **members):
        of = self.waiting(MINUTE * 0, **members)
        assert claim(self.db, of)
        return of

    def paused(self, **members):
        of = self.late(**members)
        assert self.api.post(f"/connections/{of}/pause", {"reason": "stocktaking"}).status == 200
        return of

    def revoked(self, **members):
        of = self.late(**members)
        self.db.run("UPDATE sync.connections SET status = 'revoked' WHERE id = %s", of)
        return of


@pytest.fixture
def stage(session, api):
    return Stage(session, api)


def overview(api):
    reply = api.get("/overview")
    assert reply.status == 200, reply
    return reply.json()


@pytest.mark.parametrize("health", HEALTHS)
def test_a_connection_is_counted_by_its_health(stage, api, health):
    of = getattr(stage, health)(name=health)
    told = overview(api)
    assert told["connections"] == {health: 1}
    assert [item["connection_id"] for item in told["worst"]] == ([of] if health in BAD else [])
    shown = api.get(f"/connections/{of}").json()
    assert shown["health"] == health, shown
    (listed,) = api.get("/connections", health=health).json()["items"]
    assert {**listed, "late_seconds": None} == {**shown, "late_seconds": None}
    others = [name for name in HEALTHS if name != health]
    assert api.get("/connections", health=",".join(others)).json()["items"] == []


def test_each_is_counted_once(stage, api):
    for number, health in enumerate(HEALTHS):
        for _ in range(number + 1):
            getattr(stage, health)()
    counts = overview(api)["connections"]
    assert counts == {health: number + 1 for number, health in enumerate(HEALTHS)}
    assert list(counts) == sorted(counts)


def test_nobody_else_is_counted(stage, api, shared_service):
    stage.late()
    schedule(api, stage.healthy())
    told = overview(shared_service.client("an empty tenant"))
    assert told["connections"] == {} and told["worst"] == [] and told["next"] == [] and told["incidents"] == 0
    assert told["schedules"] == {"active": 0, "paused": 0}
    assert [hour["runs"] for hour in told["next_24_hours"]] == [0] * 24


def test_the_worst_are_those_for_whom_something_has_to_be_done_and_nobody_else(stage, api):
    late = [stage.late(since) for since in (5 * MINUTE, 50 * MINUTE, 20 * MINUTE)]
    retrying = [stage.retrying(attempts) for attempts in (1, 3, 2)]
    error = [stage.error(), stage.error(name="second")]
    for health in set(HEALTHS) - set(BAD):
        getattr(stage, health)()
    worst = overview(api)["worst"]
    expected = [*error, *(retrying[n] for n in (1, 2, 0)), *(late[n] for n in (1, 2, 0))]
    assert [item["connection_id"] for item in worst] == expected
    assert [item["health"] for item in worst] == ["error"] * 2 + ["retrying"] * 3 + ["late"] * 3
    assert [item["attempts"] for item in worst[2:]] == [3, 2, 1, 0, 0, 0], worst
    assert all(item["last_error"] == "connection reset" and item["last_error_kind"] == "transient"
               for item in worst[2:5]), worst
    assert [item["late_seconds"] // 60 for item in worst[5:]] == [50, 20, 5], worst
    assert "the key is gone" in worst[0]["status_reason"] and worst[1]["name"] == "second", worst


def test_a_minute_is_not_late(stage, api):
    stage.waiting(MINUTE / 4)
    assert overview(api)["connections"] == {"healthy": 1}


def test_a_connection_of_a_paused_provider_is_paused(stage, api):
    stage.db.run("INSERT INTO sync.providers (slug, connector) VALUES ('halted', 'noop')")
    for make in (stage.late, stage.retrying):
        make(provider_slug="halted")
    stage.db.run("SELECT sync.pause_provider('halted')")
    told = overview(api)
    assert told["connections"] == {"paused": 2} and told["worst"] == [] and told["next"] == []


def test_the_worst_are_twenty_at_most_and_all_are_counted(stage, api):
    for number in range(21):
        stage.late(name=f"{number}")
    error = stage.error()
    told = overview(api)
    assert told["connections"] == {"error": 1, "late": 21}
    assert len(told["worst"]) == 20 and told["worst"][0]["connection_id"] == error


def test_incidents_that_are_open_are_counted(stage, api):
    db, of = stage.db, stage.error()
    stage.error()
    transient = stage.retrying()
    assert overview(api)["incidents"] == len(api.get("/incidents", open=True).json()["items"]) == 2
    assert {item["connection_id"] for item in api.get("/incidents", open=True).json()["items"]}.isdisjoint({transient})
    assert api.post(f"/connections/{of}/resume").status == 200
    db.run("SELECT sync.trigger(%s)", of)
    succeed(db, claim(db, of))
    told = overview(api)
    assert told["incidents"] == 1 and told["connections"] == {"error": 1, "healthy": 1, "retrying": 1}
    assert len(api.get("/incidents").json()["items"]) == 2, "the one that is over is listed still"


def test_schedules_are_counted(stage, api):
    of = stage.healthy()
    made = [schedule(api, of, name=f"{n}") for n in range(3)] + [schedule(api, of, "realtime", name="push")]
    assert api.post(f"/sync-schedules/{made[0]['id']}/pause").status == 200
    assert overview(api)["schedules"] == {"active": 3, "paused": 1}


def test_what_runs_next_is_told_in_the_order_of_time(stage, api):
    now = datetime.datetime.now(UTC)
    intervals = {connection(api, name=f"every {minutes}", interval_seconds=60 * minutes): minutes * MINUTE
                 for minutes in (50, 200, 125)}
    for of in intervals:
        # The next run is an interval after the last one.
        stage.db.run("SELECT sync.trigger(%s)", of)
        succeed(stage.db, claim(stage.db, of))
    planned, of = [], stage.healthy(name="planned")
    for hours in (20, 2, 5):
        at = now + datetime.timedelta(hours=hours)
        planned.append(schedule(api, of, name=f"in {hours}", at=f"{at:%H:%M}"))
    off = schedule(api, of, name="off", at=f"{now + datetime.timedelta(hours=3):%H:%M}")
    assert api.post(f"/sync-schedules/{off['id']}/pause").status == 200
    schedule(api, of, "realtime", name="push")
    far = now + 3 * DAY
    schedule(api, of, "monthly", name="far", days=[far.day], at="12:00")
    still = connection(api, name="still")
    schedule(api, still, name="of a paused connection", at=f"{now + datetime.timedelta(hours=4):%H:%M}")
    assert api.post(f"/connections/{still}/pause").status == 200

    told = overview(api)
    expected = [(made["next_run_at"], of, made["id"], made["name"]) for made in planned]
    for interval in intervals:
        shown = api.get(f"/connections/{interval}").json()
        expected.append((shown["next_run_at"], interval, None, shown["name"]))
    expected.sort(key=lambda item: time(item[0]))
    found = [tuple(item[name] for name in ("runs_at", "connection_id", "schedule_id", "name")) for item in told["next"]]
    assert found == expected
    hours = [time(hour["from"]) for hour in told["next_24_hours"]]
    assert hours == [time(told["at"]) + n * datetime.timedelta(hours=1) for n in range(24)]
    counts = [0] * 24
    for item in told["next"]:
        at = time(item["runs_at"])
        while at < hours[0] + DAY:
            counts[(at - hours[0]) // datetime.timedelta(hours=1)] += 1
            at += intervals.get(item["connection_id"], DAY)
    assert [hour["runs"] for hour in told["next_24_hours"]] == counts and sum(counts) > 40


def test_of_more_than_twenty_the_first_are_told_and_all_counted(stage, api):
    of = stage.healthy()
    for number in range(23):
        schedule(api, of, name=f"{number}", at=f"{number:02}:30")
    told = overview(api)
    assert len(told["next"]) == 20 and sum(hour["runs"] for hour in told["next_24_hours"]) == 23
    times = [item["runs_at"] for item in told["next"]]
    assert times == sorted(item["next_run_at"] for item in api.pages("/sync-schedules"))[:20]
