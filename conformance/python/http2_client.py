"""HTTP/2 by the sans-I/O library `h2`: one connection, many streams, and WebSocket over extended CONNECT (RFC 8441)."""

import time

import h2.config
import h2.connection
import h2.events
import h2.settings

from harness import PATIENCE
from http_client import reach
from raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame


class H2Connection(h2.connection.H2Connection):
    """`h2` takes a GOAWAY for the end; here the streams that are open go on to theirs (RFC 9113, 6.8)."""

    def _receive_goaway_frame(self, frame):
        event = h2.events.ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        return [], [event]


class Http2:
    """A connection. Nothing runs in the background: whoever waits for something reads for all."""

    def __init__(self, server, window=None):
        self.server = server
        self.socket = reach(server, server.address, alpn=["h2"])
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        self.h2 = H2Connection(config)
        self.streams, self.goaway, self.ended, self.settled, self.pings = {}, None, False, False, 0
        if window is not None:
            self.h2.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
        self.h2.initiate_connection()
        self.flush()
        while not self.settled:
            self.pump()
            assert self.settled or not self.ended, "the peer hung up on HTTP/2"

    def request(self, method, path, headers=None, body=None, pseudo=None, end=True):
        """Opens a stream, with its body or, at `end=False`, with one that is still to come."""
        head = {":method": method, ":scheme": "https" if self.server.tls else "http", ":authority": self.server.address, ":path": path} | (pseudo or {})
        head = [(name, value) for name, value in head.items() if value is not None]
        head += [(name.lower(), value) for name, value in (headers or {}).items()]
        stream = Stream(self, self.h2.get_next_available_stream_id())
        self.streams[stream.id] = stream
        self.h2.send_headers(stream.id, head, end_stream=end and body is None)
        self.flush()
        if body is not None:
            stream.send(body, end)
        return stream

    def websocket(self, path, subprotocol=None, headers=None):
        """Opens a WebSocket over a stream."""
        head = {"sec-websocket-version": "13"} | ({"sec-websocket-protocol": subprotocol} if subprotocol else {}) | (headers or {})
        return Http2WebSocket(self.request("CONNECT", path, head, pseudo={":protocol": "websocket"}, end=False))

    def flush(self):
        """Sends what is due; a peer that has hung up has perhaps said why, which is still to be read."""
        try:
            self.socket.sendall(self.h2.data_to_send())
        except (BrokenPipeError, ConnectionResetError):
            pass

    def pump(self, seconds=PATIENCE):
        """Reads once and acts on it; what came is then with its stream."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(262_144)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return
        for event in self.h2.receive_data(data):
            self.on_event(event)
        self.flush()

    def on_event(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settled = True
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code
        elif stream is None:
            return
        elif isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
            stream.status = int(stream.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.received(event.data, event.flow_controlled_length)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.ended, stream.reset = True, event.error_code

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Stream:
    """One request and its answer, with the face of a file."""

    def __init__(self, connection, id):
        self.connection, self.id = connection, id
        self.status, self.headers, self.buffer = None, {}, bytearray()
        self.ended, self.reset, self.grants = False, None, True

    def received(self, data, counted):
        self.buffer += data
        h2 = self.connection.h2
        if self.grants and not self.ended:
            h2.acknowledge_received_data(counted, self.id)
        elif counted:
            # The connection's window is everybody's: only this stream's own stays shut.
            h2.increment_flow_control_window(counted)

    def send(self, data, end=False):
        """Sends as the windows allow."""
        h2, view = self.connection.h2, memoryview(data)
        while True:
            room = min(h2.local_flow_control_window(self.id), h2.max_outbound_frame_size, len(view))
            h2.send_data(self.id, bytes(view[:room]), end_stream=end and room == len(view))
            self.connection.flush()
            view = view[room:]
            if not view:
                return
            while not self.ended and h2.local_flow_control_window(self.id) == 0:
                self.connection.pump()
            if self.ended:
                return

    def wait(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "nothing came"
            if self.connection.ended or self.ended:
                return False
            self.connection.pump()
        return True

    def head(self):
        """Waits for the answer's head and returns the status."""
        self.wait(lambda: self.status is not None)
        return self.status

    def getheader(self, name, default=None):
        return self.headers.get(name.lower(), default)

    def read1(self, _size=-1):
        self.wait(lambda: self.buffer)
        found, self.buffer = bytes(self.buffer), bytearray()
        return found

    def readline(self):
        self.wait(lambda: b"\n" in self.buffer)
        end = self.buffer.find(b"\n") + 1 or len(self.buffer)
        found = bytes(self.buffer[:end])
        del self.buffer[:end]
        return found

    def read(self):
        """The rest of the answer, which must end as a whole."""
        while not self.ended:
            assert not self.connection.ended, "the connection ended within an answer"
            self.connection.pump()
        # RFC 9113, 8.1: after a whole answer a server may ask not to be sent the rest of a request.
        assert self.reset in (None, 0), self.reset
        return self.read1()

    def cancel(self):
        if not self.ended:
            self.connection.h2.reset_stream(self.id, 8)
            self.connection.flush()

    def close(self):
        pass


class Http2WebSocket:
    """A WebSocket over a stream, with as much of the face of `websockets` as the suites use."""

    def __init__(self, stream):
        self.stream = stream
        self.closed_with = None
        assert stream.head() == 200, (stream.status, stream.reset, bytes(stream.buffer))
        self.subprotocol = stream.getheader("sec-websocket-protocol")

    def send(self, message):
        text = isinstance(message, str)
        self.stream.send(frame(TEXT if text else BINARY, message.encode() if text else message))

    def recv(self, timeout=PATIENCE):
        """The next message; `None` once the server has closed."""
        while self.closed_with is None:
            opcode, payload = self.receive()
            if opcode == PING:
                self.stream.send(frame(PONG, payload))
            elif opcode == CLOSE:
                self.closed_with = int.from_bytes(payload[:2]) if payload else 1005
            elif opcode != PONG:
                assert opcode != CONTINUATION, "this server sends messages in one frame"
                return payload.decode() if opcode == TEXT else payload
        return None

    def receive(self):
        first, second = self.exactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self.exactly(2 if length == 126 else 8))
        return first & 0x0F, self.exactly(length)

    def exactly(self, count):
        assert self.stream.wait(lambda: len(self.stream.buffer) >= count), "the stream ended within a frame"
        found = bytes(self.stream.buffer[:count])
        del self.stream.buffer[:count]
        return found

    def close(self):
        """Closes as a client should: with a close frame, which is answered by one, and the end of the stream."""
        if self.closed_with is None:
            self.stream.send(frame(CLOSE, (1000).to_bytes(2)))
            while self.recv() is not None:
                pass
        if not self.stream.ended:
            self.stream.wait(lambda: self.stream.ended)
        try:
            self.stream.connection.h2.end_stream(self.stream.id)
            self.stream.connection.flush()
        except h2.exceptions.ProtocolError:
            pass
