"""Queues over STOMP: each message goes to one consumer, and what one does not answer for goes to another. Consumers are `stomp.py`,
processes that are killed, and raw sockets that stop reading."""

import itertools
import os
import signal
import subprocess
import sys

import pytest
import stomp

from harness import PATIENCE, Server, as_toml, eventually, metric
from http_client import get
from raw_stomp import Stomp
from test_stomp_clients import CONNECTIONS, Inbox

_numbers = itertools.count(1)

# A consumer of its own process, which tells what it has in hand and never answers for it.
HOLDER = """
import sys, stomp, time
class Told(stomp.ConnectionListener):
    def on_message(self, frame):
        print(frame.headers["message-id"], flush=True)
host, port, queue, window = sys.argv[1:]
connection = stomp.StompConnection12([(host, int(port))], heartbeats=(0, 0))
connection.set_listener("", Told())
connection.connect(wait=True)
connection.subscribe(queue, id="1", ack="client-individual", headers={"prefetch-count": window})
time.sleep(%d)
""" % (3 * PATIENCE)


@pytest.fixture
def queue():
    """A queue that no other test uses."""
    return f"/queue/conformance/{next(_numbers)}"


@pytest.fixture(scope="module")
def two_workers():
    """A server on which consumers are on different workers, and what fails dies at the third time."""
    with Server({"queues": {"tries_max": 3, "messages_max": 500}}, "--workers", "2") as running:
        yield running


def fill(server, queue, count, first=0):
    """Sends so many numbered messages, and returns when the queue has them."""
    with Stomp(server) as sender:
        for n in range(first, first + count - 1):
            sender.say("SEND", str(n), destination=queue)
        sender.ask("SEND", str(first + count - 1), destination=queue)


def hear(client, count):
    """The next messages; nothing else may come between them."""
    heard = [client.hear() for _ in range(count)]
    assert all(frame and frame.command == "MESSAGE" for frame in heard), heard
    return heard


def bodies(frames):
    return [int(frame.body) for frame in frames]


def metrics(server):
    return get(server, "/metrics").body.decode()


def hold(server, queue, window):
    """A process that has so many messages of a queue in hand."""
    command = [sys.executable, "-c", HOLDER, *server.stomp.rsplit(":", 1), queue, str(window)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return holder, [holder.stdout.readline().strip() for _ in range(window)]


@pytest.mark.parametrize("kind", ["1.1", "1.2", "websocket"])
def test_a_killed_consumers_fifty_messages_go_to_another_in_order_marked_redelivered(two_workers, queue, kind):
    fill(two_workers, queue, 60)
    holder, held = hold(two_workers, queue, 50)
    assert len(set(held)) == 50
    # Another takes those that are left, so that what comes next can only be what the killed one had.
    connection, inbox = CONNECTIONS[kind](two_workers), Inbox()
    connection.set_listener("", inbox)
    connection.connect(wait=True)
    connection.subscribe(queue, id="1", ack="client-individual", headers={"prefetch-count": "100"})
    rest = [inbox.messages.get(timeout=PATIENCE) for _ in range(10)]
    assert [frame.body for frame in rest] == [str(n) for n in range(50, 60)]
    assert not any("redelivered" in frame.headers for frame in rest)
    holder.send_signal(signal.SIGKILL)
    holder.wait(PATIENCE)
    again = [inbox.messages.get(timeout=PATIENCE) for _ in range(50)]
    assert [frame.headers["message-id"] for frame in again] == held, "exactly those, in their order"
    assert [frame.body for frame in again] == [str(n) for n in range(50)]
    assert {(frame.headers["redelivered"], frame.headers["delivery-count"]) for frame in again} == {("true", "2")}
    for frame in rest + again:
        acked = frame.headers.get("ack") or frame.headers["message-id"]
        connection.ack(acked, "1") if kind == "1.1" else connection.ack(acked)
    connection.send(queue, "end", headers={"receipt": "end"})
    assert inbox.messages.get(timeout=PATIENCE).body == "end"
    connection.disconnect()


def test_two_consumers_share_fairly_and_nothing_goes_to_both(two_workers, queue):
    with Stomp(two_workers) as one, Stomp(two_workers, over="websocket") as other:
        for consumer in one, other:
            consumer.ask("SUBSCRIBE", id="s", destination=queue, ack="client", prefetch_count=200)
        fill(two_workers, queue, 100)
        shares = [bodies(hear(consumer, 50)) for consumer in (one, other)]
    assert sorted(shares[0] + shares[1]) == list(range(100))
    assert [share == sorted(share) for share in shares] == [True, True]
    assert {second - first for share in shares for first, second in zip(share, share[1:])} == {2}, "they take turns"


def test_a_window_holds_back_and_each_answer_brings_one_more(server, queue):
    fill(server, queue, 10)
    with Stomp(server) as consumer:
        consumer.ask("SUBSCRIBE", id="s", destination=queue, ack="client-individual", prefetch_count=3)
        seen = hear(consumer, 3)
        for n in range(7):
            consumer.ask("ACK", id=seen[n]["ack"])
            seen += hear(consumer, 1)
        assert bodies(seen) == list(range(10))


def test_what_is_refused_comes_back_at_once_and_dies_after_its_tries(two_workers, queue):
    fill(two_workers, queue, 2)
    with Stomp(two_workers) as consumer:
        consumer.say("SUBSCRIBE", id="s", destination=queue, ack="client-individual", prefetch_count=1)
        for count in 1, 2, 3:
            [frame] = hear(consumer, 1)
            assert (frame.body, frame["delivery-count"], frame.headers.get("redelivered")) == (b"0", str(count), "true" if count > 1 else None)
            consumer.say("NACK", id=frame["ack"])
        [frame] = hear(consumer, 1)
        assert frame.body == b"1"
        consumer.say("NACK", id=frame["ack"], requeue="false")
        consumer.say("SUBSCRIBE", id="d", destination="/queue/$dead/" + queue.removeprefix("/queue/"), ack="client")
        dead = hear(consumer, 2)
    assert [(frame.body, frame["dead-from"], frame["dead-reason"], frame["dead-tries"]) for frame in dead] == [
        (b"0", queue, "tries", "3"),
        (b"1", queue, "rejected", "1"),
    ]


def test_who_leaves_in_good_order_fails_nothing(two_workers, queue):
    fill(two_workers, queue, 1)
    for count in range(1, 6):
        with Stomp(two_workers) as consumer:
            consumer.say("SUBSCRIBE", id="s", destination=queue, ack="client")
            assert hear(consumer, 1)[0]["delivery-count"] == str(count)
            if count % 2:
                consumer.ask("UNSUBSCRIBE", id="s")
            consumer.ask("DISCONNECT")


def test_what_is_too_old_dies(queue):
    with Server({"queues": {"age_max": "1s"}}) as brief:
        fill(brief, queue, 1)
        with Stomp(brief) as consumer:
            consumer.say("SUBSCRIBE", id="d", destination="/queue/$dead/" + queue.removeprefix("/queue/"))
            [frame] = hear(consumer, 1)
            assert (frame.body, frame["dead-reason"], frame["dead-tries"]) == (b"0", "expired", "0")


def test_a_full_queue_refuses_and_keeps_what_it_has(two_workers, queue):
    fill(two_workers, queue, 500)
    with Stomp(two_workers) as sender:
        sender.say("SEND", "one too many", destination=queue, receipt="r")
        error = sender.hear()
        assert (error.command, error["code"], error["receipt-id"]) == ("ERROR", "queue-full", "r")
        assert sender.hear() is None
    with Stomp(two_workers) as consumer:
        consumer.say("SUBSCRIBE", id="s", destination=queue)
        assert bodies(hear(consumer, 500)) == list(range(500))
    assert metric(metrics(two_workers), "bongsu_faults_total", fault="queue-full") == 1


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("frame, code", [
    (("SEND", {"destination": "/queue/$dead/x"}), "reserved-queue"),
    (("SEND", {"destination": "/queue/a", "idempotency-key": "k"}), "idempotency-key-to-queue"),
    (("SUBSCRIBE", {"id": "s", "destination": "/queue/a", "earliest": "true"}), "start-of-queue"),
    (("SEND", {"destination": "/queue/"}), "invalid-destination"),
])
def test_what_a_queue_cannot_do_is_told(server, version, frame, code):
    with Stomp(server, version) as client:
        client.say(frame[0], **frame[1])
        assert client.hear()["code"] == code


def refuses_after(server, queue, count, there=0):
    """The queue takes messages until it has so many, and refuses the next."""
    fill(server, queue, count - there)
    with Stomp(server) as sender:
        sender.say("SEND", "one more", destination=queue)
        refused = sender.hear()
        assert (refused.command, refused["code"]) == ("ERROR", "queue-full"), refused
        assert f"it may hold {count} messages" in refused["message"] + refused.body.decode(), refused


def dead_letters(server, queue, dead, tries):
    """A message that is refused so often lies in its dead-letter queue."""
    with Stomp(server) as consumer, Stomp(server) as undertaker:
        consumer.say("SUBSCRIBE", destination=queue, id="1", ack="client-individual", prefetch_count=1)
        for _ in range(tries):
            consumer.say("NACK", id=consumer.hear()["ack"])
        undertaker.say("SUBSCRIBE", destination=dead, id="1")
        letter = undertaker.hear()
        assert (letter["dead-from"], letter["dead-tries"]) == (queue, str(tries)), letter


def test_queues_have_other_bounds_by_pattern_and_a_reload_changes_them(tmp_path):
    path = tmp_path / "bongsu.toml"
    general = {"messages_max": 9}
    tables = [
        {"pattern": "orders/urgent", "messages_max": 3},
        {"pattern": "orders/**", "messages_max": 5, "tries_max": 2, "dead_letter": "lost/*"},
    ]
    path.write_text(as_toml({"queues": general, "queue": tables}))
    with Server(None, "--config", str(path), "--workers", "2") as server:
        for queue, count in [("orders/urgent", 3), ("orders/eu/1", 5), ("mail", 9)]:
            refuses_after(server, f"/queue/{queue}", count)
        dead_letters(server, "/queue/orders/urgent", "/queue/lost/orders/urgent", 2)
        tables[0]["messages_max"] = 4
        path.write_text(as_toml({"queues": general, "queue": tables}))
        server.process.send_signal(signal.SIGHUP)
        eventually("it is read again", lambda: "configuration read again" in server.log())
        # Two of these are there still, as one died.
        refuses_after(server, "/queue/orders/urgent", 4, there=2)


def test_a_transaction_is_taken_whole_or_not_at_all(two_workers, queue):
    fill(two_workers, queue, 1)
    other = queue + "/full"
    fill(two_workers, other, 499)
    with Stomp(two_workers) as worker:
        worker.say("SUBSCRIBE", id="s", destination=queue, ack="client-individual")
        [task] = hear(worker, 1)
        worker.say("BEGIN", transaction="t")
        worker.say("ACK", id=task["ack"], transaction="t")
        worker.say("SEND", "1", destination=other, transaction="t")
        worker.say("SEND", "2", destination=other, transaction="t")
        worker.say("COMMIT", transaction="t", receipt="c")
        assert worker.hear()["code"] == "queue-full"
    with Stomp(two_workers) as worker:
        worker.say("SUBSCRIBE", id="s", destination=queue, ack="client-individual")
        [task] = hear(worker, 1)
        assert (task.body, task["redelivered"]) == (b"0", "true"), "it was not acknowledged either"
        worker.say("BEGIN", transaction="t")
        worker.say("SEND", "499", destination=other, transaction="t")
        worker.say("ACK", id=task["ack"], transaction="t")
        assert worker.ask("COMMIT", transaction="t").command == "RECEIPT"
    with Stomp(two_workers) as consumer:
        consumer.say("SUBSCRIBE", id="s", destination=other)
        assert bodies(hear(consumer, 500))[:499] == list(range(499))


def test_a_consumer_that_does_not_read_holds_its_window_and_others_go_on(two_workers, queue):
    payload = "x" * 100_000
    with Stomp(two_workers) as blocked, Stomp(two_workers) as sender:
        blocked.say("SUBSCRIBE", id="s", destination=queue, prefetch_count=60)
        eventually("it consumes", lambda: metric(metrics(two_workers), "bongsu_queue_consumers") >= 1)
        for n in range(90):
            sender.say("SEND", payload, destination=queue, n=n)
        sender.ask("SEND", payload, destination=queue, n=90)
        held = eventually("it holds its window", lambda: metric(metrics(two_workers), "bongsu_queue_unacked"))
        assert 0 < held <= 60
        assert metric(metrics(two_workers), "bongsu_outbox_bytes") < 400_000, "no more is encoded than is being written"
        with Stomp(two_workers) as other:
            other.say("SUBSCRIBE", id="s", destination=queue, prefetch_count=200, ack="client")
            # What the blocked one had not yet taken comes when it ends.
            heard = hear(other, 10)
            blocked.close()
            while heard[-1]["n"] != "90":
                heard += hear(other, 1)
            eventually("nothing is left", lambda: metric(metrics(two_workers), "bongsu_queue_consumers") == 1)
            fill(two_workers, queue, 1)
            while heard[-1].headers.get("n"):
                heard += hear(other, 1)
    numbers = [frame["n"] for frame in heard[:-1]]
    assert len(numbers) == len(set(numbers)) >= 91 - 60, "nothing came twice"


def test_a_client_that_sends_no_more_can_answer_for_nothing(server, queue):
    fill(server, queue, 1)
    import socket
    with Stomp(server) as half, Stomp(server) as other:
        half.say("SUBSCRIBE", id="s", destination=queue, ack="client")
        hear(half, 1)
        other.ask("SUBSCRIBE", id="s", destination=queue, ack="client")
        half.socket.shutdown(socket.SHUT_WR)
        assert hear(other, 1)[0]["redelivered"] == "true"


def test_binary_messages_and_headers_come_as_they_were_sent(server, queue):
    with Stomp(server) as sender, Stomp(server, over="websocket") as consumer:
        sender.say("SEND", b"\x00\xff\n\x00", destination=queue, content_type="image/x", content_length=4, colour="a:b\\c", key="k")
        consumer.say("SUBSCRIBE", id="s", destination=queue)
        [frame] = hear(consumer, 1)
    assert (frame.body, frame["content-type"], frame["colour"], frame["key"]) == (b"\x00\xff\n\x00", "image/x", "a:b\\c", "k")
    assert (frame["destination"], frame["delivery-count"]) == (queue, "1")


def test_queues_outlive_a_clean_restart(tmp_path, queue):
    flags = "--data-dir", str(tmp_path / "data")
    with Server({"queues": {"tries_max": 2}}, *flags) as before:
        fill(before, queue, 20)
        with Stomp(before) as consumer:
            consumer.say("SUBSCRIBE", id="s", destination=queue, ack="client-individual", prefetch_count=5)
            held = hear(consumer, 5)
            consumer.ask("ACK", id=held[1]["ack"])
            consumer.say("NACK", id=held[4]["ack"], requeue="false", receipt="n")
            before.terminate()
            before.wait()
    with Server({"queues": {"tries_max": 2}}, *flags) as after, Stomp(after) as consumer:
        consumer.say("SUBSCRIBE", id="s", destination=queue, ack="client-individual")
        heard = hear(consumer, 18)
        assert bodies(heard) == [n for n in range(20) if n not in (1, 4)]
        assert [frame["message-id"] for frame in heard[:3]] == [held[n]["message-id"] for n in (0, 2, 3)]
        assert all(frame["redelivered"] == "true" for frame in heard[:3])
        consumer.say("SUBSCRIBE", id="d", destination="/queue/$dead/" + queue.removeprefix("/queue/"))
        assert hear(consumer, 1)[0]["dead-reason"] == "rejected"


def test_the_metrics_tell(queue):
    with Server({"queues": {"tries_max": 2}}) as own:
        fill(own, queue, 5)
        with Stomp(own) as consumer:
            consumer.say("SUBSCRIBE", id="s", destination=queue, ack="client-individual", prefetch_count=2)
            first, second = hear(consumer, 2)
            consumer.ask("ACK", id=first["ack"])
            hear(consumer, 1)
            consumer.say("NACK", id=second["ack"], requeue="false")
            hear(consumer, 1)
            told = {"messages": 4, "unacked": 2, "consumers": 1, "published_total": 5, "delivered_total": 4, "acked_total": 1, "nacked_total": 1}
            read = lambda: {name: metric(metrics(own), "bongsu_queue_" + name) for name in told}
            eventually("the numbers are these", lambda: read() == told)
            assert metric(metrics(own), "bongsu_queue_dead_lettered_total", reason="rejected") == 1
