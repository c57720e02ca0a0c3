"""Notifications by e-mail: whom messages are handed to, and what becomes of those that are not taken."""

import pytest
from harness.mail import PASSWORD, USER
from harness.waiting import wait_until

ALICE = "alice@customer.example"
BOB = "bob@customer.example"


def test_what_is_refused_for_now_comes_again_under_its_id(notices, mail):
    for stage in ("mail", "rcpt", "data"):
        mail.refuse(stage, "451 4.3.0 Try again later")
    notices.email(ALICE)
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    for failures in (1, 2, 3):
        rows = notices.wait_deliveries(failures, outcome="failed")
        assert (rows[-1]["reply_status"], rows[-1]["error_code"], rows[-1]["attempt"]) == (451, "smtp", failures)
        assert "4.3.0 Try again later" in rows[-1]["reply"]
        assert rows[-1]["next_attempt_at"] is not None
        assert mail.accepted == []
        notices.retry_now()
    (message,) = mail.wait(what=notices.engine.tails)
    notices.wait_all_delivered()
    # The content is the same each time, but for what belongs to the attempt.
    assert [m.id for m in mail.messages] == [message.id] * 2
    assert {row["message_id"] for row in notices.deliveries()} == {message.id}


def test_two_recipients_are_two_deliveries(notices, mail):
    setting = notices.email(ALICE, BOB)
    mail.refuse_address(BOB, "451 4.2.1 Mailbox busy")
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    (first,) = mail.wait(what=notices.engine.tails)
    assert first.recipients == [ALICE]
    notices.wait_deliveries(recipient=BOB, outcome="failed")
    mail.refused_addresses.clear()
    notices.retry_now()
    notices.wait_all_delivered()
    (second,) = mail.to(BOB)
    assert len(mail.to(ALICE)) == 1
    assert second.id != first.id
    for message, other in ((first, BOB), (second, ALICE)):
        assert other.encode() not in message.content
    assert len({row["delivery_id"] for row in notices.deliveries(notification_id=setting)}) == 2
    # Who unsubscribes speaks for himself alone.
    assert first["List-Unsubscribe"] != second["List-Unsubscribe"]


@pytest.mark.parametrize("stage, reply", [("rcpt", "550 5.1.1 No such user"), ("data", "554 5.7.1 Not wanted")])
def test_what_is_refused_for_good_is_not_tried_again(notices, mail, stage, reply):
    notices.email(ALICE)
    mail.refuse(stage, reply)
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    (row,) = notices.wait_deliveries(outcome="refused")
    assert (row["status"], row["reply_status"], row["next_attempt_at"]) == ("failed", int(reply[:3]), None)
    assert notices.pending() == 0
    assert mail.accepted == []


def test_a_sender_that_is_refused_is_the_operators_to_put_right(notices, mail):
    """It concerns every message: none is given up for it."""
    mail.refuse("mail", "553 5.1.8 Sender refused")
    notices.email(ALICE)
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert (row["reply_status"], row["error_code"]) == (553, "config") and row["next_attempt_at"]
    notices.retry_now()
    notices.wait_all_delivered()


def test_one_address_that_is_refused_keeps_nothing_from_others(notices, mail):
    mail.refuse_address(BOB)
    notices.email(BOB, ALICE)
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    mail.wait(what=notices.engine.tails)
    notices.wait_deliveries(recipient=BOB, outcome="refused")
    notices.wait_deliveries(recipient=ALICE, outcome="delivered")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_it_logs_in_over_tls(notices, mail_servers, tls, mechanism):
    server = mail_servers(tls, auth=(mechanism,))
    message = notices.only_failure(ALICE, server)
    assert message.over_tls and message.user == USER
    assert {login for login in server.logins} == {(mechanism, USER, PASSWORD)}
    assert b"AUTH" not in server.received[False].upper()


def test_a_server_that_asks_for_no_login(notices, mail_servers):
    server = mail_servers(auth=())
    message = notices.only_failure(ALICE, server)
    assert message.over_tls and server.logins == []


def test_without_starttls_it_gets_neither_message_nor_password(notices, mail_servers):
    """As whoever stands in between would have it."""
    server = mail_servers("none")
    notices.email(ALICE)
    notices.fails(notices.connection())
    notices.executor(mail=server).ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert row["error_code"] == "tls" and row["next_attempt_at"]
    assert (server.messages, server.logins) == ([], [])
    said = server.received[False].upper()
    assert said.startswith(b"EHLO") and b"AUTH" not in said and b"MAIL" not in said


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("certificate", ["self_signed", "wrong_host", "expired"])
def test_a_wrong_certificate_is_refused(notices, authority, mail_servers, tls, certificate):
    server = mail_servers(tls, getattr(authority, certificate))
    notices.email(ALICE)
    notices.fails(notices.connection())
    notices.executor(mail=server).ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert row["error_code"] == "tls" and row["next_attempt_at"]
    assert (server.messages, server.logins) == ([], [])
    assert b"AUTH" not in server.received[False].upper() and b"MAIL" not in server.received[False].upper()


def test_a_login_that_is_refused_is_tried_again_and_the_password_is_told_nowhere(engine, notices, mail):
    mail.refuse("auth", "535 5.7.8 Authentication credentials invalid", times=10)
    notices.email(ALICE)
    notices.fails(notices.connection())
    running = notices.executor(mail=mail).ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert row["next_attempt_at"] and mail.messages == []
    with mail.lock:
        mail.scripted["auth"].clear()
    notices.retry_now()
    notices.wait_all_delivered()
    assert running.stop() == 0
    for place, text in {
        "log": running.output(),
        "arguments": " ".join(running.command),
        "deliveries": str(notices.deliveries()),
        "server's log": engine.db.cluster.log.read_text(),
    }.items():
        assert PASSWORD not in text, place


def test_a_connection_that_ends_before_the_reply_is_tried_again_under_the_id(notices, mail):
    """Whether the server took it nobody knows: it may come twice, and is known by its id."""
    mail.drop_before_reply()
    notices.email(ALICE)
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    notices.wait_deliveries(outcome="failed")
    notices.retry_now()
    notices.wait_all_delivered()
    assert [m.recipients for m in mail.accepted] == [[ALICE]] * 2
    assert len({m.id for m in mail.accepted}) == 1


def test_a_connection_that_ends_after_the_reply_has_delivered(notices, mail):
    mail.drop_after_reply()
    notices.only_failure(ALICE, mail)
    assert len(mail.messages) == 1
    assert len(notices.deliveries()) == 1


@pytest.mark.parametrize("stage", ["ehlo", "mail", "data"])
def test_a_slow_server_is_waited_for(notices, mail, stage):
    mail.delay(stage, 2)
    notices.only_failure(ALICE, mail)
    assert len(notices.deliveries()) == 1


def test_a_slow_mail_server_holds_up_nothing_else(engine, notices, mail, hook):
    """Neither jobs nor webhooks wait while a server takes its time over a message."""
    mail.delay("data", 15)
    receiver = hook()
    _, connection = notices.repo_connection()
    notices.email(ALICE, events=["failure"])
    running = notices.executor(mail=mail).ready()
    notices.fails(notices.connection())
    wait_until(lambda: mail.received[True].endswith(b"\r\n.\r\n"), engine.tails)
    notices.webhook(receiver, events=["success"])
    engine.wait_status(engine.trigger(connection))
    receiver.wait(what=engine.tails)
    assert mail.messages == [], "all of it came only after the mail server's answer"
    mail.wait(what=engine.tails)
    notices.wait_all_delivered()
    assert running.stop() == 0


def test_no_mail_server_is_there(notices, mail):
    port = mail.port
    mail.close()
    notices.email(ALICE)
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    (row,) = notices.wait_deliveries(outcome="failed")
    assert row["error_code"] == "connect" and row["next_attempt_at"]
    assert str(port) not in row["error"]


def test_many_messages_one_after_another(notices, mail):
    """More than go over one connection at a time; each arrives once."""
    addresses = [f"user{n}@customer.example" for n in range(40)]
    for group in (addresses[:20], addresses[20:]):
        notices.email(*group)
    notices.fails(notices.connection())
    notices.executor(mail=mail).ready()
    mail.wait(40, what=notices.engine.tails)
    notices.wait_all_delivered()
    assert sorted(m.recipients[0] for m in mail.accepted) == sorted(addresses)
    assert len({m.id for m in mail.accepted}) == 40
    wait_until(lambda: mail.connections <= 41, "no more connections than messages")
