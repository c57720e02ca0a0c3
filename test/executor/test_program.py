"""The program itself: options, help, metrics, limits."""

import re
import resource
import subprocess
import urllib.error
import urllib.request

import pytest
from harness.executor import executable
from harness.process import environment
from harness.server import free_port
from harness.waiting import wait_until


def call(*flags, **env):
    return subprocess.run([executable(), *flags], capture_output=True, text=True, env=environment(**env), timeout=60)


def test_help_and_version():
    helped = call("--help")
    assert helped.returncode == 0 and helped.stderr == ""
    for flag in ("--concurrency N", "--allow-secret-env", "--wake-up on|off", "--metrics-address HOST:PORT", "--once"):
        assert flag in helped.stdout
    assert "--test-stop-at" not in helped.stdout
    version = call("--version")
    assert version.returncode == 0
    assert re.fullmatch(r"sync-executor \d+\.\d+\.\d+\n", version.stdout)


@pytest.mark.parametrize(
    "flags, env, said",
    [
        (["--nonsense"], {}, "--nonsense"),
        (["--concurrency", "0"], {}, "--concurrency: must be a whole number from 1 to 10000"),
        ([], {"SYNC_EXECUTOR_POLL_SECONDS": "often"}, "SYNC_EXECUTOR_POLL_SECONDS"),
        (["--config", "/nonexistent"], {}, "cannot read the config file /nonexistent"),
        (["--database-url", "nonsense"], {}, "--database-url"),
    ],
)
def test_bad_options_end_it_with_status_2(flags, env, said):
    done = call(*flags, **env)
    assert done.returncode == 2
    assert said in done.stderr and done.stdout == ""


def test_flag_variable_and_file_mean_the_same(engine, tmp_path):
    """Each way of setting the same options leads to the same run."""
    engine.provider("noop", connector="noop", config={"noop": {"signals": 1}})
    connection = engine.connection("noop")
    config = tmp_path / "config"
    config.write_text(
        f"# for the test\ndatabase-url = {engine.db.url()}\nname = from-file\nonce = on\nlog-level = debug\n"
    )
    variables = {
        "SYNC_EXECUTOR_DATABASE_URL": engine.db.url(),
        "SYNC_EXECUTOR_NAME": "from-environment",
        "SYNC_EXECUTOR_ONCE": "1",
    }
    # One after the other: two of them have one name, and the later would take over from the earlier.
    ways = [
        lambda: engine.bare_executor("--name", "from-flags", "--once"),
        lambda: engine.bare_executor(url="", env=variables),
        lambda: engine.bare_executor("--config", str(config), url=""),
        lambda: engine.bare_executor(url="", env={"SYNC_EXECUTOR_CONFIG": str(config)}),
    ]
    for start in ways:
        engine.trigger(connection)
        way = start()
        assert way.wait() == 0, way.output()
    engine.run_once()
    names = [row[0] for row in engine.db.rows("SELECT DISTINCT name FROM sync.executors ORDER BY 1")]
    assert names == ["executor-1", "from-environment", "from-file", "from-flags"]


def test_the_pg_variables_are_enough(engine):
    engine.provider("noop", connector="noop", config={"noop": {"signals": 1}})
    connection = engine.connection("noop")
    job = engine.trigger(connection)
    variables = {
        "PGHOST": str(engine.db.cluster.folder), "PGPORT": str(engine.db.cluster.port), "PGUSER": "postgres",
        "PGDATABASE": engine.db.name,
    }
    done = engine.bare_executor("--once", url="", env=variables)
    assert done.wait() == 0, done.output()
    assert engine.job(job)["status"] == "succeeded"


def metrics_of(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode()
    except urllib.error.URLError:
        return ""


def value(text, sample):
    for line in text.splitlines():
        if line.startswith(sample + " "):
            return float(line.split()[-1])
    return None


def test_metrics(engine):
    engine.github(query={"per_page": 5})
    connection = engine.github_connection(engine.repo(items=12))
    bad = engine.repo()
    bad.behave("status", status=404)
    engine.github_connection(bad)
    engine.db.run("SELECT sync.tick()")
    port = free_port()
    running = engine.executor("--metrics-address", f"127.0.0.1:{port}").ready()
    engine.wait_attempts(connection, 3)
    engine.wait_idle()
    text = wait_until(
        lambda: (t := metrics_of(port)) and value(t, 'sync_executor_jobs_ended_total{outcome="completed"}') == 3 and t,
        lambda: metrics_of(port),
    )
    assert value(text, "sync_executor_jobs_claimed_total") == 4
    assert value(text, 'sync_executor_job_failures_total{kind="permanent"}') == 1
    assert value(text, 'sync_executor_job_failures_total{kind="transient"}') == 0
    assert value(text, 'sync_executor_http_requests_total{status="2xx"}') == 3
    assert value(text, 'sync_executor_http_requests_total{status="4xx"}') == 1
    assert value(text, "sync_executor_signals_total") == 12
    assert value(text, "sync_executor_run_duration_seconds_count") == 4
    assert value(text, 'sync_executor_jobs_in_flight{waits_for="api"}') == 0
    assert value(text, 'sync_executor_database_connects_total{connection="work"}') == 1
    assert value(text, "sync_executor_claim_duration_seconds_count") >= 1
    assert running.stop() == 0


def test_an_address_for_metrics_that_is_taken(engine, api):
    refused = engine.executor("--metrics-address", f"127.0.0.1:{api.port}")
    assert refused.wait() == 1
    assert "cannot serve metrics" in refused.output()


def test_log_lines_carry_what_an_operator_looks_for(engine):
    engine.github()
    connection = engine.github_connection(engine.repo(items=4))
    job = engine.trigger(connection)
    done = engine.run_once()
    (line,) = done.lines("job ended")
    assert {
        "job_id": job, "connection_id": connection, "tenant_id": "acme", "provider": "github",
        "job_type": "incremental",
        "attempt": 1, "outcome": "completed", "signals": 4, "level": "info",
    }.items() <= line.items()
    assert line["duration_ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])


def test_the_limit_of_open_files_is_raised(engine):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        running = engine.executor().ready()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with open(f"/proc/{running.pid}/limits") as limits:
        line = next(line for line in limits if line.startswith("Max open files"))
    assert line.split()[3:5] == [str(hard), str(hard)]
