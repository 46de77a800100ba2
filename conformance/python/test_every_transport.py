"""One channel, eight strangers' subscribers at once, publishers over four transports: one order, and nothing lost."""

import json
import queue
import subprocess
import threading

import pytest
import stomp

import publishers
from harness import PATIENCE, REPOSITORY, Server
from http_client import moved, publish
from subscribers import Native, record_of
from test_curl import curl_polls, curl_stream

try:
    from udp_client import Follower
except ImportError:
    Follower = None

pytestmark = pytest.mark.curl

EACH = 2_500
ALL = 4 * EACH
# What is not a stream asks so seldom that the forks of curl cost little.
PAUSE_SECONDS = 0.25


def nc(server, channel, cursor):
    """Asks, and ends its own half: it still receives."""
    host, port = server.tcp.rsplit(":", 1)
    process = subprocess.Popen(["nc", "-N", host, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdin.write(json.dumps({"subscribe": channel, "after": cursor, "id": 1}).encode() + b"\n")
        process.stdin.close()
        assert json.loads(process.stdout.readline())["cursor"] == cursor
        return [taken(record_of(json.loads(process.stdout.readline()))) for _ in range(ALL)]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def udp(server, channel, cursor):
    """Puts what is overtaken into order and asks again for what is lost."""
    follower = Follower(server.udp, channel, {"after": cursor})
    received = []
    while len(received) < ALL:
        kind, told = follower.next()
        assert kind in ("cursor", "publication"), told
        received += [(told["position"], told["data"])] if kind == "publication" else []
    return received


def stomp_py(server, channel, cursor):
    host, port = server.stomp.rsplit(":", 1)
    connection, told = stomp.StompConnection12([(host, int(port))], heartbeats=(0, 0)), queue.Queue()
    listener = stomp.ConnectionListener()
    listener.on_message = lambda frame: told.put((frame.headers["position"], frame.body))
    listener.on_error = lambda frame: told.put(AssertionError(str(frame.headers)))
    connection.set_listener("", listener)
    connection.connect(wait=True)
    connection.subscribe(f"/topic/{channel}", id="1", headers={"after": cursor})
    received = [told.get(timeout=PATIENCE * 2) for _ in range(ALL)]
    connection.disconnect()
    return received


def stompjs(server, channel, cursor):
    """A line for each message, by a program of its own."""
    words = ["node", "stomp_subscriber.mjs", server.ws("/stomp"), channel, cursor, str(ALL)]
    done = subprocess.run(words, cwd=REPOSITORY / "conformance/node", capture_output=True, timeout=PATIENCE * 5)
    assert done.returncode == 0, done.stderr.decode()
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def native_websocket(server, channel, cursor):
    with Native(server, channel, after=cursor) as subscriber:
        assert subscriber.opened() == cursor
        return [taken(subscriber.take()) for _ in range(ALL)]


def taken(record):
    assert record.kind == "publication", record
    return record.position, record.data


def polling(wait):
    return lambda *asked: [taken(record) for record in curl_polls(*asked, wait=wait, count=ALL, pause=PAUSE_SECONDS)]


SUBSCRIBERS = {
    "nc": nc,
    "stomp.py over TCP": stomp_py,
    "stompjs over WebSocket": stompjs,
    "curl polling": polling(None),
    "curl long-polling": polling(5),
    "curl SSE": lambda *asked: [taken(record) for record in curl_stream(*asked, "text/event-stream", count=ALL)],
    "native WebSocket": native_websocket,
    **({"Python UDP": udp} if Follower else {}),
}

PUBLISHERS = {"http": publishers.http, "native": publishers.native, "tcp": publishers.tcp, "stomp": publishers.stomp_py}


def test_all_subscribers_receive_the_same_of_publishers_over_four_transports(channel):
    roomy = {"history": {"publications_max": 2 * ALL}, "delivery": {"lag_age_max": "2m"}}
    with Server(roomy) as server:
        cursor = publish(server, channel, "the first")
        received, faults = {}, []

        def subscribe(name, how):
            try:
                received[name] = how(server, channel, cursor)
            except BaseException as fault:  # noqa: BLE001 - it is raised again by the test's own thread
                faults.append((name, fault))

        threads = [threading.Thread(target=subscribe, args=asked, daemon=True) for asked in SUBSCRIBERS.items()]
        for thread in threads:
            thread.start()
        with publishers.Publishers(server, channel, EACH, PUBLISHERS) as published:
            pass
        for thread in threads:
            thread.join(PATIENCE * 5)
        for name, fault in faults:
            raise AssertionError(name) from fault
        assert received.keys() == SUBSCRIBERS.keys(), "some subscriber never had them all"

        published.check_complete([data for _, data in received["native WebSocket"]])
        expected = [(moved(cursor, n), data) for n, (_, data) in enumerate(received["native WebSocket"], 1)]
        for name, told in received.items():
            assert told == expected, name
