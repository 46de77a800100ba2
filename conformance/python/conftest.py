"""The servers and channels that the tests share."""

import itertools
import os

import pytest

from harness import BINARY, ORDINARY, Server
from http_client import publish
from proxies import KINDS
from raw_stomp import Stomp11, StompOverHttp2, StompOverWebSocket, StompSubscriber
from subscribers import TRANSPORTS, Native

TRANSPORTS |= {"stomp": StompSubscriber, "stomp-1.1": Stomp11, "stomp+ws": StompOverWebSocket, "http2-stomp": StompOverHttp2}


def pytest_sessionstart():
    if not BINARY.exists():
        pytest.exit(f"there is no {BINARY}: `cargo build` makes it, BONGSU_BIN names another", returncode=3)
    if via := os.environ.get("BONGSU_VIA"):
        if via not in KINDS:
            pytest.exit(f"BONGSU_VIA={via} is none of {', '.join(KINDS)}", returncode=3)
        Server.via = KINDS[via]
        if via == "nginx":
            # Raw TCP is a matter of another module there, which has nothing of its own to show.
            del TRANSPORTS["tcp"]
        if via in ("nginx", "haproxy"):
            # Raw STOMP passes them as raw TCP does; over a WebSocket it is a matter of theirs.
            for name in [name for name in TRANSPORTS if name in ("stomp", "stomp-1.1")]:
                del TRANSPORTS[name]
            # What these speak to their clients in the clear is HTTP/1.1; HTTP/2 there comes with TLS.
            for name in [name for name in TRANSPORTS if name.startswith("http2")]:
                del TRANSPORTS[name]


def pytest_collection_modifyitems(config, items):
    """What looks at the server's own socket sees the proxy's instead."""
    if Server.via:
        left = [item for item in items if item.get_closest_marker("direct") or item.get_closest_marker("proxies")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def server():
    """A server with small bounds, shared by every test that needs none of its own."""
    with Server(ORDINARY, "--echo") as running:
        yield running


@pytest.fixture(scope="session")
def forgetful():
    """A server whose channels retain a hundred publications."""
    with Server({"history": {"publications_max": 100}}) as running:
        yield running


@pytest.fixture
def channel():
    """A channel that no other test uses."""
    return f"conformance/{next(_numbers)}"


_numbers = itertools.count(1)


@pytest.fixture
def harmless(server):
    """Somebody else's subscription, open before the fault: it must receive as if nothing had happened."""
    channel = f"bystander/{next(_numbers)}"
    with Native(server, channel) as bystander:
        bystander.opened()
        yield
        publish(server, channel, "still here")
        assert bystander.take().data == "still here"
