"""Fixtures: servers of sync-gateway with the tests' own handler."""

import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.certificates import Authority
from harness.gateway import EchoServer


@pytest.fixture(scope="session")
def workspace():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sync-gateway-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(workspace):
    return Authority(workspace / "authority")


@pytest.fixture
def serve(tmp_path):
    """Starts servers: serve("--header-timeout", "1")."""
    started = []

    def start(*flags, **popen):
        started.append(EchoServer(tmp_path, len(started) + 1, *flags, **popen))
        return started[-1]

    yield start
    for server in started:
        alive = server.process.poll() is None
        status = server.stop() if alive else server.process.returncode
        server.close()
        assert status in (0, 130, 143), f"ended with {status}: {server.output()[-4000:]}"


@pytest.fixture(scope="module")
def common(workspace, request):
    """One server with the usual settings for all tests of a file."""
    folder = workspace / request.module.__name__
    folder.mkdir()
    server = EchoServer(folder, 0, "--max-connections-per-client", "1000")
    yield server
    status = server.stop()
    server.close()
    assert status == 0, server.output()[-4000:]
