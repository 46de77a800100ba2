"""HTTP/2 by the tools at hand: curl on every route and transport, and h2load."""

import json
import re
import subprocess

import pytest

from http2_client import Http2
from http_client import channel_path, moved, publish, publish_many
from test_curl import curl

pytestmark = pytest.mark.curl


def curl2(server, *arguments):
    return curl(server, "--http2-prior-knowledge", "--include", *arguments)


def answer(server, *arguments):
    """Status, headers and body of one request."""
    done = subprocess.run(curl2(server, *arguments), capture_output=True, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first.startswith("HTTP/2 "), first
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


ROUTES = {
    "/": 200, "/health": 200, "/metrics": 200, "/channels/curl2": 200, "/channels/curl2?wait=0": 204, "/subscribe?channel=a&channel=b": 200,
    "/subscribe": 400, "/nowhere": 404, "/channels/a//b": 400,
}


@pytest.mark.parametrize("path, status", ROUTES.items())
def test_curl_reads_every_route(server, path, status):
    assert answer(server, server.http(path))[0] == status


def test_curl_publishes_and_is_refused_what_is_too_much(server, channel):
    status, _, body = answer(server, "--data-binary", "hi", server.http(channel_path(channel)))
    assert status == 201
    last = json.loads(body)["position"]
    status, _, body = answer(server, "--data-binary", json.dumps({"publish": channel, "data": "two"}), server.http("/publish"))
    assert (status, json.loads(body)["position"]) == (200, moved(last, 1))
    too_much = subprocess.run(
        curl2(server, "--data-binary", "@-", server.http(channel_path(channel))), input=b"x" * 3_000_000, capture_output=True, check=True)
    assert too_much.stdout.startswith(b"HTTP/2 413"), too_much.stdout


@pytest.mark.parametrize("accept", ["application/x-ndjson", "multipart/mixed", "text/event-stream"])
def test_curl_follows_a_stream(server, channel, accept):
    publish_many(server, channel, [f"number {n}" for n in range(10)])
    process = subprocess.Popen(
        curl2(server, "--header", f"Accept: {accept}", server.http(channel_path(channel, earliest=""))), stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline().startswith(b"HTTP/2 200")
        publish(server, channel, "the last")
        seen = b""
        while b"the last" not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        assert [int(n) for n in re.findall(rb"number (\d)", seen)] == list(range(10))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_curl_waits_for_what_comes(server, channel):
    last = publish(server, channel, "a")
    process = subprocess.Popen(curl2(server, server.http(channel_path(channel, after=last, wait=20))), stdout=subprocess.PIPE)
    try:
        publish(server, channel, "b")
        told = process.stdout.read()
        assert told.startswith(b"HTTP/2 200") and b'"data":"b"' in told
    finally:
        process.wait()
        process.stdout.close()


def curl_reuses():
    """curl before 8.0 cannot use such a connection again, whoever serves it: it says "Error in the HTTP2 framing layer", and sends nothing."""
    told = subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout
    return int(re.match(rb"curl (\d+)", told)[1]) >= 8


@pytest.mark.skipif(not curl_reuses(), reason="this curl cannot use a connection with prior knowledge again")
def test_curl_uses_a_connection_again(server):
    done = subprocess.run(
        curl2(server, "--write-out", "%{num_connects}\n", server.http("/health"), server.http("/health")), capture_output=True, check=True)
    assert re.findall(rb"(\d)\n(?:HTTP|$)", done.stdout) == [b"1", b"0"], done.stdout


def test_others_use_a_connection_again(server):
    """One request after the answer to the other, on one connection."""
    done = subprocess.run(
        ["h2load", "--requests=20", "--clients=1", "--max-concurrent-streams=1", "--connection-active-timeout=60", server.http("/health")],
        capture_output=True, check=True, timeout=120)
    assert "20 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout.decode(), done.stdout
    with Http2(server) as connection:
        for _ in range(3):
            stream = connection.request("GET", "/health")
            assert (stream.head(), bool(stream.read()), connection.goaway) == (200, True, None)


@pytest.mark.parametrize("path", ["/health", "/channels/loaded", "/metrics", "/nowhere"])
def test_h2load_loses_no_request(server, path):
    publish(server, "loaded", "x" * 1000)
    command = ["h2load", "--requests=3000", "--clients=10", "--max-concurrent-streams=100", "--connection-active-timeout=60"]
    done = subprocess.run([*command, server.http(path)], capture_output=True, check=True, timeout=120)
    told = done.stdout.decode()
    assert "3000 done" in told and " 0 errored, 0 timeout" in told, told
    with Http2(server) as connection:
        assert connection.request("GET", "/health").head() == 200
