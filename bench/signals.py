"""How fast pages of signals land, beside COPY of the same pages, and how fast they are read."""

import dataclasses
import json
import random
import time

from cluster import Cost, require_equal

PAGE = 1000
SIGNAL_BYTES = 500
# Months of signals that lie behind, and how many of them each connection has in each.
MONTHS_BEFORE = (0, 12)
SIGNALS_BEFORE = 100
LANDING = ("complete_job", "add_signals")
WAYS = (*LANDING, "copy")
COLUMNS = "tenant_id, provider_slug, connection_id, kind, occurred_at, received_at, payload, dedupe_key"


@dataclasses.dataclass
class Page:
    connection: int
    tenant: str
    job: int
    token: str
    signals: str  # for the engine
    lines: bytes  # for COPY


def signal(page, number):
    """As a connector hands it over: 500 bytes of JSON."""
    payload = {"id": page * PAGE + number, "title": f"Issue {number} of page {page}", "state": "open",
               "labels": ["bug", "help wanted"], "user": {"login": f"user{number % 97}", "id": number % 97},
               "url": f"https://api.example.org/repos/o/r/issues/{page * PAGE + number}", "body": ""}
    made = {"kind": "issue", "occurred_at": f"2026-03-01T12:{number // 60 % 60:02}:{number % 60:02}Z",
            "dedupe_key": f"issue-{page}-{number}", "payload": payload}
    missing = SIGNAL_BYTES - len(json.dumps(made))
    payload["body"] = "".join(random.choices("abcdefghij klmnop", k=missing))
    return made


def copy_line(made, connection, tenant, now):
    payload = json.dumps(made["payload"]).replace("\\", "\\\\")
    values = (tenant, "bench", str(connection), made["kind"], made["occurred_at"], now, payload,
              made["dedupe_key"])
    return "\t".join(values) + "\n"


def make_pages(db, count):
    """A claimed job for each, and what it brings."""
    now = db.execute("SELECT now()::text").fetchone()[0]
    claimed = db.execute("SELECT job_id, claim_token::text, connection_id, tenant_id"
                         " FROM sync.claim_jobs('bench', %s)", [count]).fetchall()
    require_equal("jobs claimed", len(claimed), count)
    pages = []
    for number, (job, token, connection, tenant) in enumerate(claimed):
        made = [signal(number, i) for i in range(PAGE)]
        lines = "".join(copy_line(s, connection, tenant, now) for s in made).encode()
        pages.append(Page(connection, tenant, job, token, json.dumps(made), lines))
    return pages


def land(db, way, page):
    """One transaction."""
    if way == "copy":
        with db.cursor().copy(f"COPY bare.signals ({COLUMNS}) FROM STDIN") as copy:
            copy.write(page.lines)
    elif way == "complete_job":
        done = db.execute("SELECT sync.complete_job(%s, %s, %s::jsonb)", [page.job, page.token, page.signals],
                          prepare=True).fetchone()[0]
        require_equal("complete_job", done, True)
    else:
        with db.transaction():
            db.execute("SELECT sync.add_signals(%s, %s, %s::jsonb)", [page.job, page.token, page.signals],
                       prepare=True)
            done = db.execute("SELECT sync.complete_job(%s, %s)", [page.job, page.token],
                              prepare=True).fetchone()[0]
        require_equal("complete_job", done, True)


def wal_position(db):
    return int(db.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()[0])


def read_all(db, cursor):
    """Reads to the end, a page at a time; returns how many signals there were, and the last cursor."""
    count = 0
    while True:
        rows = db.execute("SELECT id, connection_id, payload, cursor FROM sync.read_signals(%s, %s)",
                          [cursor, PAGE], prepare=True)
        if rows.rowcount == 0:
            return count, cursor
        count += rows.rowcount
        rows.scroll(rows.rowcount - 1)
        cursor = rows.fetchone()[3]


def require_all_read_once(db, cursor, expected):
    seen = set()
    count = 0
    while rows := db.execute("SELECT connection_id, id, cursor FROM sync.read_signals(%s, %s)",
                             [cursor, PAGE], prepare=True).fetchall():
        count += len(rows)
        seen.update(row[:2] for row in rows)
        cursor = rows[-1][2]
    require_equal("signals read, different ones among them", (count, len(seen)), (expected, expected))


def one_round(cluster, count, costs):
    """Pages by turns, the first ones uncounted, as its plans are made then; then all that has landed is read."""
    with cluster.clone("signals") as db:
        pages = {way: [] for way in WAYS}
        for number, page in enumerate(make_pages(db, (count + 1) * len(LANDING))):
            pages[LANDING[number % 2]].append(page)
            if number % 2 == 0:
                pages["copy"].append(page)
        _, before = read_all(db, None)
        cluster.admin.execute("CHECKPOINT")
        spent = {way: Cost(count * PAGE, 0, 0, count) for way in WAYS}
        for number in range(count + 1):
            for turn in range(len(WAYS)):
                way = WAYS[(number + turn) % len(WAYS)]
                wal = wal_position(db)
                started = time.perf_counter()
                land(db, way, pages[way][number])
                if number > 0:
                    spent[way].seconds += time.perf_counter() - started
                    spent[way].wal_bytes += wal_position(db) - wal
        landed = db.execute("SELECT count(*) FROM sync.signals WHERE received_at > now() - interval '1 hour'")
        require_equal("signals landed", landed.fetchone()[0], (count + 1) * PAGE * len(LANDING))
        require_equal("rows copied", db.execute("SELECT count(*) FROM bare.signals").fetchone()[0],
                      (count + 1) * PAGE)
        started = time.perf_counter()
        read, _ = read_all(db, before)
        spent["read"] = Cost(read, time.perf_counter() - started, 0, 0)
        require_all_read_once(db, before, (count + 1) * PAGE * len(LANDING))
    for way, cost in spent.items():
        costs.setdefault(way, []).append(cost)


def run(cluster, count, runs, progress):
    """{months behind: {way: [costs]}}, of `count` pages a way."""
    random.seed(1)
    results = {}
    for months in MONTHS_BEFORE:
        cluster.create("signals", "signals.sql")
        with cluster.connect("signals") as db:
            db.execute("SELECT bench.fill(%s)", [(count + 1) * len(LANDING)])
            db.execute("SELECT bench.fill_months(%s, %s)", [months, SIGNALS_BEFORE])
            db.execute("VACUUM ANALYZE")
        for number in range(runs):
            progress(f"signals: {months} months behind, round {number + 1} of {runs}")
            one_round(cluster, count, results.setdefault(months, {}))
        cluster.drop("signals")
    return results
