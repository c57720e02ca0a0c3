"""Fixtures: one private server and one demo API for all tests, a fresh database for each."""

import pathlib
import re
import sys
import zlib
import shutil
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.api import DemoApi
from harness.certificates import Authority
from harness.engine import Engine
from harness.executor import PLANTED_SECRETS
from harness.mail import PASSWORD, MailServer
from harness.notices import Notices
from harness.proxy import Proxy
from harness.receiver import Receivers
from harness.server import Cluster, require_unprivileged


@pytest.fixture(scope="session")
def workspace():
    require_unprivileged()
    # Under a short path: the server's socket lies in it.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sync-exec-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(workspace):
    private = Cluster(workspace)
    try:
        private.start()
        yield private
    finally:
        private.stop("immediate")


@pytest.fixture(scope="session")
def api(workspace):
    running = DemoApi("--auto-items", "7")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def engine(cluster, api, request, tmp_path):
    # A fresh name each: repositories of the API are named after it too.
    name = re.sub(r"\W+", "_", request.node.name.lower())[:40] + f"_{zlib.crc32(request.node.nodeid.encode()):x}"
    database = cluster.create(name)
    fresh = Engine(database, api, tmp_path)
    try:
        yield fresh
    finally:
        for running in fresh.executors:
            if running.process.poll() is None:
                running.kill()
        if cluster.running():
            cluster.drop(database)
    fresh.close()


@pytest.fixture
def proxy(cluster):
    between = Proxy(cluster.port)
    try:
        yield between
    finally:
        between.close()


@pytest.fixture(scope="session")
def authority(workspace):
    return Authority(workspace / "authority")


@pytest.fixture(scope="session")
def receivers(authority):
    running = Receivers(authority.good)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def mail_servers(authority):
    """Starts mail servers: mail_servers(tls=..., certificate=..., auth=...), by default STARTTLS with a good one."""
    PLANTED_SECRETS.add(PASSWORD)
    started = []

    def start(tls="starttls", certificate=None, **options):
        started.append(MailServer(tls, certificate or authority.good, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def mail(mail_servers):
    return mail_servers()


@pytest.fixture
def notices(engine, authority):
    return Notices(engine, authority)


@pytest.fixture
def hook(receivers, engine):
    """Receivers of this test: hook(), hook("another"), hook("plain", receivers.http)."""

    def make(name="hook", port=None):
        return receivers.receiver(f"/{engine.db.name}/{name}", port)

    return make
