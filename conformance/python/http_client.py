"""HTTP as the suites speak it: whole requests by the standard library, and raw bytes for what no library would send."""

import http.client
import json
import re
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from harness import PATIENCE

CURSOR = re.compile(r"[0-9A-Za-z]{1,32}-[0-9]{1,20}")


@dataclass
class Answer:
    """A whole answer, its headers by lower-case name."""

    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


def channel_path(channel, **query):
    """The address of a channel; a query value of "" gives the bare name, as in `?earliest`."""
    written = "&".join(name if value == "" else urlencode({name: value}) for name, value in query.items())
    return "/channels/" + quote(channel) + ("?" + written if written else "")


def connect(server):
    """A connection for whole requests, through the server's tunnel if it has one."""
    if server.tls:
        return http.client.HTTPSConnection(server.host, server.port, timeout=PATIENCE, context=server.authority.client())
    if not server.tunnel:
        return http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE)
    connection = OneWrite(*server.tunnel, timeout=PATIENCE)
    connection.set_tunnel(server.host, server.port)
    return connection


class OneWrite(http.client.HTTPConnection):
    """Sends a request's head and body together. A proxy that leaves Nagle's algorithm on, as tinyproxy does, would hold the body
    back until the head is acknowledged, which a kernel may put off for 40 ms."""

    held = None

    def request(self, *arguments, **options):
        if not self.sock:
            self.connect()
        self.held = []
        super().request(*arguments, **options)
        whole, self.held = b"".join(self.held), None
        self.send(whole)

    def send(self, data):
        if self.held is None:
            super().send(data)
        else:
            self.held.append(data)


def request(server, method, path, body=None, headers=None):
    """One request over a connection of its own."""
    connection = connect(server)
    try:
        connection.request(method, path, body, headers or {})
        return read_answer(connection.getresponse())
    finally:
        connection.close()


def get(server, path, **headers):
    return request(server, "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def read_answer(response):
    headers = {}
    for name, value in response.getheaders():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Answer(response.status, headers, response.read())


def publish(server, channel, data, content_type="text/plain", **headers):
    """Publishes one payload and returns its position."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": content_type}
    body = data.encode() if isinstance(data, str) else data
    answer = request(server, "POST", channel_path(channel), body, headers)
    assert answer.status == 201, (answer.status, answer.body)
    position = answer.json()["position"]
    assert CURSOR.fullmatch(position), position
    return position


def publish_many(server, channel, payloads):
    """Publishes over one connection, one request after the other, and returns the positions."""
    connection = connect(server)
    try:
        positions = []
        for payload in payloads:
            connection.request("POST", channel_path(channel), payload, {"Content-Type": "text/plain"})
            answer = read_answer(connection.getresponse())
            assert answer.status == 201, (answer.status, answer.body)
            positions.append(answer.json()["position"])
        return positions
    finally:
        connection.close()


def epoch_of(cursor):
    return cursor.rsplit("-", 1)[0]


def offset_of(cursor):
    return int(cursor.rsplit("-", 1)[1])


def moved(cursor, by):
    """The cursor so many publications further on: offsets have no holes."""
    return f"{epoch_of(cursor)}-{offset_of(cursor) + by}"


def assert_problem(answer, *statuses):
    """RFC 9457: the media type, a title and the status again; and one of the statuses that fit the fault."""
    assert answer.status in statuses, (answer.status, answer.body)
    assert answer.headers.get("content-type", "").startswith("application/problem+json"), answer.headers
    problem = answer.json()
    assert problem.get("status", answer.status) == answer.status, problem
    assert problem.get("title") or problem.get("detail"), problem
    return problem


def reach(server, address, receive_buffer=None, alpn=None):
    """A socket to one of the server's addresses, through its tunnel if it has one."""
    reached = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reached.settimeout(PATIENCE)
    if receive_buffer:
        reached.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    host, port = address.rsplit(":", 1)
    reached.connect(server.tunnel or (host, int(port)))
    if server.tunnel:
        dig(reached, address)
    if server.tls:
        reached = server.authority.client(alpn).wrap_socket(reached, server_hostname=host)
    return reached


def dig(reached, address):
    """Asks a proxy for a tunnel, and reads byte by byte, so that nothing of what comes through it is read too early."""
    reached.sendall(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = reached.recv(1)
        assert byte, head
        head += byte
    assert head.split()[1] == b"200", head


class Raw:
    """A bare TCP connection to the server."""

    def __init__(self, server, receive_buffer=None):
        self.socket = reach(server, server.address, receive_buffer)

    def send(self, data):
        """Sends; a peer that has hung up already has perhaps answered, and that is what the test looks at."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass
        return self

    def answer(self, method="GET"):
        """Reads one whole answer."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        return read_answer(response)

    def read_to_end(self):
        """Everything until the server hangs up; a reset ends it too."""
        collected = b""
        try:
            while chunk := self.socket.recv(65536):
                collected += chunk
        except ConnectionResetError:
            pass
        return collected

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
