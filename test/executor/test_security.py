"""Secrets stay where they belong, and no request goes where it may not."""

import http.server
import pathlib
import subprocess
import threading
import urllib.request

import pytest
from harness.executor import PLANTED_SECRETS
from harness.server import DATABASE_PASSWORD, free_port, program
from harness.waiting import wait_until

TOKEN = "planted-api-token-q8Xv2/ü\"3"
FILE_SECRET = "planted-file-secret-Zr51"


class Trap:
    """A server that must never be spoken to; it notes whatever arrives."""

    def __init__(self):
        trap = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                trap.requests.append((self.path, dict(self.headers)))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"[]")

            do_POST = do_GET

            def log_message(self, *args):
                pass

        self.requests = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def trap():
    running = Trap()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def planted():
    PLANTED_SECRETS.update((TOKEN, FILE_SECRET))
    return {"DEMO_TOKEN": TOKEN, "PGPASSWORD": DATABASE_PASSWORD}


def authorized(engine, repo_settings=None, **config):
    """A provider whose token is a reference, and the repository that wants it."""
    repo = engine.repo(items=12, token=TOKEN, **(repo_settings or {}))
    engine.github(auth={"type": "bearer", "token": {"$env": "DEMO_TOKEN"}}, query={"per_page": 5}, **config)
    return repo


ALLOW = ("--allow-secret-env", "DEMO_TOKEN@127.0.0.1")


def only_attempt(engine, connection):
    (attempt,) = engine.attempts(connection)
    return attempt


def test_secrets_reach_their_api_and_nothing_else(engine, planted, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "github").write_text(FILE_SECRET + "\n")
    from_env = authorized(engine)
    connection = engine.github_connection(from_env)
    from_file = engine.repo(items=3, auth={"type": "header", "name": "X-Key", "value": FILE_SECRET})
    key = {"type": "api_key", "in": "header", "name": "X-Key", "value": {"$file": "github"}}
    engine.provider("keyed", config={"preset": "github-issues", "base_url": engine.api.url, "auth": key})
    second = engine.connection("keyed", config={"repo": from_file.name})
    refused = engine.repo(items=3, token="another")
    third = engine.github_connection(refused)
    port = free_port()
    engine.db.run("SELECT sync.tick()")
    running = engine.executor(
        *ALLOW, "--secret-dir", str(tmp_path / "secrets"), "--metrics-address", f"127.0.0.1:{port}", env=planted
    ).ready()
    engine.wait_idle()
    engine.assert_exactly_once(connection, from_env)
    assert only_attempt(engine, third)["kind"] == "unauthorized"
    assert [a["status"] for a in engine.attempts(second)] == ["succeeded"], engine.attempts(second)

    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode()
    arguments = pathlib.Path(f"/proc/{running.pid}/cmdline").read_text()
    assert running.stop() == 0
    dump = subprocess.run(
        [program("pg_dump"), "-h", str(engine.db.cluster.folder), "-p", str(engine.db.cluster.port), "-U", "postgres",
         engine.db.name],
        check=True, capture_output=True, text=True,
    ).stdout
    server_log = engine.db.cluster.log.read_text(errors="replace")
    for secret in (DATABASE_PASSWORD, TOKEN, FILE_SECRET):
        for place, text in {"metrics": metrics, "argv": arguments, "dump": dump, "log": running.output()}.items():
            assert secret not in text, place
    assert TOKEN not in server_log and FILE_SECRET not in server_log


def test_an_error_that_repeats_the_secret_is_stored_without_it(engine, planted):
    repo = authorized(engine)
    repo.script({"kind": "status", "status": 422, "message": f"bad token {TOKEN} refused"})
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    done = engine.run_once(*ALLOW, env=planted)
    assert only_attempt(engine, connection)["kind"] == "permanent"
    stored = engine.db.value("SELECT string_agg(to_jsonb(e)::text, '') FROM sync.sync_executions e")
    assert TOKEN not in stored and "planted-api-token" not in stored
    assert "planted-api-token" not in done.output()


@pytest.mark.parametrize("change", ["base_url", "url in path", "auth"])
def test_a_connection_cannot_lead_the_providers_secret_elsewhere(engine, planted, trap, change):
    repo = authorized(engine)
    config = {
        "base_url": {"base_url": trap.url},
        "url in path": {"path": f"@{trap.url.removeprefix('http://')}/"},
        "auth": {"auth": {"type": "api_key", "in": "header", "name": "X-Stolen", "value": {"$env": "DEMO_TOKEN"}}},
    }[change]
    connection = engine.github_connection(repo, **config)
    engine.trigger(connection)
    engine.run_once("--allow-secret-env", "DEMO_TOKEN", env=planted)
    assert only_attempt(engine, connection)["status"] == "failed"
    assert trap.requests == []


def test_a_secret_is_not_resolved_for_another_host(engine, planted, trap):
    """Even a tenant's own provider configuration gets an operator's secret only for the hosts it is meant for."""
    engine.provider("own", config={"base_url": trap.url, "path": "/", "records": "",
                                   "auth": {"type": "bearer", "token": {"$env": "DEMO_TOKEN"}}})
    connection = engine.connection("own")
    engine.trigger(connection)
    engine.run_once("--allow-secret-env", "DEMO_TOKEN@api.example.com", env=planted)
    assert only_attempt(engine, connection)["kind"] in ("permanent", "unauthorized")
    assert trap.requests == []


@pytest.mark.parametrize("reference", [{"$env": "PGPASSWORD"}, {"$env": "SYNC_EXECUTOR_DATABASE_URL"}, {"$env": "HOME"},
                                       {"$file": "/etc/passwd"}, {"$file": "../outside"}, {"$env": "NOT_SET"}])
def test_a_reference_that_is_not_allowed_sends_nothing(engine, planted, tmp_path, reference):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "outside").write_text(FILE_SECRET)
    repo = engine.repo(items=3)
    engine.github()
    connection = engine.github_connection(repo, auth={"type": "bearer", "token": reference})
    engine.trigger(connection)
    engine.run_once(*ALLOW, "--allow-secret-env", "NOT_SET", "--secret-dir", str(tmp_path / "secrets"), env=planted)
    attempt = only_attempt(engine, connection)
    assert attempt["kind"] == "permanent"
    assert next(iter(reference.values())).rsplit("/", 1)[-1] in str(attempt["error"])
    assert repo.requests() == []


def test_a_paging_link_to_another_origin_is_not_followed(engine, planted, trap):
    repo = authorized(engine)
    repo.behave("foreign_next", url=f"{trap.url}/repos/next?page=2")
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once(*ALLOW, env=planted)
    assert trap.requests == []
    assert engine.attempts(connection)[-1]["status"] == "failed"
    assert len(repo.requests()) <= 2


def test_a_redirect_is_not_followed(engine, planted, trap):
    repo = authorized(engine)
    repo.script({"kind": "redirect", "location": f"{trap.url}/elsewhere"})
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once(*ALLOW, env=planted)
    assert trap.requests == []
    assert only_attempt(engine, connection)["status"] == "failed"


def internal_urls(port):
    return [
        f"http://127.0.0.1:{port}",
        f"http://localhost:{port}",
        f"http://2130706433:{port}",
        f"http://0x7f.1:{port}",
        f"http://0177.0.0.1:{port}",
        f"http://0:{port}",
        f"http://[::1]:{port}",
        f"http://[::ffff:127.0.0.1]:{port}",
        f"http://[::ffff:7f00:1]:{port}",
        f"http://[64:ff9b::7f00:1]:{port}",
        "http://169.254.169.254",
        "http://10.0.0.1",
        "http://[fd00::1]",
    ]


def test_internal_addresses_are_refused_however_they_are_spelt(engine, trap):
    port = int(trap.url.rsplit(":", 1)[1])
    connections = {}
    for number, url in enumerate(internal_urls(port)):
        engine.provider(f"evil{number}", config={"base_url": url, "path": "/", "records": ""})
        connections[engine.connection(f"evil{number}")] = url
    engine.db.run("SELECT sync.tick()")
    done = engine.bare_executor("--once", "--name", "strict")
    assert done.wait() == 0
    for connection, url in connections.items():
        attempt = only_attempt(engine, connection)
        assert attempt["status"] == "failed", url
        refused = ("blocked_address", "connect", "bad_config", "config")
        assert attempt["error"]["code"] in refused, (url, attempt["error"])
    assert trap.requests == []


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "gopher://127.0.0.1:1", "ftp://127.0.0.1", "http://user:pw@127.0.0.1",
    "//127.0.0.1", "127.0.0.1",
])
def test_only_plain_http_urls_are_taken(engine, url):
    engine.provider("odd", config={"base_url": url, "path": "/", "records": ""})
    connection = engine.connection("odd")
    engine.trigger(connection)
    engine.run_once()
    assert only_attempt(engine, connection)["kind"] == "permanent"


def test_blocked_and_closed_look_the_same(engine, trap):
    """A tenant cannot map the internal network by error texts."""
    closed = free_port()
    texts = []
    for number, (url, flags) in enumerate(
        [(trap.url, []), (f"http://127.0.0.1:{closed}", ["--allow-private-addresses", "loopback"])]
    ):
        engine.provider(f"probe{number}", config={"base_url": url, "path": "/", "records": ""})
        connection = engine.connection(f"probe{number}")
        engine.trigger(connection)
        done = engine.bare_executor("--once", "--name", "probe", *flags)
        assert done.wait() == 0
        texts.append(only_attempt(engine, connection)["error"]["message"])
    assert texts[0] == texts[1]
    assert "127.0.0.1" not in texts[0]


def test_the_database_cannot_be_reached_through_a_connector(engine):
    port = engine.db.cluster.port
    engine.provider("pg", config={"base_url": f"http://127.0.0.1:{port}", "path": "/", "records": ""})
    connection = engine.connection("pg")
    engine.trigger(connection)
    engine.run_once()
    assert only_attempt(engine, connection)["error"]["code"] == "blocked_address"


def test_proxy_variables_do_not_lead_requests_elsewhere(engine, trap):
    repo = engine.repo(items=3)
    engine.github()
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once(env={"http_proxy": trap.url, "HTTP_PROXY": trap.url, "ALL_PROXY": trap.url})
    assert trap.requests == []
    engine.assert_exactly_once(connection, repo)


def test_a_password_on_the_command_line_is_refused(engine):
    refused = engine.bare_executor("--database-url", engine.db.url(), url="")
    assert refused.wait() == 2
    assert "visible" in refused.output()


def test_wrong_database_password_is_not_repeated(engine):
    PLANTED_SECRETS.add("planted-wrong-password-1")
    url = engine.db.url().replace(DATABASE_PASSWORD, "planted-wrong-password-1")
    running = engine.executor(url=url)
    wait_until(lambda: running.lines("no connection to the database"), "the refusal")
    assert "password authentication failed" in running.output()
    assert running.stop() == 0
