"""What APIs answer, and what becomes of the job: kinds of failure, backoff, recovery."""

import pytest
from harness.waiting import wait_until


def run(engine, *behaviours, items=3, **config):
    """One run against an API that behaves so; the connection and its first attempt."""
    repo = engine.repo(items=items)
    repo.script(*behaviours)
    engine.github(**config)
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once()
    return connection, engine.attempts(connection)[0]


@pytest.mark.parametrize(
    "status, kind, job_status",
    [
        (400, "permanent", "failed"),
        (401, "unauthorized", "failed"),
        (403, "unauthorized", "failed"),
        (404, "permanent", "failed"),
        (408, "transient", "queued"),
        (409, "permanent", "failed"),
        (410, "permanent", "failed"),
        (422, "permanent", "failed"),
        (429, "rate_limited", "queued"),
        (500, "transient", "queued"),
        (502, "transient", "queued"),
        (503, "transient", "queued"),
        (504, "transient", "queued"),
    ],
)
def test_status(engine, status, kind, job_status):
    connection, attempt = run(engine, {"kind": "status", "status": status})
    assert (attempt["status"], attempt["kind"], attempt["job_status"]) == ("failed", kind, job_status)
    assert str(status) in str(attempt["error"])
    expected = "error" if kind == "unauthorized" else "active"
    assert engine.db.value("SELECT status FROM sync.connections WHERE id = %s", connection) == expected


@pytest.mark.parametrize(
    "behaviour, kind",
    [
        ({"kind": "close"}, "transient"),
        ({"kind": "truncate"}, "transient"),
        ({"kind": "raw", "text": "this is no HTTP\r\n\r\n"}, "transient"),
        ({"kind": "redirect", "location": "https://example.com/"}, "permanent"),
        ({"kind": "body", "text": "{\"message\": \"no list\"}"}, "permanent"),
        ({"kind": "body", "text": "[{\"id\": 1"}, "transient"),
        ({"kind": "html"}, "transient"),
        ({"kind": "html", "status": 502}, "transient"),
    ],
)
def test_replies_that_are_none(engine, behaviour, kind):
    _, attempt = run(engine, behaviour)
    assert (attempt["status"], attempt["kind"]) == ("failed", kind), attempt["error"]
    assert attempt["error"]["message"]


@pytest.mark.parametrize("behaviour", [{"kind": "hang"}, {"kind": "slow", "seconds": 30}])
def test_a_reply_that_does_not_come_is_a_timeout(engine, behaviour):
    _, attempt = run(engine, behaviour, timeout_seconds=1)
    assert (attempt["kind"], attempt["error"]["code"]) == ("transient", "timeout")


def test_a_slow_reply_within_its_time_is_a_success(engine):
    connection, attempt = run(engine, {"kind": "slow", "seconds": 1})
    assert attempt["status"] == "succeeded"
    assert attempt["duration_ms"] >= 1000
    assert len(engine.signals(connection)) == 3


@pytest.mark.parametrize(
    "behaviour, seconds",
    [
        ({"kind": "rate_limit", "status": 429, "retry_after": 3, "reset_in": None}, 3),
        ({"kind": "rate_limit", "status": 429, "retry_after": {"date_in": 4}, "reset_in": None}, 3),
        ({"kind": "rate_limit", "status": 403, "reset_in": 3}, 2),
    ],
)
def test_a_rate_limit_says_when_to_come_back(engine, behaviour, seconds):
    connection, attempt = run(engine, behaviour)
    assert attempt["kind"] == "rate_limited"
    waits = engine.db.value(
        "SELECT extract(epoch FROM retry_after - finished_at)::float8 FROM sync.sync_executions "
        "WHERE connection_id = %s", connection,
    )
    assert seconds <= waits <= seconds + 2.5


def test_a_rate_limited_connection_recovers(engine):
    repo = engine.repo(items=25, rate_limit={"limit": 2, "window_seconds": 2, "status": 403, "retry_after": 1})
    engine.github(query={"per_page": 10})
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.executor().ready()
    engine.wait_idle()
    attempts = engine.attempts(connection)
    kinds = [a["kind"] for a in attempts if a["status"] == "failed"]
    assert kinds and set(kinds) == {"rate_limited"}
    assert attempts[-1]["status"] == "succeeded"
    engine.assert_exactly_once(connection, repo)


def test_a_failing_connection_backs_off_and_fails_for_good(engine):
    repo = engine.repo()
    repo.behave("status", status=500)
    engine.github()
    engine.db.run("UPDATE sync.providers SET max_attempts = 3")
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    running = engine.executor().ready()
    assert engine.wait_status(job, "failed")["attempts"] == 3
    attempts = engine.attempts(connection)
    assert [a["kind"] for a in attempts] == ["transient"] * 3
    waits = engine.db.rows(
        "SELECT extract(epoch FROM retry_after - finished_at)::float8 FROM sync.sync_executions "
        "WHERE retry_after IS NOT NULL ORDER BY id"
    )
    assert len(waits) == 2
    assert 1 <= waits[0][0] <= 1.1 and 2 <= waits[1][0] <= 2.2
    assert len(repo.requests()) == 3
    assert [line["kind"] for line in running.lines("job ended", outcome="failed")] == ["transient"] * 3


def test_a_failure_that_passes_is_retried_and_loses_nothing(engine):
    repo = engine.repo(items=20)
    repo.script({"kind": "ok"}, {"kind": "status", "status": 503}, {"kind": "truncate"})
    engine.github(query={"per_page": 10})
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.executor().ready()
    engine.wait_idle()
    assert [a["status"] for a in engine.attempts(connection)] == ["succeeded", "failed", "failed", "succeeded"]
    engine.assert_exactly_once(connection, repo)


def test_an_unauthorized_connection_waits_for_new_credentials(engine):
    repo = engine.repo(items=2, token="right-token-aa17")
    engine.github(auth={"type": "bearer", "token": {"$env": "DEMO_TOKEN"}})
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once("--allow-secret-env", "DEMO_TOKEN@127.0.0.1", env={"DEMO_TOKEN": "wrong-token-bb28"})
    assert engine.db.value("SELECT status FROM sync.connections") == "error"
    engine.db.run("SELECT sync.resume(%s)", connection)
    engine.trigger(connection)
    engine.run_once("--allow-secret-env", "DEMO_TOKEN@127.0.0.1", env={"DEMO_TOKEN": "right-token-aa17"})
    engine.assert_exactly_once(connection, repo)


def test_a_cancelled_job_is_dropped_and_its_request_ended(engine):
    repo = engine.repo()
    repo.script({"kind": "hang"})
    engine.github()
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    running = engine.executor().ready()
    engine.wait_status(job, "running")
    wait_until(repo.requests, "the request to arrive")
    engine.db.run("SELECT sync.cancel_job(%s)", job)
    running.wait_for("job was taken away", job_id=job)
    # Its slot is free and its connection may run again.
    engine.wait_status(engine.trigger(connection))
    assert engine.job(job)["status"] == "cancelled"
    assert running.stop() == 0


def test_a_connection_deleted_while_its_job_runs(engine):
    repo = engine.repo(items=4)
    repo.script({"kind": "slow", "seconds": 2})
    engine.github()
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    running = engine.executor().ready()
    engine.wait_status(job, "running")
    wait_until(repo.requests, "the request to arrive")
    engine.db.run("DELETE FROM sync.connections WHERE id = %s", connection)
    wait_until(
        lambda: running.lines("job was taken away", job_id=job) or running.lines("job ended", job_id=job),
        "the executor to drop the job",
    )
    assert engine.db.value("SELECT count(*) FROM sync.signals") == 0
    other = engine.github_connection(engine.repo(items=2))
    engine.wait_status(engine.trigger(other))
    assert running.stop() == 0


def test_a_connection_paused_while_its_job_runs_finishes_the_page_only(engine):
    repo = engine.repo(items=20)
    repo.script({"kind": "slow", "seconds": 1})
    engine.github(query={"per_page": 10})
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    running = engine.executor().ready()
    engine.wait_status(job, "running")
    engine.db.run("SELECT sync.pause(%s)", connection)
    engine.wait_status(job)
    assert engine.live() == 0
    assert len(engine.signals(connection)) == 10
    engine.db.run("SELECT sync.resume(%s)", connection)
    engine.trigger(connection)
    engine.wait_idle()
    engine.assert_exactly_once(connection, repo)
    assert running.stop() == 0
