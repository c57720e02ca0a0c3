#!/usr/bin/python3
"""A small API that behaves like GitHub's issues endpoint, and misbehaves on request: see README.md."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time

from aiohttp import web

import behaviours
import listing
import store


def bad_request(message):
    return web.json_response({"error": message}, status=400)


async def arguments(request):
    """The parameters of a control call: its JSON body over its query."""
    text = await request.text()
    body = json.loads(text) if text.strip() else {}
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")
    return {**request.query, **body}


def control(handler):
    """Turns wrong parameters into 400 with the reason."""
    async def answer(request):
        try:
            return await handler(request.app["store"], await arguments(request))
        except KeyError as error:
            return bad_request(f"missing or unknown: {error}")
        except (ValueError, TypeError) as error:
            return bad_request(str(error))
    return answer


def one(api, args):
    repo = api.find(args["repo"], time.time())
    if repo is None:
        raise KeyError(args["repo"])
    return repo


def chosen(api, args):
    """The repository named, or all."""
    now = time.time()
    repos = [one(api, args)] if args.get("repo") else list(api.repos.values())
    for repo in repos:
        repo.grow(now)
    return repos


def check_behaviours(args):
    for entry in [*args.get("script", []), *([args["behaviour"]] if args.get("behaviour") else [])]:
        behaviours.check(entry)


async def put_repo(api, args):
    check_behaviours(args)
    repo = api.put(args["repo"], args, time.time())
    return web.json_response({"repo": repo.name, "items": len(repo.items), "numeric_id": repo.numeric_id})


async def set_behaviour(api, args):
    """`script` is put behind what still waits (before it with `first`); `behaviour` is the standing one."""
    check_behaviours(args)
    repo = one(api, args)
    script = [dict(entry) for entry in args.get("script", [])]
    repo.script = script + repo.script if args.get("first") else repo.script + script
    if "behaviour" in args:
        repo.default = args["behaviour"] or {"kind": "ok"}
    if args.get("clear"):
        repo.script = script
    return web.json_response({"script": repo.script, "behaviour": repo.default})


async def add_items(api, args):
    repo = one(api, args)
    at = store.parse_iso(args["updated_at"]) if args.get("updated_at") else time.time()
    fields = args.get("items") or [{} for _ in range(int(args.get("count", 1)))]
    spacing = float(args.get("spacing_seconds", 0))
    made = [repo.add_item(at + spacing * index, extra) for index, extra in enumerate(fields)]
    return web.json_response({"items": made})


async def touch_items(api, args):
    repo = one(api, args)
    at = store.parse_iso(args["updated_at"]) if args.get("updated_at") else time.time()
    return web.json_response({"items": repo.touch(set(args["ids"]), at, args.get("set", {}))})


async def list_items(api, args):
    rows = [{"repo": repo.name, "id": item["id"], "updated_at": item["updated_at"]}
            for repo in chosen(api, args) for item in repo.items]
    return web.json_response({"items": rows, "count": len(rows)})


async def list_served(api, args):
    rows = [{"repo": repo.name, "id": number, "updated_at": updated, "times": times}
            for repo in chosen(api, args) for (number, updated), times in repo.served.items()]
    return web.json_response({"items": rows, "count": len(rows)})


async def list_requests(api, args):
    after = int(args.get("after", 0))
    rows = [entry for entry in api.requests
            if entry["n"] > after and (not args.get("repo") or entry["repo"] == args["repo"])]
    if args.get("brief"):
        keep = ("n", "time", "method", "url", "repo", "behaviour", "status", "served")
        rows = [{name: entry[name] for name in keep} for entry in rows]
    return web.json_response({"requests": rows, "count": len(rows)})


async def reset(api, args):
    """Forgets requests, what was served and scripts; with `all`, back to the state of the start."""
    if args.get("all"):
        api.__init__(api.config, time.time())
        return web.json_response({"repos": len(api.repos)})
    for repo in chosen(api, args):
        repo.served.clear()
        repo.script.clear()
        repo.default = {"kind": "ok"}
    api.requests = [entry for entry in api.requests if args.get("repo") and entry["repo"] != args["repo"]]
    return web.json_response({"repos": len(api.repos)})


async def health(api, args):
    return web.json_response({"ok": True, "repos": len(api.repos), "requests": len(api.requests)})


def make_app(config):
    for entry in [*config.get("repos", {}).values(), config.get("auto") or {}]:
        check_behaviours(entry)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app["store"] = store.Store(config, time.time())
    app.add_routes(listing.routes())
    changes = {"repo": put_repo, "behaviour": set_behaviour, "items/add": add_items,
               "items/touch": touch_items, "reset": reset}
    reads = {"items": list_items, "served": list_served, "requests": list_requests, "health": health}
    for name, handler in {**changes, **reads}.items():
        app.router.add_post(f"/control/{name}", control(handler))
        if name in reads:
            app.router.add_get(f"/control/{name}", control(handler))
    return app


async def serve(app, port, announce, parent=None):
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, shutdown_timeout=1)
    await site.start()
    announce(site._server.sockets[0].getsockname()[1])
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), timeout=0.5 if parent else None)
        except asyncio.TimeoutError:
            # A test that was killed must not leave its API behind.
            if os.getppid() != parent:
                stop.set()
    await runner.cleanup()


def read_config(options):
    config = {}
    if options.config:
        with open(options.config, encoding="utf-8") as file:
            config = json.load(file)
    if options.seed is not None:
        config["seed"] = options.seed
    for text in options.repo:
        name, _, count = text.partition("=")
        config.setdefault("repos", {})[name] = {"items": int(count or 0)}
    if options.auto_items is not None:
        config["auto"] = {**(config.get("auto") or {}), "items": options.auto_items}
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    parser.add_argument("--config", help="JSON file: seed, repos, auto (see README.md)")
    parser.add_argument("--seed", type=int, help="seed of the items' contents")
    parser.add_argument("--repo", action="append", default=[], metavar="OWNER/NAME=ITEMS",
                        help="a repository and its number of items")
    parser.add_argument("--auto-items", type=int,
                        help="make unknown repositories when asked for, with so many items")
    parser.add_argument("--exit-with-parent", action="store_true",
                        help="stop when the parent process has gone")
    options = parser.parse_args()
    try:
        app = make_app(read_config(options))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"demo_api: {error}", file=sys.stderr)
        return 2
    parent = os.getppid() if options.exit_with_parent else None
    asyncio.run(serve(app, options.port, lambda port: print(port, flush=True), parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
