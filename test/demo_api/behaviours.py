"""How a request goes wrong: one function per kind of behaviour; None means: go on as usual."""

import asyncio
import email.utils
import gzip
import json

from aiohttp import web

CHUNK = 65536
HTML = "<!DOCTYPE html><html><head><title>Down</title></head><body>Please log in.</body></html>"
TITLES = {
    400: "Bad Request",
    401: "Bad credentials",
    403: "Resource not accessible by integration",
    404: "Not Found",
    409: "Conflict",
    410: "Gone",
    422: "Validation Failed",
    429: "You have exceeded a secondary rate limit",
    500: "Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def error_reply(request, status, message=None, headers=None):
    """GitHub's shape of an error; RFC 9457 for the function endpoint."""
    text = message or TITLES.get(status, f"Status {status}")
    if request.get("problem"):
        body = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status, "detail": text}
        kind = "application/problem+json"
        return web.json_response(body, status=status, headers=headers, content_type=kind)
    body = {"message": text, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
    return web.json_response(body, status=status, headers=headers)


def retry_after_header(value, now):
    """`Retry-After` from seconds, from {"date_in": seconds} (an HTTP date), or any text as it stands."""
    if value is None:
        return {}
    if isinstance(value, dict):
        when = email.utils.formatdate(now + value["date_in"], usegmt=True)
        return {"Retry-After": when}
    return {"Retry-After": str(value)}


async def ok(request, repo, entry, now):
    return None


async def status(request, repo, entry, now):
    headers = {**repo.limiter.headers(), **retry_after_header(entry.get("retry_after"), now)}
    headers.update(entry.get("headers", {}))
    code = int(entry.get("status", 500))
    if "text" in entry:
        return web.Response(status=code, text=entry["text"], headers=headers)
    if "json" in entry:
        return web.json_response(entry["json"], status=code, headers=headers)
    return error_reply(request, code, entry.get("message"), headers)


async def unauthorized(request, repo, entry, now):
    return error_reply(request, 401, headers=repo.limiter.headers())


async def forbidden(request, repo, entry, now):
    return error_reply(request, 403, headers=repo.limiter.headers())


async def not_found(request, repo, entry, now):
    return error_reply(request, 404, headers=repo.limiter.headers())


async def rate_limit(request, repo, entry, now):
    """No requests left: 403 (or `status`) with Remaining 0, and/or Retry-After."""
    headers = retry_after_header(entry.get("retry_after"), now)
    if entry.get("reset_in", 1) is not None:
        headers.update(repo.limiter.headers(remaining=0, reset=now + entry.get("reset_in", 1)))
    code = int(entry.get("status", 403))
    return error_reply(request, code, f"API rate limit exceeded for {repo.name}.", headers)


async def slow(request, repo, entry, now):
    await asyncio.sleep(float(entry.get("seconds", 1)))
    return None


async def hang(request, repo, entry, now):
    """Never answers; ends when the client goes away or the API stops."""
    await asyncio.Event().wait()


async def html(request, repo, entry, now):
    return web.Response(status=int(entry.get("status", 200)), text=HTML, content_type="text/html")


async def body(request, repo, entry, now):
    """A fixed 200 body: `text`, or `hex` for bytes that are no text."""
    data = bytes.fromhex(entry["hex"]) if "hex" in entry else entry.get("text", "").encode()
    headers = {"Content-Type": entry.get("content_type", "application/json"), **entry.get("headers", {})}
    return web.Response(status=int(entry.get("status", 200)), body=data, headers=headers)


async def redirect(request, repo, entry, now):
    return web.Response(status=int(entry.get("status", 302)), headers={"Location": entry["location"]})


def huge_chunks(size):
    """A valid JSON array of `size` bytes or a little more, in chunks."""
    filler = json.dumps({"id": 1, "updated_at": "2024-01-01T00:00:00Z", "body": "x" * (CHUNK - 64)}).encode()
    sent = 0
    while sent < size:
        chunk = (b"[" if sent == 0 else b",") + filler
        sent += len(chunk)
        yield chunk
    yield b"]"


async def huge(request, repo, entry, now):
    """`bytes` of JSON (64 MB), streamed; `gzip` makes it a small reply that unpacks to as much."""
    size = int(entry.get("bytes", 64 * 1024 * 1024))
    if entry.get("gzip"):
        packed = gzip.compress(b"".join(huge_chunks(size)), 1)
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=packed, headers=headers)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    if entry.get("declare_length"):
        response.content_length = sum(len(chunk) for chunk in huge_chunks(size))
    await response.prepare(request)
    for chunk in huge_chunks(size):
        await response.write(chunk)
    await response.write_eof()
    return response


async def truncate(request, repo, entry, now):
    """Announces more than it sends and closes the connection."""
    await raw(request, repo, {"text": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                      "Content-Length: 100000\r\n\r\n[{\"id\": 1, \"title\": \"cut o"}, now)
    return web.Response()


async def close(request, repo, entry, now):
    """Closes the connection without a byte of reply."""
    request.transport.abort()
    return web.Response()


async def raw(request, repo, entry, now):
    """Writes `text` (or `hex`) to the socket as it stands, then closes."""
    data = bytes.fromhex(entry["hex"]) if "hex" in entry else entry["text"].encode()
    request.transport.write(data)
    request.transport.close()
    return web.Response()


# These change the page that is served rather than replace it; the listing reads the entry itself.
async def page_change(request, repo, entry, now):
    return None


KINDS = {
    "ok": ok,
    "status": status,
    "unauthorized": unauthorized,
    "forbidden": forbidden,
    "not_found": not_found,
    "rate_limit": rate_limit,
    "slow": slow,
    "hang": hang,
    "html": html,
    "body": body,
    "redirect": redirect,
    "huge": huge,
    "truncate": truncate,
    "close": close,
    "raw": raw,
    "invalid_utf8": page_change,
    "nul": page_change,
    "endless": page_change,
    "foreign_next": page_change,
    "headers": page_change,
}


def check(entry):
    """Raises ValueError for a behaviour that does not exist."""
    if not isinstance(entry, dict) or entry.get("kind", "ok") not in KINDS:
        raise ValueError(f"unknown behaviour {entry!r}; known are {', '.join(sorted(KINDS))}")


def damage(text, entry):
    """The page's JSON text as bytes, with the damage its behaviour asks for in every title."""
    data = text.encode()
    if entry.get("kind") == "invalid_utf8":
        return data.replace(b'"title": "', b'"title": "\xff\xfe\xc3(')
    if entry.get("kind") == "nul":
        return data.replace(b'"title": "', b'"title": "a\\u0000b ')
    return data
