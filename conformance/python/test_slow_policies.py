"""What becomes of a slow subscriber is its channel's choice: it is passed over, or its publishers wait. What was offered adds up."""

import http.client
import json
import re
import socket
import struct
import threading
import time

import pytest

from harness import PATIENCE, Server, eventually, metric
from http_client import Raw, assert_problem, channel_path, get, offset_of, publish, request
from raw_stomp import Stomp, frame
from raw_websocket import CLOSE, RawWebSocket
from subscribers import ndjson_records, open_websocket

LAG_BYTES_MAX = 256 * 1024
PAYLOAD = "x" * 20_000
# Far more than the kernel's buffers and the bound on lag hold together.
COUNT = 100
PAUSE_MAX_SECONDS = 4
BIG = b"x" * (6 * 1024 * 1024)


@pytest.fixture(scope="module")
def slow_server():
    config = {
        "http": {"body_bytes_max": "8 MiB"},
        "history": {"bytes_max": "64 MiB"},
        "delivery": {"lag_bytes_max": LAG_BYTES_MAX, "lag_age_max": "20s", "send_buffer_bytes": "16 KiB", "pause_max": f"{PAUSE_MAX_SECONDS}s"},
        "channels": [{"pattern": f"{policy}/**", "slow": policy} for policy in ("drop", "conflate", "pause")],
    }
    with Server(config) as running:
        yield running


def scrape(server):
    """The metrics, whose balance holds for every transport whenever they are read."""
    text = get(server, "/metrics").body.decode()
    for transport in ("http", "poll", "long-poll", "stream", "multipart", "sse", "websocket", "native", "tcp", "echo"):
        offered = metric(text, "bongsu_offered_total", transport=transport)
        parts = ["deliveries_total", "dropped_total", "conflated_total", "abandoned_total", "pending"]
        went = {part: metric(text, f"bongsu_{part}", transport=transport) for part in parts}
        assert offered == sum(went.values()), (transport, offered, went)
    return text


class Stream(Raw):
    """An NDJSON stream with a small window, that is read only when the test says so."""

    def __init__(self, server, channel, receive_buffer=4096):
        super().__init__(server, receive_buffer)
        self.send(f"GET {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nAccept: application/x-ndjson\r\n\r\n".encode())
        self.response = http.client.HTTPResponse(self.socket, method="GET")
        self.response.begin()
        self.records = ndjson_records(self.response)
        self.cursor = next(self.records).position

    def read_to(self, head):
        """Reads to a position. Every publication follows on the last, or on a gap that began there; returns both kinds."""
        publications, gaps = [], []
        while offset_of(self.cursor) < offset_of(head):
            record = next(self.records)
            if record.kind == "gap":
                assert record.gap["asked"] == self.cursor
                assert offset_of(record.gap["resumed"]) > offset_of(self.cursor)
                gaps.append(record.gap)
            elif record.kind == "publication":
                assert offset_of(record.position) == offset_of(self.cursor) + 1
                publications.append(record.whole)
            self.cursor = record.position
        return publications, gaps


def fill(server, channel, transport, count=COUNT, keys=None, readers=1, published=None):
    """Publishes so many to so many, telling `published` each, and waits until the server has looked at who lags: it does so right before it counts."""
    before = metric(scrape(server), "bongsu_offered_total", transport=transport)
    positions = []
    for number in range(count):
        headers = {"Bongsu-Key": keys[number % len(keys)]} if keys else {}
        positions.append(publish(server, channel, f"{number} {PAYLOAD}", **headers))
        if published:
            published(positions[-1])
    eventually("all of it was offered", lambda: metric(scrape(server), "bongsu_offered_total", transport=transport) >= before + count * readers)
    return positions


def test_drop_tells_a_gap_and_goes_on_near_the_head(slow_server, channel):
    channel = "drop/" + channel
    with Stream(slow_server, channel) as silent, Stream(slow_server, channel, None) as reader:
        seen = []
        # The reader takes each before the next is published: a machine that is busy with other things cannot make it slow.
        positions = fill(slow_server, channel, "stream", readers=2, published=lambda position: seen.extend(reader.read_to(position)[0]))
        assert [publication["position"] for publication in seen] == positions, "who reads gets everything"
        publications, gaps = silent.read_to(positions[-1])
        assert [gap["reason"] for gap in gaps] == ["dropped"]
        after = offset_of(positions[-1]) - offset_of(gaps[0]["resumed"])
        assert 0 < after * len(PAYLOAD) <= LAG_BYTES_MAX // 2, "it goes on from half of what it may lag"
        assert len(publications) + offset_of(gaps[0]["resumed"]) - offset_of(gaps[0]["asked"]) == COUNT
        # It is live again.
        assert silent.read_to(publish(slow_server, channel, "after"))[0][0]["data"] == "after"
    eventually("it is counted", lambda: metric(scrape(slow_server), "bongsu_dropped_total", transport="stream") > 0)


def test_conflate_brings_the_newest_of_each_key(slow_server, channel):
    channel = "conflate/" + channel
    with Stream(slow_server, channel) as silent:
        keys = ["EUR", "USD", "JPY"]
        positions = fill(slow_server, channel, "stream", keys=keys)
        rare = publish(slow_server, channel, "rare", Bongsu_Key="XAU")
        publications, gaps = silent.read_to(rare)
        assert gaps and {gap["reason"] for gap in gaps} == {"conflated"}
        newest = {publication.get("key"): publication["position"] for publication in publications}
        assert newest == {**dict(zip([keys[n % 3] for n in range(COUNT)], positions)), "XAU": rare}, "the newest of each, last"
        assert len(publications) < COUNT // 2
    eventually("it is counted", lambda: metric(scrape(slow_server), "bongsu_conflated_total", transport="stream") > 0)


@pytest.mark.parametrize("policy, reason", [("drop", "dropped"), ("conflate", "conflated")])
def test_a_plain_websocket_has_no_room_for_a_gap_and_is_closed(slow_server, channel, policy, reason):
    channel = f"{policy}/{channel}"
    with RawWebSocket(slow_server, "/channels/" + channel, receive_buffer=4096) as silent:
        positions = fill(slow_server, channel, "websocket")
        taken = 0
        while (frame := silent.receive())[0] != CLOSE:
            taken += 1
        assert struct.unpack("!H", frame[1][:2]) == (4009,)
        told = json.loads(frame[1][2:])
        assert told["reason"] == reason
        assert told.get("asked", positions[taken - 1]) == positions[taken - 1], "what it got before was whole and in order"
        assert offset_of(told["resumed"]) > taken
    eventually("what it did not get is abandoned", lambda: metric(scrape(slow_server), "bongsu_pending", transport="websocket") == 0)


class Tcp:
    """Lines over TCP."""

    def __init__(self, server):
        host, port = server.tcp.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.lines = self.socket.makefile("rb")

    def publish(self, channel, data):
        self.socket.sendall(json.dumps({"publish": channel, "data": data, "id": 1}).encode() + b"\n")
        return json.loads(self.lines.readline())


def over_http(server, channel):
    return request(server, "POST", channel_path(channel), b"more").status


def over_batch(server, channel):
    line = json.dumps({"publish": channel, "data": "more", "id": 1}) + "\n"
    results = request(server, "POST", "/publish", (line * 3).encode()).body.splitlines()
    return [json.loads(result).get("error", {}).get("code") for result in results]


def over_native(server, channel):
    with open_websocket(server, "/channels/" + channel, ["bongsu.v1.json"]) as connection:
        connection.send(json.dumps({"publish": channel, "data": "more", "id": 1}))
        return json.loads(connection.recv(timeout=PATIENCE)).get("error", {}).get("code")


def over_tcp(server, channel):
    return Tcp(server).publish(channel, "more").get("error", {}).get("code")


def over_stomp(server, channel):
    """The RECEIPT of a transaction, or the code of an ERROR."""
    host, port = server.stomp.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        send = f"SEND\ndestination:/topic/{channel}\ntransaction:t\n\nmore\0"
        commit = "COMMIT\ntransaction:t\nreceipt:done\n\n\0"
        frames = f"CONNECT\naccept-version:1.2\nhost:x\n\n\0BEGIN\ntransaction:t\n\n\0{send * 3}{commit}"
        connection.sendall(frames.encode())
        told = b""
        while told.count(b"\0") < 2:
            told += connection.recv(4096) or b"\0"
    frame = told.split(b"\0")[1].decode()
    if "RECEIPT\nreceipt-id:done" in frame:
        return None
    code = re.search(r"^code:(.*)$", frame, re.MULTILINE)
    return code.group(1) if code else frame


WAYS = {"http": over_http, "batch": over_batch, "native": over_native, "tcp": over_tcp, "stomp": over_stomp}


class Waiting:
    """A publisher in each way at once; leaving the block waits until all of them were told something."""

    def __init__(self, server, channel):
        self.told = {}
        self.threads = [threading.Thread(target=self.run, args=(name, way, server, channel)) for name, way in WAYS.items()]

    def run(self, name, way, server, channel):
        try:
            self.told[name] = way(server, channel)
        except Exception as fault:  # noqa: BLE001 - the test compares what was told
            self.told[name] = fault

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join(PATIENCE)


def lag(server, channel):
    """Publishes far more than a subscriber may lag. A frame that has begun to leave counts as taken, so there are two."""
    publish(server, channel, BIG)
    publish(server, channel, BIG)


def held_publishers(server):
    return metric(scrape(server), "bongsu_held_publishers")


def test_pause_waits_for_one_that_has_stopped_until_it_is_closed(slow_server, channel):
    channel = "pause/" + channel
    before = scrape(slow_server)
    with Stream(slow_server, channel):
        lag(slow_server, channel)
        with Waiting(slow_server, channel) as waiting:
            eventually("all of them wait", lambda: held_publishers(slow_server) == len(WAYS))
        assert waiting.told == {"http": 201, "batch": [None] * 3, "native": None, "tcp": None, "stomp": None}, "all get through once it is gone"
    text = eventually("it was counted", lambda: (text := scrape(slow_server)) and metric(text, "bongsu_held_publishers") == 0 and text)

    def grown(name, **labels):
        return metric(text, name, **labels) - metric(before, name, **labels)

    assert grown("bongsu_closes_total", reason="slow") == 1
    assert grown("bongsu_holds_total", transport="stream") == 1
    assert [grown("bongsu_publishers_paused_total", transport=kind) for kind in ("native", "tcp", "stomp")] == [1, 1, 1]
    # Each line of the batch may have to wait by itself.
    assert 2 <= grown("bongsu_publishers_paused_total", transport="http") <= 1 + 3


# Shorter than any of these publishers waits; and a bound on waiting that none of them reaches.
IMPATIENT = {
    "delivery": {"lag_bytes_max": LAG_BYTES_MAX, "lag_age_max": "10m", "send_buffer_bytes": "16 KiB", "pause_max": "10m"},
    "http": {"body_bytes_max": "8 MiB"},
    "websocket": {"ping_interval": "300ms", "ping_timeout": "1s"},
    "tcp": {"ping_every_min": "300ms", "ping_timeout": "1s", "idle_timeout": "1s"},
    "stomp": {"heartbeat_send": "100ms", "heartbeat_expect": "500ms", "frame_timeout": "1s"},
    "channels": [{"pattern": "pause/**", "slow": "pause"}],
}


class PatientWebSocket:
    """Publishes over a WebSocket, in whose background pings are answered as they come."""

    def __init__(self, server, channel):
        self.opened = open_websocket(server, "/channels/" + channel, ["bongsu.v1.json"])
        self.opened.send(json.dumps({"publish": channel, "data": "more", "id": 1}))

    def told(self):
        return "position" in json.loads(self.opened.recv(timeout=PATIENCE))

    def close(self):
        self.opened.close()


class PatientLines:
    """Publishes over TCP; as one that asked to be pinged, or as one that would be idle."""

    def __init__(self, server, channel, *first):
        host, port = server.tcp.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        # What comes behind the publication waits with it: the answer to a ping that came too late to be heard, and half a line.
        lines = [*first, {"publish": channel, "data": "more", "id": 1}, {"pong": 1}]
        self.socket.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines) + b'{"half')

    def told(self):
        for line in self.socket.makefile("rb"):
            if json.loads(line).get("id") == 1:
                return "position" in json.loads(line)

    def close(self):
        self.socket.close()


class PatientStomp:
    """Publishes over STOMP, with heart-beats both ways, and has begun another frame."""

    def __init__(self, server, channel, over="tcp"):
        self.stomp = Stomp(server, over=over, heart_beat="500,100")
        self.stomp.send(frame("SEND", "more", destination="/" + channel, receipt="done"))
        self.stomp.send(b"SEND\ndestination:/" + channel.encode() + b"\n\nhalf of")

    def told(self):
        return self.stomp.hear().command == "RECEIPT"

    def close(self):
        self.stomp.close()


PATIENT = {
    "websocket": PatientWebSocket,
    "tcp": lambda server, channel: PatientLines(server, channel, {"ping": 1, "every_ms": 300}),
    "tcp, idle": PatientLines,
    "stomp": PatientStomp,
    "stomp+ws": lambda server, channel: PatientStomp(server, channel, "websocket"),
}


def silent_clients(server, channel):
    """Waits until one of each kind, that says nothing while it is listened to, was let go for it."""
    websocket = RawWebSocket(server, "/channels/" + channel)
    host, port = server.tcp.rsplit(":", 1)
    asked, idle = [socket.create_connection((host, int(port)), timeout=PATIENCE) for _ in range(2)]
    asked.sendall(b'{"ping":1,"every_ms":300}\n')
    half = Stomp(server)
    half.send(b"SEND\ndestination:/a\n\nhalf of")
    with Stomp(server, heart_beat="500,0") as stomp:
        assert stomp.hear()["code"] == "heart-beat-missed"
    assert half.hear()["code"] == "frame-timeout"
    assert websocket.close_code() == 4002
    assert [b'"bye"' in opened.makefile("rb").read() for opened in (asked, idle)] == [True, True]
    for opened in (websocket, asked, idle, half):
        opened.close()


def test_a_publisher_that_waits_is_not_taken_for_silent(channel):
    """It may have answered every ping, and have beaten in time: the server does not read it, and knows that."""
    channel = "pause/" + channel
    with Server(IMPATIENT) as server:
        with Stream(server, channel):
            lag(server, channel)
            patient = {}
            for name, kind in PATIENT.items():
                patient[name] = kind(server, channel)
                eventually(f"{name} waits", lambda: held_publishers(server) == len(patient))
            beats = patient["stomp"].stomp
            # Those who came later and are listened to are let go; then, so would these have been.
            silent_clients(server, "elsewhere/" + channel)
            assert held_publishers(server) == len(PATIENT)
            while beats.beats < 3:
                beats.buffer += beats.receive()
                beats.skip_beats()
        # What they waited for is gone.
        assert {name: one.told() for name, one in patient.items()} == dict.fromkeys(PATIENT, True)
        for one in patient.values():
            one.close()


def test_pause_refuses_publishers_that_waited_too_long(slow_server, channel):
    channel = "pause/" + channel
    before = metric(scrape(slow_server), "bongsu_faults_total", fault="channel-held")
    with Stream(slow_server, channel) as trickle, open_websocket(slow_server, "/channels/" + channel + "?live") as plain:
        # The plain one hears the channel too, and must not be what is waited for.
        draining = threading.Thread(target=drain, args=(plain,))
        draining.start()
        lag(slow_server, channel)
        done = threading.Event()
        reading = threading.Thread(target=read_slowly, args=(trickle, done))
        reading.start()
        plain.send("more")
        with Waiting(slow_server, channel) as waiting:
            refused = request(slow_server, "POST", channel_path(channel), b"more")
            assert assert_problem(refused, 503)["code"] == "channel-held"
            assert int(refused.headers["retry-after"]) >= 1
        done.set()
        reading.join(PATIENCE)
        draining.join(PATIENCE)
        assert waiting.told == {"http": 503, "batch": ["channel-held"] * 3, "native": "channel-held", "tcp": "channel-held", "stomp": "channel-held"}
        assert plain.close_code == 1013
    # Two over HTTP, three lines of a batch, one each over the native protocol, TCP and STOMP, and a close.
    assert metric(scrape(slow_server), "bongsu_faults_total", fault="channel-held") - before == 9


def drain(connection):
    try:
        while True:
            connection.recv(timeout=PATIENCE)
    except Exception:  # noqa: BLE001 - its close is what the test looks at
        pass


def read_slowly(stream, done):
    """Takes something all the time, far too slowly."""
    while not done.is_set():
        stream.socket.recv(16 * 1024)
        time.sleep(0.05)


def test_pause_loses_nothing(slow_server, channel):
    channel = "pause/" + channel
    with Stream(slow_server, channel) as reader:
        positions = []
        publishing = threading.Thread(target=lambda: positions.extend(publish(slow_server, channel, PAYLOAD) for _ in range(COUNT)))
        publishing.start()
        publications, gaps = reader.read_to(f"x-{COUNT}")
        publishing.join(PATIENCE)
        assert gaps == [] and [publication["position"] for publication in publications] == positions
