"""What an operator who deploys can get wrong, each on the real binary: it ends or goes on, and says what to do."""

import os
import resource
import signal
import socket
import subprocess

import pytest

from harness import BINARY, PATIENCE, Server, eventually
from http_client import get

pytestmark = pytest.mark.direct

QUIET = ("--tcp", "off", "--udp", "off", "--stomp", "off")
ONE = ("--http", "127.0.0.1:0", *QUIET)
AS_ROOT = os.geteuid() == 0


def refused(*flags, cwd=None, files=None, user=None):
    """How a server that cannot start ends, and what it says. One that starts after all is ended by `timeout`, with 124."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BONGSU_")}
    limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
    run = ["timeout", "--foreground", "--kill-after=5", str(PATIENCE), str(BINARY), "serve", *map(str, flags)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False, cwd=cwd, env=environment, preexec_fn=limit, user=user)
    assert "panicked" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stderr


def test_an_address_that_cannot_be_listened_at_is_told_with_what_to_do():
    for text in ("::1:8080", "localhost:8080", "8080", ":8080", "http://127.0.0.1:8080", "127.0.0.1:99999"):
        code, told = refused("--http", text)
        assert code == 2 and f'listen.http = "{text}" is not allowed' in told and '"[::1]:8080"' in told, told
    # A network for documentation, which no machine has.
    code, told = refused("--http", "192.0.2.1:8080", "--allow-anonymous", *QUIET)
    assert code == 3 and "this machine has no such address" in told, told
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, told = refused("--http", "127.0.0.1:{}".format(taken.getsockname()[1]), *QUIET)
        assert code == 3 and "give another (port 0 picks a free one), stop the other, or say --overlap" in told, told


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody who lacks a right")
def test_a_privileged_port_is_told_with_the_right_that_it_needs():
    if int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read()) <= 80:
        pytest.skip("no port is privileged here")
    try:
        code, told = refused("--http", "127.0.0.1:80", *QUIET, cwd="/", user=65534)
    except PermissionError:
        pytest.skip("the binary stands where nobody else can run it")
    if code == 126:
        pytest.skip("the binary stands where nobody else can run it")
    assert code == 3 and "ports below 1024 need a right of their own" in told and "CAP_NET_BIND_SERVICE" in told, told


def test_a_configuration_that_cannot_be_read_is_told(tmp_path):
    not_text = tmp_path / "bytes.toml"
    not_text.write_bytes(b"\xff\xfe")
    for path, advice in [(tmp_path, "name a file in it"), (tmp_path / "none.toml", "check the path"), (not_text, "write it in UTF-8")]:
        code, told = refused("--config", path)
        assert code == 2 and f"{path}: cannot read the configuration" in told and advice in told, told
    # A link that leads nowhere is not taken for no file.
    (tmp_path / "bongsu.toml").symlink_to("gone.toml")
    code, told = refused(*ONE, cwd=tmp_path)
    assert code == 2 and "bongsu.toml: cannot read the configuration" in told, told


def test_a_ports_file_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, advice in [(folder / "none" / "ports.json", "in a folder that is there"), (folder, "no ordinary file"), (pipe, "no ordinary file")]:
        code, told = refused(*ONE, "--data-dir", tmp_path / "data", "--ports-file", path)
        assert code == 1 and f"cannot write the ports file {path}" in told and advice in told, told
        # What there was is kept for the next one.
        assert (tmp_path / "data" / "snapshot").exists()
    assert not list(folder.iterdir()) and pipe.is_fifo()


def test_a_data_directory_that_cannot_be_written_is_told(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    for path, advice in [(in_the_way, "a file is in the way"), (in_the_way / "x", "a file is in the way"), ("/proc/x", "name a place")]:
        code, told = refused(*ONE, "--data-dir", path)
        assert code == 6 and "cannot use the data directory" in told and advice in told, told


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, which only root can have."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount a disk")
def test_a_full_disk_and_one_that_is_read_only_are_told(small_disk):
    with open(small_disk / "fill", "wb") as fill, pytest.raises(OSError):
        fill.write(bytes(100_000))
        fill.flush()
    code, told = refused(*ONE, "--data-dir", small_disk / "data")
    assert code == 6 and "make room on that disk" in told, told
    code, told = refused(*ONE, "--ports-file", small_disk / "ports.json")
    assert code == 1 and "make room on that disk" in told, told
    assert sorted(path.name for path in small_disk.iterdir()) == ["data", "fill"], "nothing half written is left"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, told = refused(*ONE, "--data-dir", small_disk / "data")
    assert code == 6 and "name a place on a disk that can be written to" in told, told


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount a disk")
def test_a_snapshot_that_does_not_fit_is_told_as_the_loss_that_it_is(small_disk):
    with Server(None, "--data-dir", str(small_disk / "data")) as server:
        published = subprocess.run(
            ["curl", "-s", "-H", "Content-Type: application/octet-stream", "--data-binary", "@-", server.http("/channels/a")],
            input=os.urandom(60_000), capture_output=True, check=True)
        assert b"position" in published.stdout
        (small_disk / "fill").write_bytes(bytes(8_000))
        server.terminate()
        assert server.wait() == 6
        assert "no snapshot is written, so what the server had is lost" in server.log() and "make room" in server.log()
    assert not (small_disk / "data" / "snapshot.tmp").exists()


def test_a_reload_of_what_is_no_configuration_changes_nothing(tmp_path):
    path = tmp_path / "bongsu.toml"
    path.write_text('[http]\nwait_max = "30s"\n')
    with Server(None, "--config", str(path)) as server:
        for act, told in [(path.unlink, "check the path"), (path.mkdir, "name a file in it"),
                          (lambda: (path.rmdir(), path.write_text("x = [")), "not TOML"), (lambda: path.write_text("x = 1"), "unknown key")]:
            act()
            server.process.send_signal(signal.SIGHUP)
            eventually(told, lambda told=told: told in server.log())
        assert server.log().count("was not reloaded, and nothing has changed") == 4
        assert get(server, "/health").status == 200


def test_two_signals_at_once_are_one():
    with Server(None) as server:
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.parametrize("files", [4, 8, 16, 20, 24])
def test_too_few_descriptors_to_start_are_told(files):
    code, told = refused(*ONE, "--workers", "4", files=files)
    assert code in (1, 3) and "raise the limit on open files" in told, told


def test_fewer_descriptors_than_connections_are_told_and_the_server_recovers(tmp_path):
    script = 'ulimit -n 64; exec "$@"'
    with open(tmp_path / "log", "wb") as log:
        ports = tmp_path / "ports.json"
        command = ["timeout", "60", "sh", "-c", script, "sh", str(BINARY), "serve", *ONE, "--workers", "1", "--ports-file", str(ports)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually("it is ready", ports.exists)
        told = (tmp_path / "log").read_text()
        assert "open_files_max=64" in told and "lower http.connections_max" in told, told
        address = ports.read_text().split('"')[3].rsplit(":", 1)
        clients = [socket.create_connection((address[0], int(address[1]))) for _ in range(80)]
        eventually("it says that they wait", lambda: "cannot accept connections, so they wait" in (tmp_path / "log").read_text())
        for client in clients:
            client.close()
        with socket.create_connection((address[0], int(address[1])), timeout=PATIENCE) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        assert (tmp_path / "log").read_text().count("cannot accept") < 5, "once for each time, not ten times a second"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
