"""STOMP by a stranger's client, `stomp.py`, over TCP and over WebSocket."""

import queue

import pytest
import stomp

from harness import PATIENCE
from http_client import publish, publish_many


class Inbox(stomp.ConnectionListener):
    """What a connection was told, to be taken one after the other."""

    def __init__(self):
        self.messages, self.receipts, self.errors, self.ends = (queue.Queue() for _ in range(4))

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame)

    def on_error(self, frame):
        self.errors.put(frame)

    def on_disconnected(self):
        self.ends.put(True)

    def take(self, count):
        return [self.messages.get(timeout=PATIENCE).body for _ in range(count)]


def over_tcp(version):
    def connect(server, **options):
        kinds = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}
        host, port = server.stomp.rsplit(":", 1)
        if version != "1.0":
            options = {"heartbeats": (0, 0)} | options
        return kinds[version]([(host, int(port))], **options)

    return connect


def over_websocket(server, **options):
    return stomp.WSStompConnection([(server.host, server.port)], ws_path="/stomp", header=["Sec-WebSocket-Protocol: v12.stomp, v11.stomp"], **options)


CONNECTIONS = {"1.0": over_tcp("1.0"), "1.1": over_tcp("1.1"), "1.2": over_tcp("1.2"), "websocket": over_websocket}


@pytest.fixture(params=CONNECTIONS)
def client(request, server):
    """A connected client, with its inbox."""
    connection, inbox = CONNECTIONS[request.param](server), Inbox()
    connection.set_listener("", inbox)
    connection.connect(wait=True)
    yield connection, inbox
    if inbox.ends.empty():
        connection.disconnect()


def test_what_it_sends_it_receives_in_order(client, channel):
    connection, inbox = client
    connection.subscribe(f"/topic/{channel}", id="1", headers={"receipt": "r"})
    assert inbox.receipts.get(timeout=PATIENCE).headers["receipt-id"] == "r"
    for n in range(100):
        connection.send(f"/topic/{channel}", f"message {n}: 봉수")
    assert inbox.take(100) == [f"message {n}: 봉수" for n in range(100)]


def test_it_receives_what_others_publish_with_positions_and_resumes_by_them(client, server, channel):
    connection, inbox = client
    positions = publish_many(server, channel, ["1", "2", "3"])
    connection.subscribe(f"/topic/{channel}", id="1", headers={"after": positions[0]})
    told = [inbox.messages.get(timeout=PATIENCE) for _ in range(2)]
    assert [frame.headers["position"] for frame in told] == positions[1:]
    assert [frame.body for frame in told] == ["2", "3"]


def test_a_gap_is_a_message_with_a_header(client, server, channel):
    connection, inbox = client
    publish(server, channel, "only")
    connection.subscribe(f"/topic/{channel}", id="1", headers={"after": "strangersEpoch-7"})
    assert inbox.messages.get(timeout=PATIENCE).headers["gap"] == "epoch"
    assert inbox.take(1) == ["only"]


def test_a_committed_transaction_arrives_and_an_aborted_one_does_not(client, channel):
    connection, inbox = client
    connection.subscribe(f"/topic/{channel}", id="1")
    for end in connection.abort, connection.commit:
        transaction = connection.begin()
        for n in range(3):
            connection.send(f"/topic/{channel}", f"{end.__name__} {n}", transaction=transaction)
        end(transaction)
    assert inbox.take(3) == ["commit 0", "commit 1", "commit 2"]


def test_acknowledging_opens_the_window(server, channel):
    connection, inbox = over_tcp("1.2")(server), Inbox()
    connection.set_listener("", inbox)
    connection.connect(wait=True)
    connection.subscribe(f"/topic/{channel}", id="1", ack="client-individual", headers={"prefetch-count": "2"})
    publish_many(server, channel, [str(n) for n in range(10)])
    for n in range(10):
        frame = inbox.messages.get(timeout=PATIENCE)
        assert frame.body == str(n)
        connection.ack(frame.headers["ack"])
    connection.disconnect()


def test_heart_beats_keep_it_connected(server, channel):
    connection, inbox = over_tcp("1.2")(server, heartbeats=(1000, 1000)), Inbox()
    connection.set_listener("", inbox)
    connection.connect(wait=True)
    with pytest.raises(queue.Empty):
        # Longer than this client bears a server's silence.
        inbox.ends.get(timeout=3.5)
    connection.subscribe(f"/topic/{channel}", id="1")
    connection.send(f"/topic/{channel}", "alive")
    assert inbox.take(1) == ["alive"]
    connection.disconnect()


def test_an_error_is_told(client, channel):
    connection, inbox = client
    connection.send("no slash", "x")
    assert inbox.errors.get(timeout=PATIENCE).headers["code"] == "invalid-destination"
    assert inbox.ends.get(timeout=PATIENCE), "and the connection has ended"
    inbox.ends.put(True)
