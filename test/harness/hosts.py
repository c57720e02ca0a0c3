"""Hosts: network namespaces, each linked to the server's by a cable of its own that can be cut. Where the kernel lets
an unprivileged user have them."""

import contextlib
import os
import subprocess

from .server import Cluster, program

SERVER_CONFIG = """
listen_addresses = '*'
sync_engine.background_ticks = on
sync_engine.tick_interval_seconds = 1
sync_engine.lease_seconds = 5
"""


def answering(command):
    """A process that has opened its namespaces once it answers; it ends when its input does."""
    holder = subprocess.Popen([*command, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    with contextlib.suppress(BrokenPipeError):
        holder.stdin.write(b"ready\n")
        holder.stdin.flush()
    if holder.stdout.readline() == b"ready\n":
        return holder
    holder.wait(20)
    raise OSError(holder.stderr.read().decode().strip() or f"{command} ended with status {holder.returncode}")


class Namespace:
    """A network of its own, kept by a process that holds it open."""

    def __init__(self, within=()):
        """`within`: what to put before a command so that it may open one."""
        self.holder = answering([*within, "unshare", "--net"])

    def as_root(self):
        """Before a command that configures this network: root of the user namespace that owns it."""
        return ["nsenter", "--target", str(self.holder.pid), "--user", "--net", "--preserve-credentials", "--"]

    def as_us(self):
        """Before a command that lives in this network: an ordinary user there, since the server refuses root."""
        return [*self.as_root(), "unshare", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}", "--"]

    def ip(self, words):
        subprocess.run([*self.as_root(), program("ip"), *words.split()], check=True)

    def close(self):
        for pipe in (self.holder.stdin, self.holder.stdout, self.holder.stderr):
            pipe.close()
        self.holder.wait(20)


class Host:
    """One end of a cable to the server."""

    def __init__(self, server, number):
        self.network = Namespace(server.as_root())
        self.address = f"10.77.{number}.2"
        self.server_address = f"10.77.{number}.1"
        server.ip(f"link add cable{number} type veth peer name eth0 netns {self.network.holder.pid}")
        server.ip(f"address add {self.server_address}/24 dev cable{number}")
        server.ip(f"link set cable{number} up")
        self.network.ip(f"address add {self.address}/24 dev eth0")
        self.network.ip("link set lo up")
        self.connect()

    def cut(self):
        self.network.ip("link set eth0 down")

    def connect(self):
        self.network.ip("link set eth0 up")


class Hosts:
    """A server with a network of its own, and hosts that reach it by TCP alone."""

    def __init__(self, folder, count):
        # The first has a user namespace too, in which we may do what takes root elsewhere.
        self.server = Namespace(["unshare", "--user", "--map-root-user"])
        self.hosts = []
        self.cluster = None
        try:
            self.server.ip("link set lo up")
            self.hosts = [Host(self.server, number) for number in range(1, count + 1)]
            self.cluster = Cluster(folder, self.server.as_us())
            with open(self.cluster.data / "postgresql.conf", "a") as file:
                file.write(SERVER_CONFIG)
            with open(self.cluster.data / "pg_hba.conf", "a") as file:
                file.write("host all all 10.77.0.0/16 scram-sha-256\n")
            self.cluster.start()
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.cluster:
            self.cluster.stop("immediate")
        for namespace in [*(host.network for host in self.hosts), self.server]:
            namespace.close()


def refusal():
    """Why there can be no such hosts here; None where there can."""
    try:
        probe = Namespace(["unshare", "--user", "--map-root-user"])
    except OSError as error:
        return str(error)
    try:
        peer = Namespace(probe.as_root())
        try:
            probe.ip(f"link add probe type veth peer name eth0 netns {peer.holder.pid}")
        finally:
            peer.close()
    except (OSError, subprocess.CalledProcessError) as error:
        return str(error)
    finally:
        probe.close()
    return None
