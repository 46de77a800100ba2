"""A subscriber that reads nothing, among others that do: it is closed in time, and they lose nothing."""

import threading
import time

import pytest

from harness import ORDINARY, PATIENCE, Server, eventually, metric
from http_client import Raw, channel_path, get, publish, publish_many
from raw_websocket import RawWebSocket
from subscribers import TRANSPORTS

LAG_AGE_MAX_SECONDS = 2
LAG_BYTES_MAX = 2 * 1024 * 1024
PAYLOAD = "x" * 60_000
# Within this time of passing a bound it is closed.
GRACE_SECONDS = 1
# What a busy machine may add before the test has seen it.
SLACK_SECONDS = 0.5


@pytest.fixture(scope="module")
def strict():
    """A server that waits for nobody: small buffers, little lag."""
    config = ORDINARY | {
        "history": {"publications_max": 10_000, "bytes_max": "16 MiB"},
        "delivery": {
            "lag_bytes_max": LAG_BYTES_MAX, "lag_age_max": f"{LAG_AGE_MAX_SECONDS}s", "tape_bytes_max": "256 KiB", "send_buffer_bytes": "32 KiB"}}
    with Server(config) as running:
        yield running


def silent_websocket(server, channel):
    return RawWebSocket(server, "/channels/" + channel, receive_buffer=4096)


def silent_stream(accept):
    def start(server, channel):
        raw = Raw(server, receive_buffer=4096)
        raw.send(f"GET {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nAccept: {accept}\r\n\r\n".encode())
        assert raw.socket.recv(12) == b"HTTP/1.1 200"
        return raw

    return start


SILENT = {
    "websocket": silent_websocket, "ndjson": silent_stream("application/x-ndjson"), "multipart": silent_stream("multipart/mixed"),
    "sse": silent_stream("text/event-stream")}


def closed_as_slow(server):
    return metric(get(server, "/metrics").body.decode(), "bongsu_closes_total", reason="slow")


class Readers:
    """Subscribers that read all the time, each over its own transport and in its own thread."""

    TRANSPORTS = ("ndjson", "multipart", "sse", "native", "long-poll")

    def __init__(self, server, channel, count):
        self.received = {name: [] for name in self.TRANSPORTS}
        self.arrived, self.faults = threading.Condition(), []
        self.subscribers = {name: TRANSPORTS[name](server, channel) for name in self.TRANSPORTS}
        for subscriber in self.subscribers.values():
            subscriber.opened()
        self.threads = [threading.Thread(target=self.read, args=(name, count), daemon=True) for name in self.TRANSPORTS]

    def read(self, name, count):
        try:
            for _ in range(count):
                position = self.subscribers[name].take().position
                with self.arrived:
                    self.received[name].append(position)
                    self.arrived.notify()
        except BaseException as fault:  # noqa: BLE001 - it is raised again by the test's own thread
            with self.arrived:
                self.faults.append(fault)
                self.arrived.notify()

    def await_all(self, count):
        """Waits until each has so many, so that none of them lags because the test's own threads do."""
        with self.arrived:
            self.arrived.wait_for(lambda: self.faults or all(len(seen) >= count for seen in self.received.values()), PATIENCE)
            if self.faults:
                raise self.faults[0]
            assert all(len(seen) >= count for seen in self.received.values()), {name: len(seen) for name, seen in self.received.items()}

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join(PATIENCE)
        for subscriber in self.subscribers.values():
            subscriber.close()


def flood(server, channel, readers, count, batch=8):
    """Publishes so many, as fast as those who read take them."""
    positions = []
    while len(positions) < count:
        positions += publish_many(server, channel, [PAYLOAD] * min(batch, count - len(positions)))
        readers.await_all(len(positions))
    return positions


@pytest.mark.parametrize("start", SILENT.values(), ids=SILENT.keys())
def test_one_that_reads_nothing_is_closed_for_its_bytes_and_the_others_are_complete(strict, channel, start):
    before = closed_as_slow(strict)
    # The kernel's small buffers aside, all of it is lag, four times as much as is allowed.
    count = 4 * LAG_BYTES_MAX // len(PAYLOAD)
    with start(strict, channel) as silent, Readers(strict, channel, count) as readers:
        positions = flood(strict, channel, readers, count)
        eventually("the silent one is closed as slow", lambda: closed_as_slow(strict) == before + 1, GRACE_SECONDS + SLACK_SECONDS)
        # What the kernel had taken can still be read, and then it ends, far short of all.
        assert len(silent.read_to_end()) < 2 * LAG_BYTES_MAX
    assert all(seen == positions for seen in readers.received.values())


@pytest.mark.parametrize("start", SILENT.values(), ids=SILENT.keys())
def test_one_that_reads_nothing_is_closed_for_its_age(strict, channel, start):
    before = closed_as_slow(strict)
    with start(strict, channel) as silent:
        began = time.monotonic()
        # Less than the bytes that are allowed, so that only time can speak; and nothing more comes to remind the server.
        publish_many(strict, channel, [PAYLOAD] * (LAG_BYTES_MAX // 2 // len(PAYLOAD)))
        published = time.monotonic()
        bound = LAG_AGE_MAX_SECONDS + GRACE_SECONDS + SLACK_SECONDS
        eventually("the silent one is closed as slow", lambda: closed_as_slow(strict) == before + 1, bound)
        ended = time.monotonic()
        assert ended - began > LAG_AGE_MAX_SECONDS - SLACK_SECONDS, "closed before its time"
        assert ended - published < bound
        assert len(silent.read_to_end()) < LAG_BYTES_MAX // 2


def test_one_that_pauses_catches_up(strict, channel):
    """A pause within the bounds costs nothing: what fell off the tape comes from history."""
    with silent_websocket(strict, channel) as pausing:
        publish_many(strict, channel, [PAYLOAD] * 16)
        for _ in range(16):
            assert len(pausing.receive()[1]) == len(PAYLOAD)
        publish(strict, channel, "after")
        assert pausing.receive()[1] == b"after"
