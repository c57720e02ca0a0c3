"""The executor behind PgBouncer in transaction mode."""

import subprocess

import pytest
from harness.server import DATABASE_PASSWORD, EXECUTOR_ROLE, free_port, program
from harness.waiting import wait_until


@pytest.fixture
def bouncer(cluster, tmp_path):
    port = free_port()
    (tmp_path / "users.txt").write_text(f'"{EXECUTOR_ROLE}" "{DATABASE_PASSWORD}"\n')
    config = tmp_path / "pgbouncer.ini"
    # Few server connections for many clients: whoever relies on its session is found out.
    config.write_text(
        f"""[databases]
* = host=127.0.0.1 port={cluster.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {tmp_path}/users.txt
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
logfile = {tmp_path}/pgbouncer.log
"""
    )
    process = subprocess.Popen([program("pgbouncer"), "-q", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listening(port), "pgbouncer to listen")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def listening(port):
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_pages_land_through_a_transaction_pool(engine, bouncer):
    engine.github(query={"per_page": 5})
    repos = {}
    for _ in range(40):
        repo = engine.repo(items=12)
        repos[engine.github_connection(repo)] = repo
    engine.provider("noop", connector="noop", config={"noop": {"signals": 2500}})
    big = engine.connection("noop")
    engine.db.run("SELECT sync.tick()")
    flags = ("--concurrency", "10", "--wake-up", "off")
    url = engine.db.url(bouncer)
    both = [engine.executor(*flags, url=url, name=f"executor-{i}").ready() for i in (1, 2)]
    engine.wait_idle()
    for connection, repo in repos.items():
        engine.assert_exactly_once(connection, repo)
    assert len(engine.signals(big)) == 2500
    assert all(a["status"] == "succeeded" for a in engine.attempts(big))
    assert [e.stop() for e in both] == [0, 0]
    assert not any(e.lines("the database refused") for e in both)


def test_ticks_and_wake_ups_go_through_it_too(engine, bouncer):
    repo = engine.repo(items=12)
    engine.github(query={"per_page": 5})
    connection = engine.github_connection(repo)
    running = engine.executor("--tick", "--poll-seconds", "3600", url=engine.db.url(bouncer)).ready()
    engine.wait_attempts(connection, 3)
    engine.assert_exactly_once(connection, repo)
    job = engine.trigger(connection)
    engine.wait_status(job)
    assert running.stop() == 0
    assert not running.lines("the database refused")
