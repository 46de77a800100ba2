"""The table of refused attempts: what a hostile page in a visitor's browser, or a hostile client before a proxy, may try.

Every attempt is made on every route and transport, and none of them reads or publishes anything."""

import json

import pytest

from harness import FOREIGN_ORIGIN, LISTED_ORIGIN
from http2_client import Http2, Stream
from http_client import Raw, assert_problem, channel_path, get, publish, reach, request
from raw_websocket import handshake
from sources import fault_count

pytestmark = [pytest.mark.direct, pytest.mark.usefixtures("harmless")]

EVENTS, LINES, PARTS = "text/event-stream", "application/x-ndjson", "multipart/mixed"
# Every route and transport: method, path, headers. `{channel}` is a channel with a secret in it.
ROUTES = {
    "poll": ("GET", "/channels/{channel}?earliest", {}),
    "head": ("HEAD", "/channels/{channel}", {}),
    "long-poll": ("GET", "/channels/{channel}?wait=5&earliest", {}),
    "sse": ("GET", "/channels/{channel}?earliest", {"Accept": EVENTS}),
    "ndjson": ("GET", "/channels/{channel}?earliest", {"Accept": LINES}),
    "multipart": ("GET", "/channels/{channel}?earliest", {"Accept": PARTS}),
    "several": ("GET", "/subscribe?channel={channel}&channel=b&earliest", {}),
    "several-sse": ("GET", "/subscribe?channel={channel}&channel=b&earliest", {"Accept": EVENTS}),
    "publish": ("POST", "/channels/{channel}", {"Content-Type": "text/plain"}),
    "publish-json": ("POST", "/channels/{channel}", {"Content-Type": "application/json"}),
    "batch": ("POST", "/publish", {"Content-Type": "text/plain"}),
    "preflight": ("OPTIONS", "/channels/{channel}", {"Access-Control-Request-Method": "POST"}),
    "preflight-batch": ("OPTIONS", "/publish", {"Access-Control-Request-Method": "POST"}),
    "metrics": ("GET", "/metrics", {}),
    "health": ("GET", "/health", {}),
    "page": ("GET", "/", {"Accept": "text/html"}),
    "file-of-the-page": ("GET", "/console/app.js", {}),
    "echo": ("GET", "/echo", {}),
    "nothing": ("GET", "/nothing-is-here", {}),
}
# What makes it somebody else's request, and the names that the refusal may have.
ATTEMPTS = {
    "foreign-host": ({"Host": "foreign.example"}, {"foreign-host"}),
    # DNS rebinding: the page's own name was made to resolve to us, so that its origin and the host agree.
    "rebound-name": ({"Host": "foreign.example", "Origin": "http://foreign.example"}, {"foreign-host"}),
    "rebound-name-with-port": ({"Host": "foreign.example:{port}", "Origin": "http://foreign.example:{port}"}, {"foreign-host"}),
    "rebound-same-origin": ({"Host": "foreign.example:{port}", "Sec-Fetch-Site": "same-origin"}, {"foreign-host"}),
    "name-that-begins-like-ours": ({"Host": "127.0.0.1.foreign.example:{port}"}, {"foreign-host"}),
    "name-that-ends-like-ours": ({"Host": "foreign-localhost:{port}"}, {"foreign-host"}),
    "decimal-address": ({"Host": "2130706433:{port}"}, {"foreign-host"}),
    "address-of-another": ({"Host": "192.168.0.1:{port}"}, {"foreign-host"}),
    "foreign-origin": ({"Origin": FOREIGN_ORIGIN}, {"foreign-origin"}),
    "sandboxed-page-or-file": ({"Origin": "null"}, {"foreign-origin"}),
    "another-port-of-this-machine": ({"Origin": "http://127.0.0.1:1"}, {"foreign-origin"}),
    "origin-that-begins-like-a-listed-one": ({"Origin": LISTED_ORIGIN + ".foreign.example"}, {"foreign-origin"}),
    "listed-host-in-the-clear": ({"Origin": LISTED_ORIGIN.replace("https", "http")}, {"foreign-origin"}),
    "extension": ({"Origin": "chrome-extension://abcdefgh"}, {"foreign-origin"}),
    # A form or an image of another site sends no Origin in some browsers.
    "cross-site-without-origin": ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, {"foreign-site"}),
    "same-site-without-origin": ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, {"foreign-site"}),
    "framed": ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, {"foreign-site"}),
}


def filled(headers, server):
    return {name: value.replace("{port}", str(server.port)) for name, value in headers.items()}


def body_of(route, channel):
    if route == "batch":
        return json.dumps({"publish": channel, "data": "forged"})
    return '"forged"' if route.startswith("publish") else None


def publications(server, channel):
    return [entry["data"] for entry in get(server, channel_path(channel)).json()["publications"]]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_route_answers_a_foreign_page(server, channel, attempt):
    changes, codes = ATTEMPTS[attempt]
    publish(server, channel, "secret")
    for route, (method, path, headers) in ROUTES.items():
        path, headers = path.replace("{channel}", channel), headers | filled(changes, server)
        answer = request(server, method, path, body_of(route, channel), headers)
        assert answer.status in (403, 421), (route, answer)
        assert b"secret" not in answer.body, route
        assert "access-control-allow-origin" not in answer.headers, route
        if method != "HEAD":
            assert assert_problem(answer, 403, 421)["code"] in codes, route
    assert publications(server, channel) == ["secret"], "nothing was forged"


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_route_answers_a_foreign_page_over_http2(server, channel, attempt):
    changes, codes = ATTEMPTS[attempt]
    publish(server, channel, "secret")
    with Http2(server) as connection:
        for route, (method, path, headers) in ROUTES.items():
            headers = {name: value for name, value in (headers | filled(changes, server)).items() if name != "Host"}
            pseudo = {":authority": filled(changes, server)["Host"]} if "Host" in changes else None
            body = body_of(route, channel)
            stream = connection.request(method, path.replace("{channel}", channel), headers, body and body.encode(), pseudo)
            assert int(stream.head()) in (403, 421), route
            if method != "HEAD":
                assert json.loads(stream.read())["code"] in codes, route
        # A refused extended CONNECT opens no WebSocket.
        for path in (channel_path(channel), "/echo"):
            pseudo = {":protocol": "websocket"} | ({":authority": filled(changes, server)["Host"]} if "Host" in changes else {})
            headers = {name: value for name, value in filled(changes, server).items() if name != "Host"}
            stream = connection.request("CONNECT", path, {"sec-websocket-version": "13"} | headers, pseudo=pseudo, end=False)
            assert int(stream.head()) in (403, 421), path
    assert publications(server, channel) == ["secret"]


@pytest.mark.parametrize("subprotocol", [None, "bongsu.v1.json"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_websocket_opens_for_a_foreign_page(server, channel, attempt, subprotocol):
    """Browsers let any page open a WebSocket anywhere: only the server can refuse."""
    changes, codes = ATTEMPTS[attempt]
    for path in (channel_path(channel), f"/subscribe?channel={channel}", "/echo"):
        with Raw(server) as raw:
            raw.send(handshake(server, path, Sec_WebSocket_Protocol=subprotocol, **filled(changes, server)))
            assert assert_problem(raw.answer(), 403, 421)["code"] in codes, path


def test_a_form_of_another_site_publishes_nothing(server, channel):
    """A form may send text/plain anywhere without asking first (Fetch, "simple requests")."""
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for origin in ({"Origin": FOREIGN_ORIGIN}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}):
            for path, body in ((channel_path(channel), "forged"), ("/publish", json.dumps({"publish": channel, "data": "forged"}))):
                assert_problem(request(server, "POST", path, body, {"Content-Type": content_type} | origin), 403)
    assert publications(server, channel) == []


def test_a_page_cannot_speak_the_native_protocol_through_http(server, channel):
    """A form's body may hold lines of the native protocol, and its address may be that of the TCP listener."""
    command = json.dumps({"publish": channel, "data": "forged", "id": 1}).encode()
    before = fault_count(server, "http-on-tcp")
    for head in (b"POST / HTTP/1.1", b"GET /x HTTP/1.1", b"POST / HTTP/1.0"):
        with reach(server, server.tcp) as connection, connection.makefile("rb") as lines:
            connection.sendall(head + b"\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n" + command + b"\n" + command + b"\n")
            assert json.loads(lines.readline())["error"]["code"] == "http-on-tcp"
            told = lines.read()
            assert b"position" not in told
    assert publications(server, channel) == []
    assert fault_count(server, "http-on-tcp") == before + 3


def test_an_origin_that_is_listed_may(server, channel):
    """The other side of the table: it refuses what is foreign, and not everything."""
    answer = request(server, "POST", channel_path(channel), "welcome", {"Origin": LISTED_ORIGIN, "Content-Type": "text/plain"})
    assert answer.status == 201 and answer.headers["access-control-allow-origin"] == LISTED_ORIGIN
    assert publications(server, channel) == ["welcome"]


def test_pages_and_answers_carry_their_security_headers(server, channel):
    publish(server, channel, "<script>alert(1)</script>", "text/html")
    page = get(server, "/", Accept="text/html").headers
    policy = dict(part.strip().split(" ", 1) for part in page["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'" and "unsafe" not in page["content-security-policy"]
    for headers in (page, get(server, "/console/app.js").headers):
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    asked = [("/console/app.js", "*/*"), ("/", "text/html"), ("/", "*/*"), (channel_path(channel), "*/*"), ("/health", "*/*"), ("/metrics", "*/*"),
             ("/nothing-is-here", "*/*"), (channel_path(channel, wait="x"), "*/*")]
    for path, accept in asked:
        assert get(server, path, Accept=accept).headers["x-content-type-options"] == "nosniff", path
    for accept in (EVENTS, LINES, PARTS):
        with Raw(server) as raw:
            raw.send(f"GET {channel_path(channel)} HTTP/1.1\r\nHost: {server.address}\r\nAccept: {accept}\r\n\r\n".encode())
            assert b"x-content-type-options: nosniff" in raw.socket.recv(4096), accept
    problem = get(server, "/nothing-is-here").headers
    assert problem["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


# A request within a request: {inner} is what one of two readers, the proxy or the server, would take for the next one.
SMUGGLED = {
    "CL.TE": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {rest}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE.CL": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{size}\r\n{inner}\r\n0\r\n\r\n",
    "TE.TE-unknown-second": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{inner}",
    "TE-not-quite-chunked": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{inner}",
    "TE-with-vertical-tab": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "TE-behind-a-space": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding : chunked\r\nContent-Length: {rest}\r\n\r\n0\r\n\r\n{inner}",
    "TE-folded": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE-in-HTTP/1.0": "POST {path} HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE-identity": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: identity\r\nContent-Length: {rest}\r\n\r\n0\r\n\r\n{inner}",
    "CL-twice": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nContent-Length: {rest}\r\n\r\n{inner}",
    "CL-twice-the-same": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n{inner}",
    "CL-list": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0, {rest}\r\n\r\n{inner}",
    "CL-with-sign": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: +0\r\n\r\n{inner}",
    "CL-hexadecimal": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0x0\r\n\r\n{inner}",
    "CL-empty": "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length:\r\n\r\n{inner}",
    "obs-fold": "GET /health HTTP/1.1\r\nHost: {host}\r\nX-A: b\r\n Content-Length: {rest}\r\n\r\n{inner}",
    "obs-fold-by-tab": "GET /health HTTP/1.1\r\nHost: {host}\r\nX-A: b\r\n\tc\r\n\r\n{inner}",
    "bare-LF-ends-line": "GET /health HTTP/1.1\nHost: {host}\n\n{inner}",
    "bare-LF-hides-header": "GET /health HTTP/1.1\r\nHost: {host}\r\nX-A: b\nContent-Length: {rest}\r\n\r\n{inner}",
    "bare-LF-ends-head": "GET /health HTTP/1.1\r\nHost: {host}\r\n\n{inner}",
    "bare-CR": "GET /health HTTP/1.1\r\nHost: {host}\r\nX-A: b\rContent-Length: {rest}\r\n\r\n{inner}",
    "NUL": "GET /health HTTP/1.1\r\nHost: {host}\r\nX-A: b\0\r\n\r\n{inner}",
    "two-hosts": "GET /health HTTP/1.1\r\nHost: {host}\r\nHost: foreign.example\r\n\r\n{inner}",
    "chunk-ext-with-LF": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\nab\r\n0\r\n\r\n{inner}",
    "chunk-ext-with-CR": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n2;a\rb\r\nab\r\n0\r\n\r\n{inner}",
    "chunk-size-ends-by-LF": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n{inner}",
    "chunk-longer-than-said": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n{inner}",
    "chunk-size-with-prefix": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n{inner}",
    "chunk-size-with-underscore": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0_2\r\nab\r\n0\r\n\r\n{inner}",
    "chunk-size-that-overflows": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n{inner}",
    "last-chunk-without-CR": "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\n\n{inner}",
}


@pytest.mark.parametrize("text", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_a_request_within_a_request_is_nobodys(server, channel, text):
    inner = f"POST {channel_path(channel + '/inner')} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: 6\r\n\r\nforged"
    values = {"path": channel_path(channel), "host": server.address, "inner": inner}
    with Raw(server) as raw:
        raw.send(text.format(**values, rest=len(inner) + 5, size=f"{len(inner):x}").encode("latin-1"))
        received = raw.read_to_end()
    statuses = [line.split()[1] for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    assert len(statuses) == 1 and statuses[0] in (b"400", b"413", b"501"), received
    assert publications(server, channel) == publications(server, channel + "/inner") == []


# HTTP/2 has no such ambiguities of its own, but for those that it carries on to whoever speaks HTTP/1.1 behind.
OVER_HTTP2 = {
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "connection-header": [("connection", "keep-alive")],
    "line-end-in-value": [("x-a", "b\r\ncontent-length: 5")],
    "line-end-in-name": [("x-a\r\nhost", "foreign.example")],
    "upper-case-name": [("X-A", "b")],
    "length-twice": [("content-length", "6"), ("content-length", "60")],
    "length-that-is-wrong": [("content-length", "5")],
    "host-that-is-another": [("host", "foreign.example")],
}


@pytest.mark.parametrize("headers", OVER_HTTP2.values(), ids=OVER_HTTP2.keys())
def test_http2_carries_no_ambiguity(server, channel, headers):
    with Http2(server) as connection:
        h2 = connection.h2
        h2.config.normalize_outbound_headers = False
        head = [(":method", "POST"), (":scheme", "http"), (":authority", server.address), (":path", channel_path(channel)), *headers]
        stream_id = h2.get_next_available_stream_id()
        stream = connection.streams[stream_id] = Stream(connection, stream_id)
        h2.send_headers(stream_id, head)
        h2.send_data(stream_id, b"forged", end_stream=True)
        connection.flush()
        while stream.status is None and stream.reset is None and connection.goaway is None and not connection.ended:
            connection.pump()
        assert stream.status in (None, 400), stream.status
    assert publications(server, channel) == []
