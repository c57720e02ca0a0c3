"""What is in notifications by e-mail: of standard form, whatever remote APIs and tenants wrote."""

import email.utils
import re
import time

import pytest
from harness.mail import USER
from harness.notices import DOMAIN, MAIL_FROM, SENDER

ALICE = "alice@customer.example"
# What an error's text, a connection's name and a tenant's may hold.
HOSTILE = {
    "line breaks": "boom\r\nBcc: eve@evil.example\r\n\r\nbody of my own",
    "bare line breaks": "boom\nBcc: eve@evil.example\rTo: eve@evil.example",
    "end of data": "boom\r\n.\r\nMAIL FROM:<eve@evil.example>\r\nRCPT TO:<eve@evil.example>\r\nDATA\r\n",
    "bare end of data": "boom\n.\nMAIL FROM:<eve@evil.example>\n.\r\n.\n",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(2)> & \"quotes\" 'too'",
    "emoji": "🦊 fails " + "🔥" * 200,
    "right to left": "\u202egnp.exe \u2066x\u2069 مرحبا",
    "controls": "bell\x07 escape\x1b[31m delete\x7f c1\x85 separators\u2028\u2029",
    "encoded word": "=?utf-8?q?Bcc:_eve=40evil.example?= =?utf-8?b?Zm9v?=",
    "long line": "x" * 5000,
}


def assert_well_formed(message):
    """Of standard form, to the one recipient, whatever its texts hold."""
    assert message.recipients == [ALICE] and message.sender == SENDER
    head, _, body = message.content.partition(b"\r\n\r\n")
    assert body
    for line in message.content.split(b"\r\n"):
        assert b"\r" not in line and b"\n" not in line
        assert len(line) <= 998
    for line in head.split(b"\r\n"):
        # libcurl's own, with the boundary, is not folded.
        assert len(line) <= 78 or b" " not in line.strip() or line.startswith(b"Content-Type:"), line
    head.decode("ascii")
    names = [name.lower() for name in message.parsed.keys()]
    assert len(names) == len(set(names)), names
    assert "bcc" not in names and "cc" not in names
    assert message["To"] == ALICE
    assert not message.parsed.defects
    for part in message.parsed.walk():
        assert not part.defects, part.defects
    assert [p.get_content_type() for p in message.parsed.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    for kind in ("plain", "html"):
        text = message.part(kind)
        assert not [c for c in text if ord(c) < 32 and c not in "\r\n\t"], kind
    assert "<script" not in message.part("html").lower() and "<img src=x" not in message.part("html").lower()
    assert not [c for c in str(message["Subject"]) if ord(c) < 32 or ord(c) == 127]


def test_a_message_is_what_mail_programs_expect(notices, mail):
    message = notices.only_failure(ALICE, mail)
    assert_well_formed(message)
    assert message.over_tls and message.user == USER
    assert email.utils.parseaddr(message["From"]) == email.utils.parseaddr(MAIL_FROM)
    assert "Anvils" in message["Subject"]
    assert abs(email.utils.parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 600
    assert message.parsed["Message-ID"].strip() == f"<{message.id}@{DOMAIN}>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(r"<[^<>\s]+>(, *<[^<>\s]+>)*", message["List-Unsubscribe"].strip())
    assert message["MIME-Version"] == "1.0"
    for kind in ("plain", "html"):
        assert "the API said no" in message.part(kind)
    (delivery,) = notices.deliveries()
    assert (delivery["recipient"], delivery["message_id"], delivery["reply_status"]) == (ALICE, message.id, 250)
    assert "it is mine now" in delivery["reply"]


@pytest.mark.parametrize("where", ["error", "name"])
def test_what_others_wrote_stays_text(engine, notices, mail, where):
    engine.db.configure(notification_burst=len(HOSTILE))
    notices.email(ALICE)
    for text in HOSTILE.values():
        connection = notices.connection(text if where == "name" else "Anvils")
        notices.fails(connection, text if where == "error" else "the API said no")
    notices.executor(mail=mail).ready()
    mail.wait(len(HOSTILE), what=engine.tails)
    notices.wait_all_delivered()
    assert len(mail.messages) == len(HOSTILE)
    for message in mail.messages:
        assert_well_formed(message)
    shown = [message.part("plain") for message in mail.messages]
    for text in HOSTILE.values():
        word = re.search(r"\w{3,60}", text)[0]
        assert [part for part in shown if word in part], text


@pytest.mark.parametrize("text", ["a\r\nBcc: eve@evil.example", "<script>alert(1)</script>", "مرحبا 🦊"])
def test_a_tenants_name_stays_text(notices, mail, text):
    assert_well_formed(notices.only_failure(ALICE, mail, tenant=text))
    assert len(mail.messages) == 1


def test_an_error_text_of_a_megabyte_makes_a_message_that_can_be_read(notices, mail):
    message = notices.only_failure(ALICE, mail, message="it went wrong: " + "🔥 wrong " * 100_000)
    assert_well_formed(message)
    assert "it went wrong: 🔥 wrong" in message.part("plain")
    assert len(message.content) < 100_000
