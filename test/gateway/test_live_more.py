"""Streams: going on at another gateway, who listens to the database, incidents as they come and go."""

import json

import pytest

from harness.event_stream import Stream, connection_is
from harness.notices import Notices
from harness.waiting import wait_until

LISTENERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'sync-gateway' AND query ~* '^\\s*LISTEN\\M'
"""


@pytest.fixture
def noop(service):
    """The database's shorthands, and a connection of a tenant whose streams are read."""
    service.engine.provider("noop", "noop")
    return service.db, service.engine.connection("noop")


# Another gateway.

@pytest.mark.parametrize("first_stops", [False, True])
def test_a_client_goes_on_at_another_gateway_and_misses_nothing(service, noop, first_stops):
    db, connection = noop
    others = [row[0] for row in db.rows("INSERT INTO sync.connections (tenant_id, provider_slug)"
                                        " SELECT 'acme', 'noop' FROM generate_series(1, 30) RETURNING id")]
    triggered = service.engine.connection("noop")
    one, two = service.gateways[0], service.gateway()
    token = service.token()
    with Stream(one, token) as stream:
        db.run("SELECT sync.pause(%s, 'before')", connection)
        stream.until(connection_is("paused"))
        last = stream.position
    if first_stops:
        assert one.stop() == 0
    db.run("SELECT sync.pause(id, 'meanwhile') FROM unnest(%s::bigint[]) id", others)
    job = db.value("SELECT sync.trigger(%s)", triggered)
    with Stream(two, token, last=last) as stream:
        db.run("SELECT sync.resume(%s)", connection)
        told = stream.until(connection_is("active"))
        assert "reset" not in [kind for kind, _ in told]
        assert {data["connection_id"] for kind, data in told if kind == "connection"} >= {*others, connection}
        assert all(data["connection"]["status_reason"] == "meanwhile" for kind, data in told
                   if kind == "connection" and data["connection_id"] in others)
        assert [data["job_id"] for kind, data in told if kind == "job"] == [job]
        assert stream.position != last


def test_a_client_that_changes_gateways_again_and_again_is_told_each_change(service, noop):
    db, _ = noop
    gateways = [service.gateways[0], service.gateway()]
    token = service.token()
    with Stream(gateways[0], token) as stream:
        last = stream.position
    for turn in range(6):
        made = [service.engine.connection("noop") for _ in range(3)]
        with Stream(gateways[turn % 2], token, last=last) as stream:
            told = set()
            while not told >= set(made):
                kind, data = stream.next()
                assert kind == "connection", (kind, data)
                told.add(data["connection_id"])
            # What the turn before was told is not told again: it was given the position after it.
            assert told == set(made)
            last = stream.position


def test_both_gateways_tell_the_same(service, noop):
    db, connection = noop
    token = service.token()
    with Stream(service.gateways[0], token) as one, Stream(service.gateway(), token) as two:
        db.run("SELECT sync.pause(%s)", connection)
        for stream in (one, two):
            stream.until(connection_is("paused"))
        assert one.position == two.position


# Who listens.

def test_one_session_listens_for_all_streams_of_a_gateway(service, cluster):
    # Sessions that begin from now on are logged, statement by statement: nobody's LISTEN can be overlooked.
    service.db.run(f'ALTER DATABASE "{service.db.name}" SET log_statement = \'all\'')
    begin = cluster.log.stat().st_size
    gateway = service.gateway()
    service.engine.provider("noop", "noop")
    tenants = ("acme", "globex")
    connections = {tenant: service.engine.connection("noop", tenant) for tenant in tenants}
    tokens = {tenant: service.token(tenant) for tenant in tenants}

    def listened():
        with open(cluster.log, "rb") as log:
            log.seek(begin)
            return [line for line in log.read().splitlines() if b": LISTEN " in line]

    assert service.db.value(LISTENERS) == 0 and listened() == []
    streams = [(tenant, Stream(gateway, tokens[tenant])) for _ in range(10) for tenant in tenants]
    wait_until(lambda: service.db.value(LISTENERS), "the gateway to listen")
    for tenant in tenants:
        service.db.run("SELECT sync.pause(%s)", connections[tenant])
    for tenant, stream in streams:
        told = stream.until(connection_is("paused"))
        assert {data["connection_id"] for _, data in told} == {connections[tenant]}
    assert service.db.value(LISTENERS) == 1
    assert len(listened()) == 1, listened()
    assert len(gateway.lines("listening to the database")) == 1
    for _, stream in streams:
        stream.client.close()
    # Nor does it listen anew for those who come later.
    with Stream(gateway, tokens["acme"]) as stream:
        service.db.run("SELECT sync.resume(%s)", connections["acme"])
        stream.until(connection_is("active"))
    assert service.db.value(LISTENERS) == 1 and len(listened()) == 1


def test_a_gateway_without_streams_does_not_listen(service):
    assert service.client().get("/overview").status == 200
    assert service.db.value(LISTENERS) == 0


# Incidents.

def incident_is(connection, resolved):
    def wanted(kind, data):
        return (kind == "notification" and data["connection_id"] == connection and data["incident"]
                and (data["incident"]["resolved_at"] is not None) == resolved)

    return wanted


def test_an_incident_is_told_when_it_opens_and_when_it_is_over(service):
    notices = Notices(service.engine, None)
    of, api = notices.connection(), service.client()
    with Stream(service.gateways[0], api.token, kinds="notification") as stream:
        notices.fails(of, "the API said no", detail={"status": 404})
        *_, (_, data) = stream.until(incident_is(of, resolved=False))
        incident = data["incident"]
        assert incident["connection_id"] == of and incident["class"] == "permanent", incident
        assert incident["severity"] == "failure" and incident["error"]["message"] == "the API said no", incident
        assert incident["resolution"] is None and incident["provider_slug"] == "noop", incident
        (listed,) = api.get("/incidents", open=True).json()["items"]
        assert listed["id"] == incident["id"] == data["id"]

        notices.succeeds(of)
        *_, (_, data) = stream.until(incident_is(of, resolved=True))
        assert data["incident"]["id"] == incident["id"] and data["incident"]["resolution"], data
        assert data["incident"]["opened_at"] == incident["opened_at"], data
        assert api.get("/incidents", open=True).json()["items"] == []

        # Of a connection with several incidents the last one is told.
        notices.fails(of, "and again")
        *_, (_, data) = stream.until(incident_is(of, resolved=False))
        assert data["incident"]["id"] > incident["id"] and data["incident"]["error"]["message"] == "and again", data


def test_an_incident_is_told_to_those_of_its_connection_and_tenant_alone(service):
    notices = Notices(service.engine, None)
    ours, second = notices.connection(), notices.connection("Second")
    theirs = notices.connection("Theirs", tenant="globex")
    token, gateway = service.token(), service.gateways[0]
    with (Stream(gateway, token, kinds="notification") as every,
          Stream(gateway, token, kinds="notification", connection_id=second) as one,
          Stream(gateway, service.token("globex"), kinds="notification") as foreign):
        for of in (ours, theirs, second):
            notices.fails(of)
        told = every.until(incident_is(second, resolved=False))
        assert {data["connection_id"] for _, data in told} == {ours, second}
        assert "globex" not in json.dumps(told)
        for stream, of in ((one, second), (foreign, theirs)):
            told = stream.until(incident_is(of, resolved=False))
            assert {data["connection_id"] for _, data in told} == {of}
