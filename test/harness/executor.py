"""sync-executor as a process."""

from .process import PLANTED_SECRETS, Process, executable as program_file

SHORT_CYCLES = ("--poll-seconds", "0.2", "--heartbeat-seconds", "1", "--drain-seconds", "20", "--log-level", "debug")
LOOPBACK = ("--allow-private-addresses", "loopback")
__all__ = ["LOOPBACK", "PLANTED_SECRETS", "SHORT_CYCLES", "Executor", "executable"]


def executable():
    return program_file("sync-executor", "SYNC_EXECUTOR")


class Executor(Process):
    def __init__(self, folder, number, url, *flags, env=None, within=()):
        extra = {"SYNC_EXECUTOR_DATABASE_URL": url} if url else {}
        super().__init__(folder, "sync-executor", f"executor-{number}", [*within, executable(), *flags],
                         env={**extra, **(env or {})})

    def ready(self):
        self.wait_for("registered")
        return self
