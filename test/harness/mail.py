"""A mail server on loopback that keeps what it is sent and misbehaves as it is told."""

import asyncio
import collections
import email
import email.policy
import re
import threading
import time

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword

from .waiting import wait_until

# The password that the executor logs in with: one of the planted secrets.
USER = "robot@mail.example"
PASSWORD = "planted smtp/password:%40-Kq7"
STAGES = ("ehlo", "auth", "mail", "rcpt", "data")


class Message:
    """What DATA brought, and in which envelope. `accepted`: whether the server keeps it, told or not."""

    def __init__(self, session, envelope, accepted):
        self.sender = envelope.mail_from
        self.recipients = list(envelope.rcpt_tos)
        self.content = bytes(envelope.content)
        self.over_tls = session.over_tls
        self.user = session.user
        self.accepted = accepted
        self.at = time.time()
        self.parsed = email.message_from_bytes(self.content, policy=email.policy.default)

    def __getitem__(self, header):
        return self.parsed[header]

    def __repr__(self):
        return f"<{self.parsed['Message-ID']} {self.parsed['Subject']!r} to {self.recipients}>"

    @property
    def id(self):
        """What the database calls message_id."""
        found = re.fullmatch(r"<(msg_[0-9a-f]{32})@[^@>\s]+>", self.parsed["Message-ID"].strip())
        assert found, self.parsed["Message-ID"]
        return found[1]

    def part(self, kind):
        """The text of the part text/kind."""
        (part,) = [p for p in self.parsed.walk() if p.get_content_type() == f"text/{kind}"]
        return part.get_content()


class _Session(SMTP):
    """One connection: also what came in the clear, byte for byte."""

    command_size_limit = 2048

    def __init__(self, server, **options):
        super().__init__(server, **options)
        self.server = server
        self.over_tls = server.implicit
        self.user = None

    def data_received(self, data):
        self.server.received[bool(self.over_tls or self._tls_protocol)] += data
        super().data_received(data)


class MailServer:
    """`tls`: starttls, implicit or none. `certificate`: see certificates.py. `auth`: the mechanisms it offers, maybe
    none; without TLS it would take a password in the clear."""

    def __init__(self, tls="starttls", certificate=None, auth=("PLAIN", "LOGIN")):
        assert tls in ("starttls", "implicit", "none")
        self.implicit = tls == "implicit"
        self.tls = tls
        self.auth = auth
        self.context = certificate.context() if certificate else None
        self.messages = []
        self.logins = []
        self.connections = 0
        self.received = {False: bytearray(), True: bytearray()}  # in the clear, over TLS
        self.refused_addresses = {}
        self.scripted = {stage: collections.deque() for stage in STAGES}
        self.lock = threading.Lock()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(20), "the mail server does not start"

    # What tests say.

    def refuse(self, stage, reply, times=1):
        """The next commands of this stage are answered so: ("data", "451 4.3.0 Try again later")."""
        self._script(stage, {"reply": reply}, times)

    def refuse_address(self, address, reply="550 5.1.1 No such user"):
        self.refused_addresses[address] = reply

    def drop_before_reply(self, stage="data", times=1):
        """The connection ends when the command is there, and with DATA its whole message, but not answered."""
        self._script(stage, {"drop": "before"}, times)

    def drop_after_reply(self, stage="data", times=1):
        self._script(stage, {"drop": "after"}, times)

    def delay(self, stage, seconds, times=1):
        self._script(stage, {"seconds": seconds}, times)

    def _script(self, stage, action, times):
        with self.lock:
            self.scripted[stage].extend([action] * times)

    # What tests see.

    @property
    def accepted(self):
        return [message for message in self.messages if message.accepted]

    def to(self, address):
        return [message for message in self.accepted if message.recipients == [address]]

    def wait(self, count=1, what=""):
        """The accepted messages once there are so many."""
        return wait_until(
            lambda: len(found := self.accepted) >= count and found,
            lambda: f"{count} messages: {self.messages}\n{what() if callable(what) else what}",
        )

    def url(self, host="127.0.0.1"):
        return f"{'smtps' if self.implicit else 'smtp'}://{host}:{self.port}"

    def close(self):
        if not self.thread.is_alive():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)

    # What aiosmtpd calls.

    async def handle_EHLO(self, smtp, session, envelope, hostname, responses):
        session.host_name = hostname
        action = await self._act(smtp, "ehlo")
        if not self.auth:
            responses = [line for line in responses if not line.startswith("250-AUTH")]
        return [action["reply"]] if "reply" in action else responses

    async def handle_AUTH(self, smtp, session, envelope, args):
        action = await self._act(smtp, "auth")
        if "reply" not in action:
            return MISSING
        # The password is asked for all the same.
        await getattr(smtp, f"auth_{args[0]}")(smtp, args)
        return action["reply"]

    async def handle_MAIL(self, smtp, session, envelope, address, options):
        action = await self._act(smtp, "mail")
        if "reply" in action:
            return action["reply"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, smtp, session, envelope, address, options):
        action = await self._act(smtp, "rcpt")
        refusal = self.refused_addresses.get(address) or action.get("reply")
        if refusal:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, smtp, session, envelope):
        action = await self._act(smtp, "data", lambda accepted: self._keep(smtp, envelope, accepted))
        return action.get("reply", "250 2.0.0 OK, it is mine now")

    def _keep(self, smtp, envelope, accepted):
        smtp.over_tls = bool(smtp.over_tls or smtp._tls_protocol)
        self.messages.append(Message(smtp, envelope, accepted))

    async def _act(self, smtp, stage, keep=lambda accepted: None):
        with self.lock:
            action = self.scripted[stage].popleft() if self.scripted[stage] else {}
        await asyncio.sleep(action.get("seconds", 0))
        keep("reply" not in action)
        if action.get("drop") == "before":
            smtp.transport.abort()
            raise asyncio.CancelledError
        if action.get("drop") == "after":
            # Once the reply that follows is on its way.
            transport = smtp.transport
            self.loop.call_later(0.05, transport.close)
        return action

    def _authenticate(self, smtp, session, envelope, mechanism, given):
        assert isinstance(given, LoginPassword)
        self.logins.append((mechanism, given.login.decode(), given.password.decode()))
        right = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
        if right:
            smtp.user = USER
        return AuthResult(success=right, handled=False)

    def _session(self):
        self.connections += 1
        return _Session(
            self, hostname="mail.example", loop=self.loop, authenticator=self._authenticate,
            tls_context=self.context if self.tls == "starttls" else None,
            auth_require_tls=self.tls == "starttls", auth_required=bool(self.auth) and self.tls == "starttls",
            auth_exclude_mechanism=[m for m in ("PLAIN", "LOGIN") if m not in self.auth],
        )

    def _serve(self, ready):
        asyncio.set_event_loop(self.loop)
        secured = self.context if self.implicit else None
        server = self.loop.run_until_complete(
            self.loop.create_server(self._session, "127.0.0.1", 0, ssl=secured)
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        server.close()
        pending = asyncio.all_tasks(self.loop)
        for task in pending:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self.loop.close()
