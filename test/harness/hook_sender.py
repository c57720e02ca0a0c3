"""Senders of webhooks: how each scheme signs, and messages with whatever headers and body."""

import base64
import hashlib
import hmac
import time


def hexed(secret, content):
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def sign_github(secret, body, delivery):
    return {
        "X-Hub-Signature-256": "sha256=" + hexed(secret, body),
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": "push",
    }


def sign_slack(secret, body, delivery, at=None):
    at = str(at or int(time.time()))
    return {
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": "v0=" + hexed(secret, f"v0:{at}:".encode() + body),
    }


def sign_standard(secret, body, delivery):
    at = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    # As it goes over the wire.
    name = delivery.encode("latin-1")
    digest = hmac.new(key, name + f".{at}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": delivery, "webhook-timestamp": at, "webhook-signature": signature}


def sign_secret(secret, body, delivery):
    return {"X-Webhook-Secret": secret, "X-Delivery-Id": delivery}


SIGNERS = {"github": sign_github, "slack": sign_slack, "standard": sign_standard, "secret": sign_secret}


def post(gateway, path, headers, body=b"{}", content_type="application/json", method="POST"):
    """The reply to one message. Names and values of headers are sent as Latin-1."""
    lines = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **headers}
    if content_type:
        lines["Content-Type"] = content_type
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with gateway.connect() as client:
        client.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        return client.reply(method)


def send(gateway, path, scheme, secret, delivery, body=b"{}", **options):
    """The reply to a message that is signed as that scheme has it."""
    return post(gateway, path, SIGNERS[scheme](secret, body, delivery), body, **options)
