"""What is easily forgotten of a connection: its other half, a deadline, somebody else's pause, a client that has gone on."""

import json
import re
import select
import socket
import time

import pytest

from harness import Server, eventually, metric
from http_client import Raw, channel_path, get, publish, reach
from raw_stomp import Stomp
from raw_websocket import TEXT, frame
from sources import OTHER, From, fault_count
from subscribers import Ndjson
from test_limits import guarded, http2_from
from test_slow_policies import Stream, held_publishers, lag

pytestmark = pytest.mark.direct


def test_silent_lines_over_tls_are_let_go():
    with Server({"tcp": {"idle_timeout": "300ms"}}, tls=True) as server, reach(server, server.tcp) as lines:
        assert json.loads(lines.makefile("rb").readline())["bye"]["code"] == 4003


def test_to_be_asked_no_more_is_not_to_be_forgotten():
    with Server({"tcp": {"idle_timeout": "300ms"}}) as server, reach(server, server.tcp) as lines:
        told = lines.makefile("rb")
        lines.sendall(b'{"ping":1,"every_ms":0}\n')
        assert json.loads(told.readline())["pong"] == 1
        assert json.loads(told.readline())["bye"]["code"] == 4003
