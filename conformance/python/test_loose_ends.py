"""What is easily forgotten of a connection: its other half, a deadline, somebody else's pause, a client that has gone on."""

import json
import os
import re
import select
import signal
import socket
import time

import pytest

from harness import Server, children_of, eventually, metric
from http_client import Raw, channel_path, get, publish, reach
from raw_stomp import Stomp
from raw_websocket import PING, PONG, TEXT, RawWebSocket, frame
from sources import OTHER, From, fault_count
from subscribers import Ndjson
from test_limits import guarded, http2_from
from test_slow_policies import Stream, held_publishers, lag

pytestmark = pytest.mark.direct


def ask(server, path, method="GET", body=""):
    return f"{method} {path} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def finish(raw, *requests):
    """Sends requests, and ends the sending half."""
    raw.send(b"".join(requests))
    raw.socket.shutdown(socket.SHUT_WR)
    return raw


def waiters_are(server, count):
    return metric(get(server, "/metrics").body.decode(), "bongsu_connections", transport="long-poll") == count


def test_a_long_poll_that_has_finished_sending_is_answered(server, channel):
    """`printf … | nc -N` ends its half right behind the request (RFC 9112, 9.6, leaves the other half open)."""
    with Raw(server) as raw:
        finish(raw, ask(server, channel_path(channel, wait=30)))
        time_to_notice(server, channel)
        position = publish(server, channel, "worth the wait")
        answer = raw.answer()
        assert (answer.status, answer.json()["cursor"]) == (200, position)
        assert answer.headers["connection"] == "close"
        assert raw.read_to_end() == b"", "and the other half ends too"


def time_to_notice(server, channel):
    """Until the server has seen what was sent before: it reads its connections in the order in which they become readable."""
    for _ in range(20):
        get(server, channel_path(channel))


def test_a_wait_ends_in_time_for_one_that_has_finished_sending(server, channel):
    with Raw(server) as raw:
        answer = finish(raw, ask(server, channel_path(channel, wait=1))).answer()
        assert answer.status == 204 and "bongsu-cursor" in answer.headers
        assert raw.read_to_end() == b""


def test_what_was_asked_behind_a_long_poll_is_answered_too(server, channel):
    with Raw(server) as raw:
        finish(raw, ask(server, channel_path(channel, wait=30)), ask(server, channel_path(channel), "POST", "mine"), ask(server, "/health"))
        time_to_notice(server, channel)
        publish(server, channel, "first")
        told = raw.read_to_end()
        assert re.findall(rb"HTTP/1.1 (\d+) ", told) == [b"100", b"200", b"201", b"200"], told
    assert [entry["data"] for entry in get(server, channel_path(channel)).json()["publications"]] == ["first", "mine"]


def test_a_request_that_is_cut_off_behind_a_long_poll_is_not_waited_for(server, channel):
    with Raw(server) as raw:
        finish(raw, ask(server, channel_path(channel, wait=30)), b"GET /health HTTP/1.1\r\nHo")
        time_to_notice(server, channel)
        publish(server, channel, "first")
        assert raw.answer().status == 200
        assert raw.read_to_end() == b""


def test_http_1_0_knows_no_interim_answer(server, channel):
    with Raw(server) as raw:
        finish(raw, ask(server, channel_path(channel, wait=1)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert raw.read_to_end().startswith(b"HTTP/1.1 204")


RESET = b"\x01\0\0\0\0\0\0\0"


@pytest.mark.parametrize("half_first, linger", [(False, bytes(8)), (False, RESET), (True, RESET)], ids=["closed", "reset", "half, then reset"])
def test_a_long_poll_whose_client_has_gone_waits_no_longer(half_first, linger):
    """A close looks like the end of the client's half alone; what the server sends then finds out."""
    with Server() as server, Raw(server) as raw:
        raw.send(ask(server, channel_path("gone", wait=30)))
        eventually("it waits", lambda: waiters_are(server, 1))
        if half_first:
            raw.socket.shutdown(socket.SHUT_WR)
            assert raw.socket.recv(100).startswith(b"HTTP/1.1 100 "), "which every client of HTTP/1.1 discards"
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raw.close()
        eventually("it is gone", lambda: waiters_are(server, 0))


def test_a_command_without_a_line_end_is_not_dropped_while_it_has_to_wait():
    """`printf '{"publish":…}' | nc -N` to a channel whose publishers wait: it is held, and answered when it may go on."""
    config = {
        "http": {"body_bytes_max": "8 MiB"}, "history": {"bytes_max": "64 MiB"},
        "delivery": {"lag_bytes_max": "256 KiB", "lag_age_max": "1s", "send_buffer_bytes": "16 KiB", "pause_max": "20s"},
        "channels": [{"pattern": "pause/**", "slow": "pause"}],
    }
    with Server(config) as server:
        with Stream(server, "pause/a"), reach(server, server.tcp) as lines:
            lag(server, "pause/a")
            lines.sendall(b'{"publish":"pause/a","data":"patient","id":1}')
            lines.shutdown(socket.SHUT_WR)
            eventually("it waits", lambda: held_publishers(server) == 1)
            time_to_notice(server, "other")
            server_side = lines.makefile("rb")
            # The subscriber never reads, and is closed for it.
            assert "position" in json.loads(server_side.readline())
            assert server_side.readline() == b""


def test_one_stream_that_publishes_too_fast_stops_no_other_for_good(channel):
    """The streams of an HTTP/2 connection share a pace; who waits for it goes on when it may."""
    with guarded(publications_per_second=20, burst="100ms") as server, http2_from(server) as connection:
        quick = connection.websocket(channel_path(channel))
        other = connection.websocket(channel_path(channel + "/other"), "bongsu.v1.json")
        with Ndjson(server, channel) as reader:
            reader.opened()
            # In one write, so that the other stream speaks while the first is not read from.
            connection.h2.send_data(quick.stream.id, b"".join(frame(TEXT, str(n).encode()) for n in range(10)))
            connection.h2.send_data(other.stream.id, frame(TEXT, b'{"ping":1}'))
            connection.flush()
            assert [reader.take().data for _ in range(10)] == [str(n) for n in range(10)]
        assert fault_count(server, "rate-limited") >= 1
        other.send('{"ping":2}')
        assert [json.loads(other.recv()) for _ in range(2)] == [{"pong": 1}, {"pong": 2}]


def test_heart_beats_go_on_while_a_client_is_not_read_from(channel):
    config = {"limits": {"exempt": [], "burst": "1s", "publications_per_second": 1}, "stomp": {"heartbeat_send": "100ms"}}
    with Server(config) as server, Stomp(server, over="websocket", heart_beat="0,100") as stomp:
        assert stomp.connected["heart-beat"].startswith("100,"), stomp.connected
        for n in range(6):
            stomp.say("SEND", str(n), destination="/" + channel)
        beats = stomp.beats
        deadline = time.monotonic() + 2.5
        while stomp.beats < beats + 10:
            assert time.monotonic() < deadline, "no more heart-beats"
            stomp.buffer += stomp.receive()
            stomp.skip_beats()


def test_silent_lines_over_tls_are_let_go():
    with Server({"tcp": {"idle_timeout": "300ms"}}, tls=True) as server, reach(server, server.tcp) as lines:
        assert json.loads(lines.makefile("rb").readline())["bye"]["code"] == 4003


def test_to_be_asked_no_more_is_not_to_be_forgotten():
    with Server({"tcp": {"idle_timeout": "300ms"}}) as server, reach(server, server.tcp) as lines:
        told = lines.makefile("rb")
        lines.sendall(b'{"ping":1,"every_ms":0}\n')
        assert json.loads(told.readline())["pong"] == 1
        assert json.loads(told.readline())["bye"]["code"] == 4003


def test_a_long_poll_that_was_answered_counts_no_longer_for_the_client_behind_a_proxy(channel):
    config = {"limits": {"exempt": [], "connections_per_address_max": 1}, "proxy": {"trusted": ["127.0.0.1"]}}
    # The publisher has one connection for all of it: the end of one before might not have been seen when the next came.
    with Server(config) as server, From(server, "127.0.0.1") as proxied, From(server, "127.0.0.1") as again, From(server, OTHER) as publisher:
        for _ in range(3):
            proxied.request("GET", channel_path(channel, wait=20), headers={"X-Forwarded-For": "203.0.113.7"})
            eventually("it is heard", lambda: publisher.publish(channel, "x").status == 201 and readable(proxied))
            response = proxied.getresponse()
            assert response.status == 200, response.read()
            response.read()
            assert again.ask("GET", "/health", X_Forwarded_For="203.0.113.7").status == 200


def readable(connection):
    return bool(select.select([connection.sock], [], [], 0.05)[0])


def test_an_answer_that_is_read_slowly_is_not_idle(channel):
    """A page that takes longer than http.idle_timeout to read arrives whole, however the connection was asked to go on."""
    config = {"http": {"idle_timeout": "300ms", "body_bytes_max": "2 MiB"}, "delivery": {"send_buffer_bytes": "16 KiB"}}
    with Server(config) as server:
        for _ in range(3):
            publish(server, channel, b"x" * 300_000)
        for connection_header in ("", "Connection: close\r\n"):
            with Raw(server, receive_buffer=4096) as raw:
                raw.send(f"GET {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\n{connection_header}\r\n".encode())
                collected, began = b"", time.monotonic()
                while time.monotonic() - began < 1:
                    collected += raw.socket.recv(16_384)
                    time.sleep(0.02)
                assert len(collected) < 800_000, "this is about what still waits after more than the idle timeout"
                head, _, body = collected.partition(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", head)[1])
                while len(body) < length:
                    chunk = raw.socket.recv(65536)
                    assert chunk, "it was cut off"
                    body += chunk
                assert len(json.loads(body)["publications"]) == 3


def test_a_head_request_is_refused_without_a_body():
    config = {"proxy": {"trusted": ["127.0.0.1"]}}
    with Server(config) as server, Raw(server) as raw:
        raw.send(f"HEAD /health HTTP/1.1\r\nHost: {server.address}\r\nX-Forwarded-For: nonsense\r\n\r\n".encode())
        told = raw.read_to_end()
        assert told.startswith(b"HTTP/1.1 400") and told.endswith(b"\r\n\r\n"), told


REFUSED = [
    ("POST", "/channels/$presence/a", "x", 403), ("POST", "/channels/a//b", "x", 400), ("GET", "/channels/$presence/a", "", 403), ("GET", "/nowhere", "", 404),
    ("PUT", "/channels/a", "", 405), ("GET", "/subscribe", "", 400), ("GET", "/channels/a?after=nonsense", "", 400), ("GET", "/stomp", "", 426),
    ("POST", "/channels/a", "x" * 70_000, 413), ("GET", "/channels/a?wait=99999", "", 400), ("GET", "/channels/%zz", "", 400),
]


@pytest.mark.parametrize("method, path, body, status", REFUSED)
def test_a_refusal_is_counted_once(server, method, path, body, status):
    def faults():
        return metric(get(server, "/metrics").body.decode(), "bongsu_faults_total")

    before = faults()
    with Raw(server) as raw:
        assert raw.send(ask(server, path, method, body)).answer().status == status
    assert faults() == before + 1


def test_a_pong_that_waits_to_be_read_counts(channel):
    """A server that stood still, stopped or with its machine, reads what came meanwhile before it takes anyone for silent."""
    with Server({"websocket": {"ping_interval": "1s", "ping_timeout": "2s"}}) as server, RawWebSocket(server, channel_path(channel)) as socket:
        assert socket.receive()[0] == PING
        (pid,) = map(int, children_of(server.process.pid))
        os.kill(pid, signal.SIGSTOP)
        try:
            socket.send(frame(PONG))
            # The standstill itself, longer than a pong may take.
            time.sleep(2.5)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert socket.receive()[0] == PING, "it is asked again, and not closed"
