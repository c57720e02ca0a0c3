"""Limits as executors meet them: what may not run yet is left alone, and comes when it may."""

from harness.waiting import wait_until

SLOW = 0.2


def connections(engine, count, tenant="acme", **config):
    """So many, each with a repository of its own that answers slowly enough for runs to overlap."""
    made = []
    for _ in range(count):
        repo = engine.repo(items=1)
        repo.behave("slow", seconds=SLOW)
        made.append(engine.connection(tenant=tenant, config={"repo": repo.name, **config}))
    return made


def most_at_once(engine):
    """How many requests the API had under way at one moment: each takes SLOW seconds at least. History would not tell:
    it has the times at which transactions began, and a claim that began before a completion may come after it."""
    names = [f"{engine.db.name}/r{number}" for number in range(1, engine.repos + 1)]
    times = sorted(r["time"] for name in names for r in engine.api.control("requests", repo=name)["requests"])
    return max(sum(1 for other in times if at - SLOW < other <= at) for at in times)


def succeeded(engine):
    return engine.db.value("SELECT count(*) FROM sync.sync_executions WHERE status = 'succeeded'")


def drain_by_two(engine, made, most):
    """Two executors with room for all of them, which run no more than `most` at once, and each of them."""
    for connection in made:
        engine.trigger(connection)
    for number in (1, 2):
        engine.executor("--concurrency", "8", name=f"executor-{number}")
    engine.wait_idle()
    assert succeeded(engine) == len(made)
    assert most_at_once(engine) <= most


def test_running_jobs_of_a_tenant(engine):
    engine.github()
    engine.db.run("SELECT sync.set_tenant_limits('acme', max_running => 2)")
    drain_by_two(engine, connections(engine, 10), 2)


def test_running_jobs_of_a_provider(engine):
    engine.github()
    engine.db.run("UPDATE sync.providers SET max_running = 3")
    drain_by_two(engine, [connections(engine, 1, tenant=f"tenant-{number}")[0] for number in range(10)], 3)


def test_pages_a_minute(engine):
    engine.github()
    # One a second, six at once.
    engine.db.run("UPDATE sync.providers SET requests_per_minute = 60")
    for connection in connections(engine, 8):
        engine.trigger(connection)
    engine.executor()
    engine.wait_idle()
    starts = [
        row[0]
        for row in engine.db.rows("SELECT extract(epoch FROM started_at) FROM sync.sync_executions ORDER BY started_at")
    ]
    assert len(starts) == 8
    assert starts[7] - starts[0] >= 1.99


def test_a_rate_limit_holds_back_all_who_use_the_credentials(engine):
    engine.github(auth={"type": "bearer", "token": {"$env": "DEMO_TOKEN"}})
    first, *others = connections(engine, 6)
    repo = engine.repo(items=1)
    repo.script({"kind": "rate_limit", "status": 429, "retry_after": 3, "reset_in": None})
    engine.db.run(
        "UPDATE sync.connections SET config = jsonb_build_object('repo', %s::text) WHERE id = %s", repo.name, first
    )
    engine.trigger(first)
    engine.executor("--allow-secret-env", "DEMO_TOKEN", env={"DEMO_TOKEN": "t0ken"})
    held = wait_until(
        lambda: engine.db.value("SELECT extract(epoch FROM max(held_until)) FROM sync.credential_holds"),
        lambda: f"no hold\n{engine.tails()}",
    )
    for connection in others:
        engine.trigger(connection)
    engine.wait_idle()
    starts = [
        row[0]
        for row in engine.db.rows(
            "SELECT extract(epoch FROM started_at) FROM sync.sync_executions WHERE connection_id = ANY (%s)", others
        )
    ]
    assert len(starts) == 5
    assert min(starts) >= held
    assert [attempt["status"] for attempt in engine.attempts(first)] == ["failed", "succeeded"]
