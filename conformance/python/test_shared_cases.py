"""The cases that every transport shares, run over each from one list: order, join, resume, gaps, payloads."""

import json

import pytest

from http_client import CURSOR, epoch_of, moved, publish, publish_many
from subscribers import TRANSPORTS, Plain, Poll, close_frame

every_transport = pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS.keys())


@every_transport
def test_the_first_record_tells_a_cursor_that_resumes(server, channel, transport):
    last = publish(server, channel, "before")
    with transport(server, channel) as subscriber:
        cursor = subscriber.opened()
        assert cursor == last
    publish_many(server, channel, ["one", "two"])
    with transport(server, channel, after=cursor) as resumed:
        assert [resumed.take().data for _ in range(2)] == ["one", "two"]


@every_transport
def test_a_cursor_of_a_channel_without_publications_resumes_too(server, channel, transport):
    with transport(server, channel) as subscriber:
        cursor = subscriber.opened()
        assert CURSOR.fullmatch(cursor)
        publish(server, channel, "first")
        assert subscriber.take().data == "first"
    with transport(server, channel, after=cursor) as resumed:
        record = resumed.take()
        assert (record.kind, record.data) == ("publication", "first")


@every_transport
def test_delivers_in_order_with_the_positions_that_publish_returned(server, channel, transport):
    with transport(server, channel) as subscriber:
        subscriber.opened()
        positions = publish_many(server, channel, [f"payload {n}" for n in range(50)])
        received = [subscriber.take() for _ in range(50)]
    assert [record.data for record in received] == [f"payload {n}" for n in range(50)]
    assert [record.position for record in received] == positions


@every_transport
def test_joins_history_to_live_without_gap_or_duplicate(server, channel, transport):
    positions = publish_many(server, channel, [str(n) for n in range(20)])
    with transport(server, channel, after=positions[9]) as subscriber:
        assert subscriber.opened() == positions[9]
        publish_many(server, channel, [str(n) for n in range(20, 40)])
        assert [subscriber.take().data for _ in range(30)] == [str(n) for n in range(10, 40)]


@every_transport
@pytest.mark.parametrize(
    "start, expected",
    [({"earliest": ""}, ["0", "1", "2", "3", "4", "5"]), ({"last": 2}, ["3", "4", "5"]), ({"last": 0}, ["5"]), ({"last": 99}, ["0", "1", "2", "3", "4", "5"])],
    ids=["earliest", "last-2", "last-0", "last-99"],
)
def test_starts_where_it_is_asked_to(server, channel, transport, start, expected):
    publish_many(server, channel, [str(n) for n in range(5)])
    with transport(server, channel, **start) as subscriber:
        if issubclass(transport, Poll):
            # A page of `last=0` is empty, and a wait would last until something comes; what follows its cursor is the same.
            subscriber.wait = None
            subscriber.fetch()
            subscriber.wait = transport.wait
        else:
            subscriber.opened()
        publish(server, channel, "5")
        assert [subscriber.take().data for _ in expected] == expected


@every_transport
@pytest.mark.parametrize("text", ["", "two\nlines", "carriage\rreturn", "both\r\nends\r\n", "봉수 烽燧 🔥", "\u2028 \ufeffmark", " led by a space", "--boundary", "data: x"])
def test_carries_any_text(server, channel, transport, text):
    with transport(server, channel) as subscriber:
        subscriber.opened()
        publish(server, channel, text)
        publish(server, channel, "after")
        received = subscriber.take().data
        # An event stream cannot carry a bare carriage return in `data:`, so that such a text may travel as base64.
        assert (received.decode() if isinstance(received, bytes) else received) == text
        assert subscriber.take().data == "after"


@every_transport
def test_carries_bytes_and_their_type(server, channel, transport):
    payload = bytes(range(256)) * 4
    with transport(server, channel) as subscriber:
        subscriber.opened()
        publish(server, channel, payload, "image/png")
        record = subscriber.take()
        assert record.data == payload
        assert record.type in ("image/png", None)


@every_transport
def test_carries_json_as_a_value(server, channel, transport):
    with transport(server, channel) as subscriber:
        subscriber.opened()
        publish(server, channel, '{"a": [1, null, "x"]}', "application/json")
        assert as_value(subscriber.take().data) == {"a": [1, None, "x"]}


@every_transport
def test_carries_a_large_payload(server, channel, transport):
    payload = "large " * 10_000
    with transport(server, channel) as subscriber:
        subscriber.opened()
        publish(server, channel, payload)
        assert subscriber.take().data == payload


GAPS = {
    "trimmed": lambda first, _last: moved(first, 99),
    "epoch": lambda first, _last: "strangersEpoch-7",
    "future": lambda _first, last: moved(last, 1000),
}


@every_transport
@pytest.mark.parametrize("reason", GAPS.keys())
def test_says_a_gap_and_goes_on_from_the_oldest_retained(forgetful, channel, transport, reason):
    positions = publish_many(forgetful, channel, [str(n) for n in range(600)])
    asked = GAPS[reason](positions[0], positions[-1])
    with transport(forgetful, channel, after=asked) as subscriber:
        if transport.tells_opening:
            subscriber.opened()
        told = subscriber.take()
        assert told.kind == "gap"
        assert (told.gap["asked"], told.gap["reason"]) == (asked, reason)
        # A hundred are retained, so that what lies right before the oldest of them is the five-hundredth.
        assert told.gap["resumed"] == told.position == positions[499]
        received = [subscriber.take() for _ in range(100)]
        publish(forgetful, channel, "live")
        assert subscriber.take().data == "live"
    assert [record.data for record in received] == [str(n) for n in range(500, 600)]
    assert [record.position for record in received] == positions[500:]


@pytest.mark.parametrize("reason", GAPS.keys())
def test_a_plain_websocket_is_closed_rather_than_silent(forgetful, channel, reason):
    positions = publish_many(forgetful, channel, [str(n) for n in range(600)])
    with Plain(forgetful, channel, after=GAPS[reason](positions[0], positions[-1])) as subscriber:
        close = close_frame(subscriber.connection)
        assert close.code == 4009
        assert reason in close.reason


def test_a_plain_websocket_resumes_by_counting(server, channel):
    start = publish(server, channel, "before")
    with Plain(server, channel, after=start) as subscriber:
        publish_many(server, channel, [str(n) for n in range(10)])
        assert [subscriber.take().data for _ in range(10)] == [str(n) for n in range(10)]
    with Plain(server, channel, after=moved(start, 6)) as resumed:
        assert [resumed.take().data for _ in range(4)] == [str(n) for n in range(6, 10)]


@every_transport
def test_a_well_formed_cursor_is_never_an_error(server, channel, transport):
    """Even one that no server of this kind ever wrote."""
    first = publish(server, channel, "only")
    for asked in ["x-0", "z" * 32 + "-" + "9" * 20, f"{epoch_of(first)}-{'9' * 20}"]:
        with transport(server, channel, after=asked) as subscriber:
            if transport.tells_opening:
                subscriber.opened()
            told = subscriber.take()
            assert (told.kind, told.gap["asked"]) == ("gap", asked)
            assert subscriber.take().data == "only"


def as_value(data):
    return json.loads(data) if isinstance(data, str | bytes) else data
