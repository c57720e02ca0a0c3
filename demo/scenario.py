"""What the demo syncs: made-up tenants against the demo API, or one real repository of GitHub."""

import dataclasses
import json
import urllib.parse

INTERVAL_SECONDS = 60
PAGE_SIZE = 25
# The rate-limited one needs more pages than a window has requests, so that it must wait and go on.
RATE_LIMIT = {"limit": 3, "window_seconds": 10, "status": 403}

GROWING = {"every_seconds": 4, "count": 2}


@dataclasses.dataclass
class Tenant:
    tenant: str
    repo: str
    api: dict
    role: str = "steady"
    # How long ago its last run ended, for those that are not new: they come back when their interval is over.
    last_run_seconds_ago: int = 0


TENANTS = [
    Tenant("acme", "acme/rockets", {"items": 190, "growth": GROWING}),
    Tenant("acme", "acme/anvils", {"items": 12, "growth": {"every_seconds": 7}}, last_run_seconds_ago=45),
    Tenant("globex", "globex/reactor", {"items": 75, "growth": GROWING}),
    Tenant("globex", "globex/weather", {"items": 0, "growth": {"every_seconds": 2}}),
    Tenant("hooli", "hooli/nucleus", {"items": 40, "behaviour": {"kind": "status", "status": 503}},
           "failing"),
    Tenant("initech", "initech/reports", {"items": 33}, last_run_seconds_ago=30),
    Tenant("stark", "stark/suits", {"items": 120, "behaviour": {"kind": "slow", "seconds": 0.4}}),
    Tenant("umbrella", "umbrella/vaccines", {"items": 140, "rate_limit": RATE_LIMIT}, "rate limited"),
]


def api_config(token):
    """The demo API's start configuration: every repository wants the token."""
    return {"seed": 2026, "repos": {entry.repo: {**entry.api, "token": token} for entry in TENANTS}}


def set_up_demo(db, api_url):
    """The provider and the tenants' connections. Returns {connection id: tenant}."""
    config = {
        "preset": "github-issues",
        "base_url": api_url,
        "query": {"per_page": PAGE_SIZE},
        "auth": {"type": "bearer", "token": {"$env": "DEMO_TOKEN"}},
    }
    db.execute(
        "INSERT INTO sync.providers (slug, display_name, connector, config, backoff_base_seconds)"
        " VALUES ('github', 'GitHub issues (demo API)', 'http', %s, 2)", [json.dumps(config)])
    connections = {}
    for entry in TENANTS:
        connections[add_connection(db, entry)] = entry
    return connections


def add_connection(db, entry):
    row = db.execute(
        "INSERT INTO sync.connections (tenant_id, provider_slug, external_id, config, metadata,"
        " last_incremental_finished_at) VALUES (%s, 'github', %s, %s, %s,"
        " now() - make_interval(secs => nullif(%s, 0))) RETURNING id",
        [entry.tenant, entry.repo, json.dumps({"repo": entry.repo}),
         json.dumps({"sync": {"interval_seconds": INTERVAL_SECONDS}}), entry.last_run_seconds_ago]).fetchone()
    return row[0]


def set_up_github(db, repo, api_url, with_token):
    """The same provider for a real repository. Returns {connection id: tenant}."""
    config = {"preset": "github-issues"}
    if api_url:
        config["base_url"] = api_url
    if with_token:
        config["auth"] = {"type": "bearer", "token": {"$env": "GITHUB_TOKEN"}}
    db.execute("INSERT INTO sync.providers (slug, display_name, connector, config) VALUES"
               " ('github', 'GitHub issues', 'http', %s)", [json.dumps(config)])
    entry = Tenant("demo", repo, {}, "real")
    return {add_connection(db, entry): entry}


def host_of(url):
    return urllib.parse.urlsplit(url).hostname
