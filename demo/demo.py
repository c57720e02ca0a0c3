#!/usr/bin/python3
"""Runs the demo on a private server that scripts/demo.sh has started: see its --help."""

import argparse
import contextlib
import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import time
import urllib.request

import psycopg
from psycopg.rows import dict_row

import checks
import scenario
from display import Display
from gateway import Gateway

REFRESH_SECONDS = 0.5
SETTLE_SECONDS = 45
DATABASE = "demo"


class Database:
    def __init__(self, socket_dir, port, name):
        self.connection = psycopg.connect(host=socket_dir, port=port, dbname=name, user="postgres",
                                          autocommit=True)

    def execute(self, query, args=None):
        return self.connection.execute(query, args)

    def rows(self, query):
        return self.connection.cursor(row_factory=dict_row).execute(query).fetchall()


class Api:
    """The demo API, in a process of its own."""

    def __init__(self, folder, work, config):
        file = work / "api.json"
        file.write_text(json.dumps(config))
        command = [sys.executable, str(folder / "demo_api.py"), "--port", "0", "--config", str(file),
                   "--exit-with-parent"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True,
                                        stderr=open(work / "api.log", "wb"))
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def control(self, name, **args):
        request = urllib.request.Request(f"{self.url}/control/{name}", data=json.dumps(args).encode())
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)


class Demo:
    def __init__(self, options):
        self.options = options
        self.work = pathlib.Path(options.work)
        self.display = Display()
        self.processes = {}
        self.stopping = 0
        self.db = self.api = self.executor = self.gateway = None
        self.gateway_answers = None
        self.connections = {}

    def interrupted(self, *_):
        self.stopping += 1
        if self.stopping > 1:
            raise KeyboardInterrupt

    def prepare(self):
        options = self.options
        admin = Database(options.socket_dir, options.port, "postgres")
        admin.execute(f"CREATE DATABASE {DATABASE}")
        self.db = Database(options.socket_dir, options.port, DATABASE)
        self.db.execute("CREATE EXTENSION sync_engine")
        self.db.execute("CREATE ROLE demo_executor LOGIN IN ROLE sync_executor")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        flags = ["--drain-seconds", "10"]
        if options.source == "demo":
            environment["DEMO_TOKEN"] = secrets.token_hex(16)
            config = scenario.api_config(environment["DEMO_TOKEN"])
            self.api = Api(pathlib.Path(options.demo_api), self.work, config)
            self.processes["api"] = self.api.process
            self.connections = scenario.set_up_demo(self.db, self.api.url)
            flags += ["--allow-secret-env", "DEMO_TOKEN@127.0.0.1", "--allow-private-addresses", "loopback"]
        else:
            flags += self.prepare_github(environment)
        self.start_executor(environment, flags)
        number, entry = next(iter(self.connections.items()))
        url = f"host={options.socket_dir} port={options.port} dbname={DATABASE}"
        self.gateway = Gateway(options.gateway, self.db, url, self.work, entry.tenant, number, environment)
        self.processes["gateway"] = self.gateway.process
        self.gateway.wait()

    def prepare_github(self, environment):
        url = environment.get("GITHUB_API_URL", "")
        token = bool(environment.get("GITHUB_TOKEN"))
        self.connections = scenario.set_up_github(self.db, self.options.repo, url, token)
        host = scenario.host_of(url or "https://api.github.com")
        flags = ["--allow-secret-env", f"GITHUB_TOKEN@{host}"] if token else []
        if host in ("127.0.0.1", "localhost"):
            flags += ["--allow-private-addresses", "loopback"]
        return flags

    def start_executor(self, environment, flags):
        options = self.options
        url = f"host={options.socket_dir} port={options.port} dbname={DATABASE} user=demo_executor"
        command = [options.executor, "--database-url", url, "--name", "demo", *flags]
        self.executor = subprocess.Popen(command, env=environment, start_new_session=True,
                                         stdout=subprocess.DEVNULL,
                                         stderr=open(self.work / "executor.log", "wb"))
        self.processes["executor"] = self.executor

    def psql(self):
        options = self.options
        return f"psql 'host={options.socket_dir} port={options.port} user=postgres dbname={DATABASE}'"

    def introduce(self):
        tenants = {entry.tenant for entry in self.connections.values()}
        what = (f"{len(self.connections)} connections of {len(tenants)} tenants"
                if self.api else f"the issues of {self.options.repo}")
        self.display.say(f"Syncing {what} for {self.options.seconds:.0f} s; Ctrl-C ends it earlier."
                         " While it runs, look inside:")
        self.display.say(f"    {self.psql()}")
        self.display.say("    SELECT * FROM sync.connection_status;   SELECT * FROM sync.queue;")
        self.display.say(f"    SELECT * FROM sync.explain({min(self.connections)});"
                         "   SELECT sync.metrics_text();")
        self.display.say(f"or ask the gateway, which serves {self.connections[self.gateway.connection].tenant}'s API:")
        self.display.say("".join(f"    {command}\n" for command in self.gateway.commands()))

    def served(self):
        return self.api.control("served")["items"] if self.api else None

    def named(self, role):
        return next((number, entry.repo) for number, entry in self.connections.items() if entry.role == role)

    def run(self):
        """Shows what happens until the time is over; now and then somebody asks for a run at once."""
        end = time.monotonic() + self.options.seconds
        next_trigger = time.monotonic() + 10
        steady = [number for number, entry in self.connections.items() if entry.role == "steady"]
        turn = 0
        while time.monotonic() < end and not self.stopping:
            self.check_processes()
            if steady and time.monotonic() >= next_trigger:
                next_trigger += 4
                self.db.execute("SELECT sync.trigger(%s)", [steady[turn % len(steady)]])
                turn += 1
            served = self.served()
            left = max(0, round(end - time.monotonic()))
            count = None if served is None else len(served)
            self.display.refresh(self.db, count, f"{left} s left, {self.psql()}")
            time.sleep(REFRESH_SECONDS)

    def settle(self):
        """Nothing new at the API; one last run of everybody that can; then the executor drains and stops."""
        self.gateway_answers = self.gateway.try_commands()
        if self.api:
            self.display.say("stopping: no new items, a last run of each, then the executor drains")
            for entry in self.connections.values():
                self.api.control("repo", repo=entry.repo, growth=None)
            able = [number for number, entry in self.connections.items() if entry.role != "failing"]
            since = self.db.execute("SELECT clock_timestamp()").fetchone()[0]
            deadline = time.monotonic() + SETTLE_SECONDS
            next_trigger = time.monotonic()
            while (open_runs := self.unsettled(able, since)) and time.monotonic() < deadline:
                self.check_processes()
                # More than once: a trigger that meets a waiting page of a run asks for that page only.
                if time.monotonic() >= next_trigger:
                    next_trigger += 3
                    for number in open_runs:
                        self.db.execute("SELECT sync.trigger(%s)", [number])
                self.display.refresh(self.db, len(self.served()), "waiting for the last runs")
                time.sleep(REFRESH_SECONDS)
        self.executor.send_signal(signal.SIGTERM)
        return self.executor.wait(timeout=30)

    def unsettled(self, connections, since):
        """The connections that have not yet ended a run that began after `since`."""
        rows = self.db.execute(
            "SELECT connection_id FROM sync.sync_executions WHERE connection_id = ANY(%s) GROUP BY 1"
            " HAVING bool_or(page = 1 AND status = 'succeeded' AND started_at >= %s)"
            " AND (array_agg(status = 'succeeded' AND NOT has_more ORDER BY finished_at DESC, id DESC))[1]",
            [connections, since])
        return sorted(set(connections) - {row[0] for row in rows})

    def check_processes(self):
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = (self.work / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the {name} ended with status {process.returncode}:\n{log}")

    def judge(self, executor_status):
        gateway_status = self.gateway.stop()
        results = [(executor_status == 0, f"the executor drained and stopped with status {executor_status}"),
                   self.gateway_answers,
                   (gateway_status == 0, f"the gateway drained and stopped with status {gateway_status}")]
        if self.api:
            served, items = self.served(), self.api.control("items")["items"]
            failing, failing_name = self.named("failing")
            limited, limited_name = self.named("rate limited")
            results += [
                checks.signals_are_what_was_served(self.db, served),
                checks.everything_was_fetched(served, items, {failing_name}),
                checks.rate_limited_recovered(self.db, limited, limited_name),
                checks.failing_backs_off(self.db, failing, failing_name),
            ]
        else:
            number, entry = next(iter(self.connections.items()))
            results.append(checks.real_repository(self.db, number, entry.repo))
        self.display.settle(self.db, len(served) if self.api else None)
        for passed, sentence in results:
            self.display.say(f"{'ok    ' if passed else 'FAILED'}  {sentence}")
        return all(passed for passed, _ in results)

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
                if process.poll() is None:
                    process.kill()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket-dir", required=True, help="where the server's socket lies")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--work", required=True, help="folder for logs")
    parser.add_argument("--executor", required=True, help="the program sync-executor")
    parser.add_argument("--gateway", required=True, help="the program sync-gateway")
    parser.add_argument("--demo-api", required=True, help="folder of demo_api.py")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--source", choices=["demo", "github"], default="demo")
    parser.add_argument("--repo", default="", help="owner/name, with --source github")
    return parser.parse_args(arguments)


def main():
    demo = Demo(parse(sys.argv[1:]))
    signal.signal(signal.SIGINT, demo.interrupted)
    signal.signal(signal.SIGTERM, demo.interrupted)
    try:
        demo.prepare()
        demo.introduce()
        demo.run()
        passed = demo.judge(demo.settle())
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, OSError, psycopg.Error) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        demo.stop()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
