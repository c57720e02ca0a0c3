"""Nobody reaches another tenant's things, by whatever operation and wherever their ids may stand."""

import json

import pytest

from harness.service import ALL_SCOPES
from harness.tenant_world import World, operations

# Of what belongs to a tenant, all that a request could change.
DIGESTS = {
    "connections": "sync.connections", "schedules": "sync.sync_schedules", "settings": "sync.sync_notifications",
    "jobs": "sync.sync_jobs", "executions": "sync.sync_executions", "fires": "sync.schedule_fires",
    "signals": "sync.signals", "incidents": "sync.incidents", "inbox": "sync.inbox", "messages": "sync.messages",
    "attempts": "sync.delivery_attempts", "hooks": "sync.hooks", "audit": "sync.audit_log",
    "limits": "sync.tenant_limits", "waiting": "sync.message_queue", "keys": "sync.idempotency_keys",
}


@pytest.fixture(scope="module")
def worlds(shared_service):
    """acme, whose client all tests have, and globex."""
    return World.make(shared_service, "acme", "globex")


@pytest.fixture(scope="module")
def api(shared_service, worlds):
    return shared_service.client("acme")


@pytest.fixture(scope="module")
def described(api):
    return operations(api.get("/openapi.json").json())


def digest(db, tenant):
    """{kind: (rows, hash)} of the tenant's."""
    found = {}
    for kind, table in DIGESTS.items():
        columns = {row[0] for row in db.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", table)}
        row = "to_jsonb(x) - 'tenant_id'" if "tenant_id" in columns else None
        if row:
            found[kind] = db.row(
                f"SELECT count(*), md5(string_agg(({row})::text, chr(10) ORDER BY ({row})::text)) FROM {table} x"
                " WHERE tenant_id = %s", tenant)
    found["secrets"] = db.row(
        "SELECT count(*), md5(string_agg(x::text, chr(10) ORDER BY x::text)) FROM sync.hook_secrets x"
        " JOIN sync.hooks h ON h.id = x.hook_id WHERE h.tenant_id = %s", tenant)
    return found


def foreign_calls(operation, ours, theirs):
    """Calls of acme's that name something of globex's: in the path, in the query, in the body."""
    own, other = ours.calls()[operation.id], theirs.calls()[operation.id]
    if "path" in own:
        yield {**own, "path": other["path"]}
        if "{id}" in operation.path and "execution" in operation.source["operationId"].lower():
            # A run of theirs under a connection of ours, and the other way round.
            connection, run = other["path"]["id"].split("-")
            yield {**own, "path": {"id": f"{ours.connection}-{run}"}}
            yield {**own, "path": {"id": f"{connection}-{ours.waiting}"}}
    foreign = {
        "connection_id": theirs.connection, "schedule_id": theirs.schedule, "notification_id": theirs.email,
        "user_id": theirs.user, "name": theirs.mark, "external_id": theirs.mark, "object_id": str(theirs.schedule),
        "after": theirs.signal_cursor,
    }
    for parameter in operation.parameters:
        if parameter["in"] == "query" and parameter["name"] in foreign and parameter["schema"].get("format") is None:
            yield {**own, "query": {**own.get("query", {}), parameter["name"]: foreign[parameter["name"]]}}
    for name in own.get("body", {}):
        swapped = {**own["body"], name: other["body"].get(name)}
        if swapped != own["body"] and (name.endswith("_id") or name == "ids"):
            yield {**own, "body": swapped}
    if "connection_id" in own.get("body", {}) and "schedule_id" in own["body"]:
        yield {**own, "body": other["body"]}
    if operation.id == "createNotification":
        yield {**own, "body": {**own["body"], "connection_id": theirs.connection}}


def test_both_have_something_of_every_kind(worlds, shared_service):
    for world in worlds:
        empty = {kind for kind, (rows, _) in digest(shared_service.db, world.tenant).items() if rows == 0}
        assert empty <= {"keys", "limits"}, f"nothing of {empty}"


def test_what_is_foreign_is_not_there(worlds, shared_service, api, described):
    """Refused, or without any of it; and nothing of theirs has changed."""
    ours, theirs = worlds
    before = digest(shared_service.db, "globex")
    named, leaks = 0, []
    for operation in described.values():
        for call in foreign_calls(operation, ours, theirs):
            named += 1
            reply = operation.call(api, **call)
            told = f"{operation.method} {operation.path} {call}: {reply}"
            by_path = "path" in call and call["path"] != ours.calls()[operation.id].get("path")
            if theirs.mark.encode() in reply.body and theirs.mark not in json.dumps(call):
                leaks.append(f"tells of it: {told}")
            elif reply.status >= 500 or by_path and reply.status != 404:
                leaks.append(told)
            elif "body" in call and call.get("body") and operation.id not in ("markRead", "replayDeliveries") \
                    and not by_path and reply.status not in (404, 422):
                leaks.append(told)
    assert named > 60, named
    assert not leaks, "\n".join(leaks)
    assert digest(shared_service.db, "globex") == before


def test_lists_and_looks_hold_nothing_of_others(worlds, api, described):
    ours, theirs = worlds
    for name, call in ours.calls().items():
        if described[name].method == "GET":
            reply = described[name].call(api, **{**call, "query": {
                k: v for k, v in call.get("query", {}).items() if k not in ("connection_id", "notification_id")
                or name == "listExecutions"}})
            assert reply.status == 200 and theirs.mark.encode() not in reply.body, reply
    for path, query in (
        ("/connections", {}), ("/sync-schedules", {}), ("/notifications", {}), ("/deliveries", {}), ("/incidents", {}),
        ("/hooks", {}), ("/failures", {}), ("/audit-log", {}), ("/inbox", {"user_id": theirs.user}),
    ):
        text = json.dumps(api.pages(path, limit=3, **query))
        assert theirs.mark not in text, path
        assert ours.mark in text or path in ("/hooks", "/inbox"), path


def test_a_reader_of_signals_gets_its_own_alone(worlds, api):
    ours, theirs = worlds
    assert {item["connection_id"] for item in api.get("/signals").json()["items"]} == {ours.connection}
    assert api.get("/signals", connection_id=theirs.connection).json()["items"] == []
    later = api.get("/signals", after=theirs.signal_cursor).json()
    assert theirs.mark not in json.dumps(later)


def test_the_others_token_is_the_others(worlds, shared_service, described):
    """The same calls by their owner do something: what was refused was not refused for another reason."""
    theirs = worlds[1]
    client = shared_service.client("globex")
    assert client.get("/token").json() == {"tenant_id": "globex", "actor": "token test"}
    for name, call in theirs.calls().items():
        if described[name].method == "GET" and name != "getOpenApi":
            reply = described[name].call(client, **call)
            assert reply.status == 200, reply


@pytest.mark.parametrize("missing", ALL_SCOPES)
def test_a_token_without_the_scope(worlds, shared_service, described, missing):
    """No scope includes another; the document says which each operation takes."""
    client = shared_service.client("acme", [scope for scope in ALL_SCOPES if scope != missing])
    before = digest(shared_service.db, "acme")
    refused = 0
    for name, call in worlds[0].calls().items():
        if described[name].scope == missing:
            reply = described[name].call(client, **call)
            assert reply.status == 403 and reply.problem() == "forbidden" and missing in reply.json()["detail"], reply
            refused += 1
    assert refused > 0 and digest(shared_service.db, "acme") == before
    assert client.get("/token").status == 200


def test_no_token_and_none_that_counts(worlds, shared_service, api, described):
    db = shared_service.db
    expired, revoked = shared_service.client("acme"), shared_service.client("acme")
    db.run("UPDATE sync.api_tokens SET created_at = now() - interval '2 days', expires_at = now() - interval '1 day'"
           " WHERE token_hash = sha256(%s)", expired.token.encode())
    token = db.value("SELECT id FROM sync.api_tokens WHERE token_hash = sha256(%s)", revoked.token.encode())
    assert revoked.get("/token").status == 200
    assert db.value("SELECT sync.revoke_api_token(%s)", token)
    before = digest(db, "acme")
    for header in (None, "Bearer", "Bearer ", "Basic YTpi", "Bearer syn_" + "0" * 64, "Bearer " + "x" * 5000,
                   f"Bearer {expired.token}", f"Bearer {revoked.token}", f"Bearer {api.token[:-1]}",
                   f"Token {api.token}", f"Bearer {api.token}, Bearer {api.token}", "Bearer ' OR true --"):
        reply = api.get("/connections", headers={"Authorization": header})
        assert reply.status == 401 and reply.problem() == "unauthenticated", (header, reply)
        assert reply.headers["www-authenticate"].startswith("Bearer"), reply
    for client in (expired, revoked):
        for name, call in worlds[0].calls().items():
            if described[name].scope is not None:
                reply = described[name].call(client, **call)
                assert reply.status == 401 and reply.problem() == "unauthenticated", (name, reply)
    assert digest(db, "acme") == before
    assert api.get("/token", headers={"Authorization": f"bearer {api.token}"}).status == 200
