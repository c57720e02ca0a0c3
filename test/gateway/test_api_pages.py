"""Lists in pages: every row once, whatever the order and whatever comes meanwhile."""

import base64
import json

import pytest

from harness.tenant_world import World, operations

LISTS = {
    "listConnections": {}, "listSchedules": {}, "listNotifications": {}, "listHooks": {}, "listDeliveries": {},
    "listIncidents": {}, "listFailures": {}, "readAuditLog": {}, "listProviders": {},
    "listExecutions": ("connection_id", "connection"), "connectionHistory": ("path", "connection"),
    "scheduleHistory": ("path", "schedule"), "readInbox": ("user_id", "user"),
}


@pytest.fixture(scope="module")
def world(shared_service):
    (world,) = World.make(shared_service, "acme")
    db = shared_service.db
    db.run("INSERT INTO sync.providers (slug, connector) SELECT 'p' || n, 'noop' FROM generate_series(1, 6) n")
    # Names that are the same, names that are not there, and characters of all lengths.
    db.run("INSERT INTO sync.connections (tenant_id, provider_slug, external_id, name) SELECT 'acme', 'noop', 'e' || n,"
           " (ARRAY['same', 'same', NULL, 'Ä, \"quoted\"', E'tab\\t{}', '😀'])[n] FROM generate_series(1, 6) n")
    db.run("SELECT sync.create_schedule(id, 'same', 'daily') FROM sync.connections WHERE external_id LIKE 'e_'")
    for _ in range(4):
        db.run("SELECT sync.trigger_schedule(%s)", world.schedule)
        job, token = db.row("SELECT job_id, claim_token FROM sync.claim_jobs('by hand', 100) WHERE connection_id = %s",
                            world.connection)
        db.run("SELECT sync.complete_job(%s, %s, '[]', '{}')", job, token)
    for _ in range(5):
        db.run("SELECT sync.create_hook(%s, 'github')", world.connection)
        world.notices.fails(world.broken)
        world.notices.route()
    return world


@pytest.fixture(scope="module")
def api(world):
    return world.service.client()


@pytest.fixture(scope="module")
def described(api):
    return operations(api.get("/openapi.json").json())


def place(described, world, name):
    """(path, query) of a list."""
    belongs = LISTS[name]
    if not belongs:
        return described[name].path, {}
    kind, of = belongs
    value = getattr(world, of)
    return (described[name].target({"id": value}), {}) if kind == "path" else (described[name].path, {kind: value})


def test_all_lists_are_here(described):
    paged = {name for name, operation in described.items() if any(p["name"] == "cursor" for p in operation.parameters)}
    assert paged == set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_every_order_has_every_row_once(described, world, api, name):
    path, query = place(described, world, name)
    (sorts,) = [p["schema"]["enum"] for p in described[name].parameters if p["name"] == "sort"]
    whole = None
    for sort in sorts:
        at_once = api.pages(path, limit=500, sort=sort, **query)
        assert len(at_once) > 1, f"{name} has {len(at_once)} rows"
        for limit in (1, 3, len(at_once), len(at_once) - 1):
            assert api.pages(path, limit=limit, sort=sort, **query) == at_once, (sort, limit)
        rows = sorted(json.dumps(item, sort_keys=True) for item in at_once)
        assert len(set(rows)) == len(rows) and (whole is None or rows == whole), sort
        whole = rows
        if sort.startswith("-") and sort[1:] in sorts:
            assert at_once == api.pages(path, limit=500, sort=sort[1:], **query)[::-1], sort


def test_filters_restrict(world, api):
    for path, query, wanted in (
        ("/connections", {"name": "SAM"}, 2), ("/connections", {"name": "%"}, 0),
        ("/connections", {"external_id": "e3"}, 1),
        ("/connections", {"provider_slug": "p1"}, 0), ("/connections", {"status": "active,paused"}, 9),
        ("/connections", {"health": "error,paused"}, 0), ("/sync-schedules", {"schedule_type": "realtime"}, 1),
        ("/sync-schedules", {"name": "same"}, 6), ("/sync-schedules", {"is_active": False}, 0),
        ("/notifications", {"notification_type": "in_app"}, 1),
        ("/notifications", {"connection_id": world.connection}, 0),
        ("/hooks", {"connection_id": world.connection}, 6), ("/hooks", {"connection_id": world.idle}, 0),
        ("/executions", {"connection_id": world.broken, "status": "failed"}, 6),
        ("/executions", {"connection_id": world.connection, "schedule_id": world.schedule}, 4),
    ):
        assert len(api.pages(path, limit=2, **query)) == wanted, (path, query)


def test_pages_stay_in_place_while_rows_come_and_go(world, api, shared_service):
    names = [f"n{number}" for number in range(10)]
    client = shared_service.client("moving")
    made = {name: client.post("/connections", {"provider_slug": "noop", "name": name}).json()["id"] for name in names}
    first = client.get("/connections", sort="name", limit=4).json()
    assert [item["name"] for item in first["items"]] == names[:4]
    for name in ("a", "n00", "n5a"):
        client.post("/connections", {"provider_slug": "noop", "name": name})
    client.delete(f"/connections/{made['n3']}")
    client.delete(f"/connections/{made['n7']}")
    rest = client.pages("/connections", sort="name", limit=4)
    second = client.get("/connections", sort="name", limit=50, cursor=first["next"]).json()["items"]
    assert [item["name"] for item in second] == ["n4", "n5", "n5a", "n6", "n8", "n9"]
    assert [item["name"] for item in rest][:2] == ["a", "n0"]


def test_long_names_have_pages_too(shared_service):
    client = shared_service.client("long")
    for number in range(3):
        body = {"provider_slug": "noop", "name": "😀" * 499 + str(number)}
        assert client.post("/connections", body).status == 201
        body = {"provider_slug": "noop", "external_id": "\U0001f600" * 999 + str(number)}
        assert client.post("/connections", body).status == 201
    for sort in ("name", "-name", "id"):
        assert len(client.pages("/connections", sort=sort, limit=1)) == 6


def cursor(order, key):
    """One that nobody has given out; of a list without filters."""
    text = f"{order}:cbf29ce484222325:{key}".encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def test_a_cursor_of_another_list_or_of_nobody(world, api):
    good = api.get("/connections", sort="name", limit=2).json()["next"]
    assert api.get("/connections", sort="name", limit=5, cursor=good).status == 200
    for path, query in (
        ("/connections", {"sort": "-name"}), ("/connections", {}), ("/connections", {"sort": "name", "name": "same"}),
        ("/connections", {"sort": "name", "status": "active"}),
    ):
        reply = api.get(path, cursor=good, **query)
        assert reply.status == 400 and reply.problem() == "invalid_cursor", (query, reply)
        assert reply.json()["errors"][0]["pointer"] == "cursor"
    for strange in ("", "x", "x" * 4097, "%%%", "a=b", "🙂", good[:-3], good + "AAAA", "'", "-" * 100):
        assert api.get("/connections", sort="name", cursor=strange).status in (400, 200), strange
    assert api.get("/connections", cursor=cursor("+id", "[5]")).status == 200, "the test knows how cursors are made"
    for key in ("[]", "{}", "[null]", '["x"]', '[{"a":1}]', "[1e999]", "[99999999999999999999]", '["\\u0000"]',
                "[1,2,3]", "[" * 2000 + "]" * 2000, '["1; DROP TABLE sync.connections"]', "[true]", "[5"):
        reply = api.get("/connections", cursor=cursor("+id", key))
        assert reply.status in (200, 400, 422), (key, reply)
    for key in ('["x"]', '["' + "y" * 2000 + '", "z"]', '["a", {}]'):
        assert api.get("/connections", sort="name", cursor=cursor("+name", key)).status in (200, 400, 422), key
