"""Several channels in one subscription, with one composite cursor that resumes them all."""

from urllib.parse import quote, urlencode

import pytest

from http_client import connect, get, publish, publish_many
from subscribers import multipart_records, ndjson_records, sse_records


def address(channels, **query):
    return "/subscribe?" + urlencode([("channel", channel) for channel in channels] + list(query.items()))


@pytest.fixture
def channels(channel):
    return [f"{channel}/{letter}" for letter in "abc"]


class OpenStream:
    """A stream of several channels by its `Accept`."""

    def __init__(self, server, path, accept):
        self.connection = connect(server)
        self.connection.request("GET", path, headers={"Accept": accept})
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        if accept.startswith("multipart"):
            self.records = multipart_records(self.response, self.response.getheader("Content-Type"))
        else:
            self.records = (ndjson_records if "ndjson" in accept else sse_records)(self.response)

    def publications(self, count):
        found = []
        while len(found) < count:
            record = next(self.records)
            found += [record] if record.kind == "publication" else []
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.close()
        self.connection.close()


def test_a_page_of_several_channels_resumes_by_one_cursor(server, channels):
    for letter, channel in zip("abc", channels, strict=True):
        publish_many(server, channel, [letter + "1", letter + "2"])
    seen, cursor = [], None
    for _ in range(20):
        page = get(server, address(channels, after=cursor) if cursor else address(channels, earliest="")).json()
        seen += page["publications"]
        cursor = page["cursor"]
        if not page["more"]:
            break
    assert {(entry["channel"], entry["data"]) for entry in seen} == {
        (channel, letter + digit) for letter, channel in zip("abc", channels, strict=True) for digit in "12"}
    assert len(seen) == 6
    for channel in channels:
        assert [entry["data"][1] for entry in seen if entry["channel"] == channel] == ["1", "2"], "order within a channel"
    publish(server, channels[1], "b3")
    page = get(server, address(channels, after=cursor)).json()
    assert [(entry["channel"], entry["data"]) for entry in page["publications"]] == [(channels[1], "b3")]


def test_a_wait_for_several_channels_ends_with_any(server, channels):
    cursor = get(server, address(channels, earliest="")).json()["cursor"]
    publish(server, channels[2], "c")
    answer = get(server, address(channels, after=cursor, wait=10))
    assert [entry["data"] for entry in answer.json()["publications"]] == ["c"]
    waited = get(server, address(channels, after=answer.headers["bongsu-cursor"], wait=1))
    assert waited.status == 204
    publish(server, channels[0], "a")
    assert [entry["data"] for entry in get(server, address(channels, after=waited.headers["bongsu-cursor"])).json()["publications"]] == ["a"]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "multipart/mixed"])
def test_every_record_of_a_stream_tells_the_cursor_of_them_all(server, channels, accept):
    for channel in channels:
        publish(server, channel, "before")
    with OpenStream(server, address(channels), accept) as stream:
        assert next(stream.records).kind == "cursor"
        for n in range(9):
            publish(server, channels[n % 3], str(n))
        seen = stream.publications(5)
    with OpenStream(server, address(channels, after=seen[-1].whole["cursor"]), accept) as resumed:
        seen += resumed.publications(4)
    assert_complete(seen, 9)


def test_an_event_stream_resumes_by_its_last_id(server, channels):
    with OpenStream(server, address(channels), "text/event-stream") as stream:
        assert next(stream.records).kind == "cursor"
        for n in range(9):
            publish(server, channels[n % 3], str(n))
        seen = stream.publications(5)
    with OpenStream(server, address(channels, after=seen[-1].position), "text/event-stream") as resumed:
        seen += resumed.publications(4)
    assert_complete(seen, 9)


def test_a_gap_in_one_channel_is_said_and_the_others_go_on(forgetful, channels):
    for channel in channels:
        publish(forgetful, channel, "old")
    cursor = get(forgetful, address(channels, earliest="")).json()["cursor"]
    publish_many(forgetful, channels[0], [str(n) for n in range(300)])
    publish(forgetful, channels[1], "new")
    reasons, seen = [], []
    for _ in range(20):
        page = get(forgetful, address(channels, after=cursor)).json()
        reasons += [(told["channel"], told["gap"]["reason"]) for told in page.get("gaps", [])]
        seen += page["publications"]
        cursor = page["cursor"]
        if not page["more"]:
            break
    assert reasons == [(channels[0], "trimmed")]
    assert len([entry for entry in seen if entry["channel"] == channels[0]]) == 100
    assert [entry["data"] for entry in seen if entry["channel"] == channels[1]] == ["new"]


def test_channels_that_never_were_can_be_waited_for(server, channels):
    cursor = get(server, address(channels, earliest="")).json()["cursor"]
    publish(server, channels[0], "first")
    page = get(server, address(channels, after=cursor)).json()
    assert [entry["data"] for entry in page["publications"]] == ["first"]
    assert "gaps" not in page


def test_too_many_channels_are_refused_and_a_name_is_read_once(server, channel):
    many = "/subscribe?" + "&".join("channel=" + quote(f"{channel}/{n}") for n in range(100_000))
    assert get(server, many[:15_000]).status in (200, 400)
    assert get(server, address([channel, channel])).status in (200, 400)


def assert_complete(seen, count):
    """Payload n went to channel n modulo 3: all are there once, and in order within each channel, which is all that is promised."""
    numbers = [int(record.data) for record in seen]
    assert sorted(numbers) == list(range(count))
    for remainder in range(3):
        own = [number for number in numbers if number % 3 == remainder]
        assert own == sorted(own)
