"""UDP by Python's own `socket`: the exchange of docs/udp.md, loss and its repair, and what strangers and forgers get."""

import json
import os
import random
import select
import socket
import subprocess
import time

import pytest

from harness import BINARY, ORDINARY, PATIENCE, Server, eventually, metric
from http_client import CURSOR, connect, get, moved, publish, publish_many
from udp_client import HELLO_BYTES, Follower, LossyProxy, UdpClient, endpoint, hello, objects, split

pytestmark = pytest.mark.direct


@pytest.fixture
def client(server):
    client = UdpClient(server.udp)
    yield client
    client.close()


def exchange(server, datagram, seconds=0.3):
    """Sends one datagram from an address of its own, and returns what comes back within the time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(endpoint(server.udp))
        stranger.settimeout(seconds)
        stranger.send(datagram)
        try:
            return stranger.recv(65536)
        except TimeoutError:
            return b""


def faults(server, name):
    return metric(get(server, "/metrics").body.decode(), "bongsu_faults_total", fault=name)


def counted(server, name, act):
    """Acts, and checks that the fault was counted once."""
    before = faults(server, name)
    answer = act()
    eventually(f"{name} is counted", lambda: faults(server, name) == before + 1)
    return answer


def test_a_conversation(client, channel):
    client.validate()
    assert client.terms["lease_ms"] == 30000 and client.terms["datagram_bytes_max"] == 1200
    subscribed = client.ask(subscribe=channel)
    assert subscribed["channel"] == channel and subscribed["head"] == subscribed["cursor"]
    published = client.ask(publish=channel, data={"a": 1})
    assert published["position"] == moved(subscribed["cursor"], 1)
    client.say({"ping": [1, 2]})
    heard = []
    eventually("a pong", lambda: heard.extend(client.hear(0.1)) or {"pong": [1, 2]} in heard)
    assert "id" in client.ask(unsubscribe=channel)
    assert client.ask(unsubscribe=channel)["error"]["code"] == "not-subscribed"


def test_a_follower_gets_what_is_published_and_hears_of_the_head(server, channel):
    follower = Follower(server.udp, channel)
    kind, told = follower.next()
    assert kind == "cursor"
    positions = publish_many(server, channel, [f"payload {n}" for n in range(200)])
    assert [follower.next()[1]["position"] for _ in range(200)] == positions
    eventually("the head is told", lambda: follower.step() or follower.head == positions[-1])
    follower.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_a_fifth_of_the_datagrams_lost_every_publication_comes_once_and_in_order(server, channel, seed):
    with LossyProxy(server.udp, seed) as proxy:
        follower = Follower(proxy.address, channel)
        assert follower.next()[0] == "cursor"
        positions = []
        for batch in range(20):
            positions += publish_many(server, channel, [f"{batch} {n}" for n in range(50)])
            follower.step(0)
        told = [follower.next() for _ in positions]
        assert [kind for kind, _ in told] == ["publication"] * 1000
        assert [one["position"] for _, one in told] == positions
        assert [one["data"] for _, one in told] == [f"{batch} {n}" for batch in range(20) for n in range(50)]
        assert proxy.counts["drop"] and proxy.counts["duplicate"] and proxy.counts["reorder"], proxy.counts
        assert follower.stats["repairs"]
        follower.close()


def test_the_loss_of_the_last_publication_is_seen_though_nothing_follows(server, channel):
    """The proxy loses exactly the one datagram that carries the publication."""
    with LossyProxy(server.udp, 0, 0, 0, 0) as proxy:
        follower = Follower(proxy.address, channel)
        follower.next()
        genuine = proxy.send
        lost = []

        def lose_once(send, datagram):
            if b'"data":"the last"' in datagram and not lost:
                lost.append(datagram)
            else:
                genuine(send, datagram)

        proxy.send = lose_once
        position = publish(server, channel, "the last")
        kind, told = follower.next()
        assert (kind, told["position"], told["data"]) == ("publication", position, "the last")
        assert lost and follower.stats["repairs"] >= 1
        follower.close()


def test_newest_only_passes_over_what_is_old(server, channel):
    with LossyProxy(server.udp, 4, drop=0.3) as proxy:
        follower = Follower(proxy.address, channel, repair=False)
        assert follower.next()[0] == "cursor"
        for _ in range(10):
            last = publish_many(server, channel, [str(n) for n in range(50)])[-1]
            follower.step(0)
        # What is published at last comes to be known by the head, if its own datagram is lost.
        eventually("the newest is known", lambda: follower.step() or last in (follower.cursor, follower.head))
        offsets = [split(told["position"])[1] for kind, told in follower.ready if kind == "publication"]
        assert offsets == sorted(set(offsets)) and 0 < len(offsets) < 500
        assert follower.stats["repairs"] == 0
        follower.close()


def test_publications_that_are_due_at_once_share_datagrams(channel):
    # Two workers may deliver while they are still published, and nothing would be due at once.
    with Server(None, "--workers", "1") as server:
        follower = Follower(server.udp, channel)
        follower.next()
        body = "\n".join(json.dumps({"publish": channel, "data": f"{n:04}"}) for n in range(400))
        connection = connect(server)
        connection.request("POST", "/publish", body=body)
        assert connection.getresponse().status == 200
        for n in range(400):
            assert follower.next()[1]["data"] == f"{n:04}"
        assert follower.stats["datagrams"] < 100, follower.stats
        follower.close()


def test_no_datagram_is_longer_than_configured(server, channel):
    client = UdpClient(server.udp)
    client.ask(subscribe=channel)
    publish_many(server, channel, ["x" * (n % 1500) for n in range(0, 6000, 37)])
    lengths = []
    client.socket.settimeout(0.5)
    try:
        while True:
            lengths.append(len(client.socket.recv(65536)))
    except TimeoutError:
        pass
    assert lengths and max(lengths) <= 1200
    client.close()


def test_a_large_publication_is_announced_and_fetched_over_http(server, channel):
    follower = Follower(server.udp, channel)
    _, opened = follower.next()
    payload = "large " * 5000
    position = publish(server, channel, payload)
    after = publish(server, channel, "small")
    kind, told = follower.next()
    assert (kind, told["position"], told["length"]) == ("announced", position, len(payload))
    page = get(server, f"/channels/{channel}?after={opened['cursor']}").json()
    assert page["publications"][0]["data"] == payload
    assert follower.next()[1]["position"] == after
    follower.close()


@pytest.fixture(scope="module")
def hasty():
    """A server whose leases and cookies are short."""
    with Server({"udp": {"lease": "400ms", "cookie_lifetime": "600ms", "subscriptions_max": 3, "repairs_per_second_max": 5}}) as running:
        yield running


def test_a_lease_that_is_not_renewed_ends(hasty, channel):
    client = UdpClient(hasty.udp)
    client.ask(subscribe=channel)
    heard = []
    eventually("the end is told", lambda: heard.extend(client.hear(0.1)) or any("ended" in told for told in heard))
    publish(hasty, channel, "unheard")
    assert not [told for told in client.hear(0.3) if "position" in told]
    client.validate()
    assert client.ask(repair=channel, after="e-0")["error"]["code"] == "not-subscribed"
    client.close()


def test_one_that_is_renewed_goes_on_over_many_cookies(channel):
    """The lease is long, so that a busy machine cannot end it between two renewals; each renewal may bring a new cookie."""
    with Server({"udp": {"lease": "1m", "cookie_lifetime": "200ms"}}) as server:
        follower = Follower(server.udp, channel)
        follower.next()
        for n in range(6):
            position = publish(server, channel, str(n))
            assert follower.next()[1]["position"] == position
            before = follower.client.cookie

            def is_renewed():
                follower.subscribe_at = 0
                follower.step(0.05)
                return follower.client.cookie != before

            eventually("another cookie", is_renewed)
        assert follower.ended is None and not follower.ready
        follower.close()


def test_a_doubled_publish_is_one_publication(client, server, channel):
    client.validate()
    datagram = "\n".join(map(json.dumps, [{"cookie": client.cookie}, {"publish": channel, "data": "once", "id": 7}])).encode()
    for _ in range(3):
        client.socket.send(datagram)
    answers = []
    eventually("three answers", lambda: answers.extend(client.hear(0.1)) or len(answers) >= 3)
    assert len({answer["position"] for answer in answers}) == 1
    assert len(get(server, f"/channels/{channel}").json()["publications"]) == 1
    # Under another cookie the same id is another publication; a key of the publisher's own is not.
    client.validate()
    assert client.ask(publish=channel, data="keyed", idempotency_key="k")["position"] == client.ask(publish=channel, data="keyed", idempotency_key="k")["position"]
    assert len(get(server, f"/channels/{channel}").json()["publications"]) == 2


def test_publishing_through_loss_publishes_each_once(server, channel):
    with LossyProxy(server.udp, 9) as proxy:
        publisher = UdpClient(proxy.address)
        positions = [publisher.ask(publish=channel, data=n, idempotency_key=f"k{n}")["position"] for n in range(60)]
        publisher.close()
    page = get(server, f"/channels/{channel}").json()["publications"]
    assert [one["data"] for one in page] == list(range(60))
    assert [one["position"] for one in page] == positions


def test_a_subscription_that_is_asked_for_twice_stands_once(client, server, channel):
    first = client.ask(subscribe=channel)
    position = publish(server, channel, "one")
    again = client.ask(subscribe=channel, after=first["cursor"])
    assert (again["cursor"], again["head"]) == (first["cursor"], position)
    client.hear(0.2)
    publish(server, channel, "two")
    heard = []
    eventually("it comes", lambda: heard.extend(client.hear(0.1)) or any(told.get("data") == "two" for told in heard))
    assert sum(told.get("data") == "two" for told in heard) == 1


def test_bounds_on_what_an_address_follows_and_repairs(hasty, channel):
    client = UdpClient(hasty.udp)
    for n in range(3):
        opened = client.ask(subscribe=f"{channel}/{n}")
    assert client.ask(subscribe=f"{channel}/3")["error"]["code"] == "too-many-subscriptions"
    client.say(*[{"repair": f"{channel}/2", "after": opened["cursor"], "id": n} for n in range(10)])
    heard = []
    eventually("ten answers", lambda: heard.extend(told for told in client.hear(0.1) if "id" in told and isinstance(told["id"], int)) or len(heard) == 10)
    refused = [told for told in heard if "error" in told]
    assert 4 <= len(refused) <= 5 and {told["error"]["code"] for told in refused} == {"too-many-repairs"}
    client.close()


def test_one_address_too_many_is_told_so(channel):
    with Server({"udp": {"clients_max": 1}}, "--workers", "1") as small:
        first, second = UdpClient(small.udp), UdpClient(small.udp)
        assert "cursor" in first.ask(subscribe=channel)
        assert second.ask(subscribe=channel)["error"]["code"] == "too-many-clients"
        assert "position" in second.ask(publish=channel, data="publishing needs no place")
        first.ask(unsubscribe=channel)
        assert "cursor" in second.ask(subscribe=channel)
        first.close(), second.close()


# What a stranger sends, and the fault that it is.
STRANGERS = {
    "empty": (b"", "empty-datagram"),
    "blank": (b"   \n \n", "empty-datagram"),
    "no JSON": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "no-cookie"),
    "bytes": (bytes(range(256)) * 2, "no-cookie"),
    "truncated": (b'{"cookie":"AAAAAAAA', "no-cookie"),
    "no opening": (b'{"ping":1}', "no-cookie"),
    "short hello": (b'{"hello":1}', "short-hello"),
    "malformed cookie": (b'{"cookie":"short"}\n{"ping":1}', "malformed-cookie"),
    "oversize": (b'{"hello":1}'.ljust(1201), "datagram-too-large"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_each_fault_of_a_stranger_is_counted_and_answered_with_no_more_than_it_sent(server, name):
    datagram, fault = STRANGERS[name]
    answer = counted(server, fault, lambda: exchange(server, datagram))
    assert len(answer) <= len(datagram)
    if len(datagram) >= HELLO_BYTES:
        told = json.loads(answer)
        assert told["error"]["code"] == fault and told["error"]["message"] and told["cookie"]
    elif len(datagram) >= 11:
        assert json.loads(answer) == {"pad": HELLO_BYTES}


def test_forged_stale_and_strangers_cookies_are_told_apart(hasty, server):
    def shown(cookie, to):
        return lambda: json.loads(exchange(to, json.dumps({"cookie": cookie}).encode().ljust(HELLO_BYTES)))

    other = UdpClient(server.udp)
    cookie = other.validate()
    assert counted(server, "address-changed", shown(cookie, server))["error"]["code"] == "address-changed"
    # The head stays, so that it is of our time, and all that would show that we made it is another's.
    other.cookie = forged = cookie[:11] + "A" * 21
    told = counted(server, "forged-cookie", lambda: other.say({"ping": 1}) or other.hear(PATIENCE))
    # A short datagram leaves room for the cookie alone, or for the fault's name beside it.
    assert told[0]["cookie"] == other.cookie != forged
    assert counted(server, "forged-cookie", shown(forged, server))["error"]["code"] == "forged-cookie"
    other.close()
    late = UdpClient(hasty.udp)
    old = late.validate()
    # Its lifetime passes; only time makes a cookie stale.
    eventually("the cookie is stale", lambda: late.say({"ping": 1}) or any("error" in told or "cookie" in told for told in late.hear(0.3)))
    late.cookie = old
    eventually("it is refused", lambda: faults(hasty, "stale-cookie") or late.say({"ping": 1}) or setattr(late, "cookie", old))
    late.close()


def test_a_replayed_cookie_moves_nothing_to_another_address(client, server, channel):
    """Whoever recorded a datagram and sends it from elsewhere neither publishes nor subscribes."""
    client.validate()
    recorded = "\n".join(map(json.dumps, [{"cookie": client.cookie}, {"publish": channel, "data": "x", "id": 1}, {"subscribe": channel}])).encode()
    answer = json.loads(exchange(server, recorded.ljust(HELLO_BYTES)))
    assert answer["error"]["code"] == "address-changed"
    assert get(server, f"/channels/{channel}").json()["publications"] == []


def test_ten_thousand_random_and_forged_datagrams_get_no_more_than_they_send(server):
    """Counted by the byte and in sum, from many addresses; then the server still serves."""
    chance = random.Random(20)
    known = UdpClient(server.udp)
    cookie = known.validate()
    known.close()
    strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
    sent, received, answers = [0] * 50, [0] * 50, 0
    for stranger in strangers:
        stranger.connect(endpoint(server.udp))
        stranger.setblocking(False)

    def datagram():
        kind = chance.randrange(7)
        if kind == 0:
            return chance.randbytes(chance.randrange(0, 1400))
        if kind == 1:
            return hello(chance.randrange(11, 600))
        letters = "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", k=32))
        if kind == 2:
            return json.dumps({"cookie": letters}).encode() + b"\n" + b'{"subscribe":"a","earliest":true}' * chance.randrange(4)
        if kind == 3:
            return json.dumps({"cookie": cookie}).encode() + b'\n{"ping":1}'
        if kind == 4:
            return (json.dumps({"cookie": cookie[:12] + letters[12:]}).encode() + b"\n").ljust(chance.randrange(40, 1200))
        if kind == 5:
            return b'{"cookie":"' + cookie.encode()[: chance.randrange(32)]
        return b" " * chance.randrange(300)

    def drain(index):
        nonlocal answers
        try:
            while True:
                received[index] += len(strangers[index].recv(65536))
                answers += 1
        except BlockingIOError:
            pass

    def hear_the_rest(index):
        """One worker hears an address, in order: behind the answer to what it asks last, there is nothing more to come."""
        own, told, deadline = None, [], time.monotonic() + PATIENCE
        while {"pong": "last"} not in told:
            assert time.monotonic() < deadline, "no answer came"
            data = json.dumps({"cookie": own}).encode() + b'\n{"ping":"last"}' if own else hello()
            sent[index] += strangers[index].send(data)
            while select.select([strangers[index]], [], [], 0.1)[0]:
                heard = strangers[index].recv(65536)
                received[index] += len(heard)
                told = objects(heard)
                own = next((one["cookie"] for one in told if "cookie" in one), own)
                if own:
                    break

    for n in range(10_000):
        index = n % 50
        data = datagram()
        strangers[index].send(data)
        sent[index] += len(data)
        drain(index)
        assert received[index] <= sent[index]
    for index in range(50):
        hear_the_rest(index)
        assert received[index] <= sent[index], (received[index], sent[index])
        strangers[index].close()
    assert answers > 100, "they were answered at all"
    again = UdpClient(server.udp)
    assert "position" in again.ask(publish="after/the/flood", data=1)
    again.close()


def test_a_flood_of_strangers_is_answered_only_so_often(channel):
    """From many addresses: no storm of replies, no memory of them, and who is known is served on."""
    with Server({"udp": {"strangers_per_second_max": 20}}, "--workers", "1") as small:
        follower = Follower(small.udp, channel)
        follower.next()
        pid = int(subprocess.run(["pgrep", "-P", str(small.process.pid)], capture_output=True, text=True, check=True).stdout.split()[0])
        before, answers = resident_kib(pid), 0
        strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(300)]
        for stranger in strangers:
            stranger.connect(endpoint(small.udp))
            stranger.setblocking(False)
        began = time.monotonic()
        for _ in range(10):
            for stranger in strangers:
                stranger.send(hello())
        eventually("the flood is counted", lambda: faults(small, "too-many-strangers") > 100)
        lasted = time.monotonic() - began
        for stranger in strangers:
            try:
                while stranger.recv(2048):
                    answers += 1
            except BlockingIOError:
                pass
            stranger.close()
        assert 1 <= answers <= 20 * (lasted + 2), (answers, lasted)
        position = publish(small, channel, "served on")
        assert follower.next()[1]["position"] == position
        assert resident_kib(pid) - before < 4096
        follower.close()


def resident_kib(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


COMMAND_FAULTS = [
    ('{"publsh":1}', "unknown-command"),
    ("nonsense", "not-json"),
    ('{"subscribe":"a"', "not-json"),
    ('["ping"]', "not-an-object"),
    ('{"subscribe":"a//b","id":1}', "invalid-channel"),
    ('{"subscribe":"$own","id":1}', "reserved-channel"),
    ('{"subscribe":"a","after":"x","id":1}', "invalid-cursor"),
    ('{"subscribe":"a","repair":1,"id":1}', "invalid-repair"),
    ('{"repair":"a","id":1}', "invalid-repair"),
    ('{"repair":"a","after":"e-1","id":1}', "not-subscribed"),
    ('{"publish":"$own","data":1,"id":1}', "reserved-channel"),
    ("[" * 600, "too-deep"),
]


@pytest.mark.parametrize("command, code", COMMAND_FAULTS, ids=[f"{code}-{n}" for n, (_, code) in enumerate(COMMAND_FAULTS)])
def test_each_fault_of_a_command_has_its_name_and_its_sentence(client, server, command, code):
    client.validate()
    client.socket.send(json.dumps({"cookie": client.cookie}).encode() + b"\n" + command.encode() + b'\n{"ping":"still here"}')
    told = client.hear(PATIENCE)
    assert told[0]["error"]["code"] == code and told[0]["error"]["message"]
    assert told[1] == {"pong": "still here"}


def test_everyone_is_told_goodbye(channel):
    with Server(ORDINARY) as server:
        client = UdpClient(server.udp)
        client.ask(subscribe=channel)
        server.terminate()
        heard = []
        eventually("a goodbye", lambda: heard.extend(client.hear(0.1)) or any("bye" in told for told in heard))
        bye = next(told["bye"] for told in heard if "bye" in told)
        assert bye["code"] == 1001 and bye["reconnect_ms"] >= 0
        assert server.wait() == 0
        client.close()


def test_who_comes_back_to_another_server_is_told_a_gap(channel):
    """The cookie is not that server's, and the cursor of another life: both are told, and it goes on."""
    with Server(ORDINARY) as first:
        follower = Follower(first.udp, channel)
        _, opened = follower.next()
        cookie, cursor = follower.client.cookie, moved(opened["cursor"], 5)
        follower.client.close()
    with Server(ORDINARY) as second:
        publish(second, channel, "a new life")
        follower = Follower(second.udp, channel, {"after": cursor})
        follower.client.cookie = cookie
        kind, _ = follower.next()
        assert kind == "cursor"
        kind, told = follower.next()
        assert kind == "gap" and told["gap"]["reason"] == "epoch" and told["gap"]["asked"] == cursor
        assert follower.next()[1]["data"] == "a new life"
        follower.close()


def test_beyond_this_machine_it_must_be_asked_for():
    ended = subprocess.run([BINARY, "serve", "--http", "127.0.0.1:0", "--tcp", "off", "--udp", "0.0.0.0:0"], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 2 and "--udp-cleartext" in ended.stderr
    with Server(ORDINARY, "--udp", "0.0.0.0:0", "--udp-cleartext", "--allow-anonymous") as open_to_all:
        client = UdpClient("127.0.0.1:" + open_to_all.udp.rsplit(":", 1)[1])
        assert "position" in client.ask(publish="a", data=1)
        client.close()


def has_ipv6():
    """Containers often have none, not even on loopback."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="SKIPPED: this machine has no ::1")
def test_ipv6(channel):
    with Server(ORDINARY, "--udp", "[::1]:0") as server:
        client = UdpClient(server.udp)
        assert CURSOR.fullmatch(client.ask(subscribe=channel)["cursor"])
        client.close()
