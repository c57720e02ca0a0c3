"""The private server of a benchmark: databases made from templates, counters, pgbench."""

import contextlib
import dataclasses
import pathlib
import re
import subprocess
import time

import psycopg

FOLDER = pathlib.Path(__file__).resolve().parent
PATIENCE_SECONDS = 60
LIMIT_SECONDS = 600


class WrongResult(Exception):
    """A measurement whose work was not done as it should have been is no measurement."""


@dataclasses.dataclass
class Cost:
    """What `count` units of work took."""

    count: int
    seconds: float
    wal_bytes: int
    commits: int

    @property
    def rate(self):
        return self.count / self.seconds


class Cluster:
    def __init__(self, socket_dir, bindir):
        self.socket_dir = socket_dir
        self.bindir = pathlib.Path(bindir)
        self.admin = self.connect("postgres")

    def connect(self, database):
        return psycopg.connect(host=self.socket_dir, dbname=database, user="postgres",
                               application_name="bench", autocommit=True)

    def value(self, query, args=None):
        return self.admin.execute(query, args).fetchone()[0]

    def drop(self, *databases):
        for database in databases:
            self.admin.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def create(self, database, *scripts):
        self.admin.execute(f"CREATE DATABASE {database}")
        with self.connect(database) as db:
            for script in scripts:
                db.execute((FOLDER / script).read_text())

    @contextlib.contextmanager
    def clone(self, template):
        """A copy of the template, dropped afterwards. The checkpoint comes before the copy, so that the pages
        need no further full-page images."""
        self.admin.execute("CHECKPOINT")
        self.admin.execute(f"CREATE DATABASE round TEMPLATE {template}")
        try:
            with self.connect("round") as db:
                if db.execute("SELECT to_regnamespace('sync') IS NOT NULL").fetchone()[0]:
                    db.execute("SELECT sync.adopt_database()")
                yield db
        finally:
            self.drop("round")

    def counters(self, database):
        """WAL position and commits so far, once the other clients have gone: they count when they exit."""
        clients = ("SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name <> 'bench'"
                   " AND backend_type = 'client backend'")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.value(clients, [database]) > 0:
            if time.monotonic() > deadline:
                raise WrongResult("clients of the benchmark do not go away")
            time.sleep(0.01)
        return self.admin.execute(
            "SELECT pg_current_wal_insert_lsn() - '0/0', pg_stat_get_db_xact_commit(oid) FROM pg_database"
            " WHERE datname = %s", [database]).fetchone()

    @contextlib.contextmanager
    def counted(self, database, cost):
        """Fills in what the block added to the counters, and its time unless the block knows it better."""
        wal, commits = self.counters(database)
        started = time.monotonic()
        yield
        cost.seconds = cost.seconds or time.monotonic() - started
        after = self.counters(database)
        cost.wal_bytes = int(after[0] - wal)
        cost.commits = after[1] - commits

    def pgbench(self, script, clients, transactions, **variables):
        """Runs the script so often in each client; returns seconds without those of connecting."""
        command = [self.bindir / "pgbench", "-h", self.socket_dir, "-U", "postgres", "-n", "-M", "prepared",
                   "-f", FOLDER / script, "-c", str(clients), "-j", str(clients), "-t", str(transactions)]
        for name, value in variables.items():
            command += ["-D", f"{name}={value}"]
        try:
            run = subprocess.run([*command, "round"], capture_output=True, text=True, check=False,
                                 timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise WrongResult("pgbench did not end") from error
        rate = re.search(r"tps = ([0-9.]+) \(without", run.stdout)
        done = re.search(r"actually processed: (\d+)/(\d+)", run.stdout)
        if run.returncode != 0 or not rate or not done or done[1] != done[2]:
            raise WrongResult(f"pgbench failed: {run.stdout}{run.stderr}")
        return int(done[1]) / float(rate[1])


def require(fault):
    if fault:
        raise WrongResult(fault)


def require_equal(what, found, expected):
    if found != expected:
        raise WrongResult(f"{what}: {found}, not {expected}")
