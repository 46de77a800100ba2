"""The native protocol over a WebSocket, command by command, and what a client can say wrong in it."""

import contextlib
import json

import pytest
from websockets.exceptions import ConnectionClosed

from harness import ORDINARY, Server
from http_client import CURSOR, moved, publish
from raw_websocket import PING, RawWebSocket
from subscribers import Native, close_frame, open_websocket


@pytest.fixture
def native(server, channel):
    """A native connection that has subscribed to the test's channel."""
    with Native(server, channel) as connection:
        connection.opened()
        yield connection


def reply(native, command):
    native.tell(command)
    return native.next_told()


def error_of(native, command):
    told = reply(native, command)
    assert told["error"]["message"]
    assert told.get("id") == command.get("id")
    return told["error"]["code"]


def test_subscribing_is_answered_with_the_cursor(server, channel):
    position = publish(server, channel, "before")
    with Native(server, channel) as native:
        assert native.next_told() == {"id": 1, "channel": channel, "cursor": position}


def test_nothing_is_subscribed_until_asked(server, channel):
    connection = open_websocket(server, "/channels/" + channel, ["bongsu.v1.json"])
    publish(server, channel, "unheard")
    connection.send('{"ping":1}')
    assert json.loads(connection.recv(timeout=5)) == {"pong": 1}
    connection.close()


def test_a_publish_is_answered_with_the_position_and_heard(native, channel):
    native.tell({"publish": channel, "data": "hi", "id": 2})
    told = [native.next_told(), native.next_told()]
    answer = next(one for one in told if one.get("id") == 2)
    heard = next(one for one in told if "data" in one)
    assert answer == {"id": 2, "position": heard["position"]}
    assert (heard["channel"], heard["data"]) == (channel, "hi")


@pytest.mark.parametrize(
    "data, kind", [("text", None), ({"a": [1]}, "application/json"), (7, "application/json"), (True, "application/json"), (None, "application/json"),
                   ([], "application/json")])
def test_a_string_is_text_and_anything_else_is_json(server, native, channel, data, kind):
    publisher = open_websocket(server, "/channels/x", ["bongsu.v1.json"])
    publisher.send(json.dumps({"publish": channel, "data": data, "id": 1}))
    publisher.recv(timeout=5)
    publisher.close()
    told = native.next_told()
    assert (told["data"], told.get("type")) == (data, kind)


def test_everything_that_can_be_set_arrives(server, native, channel):
    publisher = open_websocket(server, "/channels/x", ["bongsu.v1.json"])
    publisher.send(json.dumps({
        "publish": channel, "data": "/wA=", "base64": True, "type": "image/png", "key": "k", "headers": {"Trace": "t"}, "id": 1}))
    publisher.recv(timeout=5)
    publisher.close()
    told = native.next_told()
    assert (told["data"], told["base64"], told["type"], told["key"]) == ("/wA=", True, "image/png", "k")
    assert {name.lower(): value for name, value in told["headers"].items()} == {"trace": "t"}


def test_an_idempotency_key_returns_the_first_position_again(server, channel):
    connection = open_websocket(server, "/channels/x", ["bongsu.v1.json"])
    told = []
    for n in range(2):
        connection.send(json.dumps({"publish": channel, "data": "once", "idempotency_key": "k", "id": n}))
        told.append(json.loads(connection.recv(timeout=5)))
    connection.close()
    assert told[0]["position"] == told[1]["position"]


def test_unsubscribing_ends_the_delivery_and_one_may_come_back(server, native, channel):
    assert reply(native, {"unsubscribe": channel, "id": 3}) == {"id": 3}
    position = publish(server, channel, "unheard")
    assert reply(native, {"ping": 1}) == {"pong": 1}
    assert reply(native, {"subscribe": channel, "id": 4, "after": moved(position, -1)})["id"] == 4
    assert native.next_told()["data"] == "unheard"


def test_many_channels_on_one_connection(server, native, channel):
    for n in range(20):
        assert CURSOR.fullmatch(reply(native, {"subscribe": f"{channel}/{n}", "id": n})["cursor"])
    for n in range(20):
        publish(server, f"{channel}/{n}", str(n))
    assert {(told["channel"], told["data"]) for told in (native.next_told() for _ in range(20))} == {(f"{channel}/{n}", str(n)) for n in range(20)}


def test_a_second_subscribe_is_an_error(native, channel):
    assert error_of(native, {"subscribe": channel, "id": 9}) == "already-subscribed"


def test_unsubscribing_from_what_is_not_subscribed_is_an_error(native):
    error_of(native, {"unsubscribe": "conformance/never", "id": 9})


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "..", "a\nb", "x" * 256])
def test_a_faulty_channel_name_is_an_error(server, native, harmless, name):
    for verb in ("subscribe", "publish", "unsubscribe"):
        error_of(native, {verb: name, "data": "x", "id": 9} if verb == "publish" else {verb: name, "id": 9})


@pytest.mark.parametrize("after", ["", "x", "a-1x", "a--1", "a" * 33 + "-1"])
def test_a_cursor_that_breaks_the_grammar_is_an_error(server, native, channel, after):
    error_of(native, {"subscribe": channel + "/other", "after": after, "id": 9})
    assert reply(native, {"subscribe": channel + "/other", "id": 10})["id"] == 10


WRONG = {
    "not-json": "nonsense",
    "cut": '{"publish":',
    "not-an-object": "[1]",
    "empty-object": "{}",
    "unknown-command": '{"shout":"x","id":9}',
    "two-commands": '{"publish":"a","subscribe":"b","data":1}',
    "wrong-type": '{"subscribe":7}',
    "publish-without-data": '{"publish":"a","id":9}',
    "data-not-base64": '{"publish":"a","data":"%","base64":true,"id":9}',
    "two-starts": '{"subscribe":"a","earliest":true,"last":3}',
    "last-negative": '{"subscribe":"a","last":-3}',
    "too-deep": '{"publish":"a","data":' + "[" * 5_000 + "]" * 5_000 + "}",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_understood_is_an_error_and_no_more(server, native, harmless, text):
    native.connection.send(text)
    told = native.next_told()
    assert told["error"]["code"] and told["error"]["message"]
    assert reply(native, {"ping": 1}) == {"pong": 1}


def test_a_binary_frame_is_json_too_or_refused(server, native):
    native.connection.send(b'{"ping":1}')
    try:
        told = native.next_told()
        assert told == {"pong": 1} or told["error"]["code"]
    except ConnectionClosed as closed:
        assert closed.rcvd.code == 1003


def test_a_message_over_the_limit_closes_as_too_big(server, harmless, channel):
    connection = open_websocket(server, "/channels/" + channel, ["bongsu.v1.json"])
    # The server need not read to the end what it refuses; its close frame must come through all the same.
    with contextlib.suppress(ConnectionClosed):
        connection.send(json.dumps({"publish": channel, "data": "x" * 100_000}))
    assert close_frame(connection).code == 1009


def test_a_ping_is_answered_and_silence_is_noticed(channel):
    """A client that answers no ping is closed within the interval and the deadline."""
    config = {**ORDINARY, "websocket": {"ping_interval": "300ms", "ping_timeout": "300ms"}}
    with Server(config) as server, RawWebSocket(server, "/channels/" + channel) as silent:
        opcode, _ = silent.receive()
        assert opcode == PING
        silent.read_to_end()
        with Native(server, channel) as answering:
            answering.opened()
            publish(server, channel, "a")
            assert answering.take().data == "a"
