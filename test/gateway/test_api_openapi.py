"""The API's document, and that answers are what it says: every operation with success, and what it refuses."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from harness.openapi import check_reply
from harness.service import ALL_SCOPES
from harness.tenant_world import World, operations

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(shared_service):
    return World.make(shared_service, "acme")[0]


@pytest.fixture(scope="module")
def document(shared_service):
    return shared_service.client().get("/openapi.json").json()


@pytest.fixture(scope="module")
def described(document):
    return operations(document)


def validator_folder():
    chosen = os.environ.get("SYNC_OPENAPI_VALIDATOR") or str(ROOT / "build" / "npm" / "openapi")
    package = pathlib.Path(chosen) / "node_modules" / "@seriousme" / "openapi-schema-validator"
    assert package.is_dir(), f"no npm package in {package}: run these tests by scripts/run-tests.sh"
    return chosen


def test_the_document_is_openapi_3_1(document):
    node = shutil.which("node") or shutil.which("nodejs")
    assert node, "no node: run scripts/install-deps.sh"
    done = subprocess.run(
        [node, str(ROOT / "test" / "openapi" / "validate.mjs")], input=json.dumps(document), text=True,
        stdout=subprocess.PIPE, env={**os.environ, "SYNC_OPENAPI_VALIDATOR": validator_folder()},
    )
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["version"] == "3.1"


def test_the_document_needs_no_token_and_says_what_does(shared_service, described):
    anonymous = shared_service.client()
    anonymous.token = None
    reply = anonymous.get("/openapi.json")
    assert reply.status == 200 and reply.headers["cache-control"] == "max-age=300"
    assert [operation.id for operation in described.values() if operation.scope is None] == ["getOpenApi"]
    assert {operation.scope for operation in described.values()} == {None, "", "read", "write", "trigger", "audit"}


def test_every_path_says_what_its_variables_are(described):
    for operation in described.values():
        named = {parameter["name"] for parameter in operation.parameters if parameter["in"] == "path"}
        assert all("{" + name + "}" in operation.path for name in named), operation.id
        assert operation.path.count("{") == len(named), operation.id


def test_what_was_filled_in_and_what_is_null(world, described, shared_service):
    """The rows that the lists show have both: what is null at first, and what has come since."""
    api = shared_service.client()
    asks_first = {"notification_type": "webhook", "events": ["failure"], "config": {"url": "https://n.example/"}}
    assert api.post("/notifications", asks_first).status == 201
    for path, query, columns in (
        ("/executions", {"connection_id": world.connection}, ("finished_at", "schedule_id", "duration_ms")),
        ("/executions", {"connection_id": world.idle}, ("error_message", "error_kind")),
        ("/incidents", {}, ("resolved_at", "resolution")),
        ("/deliveries", {}, ("outcome", "reply_status", "error_code", "error", "reply", "duration_ms")),
        ("/inbox", {"user_id": world.user}, ("read_at",)),
        ("/notifications", {}, ("name", "verified_at")),
        ("/connections", {}, ("live_job",)),
    ):
        items = api.pages(path, limit=2, **query)
        for column in columns:
            kinds = {item[column] is None for item in items}
            assert kinds == {True, False}, f"{path} {column}: {[item[column] for item in items]}"


def test_every_operation_with_success(world, described, shared_service):
    api = shared_service.client()
    calls = world.calls()
    assert set(calls) == set(described), set(calls) ^ set(described)
    for name, call in calls.items():
        operation = described[name]
        reply = operation.call(api, **call)
        assert reply.status < 300, f"{operation.method} {operation.path}: {reply}"
        check_reply(operation, reply)
        items = reply.json().get("items") if reply.body else None
        assert items is None or items, f"{name} shows nothing"
        if name.startswith("create"):
            assert api.get(reply.headers["location"].removeprefix(api.BASE)).status == 200, reply


def faults(operation, call):
    """(status, code, scopes, call): what an operation refuses. No scopes: without a token."""
    if operation.scope is None:
        return
    yield 401, "unauthenticated", None, call
    if operation.scope:
        yield 403, "forbidden", ("write",) if operation.scope == "read" else ("read",), call
    query = call.get("query", {})
    wrong = []
    if "{id}" in operation.path:
        strange = ("999999999", "999999999-1", "0", "-1", "x", "9" * 20, "9" * 18 + "-1", "%20", "1%2F2")
        wrong += [(404, "not_found", {"path": {"id": number}}) for number in strange]
    strange = [(p["name"], "x") for p in operation.parameters
               if p["in"] == "query" and p["schema"]["type"] in ("integer", "boolean")]
    strange += [(p["name"], "yesterday") for p in operation.parameters if p["schema"].get("format") == "date-time"]
    # Clients that make streams of their own add parameters to them.
    strange += [("no_such", 1)] if operation.id != "streamEvents" else []
    for name, value in strange:
        wrong.append((400, "invalid_parameter", {"query": {**query, name: value}}))
    if operation.source.get("requestBody", {}).get("required"):
        wrong.append((400, "body_missing", {"body": None}))
        wrong += [(422, "invalid", {"body": body}) for body in ({**call["body"], "no_such": 1}, [], "text")]
    for status, code, change in wrong:
        yield status, code, ALL_SCOPES, {**call, **change}


def test_what_every_operation_refuses(service):
    (world,) = World.make(service, "acme")
    described = operations(service.client().get("/openapi.json").json())
    clients = {scopes: service.client(scopes=scopes) for scopes in (("read",), ("write",), ALL_SCOPES)}
    anonymous = service.client()
    anonymous.token = None
    calls, wrong = world.calls(), []
    for name, operation in described.items():
        for status, code, scopes, call in faults(operation, calls[name]):
            reply = operation.call(clients[scopes] if scopes else anonymous, **call)
            check_reply(operation, reply)
            if reply.status != status or reply.problem() != code:
                wrong.append(f"{operation.method} {operation.path} {call}: not {status} {code} but {reply}")
            assert ("www-authenticate" in reply.headers) == (status == 401), reply
    assert not wrong, "\n".join(wrong)
