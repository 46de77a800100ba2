"""A client of the native protocol over UDP, written from docs/udp.md with Python's `socket` alone; and a proxy that loses datagrams."""

import json
import random
import select
import socket
import threading
import time
from collections import deque

from harness import PATIENCE

HELLO_BYTES = 256
# How long a hole may be closed by what was only overtaken.
REORDER_SECONDS = 0.02
RETRY_SECONDS, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.1, 0.03, 1.0


def hello(padded=HELLO_BYTES):
    return b'{"hello":1}'.ljust(padded)


def endpoint(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def objects(datagram):
    """The objects of a datagram, a line each."""
    return [json.loads(line) for line in datagram.splitlines() if line.strip()]


def split(cursor):
    epoch, offset = cursor.split("-")
    return epoch, int(offset)


class UdpClient:
    """A socket, and the cookie that lets it be heard."""

    def __init__(self, address):
        host, port = endpoint(address)
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.connect((host, port))
        self.cookie, self.terms, self.ids = None, {}, 0
        # How long an answer may take before what was asked counts as lost.
        self.patience = RETRY_SECONDS

    def validate(self):
        """Says hello until it has a cookie."""
        deadline, self.cookie = time.monotonic() + PATIENCE, None
        while not self.cookie:
            assert time.monotonic() < deadline, "no cookie came"
            said = time.monotonic()
            self.socket.send(hello())
            for told in self.hear(RETRY_SECONDS):
                assert "cookie" in told, told
                self.patience = min(max(1.5 * (time.monotonic() - said) + 0.01, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX)
        return self.cookie

    def say(self, *commands):
        lines = [{"cookie": self.cookie}, *commands]
        self.socket.send("\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode())

    def hear(self, seconds):
        """The objects of the next datagram, if one comes in time. Cookies are taken from it by the way."""
        readable, _, _ = select.select([self.socket], [], [], max(0, seconds))
        if not readable:
            return []
        try:
            told = objects(self.socket.recv(65536))
        except ConnectionError:
            # What the system says of an earlier datagram.
            return []
        for one in told:
            if "cookie" in one:
                self.cookie = one["cookie"]
                self.terms |= one
        return told

    def ask(self, **command):
        """Says a command until it is answered, and returns the answer; what else is heard on the way is passed over."""
        if not self.cookie:
            self.validate()
        self.ids += 1
        command = {**command, "id": f"ask-{self.ids}"}
        deadline, retry = time.monotonic() + PATIENCE, self.patience
        while time.monotonic() < deadline:
            self.say(command)
            until = time.monotonic() + retry
            while (left := until - time.monotonic()) > 0:
                for told in self.hear(left):
                    if told.get("id") == command["id"]:
                        return told
            retry = min(retry * 2, RETRY_SECONDS_MAX)
        raise AssertionError(f"no answer to {command}")

    def close(self):
        self.socket.close()


class Follower:
    """Follows one channel: puts what comes into order, asks again for what is lost, renews its lease."""

    def __init__(self, address, channel, start=None, repair=True):
        self.client, self.channel, self.start, self.repair = UdpClient(address), channel, start or {}, repair
        self.cursor, self.head, self.held, self.ready = None, None, {}, deque()
        self.stats = {"repairs": 0, "duplicates": 0, "datagrams": 0, "missed": 0}
        self.lease, self.subscribe_at, self.repair_at, self.retry = 30.0, 0.0, None, RETRY_SECONDS
        self.ended = None
        self.client.validate()

    def next(self):
        """What is told next, in order: `cursor`, `publication`, `announced` or `gap`, as the object that told it."""
        deadline = time.monotonic() + PATIENCE
        while not self.ready:
            assert time.monotonic() < deadline, f"nothing came of {self.channel}: at {self.cursor}, head {self.head}, {self.stats}"
            self.step()
        return self.ready.popleft()

    def step(self, longest=0.2):
        now = time.monotonic()
        if now >= self.subscribe_at:
            start = {"after": self.cursor} if self.cursor else self.start
            mode = {} if self.repair else {"repair": False}
            self.client.say({"subscribe": self.channel, "id": "subscribe", **start, **mode})
            self.subscribe_at = now + (self.lease / 3 if self.cursor else RETRY_SECONDS)
        if self.repair_at is not None and now >= self.repair_at:
            self.ask_again()
        due = min([self.subscribe_at, *([self.repair_at] if self.repair_at else [])])
        told = self.client.hear(min(longest, due - now))
        self.stats["datagrams"] += bool(told)
        for one in told:
            self.take(one)
        if told and self.cursor:
            self.settle()

    def take(self, told):
        if "error" in told:
            return self.refused(told["error"])
        if told.get("channel") != self.channel:
            return
        if told.get("id") == "subscribe":
            self.lease = told["lease_ms"] / 1000
            if self.cursor is None:
                self.cursor = told["cursor"]
                self.subscribe_at = time.monotonic() + self.lease / 3
                self.ready.append(("cursor", told))
        if "gap" in told:
            # One that was told before, or that is of another question, is not of this cursor.
            if told["gap"]["asked"] == self.cursor:
                self.cursor = told["gap"]["resumed"]
                self.ready.append(("gap", told))
        elif "position" in told:
            known = told["position"] in self.held or self.is_past(told["position"])
            self.stats["duplicates"] += bool(known)
            if not known:
                self.held[told["position"]] = told
        elif "ended" in told:
            self.ended, self.subscribe_at = told["ended"], 0
        for name in ("head", "repaired"):
            if name in told and (self.head is None or split(told[name]) != split(self.head)):
                if self.head is None or split(told[name])[0] != split(self.head)[0] or split(told[name])[1] > split(self.head)[1]:
                    self.head = told[name]

    def refused(self, error):
        if error["code"] in ("stale-cookie", "forged-cookie", "address-changed", "malformed-cookie", "not-subscribed"):
            # The new cookie came with it; what was asked is asked again.
            self.subscribe_at = 0
        elif error["code"] != "too-many-repairs":
            raise AssertionError(f"refused: {error}")

    def is_past(self, position):
        if self.cursor is None:
            return False
        (epoch, offset), (ours, at) = split(position), split(self.cursor)
        return epoch == ours and offset <= at

    def settle(self):
        """Hands on what follows without a hole; where there is one, it is to be asked for."""
        if not self.repair:
            for position in sorted((held for held in self.held if not self.is_past(held)), key=lambda held: split(held)[1]):
                self.stats["missed"] += split(position)[1] - split(self.cursor)[1] - 1
                self.hand_on(position)
            self.held.clear()
            return
        went_on = False
        while (following := self.following(1)) in self.held:
            self.hand_on(following)
            went_on = True
        self.held = {position: told for position, told in self.held.items() if not self.is_past(position)}
        if not self.is_missing():
            self.repair_at, self.retry = None, self.client.patience
        elif self.repair_at is None or went_on:
            self.repair_at, self.retry = time.monotonic() + REORDER_SECONDS, self.client.patience

    def hand_on(self, position):
        told = self.held.pop(position)
        told["before"] = self.cursor
        self.cursor = position
        self.ready.append(("publication" if "data" in told else "announced", told))

    def following(self, by):
        epoch, offset = split(self.cursor)
        return f"{epoch}-{offset + by}"

    def is_missing(self):
        return bool(self.held) or (self.head is not None and not self.is_past(self.head))

    def ask_again(self):
        epoch, reached = split(self.cursor)
        holes = []
        for at in sorted(at for of, at in map(split, self.held) if of == epoch):
            if at > reached + 1:
                holes.append({"after": f"{epoch}-{reached}", "through": f"{epoch}-{at - 1}"})
            reached = at
        if self.head and (split(self.head)[0] != epoch or split(self.head)[1] > reached) or not holes:
            holes.append({"after": f"{epoch}-{reached}"})
        # Eight of them fit into a datagram.
        self.client.say(*[{"repair": self.channel, **hole} for hole in holes[:8]])
        self.stats["repairs"] += 1
        self.repair_at = time.monotonic() + self.retry
        self.retry = min(self.retry * 2, RETRY_SECONDS_MAX)

    def close(self):
        self.client.say({"unsubscribe": self.channel})
        self.client.close()


class LossyProxy:
    """Between clients and a server, both ways: drops, doubles and reorders datagrams as its seed says."""

    def __init__(self, server, seed, drop=0.2, duplicate=0.05, reorder=0.1):
        self.server, self.chance = endpoint(server), random.Random(seed)
        self.rates = {"drop": drop, "duplicate": duplicate, "reorder": reorder}
        self.counts = {"passed": 0, "drop": 0, "duplicate": 0, "reorder": 0}
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.front.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self.front.getsockname()[1])
        # A socket towards the server for each client, and what is held back on each way until the next datagram overtakes it.
        self.backs, self.clients, self.late = {}, {}, {}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped.is_set():
            readable, _, _ = select.select([self.front, *self.clients], [], [], 0.02)
            for ready in readable:
                try:
                    datagram, sender = ready.recvfrom(65536)
                except OSError:
                    continue
                if ready is self.front:
                    self.pass_on(datagram, self.back_of(sender).send, ("to", sender))
                else:
                    client = self.clients[ready]
                    self.pass_on(datagram, lambda data, to=client: self.front.sendto(data, to), ("from", client))
            if not readable:
                for way in list(self.late):
                    self.let_go(way)

    def back_of(self, client):
        if client not in self.backs:
            back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            back.connect(self.server)
            self.backs[client], self.clients[back] = back, client
        return self.backs[client]

    def pass_on(self, datagram, send, way):
        fate = self.chance.random()
        for name, rate in self.rates.items():
            if fate < rate:
                break
            fate -= rate
        else:
            name = "passed"
        self.counts[name] += 1
        if name == "reorder":
            self.late.setdefault(way, []).append((send, datagram))
            return
        for _ in range({"drop": 0, "duplicate": 2}.get(name, 1)):
            self.send(send, datagram)
        self.let_go(way)

    def let_go(self, way):
        for send, datagram in self.late.pop(way, []):
            self.send(send, datagram)

    @staticmethod
    def send(send, datagram):
        try:
            send(datagram)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join(PATIENCE)
        for each in [self.front, *self.clients]:
            each.close()
