"""What operators ask a gateway: whether it lives, whether it is ready, and its metrics."""

import re

from harness.proxy import Proxy
from harness.waiting import wait_until

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-z_]+="(\\.|[^"\\])*",?)+\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$')
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def samples(text):
    """Of an OpenMetrics exposition, which is checked on the way: {sample with labels: value}."""
    assert text.endswith("\n# EOF\n") and text.count("# EOF") == 1
    kinds, found, family = {}, {}, None
    for line in text.splitlines()[:-1]:
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in kinds, f"{family} stands there twice"
        elif line.startswith("# TYPE "):
            name, kinds[family] = line.split(" ")[2:]
            assert name == family
        else:
            assert (hit := SAMPLE.match(line)), line
            assert hit[1].removeprefix(family) in SUFFIXES[kinds[family]], line
            key, value = line.rsplit(" ", 1)
            assert key not in found, line
            found[key] = float(value)
    return found


def ready(gateway):
    reply = gateway.get("/readyz")
    told = reply.json()
    assert (reply.status, told["status"]) in ((200, "ready"), (503, "not ready")), reply
    return told.get("reasons", [])


def test_lives_and_is_ready(service):
    gateway = service.gateways[0]
    assert gateway.get("/healthz").json() == {"status": "ok"}
    assert ready(gateway) == []
    with gateway.connect() as client:
        client.send(b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert client.reply().status == 405
    assert gateway.get("/elsewhere").problem() == "not_found"


def test_how_the_engine_is_is_told(service):
    """Health Checks: scheduler service health, whatever the gateway itself is able to do."""
    service.db.configure(background_ticks="off")
    service.db.run("SELECT sync.tick()")
    gateway = service.gateways[0]
    well = gateway.get("/health").json()
    told = {check["check"]: check["verdict"] for check in well["checks"]}
    assert told["engine"] == told["last tick"] == "ok" and told["worker"] == "info", well
    assert well["verdict"] in ("warning", "critical"), "no executor has registered yet"
    # Nobody ticks: what is due is not started, which the gateway can do nothing about.
    service.db.run("UPDATE sync.engine_clock SET last_tick_at = now() - interval '1 hour'")

    def late():
        reply = gateway.get("/health")
        (check,) = [check for check in reply.json()["checks"] if check["check"] == "last tick"]
        return check["verdict"] == "critical" and check["detail"] and check["remedy"] and reply

    reply = wait_until(late, "it to be told")
    assert reply.status == 503 and reply.json()["verdict"] == "critical", reply
    assert ready(gateway) == [] and gateway.get("/healthz").status == 200


def test_how_the_engine_is_is_told_without_a_database(service, cluster):
    proxy = Proxy(cluster.port)
    try:
        gateway = service.gateway(url=service.url(proxy.port))
        assert gateway.get("/health").status in (200, 503)
        proxy.refuse(True)
        proxy.cut()
        wait_until(lambda: [check["check"] for check in gateway.get("/health").json()["checks"]] == ["database"],
                   "it to be told")
    finally:
        proxy.close()


def test_who_would_see_all_tenants_is_not_ready(service, cluster):
    superuser = service.gateway(url=f"postgresql://postgres@127.0.0.1:{cluster.port}/{service.db.name}")
    (reason,) = ready(superuser)
    assert "not confined" in reason
    superuser.wait_for("not ready", reason=reason)
    # Nor is one whose role is of the staff, which the policies let see all.
    service.db.run("DO $$ BEGIN CREATE ROLE gateway_staff LOGIN PASSWORD 'x' IN ROLE sync_gateway, sync_viewer;"
                   " EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    service.engine.provider("noop", "noop")
    service.engine.connection("noop")
    staff = service.gateway(url=f"postgresql://gateway_staff:x@127.0.0.1:{cluster.port}/{service.db.name}")
    assert len(ready(staff)) == 2


def test_a_role_without_rights_is_not_ready(service, cluster):
    service.db.run("DO $$ BEGIN CREATE ROLE gateway_nobody LOGIN PASSWORD 'x';"
                   " EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    nobody = service.gateway(url=f"postgresql://gateway_nobody:x@127.0.0.1:{cluster.port}/{service.db.name}")
    assert ready(nobody) == ["the gateway's role is not a member of sync_gateway"]


def test_without_the_extension_it_is_not_ready(service):
    service.db.run("DROP EXTENSION sync_engine CASCADE")
    assert ready(service.gateways[0]) == ["the database has no sync_engine that this gateway works with"]
    service.db.run("CREATE EXTENSION sync_engine")
    (reason,) = wait_until(lambda: (found := ready(service.gateways[0])) and "isolated" in found[0] and found,
                           "the extension to be found")
    assert "enable_tenant_isolation" in reason


def test_without_a_database_it_lives_and_is_not_ready(service, cluster):
    proxy = Proxy(cluster.port)
    try:
        gateway = service.gateway(url=service.url(proxy.port))
        assert ready(gateway) == []
        proxy.refuse(True)
        wait_until(lambda: ready(gateway) == ["the database cannot be reached"], "the loss to be told")
        assert gateway.get("/healthz").status == 200
        assert "sync_gateway_database_losses_total" in samples(gateway.get("/metrics").body.decode())
        proxy.refuse(False)
        wait_until(lambda: ready(gateway) == [], "the database again")
    finally:
        proxy.close()


def test_metrics_are_of_both_and_name_no_tenant(service):
    db = service.db
    service.engine.provider("noop", "noop")
    for tenant in ("acme", "other"):
        for _ in range(2):
            service.engine.connection("noop", tenant)
    db.run("UPDATE sync.connections SET metadata = '{\"sync\": {\"next_run_at\": \"2020-01-01T00:00:00Z\"}}'")
    db.run("SELECT sync.tick()")
    reply = service.gateways[0].get("/metrics")
    assert reply.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    found = samples(reply.body.decode())
    assert found['sync_queue_depth{status="queued"}'] == 4
    assert found["sync_gateway_database_connects_total"] >= 1
    assert found['sync_gateway_database_connections{state="busy"}'] == 0
    assert "acme" not in reply.body.decode() and "tenant_id" not in reply.body.decode()
    # What is counted for each tenant is summed.
    scheduled = 'sync_scheduler_jobs_scheduled_total{provider_slug="noop"}'
    assert found[scheduled] == 4
    assert 'tenant_id="acme"' in db.value("SELECT sync.metrics_text()")


def test_metrics_are_not_for_everybody(service):
    proxied = service.gateway("--trusted-proxy", "127.0.0.1")
    assert proxied.get("/metrics", b"X-Forwarded-For: 203.0.113.7\r\n").problem() == "forbidden"
    assert proxied.get("/metrics", b"X-Forwarded-For: 10.1.2.3\r\n").status == 200
    chosen = service.gateway("--trusted-proxy", "127.0.0.1", "--metrics-allow", "203.0.113.0/24")
    assert chosen.get("/metrics", b"X-Forwarded-For: 203.0.113.7\r\n").status == 200
    assert chosen.get("/metrics").problem() == "forbidden"
    closed = service.gateway(env={"SYNC_GATEWAY_METRICS_TOKEN": "scrape-me"})
    reply = closed.get("/metrics")
    assert reply.problem() == "unauthenticated" and reply.headers["www-authenticate"] == "Bearer"
    assert closed.get("/metrics", b"Authorization: Bearer scrape-mf\r\n").status == 401
    assert closed.get("/metrics", b"Authorization: Bearer scrape-me\r\n").status == 200
