"""A TCP proxy between executor and server that loses messages on request."""

import contextlib
import socket
import threading

READY_FOR_QUERY = b"Z\x00\x00\x00\x05"


class Fault:
    """Cuts the connection at a request that contains `pattern`: before it is passed on, or once its reply is complete,
    which is then thrown away."""

    def __init__(self, pattern, lose):
        assert lose in ("request", "reply")
        self.pattern = pattern
        self.lose = lose
        self.happened = threading.Event()


class Proxy:
    def __init__(self, port):
        self.upstream = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.faults = []
        self.sockets = set()
        self.refusing = False
        self.closed = False
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, pattern, what):
        fault = Fault(pattern, what)
        with self.lock:
            self.faults.append(fault)
        return fault

    def refuse(self, refusing):
        """While true, new connections are closed at once; the existing ones are cut."""
        self.refusing = refusing
        if refusing:
            self.cut()

    def cut(self):
        with self.lock:
            sockets = list(self.sockets)
        for end in sockets:
            close(end)

    def close(self):
        self.closed = True
        close(self.listener)
        self.cut()

    def _accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                close(client)
                continue
            try:
                server = socket.create_connection(self.upstream)
            except OSError:
                close(client)
                continue
            with self.lock:
                self.connections += 1
                self.sockets.update((client, server))
            link = Link(self, client, server)
            threading.Thread(target=link.forward, daemon=True).start()
            threading.Thread(target=link.backward, daemon=True).start()

    def take_fault(self, data):
        with self.lock:
            for fault in self.faults:
                if fault.pattern in data:
                    self.faults.remove(fault)
                    return fault
        return None


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.client = client
        self.server = server
        self.losing = None

    def forward(self):
        with contextlib.suppress(OSError):
            while data := self.client.recv(1 << 20):
                fault = self.proxy.take_fault(data)
                if fault and fault.lose == "request":
                    fault.happened.set()
                    break
                if fault:
                    self.losing = fault
                self.server.sendall(data)
        self.end()

    def backward(self):
        swallowed = b""
        with contextlib.suppress(OSError):
            while data := self.server.recv(1 << 20):
                if not self.losing:
                    self.client.sendall(data)
                    continue
                swallowed += data
                # The reply is complete, so what it confirms is committed.
                if READY_FOR_QUERY in swallowed[-6:]:
                    self.losing.happened.set()
                    break
        self.end()

    def end(self):
        close(self.client)
        close(self.server)
        with self.proxy.lock:
            self.proxy.sockets -= {self.client, self.server}


def close(end):
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        end.close()
