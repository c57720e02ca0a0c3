"""kill -9 at every step of a job, and messages lost between executor and database: signals land exactly once."""

import signal

import pytest

STEPS = [
    "registered",
    "claiming",
    "claim_sent",
    "claimed",
    "started",
    "sending",
    "replied",
    "finished",
    "completing",
    "complete_sent",
    "completed",
]
CLAIMS = b"sync.claim_jobs"
COMPLETES = b"sync.complete_jobs"


def three_pages(engine):
    repo = engine.repo(items=25)
    engine.github(query={"per_page": 10})
    return repo, engine.github_connection(repo)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_of_the_first_page(engine, step):
    repo, connection = three_pages(engine)
    engine.trigger(connection)
    killed = engine.executor("--test-stop-at", step)
    assert killed.wait() == -signal.SIGKILL
    # The successor of the same name takes over at once; no lease has to run out.
    engine.executor().ready()
    engine.wait_idle()
    engine.assert_exactly_once(connection, repo)
    assert engine.attempts(connection)[-1]["status"] == "succeeded"


@pytest.mark.parametrize("step", ["claimed:2", "replied:2", "complete_sent:2", "completed:2"])
def test_killed_between_pages(engine, step):
    repo, connection = three_pages(engine)
    engine.trigger(connection)
    assert engine.executor("--test-stop-at", step).wait() == -signal.SIGKILL
    engine.executor().ready()
    engine.wait_idle()
    engine.assert_exactly_once(connection, repo)
    # Pages that were reported are not fetched again.
    assert [r["query"].get("page") for r in repo.requests()].count(None) <= 2


@pytest.mark.parametrize("step", ["claimed", "replied", "complete_sent"])
def test_killed_without_a_successor_the_lease_ends_the_job(engine, step):
    engine.db.configure(lease_seconds=5, tick_interval_seconds=1)
    repo, connection = three_pages(engine)
    engine.trigger(connection)
    assert engine.executor("--test-stop-at", step, name="gone").wait() == -signal.SIGKILL
    engine.executor("--tick", name="other").ready()
    engine.wait_idle()
    engine.assert_exactly_once(connection, repo)
    kinds = [a["kind"] for a in engine.attempts(connection) if a["status"] == "failed"]
    assert kinds in ([], ["lost"])


@pytest.mark.parametrize("step", ["claimed", "complete_sent", "completed"])
def test_killed_with_a_page_that_lands_in_parts(engine, step):
    engine.provider("noop", connector="noop", config={"noop": {"signals": 2500, "pages": 2}})
    connection = engine.connection("noop")
    engine.trigger(connection)
    assert engine.executor("--test-stop-at", step).wait() == -signal.SIGKILL
    engine.executor().ready()
    engine.wait_idle()
    assert engine.db.row("SELECT count(*), count(DISTINCT dedupe_key) FROM sync.signals") == (5000, 5000)


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_claim_that_is_lost(engine, proxy, lost):
    engine.db.configure(lease_seconds=5)
    repo, connection = three_pages(engine)
    job = engine.trigger(connection)
    fault = proxy.lose(CLAIMS, lost)
    running = engine.executor("--wake-up", "off", url=engine.db.url(proxy.port))
    engine.wait_status(job)
    assert fault.happened.is_set()
    engine.wait_idle()
    engine.assert_exactly_once(connection, repo)
    # Only the claim whose reply was lost cost an attempt, and the executor's own heartbeat said so.
    kinds = [a["kind"] for a in engine.attempts(connection) if a["status"] == "failed"]
    assert kinds == (["lost"] if lost == "reply" else [])
    assert running.stop() == 0


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_complete_that_is_lost_is_sent_again(engine, proxy, lost):
    repo, connection = three_pages(engine)
    engine.trigger(connection)
    fault = proxy.lose(COMPLETES, lost)
    running = engine.executor("--wake-up", "off", url=engine.db.url(proxy.port)).ready()
    engine.wait_idle()
    assert fault.happened.is_set()
    running.wait_for("results are in doubt, they are sent again")
    engine.assert_exactly_once(connection, repo)
    assert [a["status"] for a in engine.attempts(connection)] == ["succeeded"] * 3
    assert len(repo.requests()) == 3
    assert running.stop() == 0


@pytest.mark.parametrize("statement", [b"add_signals", b"complete_job(", b"COMMIT"])
@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_page_in_parts_of_which_one_is_lost(engine, proxy, statement, lost):
    engine.provider("noop", connector="noop", config={"noop": {"signals": 2500}})
    connection = engine.connection("noop")
    job = engine.trigger(connection)
    fault = proxy.lose(statement, lost)
    running = engine.executor("--wake-up", "off", url=engine.db.url(proxy.port)).ready()
    engine.wait_status(job)
    assert fault.happened.is_set()
    assert engine.db.row("SELECT count(*), count(DISTINCT dedupe_key) FROM sync.signals") == (2500, 2500)
    assert [a["status"] for a in engine.attempts(connection)] == ["succeeded"]
    assert running.stop() == 0


@pytest.mark.parametrize("pattern", [b"register_executor", b"sync.heartbeat", b"sync.next_claim_at", b"release_jobs"])
@pytest.mark.parametrize("lost", ["request", "reply"])
def test_any_other_call_that_is_lost_does_no_harm(engine, proxy, pattern, lost):
    repo, connection = three_pages(engine)
    repo.script({"kind": "slow", "seconds": 2})
    engine.trigger(connection)
    fault = proxy.lose(pattern, lost)
    flags = ("--wake-up", "off", "--drain-seconds", "0")
    first = engine.executor(*flags, url=engine.db.url(proxy.port)).ready()
    if pattern == b"release_jobs":
        engine.wait_status(engine.db.value("SELECT id FROM sync.sync_jobs"), "running")
        assert first.stop() == 0
        first = engine.executor(*flags, url=engine.db.url(proxy.port)).ready()
    engine.wait_idle()
    assert fault.happened.is_set()
    engine.assert_exactly_once(connection, repo)
    assert [a["status"] for a in engine.attempts(connection)] == ["succeeded"] * 3
    assert first.stop() == 0
