"""Where webhooks go, and where they never do."""

import http.server
import threading

import psycopg
import pytest
from harness.server import free_port
from harness.waiting import wait_until


def strict(notices, *flags):
    """An executor without the flag that lets tests' webhooks reach loopback."""
    return notices.engine.executor("--ca-file", str(notices.authority.file), *flags)


def internal_urls(receivers):
    """Spellings of this machine that URLs of settings may have."""
    return [f"https://{host}:{receivers.https}/internal" for host in
            ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]")] + [
        f"https://{host}:{receivers.https}/internal" for host in ("2130706433", "0x7f.1", "0177.0.0.1", "0")
    ] + ["https://169.254.169.254/internal", "https://10.255.255.1/internal", "https://[fd00::1]/internal"]


def test_internal_addresses_are_refused_however_they_are_spelt(engine, notices, receivers):
    """Names that resolve there too; --allow-private-addresses, which is for connectors, changes nothing."""
    settings = {}
    for url in internal_urls(receivers):
        try:
            settings[notices.webhook(url)] = url
        except psycopg.errors.InvalidParameterValue:
            pass  # refused as early as that
    # Those that look like any other are for the executor to refuse.
    assert len(settings) >= 2 and any("localhost" in url for url in settings.values())
    notices.fails(notices.connection())
    running = strict(notices).ready()
    rows = notices.wait_deliveries(len(settings), outcome="failed")
    assert {row["error_code"] for row in rows} <= {"blocked_address", "connect"}
    assert all(row["next_attempt_at"] for row in rows)
    assert receivers.call("requests", under="/internal") == []
    assert running.stop() == 0


def test_blocked_and_closed_look_the_same(engine, notices, receivers):
    """A tenant cannot map the internal network by error texts."""
    texts = []
    for port, flags in ((receivers.https, ()), (free_port(), ("--webhook-allow-private-addresses", "loopback"))):
        setting = notices.webhook(f"https://127.0.0.1:{port}/probe")
        notices.fails(notices.connection(f"c{port}"))
        running = strict(notices, *flags).ready()
        texts.append(notices.wait_deliveries(notification_id=setting, outcome="failed")[0]["error"])
        assert running.stop() == 0
        engine.db.run("SELECT sync.delete_notification(%s)", setting)
    assert texts[0] == texts[1]
    assert "127.0.0.1" not in texts[0]


def test_loopback_is_reached_where_it_is_allowed(engine, notices, hook):
    receiver = hook()
    notices.webhook(receiver.url.replace("127.0.0.1", "localhost"))
    notices.fails(notices.connection())
    running = strict(notices, "--webhook-allow-private-addresses", "loopback").ready()
    receiver.wait(what=engine.tails)
    notices.wait_all_delivered()
    assert running.stop() == 0


def test_what_webhooks_may_reach_connectors_may_not(engine, notices):
    repo = engine.repo(items=3)
    engine.github()
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    done = engine.bare_executor("--once", "--name", "strict", "--webhook-allow-private-addresses", "loopback")
    assert done.wait() == 0
    (attempt,) = engine.attempts(connection)
    assert attempt["status"] == "failed"
    assert repo.requests() == []


def test_the_database_cannot_be_reached_by_a_webhook(engine, notices):
    notices.webhook(f"https://127.0.0.1:{engine.db.cluster.port}/x")
    notices.fails(notices.connection())
    running = notices.executor().ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert row["error_code"] in ("blocked_address", "connect")
    assert running.stop() == 0
    assert "invalid length of startup packet" not in engine.db.cluster.log.read_text()


@pytest.mark.parametrize("name", ["wrong_host", "expired", "self_signed"])
def test_a_wrong_certificate_is_refused(engine, notices, authority, receivers, hook, name):
    receiver = hook("tls", receivers.listen(getattr(authority, name)))
    notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor().ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert row["error_code"] == "tls" and row["next_attempt_at"]
    assert receiver.requests() == []
    assert running.stop() == 0


def test_plain_http_only_where_the_operator_allows_it(engine, notices, receivers, hook):
    receiver = hook("plain", receivers.http)
    with pytest.raises(psycopg.Error, match="https"):
        notices.webhook(receiver)
    engine.db.configure(webhook_allow_http="on")
    setting = notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor().ready()
    (request,) = receiver.wait(what=engine.tails)
    notices.wait_all_delivered()
    assert request.genuine(notices.secret(setting))
    assert running.stop() == 0


def test_proxy_variables_do_not_lead_webhooks_elsewhere(engine, notices, hook):
    seen = []

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self):
            seen.append(self.path)
            self.send_error(403)

        do_POST = do_GET = do_CONNECT

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trap) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        receiver = hook()
        notices.webhook(receiver)
        notices.fails(notices.connection())
        names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
        running = notices.executor(env=dict.fromkeys(names, proxy)).ready()
        receiver.wait(what=engine.tails)
        notices.wait_all_delivered()
        assert seen == []
        assert running.stop() == 0
        server.shutdown()


def test_a_setting_that_is_deleted_gets_nothing_more(engine, notices, hook):
    receiver = hook()
    receiver.script({"status": 500})
    setting = notices.webhook(receiver)
    notices.fails(notices.connection())
    running = notices.executor().ready()
    notices.wait_deliveries(outcome="failed")
    engine.db.run("SELECT sync.delete_notification(%s)", setting)
    notices.retry_now()
    notices.fails(notices.connection("another"))
    wait_until(lambda: notices.pending() == 0, engine.tails)
    assert running.stop() == 0
    assert len(receiver.requests()) == 1
