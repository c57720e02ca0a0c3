"""The demo API as a process, and its control interface."""

import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

PROGRAM = pathlib.Path(__file__).parents[1] / "demo_api" / "demo_api.py"


class DemoApi:
    def __init__(self, *flags):
        command = [sys.executable, str(PROGRAM), "--port", "0", "--exit-with-parent", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()

    def control(self, call, **parameters):
        request = urllib.request.Request(f"{self.url}/control/{call}", data=json.dumps(parameters).encode())
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{call}: {error.read().decode()}") from None

    def repo(self, name, **settings):
        self.control("repo", repo=name, **settings)
        return Repo(self, name)


class Repo:
    """One repository of the demo API."""

    def __init__(self, api, name):
        self.api = api
        self.name = name

    def script(self, *behaviours):
        """How the next requests go."""
        self.api.control("behaviour", repo=self.name, script=list(behaviours))

    def behave(self, kind, **parameters):
        """How requests go from now on."""
        self.api.control("behaviour", repo=self.name, behaviour={"kind": kind, **parameters})

    def items(self):
        return self._listing("items")

    def served(self):
        return self._listing("served")

    def requests(self):
        return self._listing("requests")

    def add(self, count):
        return self.api.control("items/add", repo=self.name, count=count)

    def touch(self, *ids):
        return self.api.control("items/touch", repo=self.name, ids=list(ids))

    def _listing(self, name):
        answer = self.api.control(name, repo=self.name)
        return answer if isinstance(answer, list) else answer[name]
