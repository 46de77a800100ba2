"""What an HTTP client can do wrong: each fault gets its own answer and harms nobody else."""

import time
from urllib.parse import quote

import pytest

from harness import PATIENCE, eventually, metric
from http_client import Raw, assert_problem, channel_path, get, publish, request

pytestmark = pytest.mark.usefixtures("harmless")

NAMES = {
    "empty": "/channels/",
    "too-long": "/channels/" + "x" * 256,
    "not-utf8": "/channels/a%FFb",
    "doubled-slash": "/channels/a//b",
    "trailing-slash": "/channels/a/",
    "encoded-empty-segment": "/channels/a%2F%2Fb",
    "one-dot": "/channels/a/./b",
    "two-dots": "/channels/a/../b",
    "encoded-dots": "/channels/a/%2e%2E/b",
    "control-character": "/channels/a%0Ab",
    "nul": "/channels/a%00b",
    "broken-escape": "/channels/a%zzb",
    "cut-escape": "/channels/a%4",
}


@pytest.mark.parametrize("path", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_faulty_channel_name(server, path, method):
    with Raw(server) as raw:
        raw.send(f"{method} {path} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: {5 * (method == 'POST')}\r\n\r\n".encode())
        raw.send(b"hello" if method == "POST" else b"")
        assert_problem(raw.answer(), *((400, 404) if path == "/channels/" else (400,)))


@pytest.mark.parametrize("cursor", ["", "x", "-", "a-", "-1", "a_b-1", "a-1x", "a--1", "a-1-2", " a-1", "é-1", "a" * 33 + "-1", "a-" + "1" * 21])
def test_a_cursor_that_breaks_the_grammar(server, channel, cursor):
    assert_problem(get(server, "/channels/" + channel + "?after=" + quote(cursor, safe="")), 400)
    if cursor.strip() == cursor and cursor.isascii() and cursor:
        assert_problem(get(server, channel_path(channel), Last_Event_ID=cursor), 400)


@pytest.mark.parametrize("query", ["last=x", "last=-1", "last=1.5", "after=a-1&after=a-2"])
def test_a_start_that_cannot_be_read(server, channel, query):
    assert_problem(get(server, f"/channels/{channel}?{query}"), 400)


@pytest.mark.parametrize("wait", ["x", "-1", "1s", "", "31", "999999999999999999999"])
def test_a_wait_that_is_no_number_or_over_the_bound(server, channel, wait):
    assert_problem(get(server, f"/channels/{channel}?wait={wait}"), 400)


def test_a_body_over_the_limit_is_refused_before_it_is_read(server, channel):
    with Raw(server) as raw:
        raw.send(f"POST {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: 999999999\r\n\r\nonly this".encode())
        assert_problem(raw.answer(), 413)


def test_a_body_over_the_limit_that_waits_for_leave(server, channel):
    with Raw(server) as raw:
        head = f"POST {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
        raw.send(head.encode())
        assert_problem(raw.answer(), 413)


def test_a_chunked_body_over_the_limit(server, channel):
    with Raw(server) as raw:
        raw.send(f"POST {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(9):
            raw.send(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        assert_problem(raw.answer(), 413)


def test_a_body_at_the_limit_is_welcome(server, channel):
    publish(server, channel, "x" * (64 * 1024))


@pytest.mark.parametrize("body", ["", "{", "{'a':1}", "1 2", "nul", '"\\x"', "[1,]", "\ufeff1", '"\ud800"'])
def test_json_that_is_not_json(server, channel, body):
    answer = request(server, "POST", channel_path(channel), body.encode(errors="surrogatepass"), {"Content-Type": "application/json"})
    assert_problem(answer, 400, 422)


def test_json_of_endless_depth(server, channel):
    answer = request(server, "POST", channel_path(channel), b"[" * 50_000, {"Content-Type": "application/json"})
    assert_problem(answer, 400, 422)


@pytest.mark.parametrize("key", ["x" * 10_000, ""])
def test_an_idempotency_key_out_of_bounds(server, channel, key):
    answer = request(server, "POST", channel_path(channel), b"a", {"Idempotency-Key": key})
    assert_problem(answer, 400, 431)


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/json;q=0", "application/xml, audio/*"])
def test_an_accept_that_nothing_here_fits(server, channel, accept):
    assert_problem(get(server, channel_path(channel), Accept=accept), 406)


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", "text/html, */*;q=0.1"])
def test_an_accept_that_leaves_the_choice(server, channel, accept):
    assert get(server, channel_path(channel), Accept=accept).status == 200


@pytest.mark.parametrize(
    "method, path, allowed", [("DELETE", "/channels/a", "POST"), ("PATCH", "/channels/a", "GET"), ("GET", "/publish", "POST"),
                              ("POST", "/subscribe?channel=a", "GET"), ("BREW", "/channels/a", "GET")])
def test_a_method_that_the_address_does_not_know(server, method, path, allowed):
    answer = request(server, method, path)
    assert_problem(answer, 405)
    assert allowed in answer.headers["allow"]


def test_the_servers_own_channels_take_no_publications(server):
    assert_problem(request(server, "POST", "/channels/$presence/chat", b"a"), 400, 403)


@pytest.mark.parametrize("query", ["", "?channel=", "?channel=a//b", "?channel=a&after=x", "?channel=a&channel=b&after=%21%21"])
def test_a_subscription_of_nothing_or_of_nonsense(server, query):
    assert_problem(get(server, "/subscribe" + query), 400)


# Each is a request whose bounds two readers could see differently: refused, never guessed.
AMBIGUOUS = {
    "two-lengths": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two-lengths-in-one": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1, 2\r\n\r\nab",
    "length-and-chunked": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-and-length": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "length-with-sign": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: +1\r\n\r\na",
    "length-no-number": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: one\r\n\r\na",
    "length-too-long": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999999999999999999\r\n\r\na",
    "coding-unknown": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: cow\r\n\r\na",
    "chunked-not-last": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "bare-cr-in-value": "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-A: a\rb\r\n\r\n",
    "bare-cr-ends-line": "GET {path} HTTP/1.1\rHost: {host}\r\r",
    "obsolete-folding": "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-A: a\r\n b\r\n\r\n",
    "folded-first-line": "GET {path} HTTP/1.1\r\n X-A: a\r\nHost: {host}\r\n\r\n",
    "space-before-colon": "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-A : a\r\n\r\n",
    "nul-in-value": "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-A: a\0b\r\n\r\n",
    "name-empty": "GET {path} HTTP/1.1\r\nHost: {host}\r\n: a\r\n\r\n",
    "no-colon": "GET {path} HTTP/1.1\r\nHost: {host}\r\nnonsense\r\n\r\n",
    "two-hosts": "GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: other.example\r\n\r\n",
    "no-host": "GET {path} HTTP/1.1\r\n\r\n",
    "not-http": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "version-unknown": "GET {path} HTTP/9.9\r\nHost: {host}\r\n\r\n",
    "space-in-target": "GET {path} x HTTP/1.1\r\nHost: {host}\r\n\r\n",
}


@pytest.mark.parametrize("text", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_ambiguous_request_is_refused_never_guessed(server, channel, text):
    head = text.format(path=channel_path(channel), host=server.address)
    with Raw(server) as raw:
        raw.send(head.encode("latin-1"))
        received = raw.read_to_end()
    statuses = [line.split()[1] for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    # One refusal, and then the end: what follows an unreadable head is nobody's request. Nonsense may be met with silence.
    assert len(statuses) <= 1, received
    assert all(status in (b"400", b"408", b"411", b"501", b"505") for status in statuses), received
    assert statuses or text.startswith("\x16") or "\n" not in text, "refused without a word"
    assert get(server, channel_path(channel)).json()["publications"] == []


@pytest.mark.parametrize(
    "chunk", ["zz\r\nab\r\n0\r\n\r\n", "-1\r\nab\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFFF\r\nab\r\n0\r\n\r\n"],
    ids=["no-number", "negative", "longer-than-said", "too-large"])
def test_faulty_chunks(server, channel, chunk):
    with Raw(server) as raw:
        raw.send(f"POST {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}".encode())
        received = raw.read_to_end()
    assert received.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")) or not received, received
    assert get(server, channel_path(channel)).json()["publications"] == []


def test_a_foreign_host(server, channel):
    for host in ["foreign.example", f"foreign.example:{server.port}", "", "127.0.0.1@foreign.example", "[::1"]:
        assert_problem(get(server, channel_path(channel), Host=host), 400, 403, 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_hosts_of_loopback_are_its_own(server, channel, host):
    assert get(server, channel_path(channel), Host=f"{host}:{server.port}").status == 200


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\nX-A: " + b"a" * 20_000, b"GET /" + b"a" * 20_000, b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 4_000],
    ids=["long-header", "long-target", "many-headers"])
def test_a_head_that_is_too_long(server, head):
    with Raw(server) as raw:
        raw.send(head + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read_to_end().split(b" ")[1] in (b"400", b"414", b"431")


def test_a_head_that_never_ends(server):
    """A byte now and then keeps no connection: the whole head has a deadline."""
    began = time.monotonic()
    with Raw(server) as raw:
        raw.send(b"GET /channels/a HTTP/1.1\r\nHost: " + server.address.encode() + b"\r\n")
        raw.socket.settimeout(0.2)
        received, ended = b"", False
        while not ended and time.monotonic() - began < PATIENCE:
            raw.send(b"X-A: a\r\n")
            try:
                chunk = raw.socket.recv(65536)
                received, ended = received + chunk, not chunk
            except TimeoutError:
                continue
            except ConnectionResetError:
                ended = True
    assert ended and time.monotonic() - began < 5
    assert received.startswith(b"HTTP/1.1 408") or not received, received


def test_a_connection_that_says_nothing_is_not_kept_for_ever(server):
    began = time.monotonic()
    with Raw(server) as raw:
        raw.send(b"G")
        raw.read_to_end()
    assert time.monotonic() - began < 5


def test_one_that_vanishes_in_mid_request(server, channel):
    for part in [b"POST ", b"POST /channels/x HTTP/1.1\r\nHost: a", f"POST {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\n"
                 "Content-Length: 100\r\n\r\nhalf of it".encode()]:
        with Raw(server) as raw:
            raw.send(part)
    assert get(server, channel_path(channel)).json()["publications"] == []


def test_one_that_vanishes_in_mid_stream_is_forgotten(server, channel):
    def open_connections():
        return metric(get(server, "/metrics").body.decode(), "bongsu_connections")

    before = open_connections()
    readers = [Raw(server) for _ in range(5)]
    for raw in readers:
        raw.send(f"GET {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nAccept: application/x-ndjson\r\n\r\n".encode())
        raw.socket.recv(1024)
    eventually("the five are counted", lambda: open_connections() >= before + 5)
    for raw in readers:
        raw.close()
    publish(server, channel, "into the void")
    eventually("the five are gone", lambda: open_connections() <= before)

