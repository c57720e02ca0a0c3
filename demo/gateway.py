"""The gateway of the demo: a process, a token of one tenant, and commands to try it with."""

import json
import re
import subprocess
import time
import urllib.request

ROLE = "demo_gateway"
PATIENCE_SECONDS = 20


class Gateway:
    """Serves the API of the tenant that has this connection."""

    def __init__(self, program, db, database_url, work, tenant, connection, environment):
        self.connection = connection
        db.execute(f"CREATE ROLE {ROLE} LOGIN IN ROLE sync_gateway")
        # Refuses every token until the tables are isolated, which making one sees to.
        self.token = db.execute("SELECT sync.create_api_token(%s, 'demo', '{read,trigger}')", [tenant]).fetchone()[0]
        self.log = work / "gateway.log"
        command = [program, "--listen", "127.0.0.1:0", "--database-url", f"{database_url} user={ROLE}"]
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
                                        stderr=open(self.log, "wb"))
        self.url = None

    def wait(self):
        """Until it serves."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.search(r'"msg":"listening".*?"port":(\d+)', self.log.read_text(errors="replace"))):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway does not serve:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{found[1]}/api/v2"

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=30)

    def commands(self):
        """For a shell: what there is, a run at once, and what happens."""
        return [f"T='Authorization: Bearer {self.token}'",
                f'curl -s -H "$T" {self.url}/overview',
                f'curl -s -H "$T" -X POST {self.url}/connections/{self.connection}/trigger',
                f'curl -s -H "$T" -N {self.url}/events']

    def open(self, path, method="GET"):
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url + path, b"" if method == "POST" else None, headers, method=method)
        return urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)

    def try_commands(self):
        """(passed, sentence) of the requests that the commands make: the events tell of the run that was asked for."""
        with self.open("/events") as events:
            with self.open("/overview") as reply:
                overview, told = reply.status, json.load(reply)
            with self.open(f"/connections/{self.connection}/trigger", "POST") as reply:
                trigger, job = reply.status, json.load(reply)["job_id"]
            heard = hears_of(events, self.connection)
        passed = overview == events.status == 200 and trigger in (200, 202) and bool(told) and heard
        return passed, (f"the gateway answered the commands above with {overview}, {trigger} and {events.status};"
                        f" its events {'told of' if heard else 'said nothing about'} job {job}")


def hears_of(events, connection):
    """Whether they tell of a job of that connection in good time; pings come meanwhile."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    kind = None
    for line in events:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data" and kind == "job" and json.loads(value).get("connection_id") == connection:
            return True
        if time.monotonic() > deadline:
            return False
    return False
