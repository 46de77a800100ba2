"""Compression: permessage-deflate on WebSockets (RFC 7692), `Content-Encoding` on the answers to polls."""

import gzip
import json
import os
import struct
import zlib
from pathlib import Path

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from harness import PATIENCE, Server, children_of, eventually, metric
from http_client import Raw, channel_path, get, publish, request
from raw_websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame, handshake

# Longer than every threshold, and with much to gain.
LONG = json.dumps([{"id": n, "name": "beacon", "state": "lit"} for n in range(60)])
OFFER = "permessage-deflate"
RSV1 = 4


class Compressing(Raw):
    """A WebSocket on a bare connection that makes an offer, and tells compressed messages from others."""

    def __init__(self, server, path, offer=OFFER, subprotocol=None, receive_buffer=None):
        super().__init__(server, receive_buffer)
        self.send(handshake(server, path, Sec_WebSocket_Extensions=offer, Sec_WebSocket_Protocol=subprotocol))
        self.reader = self.socket.makefile("rb")
        lines = []
        while (line := self.reader.readline().decode().rstrip("\r\n")):
            lines.append(line)
        assert lines[0].startswith("HTTP/1.1 101"), lines
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        self.agreed = headers.get("sec-websocket-extensions")

    def receive(self):
        """The next frame: its opcode, its payload as it came, and whether that is compressed."""
        first, second = self.reader.read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.reader.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.reader.read(8))
        return first & 0x0F, self.reader.read(length), bool(first & 0x40)

    def message(self):
        """The next text: inflated by itself, with no memory of those before, and whether it was compressed."""
        opcode, payload, compressed = self.receive()
        assert opcode == TEXT, (opcode, payload)
        return (inflate(payload) if compressed else payload).decode(), compressed

    def close_code(self):
        while True:
            opcode, payload, _ = self.receive()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0]

    def close(self):
        self.reader.close()
        super().close()


def inflate(payload, window_bits=15):
    return zlib.decompressobj(-window_bits).decompress(payload + b"\x00\x00\xff\xff")


def deflate(payload, window_bits=15, compressor=None):
    compressor = compressor or zlib.compressobj(9, zlib.DEFLATED, -window_bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def compressed_messages(server):
    return metric(get(server, "/metrics").body.decode(), "bongsu_compressed_messages_total")


@pytest.fixture(scope="module")
def own():
    """A server of this module's own, whose counters nobody else moves."""
    with Server({"websocket": {"message_bytes_max": "1 MiB"}}, "--echo") as running:
        yield running


# RFC 7692, 7.1: what is offered, and what must be answered.
NEGOTIATIONS = {
    "bare": ("permessage-deflate", {"server_no_context_takeover", "client_no_context_takeover"}),
    "as-browsers-do": ("permessage-deflate; client_max_window_bits", {"server_no_context_takeover", "client_no_context_takeover"}),
    "small-window": ("permessage-deflate; server_max_window_bits=10", {"server_max_window_bits=10"}),
    "client-window": ("permessage-deflate; client_max_window_bits=12", {"client_max_window_bits=12"}),
    "second-offer": ("permessage-deflate; server_max_window_bits=8, permessage-deflate", {"client_no_context_takeover"}),
    "after-an-unknown-extension": ("x-unknown; a=1, permessage-deflate", {"server_no_context_takeover"}),
    "unknown-parameter": ("permessage-deflate; sideways", None),
    "window-of-8-bits": ("permessage-deflate; server_max_window_bits=8", None),
    "window-out-of-range": ("permessage-deflate; server_max_window_bits=16", None),
    "doubled": ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
    "another-extension": ("x-webkit-deflate-frame", None),
    "none": (None, None),
}


@pytest.mark.parametrize("offer, expected", NEGOTIATIONS.values(), ids=NEGOTIATIONS.keys())
@pytest.mark.parametrize("path", ["/channels/negotiation", "/echo"])
def test_an_offer_is_answered(own, path, offer, expected):
    with Compressing(own, path, offer) as socket:
        if expected is None:
            assert socket.agreed is None
        else:
            name, *parameters = socket.agreed.split("; ")
            assert name == "permessage-deflate" and expected <= set(parameters), socket.agreed


def test_it_can_be_switched_off():
    with Server({"websocket": {"compression": False}, "http": {"compression": False}}) as server:
        publish(server, "a", LONG)
        with Compressing(server, "/channels/a?earliest") as socket:
            assert socket.agreed is None and socket.message() == (LONG, False)
        assert "content-encoding" not in get(server, "/channels/a", Accept_Encoding="gzip").headers


@pytest.mark.parametrize("subprotocol", [None, "bongsu.v1.json"], ids=["plain", "native"])
def test_a_client_library_publishes_and_receives_compressed(own, channel, subprotocol):
    """`websockets` makes its usual offer."""
    before = compressed_messages(own)
    subprotocols = [subprotocol] if subprotocol else None
    with connect(own.ws("/channels/" + channel), subprotocols=subprotocols, open_timeout=PATIENCE) as socket:
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
        if subprotocol:
            socket.send(json.dumps({"subscribe": channel}))
            socket.recv(PATIENCE)
            socket.send(json.dumps({"publish": channel, "data": LONG}))
            told = [json.loads(socket.recv(PATIENCE)) for _ in range(2)]
            assert [record["data"] for record in told if "data" in record] == [LONG]
        else:
            socket.send(LONG)
            assert socket.recv(PATIENCE) == LONG
    eventually("the compressed message is counted", lambda: compressed_messages(own) == before + 1)


def test_a_message_is_compressed_once_for_all_who_agreed_to_the_same(channel):
    """Live subscribers of one window cost one compression, however many they are; the bytes are the same for all."""
    with Server(None, "--workers", "1") as server:
        sockets = [Compressing(server, "/channels/" + channel) for _ in range(50)]
        sockets += [Compressing(server, "/channels/" + channel, OFFER + "; server_max_window_bits=9") for _ in range(5)]
        for n in range(10):
            publish(server, channel, f"{n} {LONG}")
            received = [socket.receive() for socket in sockets]
            assert len(set(received[:50])) == 1 and len(set(received[50:])) == 1
            assert all(compressed for _, _, compressed in received)
            assert inflate(received[0][1]).decode() == inflate(received[50][1], 9).decode() == f"{n} {LONG}"
        eventually("every compression is counted", lambda: compressed_messages(server) >= 20)
        assert compressed_messages(server) == 20
        text = get(server, "/metrics").body.decode()
        before, after = (metric(text, f"bongsu_compressed_{when}_bytes_total") for when in ("before", "after"))
        assert after < before / 4
        for socket in sockets:
            socket.close()


def test_what_came_before_arrives_compressed_too(own, channel):
    for n in range(20):
        publish(own, channel, f"{n} {LONG}")
    with Compressing(own, "/channels/" + channel + "?earliest") as socket:
        assert [socket.message() for _ in range(20)] == [(f"{n} {LONG}", True) for n in range(20)]


def test_native_replies_and_records_are_compressed(own, channel):
    with Compressing(own, "/channels/" + channel, subprotocol="bongsu.v1.json") as socket:
        long_name = channel + "a" * 230
        for name, expected in [(long_name, True), (channel, False)]:
            socket.send(frame(TEXT, json.dumps({"subscribe": name}).encode()))
            told, compressed = socket.message()
            assert json.loads(told)["channel"] == name and compressed == expected
        publish(own, channel, LONG)
        told, compressed = socket.message()
        assert compressed and json.loads(told)["data"] == LONG


def test_what_is_short_or_gains_nothing_is_sent_as_it_is(own, channel):
    with Compressing(own, "/channels/" + channel) as socket:
        publish(own, channel, "a" * 255)
        assert socket.message() == ("a" * 255, False)
        publish(own, channel, "a" * 256)
        assert socket.message() == ("a" * 256, True)
        noise = os.urandom(10_000)
        publish(own, channel, noise, "application/octet-stream")
        assert socket.receive() == (BINARY, noise, False)


@pytest.mark.parametrize("bits", range(9, 16))
def test_no_message_refers_back_further_than_was_agreed(own, channel, bits):
    """The second half repeats the first, from further back than small windows reach."""
    half = "".join(f"{n:x} " for n in range(3000))
    with Compressing(own, "/channels/" + channel, f"{OFFER}; server_max_window_bits={bits}") as socket:
        publish(own, channel, half + half)
        opcode, payload, compressed = socket.receive()
        assert compressed and inflate(payload, bits).decode() == half + half


def test_a_client_with_context_takeover_is_understood_where_it_is_allowed(channel):
    with Server({"websocket": {"compression_context_takeover": True}}) as server:
        with Compressing(server, "/channels/" + channel) as socket:
            assert socket.agreed == "permessage-deflate; server_no_context_takeover"
            compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
            sent = [deflate(LONG.encode(), compressor=compressor) for _ in range(3)]
            assert len(sent[2]) < len(sent[0]) / 4, "it refers back"
            for payload in sent:
                socket.send(frame(TEXT, payload, reserved=RSV1))
                assert socket.message() == (LONG, True)


def test_many_clients_share_one_inflater(own, channel):
    """Messages in fragments, interleaved between connections: each is inflated by itself."""
    sockets = [Compressing(own, "/echo") for _ in range(4)]
    texts = [f"{n} {LONG}" for n in range(4)]
    payloads = [deflate(text.encode()) for text in texts]
    for socket, payload in zip(sockets, payloads):
        socket.send(frame(TEXT, payload[:50], fin=False, reserved=RSV1))
    for socket, payload in reversed(list(zip(sockets, payloads))):
        socket.send(frame(CONTINUATION, payload[50:]))
    for socket, text in zip(sockets, texts):
        assert socket.message() == (text, True)
        socket.close()


BOMB = deflate(bytes(50_000_000))
FAULTS = {
    "corrupt": ([frame(TEXT, b"\xff\xff\xff\xff", reserved=RSV1)], 1007),
    "cut-short": ([frame(TEXT, deflate(LONG.encode())[:-40], reserved=RSV1)], 1007),
    "text-not-utf8": ([frame(TEXT, deflate(b"a\xff"), reserved=RSV1)], 1007),
    "rsv1-on-continuation": ([frame(TEXT, deflate(b"hello")[:2], fin=False, reserved=RSV1), frame(CONTINUATION, b"x", reserved=RSV1)], 1002),
    "rsv1-on-continuation-of-plain": ([frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"x", reserved=RSV1)], 1002),
    "rsv1-on-ping": ([frame(PING, b"a", reserved=RSV1)], 1002),
    "rsv2": ([frame(TEXT, b"a", reserved=2)], 1002),
    "context-takeover-not-agreed": (
        [frame(TEXT, payload, reserved=RSV1) for payload in (lambda c: [deflate(LONG.encode(), compressor=c) for _ in range(2)])(zlib.compressobj(9, zlib.DEFLATED, -15))],
        1007),
    "bomb": ([frame(BINARY, BOMB, reserved=RSV1)], 1009),
}


@pytest.mark.parametrize("frames, code", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("subprotocol", [None, "bongsu.v1.json"], ids=["plain", "native"])
def test_a_faulty_client_gets_its_close_code(own, channel, subprotocol, frames, code):
    with Compressing(own, "/channels/" + channel, subprotocol=subprotocol) as socket:
        assert socket.agreed
        socket.send(b"".join(frames))
        assert socket.close_code() == code


def test_a_compressed_message_without_an_agreement_is_refused(own, channel):
    with Compressing(own, "/channels/" + channel, offer=None) as socket:
        socket.send(frame(TEXT, deflate(LONG.encode()), reserved=RSV1))
        assert socket.close_code() == 1002


def resident_bytes(server):
    (pid,) = children_of(server.process.pid)
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_bombs_leave_memory_flat(channel):
    """Each message is 50 KB that would inflate a thousandfold; a hundred would be 5 GB."""
    assert len(BOMB) * 1000 < 50_000_000 + 50_000
    with Server({"websocket": {"message_bytes_max": "1 MiB"}}, "--workers", "1") as server:
        def burst():
            sockets = [Compressing(server, "/channels/" + channel) for _ in range(20)]
            for socket in sockets:
                socket.send(frame(BINARY, BOMB, reserved=RSV1))
            for socket in sockets:
                assert socket.close_code() == 1009
                socket.close()
            return resident_bytes(server)

        first = burst()
        last = [burst() for _ in range(4)][-1]
        assert last - first < 8 << 20, (first, last)
        assert last < 128 << 20, last


# Polls.


def test_a_poll_is_coded_as_the_client_asks(own, channel):
    publish(own, channel, LONG)
    path = channel_path(channel)
    plain = get(own, path)
    assert "content-encoding" not in plain.headers and "accept-encoding" in plain.headers["vary"].lower()
    for asked, coded in [
        ("gzip, deflate, br, zstd", True), ("x-gzip", True), ("*", True), ("gzip;q=0.5, identity;q=0.1", True),
        ("gzip;q=0", False), ("identity", False), ("br", False), ("gzip;q=0.1, identity;q=0.5", False),
    ]:
        answer = get(own, path, Accept_Encoding=asked)
        assert (answer.headers.get("content-encoding") == "gzip") == coded, asked
        body = gzip.decompress(answer.body) if coded else answer.body
        assert body == plain.body and (len(answer.body) < len(plain.body)) == coded
        assert (answer.headers["etag"] != plain.headers["etag"]) == coded, "a strong validator belongs to one form"
        assert answer.headers["vary"] == plain.headers["vary"] and int(answer.headers["content-length"]) == len(answer.body)


def test_a_short_answer_is_not_coded_unless_nothing_else_is_taken(own, channel):
    publish(own, channel, "short")
    assert "content-encoding" not in get(own, channel_path(channel), Accept_Encoding="gzip").headers
    answer = get(own, channel_path(channel), Accept_Encoding="gzip, identity;q=0")
    assert json.loads(gzip.decompress(answer.body))["publications"][0]["data"] == "short"


def test_validators_of_coded_answers(own, channel):
    publish(own, channel, LONG)
    path = channel_path(channel)
    plain, coded = get(own, path), get(own, path, Accept_Encoding="gzip")
    assert get(own, path, If_None_Match=plain.headers["etag"]).status == 304
    unchanged = get(own, path, If_None_Match=coded.headers["etag"], Accept_Encoding="gzip")
    assert unchanged.status == 304 and unchanged.headers["etag"] == coded.headers["etag"] and not unchanged.body
    assert "accept-encoding" in unchanged.headers["vary"].lower()
    assert get(own, path, If_None_Match=coded.headers["etag"]).status == 200, "the plain form was asked for"
    assert get(own, path, If_None_Match=plain.headers["etag"], Accept_Encoding="gzip").status == 200
    head = request(own, "HEAD", path, headers={"Accept-Encoding": "gzip"})
    for name in ["content-encoding", "content-length", "etag", "vary", "content-type"]:
        assert head.headers[name] == coded.headers[name]


def test_long_polls_that_wait_together_are_each_answered_in_their_form(own, channel):
    start = publish(own, channel, "first")
    asked = [None, "gzip", "gzip", None, "identity", "gzip;q=0"]
    waiting = []
    for encoding in asked:
        raw = Raw(own)
        accept = f"Accept-Encoding: {encoding}\r\n" if encoding else ""
        raw.send(f"GET {channel_path(channel, after=start, wait=20)} HTTP/1.1\r\nHost: {own.address}\r\n{accept}\r\n".encode())
        waiting.append(raw)
    eventually("all wait", lambda: metric(get(own, "/metrics").body.decode(), "bongsu_connections", transport="long-poll") == len(asked))
    publish(own, channel, LONG)
    for encoding, raw in zip(asked, waiting):
        answer = raw.answer()
        body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
        assert ("content-encoding" in answer.headers) == (encoding == "gzip")
        assert [publication["data"] for publication in json.loads(body)["publications"]] == [LONG]
        raw.close()


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream", "multipart/mixed"])
def test_streams_are_never_coded(own, channel, accept):
    publish(own, channel, LONG)
    with Raw(own) as raw:
        raw.send(f"GET {channel_path(channel, earliest='')} HTTP/1.1\r\nHost: {own.address}\r\nAccept: {accept}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        received = b""
        while b"beacon" not in received:
            received += raw.socket.recv(65536)
        assert b"content-encoding" not in received.lower()


def test_the_metrics_are_coded_too(own):
    answer = get(own, "/metrics", Accept_Encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip" and b"bongsu_connections" in gzip.decompress(answer.body)


def test_a_library_that_offers_context_takeover_is_told_that_there_is_none(own, channel):
    extensions = [ClientPerMessageDeflateFactory(client_max_window_bits=True)]
    with connect(own.ws("/echo"), extensions=extensions, compression=None, open_timeout=PATIENCE) as socket:
        for _ in range(3):
            socket.send(LONG)
            assert socket.recv(PATIENCE) == LONG
