"""The native protocol over a raw TCP socket, as Python's `socket` and a person with `nc` speak it."""

import json
import socket
import subprocess

import pytest

from harness import PATIENCE
from http_client import publish


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
