"""SIGTERM, SIGINT, --once, --tick."""

import signal
import time

import pytest
from harness.waiting import wait_until


def running_job(engine, *flags, behaviour, items=3):
    """An executor with one job whose request is under way."""
    repo = engine.repo(items=items)
    repo.script(behaviour)
    engine.github()
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    started = engine.executor(*flags).ready()
    engine.wait_status(job, "running")
    wait_until(repo.requests, "the request to arrive")
    return started, repo, connection, job


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_job_may_finish(engine, number):
    started, repo, connection, job = running_job(engine, behaviour={"kind": "slow", "seconds": 1})
    started.signal(number)
    assert started.wait() == 0
    assert engine.job(job)["status"] == "succeeded"
    engine.assert_exactly_once(connection, repo)
    assert started.lines("draining", jobs=1)
    assert started.lines("stopped", status=0)


def test_what_does_not_finish_is_handed_back_at_no_cost(engine):
    started, repo, connection, job = running_job(engine, "--drain-seconds", "0.5", behaviour={"kind": "hang"})
    assert started.stop() == 0
    row = engine.job(job)
    assert (row["status"], row["attempts"], row["claim_token"]) == ("queued", 0, None)
    assert engine.attempts(connection) == []
    assert started.lines("released jobs", jobs=1)
    engine.run_once()
    assert engine.job(job)["status"] == "succeeded"
    engine.assert_exactly_once(connection, repo)


def test_jobs_without_a_slot_are_handed_back_at_once(engine):
    engine.github()
    jobs = []
    for _ in range(5):
        repo = engine.repo(items=1)
        repo.script({"kind": "slow", "seconds": 2})
        jobs.append(engine.trigger(engine.github_connection(repo)))
    started = engine.executor("--concurrency", "1", "--prefetch", "10").ready()
    wait_until(lambda: [engine.job(j)["status"] for j in jobs] == ["running"] * 5, "all to be claimed")
    assert started.stop() == 0
    rows = [engine.job(j) for j in jobs]
    assert sorted(r["status"] for r in rows) == ["queued"] * 4 + ["succeeded"]
    assert [r["attempts"] for r in rows] == [0] * 5


def test_jobs_that_find_no_slot_are_left_to_others(engine):
    """The first of five hangs; what was claimed ahead of its slot is handed back after a heartbeat."""
    engine.github()
    repos = [engine.repo(items=1) for _ in range(5)]
    for repo in repos:
        repo.behave("hang")
    jobs = [engine.trigger(engine.github_connection(repo)) for repo in repos]
    started = engine.executor("--concurrency", "1", "--prefetch", "10", name="busy").ready()
    wait_until(lambda: [engine.job(j)["status"] for j in jobs] == ["running"] * 5, "all to be claimed")
    started.wait_for("released jobs", jobs=4)
    wait_until(lambda: sorted(engine.job(j)["status"] for j in jobs) == ["queued"] * 4 + ["running"], "four to return")
    assert [engine.job(j)["attempts"] for j in jobs] == [0] * 5


def test_a_second_signal_ends_it_at_once(engine):
    started, _, connection, job = running_job(engine, "--drain-seconds", "600", behaviour={"kind": "hang"})
    started.signal(signal.SIGTERM)
    started.wait_for("draining")
    began = time.monotonic()
    started.signal(signal.SIGTERM)
    assert started.wait() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 5
    # Its successor takes over.
    engine.executor().ready()
    engine.wait_status(job)
    assert [a["kind"] for a in engine.attempts(connection)] == ["lost", None]


def test_no_claim_is_made_while_draining(engine):
    started, _, _, _ = running_job(engine, behaviour={"kind": "slow", "seconds": 2})
    started.signal(signal.SIGTERM)
    started.wait_for("draining")
    late = engine.trigger(engine.github_connection(engine.repo(items=1)))
    assert started.wait() == 0
    assert engine.job(late)["status"] == "queued"


def test_an_idle_executor_stops_at_once(engine):
    started = engine.executor("--drain-seconds", "600").ready()
    began = time.monotonic()
    assert started.stop() == 0
    assert time.monotonic() - began < 5


def test_it_stops_without_a_database(engine, proxy):
    proxy.refuse(True)
    started = engine.executor(url=engine.db.url(proxy.port))
    started.wait_for("no connection to the database")
    assert started.stop() == 0


def test_draining_without_a_database_ends_too(engine, proxy):
    repo = engine.repo()
    repo.script({"kind": "hang"})
    engine.github()
    job = engine.trigger(engine.github_connection(repo))
    started = engine.executor("--drain-seconds", "0.5", url=engine.db.url(proxy.port)).ready()
    engine.wait_status(job, "running")
    wait_until(repo.requests, "the request to arrive")
    proxy.refuse(True)
    assert started.stop() == 1
    assert started.lines("the database could not be told of all jobs; their leases end them")


def test_once_works_off_what_is_due_and_nothing_else(engine):
    repo = engine.repo(items=25)
    engine.github(query={"per_page": 10})
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    later = engine.trigger(engine.github_connection(engine.repo()))
    engine.db.run("UPDATE sync.sync_jobs SET scheduled_at = now() + interval '1 hour' WHERE id = %s", later)
    engine.run_once()
    engine.assert_exactly_once(connection, repo)
    assert engine.job(later)["status"] == "queued"
    engine.run_once()


def test_once_fails_when_there_is_no_database(engine, proxy):
    proxy.close()
    failed = engine.executor("--once", url=engine.db.url(proxy.port))
    assert failed.wait(60) == 1
    assert failed.lines("no connection to the database, giving up")


def test_once_with_tick_is_a_whole_cycle(engine):
    repo = engine.repo(items=12)
    engine.github(query={"per_page": 5})
    connection = engine.github_connection(repo)
    done = engine.run_once("--tick")
    assert done.lines("tick", enqueued=1)
    engine.assert_exactly_once(connection, repo)


def test_tick_drives_the_engine(engine):
    engine.db.configure(tick_interval_seconds=1)
    engine.github()
    repos = {}
    started = engine.executor("--tick").ready()
    for _ in range(3):
        repo = engine.repo(items=2)
        repos[engine.github_connection(repo)] = repo
    wait_until(lambda: engine.db.value("SELECT count(*) FROM sync.signals") == 6, engine.tails)
    for connection, repo in repos.items():
        engine.assert_exactly_once(connection, repo)
    assert started.lines("tick")
    assert started.stop() == 0


def test_two_drivers_of_ticks_are_harmless(engine):
    engine.db.configure(tick_interval_seconds=1, background_ticks="on")
    engine.provider("noop", connector="noop", config={"noop": {"signals": 1, "cursor": True}})
    engine.db.run(
        "INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 'acme', 'noop' FROM generate_series(1, 200)"
    )
    both = [engine.executor("--tick", name=f"executor-{i}").ready() for i in (1, 2)]
    wait_until(lambda: engine.db.value("SELECT count(*) FROM sync.signals") >= 200, engine.tails)
    engine.wait_idle()
    assert engine.db.rows("SELECT connection_id FROM sync.sync_executions GROUP BY 1 HAVING count(*) > 1") == []
    assert [e.stop() for e in both] == [0, 0]


def test_a_tick_that_finds_a_table_locked_is_put_off(engine):
    engine.db.configure(tick_interval_seconds=1)
    engine.github()
    running = engine.executor("--tick").ready()
    with engine.db.connect() as other, other.transaction():
        other.execute("LOCK TABLE sync.connection_state")
        running.wait_for("put off: a lock was not free", what="ticking")
    repo = engine.repo(items=2)
    connection = engine.github_connection(repo)
    engine.wait_attempts(connection, 1)
    engine.assert_exactly_once(connection, repo)
    assert running.stop() == 0
    assert not running.lines("the database refused")


def test_once_with_tick_fails_when_there_is_no_database(engine, proxy):
    proxy.close()
    failed = engine.executor("--once", "--tick", url=engine.db.url(proxy.port))
    assert failed.wait(60) == 1
