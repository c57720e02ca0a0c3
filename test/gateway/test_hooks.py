"""Webhooks over the wire: who is believed, what becomes of what they bring, and what senders are told."""

import json
import time

import pytest
from harness.hook_sender import SIGNERS, post, sign_github, sign_slack
from harness.proxy import Proxy
from harness.waiting import wait_until


class Hook:
    """A hook of a connection of its own, and its sender."""

    count = 0

    def __init__(self, service, scheme="github", gateway=None, **columns):
        self.service = service
        self.db = service.db
        self.gateway = gateway or service.gateways[0]
        self.scheme = scheme
        Hook.count += 1
        self.provider = service.engine.provider(f"provider {Hook.count}", "noop")
        self.connection = service.engine.connection(self.provider)
        named = "".join(f", {name} => %s" for name in columns)
        self.id, self.path, self.secret = self.db.row(
            f"SELECT hook_id, path, secret FROM sync.create_hook(%s, %s{named})",
            self.connection,
            scheme,
            *columns.values(),
        )

    def post(self, headers, body=b"{}", path=None, **options):
        return post(self.gateway, path or self.path, headers, body, **options)

    def send(self, body=b"{}", delivery="d1", secret=None, headers=None, **options):
        signed = SIGNERS[self.scheme](secret or self.secret, body, delivery)
        return self.post({**signed, **(headers or {})}, body, **options)

    def job(self):
        return self.db.value(
            "SELECT to_jsonb(j) FROM ONLY sync.sync_jobs j WHERE connection_id = %s AND status = 'queued'",
            self.connection,
        )

    def jobs(self):
        return self.db.value("SELECT count(*) FROM ONLY sync.sync_jobs WHERE connection_id = %s", self.connection)

    def events(self):
        return self.job()["input"]["events"]

    def payloads(self):
        return [event["payload"] for event in self.events()]


@pytest.mark.parametrize("scheme", SIGNERS)
def test_each_scheme_queues_a_run(shared_service, scheme):
    hook = Hook(shared_service, scheme)
    reply = hook.send(b'{"a": [1.50, "x"]}')
    assert reply.status == 202 and reply.headers["content-type"] == "application/json", reply
    job = hook.job()
    assert reply.json() == {"outcome": "accepted", "job_id": job["id"]}
    assert job["trigger_type"] == "realtime" and job["tenant_id"] == "acme"
    (event,) = job["input"]["events"]
    assert event["payload"] == {"a": [1.50, "x"]}
    assert event["headers"]["content-type"] == "application/json"
    # Nothing of what proved it.
    assert hook.secret not in json.dumps(event) and "signature" not in json.dumps(event)


@pytest.mark.parametrize("scheme", SIGNERS)
def test_another_secret_is_refused(shared_service, scheme):
    hook, other = Hook(shared_service, scheme), Hook(shared_service, scheme)
    reply = hook.send(secret=other.secret)
    assert reply.status == 401 and reply.problem() == "bad_signature"
    assert hook.post({}).status == 401
    assert hook.jobs() == 0
    line = shared_service.gateways[0].wait_for("a message to a hook was refused", hook_id=str(hook.id))
    assert "secret" not in line or hook.secret not in json.dumps(line)


def test_what_is_too_large_for_an_input_starts_a_run_all_the_same(shared_service):
    body = json.dumps({"text": "x" * 1_500_000}).encode()
    refused = Hook(shared_service).send(body)
    assert refused.status == 413 and refused.problem() == "body_too_large", refused
    hook = Hook(shared_service, gateway=shared_service.gateway("--max-body-bytes", "26214400"))
    assert hook.send(body).status == 202
    assert hook.payloads() == [None] and hook.job()["input"]["events_dropped"] == 1


def test_its_address_is_told_where_the_gateway_knows_its_own(shared_service):
    public = shared_service.gateway("--public-url", "https://sync.example/base/")
    asked = {"connection_id": Hook(shared_service).connection, "scheme": "secret"}
    made = shared_service.client(gateway=public).post("/hooks", asked).json()
    assert made["url"] == "https://sync.example/base" + made["path"]
    assert shared_service.client().post("/hooks", asked).json()["url"] is None


def test_another_body_or_an_old_one_is_refused(shared_service):
    hook = Hook(shared_service, "slack")
    assert hook.post(sign_slack(hook.secret, b'{"a": 1}', ""), b'{"a": 2}').status == 401
    old = hook.post(sign_slack(hook.secret, b"{}", "", time.time().__int__() - 400))
    assert old.status == 401 and "five minutes" in old.json()["detail"]
    assert hook.jobs() == 0


def test_what_there_is_not_looks_the_same(shared_service):
    hook, other, idle = Hook(shared_service), Hook(shared_service), Hook(shared_service)
    shared_service.db.run("SELECT sync.update_hook(%s, is_active => false)", idle.id)
    token = hook.path.rsplit("/", 1)[1]
    paths = [
        other.path.rsplit("/", 1)[0] + "/" + token,
        hook.path[:-1] + ("0" if hook.path[-1] != "0" else "1"),
        "/hooks/x/whk_1",
        "/hooks/x",
        "/hooks/%FF/" + token,
        "/hooks/%00/" + token,
        hook.path + "/",
        idle.path,
    ]
    told = set()
    for path in paths:
        reply = hook.send(path=path)
        assert reply.status == 404, path
        told.add(json.dumps({**reply.json(), "request_id": ""}))
    assert len(told) == 1
    assert hook.send().status == 202


def test_only_post(shared_service):
    reply = Hook(shared_service).send(method="GET")
    assert reply.status == 405 and reply.headers["allow"] == "POST"


@pytest.mark.parametrize("scheme", ["github", "standard", "secret"])
def test_a_delivery_counts_once(shared_service, scheme):
    hook = Hook(shared_service, scheme)
    first, again = hook.send(delivery="one"), hook.send(delivery="one")
    assert (first.status, again.status) == (202, 200)
    assert again.json() == {"outcome": "duplicate", "job_id": first.json()["job_id"]}
    assert hook.send(delivery="two").json() == first.json()
    assert [event["delivery_id"] for event in hook.events()] == ["one", "two"]


def test_slack_repeats_the_events_id(shared_service):
    hook = Hook(shared_service, "slack")
    body = b'{"token": "verification-token", "type": "event_callback", "event_id": "Ev1"}'
    assert hook.send(body).status == 202
    assert hook.send(body, headers={"X-Slack-Retry-Num": "1"}).json()["outcome"] == "duplicate"
    assert hook.payloads() == [{"type": "event_callback", "event_id": "Ev1"}]


def test_without_a_delivery_id_equal_events_are_two(shared_service):
    hook = Hook(shared_service, "secret")
    for _ in range(2):
        assert hook.post({"X-Webhook-Secret": hook.secret}, b'{"n": 1}').json()["outcome"] == "accepted"
    assert hook.payloads() == [{"n": 1}, {"n": 1}]


def test_slack_asks_whether_the_address_is_ours(shared_service):
    hook = Hook(shared_service, "slack")
    body = b'{"type": "url_verification", "token": "t", "challenge": "3eZbrw1aB10FEMAGAZd4FyFQ"}'
    reply = hook.send(body)
    assert reply.status == 200 and reply.json() == {"challenge": "3eZbrw1aB10FEMAGAZd4FyFQ"}
    assert hook.send(body, secret="another").status == 401
    assert hook.jobs() == 0


def test_what_asks_for_nothing_is_ignored(shared_service):
    hook = Hook(shared_service)
    assert hook.send(headers={"X-GitHub-Event": "ping"}).json() == {"outcome": "ignored", "reason": "a ping"}
    shared_service.db.run("SELECT sync.pause(%s)", hook.connection)
    reply = hook.send(delivery="two")
    assert reply.status == 202 and reply.json()["outcome"] == "ignored" and "paused" in reply.json()["reason"]
    assert hook.jobs() == 0


@pytest.mark.parametrize(
    "body, content_type, payload",
    [
        (b"hello", "text/plain", "hello"),
        (b"a\0b", "text/plain", "a\ufffdb"),
        (b"\xff\xfe", "application/octet-stream", "//4="),
        (b'["\\u0000", "\\ud83d"]', "application/json", ["\ufffd", "\ufffd"]),
        (b"payload=%7B%22a%22%3A1%7D", "application/x-www-form-urlencoded", {"a": 1}),
        (b"text=a+b&command=%2Fsync", "application/x-www-form-urlencoded", {"text": "a b", "command": "/sync"}),
        (b"", None, None),
        (b"[" * 64 + b"]" * 64, "application/json", json.loads("[" * 64 + "]" * 64)),
    ],
)
def test_bodies(shared_service, body, content_type, payload):
    hook = Hook(shared_service)
    assert hook.send(body, content_type=content_type).status == 202
    assert hook.payloads() == [payload]


@pytest.mark.parametrize("body", [b"{", b"", b"[" * 65 + b"]" * 65, b"[" * 500000])
def test_what_claims_to_be_json_has_to_be(shared_service, body):
    hook = Hook(shared_service)
    reply = hook.send(body)
    if body:
        assert reply.status == 400 and reply.problem() == "malformed"
        assert hook.jobs() == 0
    else:
        assert reply.status == 202 and hook.payloads() == [None]


def test_both_secrets_are_good_while_one_is_replaced(shared_service):
    hook = Hook(shared_service, "standard")
    fresh = shared_service.db.value("SELECT sync.rotate_hook_secret(%s)", hook.id)
    assert hook.send(delivery="a").status == 202
    assert hook.send(delivery="b", secret=fresh).status == 202
    shared_service.db.run("SELECT sync.rotate_hook_secret(%s, overlap => '0')", hook.id)
    assert hook.send(delivery="c").status == 401


def test_the_audit_log_says_by_which_hook(shared_service):
    hook = Hook(shared_service)
    reply = hook.send(headers={"X-Request-Id": "of-the-sender-1"})
    assert reply.headers["x-request-id"] == "of-the-sender-1"
    line = shared_service.gateways[0].wait_for("request", request_id="of-the-sender-1")
    assert line["path"] == hook.path.rsplit("/", 1)[0] + "/***"


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_lost_database_connection_loses_nothing(service, cluster, lost):
    proxy = Proxy(cluster.port)
    try:
        gateway = service.gateway(url=service.url(proxy.port))
        hook = Hook(service, gateway=gateway)
        body = b'{"marker": "lost-on-the-way"}'
        fault = proxy.lose(b"lost-on-the-way", lost)
        reply = hook.send(body)
        assert reply.status == 503 and reply.headers["retry-after"] == "1"
        assert fault.happened.is_set()
        # So the sender tries again, and whichever of both was taken is taken once.
        reply = wait_until(lambda: (r := hook.send(body)).status != 503 and r, "an answer")
        assert reply.json()["outcome"] == ("accepted" if lost == "request" else "duplicate")
        assert hook.payloads() == [{"marker": "lost-on-the-way"}]
    finally:
        proxy.close()


def test_without_a_database_senders_shall_try_again(service, cluster):
    proxy = Proxy(cluster.port)
    try:
        gateway = service.gateway(url=service.url(proxy.port))
        hook = Hook(service, gateway=gateway)
        assert hook.send(delivery="before").status == 202
        proxy.refuse(True)
        reply = hook.send(delivery="meanwhile")
        assert reply.status == 503 and reply.headers["retry-after"] == "1" and reply.problem() == "unavailable"
        proxy.refuse(False)
        wait_until(lambda: hook.send(delivery="meanwhile").status in (200, 202), "the database again")
        assert [event["delivery_id"] for event in hook.events()] == ["before", "meanwhile"]
    finally:
        proxy.close()


def test_more_than_can_be_done_is_put_off(service):
    gateway = service.gateway("--db-connections", "1")
    slow, quick = Hook(service, gateway=gateway), Hook(service, gateway=gateway)
    with service.db.connect() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("SELECT FROM sync.connections WHERE id = %s FOR UPDATE", [slow.connection])
        with gateway.connect() as waiting:
            signed = "".join(f"{n}: {v}\r\n" for n, v in sign_github(slow.secret, b"{}", "d").items())
            waiting.send(f"POST {slow.path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{signed}\r\n{{}}".encode())
            wait_until(
                lambda: service.db.value(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
                ),
                "the first one to wait for the lock",
            )
            reply = quick.send()
            assert reply.status == 503 and reply.problem() == "overloaded" and reply.headers["retry-after"] == "1"
            blocker.execute("ROLLBACK")
            assert waiting.reply().status == 202
    assert quick.send().status == 202
