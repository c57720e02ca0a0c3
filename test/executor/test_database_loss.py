"""The database goes away and comes back."""

import pytest
from harness.waiting import wait_until


def busy(engine, connections=30, items=15):
    """Connections whose runs take a while, and their repositories."""
    engine.github(query={"per_page": 5})
    repos = [engine.repo(items=items) for _ in range(connections)]
    for repo in repos:
        repo.behave("slow", seconds=0.2)
    ids = [engine.github_connection(repo) for repo in repos]
    engine.db.run("SELECT sync.tick()")
    return dict(zip(ids, repos))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_is_restarted_in_the_middle(engine, cluster, mode):
    engine.db.configure(lease_seconds=5)  # the restart may lose the reply to a claim
    connections = busy(engine)
    running = engine.executor("--concurrency", "10").ready()
    wait_until(lambda: engine.db.value("SELECT count(*) FROM sync.signals") > 0, "the first signals")
    cluster.restart(mode)
    engine.wait_idle()
    assert running.lines("no connection to the database")
    for connection, repo in connections.items():
        engine.assert_exactly_once(connection, repo)
    assert running.stop() == 0


def test_the_network_is_gone_for_a_while(engine, proxy):
    engine.db.configure(lease_seconds=5)  # the cut may lose the reply to a claim
    connections = busy(engine)
    running = engine.executor("--concurrency", "10", url=engine.db.url(proxy.port)).ready()
    wait_until(lambda: engine.db.value("SELECT count(*) FROM sync.signals") > 0, "the first signals")
    before = len(running.lines("no connection to the database", connection="work"))
    proxy.refuse(True)
    wait_until(
        lambda: len(running.lines("no connection to the database", connection="work")) >= before + 3, "some attempts"
    )
    proxy.refuse(False)
    engine.wait_idle()
    for connection, repo in connections.items():
        engine.assert_exactly_once(connection, repo)
    # Each attempt to come back waits longer than the one before, more or less.
    waits = [line["retry_in_seconds"] for line in running.lines("no connection to the database", connection="work")]
    assert max(waits) > waits[0]
    assert running.stop() == 0


def test_the_connection_is_cut_again_and_again(engine, proxy):
    engine.db.configure(lease_seconds=5)  # a cut may lose the reply to a claim
    connections = busy(engine, connections=20, items=10)
    running = engine.executor("--concurrency", "5", url=engine.db.url(proxy.port)).ready()
    cuts = 0
    while engine.live():
        seen = proxy.connections
        proxy.cut()
        cuts += 1
        wait_until(lambda: proxy.connections > seen, "the executor to come back")
        landed = engine.db.value("SELECT count(*) FROM sync.sync_executions")
        wait_until(
            lambda: engine.live() == 0 or engine.db.value("SELECT count(*) FROM sync.sync_executions") > landed,
            "something to be done",
        )
    assert cuts >= 3
    for connection, repo in connections.items():
        engine.assert_exactly_once(connection, repo)
    assert running.stop() == 0


def test_it_starts_before_the_database_does(engine, proxy):
    repo = engine.repo(items=3)
    engine.github()
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    proxy.refuse(True)
    running = engine.executor(url=engine.db.url(proxy.port))
    running.wait_for("no connection to the database", connection="work")
    proxy.refuse(False)
    engine.wait_status(job)
    assert running.stop() == 0


def test_a_jobs_lease_runs_out_while_the_network_is_gone(engine, proxy):
    engine.db.configure(lease_seconds=5, tick_interval_seconds=1)
    repo = engine.repo(items=3)
    repo.script({"kind": "slow", "seconds": 1})
    engine.github()
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    cut_off = engine.executor(url=engine.db.url(proxy.port), name="cut-off").ready()
    engine.wait_status(job, "running")
    wait_until(repo.requests, "the request to arrive")
    proxy.refuse(True)
    engine.executor("--tick", name="other").ready()
    engine.wait_status(job)
    proxy.refuse(False)
    # What the first one brings now is stale, and says so.
    wait_until(
        lambda: cut_off.lines("job ended", outcome="stale") or cut_off.lines("job was taken away"),
        "the late result to be turned away",
    )
    engine.assert_exactly_once(connection, repo)
    assert cut_off.stop() == 0


def test_an_engine_that_is_off_hands_out_nothing(engine):
    engine.db.configure(enabled="off")
    repo = engine.repo(items=3)
    engine.github()
    job = engine.trigger(engine.github_connection(repo))
    done = engine.run_once("--tick")
    assert done.lines("the engine is off: no ticks")
    assert engine.job(job)["status"] == "queued"
    engine.db.configure(enabled="on")
    engine.run_once()
    assert engine.job(job)["status"] == "succeeded"
