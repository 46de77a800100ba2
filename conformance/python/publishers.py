"""Publishers that run beside the test, each in a thread of its own: over HTTP, native, of plain frames, and over STOMP."""

import json
import threading

from websockets.exceptions import ConnectionClosed

from harness import PATIENCE
from http_client import publish_many
from raw_stomp import Stomp
from subscribers import open_websocket

# How many publications of a native or STOMP publisher are on their way without an answer.
NATIVE_WINDOW = 64


def http(server, channel, payloads):
    publish_many(server, channel, payloads)


def native(server, channel, payloads):
    connection = open_websocket(server, "/channels/" + channel, ["bongsu.v1.json"])
    for sent, payload in enumerate(payloads):
        connection.send(json.dumps({"publish": channel, "data": payload, "id": sent}))
        if sent >= NATIVE_WINDOW:
            assert "position" in json.loads(connection.recv(timeout=PATIENCE))
    for _ in range(min(NATIVE_WINDOW, len(payloads))):
        assert "position" in json.loads(connection.recv(timeout=PATIENCE))
    connection.close()


def plain(server, channel, payloads):
    """Plain frames have no answer; but the publisher hears the channel, and so its own, and knows that they arrived."""
    connection = open_websocket(server, "/channels/" + channel)
    unheard = set(payloads)

    def hear():
        try:
            while unheard:
                unheard.discard(connection.recv(timeout=PATIENCE))
        except ConnectionClosed:
            pass

    hearing = threading.Thread(target=hear)
    hearing.start()
    for payload in payloads:
        connection.send(payload)
    hearing.join(PATIENCE * 2)
    assert not unheard, f"{len(unheard)} plain publications were never heard"
    connection.close()


def stomp(server, channel, payloads):
    with Stomp(server, over="websocket") as publisher:
        for sent, payload in enumerate(payloads):
            publisher.say("SEND", payload, destination=f"/topic/{channel}", receipt=sent)
            if sent >= NATIVE_WINDOW:
                assert publisher.hear().command == "RECEIPT"
        for _ in range(min(NATIVE_WINDOW, len(payloads))):
            assert publisher.hear().command == "RECEIPT"


class Publishers:
    """Four publishers of so many each, over four transports. Leaving the block waits for them and raises what they raised."""

    def __init__(self, server, channel, each):
        self.faults = []
        kinds = {"http": http, "native": native, "plain": plain, "stomp": stomp}
        self.payloads = {name: [f"{name} {n}" for n in range(each)] for name in kinds}
        self.threads = [
            threading.Thread(target=self.run, args=(kind, server, channel, self.payloads[name]), name=name) for name, kind in kinds.items()]

    def run(self, kind, *arguments):
        try:
            kind(*arguments)
        except BaseException as fault:  # noqa: BLE001 - it is raised again by the test's own thread
            self.faults.append(fault)

    def check_complete(self, received):
        """Every payload once, and each publisher's own in the order in which it published."""
        assert len(received) == len(set(received)) == sum(map(len, self.payloads.values()))
        for name, payloads in self.payloads.items():
            assert [payload for payload in received if payload.rsplit(" ", 1)[0] == name] == payloads

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join(PATIENCE * 3)
        assert not any(thread.is_alive() for thread in self.threads), "a publisher never ended"
        if self.faults:
            raise self.faults[0]
