"""HTTP/2 with prior knowledge: many streams on one connection, in order and fair, each as slow as its own window; and bad input."""

import json
import socket
import time

import h2.errors
import h2.exceptions
import pytest

from harness import ORDINARY, PATIENCE, Server, eventually, metric
from http2_client import Http2
from http_client import Raw, channel_path, get, publish, publish_many
from subscribers import sse_records

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
def connection(server):
    with Http2(server) as connection:
        yield connection


def problem(stream):
    """The status and the name of a refusal."""
    status = stream.head()
    assert stream.getheader("content-type") == "application/problem+json", stream.headers
    return status, json.loads(stream.read())["code"]


def metrics(server):
    return get(server, "/metrics").body.decode()


# -- what a stream can be

ROUTES = [
    ("GET", "/", 200), ("GET", "/health", 200), ("HEAD", "/health", 200), ("GET", "/metrics", 200), ("OPTIONS", "/publish", 204),
    ("GET", "/channels/routes", 200), ("HEAD", "/channels/routes", 200), ("GET", "/channels/routes?wait=0&live", 204),
    ("GET", "/subscribe?channel=a&channel=b", 200), ("GET", "/nowhere", 404), ("DELETE", "/channels/routes", 405), ("GET", "/echo", 426),
]


def test_every_route_answers_on_one_connection(connection):
    streams = [(connection.request(method, path), method, status) for method, path, status in ROUTES]
    for stream, method, status in streams:
        assert stream.head() == status, stream.headers
        body = stream.read()
        assert stream.reset is None
        if method == "HEAD":
            assert body == b"" and int(stream.getheader("content-length")) > 0
        elif status not in (204, 304):
            assert len(body) == int(stream.getheader("content-length"))
        assert not {"connection", "transfer-encoding", "upgrade", "keep-alive"} & (stream.headers.keys() - {"upgrade"})


def test_a_poll_that_is_repeated_is_not_modified(connection, channel, server):
    publish(server, channel, "a")
    first = connection.request("GET", channel_path(channel))
    first.read()
    again = connection.request("GET", channel_path(channel), {"if-none-match": first.getheader("etag")})
    assert (again.head(), again.read()) == (304, b"")


def test_publishes_bodies_larger_than_any_window(channel):
    """A body waits for the windows, the connection's and the stream's, as often as it must."""
    with Server({"http2": {"receive_stream_bytes": "16 KiB", "receive_connection_bytes": "64 KiB"}}) as server, Http2(server) as connection:
        payload = b"large " * 100_000
        bodies = [connection.request("POST", channel_path(f"{channel}/{n}"), {"content-type": "text/plain"}, payload) for n in range(3)]
        for n, stream in enumerate(bodies):
            assert stream.head() == 201, stream.read()
            page = get(server, channel_path(f"{channel}/{n}")).json()
            assert page["publications"][0]["data"] == payload.decode()


def test_a_batch_is_published_in_order(connection, channel):
    lines = "\n".join(json.dumps({"publish": channel, "data": n, "id": n}) for n in range(100))
    stream = connection.request("POST", "/publish", body=lines.encode())
    assert stream.head() == 200
    assert [json.loads(line)["id"] for line in stream.read().splitlines()] == list(range(100))


def test_a_body_may_be_asked_for(connection, channel):
    stream = connection.request("POST", channel_path(channel), {"expect": "100-continue"}, end=False)
    stream.send(b"here", end=True)
    assert stream.head() == 201


def test_the_echo_takes_websocket_messages(connection):
    echo = connection.websocket("/echo")
    for message in ("text", b"\x00\xff", "x" * 200_000):
        echo.send(message)
        assert echo.recv() == message
    echo.close()
    assert (echo.closed_with, echo.stream.reset) == (1000, None)


def test_a_plain_websocket_carries_payloads_both_ways(connection, channel, server):
    one, other = connection.websocket(channel_path(channel)), connection.websocket(channel_path(channel))
    one.send("hello")
    assert (one.recv(), other.recv()) == ("hello", "hello")
    publish(server, channel, "from elsewhere")
    assert (one.recv(), other.recv()) == ("from elsewhere", "from elsewhere")


def test_a_plain_websocket_is_closed_rather_than_silent(forgetful, channel):
    positions = publish_many(forgetful, channel, [str(n) for n in range(150)])
    with Http2(forgetful) as connection:
        websocket = connection.websocket(channel_path(channel, after=positions[0]))
        assert websocket.recv() is None
        assert websocket.closed_with == 4009


def test_an_offer_to_upgrade_to_http2_is_ignored(server):
    """RFC 9113 has dropped it."""
    answer = get(server, "/health", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQAAP__")
    assert answer.status == 200


def test_a_preface_may_come_byte_by_byte(server):
    with Raw(server) as raw:
        for byte in PREFACE:
            raw.send(bytes([byte]))
        raw.send(b"\0\0\0\4\0\0\0\0\0")
        # A SETTINGS frame of the server's.
        assert raw.socket.recv(9)[3] == 4


# -- many on one connection

EACH = 400
PAYLOAD = "x" * 1000


def test_a_hundred_event_streams_and_ten_websockets_are_in_order_and_fair(channel):
    """All lag alike, since the client reads less than is published: then it shows who is served first."""
    with Server({"delivery": {"lag_bytes_max": "64 MiB"}}) as server, Http2(server) as connection:
        sse = [connection.request("GET", channel_path(channel), {"accept": "text/event-stream"}) for _ in range(100)]
        websockets = [connection.websocket(channel_path(channel)) for _ in range(10)]
        assert all(stream.head() == 200 for stream in sse)
        records = [sse_records(stream) for stream in sse]
        assert all(next(record).kind == "cursor" for record in records)

        expected = [f"{n} {PAYLOAD}" for n in range(EACH)]
        positions = publish_many(server, channel, expected)
        streams = sse + [websocket.stream for websocket in websockets]
        whole = sum(map(len, expected))
        while max(len(stream.buffer) for stream in streams) < whole:
            connection.pump()
        rates = sorted(len(stream.buffer) for stream in streams)
        assert rates[0] >= rates[-1] / 2, (rates[0], rates[-1])

        for websocket in websockets:
            assert [websocket.recv() for _ in range(EACH)] == expected
        for record in records:
            received = [next(record) for _ in range(EACH)]
            assert [one.data for one in received] == expected
            assert [one.position for one in received] == positions


def test_a_stream_that_grants_no_window_is_slow_and_harms_no_other(channel):
    config = ORDINARY | {"delivery": {"lag_bytes_max": "1 MiB", "lag_age_max": "1s"}}
    with Server(config) as server, Http2(server) as connection:
        stalled = connection.request("GET", channel_path(channel), {"accept": "application/x-ndjson"})
        stalled.head()
        stalled.grants = False
        others = [connection.request("GET", channel_path(channel), {"accept": "text/event-stream"}) for _ in range(3)]
        assert all(other.head() == 200 for other in others)
        records = [sse_records(other) for other in others]
        payloads = [f"{n} " + "y" * 10_000 for n in range(300)]
        for start in range(0, len(payloads), 20):
            publish_many(server, channel, payloads[start:start + 20])
            for record in records:
                received = [found.data for found in (next(record) for _ in range(20 + (start == 0))) if found.kind == "publication"]
                assert received == payloads[start:start + 20]
        stalled.wait(lambda: stalled.ended)
        assert stalled.ended
        assert len(stalled.buffer) < 70_000, "no more than the window that it had at first"
        assert metric(metrics(server), "bongsu_closes_total", reason="slow") == 1


def test_a_stream_that_is_cancelled_is_let_go_at_once(channel):
    with Server(ORDINARY) as server, Http2(server) as connection:
        stream = connection.request("GET", channel_path(channel), {"accept": "text/event-stream"})
        waiting = connection.request("GET", channel_path(channel, wait=30, live=""))
        websocket = connection.websocket(channel_path(channel))
        stream.head()
        # The stream, the long poll, the WebSocket, the connection, and the one that asks.
        eventually("all are there", lambda: metric(metrics(server), "bongsu_connections") == 5)
        for one in (stream, waiting, websocket.stream):
            one.cancel()
        eventually("they are gone", lambda: metric(metrics(server), "bongsu_connections") == 2, 2)
        eventually("and so are their subscriptions", lambda: metric(metrics(server), "bongsu_subscriptions") == 0, 2)
        assert connection.request("GET", "/health").head() == 200


def test_a_connection_that_vanishes_takes_its_streams_with_it(channel):
    with Server(ORDINARY) as server:
        with Http2(server) as connection:
            for _ in range(20):
                connection.request("GET", channel_path(channel), {"accept": "text/event-stream"}).head()
        eventually("they are gone", lambda: metric(metrics(server), "bongsu_connections") == 1, 2)


def test_streams_count_as_connections():
    with Server({"http": {"connections_max": 4}}) as server, Http2(server) as connection:
        waiting = [connection.request("GET", f"/channels/{n}", {"accept": "text/event-stream"}) for n in range(3)]
        assert [one.head() for one in waiting] == [200] * 3
        one_more = connection.request("GET", "/health")
        assert problem(one_more) == (503, "too-many-connections")
        waiting[0].cancel()
        assert eventually("there is room again", lambda: connection.request("GET", "/health").head() == 200)


# -- the end

def test_everyone_is_told_goodbye_and_the_connection_too(channel):
    with Server(ORDINARY) as server:
        last = publish(server, channel, "a")
        connection = Http2(server)
        sse = connection.request("GET", channel_path(channel), {"accept": "text/event-stream"})
        lines = connection.request("GET", channel_path(channel), {"accept": "application/x-ndjson"})
        waiting = connection.request("GET", channel_path(channel, after=last, wait=25))
        native = connection.websocket(channel_path(channel), "bongsu.v1.json")
        assert (sse.head(), lines.head()) == (200, 200)
        eventually("the long poll waits", lambda: metric(metrics(server), "bongsu_connections", transport="long-poll") == 1)
        server.terminate()
        assert b"retry:" in sse.read()
        assert json.loads(lines.read().splitlines()[-1])["bye"]["reconnect_ms"] >= 0
        assert (waiting.head(), waiting.getheader("bongsu-cursor")) == (204, last)
        assert "bye" in json.loads(native.recv())
        assert native.recv() is None
        native.close()
        while not connection.ended:
            connection.pump()
        assert connection.goaway == h2.errors.ErrorCodes.NO_ERROR
        assert server.wait() == 0


def test_an_idle_connection_is_told_to_go():
    with Server({"http": {"idle_timeout": "300ms"}}) as server, Http2(server) as connection:
        assert connection.request("GET", "/health").head() == 200
        began = time.monotonic()
        while not connection.ended:
            connection.pump()
        assert connection.goaway == h2.errors.ErrorCodes.NO_ERROR
        assert time.monotonic() - began < 5


def test_a_peer_that_answers_no_ping_is_let_go(channel):
    with Server({"http2": {"ping_interval": "200ms", "ping_timeout": "1s"}}) as server:
        with Http2(server) as silent:
            silent.request("GET", channel_path(channel), {"accept": "text/event-stream"}).head()
            began = time.monotonic()
            # Raw, so that nothing answers.
            while silent.socket.recv(65536):
                pass
            assert time.monotonic() - began < 5
        with Http2(server) as answering:
            while answering.pings < 8:
                answering.pump()
            assert answering.request("GET", "/health").head() == 200


# -- bad input

def test_a_body_over_the_bound_is_refused_before_it_is_read(connection, channel, harmless):
    told = connection.request("POST", channel_path(channel), {"content-length": "1000000"}, end=False)
    assert problem(told) == (413, "body-too-large")
    untold = connection.request("POST", channel_path(channel), end=False)
    untold.send(b"x" * 70_000)
    assert problem(untold) == (413, "body-too-large")
    assert connection.request("GET", "/health").head() == 200


@pytest.mark.parametrize(
    "headers, pseudo, expected",
    [
        ({}, {":authority": "evil.example"}, (421, "foreign-host")),
        ({"host": "evil.example"}, {}, (400, "host-header")),
        ({"host": "evil.example"}, {":authority": None}, (421, "foreign-host")),
        ({}, {":authority": None}, (400, "host-header")),
        ({"origin": "https://foreign.example"}, {}, (403, "foreign-origin")),
        ({"sec-fetch-site": "cross-site"}, {}, (403, "foreign-site")),
        ({"accept": "text/html"}, {}, (406, "not-acceptable")),
        ({"expect": "tea"}, {}, (417, "expectation")),
        ({"x": "y" * 17_000}, {}, (431, "head-too-long")),
        ({f"x{n}": "y" for n in range(101)}, {}, (431, "too-many-headers")),
        ({}, {":path": "/channels/a%2"}, (400, "bad-percent-encoding")),
        ({}, {":path": "/channels/a?after=x"}, (400, "invalid-cursor")),
        ({"sec-websocket-version": "12"}, {":method": "CONNECT", ":protocol": "websocket"}, (400, "websocket-version")),
        ({"sec-websocket-version": "13"}, {":method": "CONNECT", ":protocol": "websocket", ":path": "/health"}, (400, "no-websocket")),
        ({}, {":method": "CONNECT", ":protocol": "connect-udp"}, (501, "unknown-protocol")),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(connection, harmless, headers, pseudo, expected):
    assert problem(connection.request("GET", "/channels/a", headers, pseudo=pseudo)) == expected
    assert connection.request("GET", "/health").head() == 200


def test_a_head_far_over_the_bound_is_refused_too(connection, harmless):
    stream = connection.request("GET", "/health", {f"x{n}": "y" * 1000 for n in range(30)})
    assert stream.head() == 431
    assert connection.request("GET", "/health").head() == 200


def test_streams_reset_as_fast_as_they_are_opened_end_the_connection(server, harmless):
    with Http2(server) as connection:
        head = [(":method", "GET"), (":scheme", "http"), (":authority", server.address), (":path", "/health")]
        for _ in range(500):
            stream = connection.h2.get_next_available_stream_id()
            connection.h2.send_headers(stream, head, end_stream=True)
            connection.h2.reset_stream(stream, 8)
        connection.flush()
        while not connection.ended:
            connection.pump()
        assert connection.goaway == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_frames_that_break_the_protocol_end_their_connection_alone(server, harmless):
    for bad in (b"\0\0\4\0\0\0\0\0\0abcd", b"\xff\xff\xff\0\0\0\0\0\1", b"\0\0\5\6\0\0\0\0\0hello", b"GET / HTTP/1.1\r\n\r\n"):
        with Raw(server) as raw:
            raw.send(PREFACE + b"\0\0\0\4\0\0\0\0\0" + bad)
            raw.read_to_end()


def test_a_tls_handshake_is_refused_in_its_own_words(server, harmless):
    with Raw(server) as raw:
        raw.send(bytes([22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]) + bytes(80))
        # A fatal alert: handshake_failure.
        assert raw.read_to_end() == bytes([21, 3, 3, 0, 2, 2, 40])


def test_a_preface_that_never_ends_is_cut_off(server):
    with socket.create_connection((server.host, server.port), timeout=PATIENCE) as connection:
        connection.sendall(PREFACE[:10])
        assert b"408" in connection.recv(1000)
