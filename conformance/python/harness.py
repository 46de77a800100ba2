"""Starts the server under test on a free port and ends it by its process id. Every suite of this folder uses it."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import authority

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("BONGSU_BIN", REPOSITORY / "target" / "debug" / "bongsu")).resolve()

# Every wait of these suites ends by itself, with a failure that says what was waited for.
PATIENCE = float(os.environ.get("BONGSU_PATIENCE_SECONDS", 20))
# A server outlives no test run, even one that was killed: `timeout` ends it.
LIFETIME_SECONDS = 600

LISTED_ORIGIN = "https://listed.example"
FOREIGN_ORIGIN = "https://foreign.example"

# Small bounds, so that passing them is quick.
ORDINARY = {
    "http": {
        "body_bytes_max": "64 KiB",
        "head_bytes_max": "16 KiB",
        "head_timeout": "1s",
        "wait_max": "30s",
        "origins": [LISTED_ORIGIN],
    },
    "websocket": {"message_bytes_max": "64 KiB", "frame_bytes_max": "32 KiB", "fragments_max": 16},
}


class Server:
    """One running server. Use it in a `with`: leaving the block ends the process."""

    # What all suites go through, if anything: a kind of proxy (`proxies.py`), of which each server gets its own.
    via = None
    # Whether all suites go over TLS (BONGSU_TLS=1).
    over_tls = bool(os.environ.get("BONGSU_TLS"))

    def __init__(self, config=None, *flags, tls=None, http="127.0.0.1:0"):
        self.tls = Server.over_tls if tls is None else tls
        if self.tls:
            self.authority, pair = authority.shared()
            flags = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), *flags)
        self._folder = tempfile.TemporaryDirectory(prefix="bongsu-")
        folder = Path(self._folder.name)
        ports_file, self._log_path = folder / "ports.json", folder / "log"
        # In the foreground, `timeout` passes a signal on once; else it goes to the whole group as well, and the server gets two.
        command = ["timeout", "--foreground", "--kill-after=30", str(LIFETIME_SECONDS), str(BINARY), "serve"]
        for listener in ("--http", "--tcp", "--udp", "--stomp"):
            address = http if listener == "--http" else "127.0.0.1:0"
            command += [listener, address] if listener not in flags else []
        command += ["--ports-file", str(ports_file), *flags]
        if config:
            (folder / "bongsu.toml").write_text(as_toml(config))
            command += ["--config", str(folder / "bongsu.toml")]
        # A server reads its configuration from BONGSU_… variables too, and refuses those that it does not know.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BONGSU_")}
        with open(self._log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            ports = self._await_ports(ports_file)
            self.ports = ports
            self.direct, self.tcp, self.udp, self.stomp = ports["http"], ports["tcp"], ports["udp"], ports["stomp"]
            beside = {"stomp": self.stomp} if Server.via and Server.via.name == "tinyproxy" else {}
            self.proxy = Server.via(self.direct, tcp=self.tcp, **beside) if Server.via else None
        except BaseException:
            self.kill()
            raise
        # Where clients connect to, and what they say is the server's name: a proxy in front is both, one between is neither.
        between = self.proxy and self.proxy.name == "tinyproxy"
        self.tunnel = (self.proxy.host, self.proxy.port) if between else None
        self.address = self.proxy.address if self.proxy and not between else self.direct
        self.tcp = self.proxy.tcp if self.proxy and not between else self.tcp
        host, port = self.address.rsplit(":", 1)
        self.host, self.port = host, int(port)

    def _await_ports(self, ports_file):
        """The ports file is renamed into place when all listeners are ready, so that it exists only whole."""
        deadline = time.monotonic() + PATIENCE
        while not ports_file.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode} before it was ready:\n{self.log()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no ports file after {PATIENCE} s:\n{self.log()}")
            time.sleep(0.01)
        return json.loads(ports_file.read_text())

    def log(self):
        return self._log_path.read_text(errors="replace")[-4000:]

    def http(self, path=""):
        return f"{'https' if self.tls else 'http'}://{self.address}{path}"

    def ws(self, path=""):
        return f"{'wss' if self.tls else 'ws'}://{self.address}{path}"

    def terminate(self):
        """Asks the server to say goodbye; `wait` tells how it ended."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=PATIENCE):
        return self.process.wait(seconds)

    def kill(self):
        """Ends the process, if it still runs, first by asking, then by force."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                subprocess.run(["kill", "-KILL", *children_of(self.process.pid), str(self.process.pid)], check=False)
                self.process.wait(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        if self.proxy:
            self.proxy.close()
        self._folder.cleanup()


def children_of(pid):
    """The server itself runs under `timeout`, as its only child."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return listed.read_text().split() if listed.exists() else []


def as_toml(tables):
    """Writes tables of numbers, strings and lists of strings, and lists of such tables; JSON's form of these is TOML's too."""
    lines = []
    for name, entries in tables.items():
        several = isinstance(entries, list)
        for values in entries if several else [entries]:
            lines.append(f"[[{name}]]" if several else f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def metric(text, name, **labels):
    """The sum of a metric's samples that carry these labels, from the Prometheus text; 0 when there is none."""
    total = 0.0
    for line in text.splitlines():
        matched = re.fullmatch(rf"{re.escape(name)}(?:\{{(.*)\}})?\s+(\S+)(?:\s.*)?", line)
        if not matched:
            continue
        found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', matched[1] or ""))
        if labels.items() <= found.items():
            total += float(matched[2])
    return total


def eventually(what, condition, seconds=PATIENCE):
    """Asks until the condition holds and returns its value; the bound makes a failure of what never comes."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value
