"""What the gateway's requests do in the database, among a million connections: for each what its statements took and
read, and the plan of the longest. After what bench/explain.py has loaded."""

import json
import pathlib
import re
import urllib.error
import urllib.request

import gateway_process
from cluster import FOLDER, PATIENCE_SECONDS, WrongResult

ROLE = "explain_gateway"
LARGE = 20_000  # connections of one tenant; the others have 1,000 each
SCHEDULES = 1_000
RUNS = {"large": 10_000, "t1": 1_000}  # of the connection whose history is read
# What is asked for, for the large tenant and one of the others.
REQUESTS = (
    ("GET", "/connections/{id}"),
    ("GET", "/connections?limit=50"),
    ("GET", "/connections?limit=50&sort=name"),
    ("GET", "/connections?limit=50&sort=-created_at"),
    ("GET", "/connections?limit=50&sort=next_run_at"),
    ("GET", "/connections?limit=50&sort=-late"),
    ("GET", "/connections?limit=50&status=error"),
    ("GET", "/connections?limit=50&health=error"),
    ("GET", "/connections?limit=50&health=late,retrying"),
    ("GET", "/connections?limit=50&name=77"),
    ("GET", "/connections/{id}/history?limit=50"),
    ("GET", "/connections/{id}/explain"),
    ("GET", "/sync-schedules?limit=50"),
    ("GET", "/sync-schedules?limit=50&sort=next_run_at"),
    ("GET", "/sync-schedules/{schedule}"),
    ("GET", "/sync-schedules/{schedule}/history?limit=50"),
    ("GET", "/executions/{execution}"),
    ("GET", "/failures?limit=50"),
    ("GET", "/failures?limit=50&since=2020-01-01T00:00:00Z"),
    ("GET", "/notifications?limit=50"),
    ("GET", "/deliveries?limit=50"),
    ("GET", "/inbox?limit=50&user_id=u"),
    ("GET", "/signals?limit=50"),
    ("GET", "/audit-log?limit=50"),
    ("GET", "/audit-log?limit=50&action=none"),
    ("GET", "/overview"),
    ("POST", "/connections/{id}/trigger"),
    ("POST", "/sync-schedules/{schedule}/trigger"),
)
SETTINGS = ("session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0",
            "auto_explain.log_analyze = on", "auto_explain.log_buffers = on", "auto_explain.log_timing = off")
# What the requests of a tenant name.
NAMES = """
    SELECT json_build_object(
        'id', min(c.id),
        'schedule', (SELECT min(s.id) FROM sync.sync_schedules s WHERE s.tenant_id = %(tenant)s),
        'execution', (SELECT e.connection_id || '-' || e.run_id FROM sync.sync_executions e
                      WHERE e.tenant_id = %(tenant)s AND e.run_id > 0 LIMIT 1),
        'token', sync.create_api_token(%(tenant)s, 'explain', '{read,trigger,audit}', requests_per_minute => 0))
    FROM sync.connections c WHERE c.tenant_id = %(tenant)s
"""
PLAN = re.compile(r"LOG:  duration: ([\d.]+) ms  plan:\n((?:\t.*\n)+)")
BUFFERS = re.compile(r"Buffers: shared hit=(\d+)(?: read=(\d+))?")


def load(cluster, database):
    """The tokens of a large and a small tenant, and what their requests name."""
    with cluster.connect(database) as db:
        db.execute(f"CREATE ROLE {ROLE} LOGIN")
        db.execute(f"GRANT sync_gateway TO {ROLE}")
        for setting in SETTINGS:
            db.execute(f"ALTER ROLE {ROLE} SET {setting}")
        db.execute("SELECT sync.enable_tenant_isolation()")
        db.execute((FOLDER / "gateway.sql").read_text())
        db.execute((FOLDER / "explain_api.sql").read_text())
        db.execute("SELECT bench.fill_large_tenant(%s, %s, 0)", [LARGE, SCHEDULES])
        first = "SELECT min(id) FROM sync.connections WHERE tenant_id = %s"
        db.execute(f"SELECT sync.create_schedule(({first}), 'nightly', 'daily')", ["t1"])
        for tenant, runs in RUNS.items():
            db.execute(f"SELECT bench.fill_history(%s, ({first}))", [runs, tenant])
        db.execute("VACUUM ANALYZE")
        return {tenant: db.execute(NAMES, {"tenant": tenant}).fetchone()[0] for tenant in RUNS}


def ask(port, names, method, path):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v2{path.format(**names)}", method=method)
    request.add_header("Authorization", f"Bearer {names['token']}")
    if method == "POST":
        request.data = b"{}"
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            json.load(answer)
    except urllib.error.HTTPError as refused:
        raise WrongResult(f"{method} {path}: {refused.code} {refused.read().decode()}") from refused


def told_since(log, start):
    """(milliseconds, plan) of each statement: a server writes its log before it answers."""
    text = log.read_bytes()[start:].decode(errors="replace")
    return [(float(ms), plan) for ms, plan in PLAN.findall(text)]


def show(title, plans):
    longest = max(plans)[1]
    # The first line of a plan's buffers is of all of it.
    buffers = sum(int(found[1]) + int(found[2] or 0) for found in (BUFFERS.search(plan) for _, plan in plans) if found)
    plan = longest[longest.rindex("\n", 0, longest.index("(cost=")) + 1:]
    plan = re.sub(r"cost=\S+ rows=\d+ width=\d+\) \(", "", plan)
    print(f"## {title}: {sum(ms for ms, _ in plans):.1f} ms in {len(plans)} statements, {buffers} buffers")
    print(re.sub(r"^\t", "", plan, flags=re.MULTILINE).rstrip() + "\n")


def explain(cluster, program, database):
    log = pathlib.Path(cluster.socket_dir) / "server.log"
    tenants = load(cluster, database)
    with gateway_process.gateway(program, cluster.socket_dir, database, ROLE) as port:
        for tenant, names in tenants.items():
            for method, path in REQUESTS:
                for _ in range(2):  # the first fills caches
                    ask(port, names, method, path)
                start = log.stat().st_size
                ask(port, names, method, path)
                show(f"{method} {path} ({tenant})", told_since(log, start))
