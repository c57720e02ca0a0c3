"""A database of the engine with shorthands for what the tests set up and look at."""

import json

from .executor import LOOPBACK, SHORT_CYCLES, Executor
from .waiting import PATIENCE, wait_until


class Engine:
    def __init__(self, database, api, folder):
        self.db = database
        self.api = api
        self.folder = folder
        self.executors = []
        self.repos = 0

    def executor(self, *flags, name="executor-1", **options):
        """Starts one with short cycles and loopback allowed; later flags win."""
        return self.bare_executor(*SHORT_CYCLES, *LOOPBACK, "--name", name, *flags, **options)

    def bare_executor(self, *flags, url=None, **options):
        """Starts one with these flags alone; options: `env`, more environment; `within`, put before its command."""
        number = len(self.executors) + 1
        started = Executor(self.folder, number, self.db.url() if url is None else url, *flags, **options)
        self.executors.append(started)
        return started

    def close(self):
        for started in self.executors:
            started.close()

    def repo(self, items=7, **settings):
        self.repos += 1
        return self.api.repo(f"{self.db.name}/r{self.repos}", items=items, **settings)

    def provider(self, slug="github", connector="http", config=None, **columns):
        columns = {"slug": slug, "connector": connector, "config": json.dumps(config or {}), **columns}
        names = ", ".join(columns)
        marks = ", ".join(["%s"] * len(columns))
        self.db.run(f"INSERT INTO sync.providers ({names}) VALUES ({marks})", *columns.values())
        return slug

    def github(self, **config):
        """The provider github, at the demo API."""
        return self.provider(config={"preset": "github-issues", "base_url": self.api.url, **config})

    def connection(self, provider="github", tenant="acme", config=None):
        return self.db.value(
            "INSERT INTO sync.connections (tenant_id, provider_slug, config) VALUES (%s, %s, %s) RETURNING id",
            tenant, provider, json.dumps(config or {}),
        )

    def github_connection(self, repo, **config):
        return self.connection(config={"repo": repo.name, **config})

    def trigger(self, connection, job_type="incremental"):
        return self.db.value("SELECT sync.trigger(%s, %s)", connection, job_type)

    def job(self, job_id):
        """The job's row as a dictionary."""
        return self.db.value("SELECT to_jsonb(j) FROM sync.sync_jobs j WHERE id = %s", job_id)

    def attempts(self, connection):
        """The connection's history, oldest first."""
        return [
            row[0]
            for row in self.db.rows(
                "SELECT to_jsonb(e) FROM sync.sync_executions e WHERE connection_id = %s ORDER BY id", connection
            )
        ]

    def signals(self, connection):
        return [
            row[0]
            for row in self.db.rows(
                "SELECT to_jsonb(s) FROM sync.signals s WHERE connection_id = %s ORDER BY id", connection
            )
        ]

    def wait_status(self, job_id, *statuses):
        """The job's row once it has one of these statuses (succeeded); fails at once when it ends otherwise."""
        statuses = statuses or ("succeeded",)

        def there():
            job = self.job(job_id)
            if job["status"] in statuses:
                return job
            assert job["status"] in ("queued", "running"), f"ended as {job}\n{self.tails()}"
            return None

        return wait_until(there, lambda: f"job {job_id} {statuses}: {self.job(job_id)}\n{self.tails()}")

    def wait_attempts(self, connection, count=1):
        return wait_until(
            lambda: len(found := self.attempts(connection)) >= count and found,
            lambda: f"{count} attempts of connection {connection}: {self.attempts(connection)}\n{self.tails()}",
        )

    def live(self):
        return self.db.value("SELECT count(*) FROM ONLY sync.sync_jobs WHERE status IN ('queued', 'running')")

    def wait_idle(self, seconds=PATIENCE):
        """Until nothing is queued or running."""
        wait_until(
            lambda: self.live() == 0,
            lambda: f"{self.live()} jobs are still live: "
            f"{self.db.rows('SELECT * FROM sync.queue LIMIT 5')}\n{self.tails()}",
            seconds,
        )

    def run_once(self, *flags, **options):
        """An executor with --once; asserts that it succeeded."""
        done = self.executor("--once", *flags, **options)
        assert done.wait() == 0, done.output()[-4000:]
        return done

    def assert_exactly_once(self, connection, repo):
        """The connection's signals are the repository's items, each version once."""
        expected = sorted((item["id"], item["updated_at"]) for item in repo.items())
        landed = sorted((s["payload"]["id"], s["payload"]["updated_at"]) for s in self.signals(connection))
        assert landed == expected

    def tails(self):
        return "\n".join(f"--- {e.command}\n{e.output()[-2000:]}" for e in self.executors)
