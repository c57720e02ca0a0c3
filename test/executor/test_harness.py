"""What judges the notifications is itself to be trusted: the verifier tells genuine from forged, the mail server does
as it is told."""

import smtplib
import ssl
import time
import urllib.request

import pytest
from harness.mail import PASSWORD, USER

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LETTER = b"Message-ID: <msg_00000000000000000000000000000001@a.example>\r\nSubject: s\r\n\r\n.dot\r\n"


def post(url, body, headers, authority):
    context = ssl.create_default_context(cafile=authority.file)
    request = urllib.request.Request(url, data=body.encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=20, context=context) as reply:
        return reply.status, reply.read()


def test_the_verifier_tells_genuine_from_forged(receivers, authority):
    receiver = receivers.receiver("/harness/genuine")
    body = '{"type": "test", "data": {"title": "ü"}}'
    signed = receivers.call("sign", secret=SECRET, id="msg_1", timestamp=int(time.time()), body=body)
    assert post(receiver.url, body, signed, authority) == (204, b"")
    (request,) = receiver.requests("test")
    assert request.genuine(SECRET)
    assert not request.genuine("whsec_" + "A" * 32)
    assert not request.genuine(SECRET, body=body + " ")
    assert not request.genuine(SECRET, headers={**request.headers, "webhook-id": "msg_2"})
    old = receivers.call("sign", secret=SECRET, id="msg_1", timestamp=int(time.time()) - 400, body=body)
    assert not request.genuine(SECRET, headers=old)


def test_the_verifier_knows_the_vector_of_the_standard(receivers):
    signed = receivers.call("sign", secret=SECRET, id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330,
                            body='{"test": 2432232314}')
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_receivers_do_as_they_are_told(receivers, authority):
    receiver = receivers.receiver("/harness/script")
    receiver.script({"status": 503, "headers": {"Retry-After": "7"}, "body": "later"}, {"kind": "close"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(receiver.url, "{}", {}, authority)
    assert (refused.value.code, refused.value.headers["Retry-After"]) == (503, "7")
    with pytest.raises(OSError):
        post(receiver.url, "{}", {}, authority)
    assert post(receiver.url, "{}", {}, authority)[0] == 204


@pytest.mark.parametrize("name", ["wrong_host", "expired", "self_signed"])
def test_wrong_certificates_are_wrong(receivers, authority, name):
    receiver = receivers.receiver("/harness/tls", receivers.listen(getattr(authority, name)))
    with pytest.raises(OSError, match="certificate verify failed"):
        post(receiver.url, "{}", {}, authority)
    assert receiver.requests() == []


def client(server, authority, login=True):
    context = ssl.create_default_context(cafile=authority.file)
    if server.implicit:
        opened = smtplib.SMTP_SSL("127.0.0.1", server.port, timeout=20, context=context)
    else:
        opened = smtplib.SMTP("127.0.0.1", server.port, timeout=20)
        if server.tls == "starttls":
            opened.starttls(context=context)
    if login:
        opened.login(USER, PASSWORD)
    return opened


@pytest.mark.parametrize("tls", ["starttls", "implicit", "none"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_the_mail_server_keeps_what_it_is_sent(mail_servers, authority, tls, mechanism):
    server = mail_servers(tls, auth=(mechanism,))
    opened = client(server, authority)
    opened.sendmail("a@a.example", ["b@b.example"], LETTER)
    opened.quit()
    (message,) = server.wait()
    assert (message.id, message["Subject"]) == ("msg_00000000000000000000000000000001", "s")
    assert message.content == LETTER
    assert (message.sender, message.recipients, message.user) == ("a@a.example", ["b@b.example"], USER)
    assert message.over_tls == (tls != "none")
    assert (b"MAIL FROM" in server.received[False].upper()) == (tls == "none")
    assert server.logins == [(mechanism, USER, PASSWORD)]


def test_the_mail_server_does_as_it_is_told(mail_servers, authority):
    server = mail_servers()
    opened = client(server, authority, login=False)
    opened.ehlo()
    server.refuse("auth", "535 5.7.8 No")
    assert opened.docmd("AUTH", "PLAIN AGEAYg==")[0] == 535
    with pytest.raises(smtplib.SMTPAuthenticationError):
        opened.login(USER, "another")
    assert server.logins[-1][1:] == (USER, "another")
    server.refuse_address("nobody@b.example")
    server.refuse("data", "451 4.3.0 Later")
    opened = client(server, authority)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        opened.sendmail("a@a.example", ["nobody@b.example"], LETTER)
    with pytest.raises(smtplib.SMTPDataError):
        opened.sendmail("a@a.example", ["b@b.example"], LETTER)
    assert server.accepted == [] and len(server.messages) == 1
    server.drop_before_reply()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        opened.sendmail("a@a.example", ["b@b.example"], LETTER)
    opened = client(server, authority)
    server.drop_after_reply()
    assert opened.sendmail("a@a.example", ["b@b.example"], LETTER) == {}
    assert len(server.wait(2)) == 2
