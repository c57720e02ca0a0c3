"""Random webhooks that nobody should send: none brings 5xx, and what is accepted reaches a run, once."""

import contextlib
import json
import os
import random
import urllib.parse

from harness.hook_sender import SIGNERS, post, send
from harness.steps import Session

UNKNOWN = object()  # what becomes of a body that is not foreseen here
KEEPS = 64  # levels of JSON
PLAIN_TYPES = ("application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json",
               "text/plain", None)
TYPES = (*PLAIN_TYPES, "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ";", "x" * 500,
         "application/octet-stream", "text/json;;;", "application/json, text/plain", "\xff")
SCALARS = (None, True, False, 0, -1, 1.5, 2**53, "", "x", "ä€😀", "\n\t\"\\/", "\x7f", "'; --", "{{id}}", "$1", "%s",
           [], {})
# As text: Python would not write them.
ODD_TEXTS = (
    b"1e400", b"-1e-400", b"1e200000", b"1e-20000", b"0." + b"3" * 20000, b"9" * 5000, b"-0", b"-0.0e-0", b"1E+0005",
    b"1e99999999999999999999", b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\x00"',
    b'"\x01"', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"a\xf0\x9f"', b'{"\\u0000": 1}',
    b'{"\xff": 1}',
    b'{"": {"": 1}}', b'{"a": 1, "\\u0061": 2}', b'{"events": [], "events_dropped": -5}', b'{"__proto__": {}}',
    b'[' + b'"a",' * 3000 + b'0]', b'{"' + b"k" * 60000 + b'": 1}', b'"' + b"\\u0001" * 5000 + b'"',
)
NO_JSON = (b"", b" ", b"\x00", b"hello", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{", b"]", b"{}{}", b"[1,]", b"{'a': 1}",
           b"NaN", b"nul", b"<a/>", b"a=1&b=2", b"\x1f\x8b\x08\x00\x00", b"[" * 100000, b'{"a":' * 50000, b'"\\',
           b'"\\u00')
FORMS = (b"payload=%7B%22a%22%3A1%7D", b"payload=%7B", b"payload=", b"payload", b"payload=%00", b"payload=%FF",
         b"a=%zz&%=%&=&&==", b"a=1&a=2", b"%00=%00", b"%ff=\xff", b"a" * 70000 + b"=b", b"&" * 5000,
         b"payload=" + b"%5B" * 200)
DELIVERIES = ("", " ", "\t", "x" * 201, "x" * 4000, "\xff\xfe", "ä€".encode().decode("latin-1"), "a b", "'; --",
              "../..", "%00", "\\u0000", "null", "0", "a,b", '"q"')
EXTRAS = (
    {"X-GitHub-Event": "ping"}, {"X-GitHub-Event": "\xff"}, {"x-github-delivery": "another"}, {"Idempotency-Key": ""},
    {"Content-Encoding": "gzip"}, {"X-Request-Id": "\xff" * 300}, {"ce-id": "1", "ce-source": "\xff"},
    {"X-Goog-Resource-State": "sync"}, {"X-Goog-Channel-Id": "c", "X-Goog-Message-Number": "-1"},
    {"X-GitHub-Hook-Secret": "x"}, {"X-Shopify-Topic": "\x80" * 2000}, {"Authorization": "Bearer"}, {"Cookie": "a=b"},
    {"webhook-id": ""}, {"svix-id": "s"}, {"X-Slack-Retry-Num": "1e9"}, {"Forwarded": "for=\"_x\""},
    {"X-Actor": "\xe4"},
)


def value(dice, depth=3):
    if depth and dice.random() < 0.5:
        members = [value(dice, depth - 1) for _ in range(dice.randint(0, 4))]
        return members if dice.random() < 0.5 else {f"k{n}": member for n, member in enumerate(members)}
    return dice.choice(SCALARS)


def spaced(dice, text):
    """JSON with what may stand around it."""
    return dice.choice(("", " ", "\r\n", "\t\n ")) + text + dice.choice(("", " ", "\n"))


def plain_body(dice, number):
    payload = {"n": number, "v": value(dice)}
    text = json.dumps(payload, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, 1)))
    return spaced(dice, text).encode(), dice.choice(PLAIN_TYPES), payload


def repeated_keys(dice, number):
    """The last one counts."""
    payload = {"n": number, "v": value(dice)}
    return f'{{"v": 1, "n": -1, {json.dumps(payload)[1:]}'.encode(), "application/json", payload


def deep_body(dice, number):
    levels = dice.choice((1, 30, KEEPS - 2, KEEPS - 1, KEEPS, 5000))
    inner = "[" * levels + "]" * levels
    payload = {"n": number, "v": json.loads(inner)} if levels < KEEPS else None
    return f'{{"n": {number}, "v": {inner}}}'.encode(), "application/json", payload


def form_body(dice, number):
    payload = {"n": number, "v": value(dice)}
    fields = {"a": "1", "payload": json.dumps(payload), "b": "2"}
    return urllib.parse.urlencode(fields).encode(), "application/x-www-form-urlencoded", payload


def odd_body(dice, number):
    pieces = b", ".join(b'"k%d": %s' % (n, dice.choice(ODD_TEXTS)) for n in range(dice.randint(1, 3)))
    return b'{"n": %d, %s}' % (number, pieces), dice.choice(TYPES), UNKNOWN


def broken_body(dice, _):
    # No few changes make a number of it that another message has.
    body = bytearray(plain_body(dice, "broken" * 10)[0])
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(body) + 1)
        signs = [dice.choice(b'{}[]",:\\\x00\xff0e-u %&=') for _ in range(dice.randint(0, 3))]
        body[at:at + dice.randint(0, 3)] = bytes(signs)
    return bytes(body), dice.choice(TYPES), UNKNOWN


def no_body(dice, number):
    return dice.choice(NO_JSON + FORMS), dice.choice(TYPES), UNKNOWN


def noise(dice, number):
    return dice.randbytes(dice.choice((1, 10, 1000, 30000))), dice.choice(TYPES), UNKNOWN


BODIES = (plain_body, plain_body, plain_body, repeated_keys, deep_body, form_body, odd_body, odd_body, broken_body,
          no_body, no_body, noise)


def spoiled(dice, headers, hook, body):
    """The signature of something else, or none."""
    name = dice.choice([name for name in headers if "signature" in name.lower() or "secret" in name.lower()])
    good = headers[name]
    other = SIGNERS[hook.scheme]("whsec_" + "A" * 32 if hook.scheme == "standard" else "x" * 64, body, "d")[name]
    wrong = (other, good[:-1], good[:-2], "", "=", "v1,", "sha256=", "v0=", good + "00", good[::-1], "\xff" * 20,
             good.replace("=", "").replace(",", ""), "x" * 3000, other + " " + other, "sha256=" + "z" * 64)
    return {**headers, name: dice.choice([text for text in wrong if text != good])}


def misled(dice, path):
    """A path that leads to no hook."""
    provider, token = path.split("/")[2:]
    return dice.choice((
        f"/hooks/{provider}", f"/hooks/{provider}/", f"/hooks//{token}", f"/hooks/{provider}/{token}/",
        f"/hooks/{provider}/{token[:-1]}", f"/hooks/{provider}/{token}0", f"/hooks/{provider}/{token.upper()}",
        f"/hooks/{provider}%00/{token}", f"/hooks/%FF/{token}", f"/hooks/%/{token}", f"/hooks/{provider}/%{token}",
        f"/hooks/{'p' * 3000}/{token}", f"/hooks/../hooks/x/{token}", f"/hooks/{provider}/whk_" + "0" * 64, "/hooks/",
        "/hooks", f"/HOOKS/{provider}/{token}", f"/hooks/{provider}/{token}%20", f"/hooks/{provider};x/{token}",
        f"/hooks/'%20OR%201=1/{token}", f"/hooks/\xe4/{token}",
    ))


class Hook:
    def __init__(self, session, number, scheme):
        self.scheme = scheme
        slug = f"provider {number}"
        session.run("INSERT INTO sync.providers (slug, connector) VALUES (%s, 'noop')", slug)
        self.connection = session.value(
            "INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('acme', %s) RETURNING id", slug)
        ((self.id, self.path, self.secret),) = session.rows(
            "SELECT hook_id, path, secret FROM sync.create_hook(%s, %s)", self.connection, scheme)
        self.accepted = 0
        self.ids = set()  # under which something was accepted
        self.payloads = {}  # {its number: what was accepted}


class Message:
    """One random message to a hook, and what is known beforehand of its answer."""

    def __init__(self, dice, hook, number):
        self.hook, self.number = hook, number
        self.body, self.type, self.payload = dice.choice(BODIES)(dice, number)
        self.delivery, named = self.choose_delivery(dice)
        self.headers = SIGNERS[hook.scheme](hook.secret, self.body, self.delivery)
        self.path, self.method = hook.path, "POST"
        self.forged, self.astray, adorned = (dice.random() < share for share in (0.15, 0.1, 0.2))
        if self.forged:
            self.headers = spoiled(dice, self.headers, hook, self.body)
        if adorned:
            self.headers = {**self.headers, **dice.choice(EXTRAS)}
        if self.astray:
            self.path = misled(dice, hook.path)
        elif dice.random() < 0.05:
            self.path += dice.choice(("?", "?x=1", "?%00=%ff"))
        if dice.random() < 0.03:
            self.method = dice.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "FROB"))
        # Nothing but the body and the id decides.
        self.plain = named and not (adorned or self.forged or self.astray) and self.method == "POST"

    def choose_delivery(self, dice):
        """An id, and whether it is one that says what becomes of the message."""
        if dice.random() < 0.2:
            return dice.choice(DELIVERIES), False
        again = self.hook.ids and dice.random() < 0.1
        return dice.choice(sorted(self.hook.ids)) if again else f"delivery-{self.number}", True

    def __str__(self):
        return (f"message {self.number} to {self.hook.scheme}: {self.method} {self.path} {self.headers} {self.type!r} "
                f"{self.body[:200]!r} ({len(self.body)} bytes)")

    def send(self, gateway):
        return post(gateway, self.path, self.headers, self.body, content_type=self.type, method=self.method)

    def expected(self):
        """The statuses that the answer may have."""
        if self.astray:
            return (400, 404, 405)
        if self.method != "POST":
            return (400, 401, 405)
        if self.forged:
            return (400, 401)
        if not self.plain:
            return (200, 202, 400, 401)
        if self.payload is None:
            return (400,)
        if self.payload is UNKNOWN:
            return (200, 202, 400)
        return (200,) if self.hook.scheme != "slack" and self.delivery in self.hook.ids else (202,)

    def check(self, reply, told):
        assert reply.status < 500 and reply.status in self.expected(), told
        if reply.status >= 400:
            assert reply.problem(), told
            return
        outcome = reply.json()["outcome"]
        assert outcome in ("accepted", "duplicate", "ignored"), told
        assert (reply.status == 200) == (outcome == "duplicate"), told
        if outcome != "accepted":
            return
        self.hook.accepted += 1
        if self.plain and self.payload is not UNKNOWN:
            self.hook.payloads[self.number] = self.payload
        if self.plain:
            self.hook.ids.add(self.delivery)


def claim_all(session):
    return session.rows("SELECT j.job_id, j.claim_token FROM sync.claim_jobs('by hand', 100) j")


def complete(session, jobs):
    for job in jobs:
        assert session.value("SELECT sync.complete_job(%s, %s)", *job)


def check_runs(session, hook, told):
    """What was accepted is in the inputs of its runs, each once."""
    rows = session.rows("SELECT input::text FROM sync.sync_jobs WHERE connection_id = %s", hook.connection)
    # Of many digits Python makes no number.
    inputs = [json.loads(row[0], parse_int=lambda text: int(text) if len(text) < 100 else text) for row in rows]
    events = [event for given in inputs for event in given["events"]]
    assert sum(given["events_dropped"] for given in inputs) == 0, told
    assert len(events) == hook.accepted, told
    assert {event["hook_id"] for event in events} <= {hook.id}, told
    found = {}
    for event in events:
        payload = event["payload"]
        if isinstance(payload, dict) and isinstance(payload.get("n"), int) and payload["n"] in hook.payloads:
            found.setdefault(payload["n"], []).append(payload)
    assert found == {number: [payload] for number, payload in hook.payloads.items()}, told
    ids = [event["delivery_id"] for event in events if event["delivery_id"] in hook.ids]
    assert hook.scheme == "slack" or sorted(ids) == sorted(hook.ids), told
    assert hook.secret not in json.dumps(events), told


def test_fuzz(service):
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    dice = random.Random(seed)
    with contextlib.closing(Session(service.db)) as session:
        fuzz(session, service.gateways[0], dice, seed)


def fuzz(session, gateway, dice, seed):
    hooks = [Hook(session, number, scheme) for number, scheme in enumerate(SIGNERS)]
    statuses, running = {}, []
    rounds = 5000 if os.environ.get("FULL") == "1" else 1000
    for number in range(rounds):
        if number % 100 == 0:
            # What arrives goes into a run that waits, or waits for one that runs; no input has room for all.
            complete(session, running)
            running = claim_all(session) if number % 200 == 0 else []
        message = Message(dice, dice.choice(hooks), number)
        reply = message.send(gateway)
        message.check(reply, f"SEED={seed} {message}: {reply}")
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
    assert all(statuses.get(status, 0) > 5 for status in (200, 202, 400, 401, 404)), (seed, statuses)
    assert gateway.process.poll() is None and gateway.get("/metrics").status == 200, f"SEED={seed}"
    assert not gateway.lines(level="error"), f"SEED={seed} {gateway.lines(level='error')}"
    for hook in hooks:
        reply = send(gateway, hook.path, hook.scheme, hook.secret, "the last one")
        assert reply.status == 202, f"SEED={seed} {hook.scheme}: {reply}"
        hook.accepted += 1
    complete(session, running)
    while running := claim_all(session):
        complete(session, running)
    for hook in hooks:
        check_runs(session, hook, f"SEED={seed} {hook.scheme}")
