"""Many connections at once: pausing and resuming by a condition; the order of those that are late."""

import pytest

from harness.steps import connection, noop_provider


def tenant_of(request):
    return request.node.name


@pytest.fixture
def api(shared_service, request):
    noop_provider(shared_service.db)
    return shared_service.client(tenant_of(request))


def statuses(api):
    return {item["id"]: item["status"] for item in api.pages("/connections")}


def test_listed_ones_are_paused_with_the_reason_and_resumed(api):
    ours = [connection(api) for _ in range(3)]
    listed = {"where": {"connection_ids": ours[:2]}}
    assert api.post("/connections/pause", {**listed, "reason": "holidays"}).json() == {"changed": 2, "remaining": 0}
    assert statuses(api) == dict(zip(ours, ("paused", "paused", "active")))
    assert api.get(f"/connections/{ours[0]}").json()["status_reason"] == "holidays"
    assert api.post("/connections/pause", listed).json() == {"changed": 0, "remaining": 0}, "they are already"
    assert api.post("/connections/resume", {"where": {}}).json() == {"changed": 2, "remaining": 0}
    assert set(statuses(api).values()) == {"active"}
    actions = {(item["action"], item["object_id"]) for item in api.pages("/audit-log", object_kind="connection")}
    assert {("connection.pause", str(of)) for of in ours[:2]} <= actions, "each is in the audit log"


def test_those_of_a_provider(api, shared_service):
    shared_service.db.run("INSERT INTO sync.providers (slug, connector) VALUES ('other', 'noop')"
                          " ON CONFLICT DO NOTHING")
    ours = [connection(api), connection(api, provider_slug="other")]
    assert api.post("/connections/pause", {"where": {"provider_slug": "other"}}).json()["changed"] == 1
    assert statuses(api) == dict(zip(ours, ("active", "paused")))
    assert api.post("/connections/pause", {"where": {"provider_slug": "none"}}).json()["changed"] == 0


def test_those_in_error_are_left_alone(api, shared_service):
    of = connection(api)
    shared_service.db.run("UPDATE sync.connections SET status = 'error' WHERE id = %s", of)
    for what in ("pause", "resume"):
        assert api.post(f"/connections/{what}", {"where": {}}).json() == {"changed": 0, "remaining": 0}
    assert statuses(api) == {of: "error"}


def test_a_thousand_in_a_request(api, shared_service, request):
    shared_service.db.run("INSERT INTO sync.connections (tenant_id, provider_slug, external_id)"
                          " SELECT %s, 'noop', 'n' || n FROM generate_series(1, 1100) n", tenant_of(request))
    told = [api.post("/connections/pause", {"where": {}}).json() for _ in range(3)]
    assert told == [{"changed": 1000, "remaining": 100}, {"changed": 100, "remaining": 0},
                    {"changed": 0, "remaining": 0}]


def test_of_others_nothing_is_changed(api, shared_service):
    other = shared_service.client("somebody else entirely")
    theirs = connection(other)
    assert api.post("/connections/pause", {"where": {"connection_ids": [theirs]}}).json()["changed"] == 0
    assert api.post("/connections/pause", {"where": {}}).json()["changed"] == 0
    assert other.get(f"/connections/{theirs}").json()["status"] == "active"


@pytest.mark.parametrize("body", [{}, {"reason": "x"}, {"where": None}, {"where": {"all": True}},
                                  {"where": {"connection_ids": [0]}}, {"where": {"connection_ids": [1] * 1001}}])
def test_a_condition_is_needed(api, body):
    connection(api)
    assert api.post("/connections/pause", body).status == 422
    assert set(statuses(api).values()) == {"active"}


@pytest.mark.parametrize("sort", ["late", "-late"])
def test_pages_of_those_that_are_late_have_each_once(api, shared_service, sort):
    ours = [connection(api) for _ in range(6)]
    for of, late in zip(ours, ("1 hour", "1 hour", "1 hour", "2 hours")):
        shared_service.db.run("INSERT INTO sync.sync_jobs (connection_id, job_type, status, scheduled_at)"
                              " VALUES (%s, 'full', 'queued', now() - %s::interval)", of, late)
    pages, cursor = [], None
    for _ in range(10):
        page = api.get("/connections", sort=sort, limit=1, **({"cursor": cursor} if cursor else {})).json()
        pages += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(pages) == ours, pages
    late = [of for of in (pages if sort == "late" else reversed(pages)) if of in ours[:4]]
    assert late[3:] == [ours[3]], "the one that is late longest at the end"
