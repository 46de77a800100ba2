"""The native protocol over a raw TCP socket, as Python's `socket` and a person with `nc` speak it."""

import json
import socket
import struct
import subprocess
import threading

import pytest

from harness import PATIENCE, Server, eventually, metric
from http_client import get, offset_of, publish
from subscribers import Native


@pytest.fixture
def line_of(server):
    """A connection, as two functions: say a line, and read one."""
    host, port = server.tcp.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection, connection.makefile("rb") as lines:
        def say(line):
            connection.sendall(line if isinstance(line, bytes) else line.encode() + b"\n")

        def hear():
            return json.loads(lines.readline())

        yield say, hear, connection, lines


def test_a_conversation(line_of, channel):
    say, hear, *_ = line_of
    say(json.dumps({"subscribe": channel, "id": "s"}))
    assert hear()["id"] == "s"
    say(json.dumps({"publish": channel, "data": {"a": 1}, "id": 2}))
    position = hear()["position"]
    told = hear()
    assert (told["position"], told["data"]) == (position, {"a": 1})
    say('{"ping":"x"}')
    assert hear() == {"pong": "x"}
    say(json.dumps({"unsubscribe": channel, "id": 3}))
    assert hear() == {"id": 3}


def test_a_bare_line_is_answered_with_an_example(line_of):
    say, hear, *_ = line_of
    say("hello?")
    error = hear()["error"]
    assert error["code"] == "not-json" and '{"publish":' in error["message"]
    say('{"ping":1}')
    assert hear() == {"pong": 1}, "the connection goes on"


def test_lines_come_in_any_pieces(line_of):
    say, hear, *_ = line_of
    for byte in b'{"ping":1}\r\n\n{"ping":2}\n':
        say(bytes([byte]))
    assert [hear(), hear()] == [{"pong": 1}, {"pong": 2}]


def test_one_that_has_finished_sending_still_receives(server, line_of, channel):
    say, hear, connection, _ = line_of
    say(json.dumps({"subscribe": channel, "id": 1}))
    hear()
    connection.shutdown(socket.SHUT_WR)
    publish(server, channel, "after")
    assert hear()["data"] == "after"


def test_one_that_only_asked_is_answered_and_closed(line_of):
    say, hear, connection, lines = line_of
    say('{"ping":1}')
    connection.shutdown(socket.SHUT_WR)
    assert hear() == {"pong": 1}
    assert lines.readline() == b"", "the other half is closed too"


def test_a_line_over_the_limit_is_refused(line_of):
    say, hear, _, lines = line_of
    say(b"x" * (2 * 1024 * 1024 + 1))
    assert hear()["error"]["code"] == "line-too-long"
    assert hear()["bye"]["code"] == 1009
    assert lines.readline() == b""


def test_a_line_with_nul(line_of):
    say, hear, *_ = line_of
    say(b'{"ping":1}\0\n')
    assert hear()["error"]["code"] == "not-json"


def test_a_person_with_nc(server, channel):
    host, port = server.tcp.rsplit(":", 1)
    words = json.dumps({"publish": channel, "data": "by hand", "id": 1}) + "\n"
    nc = subprocess.run(["nc", "-N", host, port], input=words.encode(), capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(nc.stdout)["id"] == 1


def ends(connection):
    """Both ports: this end's alone may have been that of another connection, which is not forgotten yet."""
    return connection.getsockname()[1], connection.getpeername()[1]


def states(of):
    """The states of this end's socket as the kernel tells them, by the numbers of RFC 9293's diagram in Linux."""
    here, there = of
    found = []
    for line in open("/proc/net/tcp"):
        fields = line.split()
        if fields[1].endswith(f":{here:04X}") and fields[2].endswith(f":{there:04X}"):
            found.append(int(fields[3], 16))
    return found


FIN_WAIT2, TIME_WAIT, CLOSE_WAIT = 5, 6, 8


def test_the_client_closes_first_and_the_close_is_clean(server, line_of, channel):
    say, hear, connection, lines = line_of
    of = ends(connection)
    say(json.dumps({"subscribe": channel, "id": 1}))
    hear()
    connection.shutdown(socket.SHUT_WR)
    # FIN, ACK: the server has taken note, and its own half stays open while something is followed.
    eventually("our FIN is acknowledged", lambda: states(of) == [FIN_WAIT2])
    publish(server, channel, "after")
    assert hear()["data"] == "after"
    assert states(of) == [FIN_WAIT2]


def test_a_close_is_four_segments_and_no_reset(line_of):
    say, hear, connection, lines = line_of
    of = ends(connection)
    say('{"ping":1}')
    hear()
    connection.shutdown(socket.SHUT_WR)
    assert lines.read() == b"", "a FIN and no reset"
    # FIN, ACK, FIN, ACK: whoever closes first waits for what is late, and a reset would have left nothing.
    assert states(of) == [TIME_WAIT]


def test_the_server_closes_first_and_the_close_is_clean(server, channel):
    with Server({"shutdown": {"timeout": "10s"}}) as own:
        host, port = own.tcp.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection, connection.makefile("rb") as lines:
            of = ends(connection)
            connection.sendall(json.dumps({"subscribe": channel, "id": 1}).encode() + b"\n")
            lines.readline()
            own.terminate()
            assert json.loads(lines.readline())["bye"]["code"] == 1001
            assert lines.readline() == b""
            assert states(of) == [CLOSE_WAIT], "its half is closed, ours is not"
            # What we still say is passed over, not answered with a reset.
            connection.sendall(b'{"ping":1}\n')
        assert own.wait() == 0


def test_what_stands_behind_the_last_line_end_is_a_line_when_the_client_ends(line_of):
    say, hear, connection, lines = line_of
    connection.sendall(b'{"ping":1}\n{"ping":"forgotten line end"}')
    connection.shutdown(socket.SHUT_WR)
    assert [hear(), hear()] == [{"pong": 1}, {"pong": "forgotten line end"}]
    assert lines.readline() == b""


def test_one_that_was_cut_off_in_a_line_is_told_and_nothing_is_published(server, line_of, channel):
    say, hear, connection, lines = line_of
    connection.sendall(json.dumps({"publish": channel, "data": "whole"}).encode()[:-4])
    connection.shutdown(socket.SHUT_WR)
    assert hear()["error"]["code"] == "not-json"
    assert lines.readline() == b""
    assert get(server, "/channels/" + channel).json()["publications"] == []


def test_one_that_has_finished_sending_gets_all_its_answers_at_its_own_pace(line_of, channel):
    say, hear, connection, lines = line_of
    command = json.dumps({"publish": channel, "data": "x", "id": "i" * 200}).encode() + b"\n"
    count = 4_000
    sending = threading.Thread(target=lambda: (connection.sendall(command * count), connection.shutdown(socket.SHUT_WR)))
    sending.start()
    positions = [hear()["position"] for _ in range(count)]
    sending.join()
    assert [offset_of(position) for position in positions] == list(range(1, count + 1))
    assert lines.readline() == b""


def test_a_publisher_that_takes_no_answers_is_not_read_from_and_the_metrics_say_so(server, line_of, channel):
    say, hear, connection, lines = line_of
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    paused = lambda: metric(get(server, "/metrics").body.decode(), "bongsu_reading_paused", transport="tcp")
    pauses = lambda: metric(get(server, "/metrics").body.decode(), "bongsu_reading_pauses_total", transport="tcp")
    before = pauses()
    assert paused() == 0
    command = json.dumps({"publish": channel, "data": "x", "id": "i" * 200}).encode() + b"\n"
    connection.setblocking(False)
    sent = 0

    def send():
        nonlocal sent
        try:
            while True:
                sent += connection.send((command * 64)[sent % len(command):])
        except BlockingIOError:
            return paused() == 1

    eventually("its reading is paused", send)
    assert pauses() > before
    connection.settimeout(PATIENCE)
    ending = threading.Thread(target=lambda: (connection.sendall(command[sent % len(command):]), connection.shutdown(socket.SHUT_WR)))
    ending.start()
    answers = lines.read().splitlines()
    ending.join()
    assert len(answers) == sent // len(command) + 1
    assert [offset_of(json.loads(answer)["position"]) for answer in answers] == list(range(1, len(answers) + 1))
    eventually("it is read from again", lambda: paused() == 0)


def test_one_that_vanishes_after_it_has_finished_sending_is_noticed(server, line_of, channel):
    say, hear, connection, _ = line_of
    held = lambda: metric(get(server, "/metrics").body.decode(), "bongsu_connections", transport="tcp")
    others = held()
    say(json.dumps({"subscribe": channel, "id": 1}))
    hear()
    connection.shutdown(socket.SHUT_WR)
    eventually("our FIN is acknowledged", lambda: states(ends(connection)) == [FIN_WAIT2])
    # Closing without lingering resets.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _.close()
    connection.close()
    eventually("the reset is noticed although nothing is read or written", lambda: held() < others)


def test_a_page_on_the_web_cannot_post_commands(server, line_of, channel):
    say, hear, connection, lines = line_of
    body = json.dumps({"publish": channel, "data": "smuggled"}) + "\n"
    say(f"POST / HTTP/1.1\r\nHost: {server.tcp}\r\nOrigin: https://foreign.example\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    assert hear()["error"]["code"] == "http-on-tcp"
    assert hear()["bye"]["reconnect_ms"] is None
    assert lines.readline() == b""
    assert get(server, "/channels/" + channel).json()["publications"] == []


@pytest.fixture(scope="module")
def pinging():
    with Server({"tcp": {"ping_every_min": "50ms", "ping_timeout": "300ms"}}) as running:
        yield running


def conversation(server):
    host, port = server.tcp.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    lines = connection.makefile("rb")
    return lambda line: connection.sendall(line.encode() + b"\n"), lambda: json.loads(lines.readline()), connection, lines


def test_one_that_asks_for_pings_and_does_not_answer_is_let_go(pinging):
    say, hear, connection, lines = conversation(pinging)
    say('{"ping":"p","every_ms":50}')
    assert hear() == {"pong": "p", "every_ms": 50}
    assert hear() == {"ping": 1}
    assert hear()["bye"]["code"] == 4002
    assert lines.readline() == b""
    lines.close()
    connection.close()


def test_one_that_answers_stays(pinging, channel):
    say, hear, connection, lines = conversation(pinging)
    say('{"ping":null,"every_ms":50}')
    assert hear() == {"pong": None, "every_ms": 50}
    for number in range(1, 6):
        assert hear() == {"ping": number}
        say(json.dumps({"pong": number} if number % 2 else {"subscribe": f"{channel}/{number}", "id": number}))
        if number % 2 == 0:
            assert hear()["id"] == number
    say('{"ping":"enough","every_ms":0}')
    while (told := hear()) != {"pong": "enough", "every_ms": 0}:
        assert "ping" in told
    say('{"ping":2}')
    assert hear() == {"pong": 2}
    lines.close()
    connection.close()


@pytest.mark.parametrize(("line", "code"), [
    ('{"ping":1,"every_ms":1}', "ping-too-often"),
    ('{"ping":1,"every_ms":"1s"}', "invalid-ping"),
    ('{"ping":1,"every_ms":-5}', "invalid-ping"),
    ('{"ping":1,"every_ms":86400001}', "invalid-ping"),
    ('{"pong":1,"every_ms":50}', "unknown-field"),
])
def test_pings_that_cannot_be_agreed_on(line_of, line, code):
    say, hear, *_ = line_of
    say(line)
    assert hear()["error"]["code"] == code
    say('{"pong":1}')
    say('{"ping":1}')
    assert hear() == {"pong": 1}, "a pong that nobody asked for has no answer"


def test_a_websocket_is_pinged_by_its_own_frames(server, channel):
    with Native(server, channel) as native:
        native.opened()
        native.tell({"ping": 1, "every_ms": 10_000})
        assert native.next_told()["error"]["code"] == "ping-not-here"
