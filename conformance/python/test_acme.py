"""Certificates by ACME, from Debian's pebble: obtained, and renewed when they are about to end."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import urllib.request

import pytest

from authority import shared
from harness import PATIENCE, Server, eventually

pytestmark = [
    pytest.mark.direct,
    pytest.mark.skipif(not (shutil.which("pebble") and shutil.which("pebble-challtestsrv")), reason="SKIPPED: pebble is not installed (apt install pebble)"),
]

NAME = "chat.example"
# A third of it before the end the certificate is renewed.
VALIDITY_SECONDS = 12


def free_ports(count):
    """Ports that were free a moment ago: both sides must be told before either runs."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    [one.close() for one in held]
    return ports


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_a_certificate_is_obtained_and_renewed(tmp_path, challenge):
    authority, pair = shared()
    https, plain, directory, management, dns, mock = free_ports(6)
    config = {
        "listenAddress": f"127.0.0.1:{directory}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(pair.cert), "privateKey": str(pair.key), "httpPort": plain, "tlsPort": https,
        "ocspResponderURL": "", "externalAccountBindingRequired": False, "certificateValidityPeriod": VALIDITY_SECONDS,
    }
    (tmp_path / "pebble.json").write_text(json.dumps({"pebble": config}))
    names = ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}",
             "-management", f"127.0.0.1:{mock}", "-http01", "", "-https01", "", "-tlsalpn01", ""]
    pebble = ["pebble", "-config", str(tmp_path / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with open(tmp_path / "log", "wb") as log:
        running = [subprocess.Popen(["timeout", "120", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment) for command in (names, pebble)]
    try:
        eventually("pebble", lambda: answers(directory))
        flags = ["--redirect", f"127.0.0.1:{plain}", "--data-dir", str(tmp_path / "data")]
        acme = {"domains": [NAME], "contact": ["admin@chat.example"], "directory": f"https://127.0.0.1:{directory}/dir", "challenge": challenge, "ca": str(authority.ca)}
        with Server({"acme": acme}, *flags, tls=False, http=f"127.0.0.1:{https}") as server:
            first = eventually("a certificate", lambda: shown(https), 40)
            root = urllib.request.urlopen(f"https://127.0.0.1:{management}/roots/0", context=authority.client()).read()
            assert trusted(https, root.decode()), server.log()
            second = eventually("another one", lambda: (now := shown(https)) != first and now, 40)
            assert second and trusted(https, root.decode())
            assert any((tmp_path / "data/tls/acme").iterdir()), "it is kept for the next run"
    finally:
        [one.terminate() for one in running]
        [one.wait(10) for one in running]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def shown(port):
    """The certificate that is shown for the name, unchecked; nothing before there is one."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain, context.wrap_socket(plain, server_hostname=NAME) as sealed:
            return sealed.getpeercert(binary_form=True)
    except (ssl.SSLError, ConnectionError):
        return None


def trusted(port, root):
    """Whether a client that trusts pebble's root takes what is shown."""
    context = ssl.create_default_context(cadata=root)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain, context.wrap_socket(plain, server_hostname=NAME) as sealed:
        return NAME in [name for _, name in sealed.getpeercert()["subjectAltName"]]
