"""SIGTERM: the server takes no more, tells every client goodbye in its transport's own words, and ends in time."""

import json
import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed

from harness import ORDINARY, PATIENCE, Server, eventually, metric
from http_client import Raw, channel_path, connect, get, moved, publish, read_answer
from subscribers import TRANSPORTS, Multipart, Native, Ndjson, Plain, Sse, close_frame

GOING_AWAY = (1001, 1012)


@pytest.fixture
def ending():
    """A server that the test will end."""
    with Server(ORDINARY) as running:
        yield running


def rest_of(stream):
    """Everything until the answer ends as a whole: a mere cut would raise."""
    try:
        return stream.response.read()
    finally:
        stream.close()


def test_everyone_is_told_and_the_process_ends(ending, channel):
    last = publish(ending, channel, "a")
    streams = {kind: kind(ending, channel, after=moved(last, -1)) for kind in (Ndjson, Multipart, Sse)}
    native, plain = Native(ending, channel), Plain(ending, channel, after=moved(last, -1))
    for subscriber in (*streams.values(), native):
        subscriber.opened()
    for subscriber in (*streams.values(), plain):
        assert subscriber.take().data == "a"
    waiting = connect(ending)
    waiting.request("GET", channel_path(channel, after=last, wait=25))
    # It is on its way, perhaps through a proxy: who is not there yet is not told.
    eventually("the wait has begun", lambda: metric(get(ending, "/metrics").body.decode(), "bongsu_connections", transport="long-poll") == 1)

    began = time.monotonic()
    ending.terminate()
    assert json.loads(rest_of(streams[Ndjson]).splitlines()[-1])["bye"]["reconnect_ms"] >= 0
    assert b"retry:" in rest_of(streams[Sse]), "when to come back"
    # What came before the closing delimiter, if anything, is the server's word for it; without a delimiter this raises.
    assert all(record.kind in ("bye", "cursor") for record in streams[Multipart].records)
    streams[Multipart].close()

    assert "reconnect_ms" in native.next_told()["bye"]
    assert close_frame(native.connection).code in GOING_AWAY
    with pytest.raises(ConnectionClosed) as closed:
        plain.connection.recv(timeout=PATIENCE)
    assert closed.value.rcvd.code in GOING_AWAY

    answer = read_answer(waiting.getresponse())
    assert answer.status in (204, 503)
    if answer.status == 204:
        assert answer.headers["bongsu-cursor"] == last
    assert ending.wait() == 0
    assert time.monotonic() - began < 15


@pytest.mark.direct
def test_no_newcomer_is_let_in_and_the_port_is_free_again(ending):
    ending.terminate()
    assert ending.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ending.host, ending.port), timeout=5)


def test_an_idle_server_ends_at_once(ending):
    began = time.monotonic()
    ending.terminate()
    assert ending.wait() == 0
    assert time.monotonic() - began < 5


def test_one_that_does_not_listen_holds_nobody_up(ending, channel):
    deaf = [Raw(ending) for _ in range(3)]
    deaf[0].send(b"GET /chan")
    deaf[1].send(f"GET {channel_path(channel)} HTTP/1.1\r\nHost: {ending.address}\r\nAccept: text/event-stream\r\n\r\n".encode())
    ending.terminate()
    assert ending.wait(PATIENCE) == 0
    for connection in deaf:
        connection.close()


def test_a_cursor_of_the_life_before_is_answered_with_a_gap(channel):
    with Server(ORDINARY) as first:
        cursor = publish(first, channel, "a")
    with Server(ORDINARY) as second:
        publish(second, channel, "b")
        for transport in TRANSPORTS.values():
            with transport(second, channel, after=cursor) as subscriber:
                if transport.tells_opening:
                    subscriber.opened()
                told = subscriber.take()
                assert (told.kind, told.gap["asked"], told.gap["reason"]) == ("gap", cursor, "epoch")
                assert subscriber.take().data == "b"
