"""Whose connection it is, behind proxies: believed of those that are listed, and of nobody else."""

import struct

import pytest

from harness import Server, eventually, metric
from http2_client import Http2
from http_client import assert_problem, channel_path
from sources import OTHER, From, fault_count, reach_from

pytestmark = pytest.mark.direct

CLIENT, OTHER_CLIENT = "203.0.113.7", "203.0.113.8"
# The tests themselves are the proxy: 127.0.0.1 is listed, 127.0.0.2 is not. One connection an address shows who is taken for whom.
BEHIND = {"limits": {"exempt": [], "connections_per_address_max": 1}, "proxy": {"trusted": ["127.0.0.1"]}}


@pytest.fixture(scope="module")
def behind():
    with Server(BEHIND) as running:
        yield running


@pytest.fixture(scope="module")
def by_forwarded():
    with Server(BEHIND | {"proxy": {"trusted": ["127.0.0.1"], "header": "forwarded"}}) as running:
        yield running


def follow(server, source="127.0.0.1", **headers):
    connection = From(server, source)
    status = connection.follow("whose", **headers)
    return status, connection


def statuses(server, *requests):
    """Those of requests that are open at the same time."""
    opened = [follow(server, **one) for one in requests]
    for _, connection in opened:
        connection.following.close()
        connection.close()
    eventually("they are gone", lambda: _is_free(server))
    return [status for status, _ in opened]


def _is_free(server):
    for headers in [{"X_Forwarded_For": CLIENT}, {"Forwarded": f"for={CLIENT}"}]:
        with From(server, "127.0.0.1") as connection:
            if connection.ask("GET", "/health", **headers).status != 200:
                return False
    with From(server, OTHER) as connection:
        if connection.ask("GET", "/health").status != 200:
            return False
    # These were connections themselves, whose ends are still to be seen. The one that asks is there.
    with From(server, "127.0.0.1") as connection:
        return metric(connection.ask("GET", "/metrics", X_Forwarded_For="192.0.2.99").body.decode(), "bongsu_connections") == 1


def test_clients_behind_a_listed_proxy_count_apart(behind):
    assert statuses(behind, {"X_Forwarded_For": CLIENT}, {"X_Forwarded_For": OTHER_CLIENT}, {"X_Forwarded_For": CLIENT}) == [200, 200, 429]


def test_what_a_client_sends_ahead_is_not_its_address(behind):
    made_up = [{"X_Forwarded_For": f"198.51.100.{n}, {CLIENT}"} for n in range(2)]
    assert statuses(behind, *made_up) == [200, 429]


def test_whoever_is_not_listed_says_nothing_about_himself(behind):
    opened = [From(behind, OTHER), From(behind, OTHER)]
    assert opened[0].follow("whose", X_Forwarded_For="198.51.100.1") == 200
    assert opened[1].ask("GET", "/health", X_Forwarded_For="198.51.100.2").status == 429
    for one in opened:
        one.close()
    eventually("they are gone", lambda: _is_free(behind))


def test_only_the_configured_header_is_read(behind, by_forwarded):
    assert statuses(behind, {"Forwarded": f"for={CLIENT}"}, {"Forwarded": f"for={CLIENT}"}) == [200, 200]
    assert statuses(by_forwarded, {"Forwarded": f"for={CLIENT}"}, {"Forwarded": f'for="{CLIENT}:1234"'}) == [200, 429]
    assert statuses(by_forwarded, {"X_Forwarded_For": CLIENT}, {"X_Forwarded_For": CLIENT}) == [200, 200]


def test_a_listed_proxy_that_cannot_be_understood_is_told_so(behind):
    with From(behind, "127.0.0.1") as connection:
        answer = connection.ask("GET", "/health", X_Forwarded_For="localhost")
        assert assert_problem(answer, 400)["code"] == "forwarded-unreadable"


def test_a_kept_connection_of_a_proxy_carries_one_client_after_the_other(behind):
    with From(behind, "127.0.0.1") as connection, From(behind, "127.0.0.1") as streaming:
        assert streaming.follow("whose", X_Forwarded_For=CLIENT) == 200
        assert connection.ask("GET", "/health", X_Forwarded_For=OTHER_CLIENT).status == 200
        assert connection.ask("GET", "/health", X_Forwarded_For="203.0.113.9").status == 200
        assert connection.ask("GET", "/health", X_Forwarded_For=CLIENT).status == 429
        streaming.following.close()
    eventually("they are gone", lambda: _is_free(behind))


def test_the_streams_of_http2_are_told_apart_too(behind):
    connection = Http2(behind)
    opened = [connection.request("GET", channel_path("whose"), {"accept": "application/x-ndjson", "x-forwarded-for": address})
              for address in (CLIENT, OTHER_CLIENT, CLIENT)]
    found = [int(stream.head()) for stream in opened]
    connection.close()
    assert found == [200, 200, 429]
    eventually("they are gone", lambda: _is_free(behind))


# The PROXY protocol, as bytes.
def v1(source=CLIENT, destination="192.0.2.1"):
    return f"PROXY TCP4 {source} {destination} 56324 80\r\n".encode()


def v2(source=CLIENT, command=1, family=0x11, more=b""):
    addresses = bytes(int(part) for part in f"{source}.192.0.2.1".split(".")) + struct.pack("!HH", 56324, 80) if family == 0x11 else b""
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family]) + struct.pack("!H", len(addresses + more)) + addresses + more


HEADERS = {"v1": v1, "v2": v2}
SIGNED = {"limits": BEHIND["limits"], "proxy": {"trusted": ["127.0.0.1"], "http": "required", "tcp": "required"}}
REQUEST = b"GET /channels/whose HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/x-ndjson\r\n\r\n"


@pytest.fixture(scope="module")
def signed():
    with Server(SIGNED) as running:
        yield running


def speak(server, *pieces, source="127.0.0.1", address=None):
    connection = reach_from(source, address or server.address)
    for piece in pieces:
        connection.sendall(piece)
    return connection


def status_of(connection):
    line = connection.makefile("rb").readline()
    return int(line.split()[1]) if line else None


def all_statuses(server, *beginnings):
    opened, found = [], []
    for beginning in beginnings:
        opened.append(speak(server, beginning, REQUEST))
        found.append(status_of(opened[-1]))
    for connection in opened:
        connection.close()
    return found


@pytest.mark.parametrize("version", HEADERS.values(), ids=HEADERS.keys())
def test_the_proxy_protocol_tells_whose_a_connection_is(signed, version):
    def told():
        return all_statuses(signed, version(CLIENT), version(OTHER_CLIENT), version(CLIENT)) == [200, 200, 429]
    eventually("each counts by its own address", told)


@pytest.mark.parametrize("version", HEADERS.values(), ids=HEADERS.keys())
def test_its_header_comes_in_any_pieces(signed, version):
    header = version("198.51.100.20")
    connection = speak(signed, *[header[n:n + 1] for n in range(len(header))], REQUEST)
    assert status_of(connection) == 200
    connection.close()


def test_it_goes_before_the_native_protocol_as_well(signed):
    connection = speak(signed, v2("198.51.100.30", more=b"\x04\x00\x01\x00") + b'{"ping":1}\n', address=signed.tcp)
    assert connection.makefile("rb").readline() == b'{"pong":1}\n'
    connection.close()


def test_a_proxy_may_speak_for_itself(signed):
    for header in [v2(command=0), v2(family=0), b"PROXY UNKNOWN\r\n"]:
        connection = speak(signed, header, REQUEST)
        assert status_of(connection) == 200, header
        connection.close()


BAD = {
    "missing": (b"", "proxy-header-missing"), "v1-malformed": (b"PROXY TCP4 localhost 192.0.2.1 1 2\r\n", "proxy-header-malformed"),
    "v2-version": (v2().replace(b"\x21", b"\x11"), "proxy-header-malformed"),
    "v2-endless": (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "proxy-header-malformed"),
}


@pytest.mark.parametrize("beginning, fault", BAD.values(), ids=BAD.keys())
def test_a_connection_that_does_not_begin_so_is_refused(signed, beginning, fault):
    connection = speak(signed, beginning, REQUEST)
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400") and fault.encode() in answer, answer
    connection.close()


def test_nobody_else_may_speak_it(signed):
    connection = speak(signed, source=OTHER)
    assert b"proxy-untrusted" in connection.recv(65536)
    connection.close()


def test_where_it_is_optional_others_are_served_as_they_are():
    with Server({"limits": BEHIND["limits"], "proxy": {"trusted": ["127.0.0.1"], "http": "optional"}}) as server:
        assert all_statuses(server, b"", v1(), v1()) == [200, 200, 429]
        forged = speak(server, v1(), REQUEST, source=OTHER)
        assert status_of(forged) in (400, 505), "from others it is no request"
        forged.close()


def test_a_header_that_never_ends_is_not_waited_for():
    config = {"http": {"head_timeout": "300ms"}, "proxy": SIGNED["proxy"]}
    with Server(config) as server:
        connection = speak(server, b"PROXY TCP4 ")
        assert b"proxy-header-late" in connection.recv(65536)
        connection.close()


def test_a_server_without_listed_proxies_says_that_nobody_could_connect():
    with pytest.raises(RuntimeError, match="proxy.trusted is empty"):
        Server({"proxy": {"http": "required"}})


def test_the_log_has_the_clients_address(behind):
    with Server(BEHIND, "--log-level", "debug") as server, From(server, "127.0.0.1") as connection:
        connection.ask("GET", "/health", X_Forwarded_For=CLIENT)
        eventually("the log names it", lambda: CLIENT in server.log())
    assert fault_count(behind, "forwarded-unreadable") >= 1
