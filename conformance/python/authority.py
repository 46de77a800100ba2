"""A certificate authority for tests, by the openssl command: its certificates are trusted by whoever is given `ca`."""

import atexit
import shutil
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Pair:
    """A certificate's file and its key's."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates into a folder of its own, which goes with the process."""

    def __init__(self, name="bongsu test authority"):
        self.folder = Path(tempfile.mkdtemp(prefix="bongsu-ca-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.ca, self._key, self._made = self.folder / "ca.pem", self.folder / "ca.key", 0
        openssl("req", "-x509", *EC, "-keyout", self._key, "-out", self.ca, "-days", "30", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def sign(self, *names, usage="serverAuth", days=30):
        """A new certificate for DNS names and addresses."""
        self._made += 1
        pair = Pair(self.folder / f"{self._made}.pem", self.folder / f"{self._made}.key")
        request, extensions = self.folder / f"{self._made}.csr", self.folder / f"{self._made}.ext"
        listed = ",".join(("IP:" if name.replace(".", "").isdigit() or ":" in name else "DNS:") + name for name in names)
        extensions.write_text(
            f"subjectAltName={listed}\nextendedKeyUsage={usage}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
        openssl("req", *EC, "-keyout", pair.key, "-out", request, "-subj", f"/CN={names[0]}")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", pair.cert)
        return pair

    def client(self, alpn=None, pair=None):
        """A client's context that trusts nobody else, perhaps with a certificate of its own."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if alpn:
            context.set_alpn_protocols(alpn)
        if pair:
            context.load_cert_chain(pair.cert, pair.key)
        return context


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
_shared = []


def shared():
    """The authority of every test that needs none of its own, and its certificate for this machine."""
    if not _shared:
        authority = Authority()
        _shared.extend([authority, authority.sign("localhost", "127.0.0.1", "::1")])
    return _shared
