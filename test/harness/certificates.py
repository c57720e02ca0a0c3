"""A certificate authority of the tests' own, and certificates of which all but one are to be refused."""

import dataclasses
import pathlib
import ssl
import subprocess

from .server import program

CONFIG = """
[ca]
default_ca = ours
[ours]
dir = {folder}
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = anything
unique_subject = no
[anything]
commonName = supplied
[req]
distinguished_name = none
[none]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
# Of the addresses that the tests' servers listen on.
HERE = "IP:127.0.0.1,DNS:localhost"


@dataclasses.dataclass
class Certificate:
    """Files in PEM."""

    key: pathlib.Path
    chain: pathlib.Path

    def context(self):
        """For a server."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.chain, self.key)
        return made


class Authority:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.config = self.folder / "openssl.cnf"
        self.config.write_text(CONFIG.format(folder=self.folder))
        (self.folder / "index").touch()
        (self.folder / "serial").write_text("01\n")
        self._key("authority")
        self.file = self.folder / "authority.pem"
        self._openssl("req", "-new", "-x509", "-subj", "/CN=Authority of the tests", "-extensions", "authority",
                      "-days", "7", "-key", self.folder / "authority.key", "-out", self.file)
        self.good = self.issue("good", HERE)
        self.wrong_host = self.issue("wrong-host", "DNS:elsewhere.example")
        self.expired = self.issue("expired", HERE, "20200101000000Z", "20210101000000Z")
        self.self_signed = self._self_signed("self-signed", HERE)

    def issue(self, name, names, begins="20200101000000Z", ends="20991231235959Z"):
        """Signed by this authority, for these names (subjectAltName)."""
        key = self._key(name)
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName = {names}\nextendedKeyUsage = serverAuth\n")
        chain = self.folder / f"{name}.pem"
        self._openssl("req", "-new", "-subj", f"/CN={name}", "-key", key, "-out", request)
        self._openssl("ca", "-batch", "-notext", "-startdate", begins, "-enddate", ends, "-in", request,
                      "-extfile", extensions, "-cert", self.file, "-keyfile", self.folder / "authority.key",
                      "-out", chain)
        return Certificate(key, chain)

    def _self_signed(self, name, names):
        key, chain = self._key(name), self.folder / f"{name}.pem"
        self._openssl("req", "-new", "-x509", "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}",
                      "-days", "7", "-key", key, "-out", chain)
        return Certificate(key, chain)

    def _key(self, name):
        file = self.folder / f"{name}.key"
        subprocess.run([program("openssl"), "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file],
                       check=True, capture_output=True)
        return file

    def _openssl(self, command, *words):
        done = subprocess.run([program("openssl"), command, "-config", self.config, *words], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
