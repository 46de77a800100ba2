"""STOMP 1.0, 1.1 and 1.2 byte for byte, over a raw socket and over WebSocket: what it carries, and how each fault is answered."""

import json
import socket
import threading
import time

import pytest
from websockets.exceptions import InvalidStatus

from harness import ORDINARY, PATIENCE, Server, eventually, metric
from http_client import get, moved, publish, publish_many
from raw_stomp import Stomp, StompSubscriber, frame
from subscribers import Sse, open_websocket

SMALL = {
    "stomp": {
        "head_bytes_max": "1 KiB", "headers_max": 20, "body_bytes_max": "8 KiB", "id_bytes_max": 64, "subscriptions_max": 3,
        "transactions_max": 2, "transaction_frames_max": 4, "transaction_bytes_max": "4 KiB", "prefetch_default": 20, "prefetch_max": 50, "prefetch_total_max": 90,
        "heartbeat_send": "100ms", "heartbeat_expect": "100ms", "connect_timeout": "300ms", "frame_timeout": "300ms",
    },
    "history": {"publications_max": 100},
    "delivery": {"tape_bytes_max": "4 KiB"},
}

over_both = pytest.mark.parametrize("over", ["tcp", "websocket"])
every_version = pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])


@pytest.fixture(scope="module")
def small():
    """A server with small bounds on STOMP."""
    with Server(SMALL) as running:
        yield running


def faults(server, name):
    return metric(get(server, "/metrics").body.decode(), "bongsu_faults_total", fault=name)


@over_both
@every_version
def test_a_conversation_in_every_version(server, channel, version, over):
    with Stomp(server, version, over) as stomp:
        assert stomp.connected.headers["server"].startswith("bongsu/")
        subscribed = stomp.ask("SUBSCRIBE", id="0", destination=f"/topic/{channel}")
        stomp.say("SEND", "one", destination=f"/topic/{channel}", receipt="p")
        both = [stomp.hear(), stomp.hear()]
        message = next(told for told in both if told.command == "MESSAGE")
        receipt = next(told for told in both if told.command == "RECEIPT")
        assert (message.body, message["subscription"], message["destination"]) == (b"one", "0", f"/topic/{channel}")
        assert message["position"] == message["message-id"] == receipt["position"] == moved(subscribed["cursor"], 1)
        stomp.ask("UNSUBSCRIBE", id="0")
        stomp.ask("DISCONNECT")
        assert stomp.hear() is None


def test_a_websocket_at_a_channel_speaks_stomp_too(server, channel):
    with Stomp(server, over="websocket", path=f"/channels/{channel}") as stomp:
        stomp.ask("SUBSCRIBE", id="0", destination=f"/{channel}")
        publish(server, channel, "heard")
        assert stomp.hear().body == b"heard"


@pytest.mark.parametrize("path", ["/stomp", "/channels/any"])
def test_the_highest_version_that_is_offered_is_taken(server, path):
    connection = open_websocket(server, path, ["v10.stomp", "v11.stomp", "v12.stomp"])
    assert connection.subprotocol == "v12.stomp"
    connection.close()


def test_without_a_version_of_stomp_nothing_opens_at_its_address(server):
    with pytest.raises(InvalidStatus) as refused:
        open_websocket(server, "/stomp", ["bongsu.v1.json"])
    assert json.loads(refused.value.response.body)["code"] == "unknown-subprotocol"


def test_frames_may_be_cut_and_joined_in_any_way(server, channel):
    with Stomp(server, over="websocket") as stomp:
        stomp.send(frame("SUBSCRIBE", id="0", destination=f"/{channel}", receipt="r") + b"\n\n" + frame("SEND", "봉수", destination=f"/{channel}"))
        assert [stomp.hear().command, stomp.hear().body.decode()] == ["RECEIPT", "봉수"]
        # Halves of a character in text would break WebSocket's rules, so that these pieces are binary.
        for byte in frame("SEND", bytes([0xFF, 0, 1]), destination=f"/{channel}", content_length=3):
            stomp.websocket.send(bytes([byte]))
        assert stomp.hear().body == bytes([0xFF, 0, 1])
    with Stomp(server) as stomp:
        for byte in frame("SUBSCRIBE", id="0", destination=f"/{channel}", receipt="r"):
            stomp.send(bytes([byte]))
        assert stomp.hear().command == "RECEIPT"


def test_text_goes_in_text_messages_and_bytes_in_binary_ones(server, channel):
    with Stomp(server, over="websocket") as stomp:
        stomp.ask("SUBSCRIBE", id="0", destination=f"/{channel}")
        publish(server, channel, "text")
        assert isinstance(stomp.websocket.recv(timeout=PATIENCE), str)
        publish(server, channel, bytes([0, 255]), "application/octet-stream")
        assert isinstance(stomp.websocket.recv(timeout=PATIENCE), bytes)


def test_headers_are_escaped_and_the_first_of_repeated_ones_wins(server, channel):
    with Stomp(server) as stomp:
        stomp.ask("SUBSCRIBE", id="a:b\nc\\d", destination=f"/{channel}")
        stomp.send(f"SEND\r\ndestination:/{channel}\r\nodd\\cname:a\\nb\\r\\c\\\\\r\nodd\\cname:second\r\n\r\nx\0".encode())
        told = stomp.hear()
        assert (told["subscription"], told["odd:name"]) == ("a:b\nc\\d", "a\nb\r:\\")


def test_a_publication_keeps_its_key_type_and_headers(server, channel):
    with Stomp(server) as stomp, StompSubscriber(server, channel) as subscriber:
        subscriber.opened()
        stomp.ask("SEND", '{"a":1}', destination=f"/topic/{channel}", content_type="application/json", key="k", priority="9")
        page = get(server, f"/channels/{channel}").json()["publications"][0]
        assert (page["data"], page["key"], page["headers"]) == ({"a": 1}, "k", {"priority": "9"})
        told = subscriber.stomp.hear()
        assert (told["key"], told["priority"], told["content-type"]) == ("k", "9", "application/json")


def test_an_idempotency_key_gives_the_first_position_again(server, channel):
    with Stomp(server) as stomp:
        first = stomp.ask("SEND", "x", destination=f"/{channel}", idempotency_key="once")
        again = stomp.ask("SEND", "x", destination=f"/{channel}", idempotency_key="once")
    assert first["position"] == again["position"]


def test_resumes_on_sse_where_stomp_ended_and_the_other_way_round(server, channel):
    with StompSubscriber(server, channel) as subscriber:
        subscriber.opened()
        publish_many(server, channel, ["1", "2", "3"])
        assert subscriber.take().data == "1"
        last = subscriber.take().position
    with Sse(server, channel, after=last) as resumed:
        assert resumed.take().data == "3"
        last = publish(server, channel, "4")
        assert resumed.take().position == last
    publish(server, channel, "5")
    with StompSubscriber(server, channel, after=last) as again:
        assert again.opened() == last
        assert again.take().data == "5"


@pytest.mark.parametrize("ack", ["client", "client-individual"])
@over_both
def test_no_more_is_in_flight_than_the_prefetch_count(server, channel, ack, over):
    publish_many(server, channel, [str(n) for n in range(10)])
    with Stomp(server, over=over) as stomp:
        stomp.say("SUBSCRIBE", id="w", destination=f"/{channel}", earliest="true", ack=ack, prefetch_count="3")
        told = [stomp.hear() for _ in range(3)]
        # Whatever else would come would come before the receipt.
        stomp.ask("BEGIN", transaction="none")
        stomp.say("ACK", id=told[-1]["ack"])
        more = 3 if ack == "client" else 1
        told += [stomp.hear() for _ in range(more)]
        stomp.ask("ABORT", transaction="none")
        assert [message.body.decode() for message in told] == [str(n) for n in range(3 + more)]


def test_a_window_stays_open_for_what_is_live(server, channel):
    with Stomp(server) as stomp:
        stomp.ask("SUBSCRIBE", id="w", destination=f"/{channel}", ack="client", prefetch_count="2")
        publish_many(server, channel, [str(n) for n in range(20)])
        for n in range(20):
            told = stomp.hear()
            assert told.body.decode() == str(n)
            stomp.say("ACK" if n % 3 else "NACK", id=told["ack"])


def test_nacks_are_counted_and_close_nothing(server, channel):
    before = metric(get(server, "/metrics").body.decode(), "bongsu_nacks_total")
    with Stomp(server) as stomp:
        stomp.ask("SUBSCRIBE", id="w", destination=f"/{channel}", ack="client-individual")
        publish(server, channel, "unwanted")
        stomp.ask("NACK", id=stomp.hear()["ack"])
        publish(server, channel, "next")
        assert stomp.hear().body == b"next"
    assert metric(get(server, "/metrics").body.decode(), "bongsu_nacks_total") == before + 1


def test_who_shuts_its_window_for_too_long_is_told_a_gap(small, channel):
    with Stomp(small) as stomp:
        stomp.ask("SUBSCRIBE", id="w", destination=f"/{channel}", ack="client", prefetch_count="1")
        positions = publish_many(small, channel, [str(n) for n in range(300)])
        first = stomp.hear()
        stomp.say("ACK", id=first["ack"])
        gap = stomp.hear()
        assert gap["gap"] == "trimmed"
        assert json.loads(gap.body) == {"asked": first["position"], "resumed": positions[199], "reason": "trimmed"}
        stomp.say("ACK", id=gap["ack"])
        assert stomp.hear().body == b"200"


def test_a_transaction_is_published_whole_and_with_nobody_between(server, channel):
    with Stomp(server) as one, Stomp(server) as other, StompSubscriber(server, channel) as subscriber:
        subscriber.opened()
        for n in range(20):
            one.say("BEGIN", transaction="t")
            for part in range(5):
                one.say("SEND", f"one {n} {part}", destination=f"/{channel}", transaction="t")
                other.say("SEND", f"other {n} {part}", destination=f"/{channel}")
            one.say("COMMIT", transaction="t")
        told = [subscriber.take().data for _ in range(200)]
    theirs = [place for place, data in enumerate(told) if data.startswith("one")]
    assert [told[place] for place in theirs] == [f"one {n} {part}" for n in range(20) for part in range(5)]
    assert all(theirs[n:n + 5] == list(range(theirs[n], theirs[n] + 5)) for n in range(0, 100, 5)), "each five are together"


def test_what_is_aborted_or_open_at_the_end_is_rolled_back(server, channel):
    with Stomp(server) as stomp:
        for transaction, end in ("aborted", "ABORT"), ("open", None):
            stomp.ask("BEGIN", transaction=transaction)
            stomp.ask("SEND", transaction, destination=f"/{channel}", transaction=transaction)
            if end:
                stomp.ask(end, transaction=transaction)
        stomp.ask("DISCONNECT")
        assert stomp.hear() is None
    with Stomp(server) as stomp:
        stomp.ask("BEGIN", transaction="cut off")
        stomp.ask("SEND", "cut off", destination=f"/{channel}", transaction="cut off")
    publish(server, channel, "after")
    assert [told["data"] for told in get(server, f"/channels/{channel}").json()["publications"]] == ["after"]


def test_heart_beats_come_as_agreed_and_their_end_is_noticed(small):
    before = faults(small, "heart-beat-missed")
    with Stomp(small, heart_beat="100,100") as stomp:
        assert stomp.connected["heart-beat"] == "100,100"
        error = stomp.hear()
        assert (error.command, error["code"]) == ("ERROR", "heart-beat-missed")
        assert stomp.beats >= 1
        assert stomp.hear() is None
    assert faults(small, "heart-beat-missed") == before + 1


@over_both
def test_who_beats_stays(small, channel, over):
    with Stomp(small, over=over, heart_beat="100,0") as stomp:
        # Several times as long as a silence is borne.
        for _ in range(20):
            time.sleep(0.05)
            stomp.send(b"\n")
        stomp.ask("SEND", "still here", destination=f"/{channel}")


def test_connect_must_come_and_a_frame_must_end_in_time(small):
    with Stomp(small, connect=False) as stomp:
        assert stomp.hear()["code"] == "connect-timeout"
    with Stomp(small) as stomp:
        stomp.send(b"SEND\ndestination:/a\n\nand then nothing more")
        assert stomp.hear()["code"] == "frame-timeout"
        assert stomp.hear() is None


SEND = b"SEND\ndestination:/a\n"
CONNECTED = {
    "nul-in-head": b"SEND\ndestination:/a\0b\n\n\0",
    "head-too-large": b"SEND\nx:" + b"y" * 2000,
    "too-many-headers": b"SEND\n" + b"".join(b"h%d:x\n" % n for n in range(30)) + b"\n\0",
    "header-without-colon": b"SEND\ndestination\n\n\0",
    "header-without-name": b"SEND\n:x\n\n\0",
    "header-not-utf-8": b"SEND\nx:\xff\n\n\0",
    "carriage-return-in-head": b"SEND\nx:a\rb\n\n\0",
    "unknown-escape": SEND + b"x:\\t\n\n\0",
    "invalid-content-length": SEND + b"content-length:-1\n\n\0",
    "body-not-ended": SEND + b"content-length:2\n\nabc\0",
    "body-too-large": SEND + b"content-length:9000\n\n",
    "body-not-allowed": b"BEGIN\ntransaction:t\n\nbody\0",
    "unknown-command": b"SENT\n\n\0",
    "unexpected-command": b"MESSAGE\n\n\0",
    "already-connected": b"CONNECT\naccept-version:1.2\nhost:x\n\n\0",
    "missing-header": b"SEND\n\n\0",
    "id-too-long": b"SUBSCRIBE\nid:" + b"i" * 70 + b"\ndestination:/a\n\n\0",
    "invalid-destination": b"SEND\ndestination:a\n\n\0",
    "reserved-channel": b"SEND\ndestination:/$own\n\n\0",
    "not-subscribed": b"UNSUBSCRIBE\nid:none\n\n\0",
    "already-subscribed": frame("SUBSCRIBE", id="1", destination="/a") + frame("SUBSCRIBE", id="1", destination="/b"),
    "too-many-subscriptions": b"".join(frame("SUBSCRIBE", id=n, destination="/a") for n in range(4)),
    "invalid-ack": frame("SUBSCRIBE", id="1", destination="/a", ack="maybe"),
    "invalid-prefetch-count": frame("SUBSCRIBE", id="1", destination="/a", ack="client", prefetch_count="51"),
    "prefetch-total-too-large": b"".join(frame("SUBSCRIBE", id=n, destination="/a", ack="client", prefetch_count="50") for n in range(2)),
    "invalid-cursor": frame("SUBSCRIBE", id="1", destination="/a", after="yesterday"),
    "invalid-start": frame("SUBSCRIBE", id="1", destination="/a", last="some"),
    "not-in-flight": frame("ACK", id="8Jq-1@1"),
    "transaction-exists": frame("BEGIN", transaction="t") * 2,
    "unknown-transaction": frame("COMMIT", transaction="t"),
    "too-many-transactions": b"".join(frame("BEGIN", transaction=n) for n in range(3)),
    "transaction-too-large": frame("BEGIN", transaction="t") + frame("SEND", destination="/a", transaction="t") * 5,
    "invalid-type": frame("SEND", destination="/a", content_type="text"),
    "invalid-data": frame("SEND", "{", destination="/a", content_type="application/json"),
    "empty-header": frame("SEND", destination="/a", key=""),
}


@pytest.mark.parametrize("code", CONNECTED)
@over_both
def test_each_fault_has_its_name_and_ends_the_connection(small, code, over):
    before = faults(small, code)
    with Stomp(small, over=over) as stomp:
        stomp.send(CONNECTED[code])
        error = stomp.hear()
        assert (error.command, error["code"]) == ("ERROR", code), error
        assert error["message"].split("\n")[0] in error.body.decode()
        assert stomp.hear() is None
    assert faults(small, code) == before + 1


def test_a_body_without_a_length_is_bounded_too(small):
    with Stomp(small) as stomp:
        stomp.send(SEND + b"\n" + b"x" * 9000)
        assert stomp.hear()["code"] == "body-too-large"


def test_an_error_quotes_the_frame_and_its_receipt_but_no_passcode(small):
    with Stomp(small, connect=False) as stomp:
        stomp.say("CONNECT", accept_version="2.0", host="h", login="me", passcode="secret", receipt="r")
        error = stomp.hear()
    assert (error["code"], error["version"], error["receipt-id"]) == ("version-not-supported", "1.0,1.1,1.2", "r")
    assert "login:me" in error.body.decode() and "secret" not in error.body.decode()


@pytest.mark.parametrize("version, escape", [("1.1", b"\\r"), ("1.2", b"\\x")])
def test_escapes_are_those_of_the_version(small, version, escape):
    with Stomp(small, version) as stomp:
        stomp.send(SEND + b"x:a" + escape + b"\n\n\0")
        assert stomp.hear()["code"] == "unknown-escape"


def test_in_1_0_a_backslash_is_a_backslash(server, channel):
    with Stomp(server, "1.0") as stomp:
        stomp.ask("SUBSCRIBE", id="0", destination=f"/{channel}")
        stomp.send(f"SEND\ndestination:/{channel}\nx: a\\tb \n\n\0".encode())
        assert stomp.hear()["x"] == "a\\tb"


@pytest.mark.parametrize("first", [b"SEND\ndestination:/a\n\n\0", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\n"])
def test_whoever_does_not_connect_first_is_told_so(small, first):
    with Stomp(small, connect=False) as stomp:
        stomp.send(first)
        assert stomp.hear()["code"] in ("not-connected", "unknown-command", "nul-in-head")
        assert stomp.hear() is None


@over_both
def test_a_goodbye_is_an_error_that_says_when_to_come_back(channel, over):
    with Server(ORDINARY) as server, Stomp(server, over=over) as stomp:
        stomp.ask("SUBSCRIBE", id="0", destination=f"/{channel}")
        server.terminate()
        error = stomp.hear()
        assert (error.command, error["code"]) == ("ERROR", "shutdown")
        assert 1000 <= int(error["reconnect-ms"]) <= 5000
        assert stomp.hear() is None
        stomp.close()
        assert server.wait() == 0


def test_who_reads_nothing_is_told_slow_with_its_cursor(channel):
    bounds = {"delivery": {"lag_bytes_max": "64 KiB", "lag_age_max": "300ms", "send_buffer_bytes": "16 KiB"}}
    with Server(bounds) as server, Stomp(server) as stomp:
        stomp.ask("SUBSCRIBE", id="0", destination=f"/{channel}")
        payload = "x" * 60_000
        positions = publish_many(server, channel, [payload] * 150)
        eventually("it is closed as slow", lambda: metric(get(server, "/metrics").body.decode(), "bongsu_closes_total", reason="slow"))
        told = []
        # One that does not read for as long as the goodbye is held for it is cut off, within a frame perhaps.
        while (last := stomp.hear(may_be_cut=True)) and last.command == "MESSAGE":
            told.append(last["position"])
        assert told == positions[:len(told)] and len(told) < 150
        if last:
            assert (last.command, last["code"], last["cursor"]) == ("ERROR", "slow", told[-1])


def test_one_that_has_finished_sending_still_receives(server, channel):
    with Stomp(server) as stomp:
        stomp.ask("SUBSCRIBE", id="0", destination=f"/{channel}")
        stomp.socket.shutdown(socket.SHUT_WR)
        publish(server, channel, "after")
        assert stomp.hear().body == b"after"


@over_both
def test_a_flood_of_receipts_waits_for_its_reader(server, over):
    """Answers that are not read hold back the questions, and none is lost."""
    with Stomp(server, over=over) as stomp:
        questions = [b"".join(frame("BEGIN", transaction="t", receipt=f"b{n}") + frame("ABORT", transaction="t", receipt=f"a{n}") for n in range(start, start + 400)) for start in range(0, 20_000, 400)]
        sending = threading.Thread(target=lambda: [stomp.send(some) for some in questions])
        sending.start()
        for n in range(20_000):
            assert [stomp.hear()["receipt-id"], stomp.hear()["receipt-id"]] == [f"b{n}", f"a{n}"]
        sending.join()
