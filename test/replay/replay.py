#!/usr/bin/python3
"""Replays a year of schedules on a private server. usage: replay.py SOCKET_FOLDER

Prints TAP: a test for each rule of judge.sql. SEED=n repeats a run; FULL=1 is 500 schedules in 40 zones.
"""

import os
import pathlib
import random
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import by_zoneinfo
import psycopg

ZONES = """Europe/Berlin America/New_York Australia/Lord_Howe Africa/Casablanca America/Havana America/Santiago
Antarctica/Troll Pacific/Apia UTC Europe/London Europe/Dublin Atlantic/Azores Africa/Cairo Asia/Gaza Asia/Beirut
Asia/Jerusalem Europe/Chisinau Africa/El_Aaiun America/Los_Angeles America/St_Johns America/Asuncion America/Nuuk
America/Miquelon America/Scoresbysund America/Sao_Paulo Pacific/Easter Pacific/Auckland Pacific/Chatham
Pacific/Norfolk Pacific/Fiji Australia/Adelaide Asia/Tehran Asia/Kathmandu Asia/Kolkata Asia/Amman
Asia/Pyongyang Etc/GMT+12 America/Caracas Asia/Hovd Europe/Volgograd""".split()
FOLDER = pathlib.Path(__file__).parent
# Retention, so that the server does not keep a table for each day of a year; what it drops is copied before.
SETTINGS = {"client_min_messages": "error",
            "sync_engine.execution_retention_days": 5, "sync_engine.job_retention_days": 5}
OUTCOMES = ["fired", "coalesced", "skipped_overlap", "skipped_paused", "skipped_by_user", "missed", "dst_gap",
            "triggered"]


def connect(folder, database):
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    return psycopg.connect(host=folder, user="postgres", dbname=database, autocommit=True, options=options)


def restart(folder):
    """As after a loss of power: nothing is left of what only memory held."""
    tool = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], capture_output=True, text=True,
                          check=True).stdout.strip() + "/pg_ctl"
    subprocess.run([tool, "-D", f"{folder}/data", "-m", "immediate", "-w", "-l", f"{folder}/server.log", "restart"],
                   check=True, stdout=subprocess.DEVNULL)


def simulate(folder, dice, full):
    """A session for each part of the time; some begin on a server that has crashed."""
    zones = ZONES if full else ZONES[:8] + dice.sample(ZONES[8:], 12)
    # Where it is not a whole year, the weeks in which most clocks are changed.
    begins = datetime(dice.randint(2010, 2034), 1, 1, tzinfo=timezone.utc)
    begins += timedelta(days=dice.choice([60, 265]) + dice.randint(0, 7))
    # Schedules, days, how long before and after a change of the clocks ticks are frequent, and how rare else.
    size = (500, 365, "20 minutes", "2 hours") if full else (60, 60, "20 minutes", "1 hour")
    with connect(folder, "replay") as db:
        db.execute((FOLDER / "simulate.sql").read_text(encoding="utf-8"))
        db.execute("CALL replay.begin(%s, %s, %s, %s, %s, %s, %s)", (dice.random(), begins, zones, *size))
    days = 0
    while days < size[1]:
        days = min(days + dice.randint(5, 30), size[1])
        if dice.random() < 0.4:
            restart(folder)
        with connect(folder, "replay") as db:
            db.execute("CALL replay.run(%s, %s)", (dice.random(), begins + timedelta(days=days)))
    with connect(folder, "replay") as db:
        db.execute("CALL replay.finish()")


def differ_from_zoneinfo(db, dice):
    """Three days around changes of the clocks, and others: on which of them the judge's list is not zoneinfo's."""
    compared, wrong = 0, []
    pieces = db.execute("SELECT id, cron_expression, timezone, dst_gap, dst_fold, after, until FROM replay.pieces"
                        " WHERE until - after > interval '8 days'").fetchall()
    changes = db.execute("SELECT zone, at FROM replay.transitions").fetchall()
    for schedule, expression, name, gap, fold, after, until in pieces:
        zone, margin = ZoneInfo(name), timedelta(days=3)
        middles = [at for changed, at in changes if changed == name and after + margin < at < until - margin]
        for middle in [*middles, after + (until - after) * dice.random()]:
            first = middle.astimezone(zone).date() - timedelta(days=1)
            expected = by_zoneinfo.instants(expression, name, gap, fold, first, 3)
            low, high = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (first, first + margin))
            if expected is None or low <= after or high > until:
                continue
            rows = db.execute("SELECT at FROM replay.planned WHERE schedule_id = %s AND at > %s AND at < %s",
                              (schedule, low, high))
            compared += 1
            # Midnight is left out: a gap that ends there belongs to the day before.
            if {at for (at,) in rows} != {at for at in expected if low < at < high}:
                wrong.append(f"schedule {schedule} ({expression}, {name}, {gap}, {fold}) around {middle}")
    return compared, wrong


class Tap:
    def __init__(self):
        self.tests = self.failed = 0

    def test(self, name, faults):
        self.tests += 1
        self.failed += bool(faults)
        print(f"{'not ' if faults else ''}ok {self.tests} - {name}")
        for fault in faults[:5]:
            print(f"#   {fault}")
        if len(faults) > 5:
            print(f"#   and {len(faults) - 5} more")


def around(db, schedule, at):
    """The ledger around a fault, and what it was planned with."""
    yield from (f"    spec {row}" for (row,) in db.execute(
        "SELECT concat_ws(', ', cron_expression, timezone, dst_gap, dst_fold, catch_up, overlap, after, until)"
        " FROM replay.pieces WHERE id = %s ORDER BY n", (schedule,)))
    yield from (f"    clock went back to {row}" for (row,) in db.execute(
        "SELECT at FROM replay.rewound WHERE schedule_id = %s ORDER BY abs(extract(epoch FROM at - %s)) LIMIT 1",
        (schedule, at)))
    yield from (f"    ledger {row}" for (row,) in db.execute(
        "SELECT l::text FROM (SELECT * FROM replay.ledger WHERE schedule_id = %s"
        " ORDER BY abs(extract(epoch FROM first_planned_at - %s)) LIMIT 6) l ORDER BY first_planned_at, id",
        (schedule, at)))


def report(db, dice):
    tap = Tap()
    for (rule,) in db.execute("SELECT rule FROM replay.rules ORDER BY n").fetchall():
        rows = db.execute("SELECT schedule_id, at, detail FROM replay.violations WHERE rule = %s ORDER BY at",
                          (rule,)).fetchall()
        tap.test(rule, [f"schedule {schedule} at {at}: {detail}" for schedule, at, detail in rows])
        for line in around(db, *rows[0][:2]) if rows else ():
            print(f"#   {line}")
    unknown = db.execute("SELECT rule FROM replay.violations EXCEPT SELECT rule FROM replay.rules").fetchall()
    tap.test("each violation is of a rule", unknown)
    compared, wrong = differ_from_zoneinfo(db, dice)
    tap.test(f"the instants are those of zoneinfo, {compared} times three days",
             wrong if compared else ["nothing compared"])
    seen = {outcome for (outcome,) in db.execute("SELECT DISTINCT outcome FROM replay.ledger")}
    tap.test("every outcome occurred", [outcome for outcome in OUTCOMES if outcome not in seen])
    print(f"1..{tap.tests}")
    return tap.failed == 0


def summarize(db):
    def counts(query):
        return ", ".join(" ".join(map(str, row)) for row in db.execute(query))

    print("#", counts("SELECT count(*) FROM replay.planned"), "planned instants;",
          counts("SELECT count(*) FROM replay.rewound"), "times a schedule's were taken back")
    print("# ledger, rows and instants:", counts("SELECT outcome, count(*), sum(planned_count) FROM replay.ledger"
                                                 " GROUP BY 1 ORDER BY 2 DESC"))
    print("# jobs:", counts("SELECT trigger_type, count(*) FROM replay.jobs GROUP BY 1 ORDER BY 2 DESC"))
    print("# events:", counts("SELECT kind, n FROM replay.events ORDER BY n DESC"))


def main():
    folder, full = sys.argv[1], os.environ.get("FULL", "0") != "0"
    # The same by default, so that a failure is that of the change at hand.
    seed = int(os.environ.get("SEED") or (random.SystemRandom().randrange(10**6) if full else 41))
    dice = random.Random(seed)
    print(f"# SEED={seed} FULL={int(full)}", flush=True)
    with connect(folder, "postgres") as db:
        db.execute("CREATE DATABASE replay")
    began = time.monotonic()
    simulate(folder, dice, full)
    simulated = time.monotonic()
    with connect(folder, "replay") as db:
        db.execute((FOLDER / "judge.sql").read_text(encoding="utf-8"))
        print(f"# simulated in {simulated - began:.0f} s, judged in {time.monotonic() - simulated:.0f} s")
        summarize(db)
        sys.exit(not report(db, dice))


main()
