"""What a proxy could spoil, behind nginx and HAProxy as the documentation configures them, and through tinyproxy's tunnel.

The shared cases run through the same proxies by `BONGSU_VIA`; here stands what they do not ask."""

import json
import subprocess
import threading
import time
import zlib
from http.client import IncompleteRead

import pytest

from harness import BINARY, FOREIGN_ORIGIN, LISTED_ORIGIN, PATIENCE, Server, eventually, metric
from http_client import (Raw, assert_problem, channel_path, connect, get, moved, offset_of, publish, publish_many, read_answer,
                         request)
from proxies import FOLDER, KINDS, Haproxy, Nginx, Tinyproxy
from publishers import Publishers
from raw_websocket import CLOSE, PING, PONG, TEXT, RawWebSocket, frame
from sources import From
from subscribers import TRANSPORTS, Multipart, Ndjson, Plain, Sse

pytestmark = pytest.mark.proxies

NAME = "chat.example"
# As a deployment has it, but for heartbeats, so that nothing but a publication can push a publication through.
DEPLOYED = {"http": {"hosts": [NAME], "origins": [LISTED_ORIGIN], "heartbeat": "1h"}, "websocket": {"ping_interval": "1h"}}
READ_TIMEOUT_SECONDS = 1
# HTTP/2 these proxies speak on a port of its own, and HTTP/1.1 to the server.
OVER_HTTP = {name: transport for name, transport in TRANSPORTS.items() if name not in ("tcp", "stomp", "stomp-1.1", "udp") and not name.startswith("http2")}
IN_FRONT = {
    "nginx": Nginx, "nginx-gzip": lambda origin: Nginx(origin, more="gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;"),
    "haproxy": Haproxy, "haproxy-closing": lambda origin: Haproxy(origin, {"mode http\n": "mode http\n    option http-server-close\n"})}
in_front = pytest.mark.parametrize("front", IN_FRONT, indirect=True)


@pytest.fixture(scope="module")
def origin():
    with Server(DEPLOYED) as running:
        yield running


@pytest.fixture(scope="module")
def front(origin, request):
    """A proxy in front of the server, which is used as if it were the server."""
    with IN_FRONT[request.param](origin.direct) as proxy:
        yield proxy


@in_front
@pytest.mark.parametrize("transport", OVER_HTTP.values(), ids=OVER_HTTP.keys())
def test_a_publication_is_there_before_the_next_is_made(front, channel, transport):
    with transport(front, channel) as subscriber:
        subscriber.opened()
        for n in range(20):
            publish(front, channel, str(n))
            assert subscriber.take().data == str(n)


@in_front
def test_a_plain_websocket_gets_each_before_the_next_is_made(front, channel):
    with Plain(front, channel) as subscriber:
        for n in range(20):
            subscriber.connection.send(str(n))
            assert subscriber.take().data == str(n)


@pytest.mark.parametrize("accept", [Ndjson.accept, Multipart.accept, Sse.accept])
def test_what_nginx_compresses_it_does_not_hold_back_either(origin, channel, accept):
    with IN_FRONT["nginx-gzip"](origin.direct) as proxy:
        connection, inflate = connect(proxy), zlib.decompressobj(wbits=31)
        connection.request("GET", channel_path(channel), headers={"Accept": accept, "Accept-Encoding": "gzip"})
        response = connection.getresponse()
        assert response.getheader("Content-Encoding") == "gzip"
        for n in range(20):
            publish(proxy, channel, f"number {n}")
            seen = b""
            while f"number {n}".encode() not in seen:
                chunk = response.read1(65536)
                assert chunk, "the stream ended"
                seen += inflate.decompress(chunk)
        response.close()
        connection.close()


@in_front
@pytest.mark.parametrize("transport", ["ndjson", "multipart", "sse", "long-poll", "native"])
def test_who_leaves_the_proxy_has_left_the_server(origin, front, channel, transport):
    """With no heartbeat to find it out: a server that is not told would hold a connection for each that ever was."""
    before = held(origin, transport)
    if transport == "long-poll":
        last = publish(front, channel, "a")
        leaving = connect(front)
        leaving.request("GET", channel_path(channel, after=last, wait=60))
    else:
        leaving = TRANSPORTS[transport](front, channel)
        leaving.opened()
    eventually("the server holds it", lambda: held(origin, transport) > before)
    leaving.close()
    eventually("the server lets it go", lambda: held(origin, transport) <= before)


def held(origin, transport):
    label = {"ndjson": "stream"}.get(transport, transport)
    return metric(get(origin, "/metrics").body.decode(), "bongsu_connections", transport=label)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_heartbeats_outlast_the_proxys_patience(channel, kind):
    """Idle for three times as long as the proxy would let silence last, and still there."""
    with Server(DEPLOYED | {"http": {"heartbeat": "250ms"}, "websocket": {"ping_interval": "250ms"}}) as origin:
        with kind(origin.direct, kind.read_timeout) as proxy:
            server = seen_through(proxy, origin)
            streams = [transport(server, channel) for transport in (Ndjson, Multipart, Sse)]
            with RawWebSocket(server, "/channels/" + channel) as websocket:
                began = time.monotonic()
                while time.monotonic() - began < 3 * READ_TIMEOUT_SECONDS:
                    opcode, payload = websocket.receive()
                    assert opcode == PING
                    websocket.send(frame(PONG, payload))
                publish(server, channel, "still here")
                while (told := websocket.receive())[0] == PING:
                    pass
                assert told == (TEXT, b"still here")
            for stream in streams:
                assert stream.take().data == "still here"
                stream.close()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_without_heartbeats_the_proxy_would_cut(origin, channel, kind):
    """So that the test above is known to show something."""
    with kind(origin.direct, kind.read_timeout) as proxy, Ndjson(seen_through(proxy, origin), channel) as stream:
        stream.opened()
        with pytest.raises((IncompleteRead, ConnectionError, AssertionError)):
            stream.take()


def seen_through(proxy, origin):
    """What clients take for the server: a proxy in front is it, one that stands between leads to it."""
    if not isinstance(proxy, Tinyproxy):
        return proxy
    proxy.tunnel = (proxy.host, proxy.port)
    proxy.host, proxy.port, proxy.address = origin.host, origin.port, origin.direct
    return proxy


@in_front
@pytest.mark.parametrize("code", [1000, 1001, 4321])
def test_a_close_code_is_answered_through_the_proxy(front, channel, code):
    with RawWebSocket(front, "/channels/" + channel) as websocket:
        websocket.send(frame(CLOSE, code.to_bytes(2, "big")))
        assert websocket.close_code() == code


@in_front
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_large_bodies_pass_and_too_large_ones_are_told_so_by_the_server(front, channel, chunked):
    largest = b"x" * (1 << 20)
    with Ndjson(front, channel) as subscriber:
        subscriber.opened()
        assert post(front, channel_path(channel), largest, chunked).status == 201
        assert subscriber.take().data == largest.decode()
    assert get(front, channel_path(channel)).json()["publications"][0]["data"] == largest.decode()
    assert_problem(post(front, channel_path(channel), largest + b"x", chunked), 413)
    assert_problem(post(front, channel_path(channel), largest * 4, chunked), 413)


@in_front
def test_a_large_batch_passes(front, channel):
    line = json.dumps({"publish": channel, "data": "x" * 100_000}).encode() + b"\n"
    answer = post(front, "/publish", line * 100, chunked=True)
    assert answer.status == 200
    assert [offset_of(json.loads(result)["position"]) for result in answer.body.splitlines()] == list(range(1, 101))


def post(server, path, body, chunked):
    connection = connect(server)
    pieces = (body[at:at + 50_000] for at in range(0, len(body), 50_000)) if chunked else body
    connection.request("POST", path, pieces, {"Content-Type": "text/plain"}, encode_chunked=chunked)
    try:
        return read_answer(connection.getresponse())
    finally:
        connection.close()


@in_front
def test_the_server_is_asked_by_the_name_that_the_client_used(front, channel):
    """So that it can tell its own pages from foreign ones, and a name of its own from one that was made to lead to it."""
    for scheme in ("http", "https"):
        own = {"Host": NAME, "Origin": f"{scheme}://{NAME}", "Sec-Fetch-Site": "same-origin"}
        assert request(front, "POST", channel_path(channel), b"own", own).status == 201
    with_port = {"Host": f"{NAME}:8443", "Origin": f"https://{NAME}:8443"}
    assert request(front, "POST", channel_path(channel), b"own", with_port).status == 201
    listed = request(front, "GET", channel_path(channel), headers={"Host": NAME, "Origin": LISTED_ORIGIN})
    assert (listed.status, listed.headers["access-control-allow-origin"]) == (200, LISTED_ORIGIN)
    assert_problem(request(front, "GET", channel_path(channel), headers={"Host": NAME, "Origin": FOREIGN_ORIGIN}), 403)
    assert_problem(request(front, "GET", channel_path(channel), headers={"Host": "rebound.example"}), 421)


@in_front
def test_every_form_over_http2_before_the_proxy(front, channel):
    posted = curl_http2("--data-binary", "0", front.http2(channel_path(channel)))
    cursor = json.loads(posted.body)["position"]
    page = curl_http2(front.http2(channel_path(channel)))
    assert (page.head[:6], page.headers["bongsu-cursor"]) == ("HTTP/2", cursor)
    same = curl_http2("--header", f"If-None-Match: {page.headers['etag']}", front.http2(channel_path(channel)))
    assert (same.head.split()[1], same.body, same.headers["bongsu-cursor"]) == ("304", b"", cursor)
    waited = curl_http2(front.http2(channel_path(channel, after=cursor, wait=1)))
    assert (waited.head.split()[1], waited.headers["bongsu-cursor"]) == ("204", cursor)
    for accept in ("application/x-ndjson", "multipart/mixed", "text/event-stream"):
        command = [*CURL_HTTP2, "--header", f"Accept: {accept}", front.http2(channel_path(channel))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline().split()[1] == b"200"
            while process.stdout.readline().strip():
                pass
            for n in range(5):
                publish(front, channel, f"{accept} {n}")
                while f"{accept} {n}".encode() not in (line := process.stdout.readline()):
                    assert line, "the stream ended"
            process.terminate()


CURL_HTTP2 = ["curl", "--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--max-time", "60", "--http2-prior-knowledge", "--include"]


class curl_http2:
    """One whole answer over HTTP/2."""

    def __init__(self, *arguments):
        done = subprocess.run([*CURL_HTTP2, *arguments], capture_output=True, check=True, timeout=PATIENCE)
        head, _, self.body = done.stdout.partition(b"\r\n\r\n")
        self.head, *lines = head.decode().split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_every_form_through_a_proxy_that_is_asked_for_the_whole_address(origin, channel):
    """As a browser asks a proxy of its own for what is not encrypted: no tunnel, but the request itself, for the proxy to send on."""
    with Tinyproxy(origin.direct) as proxy:
        curl = ["curl", "--silent", "--show-error", "--fail", "--no-buffer", "--proxy", proxy.http(), "--max-time", "60"]
        address = origin.http(channel_path(channel))
        posted = subprocess.run([*curl, "--data-binary", "0", address], capture_output=True, check=True, timeout=PATIENCE)
        cursor = json.loads(posted.stdout)["position"]
        for query in ({"last": 1}, {"after": moved(cursor, -1), "wait": 5}):
            page = subprocess.run([*curl, origin.http(channel_path(channel, **query))], capture_output=True, check=True, timeout=PATIENCE)
            assert [entry["data"] for entry in json.loads(page.stdout)["publications"]] == ["0"]
        for accept in (Ndjson.accept, Multipart.accept, Sse.accept):
            with subprocess.Popen([*curl, "--header", f"Accept: {accept}", address], stdout=subprocess.PIPE) as process:
                assert process.stdout.readline(), "the opening"
                for n in range(5):
                    publish(origin, channel, f"{accept} {n}")
                    while f"{accept} {n}".encode() not in (line := process.stdout.readline()):
                        assert line, "the stream ended"
                process.terminate()


@pytest.fixture(scope="module")
def caching(origin):
    with Nginx(origin.direct, more=(FOLDER / "nginx-cache.conf").read_text()) as proxy:
        yield proxy


def pages_asked(origin):
    return metric(get(origin, "/metrics").body.decode(), "bongsu_requests_total", route="channel")


def test_identical_polls_cost_the_server_one_a_second(origin, caching, channel):
    position = publish(origin, channel, "a")
    before, began = pages_asked(origin), time.monotonic()
    answers = []

    def poll():
        for _ in range(20):
            answers.append(get(caching, channel_path(channel)))

    threads = [threading.Thread(target=poll) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    asked, took = pages_asked(origin) - before, time.monotonic() - began
    assert len(answers) == 200
    assert {(answer.status, answer.headers["bongsu-cursor"], answer.body) for answer in answers} == {(200, position, answers[0].body)}
    assert all('rel="next"' in answer.headers["link"] for answer in answers)
    # A page that is still open may be kept for a second.
    assert 1 <= asked <= 1 + int(took), (asked, took)


def test_what_a_cache_keeps_is_never_the_wrong_answer(origin, caching, channel):
    positions = publish_many(origin, channel, ["a", "b", "c"])
    # First of all the page that is kept; then everything that may not be answered with it.
    page = get(caching, channel_path(channel, after=positions[0]))
    assert [entry["data"] for entry in page.json()["publications"]] == ["b", "c"]
    resumed = get(caching, channel_path(channel, after=positions[0]), Last_Event_ID=positions[1])
    assert [entry["data"] for entry in resumed.json()["publications"]] == ["c"]
    again = get(caching, channel_path(channel, after=positions[0]), If_None_Match=page.headers["etag"])
    assert (again.status, again.headers["bongsu-cursor"], again.headers["link"]) == (304, positions[2], page.headers["link"])
    listed = get(caching, channel_path(channel, after=positions[0]), Origin=LISTED_ORIGIN)
    assert listed.headers["access-control-allow-origin"] == LISTED_ORIGIN
    foreign = get(caching, channel_path(channel, after=positions[0]), Host="rebound.example")
    assert foreign.status == 421
    head = request(caching, "HEAD", channel_path(channel), headers={"Accept": "text/event-stream"})
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")


# A poll's page may be a second old, which is what a cache is for.
@pytest.mark.parametrize("transport", [name for name in OVER_HTTP if name != "poll"])
def test_a_cache_holds_nobody_else_up(caching, channel, transport):
    """Two at once with one and the same request: neither waits for the other's answer."""
    transport = TRANSPORTS[transport]
    with transport(caching, channel) as one, transport(caching, channel) as other:
        one.opened(), other.opened()
        for n in range(5):
            publish(caching, channel, str(n))
            assert (one.take().data, other.take().data) == (str(n), str(n))


# What people's nginx is like before they have read how it should be.
HALF_DONE = {
    "no-upgrade": {"        proxy_set_header Upgrade $http_upgrade;\n": "", "        proxy_set_header Connection $bongsu_connection;\n": ""},
    "http-1.0": {
        "        proxy_set_header Upgrade $http_upgrade;\n": "", "        proxy_set_header Connection $bongsu_connection;\n": "",
        "        proxy_http_version 1.1;\n": ""},
}


@pytest.mark.parametrize("changes", HALF_DONE.values(), ids=HALF_DONE.keys())
def test_auto_falls_back_where_websockets_do_not_pass_and_loses_nothing(origin, channel, changes):
    cursor = publish(origin, channel, "the first")
    with Nginx(origin.direct, changes) as proxy, Publishers(origin, channel, 500) as publishers:
        followed = subprocess.run(
            [str(BINARY), "subscribe", "--url", proxy.http(), channel, "--after", cursor, "--count", "2000", "--format", "json"],
            capture_output=True, timeout=PATIENCE * 3, check=True)
    told = [json.loads(line) for line in followed.stdout.splitlines()]
    assert [entry["position"] for entry in told] == [moved(cursor, n) for n in range(1, 2001)]
    publishers.check_complete([entry["data"] for entry in told])
    assert b"websocket does not get through" in followed.stderr
    assert b"trying sse" in followed.stderr


# A connection for each address: whoever is taken for the proxy, or for another client, shows at once.
WHOSE = {"limits": {"exempt": [], "connections_per_address_max": 1}, "proxy": {"trusted": ["127.0.0.1"]}}
SIGNED = WHOSE | {"proxy": {"trusted": ["127.0.0.1"], "http": "required"}}
TELLING = {
    "nginx": (WHOSE, Nginx), "haproxy": (WHOSE, Haproxy),
    "haproxy-send-proxy": (SIGNED, lambda origin: Haproxy(origin, {" check\n": " check send-proxy\n", "    option forwardfor\n": ""})),
    "haproxy-send-proxy-v2": (SIGNED, lambda origin: Haproxy(origin, {" check\n": " check send-proxy-v2\n", "    option forwardfor\n": ""})),
}


@pytest.mark.parametrize("config, front", TELLING.values(), ids=TELLING.keys())
def test_a_proxy_that_is_listed_tells_whose_a_connection_is(channel, config, front):
    with Server(config) as origin, front(origin.direct) as proxy:
        eventually("the proxy finds the server", lambda: whose(proxy, "127.0.0.9", "GET", "/health") == 200)
        with From(proxy, "127.0.0.2") as first, From(proxy, "127.0.0.2") as again, From(proxy, "127.0.0.3") as other:
            made_up = {"X_Forwarded_For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
            assert first.follow(channel, **made_up) == 200
            assert again.ask("GET", "/health", **made_up).status == 429
            assert other.follow(channel, **made_up) == 200
            first.following.close()


def whose(proxy, source, method, path):
    with From(proxy, source) as connection:
        return connection.ask(method, path).status


def test_a_weakened_validator_still_validates(channel):
    """Where nginx compresses, the validator is weak (RFC 9110, 8.8.1): the server compares it all the same."""
    compressing = "gzip on; gzip_types application/json; gzip_proxied any;"
    with Server({"http": {"compression": False}}) as origin, Nginx(origin.direct, more=compressing) as proxy:
        publish(origin, channel, "compressible " * 100)
        page = get(proxy, channel_path(channel), Accept_Encoding="gzip")
        assert (page.headers["content-encoding"], page.headers["etag"][:2]) == ("gzip", "W/")
        again = get(proxy, channel_path(channel), Accept_Encoding="gzip", If_None_Match=page.headers["etag"])
        assert (again.status, again.body) == (304, b"")
