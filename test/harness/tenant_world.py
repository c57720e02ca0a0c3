"""A tenant that has something of every kind, and one call of each operation of the API about it."""

import json

from .notices import Notices

# Claims what waits for its executor and ends one delivery after the other as they are told.
END_DELIVERIES = """
WITH taken AS (SELECT d.*, row_number() OVER (ORDER BY d.delivery_id) - 1 AS n
               FROM sync.claim_deliveries('by hand', 100, '{email,webhook}', now()) d)
SELECT (SELECT count(*) FROM sync.complete_deliveries(
    (SELECT COALESCE(jsonb_agg(jsonb_build_object('delivery_id', t.delivery_id, 'claim_token', t.claim_token)
                     || CASE WHEN t.n % 2 = 0 THEN '{"outcome": "delivered", "status": 200, "duration_ms": 12}'::jsonb
                             ELSE '{"outcome": "failed", "status": 404, "error_code": "http_404", "error": "gone",
                                    "reply": "no"}' END),
                     '[]') FROM taken t)))
"""


class World:
    """Names of its objects hold `mark`, by which they are known where they must not appear."""

    def __init__(self, service, tenant):
        self.service, self.db, self.tenant = service, service.db, tenant
        self.mark = f"of-{tenant}"
        self.user = f"user-{self.mark}"
        self.notices = Notices(service.engine, None)
        self.connection = self._connection("main")
        self.broken = self._connection("broken")
        self.idle = self._connection("idle")
        self.schedule = self._schedule("daily", "daily")
        self.realtime = self._schedule("push", "realtime")
        self._notifications()
        self._runs()
        self._messages()
        self.waiting = self.execution = None
        self.hook = self.db.value(
            "SELECT hook_id FROM sync.create_hook(%s, 'github', name => %s)", self.connection, f"hook {self.mark}"
        )
        self.signal_cursor = self.db.value(
            "SELECT max(cursor) FROM sync.read_signals(NULL, 1000, %s)", self.tenant
        )

    @classmethod
    def make(cls, service, *tenants):
        """One for each tenant; a run of each waits from when all are there."""
        worlds = [cls(service, tenant) for tenant in tenants]
        for world in worlds:
            world.waiting = world.db.value("SELECT sync.trigger_schedule(%s)", world.schedule)
            world.execution = f"{world.connection}-{world.waiting}"
        return worlds

    def _connection(self, name):
        return self.notices.connection(f"{name} {self.mark}", tenant=self.tenant)

    def _schedule(self, name, kind):
        return self.db.value(
            "SELECT sync.create_schedule(%s, %s, %s, description => %s)",
            self.connection, f"{name} {self.mark}", kind, f"text {self.mark}",
        )

    def _notifications(self):
        events = ("success", "failure", "warning", "recovered", "digest")
        make = {"tenant": self.tenant, "events": events}
        host = f"{self.mark}.example"
        self.email = self.notices.email(f"a@{host}", name=f"mail {self.mark}", **make)
        self.webhook = self.notices.webhook(f"https://{host}/x", name=f"web {self.mark}", **make)
        self.in_app = self.notices.in_app(self.user, name=f"app {self.mark}", **make)

    def _runs(self):
        """Successes, a failure that was mended, one that stands."""
        for _ in range(2):
            self.notices.succeeds(self.connection, records=3)
        self.db.run("UPDATE sync.signals SET payload = payload || %s WHERE tenant_id = %s",
                    json.dumps({"text": self.mark}), self.tenant)
        self.notices.fails(self.idle, f"first {self.mark}")
        self.notices.succeeds(self.idle)
        self.notices.fails(self.broken, f"stands {self.mark}", detail={"mark": self.mark})
        run = self.db.value("SELECT run_id FROM sync.sync_executions WHERE connection_id = %s", self.broken)
        self.failed_execution = f"{self.broken}-{run}"
        self.attempt = self.db.value(
            "SELECT min(id) FROM sync.sync_executions WHERE connection_id = %s", self.connection
        )

    def _messages(self):
        for _ in range(3):
            self.notices.route()
        self.db.run(END_DELIVERIES)
        self.delivery = self.db.value(
            "SELECT min(d.delivery_id) FROM sync.deliveries d WHERE d.tenant_id = %s", self.tenant
        )
        self.inbox = [row[0] for row in self.db.rows(
            "SELECT id FROM sync.inbox WHERE user_id = %s ORDER BY id", self.user
        )]
        self.db.run("SELECT sync.mark_read(%s, %s, %s::bigint[])", self.tenant, self.user, self.inbox[:1])

    def calls(self):
        """{operation: how it is called with success}, in an order in which all succeed."""
        return {**self._looks(), **self._changes(), **self._removals()}

    def _looks(self):
        connection, schedule, setting = {"id": self.connection}, {"id": self.schedule}, {"id": self.email}
        at = "2030-01-01T00:00:00Z"
        return {
            "getOpenApi": {}, "getToken": {}, "getOverview": {}, "listProviders": {},
            "listConnections": {}, "getConnection": {"path": connection},
            "connectionHistory": {"path": {"id": self.broken}},
            "previewConnection": {"path": connection}, "explainConnection": {"path": connection},
            "listSchedules": {"query": {"connection_id": self.connection}}, "getSchedule": {"path": schedule},
            "scheduleHistory": {"path": schedule}, "previewSchedule": {"path": schedule, "query": {"after": at}},
            "explainSchedule": {"path": schedule},
            "listExecutions": {"query": {"connection_id": self.connection}},
            "getExecution": {"path": {"id": self.failed_execution}},
            "listFailures": {"query": {"connection_id": self.broken}},
            "listNotifications": {}, "getNotification": {"path": setting},
            "getWebhookSecret": {"path": {"id": self.webhook}},
            "listDeliveries": {"query": {"notification_id": self.email}},
            "getDelivery": {"path": {"id": self.delivery}},
            "readInbox": {"query": {"user_id": self.user}}, "countUnread": {"query": {"user_id": self.user}},
            "listIncidents": {"query": {"connection_id": self.idle}},
            "listHooks": {"query": {"connection_id": self.connection}}, "getHook": {"path": {"id": self.hook}},
            "readSignals": {"query": {"connection_id": self.connection}},
            "previewCron": {"query": {"expression": "30 2 * * *", "timezone": "Europe/Berlin", "after": at}},
            "describeCron": {"query": {"expression": "30 2 * * *"}},
            "readAuditLog": {"query": {"object_kind": "schedule"}},
            "streamEvents": {"query": {"connection_id": self.connection}},
        }

    def _changes(self):
        connection, schedule, setting = {"id": self.connection}, {"id": self.schedule}, {"id": self.email}
        named = {"name": f"anew {self.mark}"}
        told = {"events": ["failure"], "config": {"to": [f"a@{self.mark}.example"]}}
        return {
            "createConnection": {"body": {"provider_slug": "noop", **named}},
            "replaceConnection": {"path": connection, "body": named},
            "updateConnection": {"path": connection, "body": named},
            "triggerConnection": {"path": {"id": self.idle}, "body": {"priority": 5}},
            "pauseConnection": {"path": {"id": self.idle}, "body": {"reason": "holidays"}},
            "resumeConnection": {"path": {"id": self.idle}},
            "pauseConnections": {"body": {"where": {"connection_ids": [self.idle]}, "reason": "holidays"}},
            "resumeConnections": {"body": {"where": {"connection_ids": [self.idle]}}},
            "skipNextOfConnection": {"path": connection},
            "rewindConnection": {"path": connection, "body": {"execution_id": self.attempt}},
            "createSchedule": {"body": {"connection_id": self.connection, "schedule_type": "hourly", **named}},
            "replaceSchedule": {"path": schedule, "body": {"schedule_type": "daily", **named}},
            "updateSchedule": {"path": schedule, "body": {"at": "03:00"}},
            "triggerSchedule": {"path": schedule},
            "pauseSchedule": {"path": schedule, "body": {"reason": "holidays", "resume_at": "2099-01-01T00:00:00Z"}},
            "resumeSchedule": {"path": schedule},
            "skipNextOfSchedule": {"path": schedule},
            "retryExecution": {"path": {"id": self.failed_execution}},
            "cancelExecution": {"path": {"id": self.execution}, "body": {"reason": "enough"}},
            "createNotification": {"body": {"notification_type": "email", "schedule_id": self.schedule, **told}},
            "replaceNotification": {"path": setting, "body": told},
            "updateNotification": {"path": setting, "body": named},
            "testNotification": {"path": setting},
            "rotateWebhookSecret": {"path": {"id": self.webhook}, "body": {"overlap_seconds": 60}},
            "replayDelivery": {"path": {"id": self.delivery}},
            "replayDeliveries": {"body": {"from": "2020-01-01T00:00:00Z", "notification_id": self.email}},
            "markRead": {"body": {"user_id": self.user, "ids": self.inbox}},
            "createHook": {"body": {"connection_id": self.connection, "schedule_id": self.realtime, "scheme": "slack"}},
            "updateHook": {"path": {"id": self.hook}, "body": {"debounce_seconds": 5}},
            "rotateHookSecret": {"path": {"id": self.hook}, "body": {"overlap_seconds": 60}},
        }

    def _removals(self):
        return {
            "deleteHook": {"path": {"id": self.hook}},
            "deleteNotification": {"path": {"id": self.email}},
            "deleteSchedule": {"path": {"id": self.realtime}},
            "deleteConnection": {"path": {"id": self.connection}},
        }


class Operation:
    """One method of one path of the document."""

    def __init__(self, method, path, shared, source):
        self.method, self.path, self.source = method.upper(), path, source
        self.id = source["operationId"]
        self.parameters = [*shared, *source.get("parameters", [])]
        self.security = source["security"]

    @property
    def scope(self):
        """None: it needs no token; "": any token will do."""
        if not self.security:
            return None
        scopes = self.security[0]["token"]
        return scopes[0] if scopes else ""

    def target(self, path=None):
        target = self.path
        for name, value in (path or {}).items():
            target = target.replace("{" + name + "}", str(value))
        return target

    def call(self, api, path=None, query=None, body=None, **more):
        if self.id == "streamEvents":
            return api.opened(self.target(path), **(query or {}))
        return api.request(self.method, self.target(path), body, **(query or {}), **more)


def resolved(value, document):
    """With what references point to in their place."""
    if isinstance(value, list):
        return [resolved(element, document) for element in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return resolved(target, document)
    return {name: resolved(element, document) for name, element in value.items()}


def operations(document):
    """{operationId: Operation} of all methods of all paths."""
    found = {}
    for path, item in resolved(document["paths"], document).items():
        for method, source in item.items():
            if method != "parameters":
                operation = Operation(method, path, item.get("parameters", []), source)
                assert operation.id not in found, f"{operation.id} is there twice"
                found[operation.id] = operation
    return found
