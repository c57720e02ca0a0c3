"""A process that has no file descriptor left. Apart from test_http_*.py: UBSan needs one where it looks closely."""

import resource

from harness.gateway import REQUEST


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))


def test_no_file_is_left(serve):
    server = serve("--max-connections-per-client", "1000", preexec_fn=few_files)
    clients = [server.connect() for _ in range(60)]
    for client in clients:
        client.send(REQUEST)
    server.wait_for("no file descriptor is left: accepting pauses")
    assert clients[0].reply().status == 200
    for client in clients[:40]:
        client.close()
    for client in clients[40:]:
        assert client.reply().status == 200
