"""Registration: protocol numbers, names, heartbeats and leases."""

from harness.waiting import wait_until


def test_a_server_that_does_not_serve_our_protocol(engine):
    engine.db.run("ALTER FUNCTION sync.register_executor(text, int, jsonb, timestamptz) RENAME TO real_register")
    engine.db.run(
        """CREATE FUNCTION sync.register_executor(name text, protocol int, info jsonb) RETURNS text
        LANGUAGE sql SECURITY DEFINER AS $$ SELECT sync.real_register(name, protocol + 41, info) $$"""
    )
    engine.db.run("GRANT EXECUTE ON FUNCTION sync.register_executor(text, int, jsonb) TO sync_executor")
    refused = engine.executor()
    assert refused.wait() == 1
    (line,) = refused.lines("the database does not serve this executor")
    assert line["sqlstate"] == "0A000"
    assert "protocol 42" in line["error"]


def test_a_second_process_of_the_same_name_takes_over(engine):
    repo = engine.repo(items=3)
    repo.script({"kind": "hang"})
    engine.github()
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    first = engine.executor(name="twin").ready()
    engine.wait_status(job, "running")
    second = engine.executor(name="twin").ready()
    assert first.wait() == 1
    assert first.lines("another executor of this name has taken over; give each its own --name")
    engine.wait_status(job)
    engine.assert_exactly_once(connection, repo)
    assert [a["kind"] for a in engine.attempts(connection)] == ["lost", None]
    assert second.stop() == 0


def test_heartbeats_keep_a_long_job(engine):
    engine.db.configure(lease_seconds=5)
    repo = engine.repo(items=3)
    repo.script({"kind": "slow", "seconds": 7})
    engine.github()
    connection = engine.github_connection(repo)
    job = engine.trigger(connection)
    # The flag alone would be too slow: the lease is a third of it.
    running = engine.executor("--heartbeat-seconds", "15", "--tick").ready()
    assert abs(running.lines("registered")[0]["heartbeat_seconds"] - 5 / 3) < 0.01
    engine.wait_status(job)
    assert [a["status"] for a in engine.attempts(connection)] == ["succeeded"]


def test_its_row_says_who_it_is(engine):
    running = engine.executor("--concurrency", "17", name="worker-7").ready()
    name, protocol, info = engine.db.row("SELECT name, protocol, info FROM sync.executors")
    assert (name, protocol) == ("worker-7", 1)
    assert (info["pid"], info["concurrency"]) == (running.pid, 17)
    seen = engine.db.value("SELECT heartbeat_at FROM sync.executors")
    wait_until(lambda: engine.db.value("SELECT heartbeat_at FROM sync.executors") > seen, "a heartbeat")
    sessions = engine.db.rows(
        "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'sync-executor%%'"
    )
    assert ("sync-executor worker-7",) in sessions


def test_an_unknown_role_or_missing_extension_is_told_and_waited_for(engine):
    engine.db.run("DROP EXTENSION sync_engine")
    running = engine.executor()
    line = running.wait_for("the database refused", what="registering")
    assert line["sqlstate"] in ("3F000", "42883", "42501")
    engine.db.run("CREATE EXTENSION sync_engine")
    running.ready()
    assert running.stop() == 0


def test_the_server_is_a_standby_until_it_is_promoted(engine):
    """A read-only server is left and looked for again, not taken for bad data."""
    engine.provider("noop", connector="noop", config={"noop": {"signals": 1}})
    connection = engine.connection("noop")
    engine.db.run(f'ALTER DATABASE "{engine.db.name}" SET default_transaction_read_only = on')
    running = engine.executor()
    running.wait_for("no connection to the database", error="the server is a standby")
    with engine.db.connect() as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f'ALTER DATABASE "{engine.db.name}" RESET default_transaction_read_only')
        admin.execute("SELECT sync.trigger(%s)", [connection])
    engine.wait_attempts(connection)
    assert running.stop() == 0
