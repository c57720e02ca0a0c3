"""Gateways, server and executor killed under load: nothing that was accepted is lost, and nothing is there twice."""

import collections
import dataclasses
import signal

import pytest
from harness.executor import LOOPBACK, SHORT_CYCLES
from harness.load import Hook, Load, Progress, SlowFunction

CONNECTIONS = 5
SENDERS = 4
TRIGGERERS = 2
ROUNDS = 3
# Requests answered between one kill and the next.
MEANWHILE = 25


@pytest.fixture
def progress():
    return Progress()


@pytest.fixture
def function(progress):
    running = SlowFunction(progress)
    yield running
    progress.end()
    running.close()


@dataclasses.dataclass
class Scene:
    service: object
    load: Load
    function: SlowFunction

    def __post_init__(self):
        self.start_executor()

    def start_executor(self):
        # Of the same name: it takes over at once, no lease has to run out.
        flags = (*SHORT_CYCLES, *LOOPBACK, "--name", "one", "--tick", "--log-level", "info")
        self.executor = self.service.engine.bare_executor(*flags).ready()

    def kill_gateway(self, slot):
        killed = self.load.gateways[slot]
        killed.kill()
        assert killed.process.returncode == -signal.SIGKILL
        self.load.gateways[slot] = self.service.gateway()

    def kill_server(self):
        self.service.db.cluster.kill()
        self.service.db.cluster.start()

    def kill_executor(self):
        self.executor.kill()
        assert self.executor.process.returncode == -signal.SIGKILL
        self.start_executor()

    def meanwhile(self):
        assert self.load.progress.wait_for(MEANWHILE), f"no answers any more\n{self.tails()}"
        assert not self.load.faults, self.load.faults[0]

    def tails(self):
        gateways = [f"--- gateway\n{gateway.output()[-1500:]}" for gateway in self.load.gateways]
        return "\n".join([*gateways, f"--- executor\n{self.executor.output()[-1500:]}"])


@pytest.fixture
def scene(service, function, progress):
    engine = service.engine
    engine.db.configure(api_requests_per_minute=0, max_attempts=1000)
    engine.provider("function", "function", {"url": function.url}, backoff_max_seconds=1)
    hooks = []
    for _ in range(CONNECTIONS):
        connection = engine.connection("function")
        hooks.append(Hook(*engine.db.row(
            "SELECT hook_id, %s::bigint, path, secret FROM sync.create_hook(%s, 'github')", connection, connection)))
    service.gateway()
    load = Load(list(service.gateways), hooks, service.token(requests_per_minute=0), progress)
    return Scene(service, load, function)


def in_inputs(db):
    """(hook's id, delivery id): the runs whose input has it, once for each time it stands there."""
    found = collections.defaultdict(list)
    for hook, delivery, run in db.rows("""
            SELECT DISTINCT ON (j.run_id, e.n) (e.event ->> 'hook_id')::bigint, e.event ->> 'delivery_id', j.run_id
            FROM sync.sync_jobs j
            CROSS JOIN LATERAL jsonb_array_elements(j.input -> 'events') WITH ORDINALITY e (event, n)
            ORDER BY j.run_id, e.n, j.id DESC"""):
        found[hook, delivery].append(run)
    return found


def assert_deliveries(scene):
    db, outcomes = scene.service.db, scene.load.outcomes
    assert {told for answers in outcomes.values() for told in answers} == {"accepted", "duplicate"}
    twice = [key for key, answers in outcomes.items() if answers.count("accepted") > 1]
    assert not twice, f"accepted twice: {twice}"
    kept = db.rows("SELECT hook_id, delivery_id FROM sync.hook_deliveries")
    assert sorted(kept) == sorted(outcomes), "what was answered is not what was kept"
    inputs = in_inputs(db)
    assert set(inputs) == set(outcomes), f"lost: {set(outcomes) - set(inputs)}, strange: {set(inputs) - set(outcomes)}"
    assert not (many := {key: runs for key, runs in inputs.items() if len(runs) > 1}), f"in several inputs: {many}"
    connections = {hook.id: hook.connection for hook in scene.load.hooks}
    seen = {(connection, delivery) for connection, _, deliveries in scene.function.calls for delivery in deliveries}
    assert seen == {(connections[hook], delivery) for hook, delivery in outcomes}, "the function was not told of all"
    dropped = db.value("SELECT sum((input ->> 'events_dropped')::int) FROM sync.sync_jobs")
    assert dropped == 0


def assert_triggers(scene):
    latest = {}
    for connection, called, _ in scene.function.calls:
        latest[connection] = max(called, latest.get(connection, 0))
    late = [(connection, sent) for connection, sent in scene.load.triggers if latest.get(connection, 0) < sent]
    assert not late, f"no run after {late}"


def assert_nothing_left(scene):
    db = scene.service.db
    assert db.rows("SELECT * FROM sync.pending_inputs") == [] and db.rows("SELECT * FROM sync.pending_events") == []
    assert db.rows("SELECT * FROM sync.sync_jobs WHERE status <> 'succeeded'") == []
    assert db.rows("SELECT status FROM sync.connections WHERE status <> 'active'") == []


def test_killed_under_load(scene):
    scene.load.start(SENDERS, TRIGGERERS)
    for number in range(ROUNDS):
        for kill in (lambda: scene.kill_gateway(number % 2), scene.kill_executor, scene.kill_server):
            scene.meanwhile()
            kill()
    scene.meanwhile()
    scene.load.stop()
    scene.service.engine.wait_idle()
    assert scene.load.unanswered > 0, "nobody had to repeat anything"
    assert_deliveries(scene)
    assert_triggers(scene)
    assert_nothing_left(scene)
    assert scene.executor.stop() == 0
