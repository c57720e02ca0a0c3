"""sync-gateway over a database of the engine, and clients with tokens."""

import json
import urllib.parse

from .gateway import Client
from .process import Process, executable

GATEWAY_PASSWORD = "planted-gateway-password-3Wp"
GATEWAY_ROLE = "gateway_login"
ALL_SCOPES = ("read", "write", "trigger", "audit")


class Gateway(Process):
    def __init__(self, folder, number, url, *flags, **popen):
        command = [executable("sync-gateway", "SYNC_GATEWAY", ""), "--listen", "127.0.0.1:0", *flags]
        environment = {"SYNC_GATEWAY_DATABASE_URL": url, **popen.pop("env", {})}
        super().__init__(folder, "sync-gateway", f"gateway-{number}", command, env=environment, **popen)
        try:
            self.port = self.wait_for("listening")["port"]
        except BaseException:
            self.kill()
            raise

    def connect(self, buffer=None):
        return Client(self.port, buffer=buffer)

    def get(self, target, headers=b""):
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")
            return client.reply()


class Service:
    """The gateways of one database; its tenants' clients."""

    def __init__(self, engine):
        self.engine = engine
        self.db = engine.db
        self.gateways = []
        self.db.run(
            f"DO $$ BEGIN CREATE ROLE {GATEWAY_ROLE} LOGIN PASSWORD '{GATEWAY_PASSWORD}' IN ROLE sync_gateway;"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        self.db.run("SELECT sync.enable_tenant_isolation()")

    def url(self, port=None):
        port = port or self.db.cluster.port
        return f"postgresql://{GATEWAY_ROLE}:{GATEWAY_PASSWORD}@127.0.0.1:{port}/{self.db.name}"

    def gateway(self, *flags, url=None, **options):
        started = Gateway(self.engine.folder, len(self.gateways) + 1, url or self.url(), *flags, **options)
        self.gateways.append(started)
        return started

    def token(self, tenant="acme", scopes=ALL_SCOPES, name="test", **columns):
        """Of a token that is made here; columns: expires_at, requests_per_minute."""
        extra = "".join(f", {column} => %s" for column in columns)
        return self.db.value(
            f"SELECT sync.create_api_token(%s, %s, %s{extra})", tenant, name, list(scopes), *columns.values()
        )

    def client(self, tenant="acme", scopes=ALL_SCOPES, gateway=None, **columns):
        columns.setdefault("requests_per_minute", 0)
        return Api(gateway or self.gateways[0], self.token(tenant, scopes, **columns))

    def close(self):
        for gateway in self.gateways:
            if gateway.process.poll() is None:
                gateway.stop()
            gateway.close()


class Api:
    """Requests with one token: api.get("/connections", limit=2), api.post("/connections", {...}, headers={...})."""

    BASE = "/api/v2"

    def __init__(self, gateway, token):
        self.gateway = gateway
        self.token = token

    def request(self, method, path, body=None, headers=None, raw=None, **query):
        with self.gateway.connect() as client:
            client.send(self.text(method, path, body, headers, raw, query))
            return client.reply(method)

    def opened(self, path, **query):
        """The head of a stream, whose connection is ended; else the whole reply."""
        with self.gateway.connect() as client:
            client.send(self.text("GET", path, query=query))
            reply = client.head()
            return reply if reply.headers.get("content-type") == "text/event-stream" else client.finish(reply)

    def text(self, method, path, body=None, headers=None, raw=None, query=None):
        """The request's bytes."""
        query = query or {}
        query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        target = self.BASE + path + ("?" + urllib.parse.urlencode(query) if query else "")
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        lines = {"Host": "localhost", "Connection": "close"}
        if self.token:
            lines["Authorization"] = f"Bearer {self.token}"
        if data or method in ("POST", "PUT", "PATCH"):
            lines |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + data

    def get(self, path, headers=None, **query):
        return self.request("GET", path, headers=headers, **query)

    def post(self, path, body=None, headers=None, **query):
        return self.request("POST", path, body, headers, **query)

    def put(self, path, body, headers=None):
        return self.request("PUT", path, body, headers)

    def patch(self, path, body, headers=None):
        return self.request("PATCH", path, body, headers)

    def delete(self, path, headers=None):
        return self.request("DELETE", path, headers=headers)

    def pages(self, path, **query):
        """All items of a list, page by page."""
        items, cursor = [], None
        while True:
            reply = self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            assert reply.status == 200, reply
            items += reply.json()["items"]
            cursor = reply.json()["next"]
            if cursor is None:
                return items
