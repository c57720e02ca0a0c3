"""The endpoints that list items: GitHub's issues, plain paging, and the function connector's POST."""

import base64
import hashlib
import hmac
import json
import time

from aiohttp import web

import behaviours
import store

KEEP_BODY = 65536


def authorized(request, repo):
    """Whether the request carries what the repository's `auth` asks for."""
    auth = repo.auth
    if not auth:
        return True
    kind = auth.get("type", "bearer")
    header = request.headers.get("Authorization", "")
    if kind == "bearer":
        scheme, _, token = header.partition(" ")
        wanted, given = auth["token"], token if scheme.lower() in ("bearer", "token") else ""
    elif kind == "basic":
        pair = f"{auth['user']}:{auth['password']}".encode()
        wanted, given = "Basic " + base64.b64encode(pair).decode(), header
    elif kind == "header":
        wanted, given = auth["value"], request.headers.get(auth["name"], "")
    else:
        wanted, given = auth["value"], request.query.get(auth["name"], "")
    return hmac.compare_digest(wanted.encode(), given.encode())


def integer(request, name, default, least, most):
    """A query parameter; nonsense counts as the default, as GitHub does it."""
    try:
        return max(least, min(most, int(request.query.get(name, default))))
    except ValueError:
        return default


async def handle(request, lister):
    """What all listings share: the log, the behaviours, the credentials and the rate limit."""
    api = request.app["store"]
    now = time.time()
    text = (await request.read()).decode("utf-8", "replace")
    entry = api.log({
        "time": now, "method": request.method, "path": request.path, "query": dict(request.query),
        "url": str(request.rel_url), "headers": [list(pair) for pair in request.headers.items()],
        "body": text[:KEEP_BODY], "repo": None, "behaviour": None, "status": None, "served": 0,
    })
    repo = find_repo(request, api, now)
    if repo is None:
        entry["status"] = 404
        return behaviours.error_reply(request, 404)
    behaviour = repo.next_behaviour(integer(request, "page", 1, 1, 10**9))
    entry.update(repo=repo.name, behaviour=behaviour.get("kind", "ok"))
    response = await behaviours.KINDS[behaviour.get("kind", "ok")](request, repo, behaviour, now)
    if response is None:
        response = await regular(request, repo, behaviour, entry, text, lister)
    entry["status"] = response.status
    return response


def find_repo(request, api, now):
    if "numeric_id" in request.match_info:
        return api.by_numeric_id(int(request.match_info["numeric_id"]), now)
    return api.find(f"{request.match_info['owner']}/{request.match_info['repo']}", now)


async def regular(request, repo, behaviour, entry, text, lister):
    now = time.time()
    if not authorized(request, repo):
        return behaviours.error_reply(request, 401, headers=repo.limiter.headers())
    if not repo.limiter.take(now):
        headers = {**repo.limiter.headers(), **behaviours.retry_after_header(repo.limiter.retry_after, now)}
        message = f"API rate limit exceeded for {repo.name}."
        return behaviours.error_reply(request, repo.limiter.status, message, headers)
    repo.grow(now)
    try:
        rows, body, headers = lister(request, repo, behaviour, text)
    except ValueError as error:
        return behaviours.error_reply(request, 422, f"Validation Failed: {error}", repo.limiter.headers())
    data = behaviours.damage(json.dumps(body, indent=None), behaviour)
    headers = {**repo.limiter.headers(), **headers, **behaviour.get("headers", {})}
    tag = 'W/"%s"' % hashlib.sha256(data + headers.get("Link", "").encode()).hexdigest()[:32]
    headers["ETag"] = tag
    if request.method == "GET" and request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = "application/json; charset=utf-8"
    repo.note_served(rows)
    entry["served"] = len(rows)
    return web.Response(body=data, headers=headers)


def since_of(request):
    text = request.query.get("since")
    return store.parse_iso(text) if text else None


def page_url(request, path, **changes):
    query = {**request.query, **{name: str(value) for name, value in changes.items()}}
    return str(request.url.origin().with_path(path).with_query(query))


def github(request, repo, behaviour, text):
    """GET /repos/{owner}/{repo}/issues, with GitHub's parameters, defaults and Link header."""
    size = integer(request, "per_page", 30, 1, 100)
    page = integer(request, "page", 1, 1, 10**9)
    sort = request.query.get("sort", "created")
    rows = repo.select(since_of(request), request.query.get("state", "open"), sort,
                       request.query.get("direction", "desc"))
    last = max(1, -(-len(rows) // size))
    shown = rows[(page - 1) * size:page * size]
    # GitHub's own paging links name the repository by number, not by name.
    path = f"/repositories/{repo.numeric_id}/issues"
    links = []
    kind = behaviour.get("kind")
    if kind == "endless":
        shown = rows[:size] if behaviour.get("items", "same") == "same" else []
        following = page if behaviour.get("next") == "same" else page + 1
        links.append((page_url(request, path, page=following), "next"))
    elif kind == "foreign_next":
        links.append((behaviour["url"], "next"))
    else:
        if page > 1:
            links.append((page_url(request, path, page=min(page - 1, last)), "prev"))
        if page < last:
            links.append((page_url(request, path, page=page + 1), "next"))
            links.append((page_url(request, path, page=last), "last"))
        if page > 1:
            links.append((page_url(request, path, page=1), "first"))
    headers = {"Link": ", ".join(f'<{url}>; rel="{rel}"' for url, rel in links)} if links else {}
    return shown, shown, headers


def by_cursor(request, repo, behaviour, text):
    """An opaque cursor parameter; the next one stands in the body."""
    size = integer(request, "limit", 30, 1, 1000)
    rows = repo.select(since_of(request))
    cursor = request.query.get("cursor", "")
    at = 0
    if cursor:
        try:
            at = int(base64.urlsafe_b64decode(cursor.encode()).decode().removeprefix("at:"))
        except (ValueError, UnicodeDecodeError):
            raise ValueError("cursor") from None
    shown = rows[at:at + size]
    more = at + size < len(rows)
    following = base64.urlsafe_b64encode(f"at:{at + size}".encode()).decode() if more else None
    return shown, {"data": {"items": shown}, "meta": {"next_cursor": following, "has_more": more}}, {}


def by_page(request, repo, behaviour, text):
    """A page number and the number of pages."""
    size = integer(request, "per_page", 30, 1, 1000)
    page = integer(request, "page", 1, 1, 10**9)
    rows = repo.select(since_of(request))
    shown = rows[(page - 1) * size:page * size]
    return shown, {"items": shown, "page": page, "total_pages": -(-len(rows) // size)}, {}


def by_offset(request, repo, behaviour, text):
    """An offset and the total."""
    size = integer(request, "limit", 30, 1, 1000)
    offset = integer(request, "offset", 0, 0, 10**9)
    rows = repo.select(since_of(request))
    shown = rows[offset:offset + size]
    return shown, {"items": shown, "offset": offset, "total": len(rows)}, {}


def by_next_url(request, repo, behaviour, text):
    """The next page's whole URL in the body; null on the last page."""
    size = integer(request, "limit", 30, 1, 1000)
    page = integer(request, "page", 1, 1, 10**9)
    rows = repo.select(since_of(request))
    shown = rows[(page - 1) * size:page * size]
    following = page_url(request, request.path, page=page + 1) if page * size < len(rows) else None
    if behaviour.get("kind") == "foreign_next":
        following = behaviour["url"]
    return shown, {"results": shown, "next": following}, {}


def function(request, repo, behaviour, text):
    """POST of the function connector: items in the order they were made; the cursor is how many went out."""
    asked = json.loads(text or "{}")
    if not isinstance(asked, dict):
        raise ValueError("the body is not an object")
    cursor = asked.get("cursor") or {}
    at = int(cursor.get("after", 0)) if isinstance(cursor, dict) else 0
    size = max(1, min(1000, int(asked.get("limit") or 100)))
    shown = repo.items[at:at + size]
    signals = [{
        "kind": "issue", "occurred_at": item["updated_at"],
        "dedupe_key": f"{item['id']}:{item['updated_at']}", "payload": item,
    } for item in shown]
    more = at + len(shown) < len(repo.items)
    if behaviour.get("kind") == "endless":
        more = True
    reply = {"signals": signals, "next_cursor": {"after": at + len(shown)}, "has_more": more,
             "rate_limit": {"limit": repo.limiter.limit, "remaining": repo.limiter.limit - repo.limiter.used}}
    reply.update(behaviour.get("reply", {}))
    return shown, reply, {}


def routes():
    def endpoint(lister, problem=False):
        async def answer(request):
            request["problem"] = problem
            return await handle(request, lister)
        return answer

    here = "{owner}/{repo}"
    return [
        web.get(f"/repos/{here}/issues", endpoint(github)),
        web.get("/repositories/{numeric_id:[0-9]+}/issues", endpoint(github)),
        web.get(f"/plain/{here}/cursor", endpoint(by_cursor)),
        web.get(f"/plain/{here}/page", endpoint(by_page)),
        web.get(f"/plain/{here}/offset", endpoint(by_offset)),
        web.get(f"/plain/{here}/next", endpoint(by_next_url)),
        web.post(f"/function/{here}", endpoint(function, problem=True)),
    ]
