"""The rivals, how each is set up, and how their scripts are run."""

import contextlib
import dataclasses
import json
import subprocess

from cluster import LIMIT_SECONDS, PATIENCE_SECONDS, WrongResult

ENGINE = "sync-executor"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A rival doing nothing ("bare"), or the same work as the engine, its jobs kept apart in the way `work`."""
    name: str
    script: str
    settings: dict
    work: str = ""

    def told(self):
        return self.settings | {"work": self.work or None}


GRAPHILE = {"concurrency": 100, "local_queue": 500}
PGBOSS = {"batch": 1000, "workers": 3}
BULLMQ = {"concurrency": 128}
# The settings were chosen for the rivals by trying several. In the order of the table; the bare figure of a name stands
# beside each of its works.
DRAINS = (
    Variant("graphile-worker", "graphile", GRAPHILE),
    Variant("graphile-worker", "graphile", GRAPHILE, "queue_name"),
    Variant("pg-boss", "pgboss", PGBOSS),
    Variant("pg-boss", "pgboss", PGBOSS, "group"),
    Variant("pg-boss", "pgboss", PGBOSS, "singleton"),
    Variant("BullMQ, everysec", "bullmq", BULLMQ | {"appendfsync": "everysec"}),
    Variant("BullMQ, everysec", "bullmq", BULLMQ | {"appendfsync": "everysec"}, "deduplication"),
    Variant("BullMQ, always", "bullmq", BULLMQ | {"appendfsync": "always"}),
    Variant("BullMQ, always", "bullmq", BULLMQ | {"appendfsync": "always"}, "deduplication"),
)
LATENCIES = (
    Variant("graphile-worker", "graphile", {"concurrency": 24, "local_queue": -1}),
    Variant("pg-boss", "pgboss", {"batch": 10, "workers": 4}),
    Variant("BullMQ, everysec", "bullmq", BULLMQ | {"appendfsync": "everysec"}),
    Variant("BullMQ, always", "bullmq", BULLMQ | {"appendfsync": "always"}),
)


class Scripts:
    """The Node.js scripts beside this file; each reports in lines of JSON."""

    def __init__(self, node, folder, cluster, redis):
        self.node = node
        self.folder = folder
        self.common = {"socket_dir": str(cluster.socket_dir), "redis": str(redis)}

    def command(self, script, name, told):
        return [self.node, f"{self.folder}/{script}.mjs", name, json.dumps(self.common | told)]

    def run(self, script, name, **told):
        """Runs it to its end; returns what it reported, if anything."""
        try:
            done = subprocess.run(self.command(script, name, told), capture_output=True, text=True, check=False,
                                  timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise WrongResult(f"{script} {name} did not end") from error
        if done.returncode != 0:
            raise WrongResult(f"{script} {name} failed: {done.stderr[-2000:]}")
        return json.loads(done.stdout) if done.stdout else {}

    @contextlib.contextmanager
    def running(self, script, name, **told):
        """Runs it beside the block, which reads its reports with the function that it is given."""
        with running(self.command(script, name, told), stdout=subprocess.PIPE) as process:
            def report(key):
                line = process.stdout.readline()
                if not line:
                    raise WrongResult(f"{script} {name} ended early")
                return json.loads(line)[key]
            yield report
            process.wait(timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
