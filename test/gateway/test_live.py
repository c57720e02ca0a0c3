"""Streams of what changes: who is told what, how one goes on after a break, and how streams end."""

import pytest
from harness.event_stream import END, Stream, connection_is
from harness.proxy import Proxy
from harness.waiting import wait_until


@pytest.fixture
def noop(shared_service):
    """A connection of a tenant of its own, and a token of the tenant's."""
    noop.count = getattr(noop, "count", 0) + 1
    tenant = f"tenant {noop.count}"
    if not shared_service.db.value("SELECT EXISTS (SELECT FROM sync.providers WHERE slug = 'noop')"):
        shared_service.engine.provider("noop", "noop")
    connection = shared_service.engine.connection("noop", tenant)
    return tenant, connection, shared_service.token(tenant, ("read",))


def test_a_run_is_told_from_its_beginning_to_its_end(shared_service, noop):
    db = shared_service.db
    _, connection, token = noop
    with Stream(shared_service.gateways[0], token) as stream:
        assert stream.opening["retry"] == "2000" and stream.position
        job = db.value("SELECT sync.trigger(%s)", connection)
        kind, data = stream.next()
        assert kind == "job" and data["connection_id"] == connection and data["job_id"] == job
        assert data["job"]["status"] == "queued" and data["execution"] is None
        claimed, claim = db.row(
            "SELECT job_id, claim_token FROM sync.claim_jobs('by hand', 100) WHERE job_id = %s", job
        )
        *_, (kind, data) = stream.until(lambda kind, data: kind == "job" and data["job"]["status"] == "running")
        assert data["job"]["id"] == claimed
        db.run("SELECT sync.complete_job(%s, %s, '[]'::jsonb, NULL, false, NULL)", job, claim)
        *_, (kind, data) = stream.until(lambda kind, data: kind == "job" and data["execution"])
        assert data["execution"]["job_id"] == job and data["execution"]["status"] == "succeeded"


def test_each_kind_of_object(shared_service, noop):
    db = shared_service.db
    _, connection, token = noop
    with Stream(shared_service.gateways[0], token) as stream:
        db.run("SELECT sync.pause(%s, 'for a while')", connection)
        *_, (_, data) = stream.until(connection_is("paused"))
        assert data["connection"]["status_reason"] == "for a while" and "config" not in data["connection"]
        schedule = db.value("SELECT sync.create_schedule(%s, 'nightly', 'daily')", connection)
        *_, (_, data) = stream.until(lambda kind, data: kind == "schedule" and data["schedule"])
        assert data["schedule_id"] == schedule and data["schedule"]["name"] == "nightly"
        db.run("SELECT sync.delete_schedule(%s)", schedule)
        stream.until(lambda kind, data: kind == "schedule" and data["schedule"] is None)
        setting = db.value(
            "SELECT sync.create_notification(%s, 'in_app', '{failure}', '{\"users\": [\"u\"]}')", noop[0]
        )
        *_, (_, data) = stream.until(lambda kind, data: kind == "notification")
        assert data["id"] == setting and data["connection_id"] is None
        db.run("DELETE FROM sync.connections WHERE id = %s", connection)
        stream.until(lambda kind, data: kind == "connection" and data["connection"] is None)


def test_others_changes_are_not_told(shared_service, noop):
    db = shared_service.db
    other = shared_service.engine.connection("noop", "somebody else")
    with Stream(shared_service.gateways[0], noop[2]) as stream:
        db.run("SELECT sync.pause(%s)", other)
        db.run("SELECT sync.pause(%s)", noop[1])
        told = stream.until(connection_is("paused"))
        assert {data["connection_id"] for _, data in told} == {noop[1]}


def test_a_client_chooses(shared_service, noop):
    db = shared_service.db
    tenant, connection, token = noop
    second = shared_service.engine.connection("noop", tenant)
    gateway = shared_service.gateways[0]
    with Stream(gateway, token, kinds="job,schedule") as jobs, Stream(gateway, token, connection_id=second) as one:
        db.run("SELECT sync.pause(%s)", connection)
        db.run("SELECT sync.trigger(%s)", second)
        assert jobs.next()[0] == "job"
        kind, data = one.next()
        assert kind == "job" and data["connection_id"] == second


def test_what_is_asked_wrongly(shared_service, noop):
    api = shared_service.client("refused", scopes=("write",))
    assert api.get("/events").status == 403
    api.token = noop[2]
    for query in ({"kinds": "jobs"}, {"connection_id": "x"}, {"connection_id": "0"}):
        reply = api.get("/events", **query)
        assert reply.status == 400 and reply.json()["errors"][0]["pointer"] in query
    assert api.post("/events").status == 405
    api.token = "syn_" + "0" * 64
    reply = api.get("/events")
    assert reply.status == 401 and reply.headers["www-authenticate"].startswith("Bearer")
    api.token = None
    assert api.get("/events").status == 401


@pytest.mark.parametrize("where", ["header", "parameter"])
def test_a_client_that_comes_back_is_told_what_it_missed(shared_service, noop, where):
    db = shared_service.db
    _, connection, token = noop
    gateway = shared_service.gateways[0]
    with Stream(gateway, token) as before:
        db.run("SELECT sync.pause(%s)", connection)
        before.until(connection_is("paused"))
        last = before.position
    db.run("SELECT sync.resume(%s)", connection)
    again = {"last": last} if where == "header" else {"last_event_id": last}
    with Stream(gateway, token, **again) as stream:
        assert "id" not in stream.opening
        told = stream.until(connection_is("active"))
        assert "reset" not in [kind for kind, _ in told]
        # And goes on.
        db.run("SELECT sync.pause(%s)", connection)
        stream.until(connection_is("paused"))
        assert stream.position != last


def test_many_come_back_at_once(shared_service, noop):
    db = shared_service.db
    _, connection, token = noop
    gateway = shared_service.gateways[0]
    with Stream(gateway, token) as before:
        last = before.position
    db.run("SELECT sync.pause(%s)", connection)
    streams = [Stream(gateway, token, last=last) for _ in range(20)]
    for stream in streams:
        stream.until(connection_is("paused"))
    refused = Stream(gateway, token)
    assert refused.head.status == 429 and refused.head.headers["retry-after"]
    for stream in [*streams, refused]:
        stream.client.close()
    wait_until(lambda: Stream(gateway, token).head.status == 200, "room for another one")


@pytest.mark.parametrize("position", ["0-0", "nonsense", "ffffffffffffffff-5"])
def test_a_position_that_is_not_known_means_to_read_anew(shared_service, noop, position):
    with Stream(shared_service.gateways[0], noop[2], last=position) as stream:
        assert stream.next() == ("reset", {})
        shared_service.db.run("SELECT sync.pause(%s)", noop[1])
        stream.until(connection_is("paused"))


def test_a_burst_is_told_in_full(shared_service, noop):
    db = shared_service.db
    tenant, _, token = noop
    with Stream(shared_service.gateways[0], token) as stream:
        db.run(
            "INSERT INTO sync.connections (tenant_id, provider_slug) SELECT %s, 'noop' FROM generate_series(1, 900)",
            tenant,
        )
        created = set()
        while len(created) < 900:
            kind, data = stream.next()
            assert kind != "reset"
            created.add(data["connection_id"])


def test_who_does_not_read_is_told_to_read_anew(shared_service, noop):
    db = shared_service.db
    tenant, connection, token = noop
    with Stream(shared_service.gateways[0], token, buffer=4096) as stream:
        # More than all buffers on the way take.
        db.run(
            "INSERT INTO sync.connections (tenant_id, provider_slug, name)"
            " SELECT %s, 'noop', repeat('x', 100000) FROM generate_series(1, 300)",
            tenant,
        )
        metric = b"sync_gateway_stream_overflows_total "
        gateway = shared_service.gateways[0]
        wait_until(lambda: int(gateway.get("/metrics").body.split(b"\n" + metric)[1].split()[0]) > 0, "an overflow")
        db.run("SELECT sync.pause(%s)", connection)
        told = stream.until(connection_is("paused"))
        assert "reset" in [kind for kind, _ in told] and len(told) < 300


def test_a_revoked_token_ends_its_streams(shared_service, noop):
    db = shared_service.db
    tenant, connection, token = noop
    other = shared_service.token(tenant, ("read",), name="other")
    gateway = shared_service.gateways[0]
    with Stream(gateway, token) as stream, Stream(gateway, other) as remains:
        db.run(
            "SELECT sync.revoke_api_token(id) FROM sync.api_tokens WHERE tenant_id = %s AND name = 'test'", tenant
        )
        kind, data = stream.until(lambda kind, data: kind == END)[-1]
        assert "revoked" in data["reason"]
        assert stream.client.rest() == b""
        db.run("SELECT sync.pause(%s)", connection)
        remains.until(connection_is("paused"))


def test_a_lost_database_is_waited_for(service, cluster):
    service.engine.provider("noop", "noop")
    connection = service.engine.connection("noop")
    proxy = Proxy(cluster.port)
    try:
        gateway = service.gateway(url=service.url(proxy.port))
        with Stream(gateway, service.token()) as stream:
            proxy.refuse(True)
            service.db.run("SELECT sync.pause(%s)", connection)
            proxy.refuse(False)
            stream.until(connection_is("paused"))
            service.db.run("SELECT sync.resume(%s)", connection)
            stream.until(connection_is("active"))
    finally:
        proxy.close()


def test_a_database_that_has_started_anew_does_not_know_what_changed(service, cluster):
    service.engine.provider("noop", "noop")
    service.engine.connection("noop")
    with Stream(service.gateways[0], service.token()) as stream:
        cluster.restart()
        assert stream.next() == ("reset", {})


def test_streams_go_elsewhere_when_the_gateway_stops(service):
    with Stream(service.gateways[0], service.token()) as stream:
        service.gateways[0].signal(15)
        rest = stream.client.rest()
        assert b"event: stopping" in rest and b"event: end" not in rest
    assert service.gateways[0].wait() == 0


def test_a_tenant_is_read_once_for_all_its_streams(shared_service, noop):
    gateway = shared_service.gateways[0]
    token = noop[2]

    def runs():
        text = gateway.get("/metrics").body
        return int(text.split(b"\nsync_gateway_database_run_seconds_count ")[1].split()[0])

    streams = [Stream(gateway, token) for _ in range(20)]
    before = runs()
    shared_service.db.run("SELECT sync.pause(%s)", noop[1])
    for stream in streams:
        stream.until(connection_is("paused"))
    assert runs() - before < 20
    for stream in streams:
        stream.client.close()
