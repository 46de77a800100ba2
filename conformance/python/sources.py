"""Clients that come from another address of loopback than 127.0.0.1, so that a server can tell them apart."""

import http.client
import json
import socket

from harness import PATIENCE
from http_client import channel_path, read_answer

OTHER = "127.0.0.2"
ANOTHER = "127.0.0.3"


def reach_from(source, address):
    """A socket to an address, from a source."""
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE, source_address=(source, 0))


class From(http.client.HTTPConnection):
    """An HTTP connection from a source."""

    def __init__(self, server, source=OTHER, address=None):
        host, port = (address or server.address).rsplit(":", 1)
        super().__init__(host, int(port), timeout=PATIENCE, source_address=(source, 0))

    def ask(self, method, path, body=None, **headers):
        """One request, and its answer whole."""
        self.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return read_answer(self.getresponse())

    def publish(self, channel, data, **headers):
        return self.ask("POST", channel_path(channel), data, Content_Type="text/plain", **headers)

    def follow(self, channel, **headers):
        """Begins a stream and reads its first line; the connection has one open from then on."""
        self.request("GET", channel_path(channel), headers={"Accept": "application/x-ndjson"} | {n.replace("_", "-"): v for n, v in headers.items()})
        response = self.getresponse()
        if response.status == 200:
            response.readline()
        self.following = response
        return response.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class LinesFrom:
    """The native protocol over TCP, from a source."""

    def __init__(self, server, source=OTHER):
        self.socket = reach_from(source, server.tcp)
        self.lines = self.socket.makefile("rb")

    def say(self, *objects):
        self.socket.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in objects))

    def hear(self):
        line = self.lines.readline()
        return json.loads(line) if line else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()


def fault_count(server, name):
    """How often the server has counted a fault."""
    from harness import metric
    from http_client import get

    return metric(get(server, "/metrics").body.decode(), "bongsu_faults_total", fault=name)
