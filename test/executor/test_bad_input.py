"""Input that nobody should send: the job copes or fails alone, the executor goes on."""

import pytest


def run(engine, behaviour, *flags, items=3, **config):
    repo = engine.repo(items=items)
    if behaviour:
        repo.script(behaviour)
    engine.github(**config)
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    done = engine.run_once(*flags)
    return connection, engine.attempts(connection)[-1], done


@pytest.mark.parametrize("extra", [{}, {"declare_length": True}, {"gzip": True}])
def test_a_reply_of_64_megabytes_is_cut_off(engine, extra):
    _, attempt, done = run(engine, {"kind": "huge", "bytes": 64 << 20, **extra})
    assert (attempt["status"], attempt["error"]["code"]) == ("failed", "body_too_large")
    assert done.lines("stopped", status=0)


def test_a_large_reply_within_the_limit_lands(engine):
    connection, attempt, _ = run(engine, {"kind": "huge", "bytes": 4 << 20})
    assert attempt["status"] == "succeeded"
    assert attempt["signals_received"] > 50


@pytest.mark.parametrize("kind", ["invalid_utf8", "nul"])
def test_characters_that_jsonb_refuses_are_replaced_and_counted(engine, kind):
    connection, attempt, _ = run(engine, {"kind": kind})
    assert attempt["status"] == "succeeded"
    signals = engine.signals(connection)
    assert len(signals) == 3
    assert all("\ufffd" in s["payload"]["title"] for s in signals)
    assert any(value >= 3 for value in attempt["stats"].values() if isinstance(value, int)), attempt["stats"]


def test_values_that_jsonb_cannot_hold_harm_nobody_else(engine):
    bodies = {
        "number": '[{"id": 1, "updated_at": "2024-01-01T00:00:00Z", "n": 1e999999}]',
        "surrogate": '[{"id": 1, "updated_at": "2024-01-01T00:00:00Z", "n": "\\ud800"}]',
        "depth": f'[{{"id": 1, "updated_at": "2024-01-01T00:00:00Z", "n": {"[" * 5000 + "]" * 5000}}}]',
    }
    engine.github()
    bad = {}
    for name, body in bodies.items():
        repo = engine.repo()
        repo.behave("body", text=body)
        bad[name] = engine.github_connection(repo)
    good = {}
    for _ in range(5):
        repo = engine.repo(items=2)
        good[engine.github_connection(repo)] = repo
    engine.db.run("SELECT sync.tick()")
    engine.run_once()
    for connection, repo in good.items():
        engine.assert_exactly_once(connection, repo)
    outcomes = {name: engine.attempts(connection)[-1] for name, connection in bad.items()}
    assert outcomes["depth"]["status"] == "failed"
    # A number that numeric cannot hold is kept as text, a lone surrogate is a character that is replaced.
    assert outcomes["number"]["status"] == outcomes["surrogate"]["status"] == "succeeded"
    assert engine.signals(bad["number"])[0]["payload"]["n"] == "1e999999"
    assert engine.signals(bad["surrogate"])[0]["payload"]["n"] == "\ufffd"
    assert engine.live() == 0 or outcomes["depth"]["kind"] == "transient"


def test_a_login_page_instead_of_json(engine):
    connection, attempt, _ = run(engine, {"kind": "html"})
    assert (attempt["kind"], attempt["error"]["code"]) == ("transient", "not_json")
    assert engine.signals(connection) == []


def test_an_endless_pager_is_stopped(engine):
    engine.db.configure(max_pages_per_run=5)
    repo = engine.repo(items=5)
    repo.behave("endless")
    engine.github()
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once()
    attempts = engine.attempts(connection)
    assert len(attempts) <= 6
    assert attempts[-1]["kind"] == "permanent"
    assert engine.live() == 0


def test_a_pager_that_points_at_itself_is_stopped(engine):
    repo = engine.repo(items=5)
    repo.behave("endless", next="same")
    engine.github()
    connection = engine.github_connection(repo)
    engine.trigger(connection)
    engine.run_once()
    assert len(engine.attempts(connection)) <= 5
    assert engine.live() == 0
    engine.assert_exactly_once(connection, repo)


def test_a_provider_without_configuration(engine):
    engine.provider("bare")
    connection = engine.connection("bare")
    engine.trigger(connection)
    engine.run_once()
    (attempt,) = engine.attempts(connection)
    assert attempt["kind"] == "permanent"
    assert "no configuration" in attempt["error"]["message"]


def test_a_configuration_error_names_its_path(engine):
    engine.github(paging={"type": "sideways"})
    connection = engine.github_connection(engine.repo())
    engine.trigger(connection)
    engine.run_once()
    (attempt,) = engine.attempts(connection)
    assert attempt["kind"] == "permanent"
    assert "$.paging" in str(attempt["error"])


def test_an_unknown_connector(engine):
    engine.provider("odd", connector="carrier-pigeon")
    connection = engine.connection("odd")
    engine.trigger(connection)
    engine.run_once()
    (attempt,) = engine.attempts(connection)
    assert attempt["kind"] == "permanent"
    assert attempt["error"]["code"] == "unknown_connector"
    assert "carrier-pigeon" in attempt["error"]["message"]


def test_a_function_that_returns_nonsense_fails_its_own_job(engine):
    bodies = ["null", "[]", '{"signals": 7}', '{"signals": [{"kind": 5}]}', '{"signals": [], "has_more": true}']
    connections = []
    for number, body in enumerate(bodies):
        repo = engine.repo()
        repo.behave("body", text=body)
        engine.provider(f"fn{number}", connector="function", config={"url": f"{engine.api.url}/function/{repo.name}"})
        connections.append(engine.connection(f"fn{number}"))
    fine = engine.repo(items=3)
    engine.provider("fine", connector="function", config={"url": f"{engine.api.url}/function/{fine.name}"})
    last = engine.connection("fine")
    engine.db.run("SELECT sync.tick()")
    engine.run_once()
    assert len(engine.signals(last)) == 3
    for connection, body in zip(connections, bodies):
        (attempt,) = engine.attempts(connection)
        assert attempt["status"] == "failed", body
        assert attempt["kind"] in ("permanent", "transient"), body
        assert engine.signals(connection) == []


def test_a_header_that_would_smuggle_another_is_not_sent(engine):
    repo = engine.repo()
    engine.github()
    connection = engine.github_connection(repo, headers={"X-Note": "a\r\nX-Smuggled: 1"})
    engine.trigger(connection)
    engine.run_once()
    assert engine.attempts(connection)[0]["status"] == "failed"
    assert repo.requests() == []


def test_metadata_of_every_sort_does_not_stop_the_others(engine):
    engine.github()
    repos = [engine.repo(items=2) for _ in range(6)]
    connections = [engine.github_connection(repo) for repo in repos]
    for connection, metadata in zip(connections, ["null", "[]", "7", '{"sync": 5}', '{"sync": {"cursor": "x"}}']):
        engine.db.run("UPDATE sync.connections SET metadata = %s WHERE id = %s", metadata, connection)
    engine.db.run("SELECT sync.tick()")
    engine.run_once()
    for connection, repo in list(zip(connections, repos))[:4] + [(connections[5], repos[5])]:
        engine.assert_exactly_once(connection, repo)
    assert engine.live() == 0
