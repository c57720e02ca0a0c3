"""The live table: refreshed in place on a terminal, plain lines otherwise."""

import shutil
import sys
import time

COLUMNS = [("TENANT", 10), ("CONNECTION", 20), ("STATE", 34), ("NEXT (UTC)", 10), ("RUNS", 5), ("FAILED", 7),
           ("SIGNALS", 8)]
PLAIN_TABLE_SECONDS = 10

ROWS_QUERY = """
    SELECT s.connection_id, s.tenant_id, s.external_id, s.status, s.status_reason, s.job_status, s.attempts,
           s.last_error_kind, j.page,
           ceil(extract(epoch FROM s.job_due_at - clock_timestamp()))::int AS due_in,
           to_char(s.next_run_at, 'HH24:MI:SS') AS next_run,
           COALESCE(e.runs, 0) AS runs, COALESCE(e.failed, 0) AS failed, COALESCE(g.signals, 0) AS signals
    FROM sync.connection_status s
    LEFT JOIN sync.sync_jobs j ON j.id = s.job_id AND j.status IN ('queued', 'running')
    LEFT JOIN (SELECT connection_id, count(*) FILTER (WHERE status = 'succeeded' AND NOT has_more) AS runs,
                      count(*) FILTER (WHERE status = 'failed') AS failed
               FROM sync.sync_executions GROUP BY 1) e ON e.connection_id = s.connection_id
    LEFT JOIN (SELECT connection_id, count(*) AS signals FROM sync.signals GROUP BY 1) g
        ON g.connection_id = s.connection_id
    ORDER BY s.tenant_id, s.external_id
"""

JOBS_QUERY = "SELECT status, count(*) FROM sync.sync_jobs GROUP BY status"

EVENTS_QUERY = """
    SELECT e.id, to_char(e.finished_at, 'HH24:MI:SS'), c.external_id, e.status, e.kind, e.page, e.has_more,
           e.signals_inserted, e.signals_duplicate, e.error ->> 'message',
           round(extract(epoch FROM e.retry_after - e.finished_at)::numeric, 1)
    FROM sync.sync_executions e JOIN sync.connections c ON c.id = e.connection_id
    WHERE e.id > %s ORDER BY e.id
"""


def seconds(value):
    return "now" if value is None or value <= 0 else f"in {value}s"


def state(row):
    if row["status"] != "active":
        return f"{row['status']}: {row['status_reason'] or row['last_error_kind'] or ''}"
    if row["job_status"] == "running":
        return f"running, page {row['page']}"
    if row["job_status"] == "queued" and row["last_error_kind"]:
        return f"{row['last_error_kind']}, again {seconds(row['due_in'])}"
    if row["job_status"] == "queued" and row["page"] and row["page"] > 1:
        return f"page {row['page']} {seconds(row['due_in'])}"
    if row["job_status"] == "queued":
        return f"queued, starts {seconds(row['due_in'])}"
    return "in sync"


class Display:
    def __init__(self, out=sys.stdout):
        self.out = out
        self.live = out.isatty()
        self.drawn = 0
        self.last_event = 0
        self.events = []
        self.next_table = 0

    def write(self, text):
        self.out.write(text)
        self.out.flush()

    def say(self, text):
        """A line that stays, above the table."""
        self.clear()
        self.write(text + "\n")

    def clear(self):
        if self.drawn:
            self.write(f"\x1b[{self.drawn}F\x1b[J")
            self.drawn = 0

    def table(self, db, served, footer):
        rows = db.rows(ROWS_QUERY)
        lines = ["  ".join(name.ljust(width) for name, width in COLUMNS)]
        for row in rows:
            cells = [row["tenant_id"], row["external_id"], state(row), row["next_run"] or "-",
                     row["runs"], row["failed"], row["signals"]]
            lines.append("  ".join(str(cell)[:width].ljust(width)
                                   for cell, (_, width) in zip(cells, COLUMNS)))
        jobs = dict(db.execute(JOBS_QUERY).fetchall())
        counted = ", ".join(f"{jobs.get(name, 0)} {name}"
                            for name in ("queued", "running", "succeeded", "failed"))
        landed = sum(row["signals"] for row in rows)
        total = "" if served is None else f" of {served} served"
        lines.append(f"jobs: {counted}    signals landed: {landed}{total}")
        if footer:
            lines.append(footer)
        return lines

    def event_lines(self, db):
        """One line per attempt that ended since the last look."""
        lines = []
        for row in db.execute(EVENTS_QUERY, [self.last_event]):
            self.last_event, at, name, status, kind, page, more, new, known, message, wait = row
            if status == "succeeded":
                text = f"page {page}: {new} new, {known} known" + (", more to come" if more else ", done")
            else:
                text = f"{kind or status}: {(message or '')[:100]}"
                text += f"; again in {wait}s" if wait is not None else ""
            lines.append(f"{at}  {name:<20}  {text}")
        return lines

    def refresh(self, db, served=None, footer=""):
        events = self.event_lines(db)
        if not self.live:
            for line in events:
                self.write(line + "\n")
            if time.monotonic() >= self.next_table:
                self.next_table = time.monotonic() + PLAIN_TABLE_SECONDS
                self.write("\n" + "\n".join(self.table(db, served, footer)) + "\n\n")
            return
        self.events = (self.events + events)[-6:]
        lines = self.table(db, served, footer) + ["", "lately:"] + self.events
        width, height = shutil.get_terminal_size()
        lines = [line[:width - 1] for line in lines[:height - 1]]
        self.clear()
        self.write("\n".join(lines) + "\n")
        self.drawn = len(lines)

    def settle(self, db, served=None):
        """The table once more, to stay."""
        for line in self.event_lines(db) if not self.live else []:
            self.write(line + "\n")
        self.clear()
        self.write("\n" + "\n".join(self.table(db, served, "")) + "\n\n")
