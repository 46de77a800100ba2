"""STOMP as the suites speak it, byte for byte, over a raw socket or a WebSocket: frames to bytes, bytes to frames."""

import json
import re
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed

from harness import PATIENCE
from http2_client import Http2
from http_client import reach
from subscribers import Record, Subscriber, open_websocket

SUBPROTOCOLS = {"1.0": "v10.stomp", "1.1": "v11.stomp", "1.2": "v12.stomp"}
ESCAPES = {"\\": "\\\\", "\n": "\\n", ":": "\\c", "\r": "\\r"}


@dataclass
class Frame:
    """A command, its headers (of repeated ones the first), and a body."""

    command: str
    headers: dict
    body: bytes = b""

    def __getitem__(self, name):
        return self.headers[name]


def frame(command, body=b"", **headers):
    """The bytes of a frame, of 1.2 unless its headers hold nothing that needs an escape; `content_type` is content-type."""
    escape = (lambda text: text) if command in ("CONNECT", "STOMP") else lambda text: "".join(ESCAPES.get(char, char) for char in text)
    lines = [command, *(f"{escape(name.replace('_', '-'))}:{escape(str(value))}" for name, value in headers.items())]
    return ("\n".join(lines) + "\n\n").encode() + (body if isinstance(body, bytes) else body.encode()) + b"\0"


def unescape(text):
    return re.sub(r"\\(.)", lambda escape: {"r": "\r", "n": "\n", "c": ":", "\\": "\\"}[escape[1]], text)


class Stomp:
    """A connection. `hear` gives the next frame, and None at the end; heart-beats are counted."""

    def __init__(self, server, version="1.2", over="tcp", path="/stomp", connect=True, **headers):
        self.buffer, self.beats, self.version = b"", 0, version
        self.open(server, version, over, path)
        if connect:
            self.say("CONNECT", accept_version=version, host="conformance", **headers)
            connected = self.hear()
            assert connected.command == "CONNECTED", connected
            assert connected.headers.get("version", "1.0") == version
            self.connected = connected

    def open(self, server, version, over, path):
        if over == "tcp":
            self.socket = reach(server, server.stomp)
            self.send, self.receive = self.socket.sendall, lambda: self.socket.recv(65536)
            self.close = self.socket.close
        else:
            http2 = Http2(server) if over == "http2" else None
            websocket = http2.websocket(path, SUBPROTOCOLS[version]) if http2 else open_websocket(server, path, [SUBPROTOCOLS[version]])
            assert websocket.subprotocol == SUBPROTOCOLS[version]
            self.websocket, self.close = websocket, lambda: (websocket.close(), http2 and http2.close())
            self.send = lambda data: websocket.send(data.decode() if is_text(data) else data)
            self.receive = self.message

    def message(self):
        try:
            message = self.websocket.recv(timeout=PATIENCE)
        except ConnectionClosed:
            return b""
        return message.encode() if isinstance(message, str) else message or b""

    def say(self, command, body=b"", **headers):
        self.send(frame(command, body, **headers))

    def ask(self, command, body=b"", **headers):
        """Says it with a receipt, and returns the RECEIPT; what came before it must be nothing."""
        self.say(command, body, receipt="asked", **headers)
        receipt = self.hear()
        assert (receipt.command, receipt["receipt-id"]) == ("RECEIPT", "asked"), receipt
        return receipt

    def hear(self, may_be_cut=False):
        """The next frame, or None at the end, which is within a frame only where that may be."""
        while True:
            self.skip_beats()
            if whole := self.cut():
                return whole
            data = self.receive()
            if not data:
                assert not self.buffer or may_be_cut, f"the stream ended within a frame: {self.buffer!r}"
                return None
            self.buffer += data

    def skip_beats(self):
        while self.buffer[:1] == b"\n":
            self.beats, self.buffer = self.beats + 1, self.buffer[1:]

    def cut(self):
        """Takes a whole frame off the buffer."""
        head, found, rest = self.buffer.partition(b"\n\n")
        if not found:
            return None
        command, *lines = head.decode().split("\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            as_said = command == "CONNECTED" or self.version == "1.0"
            headers.setdefault(name if as_said else unescape(name), value if as_said else unescape(value))
        end = int(headers["content-length"]) if "content-length" in headers else rest.find(b"\0")
        if end < 0 or len(rest) <= end:
            return None
        assert rest[end:end + 1] == b"\0", "a frame ends with NUL"
        self.buffer = rest[end + 1:]
        return Frame(command, headers, rest[:end])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def is_text(data):
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


class StompSubscriber(Subscriber):
    """A subscription over STOMP; the RECEIPT of the SUBSCRIBE tells its cursor."""

    over, version = "tcp", "1.2"

    def start(self):
        self.stomp = Stomp(self.server, self.version, self.over)
        start = {name: "true" if value == "" else value for name, value in self.query.items()}
        self.stomp.say("SUBSCRIBE", id="s:1", destination="/topic/" + self.channel, receipt="r", **start)

    def next_record(self):
        told = self.stomp.hear()
        assert told, "the connection ended"
        if told.command == "RECEIPT":
            return Record("cursor", told["cursor"])
        assert (told.command, told["subscription"], told["destination"]) == ("MESSAGE", "s:1", "/topic/" + self.channel), told
        if "gap" in told.headers:
            gap = json.loads(told.body)
            assert gap["reason"] == told["gap"]
            return Record("gap", told["position"], gap=gap)
        kind = told["content-type"]
        data = told.body.decode() if kind.startswith("text/") or kind == "application/json" else told.body
        return Record("publication", told["position"], data, type=kind)

    def close(self):
        self.stomp.close()


class StompOverWebSocket(StompSubscriber):
    """The same in the messages of a WebSocket."""

    over = "websocket"


class StompOverHttp2(StompSubscriber):
    """The same in a WebSocket over a stream of HTTP/2."""

    over = "http2"


class Stomp11(StompSubscriber):
    """The same in version 1.1."""

    version = "1.1"
