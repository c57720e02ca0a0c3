"""HTTPS: versions, the certificate and its renewal, clients that speak something else."""

import shutil
import signal
import ssl

import pytest
from harness.gateway import REQUEST
from harness.waiting import wait_until


@pytest.fixture
def secure(serve, authority, tmp_path):
    """A server, with copies of the good certificate that a test may replace."""

    def start(*flags):
        install(authority.good, tmp_path)
        return serve("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"), *flags)

    return start


def install(certificate, folder):
    shutil.copy(certificate.chain, folder / "cert.pem")
    shutil.copy(certificate.key, folder / "key.pem")


def trusting(authority, protocols=None):
    context = ssl.create_default_context(cafile=authority.file)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def test_https(secure, authority):
    server = secure()
    with server.connect(tls=trusting(authority, ["h2", "http/1.1"])) as client:
        assert client.socket.selected_alpn_protocol() == "http/1.1"
        assert client.socket.version() == "TLSv1.3"
        for _ in range(2):
            reply = client.send(REQUEST).reply()
            assert reply.json()["secure"] == "yes"
            assert reply.headers["strict-transport-security"] == "max-age=31536000"
        client.send(b"GET /big?bytes=3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(client.reply().body) == 3000000
        client.send(b"GET /x HTTP/1.1\n")
        reply = client.reply()
        assert reply.status == 400 and "strict-transport-security" in reply.headers
        assert client.ended()


def test_other_protocols(secure, authority):
    server = secure()
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        server.connect(tls=trusting(authority, ["h2"]))
    old = trusting(authority)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        server.connect(tls=old)
    with server.connect() as plain:
        plain.send(REQUEST)
        assert b"HTTP/" not in plain.rest()
    with server.connect(tls=trusting(authority)) as client:
        assert client.send(REQUEST).reply().status == 200


def test_handshake_that_does_not_come(secure):
    server = secure("--header-timeout", "1")
    with server.connect() as client:
        assert client.ended()
    with server.connect() as client:
        assert client.trickle(b"\x16\x03\x01\x02\x00" + b"\x00" * 500, 0.05, 20) < 15


def test_stream(secure, authority):
    server = secure()
    with server.connect(tls=trusting(authority)) as client:
        client.send(b"GET /events?ms=5&count=50 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.reply().body.endswith(b"data: 50\n\n")
    with server.connect(tls=trusting(authority)) as client:
        client.send(b"GET /events?ms=3600000 HTTP/1.1\r\nHost: a\r\nX-Request-Id: left\r\n\r\n").until(b"hello")
    server.wait_for("request", request_id="left")


def name(client):
    return dict(pair for part in client.socket.getpeercert()["subject"] for pair in part)["commonName"]


def test_new_certificate(secure, authority, tmp_path):
    server = secure()
    with server.connect(tls=trusting(authority)) as old:
        assert name(old) == "good"
        install(authority.issue("renewed", "IP:127.0.0.1,DNS:localhost"), tmp_path)
        server.signal(signal.SIGHUP)
        server.wait_for("certificate reloaded")
        with server.connect(tls=trusting(authority)) as new:
            assert name(new) == "renewed"
            assert new.send(REQUEST).reply().status == 200
        # Who came before goes on.
        assert old.send(REQUEST).reply().status == 200
        (tmp_path / "cert.pem").write_text("nothing of the kind")
        server.signal(signal.SIGHUP)
        server.wait_for("the certificate could not be reloaded; the former stays")
        with server.connect(tls=trusting(authority)) as new:
            assert name(new) == "renewed"


def test_key_of_another(serve, authority):
    with pytest.raises(AssertionError, match="cannot use|is not the key of"):
        serve("--tls-cert", str(authority.good.chain), "--tls-key", str(authority.expired.key))


def test_hang_up_without_certificate(serve):
    server = serve()
    server.signal(signal.SIGHUP)
    server.wait_for("there is no certificate to reload")
    assert wait_until(lambda: server.get().status == 200, "an answer")
