"""Real proxies before the servers under test, each from the file in `conformance/proxies` that the documentation shows.

`BONGSU_VIA=nginx` (`haproxy`, `tinyproxy`) runs any suite of this folder through one; `test_behind_proxies.py` starts its own."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from harness import LIFETIME_SECONDS, PATIENCE, REPOSITORY

FOLDER = REPOSITORY / "conformance" / "proxies"
# Below the ports that a kernel gives away by itself, so that none is taken between its choice and its use.
PORTS = range(20_000, 32_000)
ATTEMPTS = 5


class Proxy:
    """One running proxy. `changes` replace parts of its documented file; each must occur there, so that none is lost in silence."""

    # Used as a server, it speaks in the clear.
    tls = False

    def __init__(self, origin, changes=None, tcp=None):
        self._folder = tempfile.TemporaryDirectory(prefix="bongsu-proxy-")
        # Without the server's address for raw TCP, a proxy leads to one where nobody listens.
        self.folder, self.origin, self.tcp_origin = Path(self._folder.name), origin, tcp or "127.0.0.1:1"
        for attempt in range(1, ATTEMPTS + 1):
            self.host, self.port, self.http2_port = "127.0.0.1", free_port(), free_port()
            self.tcp = f"{self.host}:{free_port()}"
            self.address = f"{self.host}:{self.port}"
            command = self.configure(changes or {})
            with open(self.folder / "log", "wb") as log:
                command = ["timeout", "--foreground", "--kill-after=30", str(LIFETIME_SECONDS), *command]
                self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if self.is_accepting():
                return
            assert attempt < ATTEMPTS, f"{self.name} does not start:\n{self.log()}"

    def is_accepting(self):
        """Whether it came up; else it ended, perhaps because another took its port."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if reaches(self.port):
                return True
            assert time.monotonic() < deadline, f"{self.name} accepts nothing after {PATIENCE} s:\n{self.log()}"
            time.sleep(0.01)
        return False

    def site(self, changes, file=None):
        """The documented file with these changes."""
        text = (FOLDER / (file or self.file)).read_text()
        for old, new in changes.items():
            assert old in text, f"{old!r} is not in {file or self.file}"
            text = text.replace(old, new)
        return text

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def close(self):
        """Ends it by its process id, first by asking, then by force."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self._folder.cleanup()

    # Seen as a server, it is what clients connect to.
    tunnel = None

    def http(self, path=""):
        return f"http://{self.address}{path}"

    def ws(self, path=""):
        return f"ws://{self.address}{path}"

    def http2(self, path=""):
        return f"http://{self.host}:{self.http2_port}{path}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Nginx(Proxy):
    """`more` is what else stands on the level of `http`."""

    name, file, read_timeout = "nginx", "nginx.conf", {"75s": "1s"}

    def __init__(self, origin, changes=None, tcp=None, more=""):
        self.more = more
        super().__init__(origin, changes, tcp)

    def configure(self, changes):
        listen = f"listen {self.address};\n    listen {self.host}:{self.http2_port} http2;"
        site = self.site({"127.0.0.1:8080": self.origin, "listen 80;": listen} | changes)
        paths = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # Started by root, nginx would give its workers to a user who may not read this folder.
        user = "user root;\n" if os.getuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {self.folder}/pid;\nerror_log stderr;\nevents {{ worker_connections 4096; }}\n"
            f"http {{\naccess_log off;\n{paths}{self.more.replace('/var/lib/nginx', str(self.folder))}\n{site}\n}}\n")
        return [find("nginx"), "-e", "stderr", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


class Haproxy(Proxy):
    name, file, read_timeout = "haproxy", "haproxy.cfg", {"75s": "1s"}

    def configure(self, changes):
        bind = f"bind {self.address}\n    bind {self.host}:{self.http2_port} proto h2"
        tcp = {"127.0.0.1:7070": self.tcp_origin, "bind :7070": f"bind {self.tcp}"}
        site = self.site({"127.0.0.1:8080": self.origin, "bind :80": bind} | tcp | changes)
        (self.folder / "haproxy.cfg").write_text(site)
        # Without -dR it would share a port with whoever else lets it be shared.
        return [find("haproxy"), "-db", "-dR", "-f", str(self.folder / "haproxy.cfg")]


class Tinyproxy(Proxy):
    """Stands between: clients know both it and the server, and ask it for a tunnel by CONNECT."""

    name, file, read_timeout = "tinyproxy", "tinyproxy.conf", {"Timeout 75": "Timeout 1"}

    def __init__(self, origin, changes=None, tcp=None, stomp=None):
        self.stomp_origin = stomp or "127.0.0.1:1"
        super().__init__(origin, changes, tcp)

    def configure(self, changes):
        http, tcp, stomp = (origin.rsplit(":", 1)[1] for origin in (self.origin, self.tcp_origin, self.stomp_origin))
        ports = {"ConnectPort 8080": f"ConnectPort {http}", "ConnectPort 7070": f"ConnectPort {tcp}", "ConnectPort 61613": f"ConnectPort {stomp}"}
        site = self.site({"Port 8888": f"Port {self.port}"} | ports | changes)
        (self.folder / "tinyproxy.conf").write_text(f"{site}LogLevel Connect\n")
        return [find("tinyproxy"), "-d", "-c", str(self.folder / "tinyproxy.conf")]


KINDS = {kind.name: kind for kind in (Nginx, Haproxy, Tinyproxy)}


def free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def reaches(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find(program):
    """Debian keeps servers where not everybody's PATH leads."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    assert found, f"there is no {program} here"
    return found
