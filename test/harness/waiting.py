"""Waiting for something to become true, with a deadline."""

import time

# Sanitizers and a loaded machine make everything slower; nothing waits this long when all is well.
PATIENCE = 60


def wait_until(condition, what, seconds=PATIENCE):
    """The first true value of condition(); fails with `what` (text, or a function that makes it) at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for: {what() if callable(what) else what}")
        time.sleep(0.02)
