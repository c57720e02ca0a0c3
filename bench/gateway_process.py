"""sync-gateway, started for a measurement."""

import contextlib
import re
import subprocess
import tempfile

from cluster import PATIENCE_SECONDS, WrongResult
from latency import wait_until


@contextlib.contextmanager
def gateway(program, socket_dir, database, role, *flags):
    """Its port. The log goes to a file, as it would."""
    url = f"host={socket_dir} dbname={database} user={role}"
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen([program, "--listen", "127.0.0.1:0", "--database-url", url, *flags], stderr=log)
        try:
            yield port_of(process, log.name)
            process.terminate()
            if process.wait(PATIENCE_SECONDS) != 0:
                raise WrongResult(f"sync-gateway failed: {tail(log.name)}")
        finally:
            process.kill()
            process.wait()


def port_of(process, log):
    found = None

    def listening():
        nonlocal found
        found = re.search(r'"msg":"listening".*?"port":(\d+)', tail(log))
        if process.poll() is not None:
            raise WrongResult(f"sync-gateway failed: {tail(log)}")
        return found

    wait_until(listening, "the gateway to listen")
    return int(found[1])


def tail(path):
    with open(path, errors="replace") as file:
        return file.read()[-4000:]
