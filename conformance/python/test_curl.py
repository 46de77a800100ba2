"""curl as a subscriber of every kind, and six subscribers at once that must agree on everything."""

import json
import subprocess
import threading
import time

import pytest

from harness import PATIENCE
from http_client import channel_path, epoch_of, get, moved, offset_of, publish
from publishers import Publishers
from subscribers import Plain, multipart_records, ndjson_records, record_of, sse_records

pytestmark = pytest.mark.curl

EACH = 1_000
ALL = 4 * EACH


def curl(server, *arguments):
    way = ["--proxytunnel", "--suppress-connect-headers", "--proxy", "http://{}:{}".format(*server.tunnel)] if server.tunnel else ["--noproxy", "*"]
    return ["curl", "--silent", "--show-error", "--no-buffer", *way, "--max-time", "90", *arguments]


def curl_polls(server, channel, cursor, wait, count=ALL, pause=0):
    """Asks with the cursor of the last answer until all are there."""
    received = []
    while len(received) < count:
        time.sleep(pause)
        query = {"after": cursor, **({"wait": wait} if wait else {})}
        done = subprocess.run(
            curl(server, "--fail", "--write-out", "%{stderr}%header{bongsu-cursor}", server.http(channel_path(channel, **query))),
            capture_output=True, timeout=90, check=True)
        cursor = done.stderr.decode().strip()
        page = json.loads(done.stdout) if done.stdout else {"publications": []}
        assert "gap" not in page
        received += [record_of(entry) for entry in page["publications"]]
    return received


def curl_stream(server, channel, cursor, accept, count=ALL):
    """Reads one answer that does not end."""
    process = subprocess.Popen(
        curl(server, "--include", "--header", f"Accept: {accept}", server.http(channel_path(channel, after=cursor))), stdout=subprocess.PIPE)
    try:
        headers = {}
        assert b" 200" in process.stdout.readline()
        while line := process.stdout.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if accept == "multipart/mixed":
            records = multipart_records(process.stdout, headers["content-type"])
        else:
            records = (sse_records if accept == "text/event-stream" else ndjson_records)(process.stdout)
        received = []
        while len(received) < count:
            record = next(records)
            assert record.kind in ("publication", "cursor"), record
            received += [record] if record.kind == "publication" else []
        return received
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def plain_websocket(server, channel, cursor):
    with Plain(server, channel, after=cursor) as subscriber:
        return [subscriber.take() for _ in range(ALL)]


SUBSCRIBERS = {
    "curl polling": lambda *asked: curl_polls(*asked, wait=None),
    "curl long-polling": lambda *asked: curl_polls(*asked, wait=5),
    "curl NDJSON": lambda *asked: curl_stream(*asked, "application/x-ndjson"),
    "curl multipart": lambda *asked: curl_stream(*asked, "multipart/mixed"),
    "curl SSE": lambda *asked: curl_stream(*asked, "text/event-stream"),
    "Python websockets": plain_websocket,
}


def test_six_subscribers_receive_the_same_of_four_publishers(server, channel):
    cursor = publish(server, channel, "the first")
    received, faults = {}, []

    def subscribe(name, how):
        try:
            received[name] = how(server, channel, cursor)
        except BaseException as fault:  # noqa: BLE001 - it is raised again by the test's own thread
            faults.append(fault)

    threads = [threading.Thread(target=subscribe, args=asked, daemon=True) for asked in SUBSCRIBERS.items()]
    for thread in threads:
        thread.start()
    with Publishers(server, channel, EACH) as publishers:
        pass
    for thread in threads:
        thread.join(PATIENCE * 3)
    if faults:
        raise faults[0]
    assert received.keys() == SUBSCRIBERS.keys(), "some subscriber never had them all"

    expected = [moved(cursor, n) for n in range(1, ALL + 1)]
    order = [record.data for record in received["curl NDJSON"]]
    publishers.check_complete(order)
    for name, records in received.items():
        assert [record.data for record in records] == order, name
        if name != "Python websockets":
            assert [record.position for record in records] == expected, name


def test_curl_publishes_what_it_is_given(server, channel):
    done = subprocess.run(curl(server, "--fail-with-body", "--data-binary", "@-", server.http(channel_path(channel))), input=b"hi\n", capture_output=True, check=True)
    position = json.loads(done.stdout)["position"]
    assert (epoch_of(position) != "", offset_of(position)) == (True, 1)
    # What `--data-binary` says of its own accord is a form; the payload is the body as it is.
    assert get(server, channel_path(channel)).json()["publications"][0]["data"] == "hi\n"


def test_curl_sees_a_gap_on_every_transport(forgetful, channel):
    last = ""
    for n in range(150):
        last = publish(forgetful, channel, str(n))
    address = forgetful.http(channel_path(channel, after=f"{epoch_of(last)}-1"))
    polled = subprocess.run(curl(forgetful, address), capture_output=True, check=True)
    assert json.loads(polled.stdout)["gap"]["reason"] == "trimmed"
    for accept in ["application/x-ndjson", "multipart/mixed", "text/event-stream"]:
        process = subprocess.Popen(curl(forgetful, "--header", f"Accept: {accept}", address), stdout=subprocess.PIPE)
        seen = b""
        while b'"trimmed"' not in seen:
            line = process.stdout.readline()
            assert line, (accept, seen)
            seen += line
        process.terminate()
        process.wait()
        process.stdout.close()
        assert b"gap" in seen.lower()
