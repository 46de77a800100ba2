"""What UDP buys: publish-to-delivery times and packets per delivery of UDP (with repair, and newest-only) against TCP, under loss.

Two network namespaces, joined by a path of IP packets that this program carries from one TUN device to the other: with a delay, and
with the loss that it is told. So TCP loses segments and its kernel sends them again, as on a network. Needs root:

    cargo build && python3 conformance/loss/measure.py docs/udp-loss.svg
"""

import ctypes
import fcntl
import heapq
import json
import multiprocessing
import os
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
from harness import BINARY  # noqa: E402
from plot import plot  # noqa: E402
from udp_client import Follower, split  # noqa: E402

SERVER, CLIENT = "10.9.0.1", "10.9.0.2"
DELAY_SECONDS = 0.01
LOSSES = [0.0, 0.01, 0.05]
MODES = ["tcp", "udp", "udp-newest"]
COUNT, PER_SECOND, PAYLOAD = int(os.environ.get("COUNT", 3000)), 200, 100
# Linux: linux/if_tun.h.
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def tun(address, peer):
    """A device of the namespace that we are in; packets to the peer are read from it."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"path", IFF_TUN | IFF_NO_PI))
    for command in ("link set lo up", f"addr add {address} peer {peer} dev path", "link set path up"):
        subprocess.run(["ip", *command.split()], check=True)
    return device


def new_namespace():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace of our own; this needs root")


def publisher(jobs, done):
    """Publishes in the server's own namespace, where nothing is lost: each payload says when it was sent."""
    while job := jobs.recv():
        channel = job
        with socket.create_connection((SERVER, 7070)) as connection, connection.makefile("rb") as answers:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began = time.monotonic()
            for n in range(COUNT):
                time.sleep(max(0, began + n / PER_SECOND - time.monotonic()))
                data = str(time.monotonic_ns()).ljust(PAYLOAD)
                connection.sendall(json.dumps({"publish": channel, "data": data, "id": n}).encode() + b"\n")
                last = json.loads(answers.readline())["position"]
        done.send(last)


def subscriber(jobs, done):
    """Follows in the client's namespace, and answers how long each delivery took, in milliseconds."""
    while job := jobs.recv():
        mode, channel = job
        done.send({"tcp": over_tcp, "udp": over_udp, "udp-newest": over_udp_newest}[mode](channel, done))


def took(told):
    return (time.monotonic_ns() - int(told["data"])) / 1e6


def over_tcp(channel, done):
    with socket.create_connection((SERVER, 7070)) as connection, connection.makefile("rb") as lines:
        connection.sendall(json.dumps({"subscribe": channel, "id": 1}).encode() + b"\n")
        lines.readline()
        done.send("ready")
        return [took(json.loads(lines.readline())) for _ in range(COUNT)]


def over_udp(channel, done):
    follower = Follower(f"{SERVER}:7070", channel)
    follower.next()
    done.send("ready")
    times = []
    while len(times) < COUNT:
        kind, told = follower.next()
        assert kind == "publication", told
        times.append(took(told))
    follower.close()
    return times


def over_udp_newest(channel, done):
    follower = Follower(f"{SERVER}:7070", channel, repair=False)
    follower.next()
    done.send("ready")
    times, last = [], 0
    while last < COUNT:
        follower.step()
        while follower.ready:
            _, told = follower.ready.popleft()
            times.append(took(told))
        last = max(split(cursor)[1] for cursor in (follower.cursor, follower.head) if cursor)
    follower.close()
    return times


class Lossy:
    """The path: what one end sends, the other gets after the delay, unless it is lost."""

    def __init__(self, ends, chance):
        self.ends, self.chance, self.loss, self.on_way, self.packets, self.count = ends, chance, 0.0, [], 0, 0

    def carry(self, until):
        """Carries packets until there is something to read from `until`."""
        while True:
            now = time.monotonic()
            while self.on_way and self.on_way[0][0] <= now:
                _, _, end, packet = heapq.heappop(self.on_way)
                os.write(end, packet)
            wait = self.on_way[0][0] - now if self.on_way else 0.05
            readable, _, _ = select.select([*self.ends, until], [], [], max(0, wait))
            for end, other in (self.ends, self.ends[::-1]):
                if end in readable:
                    self.take(end, other)
            if until in readable:
                return until.recv()

    def take(self, end, other):
        try:
            packet = os.read(end, 65536)
        except BlockingIOError:
            return
        self.packets += 1
        if self.chance.random() >= self.loss:
            self.count += 1
            heapq.heappush(self.on_way, (time.monotonic() + DELAY_SECONDS, self.count, other, packet))


def child(role):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=role, args=(theirs, theirs), daemon=True)
    process.start()
    return ours


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def main(out):
    new_namespace()
    server_end = tun(SERVER, CLIENT)
    ports = Path(tempfile.mkdtemp(prefix="bongsu-")) / "ports.json"
    command = ["timeout", "600", str(BINARY), "serve", "--http", "off", "--tcp", f"{SERVER}:7070", "--udp", f"{SERVER}:7070"]
    command += ["--udp-cleartext", "--stomp", "off", "--log-level", "error", "--ports-file", str(ports)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        rows = measure(server_end, ports)
    finally:
        server.terminate()
        server.wait()
    Path(out).write_text(plot(rows, LOSSES, MODES))


def measure(server_end, ports):
    publish = child(publisher)
    new_namespace()
    path = Lossy((server_end, tun(CLIENT, SERVER)), random.Random(7))
    subscribe = child(subscriber)
    while not ports.exists():
        time.sleep(0.01)
    rows = []
    for loss in LOSSES:
        for mode in MODES:
            channel = f"{mode}/{loss}"
            path.loss = 0.0
            subscribe.send((mode, channel))
            assert path.carry(subscribe) == "ready"
            path.loss, before = loss, path.packets
            publish.send(channel)
            times = path.carry(subscribe)
            path.loss = 0.0
            path.carry(publish)
            row = {"mode": mode, "loss": loss, "p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "max": max(times)}
            row |= {"deliveries": len(times), "packets": (path.packets - before) / len(times)}
            rows.append(row)
            print("{mode:10} {loss:4.0%}  p50 {p50:7.1f} ms  p99 {p99:7.1f} ms  max {max:7.1f} ms  {packets:.2f} packets a delivery  {deliveries} deliveries".format(**row), flush=True)
    publish.send(None), subscribe.send(None)
    return rows


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "udp-loss.svg")
