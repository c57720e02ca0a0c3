"""Fixtures: servers of sync-gateway with the tests' own handler; sync-gateway over a database of its own."""

import pathlib
import re
import shutil
import sys
import tempfile
import zlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.certificates import Authority
from harness.engine import Engine
from harness.gateway import EchoServer
from harness.server import Cluster, require_unprivileged
from harness.service import Service
from harness.steps import Session


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


@pytest.fixture(scope="session")
def cluster(workspace):
    require_unprivileged()
    private = Cluster(workspace)
    try:
        private.start()
        yield private
    finally:
        private.stop("immediate")


def open_service(cluster, request, folder):
    name = re.sub(r"\W+", "_", request.node.name.lower())[:40] + f"_{zlib.crc32(request.node.nodeid.encode()):x}"
    database = cluster.create(name)
    engine = Engine(database, None, folder)
    service = Service(engine)
    try:
        service.gateway()
        yield service
    finally:
        service.close()
        for running in engine.executors:
            if running.process.poll() is None:
                running.kill()
        if cluster.running():
            cluster.drop(database)
    engine.close()


@pytest.fixture
def service(cluster, request, tmp_path):
    """A fresh database with a gateway."""
    yield from open_service(cluster, request, tmp_path)


@pytest.fixture(scope="module")
def shared_service(cluster, request, workspace):
    """One for all tests of a file."""
    folder = workspace / f"{request.module.__name__}_service"
    folder.mkdir()
    yield from open_service(cluster, request, folder)


@pytest.fixture(scope="module")
def session(shared_service):
    """One to its database."""
    opened = Session(shared_service.db)
    yield opened
    opened.close()
