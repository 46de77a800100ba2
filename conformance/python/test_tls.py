"""TLS as strangers' clients see it: openssl, curl and Python's own ssl against the listeners."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from authority import Authority, shared
from harness import PATIENCE, Server, children_of, eventually, metric
from http_client import assert_problem, channel_path, get, publish, publish_many, reach, read_answer
from subscribers import Native

pytestmark = pytest.mark.direct


def s_client(address, *arguments, say=b""):
    """What `openssl s_client` tells of a connection to an address."""
    authority, _ = shared()
    command = ["openssl", "s_client", "-connect", address, "-CAfile", str(authority.ca), *map(str, arguments)]
    return subprocess.run(command, input=say, capture_output=True, timeout=30).stdout.decode(errors="replace")


def health_request(server):
    return f"GET /health HTTP/1.1\r\nHost: {server.address}\r\nConnection: close\r\n\r\n".encode()


def counted(server, name, **labels):
    return metric(get(server, "/metrics").body.decode(), name, **labels)


def faults(server, name):
    return counted(server, "bongsu_faults_total", fault=name)


def shown_name(address, asked, authority=None):
    """The first name of the certificate that is shown to whoever asks for a name."""
    context = (authority or shared()[0]).client()
    context.check_hostname = False
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), PATIENCE) as plain, context.wrap_socket(plain, server_hostname=asked) as sealed:
        return sealed.getpeercert()["subjectAltName"][0][1]


def test_openssl_resumes_five_of_five_over_tls_1_2(secure):
    told = s_client(secure.direct, "-tls1_2", "-reconnect")
    assert told.count("Reused, TLSv1.2") == 5, told


def test_openssl_resumes_over_tls_1_3(secure, tmp_path):
    session = tmp_path / "session.pem"
    first = s_client(secure.direct, "-tls1_3", "-ign_eof", "-sess_out", session, say=health_request(secure))
    assert "New, TLSv1.3" in first and "200 OK" in first, first
    second = s_client(secure.direct, "-tls1_3", "-ign_eof", "-sess_in", session, say=health_request(secure))
    assert "Reused, TLSv1.3" in second and "200 OK" in second, second


def test_a_ticket_of_one_worker_is_good_at_all():
    with Server(None, "--workers", "4", tls=True) as server:
        context, session, resumed = server.authority.client(), None, 0
        for _ in range(20):
            with connect_sealed(server, context, session) as sealed:
                resumed += sealed.session_reused
                sealed.sendall(health_request(server))
                while sealed.recv(65536):
                    pass
                session = sealed.session
        assert resumed == 19
        assert counted(server, "bongsu_tls_handshakes_total", result="resumed") >= 19


def connect_sealed(server, context, session=None):
    plain = socket.create_connection((server.host, server.port), PATIENCE)
    return context.wrap_socket(plain, server_hostname="localhost", session=session)


def test_a_thousand_reconnects_over_wss_are_resumed(secure):
    """Each opens a WebSocket and leaves again, with the last ticket it was given."""
    context, session, resumed = secure.authority.client(), None, 0
    upgrade = (
        f"GET /channels/reconnects HTTP/1.1\r\nHost: {secure.address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode()
    for _ in range(1000):
        with connect_sealed(secure, context, session) as sealed:
            resumed += sealed.session_reused
            sealed.sendall(upgrade)
            assert sealed.recv(4096).startswith(b"HTTP/1.1 101")
            session = sealed.session
    assert resumed >= 980, resumed


def test_versions_before_1_2_are_refused_by_name(secure):
    before = faults(secure, "tls-no-common-version")
    told = s_client(secure.direct, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "Cipher is (NONE)" in told, told
    assert faults(secure, "tls-no-common-version") == before + 1


@pytest.mark.parametrize("offered, chosen", [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1"), ("h2", "h2")])
def test_the_http_listener_agrees_to_a_protocol(secure, offered, chosen):
    assert f"ALPN protocol: {chosen}" in s_client(secure.direct, "-alpn", offered)


def test_a_protocol_that_nobody_speaks_is_refused_and_tcp_needs_none(secure):
    before = faults(secure, "tls-no-common-protocol")
    s_client(secure.direct, "-alpn", "gopher")
    assert faults(secure, "tls-no-common-protocol") == before + 1
    assert "No ALPN negotiated" in s_client(secure.tcp)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_is_a_client_over_both_versions_of_http(secure, channel, version):
    ca = str(secure.authority.ca)
    ask = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", version, "--cacert", ca]
    subprocess.run([*ask, "--fail", "-H", "Content-Type: text/plain", "-d", "hello", secure.http(channel_path(channel))], check=True, capture_output=True)
    page = subprocess.run([*ask, secure.http(channel_path(channel))], check=True, capture_output=True).stdout
    assert json.loads(page)["publications"][0]["data"] == "hello"


def test_certificates_are_chosen_by_name_and_the_first_is_for_all_others():
    authority, _ = shared()
    a, wild, listed = authority.sign("a.example"), authority.sign("*.wild.example"), authority.sign("b.example")
    more = [{"cert": str(pair.cert), "key": str(pair.key)} for pair in (wild, listed)]
    written = "[" + ", ".join(f'{{cert="{one["cert"]}", key="{one["key"]}"}}' for one in more) + "]"
    with Server(None, "--tls-cert", str(a.cert), "--tls-key", str(a.key), "--set", f"tls.certificates={written}", tls=False) as server:
        for asked, shown in [
            ("a.example", "a.example"), ("b.example", "b.example"), ("B.EXAMPLE", "b.example"), ("x.wild.example", "*.wild.example"),
            ("x.y.wild.example", "a.example"), ("wild.example", "a.example"), ("other.example", "a.example"),
        ]:
            assert shown_name(server.direct, asked) == shown, asked


def test_a_client_without_a_good_certificate_stays_outside():
    authority, _ = shared()
    clients, strangers = Authority("clients"), Authority("strangers")
    flags = ["--set", "tls.client_auth=required", "--set", f"tls.client_ca={clients.ca}"]
    with Server(None, *flags, tls=True) as server:
        good = authority.client(pair=clients.sign("alice", usage="clientAuth"))
        with connect_sealed(server, good) as sealed:
            sealed.sendall(health_request(server))
            assert sealed.recv(4096).startswith(b"HTTP/1.1 200")
        for context, alert in [(authority.client(), "CERTIFICATE_REQUIRED"), (authority.client(pair=strangers.sign("eve", usage="clientAuth")), "UNKNOWN_CA")]:
            with pytest.raises(ssl.SSLError, match=alert):
                with connect_sealed(server, context) as sealed:
                    sealed.sendall(health_request(server))
                    sealed.recv(4096)
        with connect_sealed(server, good) as sealed:
            sealed.sendall(health_request(server).replace(b"/health", b"/metrics"))
            text = b"".join(iter(lambda: sealed.recv(65536), b"")).decode()
        assert metric(text, "bongsu_faults_total", fault="tls-no-client-certificate") == 1
        assert metric(text, "bongsu_faults_total", fault="tls-bad-client-certificate") == 1


def test_plain_http_is_led_to_https():
    with Server(None, "--redirect", "127.0.0.1:0", tls=True) as server:
        for address in (server.direct, server.ports["redirect"]):
            answer = plain_http(address, "GET", "/channels/a?last=1")
            assert (answer.status, answer.headers["location"]) == (308, f"https://{server.direct}/channels/a?last=1")
            assert "strict-transport-security" not in answer.headers
            refused = plain_http(address, "POST", "/channels/a", b"secret")
            assert assert_problem(refused, 426)["code"] == "tls-wanted"
            assert plain_http(address, "GET", "/", host="evil.example").status == 421
        assert get(server, channel_path("a")).json()["publications"] == [], "nothing that came in the clear was acted on"
        assert faults(server, "tls-wanted") >= 2


def plain_http(address, method, path, body=None, host=None):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    connection.request(method, path, body, {"Host": host or address})
    answer = read_answer(connection.getresponse())
    connection.close()
    return answer


def test_plain_lines_and_plain_http2_are_told_in_their_own_words(secure):
    host, port = secure.tcp.rsplit(":", 1)
    with socket.create_connection((host, int(port)), PATIENCE) as plain:
        plain.sendall(b'{"ping":1}\n')
        told = plain.makefile("rb").read()
    assert json.loads(told)["error"]["code"] == "tls-wanted"
    with socket.create_connection((secure.host, secure.port), PATIENCE) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        told = plain.makefile("rb").read()
    assert b"TLS is wanted" in told


def test_stomp_is_spoken_over_tls_and_wants_it(secure):
    connect = b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0"
    with reach(secure, secure.stomp) as sealed:
        sealed.sendall(connect)
        assert sealed.recv(4096).startswith(b"CONNECTED\n")
    host, port = secure.stomp.rsplit(":", 1)
    with socket.create_connection((host, int(port)), PATIENCE) as plain:
        plain.sendall(connect)
        assert plain.makefile("rb").read().startswith(b"ERROR\nmessage:tls-wanted\n")


def test_a_handshake_that_stops_is_ended():
    with Server({"tls": {"handshake_timeout": "150ms"}}, tls=True) as server:
        for first in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"):
            with socket.create_connection((server.host, server.port), PATIENCE) as plain:
                plain.sendall(first)
                assert plain.recv(100) == b""
        assert faults(server, "tls-handshake-timeout") == 3
        with socket.create_connection((server.host, server.port), PATIENCE) as plain:
            plain.sendall(b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00")
            assert plain.recv(100)[:1] == b"\x15", "an alert"
        assert counted(server, "bongsu_tls_handshakes_total", result="failed") == 4


def test_a_client_that_goes_in_the_midst_is_counted_and_one_that_says_nothing_is_not(secure):
    before = faults(secure, "tls-cut-off")
    for first in (b"", b"\x16\x03\x01\x02\x00\x01"):
        plain = socket.create_connection((secure.host, secure.port), PATIENCE)
        plain.sendall(first)
        plain.shutdown(socket.SHUT_WR)
        plain.makefile("rb").read()
        plain.close()
    eventually("one fault", lambda: faults(secure, "tls-cut-off") == before + 1)


def test_browsers_are_told_to_come_by_tls_only_once_strangers_trust_the_certificate(secure, tmp_path):
    assert get(secure, "/health").headers["strict-transport-security"] == "max-age=31536000"
    with Server(None, "--tls-self-signed", "--data-dir", str(tmp_path), tls=False) as server:
        answer = ["curl", "--silent", "--noproxy", "*", "--include", "--cacert", str(tmp_path / "tls/self-signed.pem"), f"https://{server.direct}/health"]
        told = subprocess.run(answer, check=True, capture_output=True).stdout.decode().lower()
        assert " 200" in told and "strict-transport-security" not in told


def test_the_self_signed_certificate_is_kept_between_runs(tmp_path):
    printed = []
    for _ in range(2):
        with Server(None, "--tls-self-signed", "--data-dir", str(tmp_path), tls=False) as server:
            printed.append(re.search(r"SHA-256 of the certificate: ([0-9A-F:]{95})", server.log())[1])
            der = ssl.get_server_certificate((server.host, server.port))
    cert = tmp_path / "tls/self-signed.pem"
    assert printed[0] == printed[1] and der.strip() == cert.read_text().strip()
    shown = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-fingerprint", "-sha256"], check=True, capture_output=True, text=True)
    assert printed[0] in shown.stdout
    assert os.stat(tmp_path / "tls/self-signed.key").st_mode & 0o077 == 0


def test_nothing_is_lost_or_reordered_when_a_client_reads_slowly(secure, channel):
    """What a full socket cannot take waits as ciphertext, and plaintext follows it in order."""

    with reach(secure, secure.address, receive_buffer=4096) as sealed:
        path = channel_path(channel)
        sealed.sendall(f"GET {path} HTTP/1.0\r\nHost: {secure.address}\r\nAccept: application/x-ndjson\r\n\r\n".encode())
        reader = sealed.makefile("rb")
        while reader.readline() != b"\r\n":
            pass
        assert "cursor" in json.loads(reader.readline())
        texts = [f"{n} " + chr(97 + n % 26) * (1 + n * 397 % 50_000) for n in range(150)]
        publisher = threading.Thread(target=publish_many, args=(secure, channel, texts))
        publisher.start()
        got = []
        while len(got) < len(texts):
            line = reader.readline()
            if line.strip():
                got.append(json.loads(line)["data"])
        publisher.join()
    assert got == texts


def test_certificates_are_replaced_a_hundred_times_under_load(tmp_path, channel):
    """Who is connected stays, and nobody's handshake fails."""
    authority, _ = shared()
    pairs = [authority.sign(f"{index}.example", "localhost", "127.0.0.1") for index in range(2)]
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(pair):
        # The key first: for a moment the two do not match, and what was there before goes on.
        for source, place in [(pair.key, key), (pair.cert, cert)]:
            beside = place.with_suffix(".new")
            shutil.copy(source, beside)
            beside.rename(place)

    put(pairs[0])
    with Server({"tls": {"reload_interval": "10ms"}}, "--tls-cert", str(cert), "--tls-key", str(key), tls=False) as server:
        server.tls, server.authority = True, authority
        subscriber = Native(server, channel)
        subscriber.opened()
        stop, failed, handshakes, sent = threading.Event(), [], [0], [0]

        def connect_all_the_time():
            context = authority.client()
            while not stop.is_set():
                try:
                    with connect_sealed(server, context):
                        handshakes[0] += 1
                except OSError as fault:
                    failed.append(fault)

        def publish_all_the_time():
            while not stop.is_set():
                publish(server, channel, str(sent[0]))
                sent[0] += 1

        threads = [threading.Thread(target=work) for work in (connect_all_the_time, publish_all_the_time)]
        [thread.start() for thread in threads]
        try:
            for turn in range(1, 101):
                put(pairs[turn % 2])
                if turn % 10 == 0:
                    # The signal reads them at once; else they are looked at by themselves.
                    os.kill(int(children_of(server.process.pid)[0]), signal.SIGHUP)
                eventually("the new certificate", lambda: shown_name(server.direct, "x.example", authority) == f"{turn % 2}.example")
        finally:
            stop.set()
            [thread.join() for thread in threads]
        assert not failed and handshakes[0] > 100, (failed[:3], handshakes)
        assert [subscriber.take().data for _ in range(sent[0])] == [str(n) for n in range(sent[0])]
        subscriber.close()
        assert counted(server, "bongsu_tls_handshakes_total", result="failed") == 0


@pytest.mark.parametrize("flags, told", [
    (["--tls-cert", "none.pem", "--tls-key", "none.key"], "none.pem: cannot be read"),
    (["--tls-cert", "none.pem"], "tls.key"),
    (["--redirect", "127.0.0.1:0"], "listen.redirect leads to https://"),
])
def test_what_is_wrong_is_told_before_anything_is_served(flags, told):
    with pytest.raises(RuntimeError, match=re.escape(told)):
        Server(None, *flags, tls=False)


def test_a_key_of_another_certificate_is_told(tmp_path):
    authority, pair = shared()
    other = authority.sign("other.example")
    with pytest.raises(RuntimeError, match="is not the key of"):
        Server(None, "--tls-cert", str(pair.cert), "--tls-key", str(other.key), tls=False)
