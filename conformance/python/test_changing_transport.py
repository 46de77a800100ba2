"""One reader that goes on over another transport every hundred publications, while four publishers run."""

import itertools

from http_client import moved, publish
from publishers import Publishers
from subscribers import TRANSPORTS, Plain

EACH = 700
STEP = 100


def test_a_reader_that_changes_its_transport_misses_nothing(server, channel):
    cursor = publish(server, channel, "the first")
    received, positions = [], []
    with Publishers(server, channel, EACH) as publishers:
        for transport in itertools.islice(itertools.cycle([*TRANSPORTS.values(), Plain]), 4 * EACH // STEP):
            with transport(server, channel, after=cursor) as reader:
                records = [reader.take() for _ in range(STEP)]
            assert all(record.kind == "publication" for record in records), transport.__name__
            # A plain WebSocket tells no positions; offsets have no holes, so that counting does.
            positions += [record.position or moved(cursor, n) for n, record in enumerate(records, 1)]
            received += [record.data for record in records]
            cursor = positions[-1]
    publishers.check_complete(received)
    assert positions == [moved(positions[0], n) for n in range(4 * EACH)]
