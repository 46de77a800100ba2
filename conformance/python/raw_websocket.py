"""WebSocket frames written byte by byte, for what no library would send."""

import base64
import os
import struct

from http_client import Raw

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode, payload=b"", fin=True, reserved=0, mask=b"\x01\x02\x03\x04", length=None):
    """A client's frame; `mask=None` leaves it unmasked, `length` lies about the payload."""
    length = len(payload) if length is None else length
    masked = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 65536:
        head += bytes([masked | 126]) + struct.pack("!H", length)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", length)
    if mask:
        head += mask
        payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    return head + payload


def handshake(server, path, **changes):
    """The head of an upgrade; a change of `None` leaves the header out."""
    headers = {
        "Host": server.address, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()}
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


class RawWebSocket(Raw):
    """A WebSocket on a bare connection."""

    def __init__(self, server, path, subprotocol=None, receive_buffer=None):
        super().__init__(server, receive_buffer)
        self.send(handshake(server, path, Sec_WebSocket_Protocol=subprotocol))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, head
            head += byte
        assert head.startswith(b"HTTP/1.1 101"), head

    def read(self, count):
        collected = b""
        while len(collected) < count:
            chunk = self.socket.recv(count - len(collected))
            if not chunk:
                raise EOFError(collected)
            collected += chunk
        return collected

    def receive(self):
        """The next frame: opcode and payload."""
        first, second = self.read(2)
        assert not second & 0x80, "a server masks nothing"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
        return first & 0x0F, self.read(length)

    def close_code(self):
        """Reads on until the server closes, and returns the code; 1005 for a close frame without one."""
        while True:
            opcode, payload = self.receive()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0] if payload else 1005
