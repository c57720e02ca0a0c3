"""A private PostgreSQL cluster with the extension preloaded, and databases in it."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess

import psycopg

from .waiting import PATIENCE, wait_until

CONFIG = """
shared_preload_libraries = 'sync_engine'
fsync = off
full_page_writes = off
max_connections = 200
max_worker_processes = 64
timezone = 'UTC'
log_timezone = 'UTC'
# Tests tick when they want to, and jobs are due at once.
sync_engine.background_ticks = off
sync_engine.jitter_pct_max = 0
sync_engine.backoff_base_seconds = 1
"""

# The password of the executors' role: one of the planted secrets.
DATABASE_PASSWORD = "planted-database-password-7Qz"
EXECUTOR_ROLE = "executor_login"
TEMPLATE = "with_extension"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parent(process):
    """Of that process; None once it is gone, or waits for somebody to take note."""
    try:
        state, number, *_ = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(number)


def program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found:
        return found
    candidates = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    assert candidates, f"{name} is not installed"
    return str(candidates[-1])


class Cluster:
    """Data, socket and log lie in `folder`; clients come over the socket, executors over 127.0.0.1 with a password.
    `within` is put before the commands that start and stop it."""

    def __init__(self, folder, within=()):
        self.within = within
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.port = free_port()
        command = [program("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust"]
        command += ["-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*command, "--no-sync"], check=True, stdout=subprocess.DEVNULL)
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(CONFIG)
            file.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\n")
            file.write(f"unix_socket_directories = '{self.folder}'\n")
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

    def control(self, *words):
        command = [*self.within, program("pg_ctl"), "-D", self.data, "-l", self.log, "-w", "-t", str(PATIENCE)]
        command += words
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout + self.log.read_text()[-2000:]

    def start(self):
        self.control("start")

    def stop(self, mode="fast"):
        if (self.data / "postmaster.pid").exists():
            self.control("stop", "-m", mode)

    def running(self):
        return subprocess.run([program("pg_ctl"), "-D", self.data, "status"], stdout=subprocess.DEVNULL).returncode == 0

    def restart(self, mode="fast"):
        self.control("restart", "-m", mode)

    def kill(self):
        """kill -9 of the server's processes, its first one before those that it would start anew."""
        first = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        # Stopped, so that it starts no further ones.
        os.kill(first, signal.SIGSTOP)
        everybody = map(int, filter(str.isdigit, os.listdir("/proc")))
        children = [process for process in everybody if parent(process) == first]
        processes = [first, *children]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

        wait_until(lambda: all(parent(process) is None for process in processes), "the server's processes to end")
        # A number that nobody has taken note of yet would pass for a server that runs.
        (self.data / "postmaster.pid").unlink()
        (self.folder / f".s.PGSQL.{self.port}.lock").unlink()

    def connect(self, dbname="postgres", **options):
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=dbname, autocommit=True, **options
        )

    def create(self, name):
        """A new database with the extension, as CREATE EXTENSION leaves it, and the executors' role. A copy, which
        takes a third of the time."""
        with self.connect() as admin:
            if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
                self.create_template(admin)
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE} STRATEGY file_copy')
        database = Database(self, name)
        database.run("SELECT sync.adopt_database()")
        return database

    def create_template(self, admin):
        admin.execute(f"CREATE DATABASE {TEMPLATE} IS_TEMPLATE true")
        with self.connect(TEMPLATE) as template:
            template.execute("CREATE EXTENSION sync_engine")
            # So that a copy has none before, and is no clone of another database.
            template.execute("DELETE FROM sync.database_identity")
        admin.execute(f"CREATE ROLE {EXECUTOR_ROLE} LOGIN PASSWORD '{DATABASE_PASSWORD}' IN ROLE sync_executor")

    def drop(self, database):
        with self.connect() as admin:
            admin.execute(f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')


class Database:
    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    def url(self, port=None, host="127.0.0.1"):
        """For executors."""
        port = port or self.cluster.port
        return f"postgresql://{EXECUTOR_ROLE}:{DATABASE_PASSWORD}@{host}:{port}/{self.name}"

    def connect(self):
        return self.cluster.connect(self.name)

    def rows(self, sql, *params):
        with self.connect() as connection:
            cursor = connection.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else []

    def row(self, sql, *params):
        (only,) = self.rows(sql, *params)
        return only

    def value(self, sql, *params):
        return self.row(sql, *params)[0]

    def run(self, sql, *params):
        self.rows(sql, *params)

    def configure(self, **settings):
        """Settings of the engine for sessions that begin from now on."""
        with self.connect() as connection:
            for name, value in settings.items():
                connection.execute(f"""ALTER DATABASE "{self.name}" SET sync_engine.{name} = '{value}'""")


def require_unprivileged():
    assert os.geteuid() != 0, "PostgreSQL refuses to run as root: run these tests as another user"
