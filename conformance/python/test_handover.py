"""Sockets handed over as systemd does it (LISTEN_FDS): which kinds are taken for what, and that UDP's outlives a restart."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import BINARY, PATIENCE
from udp_client import HELLO_BYTES, Follower, UdpClient, hello, objects

pytestmark = pytest.mark.direct

LIFETIME_SECONDS = 120
# Above what this process may have open at the moment of the fork.
ASIDE = 200


def datagrams(address="127.0.0.1", port=0, reuse_port=False):
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if reuse_port:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((address, port))
    return one


def listening(address="127.0.0.1"):
    one = socket.socket()
    one.bind((address, 0))
    one.listen()
    return one


def command(named, *flags, count=None, listen_pid="$$"):
    """What runs the server with these sockets, (name, socket) each, from descriptor 3 on, and how its process is prepared."""

    def hand_over():
        aside = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, ASIDE) for _, one in named]
        for index, number in enumerate(aside):
            os.dup2(number, 3 + index)
            os.close(number)
        os.closerange(3 + len(named), ASIDE)

    # The variables name the process that they are for, which a shell can tell of what it becomes.
    names = ":".join(name for name, _ in named)
    variables = f"LISTEN_FDS={len(named) if count is None else count} LISTEN_FDNAMES={names} LISTEN_PID={listen_pid}"
    run = ["timeout", "--foreground", "--kill-after=5", str(LIFETIME_SECONDS), "sh", "-c", f'{variables} exec "$@"', "sh", str(BINARY)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BONGSU_")}
    return [*run, "serve", *flags], {"preexec_fn": hand_over, "close_fds": False, "env": environment, "stdin": subprocess.DEVNULL}


class HandedOver:
    """A server at sockets that this test keeps open, as systemd does."""

    def __init__(self, named, *flags):
        self.folder = tempfile.TemporaryDirectory(prefix="bongsu-")
        ports, self.log = Path(self.folder.name, "ports.json"), Path(self.folder.name, "log")
        off = [flag for listener in ("--http", "--tcp", "--udp", "--stomp") for flag in (listener, "127.0.0.1:0")]
        run, options = command(named, *off, "--ports-file", str(ports), *flags)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(run, stdout=log, stderr=log, **options)
        deadline = time.monotonic() + PATIENCE
        while not ports.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
        self.ports = json.loads(ports.read_text())

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        self.folder.cleanup()


def refused(named, *flags, **options):
    """The exit code and the words of a server that does not start."""
    run, prepared = command(named, *flags, **options)
    ended = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE, check=False, **prepared)
    assert "panicked" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stderr


def address_of(one):
    host, port = one.getsockname()[:2]
    return f"{host}:{port}"


def all_follow(address, followers, channel):
    """Several clients at addresses of their own each get everything in order, so that none is known to the wrong worker."""
    following = [Follower(address, channel) for _ in range(followers)]
    for follower in following:
        assert follower.next()[0] == "cursor"
    publisher = UdpClient(address)
    positions = [publisher.ask(publish=channel, data=n)["position"] for n in range(20)]
    for follower in following:
        assert [follower.next()[1]["position"] for _ in positions] == positions
        # A renewal comes to the worker that knows the subscription.
        assert follower.client.ask(subscribe=channel, after=positions[-1])["channel"] == channel
        follower.close()
    publisher.close()


@pytest.mark.parametrize("sockets", [1, 2])
def test_a_clients_datagrams_stay_with_one_worker_whatever_number_of_sockets(sockets):
    with datagrams(reuse_port=True) as first:
        port = first.getsockname()[1]
        every = [first, *[datagrams(port=port, reuse_port=True) for _ in range(sockets - 1)]]
        with HandedOver([("udp", one) for one in every], "--workers", "2") as server:
            assert server.ports["udp"] == address_of(first)
            assert "each to a worker" in server.log.read_text()
            all_follow(server.ports["udp"], 8, "handed/over")
        for one in every[1:]:
            one.close()


def test_udp_and_http_are_handed_over_together():
    with datagrams() as udp, listening() as http, datagrams("::1") as udp6:
        with HandedOver([("http", http), ("udp", udp), ("udp", udp6)], "--workers", "2") as server:
            assert (server.ports["http"], server.ports["udp"]) == (address_of(http), address_of(udp))
            all_follow(address_of(udp), 2, "v4")
            all_follow(f"[::1]:{udp6.getsockname()[1]}", 2, "v6")


def test_without_a_server_a_datagram_is_refused_unless_the_socket_stays_open():
    """What the next test relies on: the refusal (ICMP) is to be seen here."""
    with datagrams() as bound, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(bound.getsockname())
        client.settimeout(0.2)
        client.send(hello())
        with pytest.raises(TimeoutError):
            client.recv(1)
        bound.close()
        with pytest.raises(ConnectionRefusedError):
            for _ in range(2):
                client.send(hello())
                client.recv(1)


def test_no_datagram_is_refused_or_lost_while_the_server_restarts(tmp_path):
    with datagrams() as udp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        flags = ("--data-dir", str(tmp_path), "--workers", "2")
        client.connect(udp.getsockname())
        client.settimeout(PATIENCE)

        def answers(sent):
            # Each send and receive would raise what the system was told of an earlier datagram.
            return [objects(client.recv(65536))[0]["cookie"] for _ in range(sent)]

        with HandedOver([("udp", udp)], *flags) as first:
            follower = Follower(address_of(udp), "kept")
            assert follower.next()[0] == "cursor"
            before = UdpClient(address_of(udp)).ask(publish="kept", data="before")["position"]
            assert follower.next()[1]["position"] == before
            client.send(hello(HELLO_BYTES))
            answers(1)
            assert first.end() == 0
        for _ in range(50):
            client.send(hello(HELLO_BYTES))
        with HandedOver([("udp", udp)], *flags):
            # They waited in the socket, and are answered now, each.
            assert len(answers(50)) == 50
            # The follower's renewal is due whenever it likes; it goes on from its cursor with nothing missing.
            follower.subscribe_at = 0
            publisher = UdpClient(address_of(udp))
            after = [publisher.ask(publish="kept", data=n)["position"] for n in range(5)]
            assert [follower.next()[1]["position"] for _ in after] == after
            follower.close()


def test_a_datagram_socket_is_for_udp_and_a_stream_socket_for_the_others():
    with datagrams() as udp, listening() as tcp:
        for name in ("http", "tcp", "stomp", "bongsu.socket", ""):
            code, told = refused([(name, udp)])
            assert code == 3 and "it is a datagram socket; hand over a stream socket" in told, told
            assert "FileDescriptorName=udp" in told
        code, told = refused([("http", tcp), ("udp", tcp)])
        assert code == 3 and 'calls descriptor 4 "udp", and it is a stream socket; hand over a datagram socket' in told, told


def test_a_socket_to_which_nobody_could_come_is_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound, datagrams() as connected, socket.socket() as silent:
        code, told = refused([("udp", unbound)])
        assert code == 3 and "for udp: it is not bound to a port; bind it" in told, told
        connected.connect(("127.0.0.1", 9))
        code, told = refused([("udp", connected)])
        assert code == 3 and "connected to one peer and hears no other" in told, told
        silent.bind(("127.0.0.1", 0))
        code, told = refused([("http", silent)])
        assert code == 3 and "for http: it does not listen; call listen()" in told, told


def test_more_udp_sockets_than_workers_are_refused():
    with datagrams() as one, datagrams() as other:
        code, told = refused([("udp", one), ("udp", other)], "--workers", "1", "--http", "127.0.0.1:0")
        assert code == 2 and "say --workers 2, or hand over fewer" in told, told


def test_a_udp_socket_that_others_can_reach_must_be_asked_for():
    with datagrams("0.0.0.0") as udp:
        flags = ("--http", "127.0.0.1:0", "--workers", "1")
        code, told = refused([("udp", udp)], *flags)
        assert code == 2 and "--allow-anonymous" in told, told
        code, told = refused([("udp", udp)], *flags, "--allow-anonymous")
        assert code == 2 and "--udp-cleartext" in told, told
        with HandedOver([("udp", udp)], "--allow-anonymous", "--udp-cleartext"):
            all_follow(f"127.0.0.1:{udp.getsockname()[1]}", 1, "reached")


@pytest.mark.parametrize("count", ["2", "1001", "-1", "many", "99999999999999999999"])
def test_a_number_of_sockets_that_are_not_there_is_refused(count):
    with listening() as http:
        code, told = refused([("http", http)], "--tcp", "off", count=count)
        assert code == 3 and f"LISTEN_FDS={count}" in told, told
        assert ("descriptor 4 is no stream or datagram socket" if count == "2" else "allowed: 0 to 1000") in told, told


def test_sockets_for_another_process_are_left_alone():
    with listening() as http:
        # By the protocol they are not for this server: it listens where it is told to.
        code, told = refused([("http", http)], "--http", address_of(http), listen_pid="1")
        assert code == 3 and "cannot listen for http" in told, told
