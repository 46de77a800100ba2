"""The cases that every transport shares, all of them again over TLS: the same list, from the same file."""

import pytest

from harness import Server
from test_shared_cases import *  # noqa: F403 (the tests themselves)

pytestmark = pytest.mark.direct


@pytest.fixture(scope="session")
def server(secure):
    return secure


@pytest.fixture(scope="session")
def forgetful():
    """A server whose channels retain a hundred publications."""
    with Server({"history": {"publications_max": 100}}, tls=True) as running:
        yield running
