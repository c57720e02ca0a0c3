"""The demo API itself: what other tests rely on, checked over HTTP."""

import gzip
import http.client
import json
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest

PROGRAM = pathlib.Path(__file__).with_name("demo_api.py")


class Api:
    def __init__(self, *flags):
        command = [sys.executable, str(PROGRAM), "--port", "0", "--exit-with-parent", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err

    def get(self, path, headers=None, data=None):
        """(status, headers, body bytes), whatever the status."""
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, headers=headers or {}, data=data)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def control(self, name, **args):
        status, _, body = self.get(f"/control/{name}", data=json.dumps(args).encode())
        assert status == 200, body
        return json.loads(body)


@pytest.fixture(scope="module")
def api():
    running = Api("--auto-items", "7", "--seed", "42")
    yield running
    assert running.stop() == (0, "", "")


@pytest.fixture
def repo(api, request):
    """A repository of the test's own with 7 items."""
    return "acme/" + re.sub(r"\W+", "-", request.node.name)


def links(headers):
    """rel -> URL of a Link header."""
    found = {}
    for part in filter(None, (headers.get("Link") or "").split(", ")):
        url, rel = part.split("; ")
        found[rel[5:-1]] = url[1:-1]
    return found


def issues(repo, **query):
    text = urllib.parse.urlencode({"state": "all", "sort": "updated", "direction": "asc", **query})
    return f"/repos/{repo}/issues?{text}"


def test_defaults_are_githubs(api, repo):
    status, headers, body = api.get(f"/repos/{repo}/issues")
    rows = json.loads(body)
    assert status == 200 and len(rows) == 6 and {row["state"] for row in rows} == {"open"}
    assert [row["created_at"] for row in rows] == sorted((row["created_at"] for row in rows), reverse=True)
    assert {name: headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Used", "Resource")} == {
        "Limit": "5000", "Remaining": "4999", "Used": "1", "Resource": "core"}


def test_pages_cover_every_item_once(api, repo):
    url, ids, pages = issues(repo, per_page=3), [], 0
    while url:
        status, headers, body = api.get(url)
        assert status == 200
        pages, found = pages + 1, links(headers)
        ids += [row["number"] for row in json.loads(body)]
        assert ("prev" in found and "first" in found) == (pages > 1)
        assert ("next" in found) == ("last" in found) == (pages < 3)
        url = found.get("next")
    assert pages == 3 and ids == [1, 2, 3, 4, 5, 6, 7]


def test_since_includes_its_own_second(api, repo):
    rows = json.loads(api.get(issues(repo))[2])
    since = rows[4]["updated_at"]
    assert [row["number"] for row in json.loads(api.get(issues(repo, since=since))[2])] == [5, 6, 7]
    assert api.get(issues(repo, since="yesterday"))[0] == 422


def test_same_seed_same_items():
    def items():
        api = Api("--seed", "7", "--repo", "a/b=5")
        api.control("repo", repo="a/c", items=4, first_updated_at="2026-01-01T00:00:00Z", spacing_seconds=30)
        body = api.get(issues("a/c"))[2]
        assert api.control("items", repo="a/b")["count"] == 5
        assert api.stop()[0] == 0
        return json.loads(body)

    first = items()
    assert first == items()
    assert [row["updated_at"][11:19] for row in first] == ["00:00:00", "00:00:30", "00:01:00", "00:01:30"]


def test_etag_gives_304(api, repo):
    _, headers, _ = api.get(issues(repo))
    assert api.get(issues(repo), {"If-None-Match": headers["ETag"]})[0::2] == (304, b"")
    api.control("items/add", repo=repo, count=1)
    assert api.get(issues(repo), {"If-None-Match": headers["ETag"]})[0] == 200


@pytest.mark.parametrize("auth,headers,query", [
    ({"type": "bearer", "token": "t0k"}, {"Authorization": "Bearer t0k"}, ""),
    ({"type": "bearer", "token": "t0k"}, {"Authorization": "token t0k"}, ""),
    ({"type": "basic", "user": "u", "password": "p"}, {"Authorization": "Basic dTpw"}, ""),
    ({"type": "header", "name": "X-Key", "value": "k"}, {"X-Key": "k"}, ""),
    ({"type": "query", "name": "key", "value": "k"}, {}, "?key=k"),
])
def test_credentials(api, repo, auth, headers, query):
    api.control("repo", repo=repo, items=1, auth=auth)
    assert api.get(f"/repos/{repo}/issues")[0] == 401
    assert api.get(f"/repos/{repo}/issues" + query, headers)[0] == 200


def test_rate_limit_window(api, repo):
    limit = {"limit": 2, "window_seconds": 3600, "retry_after": 30}
    api.control("repo", repo=repo, items=1, rate_limit=limit)
    assert [api.get(issues(repo))[0] for _ in range(3)] == [200, 200, 403]
    status, headers, _ = api.get(issues(repo))
    assert (status, headers["X-RateLimit-Remaining"], headers["Retry-After"]) == (403, "0", "30")
    api.control("repo", repo=repo, rate_limit={"limit": 100, "status": 429})
    assert api.get(issues(repo))[0] == 200


def test_script_then_standing_behaviour(api, repo):
    api.control("repo", repo=repo, items=1)
    api.control("behaviour", repo=repo, behaviour={"kind": "unauthorized"}, script=[
        {"kind": "status", "status": 503, "retry_after": 7}, {"kind": "forbidden", "times": 2},
        {"kind": "not_found"}])
    answers = [api.get(issues(repo)) for _ in range(6)]
    assert [answer[0] for answer in answers] == [503, 403, 403, 404, 401, 401]
    assert answers[0][1]["Retry-After"] == "7"
    api.control("behaviour", repo=repo, behaviour=None)
    assert api.get(issues(repo))[0] == 200


def test_behaviour_of_one_page(api, repo):
    api.control("repo", repo=repo, items=3)
    api.control("behaviour", repo=repo, script=[{"kind": "status", "status": 500, "page": 2}])
    assert [api.get(issues(repo, per_page=1, page=page))[0] for page in (1, 2, 2, 3)] == [200, 500, 200, 200]


@pytest.mark.parametrize("behaviour,status", [
    ({"kind": "rate_limit"}, 403),
    ({"kind": "rate_limit", "status": 429, "retry_after": {"date_in": 60}}, 429),
    ({"kind": "slow", "seconds": 0.05}, 200),
    ({"kind": "html"}, 200),
    ({"kind": "body", "text": "{\"a\":"}, 200),
    ({"kind": "body", "hex": "00ff"}, 200),
    ({"kind": "status", "status": 502}, 502),
])
def test_kinds_that_answer(api, repo, behaviour, status):
    api.control("repo", repo=repo, items=2)
    api.control("behaviour", repo=repo, script=[behaviour])
    got, headers, body = api.get(issues(repo))
    assert got == status
    if behaviour["kind"] == "rate_limit":
        assert headers["X-RateLimit-Remaining"] == "0"
    if behaviour["kind"] == "html":
        assert headers["Content-Type"].startswith("text/html") and body.startswith(b"<!DOCTYPE")
    if "hex" in behaviour:
        assert body == b"\x00\xff"
    assert api.control("served", repo=repo)["count"] == (2 if behaviour["kind"] == "slow" else 0)


@pytest.mark.parametrize("behaviour", [
    {"kind": "truncate"}, {"kind": "close"}, {"kind": "raw", "text": "no http at all\r\n\r\n"}])
def test_kinds_that_break_the_connection(api, repo, behaviour):
    api.control("behaviour", repo=repo, script=[behaviour])
    with pytest.raises((http.client.HTTPException, urllib.error.URLError, ConnectionError)):
        api.get(issues(repo))
    assert api.get(issues(repo))[0] == 200


def test_text_that_is_none(api, repo):
    api.control("behaviour", repo=repo, script=[{"kind": "invalid_utf8"}, {"kind": "nul"}])
    with pytest.raises(UnicodeDecodeError):
        api.get(issues(repo))[2].decode()
    assert "\0" in json.loads(api.get(issues(repo))[2])[0]["title"]


def test_huge_reply(api, repo):
    size = 2 * 1024 * 1024
    api.control("behaviour", repo=repo, script=[
        {"kind": "huge", "bytes": size}, {"kind": "huge", "bytes": size, "declare_length": True},
        {"kind": "huge", "bytes": size, "gzip": True}])
    _, headers, body = api.get(issues(repo))
    assert len(body) >= size and len(json.loads(body)) > 1 and headers["Content-Length"] is None
    _, headers, body = api.get(issues(repo))
    assert int(headers["Content-Length"]) == len(body)
    _, headers, body = api.get(issues(repo))
    assert len(body) < size / 50 and len(gzip.decompress(body)) >= size


def test_pagers_that_mislead(api, repo):
    api.control("repo", repo=repo, items=2)
    api.control("behaviour", repo=repo, behaviour={"kind": "endless"})
    _, headers, body = api.get(issues(repo, page=5))
    assert "page=6" in links(headers)["next"] and len(json.loads(body)) == 2
    api.control("behaviour", repo=repo, behaviour={"kind": "endless", "next": "same", "items": "none"})
    _, headers, body = api.get(issues(repo, page=5))
    assert "page=5" in links(headers)["next"] and body == b"[]"
    api.control("behaviour", repo=repo, behaviour={"kind": "foreign_next", "url": "http://evil.test/x"})
    assert links(api.get(issues(repo))[1]) == {"next": "http://evil.test/x"}
    redirect = {"kind": "redirect", "location": f"{api.url}/control/health"}
    api.control("behaviour", repo=repo, behaviour=redirect)
    assert b'"ok": true' in api.get(issues(repo))[2]


def walk(api, first, rows, following):
    """All numbers over the pages of a plain listing."""
    numbers, path = [], first
    while path:
        status, _, body = api.get(path)
        assert status == 200
        reply = json.loads(body)
        numbers += [row["number"] for row in rows(reply)]
        path = following(reply)
    return numbers


def test_plain_paging(api, repo):
    base = f"/plain/{repo}"
    every = [1, 2, 3, 4, 5, 6, 7]

    def next_cursor(reply):
        cursor = reply["meta"]["next_cursor"]
        return cursor and f"{base}/cursor?limit=3&cursor={cursor}"

    def next_page(reply):
        return reply["page"] < reply["total_pages"] and f"{base}/page?per_page=3&page={reply['page'] + 1}"

    def next_offset(reply):
        return reply["offset"] + 3 < reply["total"] and f"{base}/offset?limit=3&offset={reply['offset'] + 3}"

    assert walk(api, f"{base}/cursor?limit=3", lambda reply: reply["data"]["items"], next_cursor) == every
    assert walk(api, f"{base}/page?per_page=3", lambda reply: reply["items"], next_page) == every
    assert walk(api, f"{base}/offset?limit=3", lambda reply: reply["items"], next_offset) == every
    assert walk(api, f"{base}/next?limit=3",
                lambda reply: reply["results"], lambda reply: reply["next"]) == every


def test_function_endpoint(api, repo):
    def call(cursor, **more):
        body = json.dumps({"cursor": cursor, "input": None, "config": {}, "limit": 5, **more}).encode()
        status, headers, text = api.get(f"/function/{repo}", {"Content-Type": "application/json"}, body)
        return status, headers, json.loads(text)

    first = call(None)[2]
    second = call(first["next_cursor"])[2]
    assert (len(first["signals"]), first["has_more"]) == (5, True)
    assert (len(second["signals"]), second["has_more"]) == (2, False)
    assert set(first["signals"][0]) == {"kind", "occurred_at", "dedupe_key", "payload"}
    api.control("behaviour", repo=repo, script=[{"kind": "status", "status": 503, "retry_after": 3}])
    status, headers, problem = call(None)
    assert status == problem["status"] == 503
    assert headers["Content-Type"].startswith("application/problem+json")


def test_what_was_asked_and_served(api, repo):
    api.get(issues(repo, per_page=2), {"Authorization": "Bearer planted", "X-Odd": "1"})
    api.get(issues(repo, per_page=2))
    request = api.control("requests", repo=repo)["requests"][0]
    assert ["Authorization", "Bearer planted"] in request["headers"] and request["query"]["per_page"] == "2"
    served = api.control("served", repo=repo)["items"]
    assert [row["times"] for row in served] == [2, 2]
    api.control("reset", repo=repo)
    assert api.control("requests", repo=repo)["count"] == api.control("served", repo=repo)["count"] == 0


def test_items_change_over_time(api, repo):
    api.control("repo", repo=repo, items=0, growth={"every_seconds": 0.001, "count": 2, "max": 6})
    rows = []
    for _ in range(1000):
        rows = api.control("items", repo=repo)["items"]
        if len(rows) == 6:
            break
    assert len(rows) == 6
    added = api.control("items/add", repo=repo, count=1, updated_at="2030-01-01T00:00:00Z")["items"][0]
    touched = api.control("items/touch", repo=repo, ids=[1], updated_at="2031-01-01T00:00:00Z")["items"]
    assert touched[0]["id"] == rows[0]["id"]
    late = json.loads(api.get(issues(repo, since="2029-01-01T00:00:00Z"))[2])
    assert [row["id"] for row in late] == [added["id"], rows[0]["id"]]


def test_wrong_control_calls(api):
    assert api.get("/control/behaviour", data=b'{"repo": "a/b", "script": [{"kind": "nonsense"}]}')[0] == 400
    assert api.get("/control/repo", data=b"[]")[0] == 400
    assert api.get("/control/items/add", data=b"{}")[0] == 400


def test_unknown_repository_is_404():
    api = Api("--repo", "a/b=1")
    assert api.get("/repos/a/other/issues")[0] == 404
    assert api.get("/repos/a/b/issues")[0] == 200
    api.control("behaviour", repo="a/b", behaviour={"kind": "hang"})
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{api.url}/repos/a/b/issues", timeout=0.2)
    assert api.stop() == (0, "", "")


def test_wrong_configuration(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"repos": {"a/b": {"behaviour": {"kind": "nonsense"}}}}')
    command = [sys.executable, str(PROGRAM), "--config", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert result.returncode == 2 and "unknown behaviour" in result.stderr
