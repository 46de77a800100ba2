"""A subscriber that reads nothing, among others that do: it is closed in time, and they lose nothing."""

import threading
import time

import pytest

from harness import ORDINARY, PATIENCE, Server, eventually, metric
from http_client import Raw, channel_path, get, publish, publish_many
from raw_websocket import RawWebSocket
from subscribers import TRANSPORTS

LAG_AGE_MAX_SECONDS = 2
PAYLOAD = "x" * 60_000
# What the kernel's buffers and the bounds below can absorb lies well under this.
FLOOD_BYTES = 24 * 1024 * 1024


@pytest.fixture(scope="module")
def strict():
    """A server that waits for nobody: small buffers, little lag."""
    config = ORDINARY | {
        "history": {"publications_max": 10_000, "bytes_max": "16 MiB"},
        "delivery": {
            "lag_bytes_max": "2 MiB", "lag_age_max": f"{LAG_AGE_MAX_SECONDS}s", "tape_bytes_max": "256 KiB", "send_buffer_bytes": "32 KiB"}}
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


@pytest.mark.parametrize("start", SILENT.values(), ids=SILENT.keys())
def test_one_that_reads_nothing_is_closed_and_the_others_are_complete(strict, channel, start):
    before = closed_as_slow(strict)
    count = FLOOD_BYTES // len(PAYLOAD)
    received, faults, readers = {}, [], []

    def read(name, subscriber):
        try:
            received[name] = [subscriber.take().position for _ in range(count)]
        except BaseException as fault:  # noqa: BLE001 - it is raised again by the test's own thread
            faults.append((name, fault))

    for name in ("ndjson", "multipart", "sse", "native", "long-poll"):
        subscriber = TRANSPORTS[name](strict, channel)
        subscriber.opened()
        readers.append((threading.Thread(target=read, args=(name, subscriber), daemon=True), subscriber))
    with start(strict, channel) as silent:
        for thread, _ in readers:
            thread.start()
        positions = publish_many(strict, channel, [PAYLOAD] * count)
        # From here on the silent one certainly lags, and nothing that it could do about it comes.
        flooded = time.monotonic()
        eventually("the silent one is closed as slow", lambda: closed_as_slow(strict) == before + 1, LAG_AGE_MAX_SECONDS + 1.5)
        assert time.monotonic() - flooded < LAG_AGE_MAX_SECONDS + 1.5
        # What the kernel had taken can still be read, and then it ends, far short of all.
        assert len(silent.read_to_end()) < FLOOD_BYTES // 2
    for thread, subscriber in readers:
        thread.join(PATIENCE)
        subscriber.close()
    assert not faults, faults[0]
    assert set(received) == {"ndjson", "multipart", "sse", "native", "long-poll"}
    assert all(seen == positions for seen in received.values())


def test_one_that_pauses_catches_up(strict, channel):
    """A pause within the bounds costs nothing: what fell off the tape comes from history."""
    with silent_websocket(strict, channel) as pausing:
        publish_many(strict, channel, [PAYLOAD] * 16)
        for _ in range(16):
            assert len(pausing.receive()[1]) == len(PAYLOAD)
        publish(strict, channel, "after")
        assert pausing.receive()[1] == b"after"
