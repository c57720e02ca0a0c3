"""Pages become signals: each once, in any number of runs, connections, executors and connectors."""

import json

import pytest


def test_several_pages_land_every_signal_once(engine):
    repo = engine.repo(items=45)
    engine.github(query={"per_page": 10})
    connection = engine.github_connection(repo)
    engine.db.run("SELECT sync.tick()")
    engine.run_once()
    engine.assert_exactly_once(connection, repo)
    attempts = engine.attempts(connection)
    assert [a["status"] for a in attempts] == ["succeeded"] * 5
    assert [a["page"] for a in attempts] == [1, 2, 3, 4, 5]
    assert len({a["run_id"] for a in attempts}) == 1
    assert sum(a["signals_inserted"] for a in attempts) == 45


def test_the_next_run_brings_only_what_is_new(engine):
    repo = engine.repo(items=12)
    engine.github(query={"per_page": 5})
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once()
    assert len(engine.signals(connection)) == 12
    repo.add(3)
    touched = repo.items()[0]["id"]
    repo.touch(touched)
    engine.trigger(connection)
    engine.run_once()
    landed = [(s["payload"]["id"], s["payload"]["updated_at"]) for s in engine.signals(connection)]
    assert len(landed) == len(set(landed)) == 12 + 3 + 1
    assert set(landed) >= {(item["id"], item["updated_at"]) for item in repo.items()}
    engine.trigger(connection)
    engine.run_once()
    assert len(engine.signals(connection)) == 16


def test_signals_carry_what_the_mapping_says(engine):
    repo = engine.repo(items=1)
    engine.github()
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once()
    (signal,) = engine.signals(connection)
    (item,) = repo.items()
    assert signal["tenant_id"] == "acme"
    assert signal["provider_slug"] == "github"
    assert signal["kind"] == "issue"
    assert signal["payload"]["id"] == item["id"]
    assert str(item["id"]) in signal["dedupe_key"]
    occurred = engine.db.value("SELECT occurred_at = sync.parse_utc(%s) FROM sync.signals", item["updated_at"])
    assert occurred is True


def test_function_connector(engine):
    repo = engine.repo(items=25)
    engine.provider("fn", connector="function", config={"url": f"{engine.api.url}/function/{repo.name}", "limit": 10})
    connection = engine.connection("fn")
    engine.trigger(connection)
    engine.run_once()
    assert len(engine.signals(connection)) == 25
    assert len({s["dedupe_key"] for s in engine.signals(connection)}) == 25
    assert [a["status"] for a in engine.attempts(connection)] == ["succeeded"] * 3
    sent = json.loads(repo.requests()[0]["body"])
    assert sent["connection"]["id"] == connection
    assert sent["limit"] == 10


def test_a_thousand_connections_run_to_the_end(engine):
    engine.github()
    names = [f"{engine.db.name}/many{i}" for i in range(1000)]
    engine.db.run(
        "INSERT INTO sync.connections (tenant_id, provider_slug, config) "
        "SELECT 'tenant' || n %% 20, 'github', jsonb_build_object('repo', name) "
        "FROM unnest(%s::text[]) WITH ORDINALITY x (name, n)",
        names,
    )
    report = engine.db.row("SELECT enqueued FROM sync.tick()")
    assert report == (1000,)
    engine.run_once("--concurrency", "100", "--log-level", "info")
    # The API makes a repository of seven items for each name it has not heard of.
    landed = engine.db.rows(
        "SELECT count(*), count(DISTINCT (connection_id, dedupe_key)), count(DISTINCT payload ->> 'id'), "
        "count(DISTINCT connection_id) FROM sync.signals"
    )
    assert landed == [(7000, 7000, 7000, 1000)]
    statuses = engine.db.rows("SELECT status, count(*) FROM sync.sync_jobs GROUP BY 1")
    assert statuses == [("succeeded", 1000)]


def test_two_executors_share_the_work(engine):
    engine.provider("noop", connector="noop", config={"noop": {"signals": 1, "cursor": True}})
    engine.db.run(
        "INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 'acme', 'noop' FROM generate_series(1, 500)"
    )
    both = [engine.executor("--concurrency", "8", name=f"executor-{i}").ready() for i in (1, 2)]
    engine.db.run("SELECT sync.tick()")
    engine.wait_idle()
    assert engine.db.value("SELECT count(*) FROM sync.signals") == 500
    workers = engine.db.rows("SELECT split_part(claimed_by, '#', 1), count(*) FROM sync.sync_executions GROUP BY 1")
    assert sorted(name for name, _ in workers) == ["executor-1", "executor-2"]
    assert [e.stop() for e in both] == [0, 0]


@pytest.mark.parametrize("flags", [(), ("--connections", "1"), ("--prefetch", "1000"), ("--connections", "4")])
def test_many_short_jobs_share_transactions(engine, flags):
    engine.provider("noop", connector="noop", config={"noop": {"signals": 1}})
    engine.db.run(
        "INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 'acme', 'noop' FROM generate_series(1, 2000)"
    )
    engine.db.run("SELECT sync.tick()")
    done = engine.run_once(*flags, "--log-level", "info")
    assert len(done.lines("job ended", outcome="completed")) == 2000
    transactions = engine.db.value(
        "SELECT count(DISTINCT xmin::text) FROM sync.sync_executions WHERE connection_id IS NOT NULL"
    )
    assert transactions <= 20


def test_heartbeats_between_completions_take_no_job_away(engine):
    """What another connection ends while a heartbeat is under way is not running any more, and yet not lost."""
    engine.provider("noop", connector="noop", config={"noop": {"cursor": True}})
    engine.db.run(
        "INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 'acme', 'noop' FROM generate_series(1, 3000)"
    )
    engine.db.run("SELECT sync.tick()")
    done = engine.run_once("--heartbeat-seconds", "0.1", "--batch-size", "50", "--connections", "4")
    assert len(done.lines("job ended", outcome="completed")) == 3000
    assert done.lines("job was taken away") == []
    statuses = engine.db.rows("SELECT status, count(*) FROM sync.sync_executions GROUP BY 1")
    assert statuses == [("succeeded", 3000)]


def test_a_page_of_thousands_of_signals_lands_in_parts_of_one_transaction(engine):
    engine.provider("noop", connector="noop", config={"noop": {"signals": 2500, "cursor": True}})
    connection = engine.connection("noop")
    job = engine.trigger(connection)
    engine.run_once()
    assert engine.job(job)["status"] == "succeeded"
    (attempt,) = engine.attempts(connection)
    assert attempt["signals_inserted"] == 2500
    landed = engine.db.row("SELECT count(*), count(DISTINCT dedupe_key), count(DISTINCT xmin::text) FROM sync.signals")
    assert landed == (2500, 2500, 1)


def test_work_that_arrives_wakes_an_idle_executor(engine):
    repo = engine.repo(items=3)
    engine.github()
    connection = engine.github_connection(repo)
    # Without wake-ups it would look again after an hour.
    running = engine.executor("--poll-seconds", "3600").ready()
    running.wait_for("connected to the database", connection="wake-up")
    engine.wait_status(engine.trigger(connection))
    engine.wait_status(engine.trigger(connection))
    assert running.stop() == 0


def test_wake_ups_in_quick_succession_leave_nothing_behind(engine):
    engine.provider("noop", connector="noop", config={"noop": {"cursor": True}})
    running = engine.executor("--poll-seconds", "3600").ready()
    running.wait_for("connected to the database", connection="wake-up")
    with engine.db.connect() as session:
        connections = session.execute(
            "INSERT INTO sync.connections (tenant_id, provider_slug, external_id)"
            " SELECT 'acme', 'noop', n::text FROM generate_series(1, 300) n RETURNING id").fetchall()
        for (connection,) in connections:
            session.execute("SELECT sync.trigger(%s)", (connection,))
    engine.wait_idle()
    statuses = engine.db.rows("SELECT status, count(*) FROM sync.sync_executions GROUP BY 1")
    assert statuses == [("succeeded", 300)]
    assert running.stop() == 0


def test_without_wake_ups_it_polls(engine):
    repo = engine.repo(items=3)
    engine.github()
    connection = engine.github_connection(repo)
    running = engine.executor("--wake-up", "off").ready()
    engine.wait_status(engine.trigger(connection))
    assert running.lines("connected to the database", connection="wake-up") == []


def test_an_unchanged_reply_is_answered_by_its_etag(engine):
    repo = engine.repo(items=3)
    engine.github()
    connection = engine.github_connection(repo)
    for _ in range(3):
        engine.trigger(connection)
        engine.run_once()
    assert [a["status"] for a in engine.attempts(connection)] == ["succeeded"] * 3
    engine.assert_exactly_once(connection, repo)
