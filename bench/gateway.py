"""What sync-gateway answers, and how soon a push is claimed by an executor."""

import dataclasses
import json
import re
import subprocess

import gateway_process
import pushes
from cluster import FOLDER, PATIENCE_SECONDS, WrongResult, require_equal
from latency import Bench as Latency
from latency import wait_until
from tick import load

CLIENTS = (1, 16, 64)
RATE = 200  # pushes a second
WARM_UP = 200  # pushes that are not counted
OTHERS = 10_000  # connections of other tenants
SCHEDULES = 1_000
ROLE = "bench_gateway"
# wrk alone must not end connections, nor be refused more of them.
FLAGS = ("--max-requests-per-connection", "1000000000", "--max-connections-per-client", "1000")
# Triggers come last, each for a connection that has no job yet.
REQUESTS = {
    "GET /healthz": ("GET", "/healthz"),
    "GET /connections/{id}": ("GET", "/api/v2/connections/%d"),
    "GET /sync-schedules?limit=50": ("GET", "/api/v2/sync-schedules?limit=50"),
    "POST /connections/{id}/trigger": ("POST", "/api/v2/connections/%d/trigger"),
}
TRIGGER = "POST /connections/{id}/trigger"


@dataclasses.dataclass
class Answers:
    count: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self):
        return self.count / self.seconds


@dataclasses.dataclass
class Results:
    answers: dict = dataclasses.field(default_factory=dict)  # (request, clients): [Answers]
    # Of each round, sorted milliseconds from when a push was due until it was claimed, and until it was answered.
    claimed: list = dataclasses.field(default_factory=list)
    answered: list = dataclasses.field(default_factory=list)


class Bench:
    def __init__(self, cluster, programs, first_due, progress):
        self.cluster = cluster
        self.program = programs["gateway"]
        self.latency = Latency(cluster, programs["executor"], first_due, progress)
        self.first_due = first_due
        self.progress = progress
        self.results = Results()

    def gateway(self):
        return gateway_process.gateway(self.program, self.cluster.socket_dir, "round", ROLE, *FLAGS)

    def requests(self, seconds):
        """Each kind by each number of clients."""
        with self.cluster.clone("gateway") as db, self.gateway() as port:
            token, first, many = db.execute(
                "SELECT sync.create_api_token('large', 'bench', '{read,trigger}', requests_per_minute => 0),"
                " min(id), count(*) FROM sync.connections WHERE tenant_id = 'large'").fetchone()
            triggered = 0
            for name, (method, path) in REQUESTS.items():
                for clients in CLIENTS:
                    done = wrk(port, clients, seconds, token, method, path, first + triggered, many - triggered)
                    self.results.answers.setdefault((name, clients), []).append(done)
                    triggered = self.jobs(db, triggered + done.count) if name == TRIGGER else 0

    @staticmethod
    def jobs(db, at_least):
        """How many there are: those of the requests, and of those whose answers were not waited for."""
        count = db.execute("SELECT count(*) FROM sync.sync_jobs WHERE trigger_type = 'manual'").fetchone()[0]
        if not at_least <= count <= at_least + max(CLIENTS):
            raise WrongResult(f"{count} jobs of {at_least} triggers")
        return count

    def pushes(self, count):
        """Each for a connection that has no job."""
        with self.cluster.clone("gateway") as db, self.gateway() as port, self.latency.executor():
            hooks = db.execute("SELECT connection_id, path, secret FROM bench.hooks ORDER BY 1 LIMIT %s",
                               [count + WARM_UP]).fetchall()
            due, answered, faults = pushes.run(port, [hook[1:] for hook in hooks], RATE)
            if faults:
                raise WrongResult(f"{len(faults)} pushes were not accepted: {faults[0]}")
            wait_until(lambda: self.latency.live(db) == 0, "the last job to end")
            claims = dict(db.execute(
                "SELECT connection_id, extract(epoch FROM started_at)::float8 FROM sync.sync_executions"
                " WHERE status = 'succeeded' AND trigger_type = 'realtime'").fetchall())
        require_equal("connections that ran", sorted(claims), sorted(hook[0] for hook in hooks))
        counted = range(WARM_UP, len(hooks))
        self.results.claimed.append(sorted(1000 * (claims[hooks[n][0]] - due[n]) for n in counted))
        self.results.answered.append(sorted(1000 * answered[n] for n in counted))

    def run(self, connections, seconds, count, runs):
        self.progress("gateway: loading connections")
        load(self.cluster, "gateway", "engine.sql", "bench", self.first_due, OTHERS, 1)
        with self.cluster.connect("gateway") as db:
            db.execute(f"DO 'BEGIN CREATE ROLE {ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END'")
            db.execute(f"GRANT sync_gateway TO {ROLE}")
            db.execute("SELECT sync.enable_tenant_isolation()")
            db.execute((FOLDER / "gateway.sql").read_text())
            db.execute("SELECT bench.fill_large_tenant(%s, %s, %s)", [connections, SCHEDULES, count + WARM_UP])
            # Nothing is due by itself.
            db.execute("UPDATE sync.connection_state SET due_at = due_at + interval '1 day'")
            db.execute("VACUUM ANALYZE")
        for number in range(runs):
            self.progress(f"gateway: round {number + 1} of {runs}, requests")
            self.requests(seconds)
            self.progress(f"gateway: round {number + 1} of {runs}, pushes")
            self.pushes(count)
        self.cluster.drop("gateway")
        return self.results


def wrk(port, clients, seconds, token, method, path, first, many):
    command = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "-s", FOLDER / "gateway.lua",
               "-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json",
               f"http://127.0.0.1:{port}", "--", method, path, str(first), str(many)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + PATIENCE_SECONDS)
    told = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not told:
        raise WrongResult(f"wrk failed: {done.stdout}{done.stderr}")
    told = json.loads(told[1])
    if told["refused"] or told["broken"]:
        raise WrongResult(f"{method} {path}: {told}")
    return Answers(told["requests"], told["seconds"], told["p50_ms"], told["p99_ms"])
