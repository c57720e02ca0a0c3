"""Executors on hosts of their own: they reach the server, which lives in another network, by TCP with a password."""

import pytest
from harness.engine import Engine
from harness.hosts import Hosts, refusal
from harness.waiting import wait_until

CONNECTIONS = 20
PAGES = 100
SIGNALS = 3


@pytest.fixture(scope="module")
def network(tmp_path_factory, workspace):
    if reason := refusal():
        pytest.skip(f"no network namespaces: {reason}")
    folder = workspace / "hosts"
    folder.mkdir()
    made = Hosts(folder, 2)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def far(network, request, tmp_path):
    """The engine on the server; far.on(0) starts an executor on the first host."""
    engine = Engine(network.cluster.create(request.node.name[:60]), None, tmp_path)
    engine.provider("noop", connector="noop", config={"noop": {"signals": SIGNALS, "pages": PAGES}})

    def on(number):
        host = network.hosts[number]
        return engine.executor("--concurrency", "8", "--batch-size", "8", name=f"host-{number}",
                               url=engine.db.url(host=host.server_address), within=host.network.as_us())
    engine.on = on
    try:
        yield engine
    finally:
        for host in network.hosts:
            host.connect()
        for running in engine.executors:
            if running.process.poll() is None:
                running.kill()
        network.cluster.drop(engine.db)
        engine.close()


def make_connections(engine):
    """They have run just now, so that they run when the test says so."""
    return [row[0] for row in engine.db.rows(
        "INSERT INTO sync.connections (tenant_id, provider_slug, metadata, last_incremental_finished_at)"
        " SELECT 'acme', 'noop', jsonb_build_object('sync', jsonb_build_object('next_run_at',"
        " sync._format_utc(now() + interval '900 seconds'))), now() FROM generate_series(1, %s) RETURNING id",
        CONNECTIONS)]


def ended_by(engine, status):
    """{host: attempts that ended so}"""
    return dict(engine.db.rows("SELECT split_part(claimed_by, '#', 1), count(*) FROM sync.sync_executions"
                               " WHERE status = %s GROUP BY 1", status))


def lost(engine):
    """The hosts whose jobs were failed as lost."""
    return [row[0] for row in engine.db.rows("SELECT DISTINCT split_part(claimed_by, '#', 1) FROM sync.sync_executions"
                                             " WHERE kind = 'lost'")]


def trigger_all(engine, connections):
    engine.db.run("SELECT sync.trigger(id) FROM unnest(%s::bigint[]) id", connections)


def wait_runs(engine, connections, runs):
    """Until each connection has ended so many runs: its last page's job has no successor."""
    wait_until(
        lambda: engine.db.value("SELECT count(DISTINCT (connection_id, run_id)) FROM sync.sync_executions"
                                " WHERE status = 'succeeded' AND NOT has_more") == len(connections) * runs,
        lambda: f"{runs} runs: {engine.db.rows('SELECT * FROM sync.queue LIMIT 5')}\n{engine.tails()}")


def assert_exactly_once(engine, connections, runs):
    """Each page of each run succeeded once, and its signals landed once."""
    pages = len(connections) * runs * PAGES
    assert engine.db.row("SELECT count(*), count(DISTINCT (connection_id, run_id, page)) FROM sync.sync_executions"
                         " WHERE status = 'succeeded'") == (pages, pages)
    signals = pages * SIGNALS
    assert engine.db.row("SELECT count(*), count(DISTINCT (connection_id, dedupe_key)) FROM sync.signals") \
        == (signals, signals)


def test_two_hosts_drain_one_queue(far, network):
    connections = make_connections(far)
    executors = [far.on(0).ready(), far.on(1).ready()]
    addresses = far.db.rows("SELECT DISTINCT host(client_addr) FROM pg_stat_activity"
                            " WHERE datname = current_database() AND client_addr IS NOT NULL ORDER BY 1")
    assert [row[0] for row in addresses] == [host.address for host in network.hosts]
    trigger_all(far, connections)
    wait_runs(far, connections, 1)
    assert_exactly_once(far, connections, 1)
    assert ended_by(far, "succeeded").keys() == {"host-0", "host-1"}
    assert ended_by(far, "failed") == {}
    assert [running.stop() for running in executors] == [0, 0]


def test_a_host_that_is_cut_off_loses_its_jobs_to_the_other(far, network):
    connections = make_connections(far)
    cut_off = far.on(0).ready()
    runs = 0
    # It may be cut while it has no job: then once more.
    while not lost(far):
        network.hosts[0].connect()
        if far.live() == 0:
            trigger_all(far, connections)
            runs += 1
        done = ended_by(far, "succeeded").get("host-0", 0)
        wait_until(lambda: ended_by(far, "succeeded").get("host-0", 0) > done or far.live() == 0, far.tails)
        network.hosts[0].cut()
        # What had left the host before arrives; then its lease ends.
        wait_until(lambda: lost(far) or far.db.value("SELECT count(*) FROM sync.queue WHERE state = 'running'") == 0,
                   far.tails)
    other = far.on(1).ready()
    wait_runs(far, connections, runs)
    assert_exactly_once(far, connections, runs)
    assert lost(far) == ["host-0"]
    assert ended_by(far, "succeeded")["host-1"] > 0

    # Back again, it learns that its jobs are not its own any more, and takes new ones.
    before = ended_by(far, "succeeded")["host-0"]
    assert other.stop() == 0
    network.hosts[0].connect()
    trigger_all(far, connections)
    wait_runs(far, connections, runs + 1)
    assert_exactly_once(far, connections, runs + 1)
    assert ended_by(far, "succeeded")["host-0"] == before + CONNECTIONS * PAGES
    assert cut_off.stop() == 0
