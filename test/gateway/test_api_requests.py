"""What holds of all operations: versions, repeated requests, pages, budgets, who is written down."""

import concurrent.futures
import datetime
import json

import pytest

from harness.waiting import wait_until

KEY = "Idempotency-Key"


@pytest.fixture
def api(shared_service, request):
    """A client of a tenant that this test has alone."""
    shared_service.db.run("INSERT INTO sync.providers (slug, connector) VALUES ('noop', 'noop') ON CONFLICT DO NOTHING")
    return shared_service.client(tenant_of(request))


def tenant_of(request):
    return request.node.name


def connection(api, **members):
    made = api.post("/connections", {"provider_slug": "noop", **members})
    assert made.status == 201, made
    return made.json()["id"]


def schedule(api, **members):
    body = {"connection_id": connection(api), "name": "s", "schedule_type": "daily", **members}
    made = api.post("/sync-schedules", body)
    assert made.status == 201, made
    return made


def made_at(api, path, body):
    return api.post(path, body).headers["location"].removeprefix(api.BASE)


def kinds(api):
    """(path, etag, a change) of one object of each kind that has versions."""
    of = connection(api, name="c")
    for path, body in (
        ("/connections", {"provider_slug": "noop", "name": "c"}),
        ("/sync-schedules", {"connection_id": of, "name": "s", "schedule_type": "daily"}),
        ("/notifications", {"notification_type": "in_app", "events": ["failure"], "config": {"users": ["u"]}}),
        ("/hooks", {"connection_id": of, "scheme": "slack"}),
    ):
        place = made_at(api, path, body)
        yield place, api.get(place).headers["etag"], {"name": "other"}


# Versions.

def test_a_client_that_has_the_version_is_told_so(api):
    for path, tag, change in kinds(api):
        for header in (tag, "*", f'"other", {tag}', f"W/{tag}"):
            reply = api.get(path, headers={"If-None-Match": header})
            assert reply.status == 304 and reply.body == b"" and reply.headers["etag"] == tag, (header, reply)
        assert api.get(path, headers={"If-None-Match": '"other"'}).status == 200
        changed = api.patch(path, change)
        assert changed.status == 200 and changed.headers["etag"] != tag
        fresh = api.get(path, headers={"If-None-Match": tag})
        assert fresh.status == 200 and fresh.headers["etag"] == changed.headers["etag"]
        assert fresh.json() == changed.json()


def test_a_change_of_what_has_changed_meanwhile_is_refused(api):
    for path, tag, change in reversed(list(kinds(api))):
        assert api.patch(path, change, {"If-Match": tag}).status == 200
        late = api.patch(path, {"name": "late"}, {"If-Match": tag})
        assert late.status == 412 and late.problem() == "changed_meanwhile", late
        assert api.delete(path, {"If-Match": tag}).status == 412
        assert api.get(path).json()["name"] == "other"
        now = api.get(path).headers["etag"]
        assert api.patch(path, {"name": "third"}, {"If-Match": f'"x", {now}'}).status == 200
        assert api.delete(path, {"If-Match": "*"}).status == 204
        assert api.delete(path, {"If-Match": "*"}).status == 404


def test_a_replacement_takes_the_version_too(api):
    path = f"/sync-schedules/{schedule(api).json()['id']}"
    body = {"name": "anew", "schedule_type": "hourly"}
    assert api.put(path, body, {"If-Match": '"x"'}).status == 412
    assert api.put(path, body, {"If-Match": api.get(path).headers["etag"]}).json()["name"] == "anew"


def test_runs_do_not_change_the_version(api, shared_service):
    made = schedule(api).json()
    paths = (f"/sync-schedules/{made['id']}", f"/connections/{made['connection_id']}")
    tags = [api.get(path).headers["etag"] for path in paths]
    assert api.post(paths[0] + "/trigger").status == 202
    shared_service.db.run("SELECT sync.claim_jobs('by hand', 100)")
    for path, tag in zip(paths, tags):
        now = api.get(path, headers={"If-None-Match": tag})
        assert now.status == 200 and now.json()["live_job"]["status"] == "running", "but the answer is another"
        assert api.patch(path, {"name": "other"}, {"If-Match": tag}).status == 200


def test_of_two_changes_at_once_one_wins(api):
    made = schedule(api)
    path, tag = made.headers["location"].removeprefix(api.BASE), made.headers["etag"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: api.patch(path, {"name": f"by {n}"}, {"If-Match": tag}), range(8)))
    assert sorted(reply.status for reply in replies) == [200] + [412] * 7


# Requests that come twice.

def test_the_same_key_gets_the_same_answer(api):
    body = {"provider_slug": "noop", "name": "once"}
    first = api.post("/connections", body, {KEY: "k1"})
    again = api.post("/connections", body, {KEY: "k1"})
    assert first.status == again.status == 201 and first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    assert {name: again.headers[name] for name in ("location", "etag")} == {
        name: first.headers[name] for name in ("location", "etag")}
    other = api.post("/connections", {**body, "name": "twice"}, {KEY: "k1"})
    assert other.status == 422 and other.problem() == "invalid" and "k1" in other.json()["detail"], other
    assert api.post("/hooks", {"connection_id": first.json()["id"], "scheme": "slack"}, {KEY: "k1"}).status == 422
    assert len(api.pages("/connections")) == 1


def test_the_same_key_does_a_thing_once(api):
    made = schedule(api).json()
    path = f"/sync-schedules/{made['id']}"
    skipped = [api.post(path + "/skip-next", headers={KEY: "k1"}).json() for _ in range(3)]
    assert skipped[0] == skipped[1] == skipped[2]
    assert [item["runs"] for item in api.get(path + "/preview", count=2).json()["items"]] == [False, True]
    of = f"/connections/{made['connection_id']}"
    paused = api.post(of + "/pause", headers={KEY: "k2"})
    assert api.post(of + "/resume").json()["status"] == "active"
    assert api.post(of + "/pause", headers={KEY: "k2"}).json() == paused.json()
    assert api.get(of).json()["status"] == "active"


def test_what_is_told_once_is_kept_for_its_token_alone(api, shared_service, request):
    hook = {"connection_id": connection(api), "scheme": "standard"}
    made = api.post("/hooks", hook, {KEY: "k"}).json()
    assert api.post("/hooks", hook, {KEY: "k"}).json() == made
    other = shared_service.client(tenant_of(request)).post("/hooks", hook, {KEY: "k"})
    assert other.status == 422 and other.problem() == "invalid", other
    rows = shared_service.db.rows("SELECT k::text FROM sync.idempotency_keys k WHERE k.operation = 'createHook'")
    assert rows and not any(text in row for (row,) in rows for text in (made["secret"], made["path"], "whk_"))


def test_a_key_whose_request_failed_is_free(api):
    assert api.post("/connections", {"provider_slug": "none"}, {KEY: "k"}).status == 422
    assert api.post("/connections", {"provider_slug": "noop"}, {KEY: "k"}).status == 201
    for key in ("", "x" * 201):
        assert api.post("/connections", {"provider_slug": "noop"}, {KEY: key}).status == 400, key


@pytest.mark.parametrize("headers", [{}, {KEY: "k"}])
def test_what_a_deadlock_undid_is_tried_again(api, shared_service, request, headers):
    tenant = tenant_of(request)
    # A sequence remembers what a transaction forgets.
    shared_service.db.run(f"""
        CREATE SEQUENCE "tries of {tenant}";
        CREATE FUNCTION "fails of {tenant}"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('"tries of {tenant}"') < (NEW.metadata ->> 'at')::int THEN
                RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
            END IF;
            RETURN NEW;
        END $$;
        ALTER FUNCTION "fails of {tenant}"() SECURITY DEFINER;
        CREATE TRIGGER "fails of {tenant}" BEFORE INSERT ON sync.connections FOR EACH ROW
            WHEN (NEW.tenant_id = '{tenant}') EXECUTE FUNCTION "fails of {tenant}"()""")
    try:
        refused = api.post("/connections", {"provider_slug": "noop", "metadata": {"at": 100}}, headers)
        assert refused.status == 503 and refused.headers["retry-after"], refused
        made = api.post("/connections", {"provider_slug": "noop", "metadata": {"at": 5}}, headers)
        assert made.status == 201, made
        assert len(api.pages("/connections")) == 1
    finally:
        shared_service.db.run(f'DROP TRIGGER "fails of {tenant}" ON sync.connections')


def test_a_key_belongs_to_its_tenant(api, shared_service):
    body = {"provider_slug": "noop"}
    other = shared_service.client("somebody else")
    made = [client.post("/connections", body, {KEY: "shared"}) for client in (api, other)]
    assert [reply.status for reply in made] == [201, 201] and made[0].json()["id"] != made[1].json()["id"]


@pytest.mark.parametrize("path", ["/connections", "/sync-schedules", "/notifications", "/hooks", "trigger"])
def test_the_same_key_at_once_makes_one(api, path):
    of = connection(api)
    body = {
        "/connections": {"provider_slug": "noop"},
        "/sync-schedules": {"connection_id": of, "name": "s", "schedule_type": "daily"},
        "/notifications": {"notification_type": "in_app", "events": ["failure"], "config": {"users": ["u"]}},
        "/hooks": {"connection_id": of, "scheme": "slack"},
        "trigger": {},
    }[path]
    target = f"/connections/{of}/trigger" if path == "trigger" else path
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _: api.post(target, body, {KEY: "k"}), range(10)))
    assert {reply.status for reply in replies} == {202 if path == "trigger" else 201}, replies
    assert len({reply.body for reply in replies}) == 1
    assert sum("idempotency-replayed" in reply.headers for reply in replies) == 9
    if path != "trigger":
        assert len(api.pages(path)) == (2 if path == "/connections" else 1)


# Runs by hand.

def test_a_trigger_while_one_waits_or_runs_returns_that(api, shared_service):
    made = schedule(api, schedule_type="realtime").json()
    path = f"/sync-schedules/{made['id']}/trigger"
    first = api.post(path)
    assert first.status == 202 and first.json()["created"] and not first.json()["another_follows"]
    again = api.post(path)
    assert again.status == 200 and again.json() == {**first.json(), "created": False}
    by_connection = api.post(f"/connections/{made['connection_id']}/trigger")
    assert by_connection.status == 200 and by_connection.json()["execution"] == first.json()["execution"]
    claimed = shared_service.db.rows("SELECT job_id, claim_token FROM sync.claim_jobs('by hand', 100)")
    running = api.post(path)
    assert running.status == 200 and running.json()["status"] == "running" and running.json()["another_follows"]
    (token,) = [token for job, token in claimed if job == first.json()["job_id"]]
    shared_service.db.run("SELECT sync.complete_job(%s, %s, '[]', '{}')", first.json()["job_id"], token)
    follows = api.get(f"/connections/{made['connection_id']}").json()["live_job"]
    assert follows["status"] == "queued" and follows["id"] != first.json()["job_id"]
    other = api.post(f"/connections/{made['connection_id']}/trigger", {"job_type": "full"})
    assert other.status == 202 and other.json()["job_type"] == "full"


def test_a_paused_connection_is_not_triggered(api):
    of = connection(api)
    api.post(f"/connections/{of}/pause", {"reason": "moving"})
    refused = api.post(f"/connections/{of}/trigger")
    assert refused.status == 409 and refused.problem() == "not_possible"
    assert api.get(f"/connections/{of}").json()["status_reason"] == "moving"


def test_runs_by_hand_have_a_limit(api, shared_service, request):
    shared_service.db.run("SELECT sync.set_tenant_limits(%s, manual_triggers_per_minute => 2)", tenant_of(request))
    of = [connection(api) for _ in range(3)]
    replies = [api.post(f"/connections/{number}/trigger") for number in of]
    assert [reply.status for reply in replies] == [202, 202, 429], replies
    assert replies[2].problem() == "rate_limited" and 1 <= int(replies[2].headers["retry-after"]) <= 60
    assert "sync." not in json.dumps(replies[2].json())


def test_as_many_connections_as_a_tenant_may_have(api, shared_service, request):
    shared_service.db.run("SELECT sync.set_tenant_limits(%s, max_connections => 1)", tenant_of(request))
    connection(api)
    refused = api.post("/connections", {"provider_slug": "noop"})
    assert refused.status == 409 and refused.problem() == "limit_reached", refused


# Budgets of requests.

def test_a_token_has_a_budget_that_gateways_share(shared_service, request):
    gateways = [shared_service.gateways[0], shared_service.gateway()]
    limit = 30

    def spent():
        """In one minute: how each request was answered."""
        client = shared_service.client(tenant_of(request), requests_per_minute=limit)
        clients = [type(client)(gateway, client.token) for gateway in gateways]
        minute = datetime.datetime.now(datetime.timezone.utc).minute
        replies = [clients[n % 2].get("/token") for n in range(2 * limit)]
        return replies if datetime.datetime.now(datetime.timezone.utc).minute == minute else None

    replies = wait_until(spent, "a minute that was long enough")
    assert sum(reply.status == 200 for reply in replies) == limit, [reply.status for reply in replies]
    assert {reply.status for reply in replies} == {200, 429}
    for reply in replies:
        assert reply.headers["ratelimit-limit"] == str(limit) and 0 <= int(reply.headers["ratelimit-reset"]) <= 60
        assert reply.headers["ratelimit-policy"] == f"{limit};w=60"
    left = [int(reply.headers["ratelimit-remaining"]) for reply in replies if reply.status == 200]
    assert left == sorted(left, reverse=True) and left[0] == limit - 1 and left[-1] == 0, left
    refused = replies[-1]
    assert refused.problem() == "rate_limited" and 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-remaining"] == "0"


def test_what_is_refused_counts_and_others_do_not_pay(shared_service, request):
    tenant = tenant_of(request)
    client = shared_service.client(tenant, requests_per_minute=1000)
    paths = ("/connections/999", "/connections?x=1", "/token")
    left = [client.get(path).headers["ratelimit-remaining"] for path in paths]
    assert len(set(left)) == 3, left
    assert "ratelimit-limit" not in shared_service.client(tenant, requests_per_minute=0).get("/token").headers


# Who is written down.

def test_actor_and_request_are_in_the_audit_log(api):
    headers = {"X-Actor": "alice@example.com", "X-Request-Id": "req-1"}
    body = {"connection_id": connection(api), "name": "s", "schedule_type": "daily"}
    made = api.post("/sync-schedules", body, headers)
    assert made.headers["x-request-id"] == "req-1"
    number = made.json()["id"]
    api.post(f"/sync-schedules/{number}/pause", {"reason": "holidays"}, {"X-Request-Id": "req-2"})
    entries = api.pages("/audit-log", object_kind="schedule", object_id=str(number), sort="id", limit=1)
    assert [(entry["action"], entry["actor"], entry["request_id"]) for entry in entries] == [
        ("schedule.create", "token test for alice@example.com", "req-1"), ("schedule.pause", "token test", "req-2")]
    assert entries[1]["before"]["is_active"] and not entries[1]["after"]["is_active"]
    assert api.get("/token", headers={"X-Actor": "bob"}).json()["actor"] == "token test for bob"
    future = "2999-01-01T00:00:00Z"
    assert api.get("/audit-log", since=future).json()["items"] == []
    assert api.get("/audit-log", action="schedule.pause").json()["items"] == entries[1:]


# What stays and what goes.

def test_put_sets_anew_and_patch_changes(api):
    given = {"name": "s", "schedule_type": "weekly", "at": "04:00", "days": ["mon"], "description": "d", "priority": 7,
             "timezone": "Europe/Berlin", "starts_at": "2030-01-01T00:00:00Z", "ends_at": "2031-01-01T00:00:00+02:00",
             "config": {"a": 1}, "jitter_seconds": 5, "overlap": "buffer_one", "catchup_max_age_seconds": 60}
    made = schedule(api, **given).json()
    path = f"/sync-schedules/{made['id']}"
    assert made["ends_at"].startswith("2030-12-31T22:00:00") and made["catchup_max_age_seconds"] == 60
    changed = api.patch(path, {"priority": 8}).json()
    volatile = ("updated_at",)
    assert {k: v for k, v in changed.items() if k not in volatile} == {
        **{k: v for k, v in made.items() if k not in volatile}, "priority": 8}
    cleared = api.patch(path, {"description": None, "starts_at": None, "ends_at": None}).json()
    assert (cleared["description"], cleared["starts_at"], cleared["ends_at"]) == (None, None, None)
    assert cleared["cron_expression"] == made["cron_expression"] and cleared["priority"] == 8
    same = api.put(path, api.get(path).json())
    assert same.status == 200, same
    assert {**same.json(), "updated_at": None} == {**cleared, "updated_at": None}, "what was read can be put back"
    plain = schedule(api, schedule_type="daily").json()
    anew = api.put(path, {"name": "s", "schedule_type": "daily"}).json()
    own = ("id", "connection_id", "created_at", "updated_at")
    assert {k: v for k, v in anew.items() if k not in own} == {k: v for k, v in plain.items() if k not in own}


def test_put_and_patch_of_connections_settings_and_hooks(api):
    of = connection(api, name="c", metadata={"a": 1}, interval_seconds=600, config={"token": "planted"})
    path = f"/connections/{of}"
    shown = api.patch(path, {"name": None}).json()
    assert shown["name"] is None and shown["metadata"]["a"] == 1 and shown["interval_seconds"] == 600
    assert b"planted" not in api.get(path).body
    anew = api.put(path, {"name": "n"}).json()
    assert anew["name"] == "n" and "a" not in anew["metadata"] and anew["interval_seconds"] != 600
    forged = {"sync": {"next_run_at": "2999-01-01T00:00:00Z"}, "b": 2}
    assert api.patch(path, {"metadata": forged}).json()["metadata"]["b"] == 2
    assert "2999" not in json.dumps(api.get(path).json()), "what the engine keeps there is its own"

    told = {"notification_type": "in_app", "name": "n", "events": ["failure", "success"], "config": {"users": ["u"]}}
    path = made_at(api, "/notifications", told)
    assert api.patch(path, {"is_active": False}).json()["name"] == "n"
    assert api.patch(path, {"name": None}).json()["name"] is None
    back = api.put(path, {"events": ["failure"], "config": {"users": ["v"]}}).json()
    assert back["is_active"] and back["name"] is None
    assert back["events"] == ["failure"] and back["config"] == {"users": ["v"]}

    path = made_at(api, "/hooks", {"connection_id": of, "scheme": "slack", "name": "h"})
    assert api.patch(path, {"is_active": False}).json()["name"] == "h"
    assert api.patch(path, {"name": None}).json()["name"] is None
