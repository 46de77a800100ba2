"""The bounds on what clients do together and each address: who passes one is told its name, and it harms nobody else."""

import json
import os
import socket
import subprocess
import time

import pytest

from harness import BINARY, Server, eventually, metric
from http2_client import Http2
from http_client import Raw, assert_problem, channel_path, get, publish, request
from raw_websocket import CLOSE, CONTINUATION, TEXT, RawWebSocket, frame, handshake
from sources import ANOTHER, OTHER, From, LinesFrom, fault_count, reach_from
from subscribers import Native, Ndjson

pytestmark = pytest.mark.direct

# Nobody but the tests' own address is exempt, so that they can look at the numbers.
GUARDED = {"exempt": ["127.0.0.1"], "burst": "1s"}


def guarded(**limits):
    return Server({"limits": GUARDED | limits})


def reading_paused(server):
    return metric(get(server, "/metrics").body.decode(), "bongsu_reading_paused", transport="http")


def in_flight(server):
    return metric(get(server, "/metrics").body.decode(), "bongsu_in_flight_bytes")


def test_an_address_has_so_many_connections():
    with guarded(connections_per_address_max=2) as server:
        with From(server) as first, From(server) as second:
            assert [first.follow("a"), second.follow("a")] == [200, 200]
            with From(server) as third:
                answer = third.ask("GET", "/health")
                assert assert_problem(answer, 429)["code"] == "too-many-connections-of-address"
                assert int(answer.headers["retry-after"]) >= 1
            with LinesFrom(server) as lines:
                assert lines.hear()["bye"]["code"] == 1013
            with From(server, ANOTHER) as other:
                assert other.ask("GET", "/health").status == 200, "another address has its own"
        assert fault_count(server, "too-many-connections-of-address") == 2

        def comes_in():
            with From(server) as again:
                return again.ask("GET", "/health").status == 200
        eventually("who hung up made room", comes_in)


def test_an_address_may_connect_so_often():
    with guarded(connections_per_second_per_address=1, burst="5s") as server:
        statuses = [ask_once(server, OTHER) for _ in range(12)]
        assert statuses[:5] == [200] * 5 and 429 in statuses, statuses
        assert ask_once(server, ANOTHER) == 200
        assert fault_count(server, "too-many-new-connections-of-address") >= 1


def test_all_together_may_connect_so_often():
    with guarded(connections_per_second=1, burst="5s") as server:
        statuses = [ask_once(server, source) for source in [OTHER, ANOTHER] * 6]
        assert 503 in statuses, statuses
        assert fault_count(server, "too-many-new-connections") >= 1
        assert get(server, "/health").status == 200, "who is exempt comes in"


def ask_once(server, source):
    with From(server, source) as connection:
        return connection.ask("GET", "/health").status


def test_a_connection_flood_leaves_room_for_others(channel):
    """Hundreds of connections from one address, some that ask nothing: the others are served, old and new."""
    # Those who say nothing keep their places for as long as this takes.
    config = {"limits": GUARDED | {"connections_per_address_max": 50, "connections_per_second_per_address": 0}, "http": {"head_timeout": "2m"}}
    with Server(config) as server, Ndjson(server, channel) as before:
        before.opened()
        flood = []
        for n in range(400):
            flood.append(reach_from(OTHER, server.address if n % 2 else server.tcp))
            if n % 20 == 0:
                publish(server, channel, str(n))
                assert before.take().data == str(n)
        held = eventually("the flood is taken up or refused", lambda: flood_held(server, 50))
        assert held <= 52, held
        with From(server, ANOTHER) as other, Native(server, channel) as after:
            after.opened()
            assert other.publish(channel, "through").status == 201
            assert before.take().data == after.take().data == "through"
        assert fault_count(server, "too-many-connections-of-address") == 350
        for one in flood:
            one.close()


def flood_held(server, expected):
    if fault_count(server, "too-many-connections-of-address") < 350:
        return None
    text = get(server, "/metrics").body.decode()
    # The subscriber and this very request are not of the flood.
    return metric(text, "bongsu_connections") - 2


def test_publications_over_http_have_a_pace(channel):
    with guarded(publications_per_second=1, burst="5s") as server, From(server) as publisher:
        answers = [publisher.publish(channel, str(n)) for n in range(8)]
        refused = [answer for answer in answers if answer.status != 201]
        assert [answer.status for answer in answers[:5]] == [201] * 5 and refused
        assert assert_problem(refused[0], 429)["code"] == "rate-limited"
        assert refused[0].headers["retry-after"] == "1"
        assert fault_count(server, "rate-limited") == len(refused)
        eventually("it may again", lambda: publisher.publish(channel, "later").status == 201)
        published = [entry["data"] for entry in get(server, channel_path(channel)).json()["publications"]]
        assert len(published) == sum(answer.status == 201 for answer in answers) + 1


def test_a_connection_for_each_publication_gains_nothing(channel):
    with guarded(publications_per_second_per_address=1, burst="5s") as server:
        statuses = []
        for n in range(8):
            with From(server) as publisher:
                statuses.append(publisher.publish(channel, str(n)).status)
        assert statuses[:5] == [201] * 5 and 429 in statuses, statuses
        with From(server, ANOTHER) as other:
            assert other.publish(channel, "mine").status == 201


def test_bytes_have_a_pace_and_nothing_is_too_large_for_it(channel):
    with guarded(publication_bytes_per_second="10 KiB") as server, From(server) as publisher:
        assert publisher.publish(channel, b"x" * 50_000).status == 201
        answer = publisher.publish(channel, b"x")
        assert assert_problem(answer, 429)["code"] == "rate-limited"
        assert 3 <= int(answer.headers["retry-after"]) <= 5, "until all of it is paid for"


def test_a_batch_is_refused_line_by_line(channel):
    with guarded(publications_per_second=1, burst="5s") as server, From(server) as publisher:
        body = "\n".join(json.dumps({"publish": channel, "data": n, "id": n}) for n in range(7))
        results = [json.loads(line) for line in publisher.ask("POST", "/publish", body).body.splitlines()]
        assert ["position" in result for result in results] == [True] * 5 + [False] * 2
        error = results[6]["error"]
        assert (results[6]["id"], error["code"]) == (6, "rate-limited") and 0 < error["retry_ms"] <= 1001


@pytest.mark.parametrize("transport", ["tcp", "websocket", "http2"])
def test_the_native_protocol_tells_when_to_try_again(channel, transport):
    with guarded(publications_per_second=1, burst="5s") as server:
        with native_from(server, transport) as native:
            native.say(*({"publish": channel, "data": n, "id": n} for n in range(6)))
            answers = [native.hear() for _ in range(6)]
            assert all("position" in answer for answer in answers[:5]), answers
            error = answers[5]["error"]
            assert error["code"] == "rate-limited" and 0 < error["retry_ms"] <= 1001
            # One that does not wait for so long itself is not read from until then.
            native.say({"publish": channel, "data": "again", "id": 7})
            assert "position" in native.hear()
        assert fault_count(server, "rate-limited") == 1


def native_from(server, transport):
    return {"tcp": LinesFrom, "websocket": NativeFrom, "http2": NativeOverHttp2From}[transport](server)


class NativeFrom:
    """The native protocol over a WebSocket from another address."""

    def __init__(self, server):
        self.web_socket = open_web_socket_from(server, "/channels/x", "bongsu.v1.json")

    def say(self, *objects):
        self.web_socket.send(b"".join(frame(TEXT, json.dumps(one).encode()) for one in objects))

    def hear(self):
        return json.loads(self.web_socket.receive()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.web_socket.close()


class NativeOverHttp2From:
    """The same over a stream of HTTP/2."""

    def __init__(self, server):
        self.connection = http2_from(server)
        self.web_socket = self.connection.websocket("/channels/x", "bongsu.v1.json")

    def say(self, *objects):
        for one in objects:
            self.web_socket.send(json.dumps(one))

    def hear(self):
        return json.loads(self.web_socket.recv())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


def http2_from(server, source=OTHER, window=None):
    import http2_client

    usual = http2_client.reach
    http2_client.reach = lambda _server, address, **_: reach_from(source, address)
    try:
        return Http2(server, window)
    finally:
        http2_client.reach = usual


def open_web_socket_from(server, path, subprotocol=None, source=OTHER):
    opened = RawWebSocket.__new__(RawWebSocket)
    opened.socket = reach_from(source, server.address)
    opened.send(handshake(server, path, Sec_WebSocket_Protocol=subprotocol))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += opened.socket.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return opened


def test_a_plain_websocket_over_its_pace_waits_and_loses_nothing(channel):
    """Its frames are payloads, and there is no answer that could refuse one: nothing is read until there is room."""
    with guarded(publications_per_second=50, burst="100ms") as server, Ndjson(server, channel) as reader:
        reader.opened()
        publisher = open_web_socket_from(server, channel_path(channel))
        began = time.monotonic()
        publisher.send(b"".join(frame(TEXT, str(n).encode()) for n in range(40)))
        assert [reader.take().data for _ in range(40)] == [str(n) for n in range(40)]
        assert time.monotonic() - began > 0.5, "35 of them had to wait for 20 ms each"
        assert fault_count(server, "rate-limited") >= 1
        publisher.close()


def test_a_body_that_drips_is_not_waited_for(channel):
    with Server({"http": {"body_timeout": "6s"}}) as server, Raw(server) as raw:
        raw.send(f"POST {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: 100000\r\n\r\n".encode())
        began = time.monotonic()
        raw.send(b"drip")
        assert_problem(raw.answer(), 408)
        assert time.monotonic() - began < 4, "long before its whole time is over"


def test_one_that_follows_nothing_and_says_nothing_is_told_so():
    with Server({"tcp": {"idle_timeout": "300ms"}}) as server:
        with LinesFrom(server, "127.0.0.1") as silent, LinesFrom(server, "127.0.0.1") as following:
            following.say({"subscribe": "a", "id": 1})
            assert following.hear()["id"] == 1
            silent.socket.sendall(b'{"ping"')
            assert silent.hear()["bye"]["code"] == 4003
            assert silent.hear() is None
            publish(server, "a", "still here")
            assert following.hear()["data"] == "still here"


# What holds memory without being done: each a function that opens one such connection, of some hundred KiB.
def half_a_body(server):
    raw = Raw(server)
    raw.send(b"POST /channels/hoard HTTP/1.1\r\nHost: %b\r\nContent-Length: 900000\r\n\r\n" % server.address.encode() + b"x" * 300_000)
    return raw


def half_a_message(server):
    opened = RawWebSocket(server, "/channels/hoard")
    opened.send(frame(TEXT, b"x" * 300_000, fin=False))
    return opened


def half_a_line(server):
    host, port = server.tcp.rsplit(":", 1)
    opened = socket.create_connection((host, int(port)))
    opened.sendall(b'{"publish":"hoard","data":"' + b"x" * 300_000)
    return opened


@pytest.mark.parametrize("hoard", [half_a_body, half_a_message, half_a_line])
def test_past_the_bound_on_memory_those_who_hold_most_go_first(channel, hoard):
    with Server({"limits": {"in_flight_bytes_max": "2 MiB"}, "tcp": {"line_bytes_max": "1 MiB"}}) as server:
        with Native(server, channel) as modest:
            modest.opened()
            hoarders = [hoard(server) for _ in range(20)]
            eventually("the worst are closed", lambda: fault_count(server, "too-much-in-flight") > 0)
            eventually("there is room again", lambda: in_flight(server) <= 2 << 20)
            publish(server, channel, "still here")
            assert modest.take().data == "still here", "who holds nothing is not closed"
            for one in hoarders:
                one.close()
            eventually("all of it is given back", lambda: in_flight(server) < 256 << 10)


def two_pages(reader):
    """The bodies of two answers that come one behind the other."""
    came, pages = b"", []
    while len(pages) < 2:
        head, ended, rest = came.partition(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].split()[0]) if ended else 0
        if ended and len(rest) >= length:
            pages.append(json.loads(rest[:length]))
            came = rest[length:]
        else:
            came += reader.socket.recv(65536)
    return pages


def test_long_answers_are_written_as_they_are_taken(channel):
    """A page of a MB for each who asks: were it written at once, asking would be enough to fill memory."""
    with Server({"history": {"publications_max": 200}}) as server:
        for _ in range(200):
            publish(server, channel, b"x" * 5_000)
        asking = f"GET {channel_path(channel)}?earliest HTTP/1.1\r\nHost: {server.address}\r\n\r\n".encode()
        # The second request of each waits unread until the first is answered.
        readers = [Raw(server, receive_buffer=4096).send(asking + asking) for _ in range(50)]
        eventually("nobody is read from", lambda: reading_paused(server) == 50)
        assert in_flight(server) < 50 * 20_000
        # History goes on without them, and what they were promised is held for them alone: that counts.
        for _ in range(200):
            publish(server, channel, b"y" * 10)
        eventually("it counts", lambda: in_flight(server) > 50 * 500_000)
        # They get it whole, and then the other answer.
        for reader in readers[:3]:
            first, second = two_pages(reader)
            assert [len(one["data"]) for one in first["publications"]] == [5_000] * 200
            assert [len(one["data"]) for one in second["publications"]] == [10] * 200
        for reader in readers:
            reader.close()
        eventually("all of it is given back", lambda: in_flight(server) < 256 << 10)


def test_who_takes_nothing_of_an_answer_is_closed(channel):
    with Server({"delivery": {"answer_timeout": "300ms"}}) as server:
        for _ in range(20):
            publish(server, channel, b"x" * 50_000)
        asking = f"GET {channel_path(channel)}?earliest HTTP/1.1\r\nHost: {server.address}\r\n".encode()
        for headers in [b"", b"Connection: close\r\n"]:
            before = fault_count(server, "answer-not-taken")
            idle = Raw(server, receive_buffer=4096).send(asking + headers + b"\r\n")
            eventually("it is closed", lambda: fault_count(server, "answer-not-taken") > before)
            idle.close()


def test_answers_that_nobody_reads_count_too(channel):
    """What waits of an answer is a publication, which may be long, and longer than what the kernel takes of it."""
    with Server({"limits": {"in_flight_bytes_max": "1 MiB"}}) as server:
        for _ in range(5):
            publish(server, channel, b"x" * 200_000)
        asking = f"GET {channel_path(channel)}?earliest HTTP/1.1\r\nHost: {server.address}\r\n\r\n".encode()
        hoarders = [Raw(server, receive_buffer=4096).send(asking) for _ in range(60)]
        eventually("the worst are closed", lambda: fault_count(server, "too-much-in-flight") > 0)
        eventually("there is room again", lambda: in_flight(server) <= 1 << 20)
        assert get(server, channel_path(channel, last=1)).status == 200
        for raw in hoarders:
            raw.close()


def test_what_http2_holds_back_counts_too(channel):
    """Streams that a client never reads from: what they were given waits within the connection."""
    with Server({"limits": {"in_flight_bytes_max": "1 MiB"}, "delivery": {"lag_age_max": "1h"}}) as server:
        with Native(server, channel) as modest:
            modest.opened()
            hoarder = Http2(server, window=1 << 30)
            hoarder.h2.increment_flow_control_window(1 << 30)
            hoarder.flush()
            hoarder.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(60):
                stream = hoarder.request("GET", channel_path(channel), {"accept": "application/x-ndjson"})
            stream.head()
            for n in range(40):
                publish(server, channel, b"x" * 30_000)
                modest.take()
            eventually("it is closed", lambda: fault_count(server, "too-much-in-flight") > 0)
            eventually("there is room again", lambda: in_flight(server) <= 1 << 20)
            publish(server, channel, "still here")
            assert modest.take().data == "still here"
            hoarder.close()


def test_what_http2_throws_away_with_a_stream_counts_no_more(channel):
    """A stream that is reset while the connection takes nothing: what it was given is neither sent nor held."""
    with Server({"delivery": {"lag_age_max": "1h", "send_buffer_bytes": "16 KiB"}}) as server, Http2(server, window=1 << 30) as hoarder:
        hoarder.h2.increment_flow_control_window(1 << 30)
        hoarder.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(3):
            streams = [hoarder.request("GET", channel_path(channel), {"accept": "application/x-ndjson"}) for _ in range(10)]
            assert [stream.head() for stream in streams] == [200] * 10
            for _ in range(10):
                publish(server, channel, b"x" * 30_000)
            # The kernel holds some of it, and the channel's tape counts once.
            eventually("it counts", lambda: in_flight(server) > 700_000)
            for stream in streams:
                stream.cancel()
            eventually("all of it is given back", lambda: in_flight(server) < 64 << 10)
        # It goes on as if nothing had been.
        assert hoarder.request("GET", "/health").head() == 200


def test_a_gathered_body_is_told_why_it_goes():
    with Server({"limits": {"in_flight_bytes_max": "1 MiB"}}) as server:
        hoarders = [half_a_body(server) for _ in range(5)]
        eventually("the worst are closed", lambda: fault_count(server, "too-much-in-flight") > 0)
        told = []
        for one in hoarders:
            one.socket.settimeout(0.3)
            try:
                told.append(one.socket.recv(65536))
            except (TimeoutError, ConnectionResetError):
                pass
            one.close()
        refusals = [answer for answer in told if answer.startswith(b"HTTP/1.1 503")]
        assert refusals and all(b'"overloaded"' in answer and b"retry-after" in answer for answer in refusals), told


@pytest.mark.parametrize("flag", ["--http", "--tcp", "--admin"])
@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_a_server_is_closed_by_default(flag, address):
    """Without a word of the operator's it listens where this machine alone can reach it."""
    others = [part for other in ("--http", "--tcp") if other != flag for part in (other, "127.0.0.1:0")]
    ended = subprocess.run([BINARY, "serve", flag, address, *others], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2, ended
    assert "--allow-anonymous" in ended.stderr and "127.0.0.1" in ended.stderr, ended.stderr


def test_a_socket_that_is_handed_over_is_no_way_around_it():
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        # Sockets are handed over from the descriptor 3 on, and the variables name the process that they are for, which a shell can tell.
        ended = subprocess.run(
            ["sh", "-c", f'LISTEN_FDS=1 LISTEN_PID=$$ exec "{BINARY}" serve --tcp off'], close_fds=False,
            preexec_fn=lambda: os.dup2(listening.fileno(), 3), capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2 and "--allow-anonymous" in ended.stderr, ended


def test_it_opens_when_told_to():
    with Server({"access": {"allow_anonymous": True}}, "--http", "0.0.0.0:0") as server:
        server.host = "127.0.0.1"
        assert get(server, "/health").status == 200
        assert "WARNING: everything is open" in server.log()


def test_the_numbers_have_a_listener_of_their_own():
    with Server(None, "--admin", "127.0.0.1:0") as server:
        admin = server.ports["admin"]
        with From(server, "127.0.0.1", admin) as connection:
            assert b"bongsu_connections" in connection.ask("GET", "/metrics").body
            assert "version" in connection.ask("GET", "/health").json()
            assert_problem(connection.ask("GET", "/channels/a"), 404)
            assert_problem(connection.ask("GET", "/metrics", Host="foreign.example"), 421)
        assert_problem(get(server, "/metrics"), 404)
        assert get(server, "/health").json() == {"status": "ok"}


def test_the_numbers_are_to_be_had_when_all_places_are_taken():
    # One worker takes them up in the order in which they came.
    with Server({"http": {"connections_max": 3}}, "--admin", "127.0.0.1:0", "--workers", "1") as server:
        taken = [Raw(server) for _ in range(3)]
        eventually("the server is full", lambda: get(server, "/health").status == 503)
        with From(server, "127.0.0.1", server.ports["admin"]) as connection:
            assert metric(connection.ask("GET", "/metrics").body.decode(), "bongsu_faults_total", fault="too-many-connections") >= 1
        for raw in taken:
            raw.close()
