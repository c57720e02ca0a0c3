"""Repositories, their items and what has been served: the state of the demo API, without any HTTP."""

import datetime
import random
import zlib

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
WORDS = "timeout cursor retry window tenant token page index replica lease signal queue jitter slot".split()
MAX_LOGGED = 200_000


def iso(seconds):
    """Whole seconds since 1970 as GitHub writes a time."""
    return (EPOCH + datetime.timedelta(seconds=int(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text):
    """Seconds since 1970 of an ISO 8601 time, a missing zone being UTC. Raises ValueError."""
    value = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace(" ", "+"))
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    return value.timestamp()


class Limiter:
    """Fixed windows, as GitHub's primary rate limit: `limit` requests, then none until the window ends."""

    def __init__(self, limit=5000, window_seconds=3600, status=403, retry_after=None, resource="core"):
        self.limit = int(limit)
        self.window = float(window_seconds)
        self.status = int(status)
        self.retry_after = retry_after
        self.resource = resource
        self.used = 0
        self.ends = None

    def take(self, now):
        """Counts one request; False where the window has none left."""
        if self.ends is None or now >= self.ends:
            self.ends = now + self.window
            self.used = 0
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def headers(self, remaining=None, reset=None):
        left = self.limit - self.used if remaining is None else remaining
        ends = self.ends if reset is None else reset
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(left, 0)),
            # Rounded up: at the second named, the window is over.
            "X-RateLimit-Reset": str(int(-(-(ends or 0) // 1))),
            "X-RateLimit-Used": str(self.limit - max(left, 0)),
            "X-RateLimit-Resource": self.resource,
        }


class Repo:
    """One repository: its items, how they grow, and how the next requests are answered."""

    def __init__(self, name, config, now):
        self.name = name
        self.numeric_id = zlib.crc32(name.encode()) & 0x7FFFFFFF
        self.random = random.Random(f"{config.get('seed', 1)}/{name}")
        self.items = []
        self.served = {}
        self.script = []
        self.auth = None
        self.default = {"kind": "ok"}
        self.growth = None
        self.growth_done = 0
        self.growth_from = now
        self.limiter = Limiter()
        count = int(config.get("items", 0))
        spacing = float(config.get("spacing_seconds", 60))
        first = config.get("first_updated_at")
        start = parse_iso(first) if first else now - spacing * count
        for index in range(count):
            self.add_item(start + spacing * index)
        self.configure(config, now)

    def configure(self, config, now):
        """Applies the keys that are present; see README.md for each."""
        if "auth" in config:
            self.auth = config["auth"]
        if "token" in config:
            token = config["token"]
            self.auth = {"type": "bearer", "token": token} if token else None
        if "rate_limit" in config:
            self.limiter = Limiter(**(config["rate_limit"] or {}))
        if "behaviour" in config:
            self.default = config["behaviour"] or {"kind": "ok"}
        if "script" in config:
            self.script = [dict(entry) for entry in config["script"]]
        if "growth" in config:
            self.growth = config["growth"]
            self.growth_from = now
            self.growth_done = 0

    def add_item(self, updated_at, fields=None):
        number = len(self.items) + 1
        title = " ".join(self.random.choice(WORDS) for _ in range(4))
        item = {
            "id": self.numeric_id * 1_000_000 + number,
            "number": number,
            "title": f"{title} #{number}",
            "state": "closed" if number % 5 == 0 else "open",
            "user": {"login": f"user{self.random.randrange(20)}", "id": 1000 + number % 20},
            "labels": [{"name": self.random.choice(WORDS)}],
            "comments": self.random.randrange(10),
            "created_at": iso(updated_at),
            "updated_at": iso(updated_at),
            "closed_at": iso(updated_at) if number % 5 == 0 else None,
            "body": f"Item {number} of {self.name}.",
        }
        item.update(fields or {})
        self.items.append(item)
        return item

    def grow(self, now):
        """Adds what is due by `now`, each item stamped with the time it was due, whenever it is asked for."""
        if not self.growth:
            return
        every = float(self.growth.get("every_seconds", 5))
        most = int(self.growth.get("max", 1_000_000))
        due = min(int((now - self.growth_from) / every) * int(self.growth.get("count", 1)), most)
        while self.growth_done < due:
            step = self.growth_done // int(self.growth.get("count", 1)) + 1
            self.add_item(self.growth_from + step * every)
            self.growth_done += 1

    def select(self, since=None, state="all", sort="updated", direction="asc"):
        """The items a listing holds, in its order; ties go by id, so that pages do not overlap."""
        rows = [item for item in self.items if state == "all" or item["state"] == state]
        if since is not None:
            limit = iso(-(-since // 1))
            rows = [item for item in rows if item["updated_at"] >= limit]
        key = "created_at" if sort == "created" else "comments" if sort == "comments" else "updated_at"
        rows.sort(key=lambda item: (item[key], item["id"]), reverse=direction == "desc")
        return rows

    def touch(self, wanted, updated_at, fields):
        """Updates the items whose id or number is in `wanted`: the same id under a new updated_at."""
        touched = []
        for index, item in enumerate(self.items):
            if item["id"] in wanted or item["number"] in wanted:
                self.items[index] = {**item, **fields, "updated_at": iso(updated_at)}
                touched.append(self.items[index])
        return touched

    def note_served(self, rows):
        for item in rows:
            version = (item["id"], item["updated_at"])
            self.served[version] = self.served.get(version, 0) + 1

    def next_behaviour(self, page):
        """The first scripted behaviour that matches this page, counted down; else the standing one."""
        for entry in self.script:
            if "page" in entry and entry["page"] != page:
                continue
            if entry.get("skip", 0) > 0:
                entry["skip"] -= 1
                continue
            left = entry.get("times", 1)
            if left is not None:
                entry["times"] = left - 1
                if entry["times"] <= 0:
                    self.script.remove(entry)
            return entry
        return self.default


class Store:
    """All repositories and the log of requests."""

    def __init__(self, config, now):
        self.config = config
        self.auto = config.get("auto")
        self.repos = {}
        self.requests = []
        self.logged = 0
        for name, entry in config.get("repos", {}).items():
            self.repos[name] = Repo(name, {"seed": config.get("seed", 1), **entry}, now)

    def find(self, name, now):
        repo = self.repos.get(name)
        if repo is None and self.auto is not None:
            repo = self.repos[name] = Repo(name, {"seed": self.config.get("seed", 1), **self.auto}, now)
        if repo is not None:
            repo.grow(now)
        return repo

    def by_numeric_id(self, numeric_id, now):
        for repo in self.repos.values():
            if repo.numeric_id == numeric_id:
                repo.grow(now)
                return repo
        return None

    def put(self, name, config, now):
        repo = self.repos.get(name)
        if repo is None or config.get("replace"):
            repo = self.repos[name] = Repo(name, {"seed": self.config.get("seed", 1), **config}, now)
        else:
            repo.configure(config, now)
        return repo

    def log(self, entry):
        self.logged += 1
        entry["n"] = self.logged
        self.requests.append(entry)
        if len(self.requests) > MAX_LOGGED:
            del self.requests[:MAX_LOGGED // 2]
        return entry
