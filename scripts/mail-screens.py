#!/usr/bin/python3
"""Draws the pictures of docs/notifications.md: e-mails as a private server, sync-executor and a mail server on
loopback make them, drawn by headless Chromium (Debian's package chromium). Run it unprivileged, after `make build` and
an install.

usage: mail-screens.py FOLDER
"""

import datetime
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test" / "executor"))

from harness.certificates import Authority  # noqa: E402
from harness.engine import Engine  # noqa: E402
from harness.mail import MailServer  # noqa: E402
from harness.notices import Notices  # noqa: E402
from harness.server import Cluster  # noqa: E402

TO = "ops@customer.example"
# Width and height in pixels, by kind.
SIZES = {"failed": (720, 760), "digest": (720, 1500)}


def happen(notices):
    """A day of a tenant: nightly and hourly runs, an API that is down for a while, a schedule that is paused."""
    db = notices.db
    day = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = day - datetime.timedelta(days=1)
    db.configure(link_base="https://console.example.com")
    notices.email(TO, events=("failure", "warning", "recovered"), name="operations", as_of=yesterday)
    names = ("Anvils", "Rocket skates", "Tornado seeds")
    anvils, skates, seeds = (notices.connection(name) for name in names)
    db.run(
        "UPDATE sync.connections SET created_at = %s, external_id = 'acme/' || lower(split_part(name, ' ', 1))",
        yesterday - datetime.timedelta(days=3),
    )
    for connection, hour in ((skates, 2), (seeds, 4)):
        db.run(
            "SELECT sync.create_schedule(%s, 'nightly', 'daily', at => %s, as_of => %s)",
            connection, f"{hour:02}:00", yesterday,
        )
    pause = (
        "SELECT sync.pause_schedule(id, 'stocktaking', as_of => %s) FROM sync.sync_schedules"
        " WHERE connection_id = %s"
    )
    db.run(pause, yesterday, seeds)
    for hour in range(24):
        at = yesterday + datetime.timedelta(hours=hour, minutes=5)
        if hour in (9, 10):
            notices.fails(anvils, "status 503: Service Unavailable", "permanent", at, code="http_status", status=503)
            continue
        notices.succeeds(anvils, 12, at)
        db.run("SELECT enqueued FROM sync.tick(%s)", at)
        for job in db.rows("SELECT job_id, claim_token FROM sync.claim_jobs('night', 10, %s)", at):
            db.run("SELECT sync.complete_job(%s, %s, '[{}, {}, {}]', as_of => %s)", *job, at)
    db.run("SELECT enqueued FROM sync.tick()")
    db.run("SELECT sync.cancel_job(id) FROM sync.sync_jobs WHERE status = 'queued'")
    notices.fails(skates, "status 404: Not Found\nGET /v2/skates?since=2026", code="http_status", status=404)
    # Last: the worker writes it as soon as it is due.
    digest = {"digest": {"every": "day", "at": "00:00", "timezone": "UTC"}}
    notices.email(TO, events=("digest",), config=digest, name="operations", as_of=yesterday)


def draw(html, target, size):
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "mail.html"
        page.write_text(html, encoding="utf-8")
        command = [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--hide-scrollbars", "--disable-background-networking", "--disable-component-update"]
        command += ["--disable-sync", f"--user-data-dir={folder}/profile"]
        command += ["--window-size={},{}".format(*size), f"--screenshot={target}", page.as_uri()]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, env={"HOME": folder, "PATH": "/usr/bin:/bin"}, **quiet)


def main():
    out = pathlib.Path(sys.argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mail-screens-", dir="/tmp"))
    cluster = Cluster(folder)
    cluster.start()
    authority = Authority(folder / "authority")
    server = MailServer("starttls", authority.good)
    engine = Engine(cluster.create("screens"), None, folder)
    try:
        notices = Notices(engine, authority)
        happen(notices)
        notices.executor(mail=server).ready()
        server.wait(2, notices.engine.tails)
        notices.wait_all_delivered()
        for mail in server.accepted:
            kind = "digest" if "digest" in mail["Subject"] else "failed" if "failed:" in mail["Subject"] else "other"
            (out / f"{kind}.txt").write_text(mail.part("plain"), encoding="utf-8")
            if kind != "other":
                draw(mail.part("html"), out / f"{kind}.png", SIZES[kind])
            print(f"{mail['Subject']}: {kind}")
    finally:
        for running in engine.executors:
            running.kill()
        server.close()
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
