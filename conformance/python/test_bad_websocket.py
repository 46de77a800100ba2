"""What a WebSocket client can do wrong, byte by byte: each fault gets its close code and harms nobody else."""

import struct

import pytest

from harness import FOREIGN_ORIGIN, LISTED_ORIGIN
from http_client import Raw, assert_problem, channel_path, get
from raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawWebSocket, frame, handshake

pytestmark = pytest.mark.usefixtures("harmless")

HANDSHAKES = {
    "key-missing": ({"Sec_WebSocket_Key": None}, (400,)),
    "key-empty": ({"Sec_WebSocket_Key": ""}, (400,)),
    "key-too-short": ({"Sec_WebSocket_Key": "AAAA"}, (400,)),
    "key-not-base64": ({"Sec_WebSocket_Key": "!!!!!!!!!!!!!!!!!!!!!!=="}, (400,)),
    "key-too-long": ({"Sec_WebSocket_Key": "A" * 44}, (400,)),
    "version-missing": ({"Sec_WebSocket_Version": None}, (400, 426)),
    "foreign-origin": ({"Origin": FOREIGN_ORIGIN}, (403,)),
    "foreign-site": ({"Sec_Fetch_Site": "cross-site"}, (403,)),
    "opaque-origin": ({"Origin": "null"}, (403,)),
    "foreign-host": ({"Host": "foreign.example"}, (400, 403, 421)),
}


@pytest.mark.parametrize("changes, statuses", HANDSHAKES.values(), ids=HANDSHAKES.keys())
@pytest.mark.parametrize("path", ["/channels/a", "/echo"])
def test_a_faulty_handshake(server, path, changes, statuses):
    with Raw(server) as raw:
        assert_problem(raw.send(handshake(server, path, **changes)).answer(), *statuses)


@pytest.mark.parametrize("version", ["12", "8", "14", "x"])
@pytest.mark.parametrize("path", ["/channels/a", "/echo"])
def test_a_wrong_version_is_told_the_right_one(server, path, version):
    with Raw(server) as raw:
        answer = raw.send(handshake(server, path, Sec_WebSocket_Version=version)).answer()
    assert_problem(answer, 426)
    assert answer.headers["sec-websocket-version"] == "13"


def test_faulty_names_and_cursors_are_refused_before_the_upgrade(server):
    for path in ["/channels/a//b", "/channels/a?after=x", "/channels/%FF"]:
        with Raw(server) as raw:
            assert_problem(raw.send(handshake(server, path)).answer(), 400)


def test_a_listed_origin_is_welcome(server):
    with Raw(server) as raw:
        raw.send(handshake(server, "/channels/a", Origin=LISTED_ORIGIN, Sec_Fetch_Site="cross-site"))
        assert raw.socket.recv(65536).startswith(b"HTTP/1.1 101")


def test_an_unknown_subprotocol_is_not_agreed_to(server):
    """A client that offers only what is unknown gets plain payloads or a refusal, but never the word it offered."""
    with Raw(server) as raw:
        raw.send(handshake(server, "/channels/a", Sec_WebSocket_Protocol="strangers.v9"))
        head = raw.socket.recv(65536).lower()
    assert head.startswith((b"http/1.1 101", b"http/1.1 400"))
    assert b"sec-websocket-protocol: strangers.v9" not in head


def close(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


# RFC 6455, sections 5 and 7.4: what is wrong with the framing is 1002, with the text 1007, with the size 1009.
FAULTS = {
    "unmasked": ([frame(TEXT, b"a", mask=None)], (1002,)),
    "reserved-bit-1": ([frame(TEXT, b"a", reserved=4)], (1002,)),
    "reserved-bit-2": ([frame(TEXT, b"a", reserved=2)], (1002,)),
    "reserved-bit-3": ([frame(TEXT, b"a", reserved=1)], (1002,)),
    "reserved-bit-on-ping": ([frame(PING, b"a", reserved=4)], (1002,)),
    **{f"opcode-{opcode:x}": ([frame(opcode, b"a")], (1002,)) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "ping-too-long": ([frame(PING, b"a" * 126)], (1002,)),
    "ping-in-fragments": ([frame(PING, b"a", fin=False)], (1002,)),
    "close-in-fragments": ([frame(CLOSE, struct.pack("!H", 1000), fin=False)], (1002,)),
    "continuation-of-nothing": ([frame(CONTINUATION, b"a")], (1002,)),
    "message-within-message": ([frame(TEXT, b"a", fin=False), frame(TEXT, b"b")], (1002,)),
    "frame-oversized": ([frame(BINARY, b"a" * 14, length=40 * 1024)], (1009,)),
    "frame-immense": ([frame(BINARY, length=2**62)], (1009,)),
    "length-with-top-bit": ([frame(BINARY, length=2**63)], (1002, 1009)),
    "message-oversized": ([frame(BINARY, b"a" * 30_000, fin=False)] + [frame(CONTINUATION, b"a" * 30_000, fin=False)] * 3, (1009,)),
    "over-fragmented": ([frame(BINARY, b"a", fin=False)] + [frame(CONTINUATION, b"a", fin=False)] * 20, (1008, 1009)),
    "over-fragmented-by-nothing": ([frame(BINARY, fin=False)] + [frame(CONTINUATION, fin=False)] * 20, (1008, 1009)),
    "text-not-utf8": ([frame(TEXT, b"a\xffb")], (1007,)),
    "text-surrogate": ([frame(TEXT, b"\xed\xa0\x80")], (1007,)),
    "text-overlong": ([frame(TEXT, b"\xc0\xaf")], (1007,)),
    "text-cut-short": ([frame(TEXT, b"\xe2\x82")], (1007,)),
    # Fail fast: the rest of the message never comes.
    "text-not-utf8-in-first-fragment": ([frame(TEXT, b"a\xff", fin=False)], (1007,)),
    "text-broken-across-fragments": ([frame(TEXT, b"\xe2", fin=False), frame(CONTINUATION, b"a", fin=False)], (1007,)),
    "text-not-utf8-in-unfinished-frame": ([frame(TEXT, b"a\xff" + b"b" * 8, length=1000)], (1007,)),
    "close-of-one-byte": ([frame(CLOSE, b"a")], (1002,)),
    "close-reason-not-utf8": ([close(1000, b"\xff")], (1002, 1007)),
    "close-too-long": ([frame(CLOSE, struct.pack("!H", 1000) + b"a" * 124)], (1002,)),
    **{f"close-code-{code}": ([close(code)], (1002,)) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)},
}


@pytest.mark.parametrize("frames, codes", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("subprotocol", [None, "bongsu.v1.json"], ids=["plain", "native"])
def test_a_faulty_frame_gets_its_close_code(server, channel, subprotocol, frames, codes):
    with RawWebSocket(server, "/channels/" + channel, subprotocol) as raw:
        raw.send(b"".join(frames))
        assert raw.close_code() in codes


ECHO_FAULTS = {name: fault for name, fault in FAULTS.items() if not name.startswith(("frame-oversized", "message-oversized", "over-fragmented"))}


@pytest.mark.parametrize("frames, codes", ECHO_FAULTS.values(), ids=ECHO_FAULTS.keys())
def test_the_echo_is_as_strict(server, frames, codes):
    with RawWebSocket(server, "/echo") as raw:
        raw.send(b"".join(frames))
        assert raw.close_code() in codes


def test_a_fault_byte_by_byte_is_the_same_fault(server, channel):
    for name in ["reserved-bit-1", "text-not-utf8", "close-code-1005", "frame-oversized"]:
        frames, codes = FAULTS[name]
        with RawWebSocket(server, "/channels/" + channel) as raw:
            for byte in b"".join(frames):
                raw.send(bytes([byte]))
            assert raw.close_code() in codes, name


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_a_good_close_is_returned(server, channel, code):
    with RawWebSocket(server, "/channels/" + channel) as raw:
        raw.send(close(code, "다음에".encode()))
        assert raw.close_code() in (code, 1000)
        assert raw.read_to_end() == b"", "the server hangs up first"


def test_an_empty_close_is_returned(server, channel):
    with RawWebSocket(server, "/channels/" + channel) as raw:
        raw.send(frame(CLOSE))
        assert raw.close_code() in (1000, 1005)


def test_control_frames_come_between_fragments(server):
    with RawWebSocket(server, "/echo") as raw:
        raw.send(frame(TEXT, "한".encode()[:1], fin=False) + frame(PING, b"now") + frame(PONG, b"unasked") + frame(CONTINUATION, "한".encode()[1:]))
        assert raw.receive() == (PONG, b"now")
        assert raw.receive() == (TEXT, "한".encode())


def test_nothing_of_a_faulty_message_is_published(server, channel):
    with RawWebSocket(server, "/channels/" + channel) as raw:
        raw.send(frame(TEXT, b"good") + frame(TEXT, b"ba", fin=False) + frame(TEXT, b"d"))
        raw.close_code()
    assert [entry["data"] for entry in get(server, channel_path(channel)).json()["publications"]] == ["good"]


@pytest.mark.parametrize("part", [b"\x81", frame(TEXT, b"half", length=100), frame(TEXT, b"a", fin=False)], ids=["head", "frame", "message"])
def test_one_that_vanishes_in_mid_message(server, channel, part):
    with RawWebSocket(server, "/channels/" + channel) as raw:
        raw.send(part)
