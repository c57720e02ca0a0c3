"""Requests that nobody should send: each is answered with what is wrong, none with 5xx, and the gateway goes on."""

import copy
import json
import os
import random

import pytest

from harness.openapi import check_reply
from harness.tenant_world import World, operations

DEEP = 100000


@pytest.fixture(scope="module")
def world(shared_service):
    (world,) = World.make(shared_service, "acme")
    return world


@pytest.fixture(scope="module")
def api(world):
    return world.service.client()


@pytest.fixture(scope="module")
def described(api):
    return operations(api.get("/openapi.json").json())


def connection(members, start='{"provider_slug": "noop"'):
    """The bytes of a body; `members` is text that follows."""
    return (start + members + "}").encode() if isinstance(members, str) else members


@pytest.mark.parametrize(("raw", "status", "code"), [
    (b"{", 400, "malformed_json"),
    (b"nonsense", 400, "malformed_json"),
    (b'{"provider_slug": "noop"} x', 400, "malformed_json"),
    (b'{"provider_slug": "noop"}\x00 x', 400, "malformed_json"),
    (b'{"provider_slug": "noop\x00"}', 400, "malformed_json"),
    (b"{'provider_slug': 'noop'}", 400, "malformed_json"),
    (b'{"provider_slug": "noop",}', 400, "malformed_json"),
    (b'{"provider_slug": NaN}', 400, "malformed_json"),
    (b'\xef\xbb\xbf{"provider_slug": "noop"}', 400, "malformed_json"),
    (connection(', "name": "\x01"'), 400, "malformed_json"),
    (connection(', "name": "') .replace(b"}", b"\xff\"}"), 400, "malformed_json"),
    (connection(', "name": "') .replace(b"}", b"\xed\xa0\x80\"}"), 400, "malformed_json"),
    (connection(', "name": "') .replace(b"}", b"\xc0\xaf\"}"), 400, "malformed_json"),
    (connection(', "name": "\\ud800"'), 400, "malformed_json"),
    (connection(', "metadata": {"n": 1e999}'), 400, "malformed_json"),
    (b"[" * DEEP + b"]" * DEEP, 400, "malformed_json"),
    (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 400, "malformed_json"),
    (connection(', "metadata": ' + '{"a":' * 70 + "1" + "}" * 70), 400, "malformed_json"),
    *((raw, 422, "invalid") for raw in (b"null", b"[]", b'"x"', b"1", b"{}")),
    (connection(', "name": "a\\u0000b"'), 422, "invalid"),
    (connection(', "metadata": {"a\\u0000": 1}'), 422, "invalid"),
    (connection(', "metadata": []'), 422, "invalid"),
    (connection(', "name": 5'), 422, "invalid"),
    (connection(', "interval_seconds": 600.5'), 422, "invalid"),
    (connection(', "interval_seconds": 1e3'), 422, "invalid"),
    (connection(', "interval_seconds": 99999999999999999999'), 422, "invalid"),
    (connection(', "interval_seconds": -1'), 422, "invalid"),
    (connection(', "tenant_id": "globex"'), 422, "invalid"),
    (connection(', "id": 5'), 422, "invalid"),
    (connection(', "name": "' + "x" * 501 + '"'), 422, "invalid"),
    (connection("", '{"provider_slug": "none"'), 422, "invalid"),
    (connection(', "name": "x", "name": 5'), 422, "invalid"),
])
def test_a_body_that_is_none(api, raw, status, code):
    reply = api.request("POST", "/connections", raw=raw)
    assert reply.status == status and reply.problem() == code, (raw[:100], reply)


@pytest.mark.parametrize("raw", [
    connection(', "metadata": {"n": 123456789012345678901234567890.123456789, "e": 1e300, "z": -0.0}'),
    connection(', "metadata": ' + '{"a":' * 60 + "1" + "}" * 60),
    connection(', "name": "\\ud83d\\ude00 \\u00e4 \\/"'),
    connection(', "name": "a", "name": "b"'),
    connection(f', "metadata": {{"text": "{"x" * 900000}"}}'),
    b'\r\n\t {"provider_slug"\r\n:\t"noop"} \n',
])
def test_a_body_that_is_unusual(api, described, raw):
    reply = api.request("POST", "/connections", raw=raw)
    assert reply.status == 201, (raw[:100], reply)
    check_reply(described["createConnection"], reply)


def test_a_body_that_is_too_large(api):
    reply = api.request("POST", "/connections", raw=connection(f', "metadata": {{"text": "{"x" * 1100000}"}}'))
    assert reply.status == 413 and reply.problem() == "body_too_large"


def test_other_types_of_content(api):
    for kind, status in (("text/plain", 415), (None, 415), ("application/json; charset=utf-8", 201),
                         ("APPLICATION/JSON", 201), ("application/x-www-form-urlencoded", 415),
                         ("application/json-patch+json", 415), ("", 415)):
        reply = api.post("/connections", {"provider_slug": "noop"}, {"Content-Type": kind})
        assert reply.status == status, (kind, reply)


def test_where_faults_of_bodies_are(api, world):
    daily = {"connection_id": world.connection, "name": "s", "schedule_type": "daily"}
    told = {"notification_type": "in_app", "events": ["failure"], "config": {"users": ["u"]}}
    hook = {"connection_id": world.connection, "scheme": "slack"}
    for path, body, pointer in (
        ("/sync-schedules", {**daily, "connection_id": 999999999}, "/connection_id"),
        ("/sync-schedules", {**daily, "connection_id": "1"}, "/connection_id"),
        ("/sync-schedules", {"connection_id": world.connection, "name": "s"}, "/schedule_type"),
        ("/sync-schedules", {**daily, "a/b~c": 1}, "/a~1b~0c"),
        ("/sync-schedules", {**daily, "schedule_type": "weekly", "days": ["mon", "noday"]}, "/days"),
        ("/sync-schedules", {**daily, "days": []}, "/days"),
        ("/sync-schedules", {**daily, "connection_id": 2**63}, "/connection_id"),
        ("/connections", {"provider_slug": "no such"}, "/provider_slug"),
        ("/connections", {"provider_slug": "noop", "interval_seconds": 5}, "/interval_seconds"),
        ("/notifications", {**told, "connection_id": 999999999}, "/connection_id"),
        ("/notifications", {**told, "schedule_id": 999999999}, "/schedule_id"),
        ("/notifications", {**told, "events": ["failure", "failure"]}, "/events/1"),
        ("/hooks", {**hook, "connection_id": 999999999}, "/connection_id"),
        ("/hooks", {**hook, "schedule_id": 999999999}, "/schedule_id"),
        ("/hooks", {**hook, "schedule_id": world.schedule}, "/schedule_id"),
        ("/hooks", {**hook, "scheme": "standard", "secret": "too short"}, "/secret"),
        ("/inbox/read", {"user_id": "u", "ids": [1, 0]}, "/ids/1"),
        ("/inbox/read", {"user_id": "u", "ids": [1, 2**64 - 1]}, "/ids/1"),
        ("/deliveries/replay", {"from": "2020-02-30T00:00:00Z"}, "/from"),
        (f"/sync-schedules/{world.schedule}/pause", {"resume_at": "2020-01-01T00:00:00Z"}, "/resume_at"),
    ):
        reply = api.post(path, body)
        assert reply.status == 422 and reply.problem() == "invalid", (path, body, reply)
        assert [error["pointer"] for error in reply.json().get("errors", [])] == [pointer], (body, reply)
        assert "sync." not in reply.json().get("hint", "") and "violates" not in reply.json()["detail"], reply


def test_members_that_nobody_knows(api, world):
    told = {"notification_type": "in_app", "events": ["failure"], "config": {"users": ["u"]}}
    for member in (1, {"name": 1}, [{}], None):
        reply = api.post("/notifications", {**told, "no such": member})
        assert reply.json()["errors"] == [{"pointer": "/no such", "detail": "/no such is not known here"}], reply


def test_times_without_a_zone_and_words(api):
    for text in ("now", "infinity", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z",
                 "2026-01-01T25:00:00Z", "0000-01-01T00:00:00Z", "2026-01-01T00:00:00Zulu", "",
                 "2026-01-01T00:00:00+0100"):
        reply = api.get("/failures", since=text)
        assert reply.status == 400 and reply.json()["errors"][0]["pointer"] == "since", (text, reply)
    for text in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456+05:30", "9999-12-31T23:59:59Z"):
        assert api.get("/failures", since=text).status == 200, text


def test_paths_that_lead_nowhere(api):
    for path in ("/../../etc/passwd", "/connections/../../v2/token", "/connections/%2e%2e/%2e%2e", "//connections",
                 "/connections//", "/connections/1/", "/connections/1%00", "/connections/%ff", "/connections/%zz",
                 "/CONNECTIONS", "/connections/1;x=y", "/connections%2F1", "", "/", "/.", "/connections/" + "9" * 5000):
        reply = api.get(path)
        assert reply.status in (400, 404) and reply.problem(), (path, reply)
    for path in ("/api/v1/connections", "/api/v2connections", "/api/"):
        assert api.get("/../.." + path).status in (400, 404)
    reply = api.request("PUT", "/connections", {})
    assert reply.status == 405 and reply.headers["allow"] == "GET, POST", reply
    assert api.request("HEAD", "/connections").status == 200


def test_queries_that_are_none(api):
    for query in ("x=%", "x=%ff", "limit=1&limit=2", "limit=0", "limit=501", "limit=1.5", "limit=",
                  "limit=0x10", "limit=+5", "sort=password", "sort=", "status=", "status=active,", "status=active%00",
                  "name=%00", "health=fine", "cursor=", "name=" + "x" * 201, "%6eo=1", "=1",
                  "limit=99999999999999999999"):
        reply = api.get("/connections?" + query)
        assert reply.status == 400 and reply.problem(), (query, reply)
    for query in ("&", "&&limit=5&", "name=%26%3D%2B+%25", "name=%F0%9F%98%80", "name=", "%6eame=x",
                  "status=paused,active"):
        assert api.get("/connections?" + query).status == 200, query


# A few hundred requests that are nearly right, the same with the same SEED.

VALUES = [None, True, 0, -1, 1, 1.5, 2**31, 2**63, 2**64, 1e308, "", "x", "\u0000", "😀", "x" * 3000, [], [None],
          [[]], {}, {"": {}}, "infinity", "NaN", "2026-02-30T00:00:00Z", "../..", "'; --", "%s", "{{id}}", "$1",
          ["mon"] * 40, {"a": "\u0000"}, {"sync": {"cursor": 1}}, "'infinity'", "24:00", "* * * * *", "@reboot", ["*"],
          [2**70]]


def mutated(dice, body):
    """The body with one to three members set to something else, taken away or added."""
    body = copy.deepcopy(body)
    for _ in range(dice.randint(1, 3)):
        inner = dice.choice([body] + [member for member in body.values() if isinstance(member, dict)])
        name = dice.choice([*inner, "extra", ""])
        if dice.random() < 0.2:
            inner.pop(name, None)
        else:
            inner[name] = copy.deepcopy(dice.choice(VALUES))
    return body


def broken(dice, data):
    """The bytes with some of them changed, cut off or doubled."""
    data = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        signs = [dice.choice(b'{}[]",:\\\x00\xff0e-u ') for _ in range(dice.randint(0, 3))]
        data[at:at + dice.randint(0, 3)] = bytes(signs)
    return bytes(data)


def fuzzed(dice, operation, call):
    """Arguments of Api.request."""
    path, query, raw = operation.target(call.get("path")), dict(call.get("query", {})), None
    body = call.get("body") or {}
    if operation.method != "GET":
        raw = json.dumps(mutated(dice, body)).encode()
        raw = broken(dice, raw) if dice.random() < 0.4 else raw
    for parameter in operation.parameters:
        if parameter["in"] == "query" and dice.random() < 0.3:
            value = dice.choice(VALUES)
            query[parameter["name"]] = value if isinstance(value, str) else json.dumps(value)
    if "{id}" in operation.path and dice.random() < 0.3:
        strange = ["0", "-1", "1e3", "%F0%9F", "1-1", "9" * 18 + "-" + "9" * 18, "a%20b", "x" * 300]
        path = operation.target({"id": dice.choice(strange)})
    headers = {"If-Match": '"%s"' % ("x" * 32)} if dice.random() < 0.5 else {}
    if operation.method != "GET" and dice.random() < 0.3:
        headers["Idempotency-Key"] = f"k{dice.randrange(20)}"
    return path, raw, headers, query


def test_fuzz(service):
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    dice = random.Random(seed)
    (world,) = World.make(service, "acme")
    api = service.client()
    described = operations(api.get("/openapi.json").json())
    calls, statuses = world.calls(), {}
    rounds = 40 if os.environ.get("FULL") == "1" else 8
    for number in range(rounds):
        for name, operation in described.items():
            # Removals would leave nothing to try.
            if operation.id == "streamEvents" or operation.method == "DELETE" and number < rounds - 1:
                continue
            path, raw, headers, query = fuzzed(dice, operation, calls[name])
            reply = api.request(operation.method, path, raw=raw, headers=headers, **query)
            told = f"SEED={seed} {operation.method} {path} {query} {headers} {raw!r}: {reply}"
            assert reply.status < 500, told
            if reply.status >= 400:
                assert reply.problem(), told
            check_reply(operation, reply)
            statuses[reply.status // 100] = statuses.get(reply.status // 100, 0) + 1
    assert statuses[2] > 20 and statuses[4] > 100, statuses
    assert service.gateways[0].process.poll() is None and api.get("/token").status == 200
    assert not service.gateways[0].lines(level="error"), service.gateways[0].lines(level="error")
