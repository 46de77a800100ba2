"""A subscriber for every transport, all with one face: `opened`, `take`, `close`. The shared cases run over `TRANSPORTS`."""

import base64
import json
import ssl
import time
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harness import PATIENCE
from http2_client import Http2
from http_client import Answer, channel_path, connect as connect_http, get, reach
from udp_client import Follower

POLL_PAUSE_SECONDS = 0.02


@dataclass
class Record:
    """What a subscriber was told: a `publication`, a `gap`, the opening `cursor`, or a `bye`."""

    kind: str
    position: str | None = None
    data: object = None
    gap: dict | None = None
    channel: str | None = None
    type: str | None = None
    whole: dict = field(default_factory=dict)


def record_of(told):
    """Reads one JSON object of the native protocol, of an NDJSON line or of a page."""
    channel = told.get("channel")
    if "gap" in told:
        return Record("gap", told["gap"]["resumed"], gap=told["gap"], channel=channel, whole=told)
    if "position" in told and "data" in told:
        data = base64.b64decode(told["data"]) if told.get("base64") else told["data"]
        return Record("publication", told["position"], data, channel=channel, type=told.get("type"), whole=told)
    if "cursor" in told:
        return Record("cursor", told["cursor"], channel=channel, whole=told)
    return Record("bye" if "bye" in told else "other", whole=told)


def ndjson_records(reader):
    """A JSON object a line; an empty line is a heartbeat."""
    while line := reader.readline():
        if line.strip():
            yield record_of(json.loads(line))


def sse_records(reader):
    """The event stream format of the HTML standard, as far as a server may use it. A block with only `id:` is the opening cursor."""
    fields = {}
    while raw := reader.readline():
        line = raw.decode().rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data" and "data" in fields:
                value = fields["data"] + "\n" + value
            if name:
                fields[name] = value
        elif fields:
            yield from sse_block(fields)
            fields = {}


def sse_block(fields):
    event, data = fields.get("event", "message"), fields.get("data")
    if data is None:
        if "id" in fields:
            yield Record("cursor", fields["id"])
    elif event == "gap":
        yield Record("gap", fields.get("id"), gap=json.loads(data))
    elif event == "base64":
        yield Record("publication", fields.get("id"), base64.b64decode(data))
    elif event == "message":
        yield Record("publication", fields.get("id"), data)
    else:
        yield Record("bye" if event == "bye" else "other", data=data)


def multipart_records(reader, content_type):
    """RFC 2046 parts. A publication's part has its position in a header; the opening cursor and a gap are told likewise."""
    delimiter = b"--" + content_type.split("boundary=", 1)[1].split(";")[0].strip().strip('"').encode()
    ahead = Ahead(reader)
    while True:
        before = ahead.until(delimiter)
        assert not before.strip(), f"neither part nor delimiter: {before!r}"
        if ahead.exactly(2) == b"--":
            return
        headers = {}
        while line := ahead.until(b"\r\n"):
            name, _, value = line.decode().partition(":")
            headers[name.strip().lower()] = value.strip()
        if "content-length" in headers:
            yield part_record(headers, ahead.exactly(int(headers["content-length"])))
        else:
            body = ahead.until(b"\r\n" + delimiter)
            ahead.give_back(delimiter)
            yield part_record(headers, body)


class Ahead:
    """Reads up to a mark as soon as the mark is there, and not a byte later: a stream may pause anywhere."""

    def __init__(self, reader):
        self.reader, self.buffer = reader, b""

    def until(self, mark):
        while mark not in self.buffer:
            self.fill()
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def exactly(self, count):
        while len(self.buffer) < count:
            self.fill()
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def give_back(self, data):
        self.buffer = data + self.buffer

    def fill(self):
        chunk = self.reader.read1(65536)
        if not chunk:
            raise EOFError(f"the stream ended within a part: {self.buffer[-200:]!r}")
        self.buffer += chunk


def part_record(headers, body):
    if headers.get("content-transfer-encoding", "").lower() == "base64":
        body = base64.b64decode(body)
    if position := headers.get("bongsu-position"):
        kind = headers.get("content-type", "text/plain")
        data = body.decode() if kind.startswith("text/plain") else body
        return Record("publication", position, data, type=kind, whole={"cursor": headers.get("bongsu-cursor")})
    return record_of(json.loads(body) if body.strip() else {"cursor": headers["bongsu-cursor"]})


class Subscriber:
    """A subscription that waits for nothing longer than its patience, and is closed by leaving a `with`."""

    # Whether something is told at the opening, before any publication or gap.
    tells_opening = True

    def __init__(self, server, channel, after=None, **query):
        self.server, self.channel = server, channel
        self.query = ({"after": after} if after else {}) | query
        self.start()

    def opened(self):
        """Waits until the subscription has begun and returns the cursor that its first record tells."""
        first = self.next_record()
        assert first.kind == "cursor", first
        return first.position

    def take(self):
        """The next publication or gap."""
        while (record := self.next_record()).kind not in ("publication", "gap"):
            assert record.kind == "cursor", record
        return record

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Stream(Subscriber):
    """A `GET` whose answer does not end."""

    accept, extra_headers = None, {}

    def start(self):
        self.ask(channel_path(self.channel, **self.query), {"Accept": self.accept, **self.extra_headers})
        assert self.response.status == 200, (self.response.status, self.response.read())
        self.content_type = self.response.getheader("Content-Type", "")
        assert self.content_type.startswith(self.accept), self.content_type
        self.records = self.parse()

    def ask(self, path, headers):
        self.connection = connect_http(self.server)
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()

    def next_record(self):
        record = next(self.records, None)
        assert record, "the stream ended"
        return record

    def close(self):
        self.response.close()
        self.connection.close()


class Ndjson(Stream):
    accept = "application/x-ndjson"

    def parse(self):
        return ndjson_records(self.response)


class Multipart(Stream):
    accept = "multipart/mixed"

    def parse(self):
        return multipart_records(self.response, self.content_type)


class Sse(Stream):
    accept = "text/event-stream"

    def parse(self):
        return sse_records(self.response)


class SseResumed(Sse):
    """Resumes as a browser does: by `Last-Event-ID`, which wins over the query."""

    def start(self):
        if after := self.query.pop("after", None):
            self.extra_headers = {"Last-Event-ID": after}
        super().start()


class Poll(Subscriber):
    """Asks again and again from its cursor."""

    wait = None
    tells_opening = False

    def start(self):
        self.waiting, self.cursor = [], None

    def opened(self):
        """A page tells only where it ends, so that asking from there begins the subscription."""
        if "after" not in self.query:
            self.fetch(live=True)
        return self.query["after"]

    def next_record(self):
        deadline = time.monotonic() + PATIENCE
        while not self.waiting:
            assert time.monotonic() < deadline, "nothing came"
            self.fetch()
        return self.waiting.pop(0)

    def fetch(self, live=False):
        query = dict(self.query) | ({"live": ""} if live else {})
        if self.wait and not live:
            query["wait"] = self.wait
        answer = self.ask(channel_path(self.channel, **query))
        assert answer.status in (200, 204), (answer.status, answer.body)
        self.query = {"after": answer.headers["bongsu-cursor"]}
        page = answer.json() if answer.status == 200 else {"publications": []}
        if "gap" in page:
            self.waiting.append(record_of({"gap": page["gap"]}))
        self.waiting += [record_of(publication) for publication in page["publications"]]
        if not self.waiting and not self.wait and not live:
            time.sleep(POLL_PAUSE_SECONDS)

    def ask(self, path):
        return get(self.server, path)

    def close(self):
        pass


class LongPoll(Poll):
    wait = 5


class Native(Subscriber):
    """The native protocol over a WebSocket."""

    def start(self):
        self.connection = self.open()
        assert self.connection.subprotocol == "bongsu.v1.json"
        start = {name: int(value) if name == "last" else value or True for name, value in self.query.items()}
        self.tell({"subscribe": self.channel, "id": 1, **start})

    def open(self):
        return open_websocket(self.server, "/channels/" + self.channel, ["bongsu.v1.json"])

    def tell(self, command):
        self.connection.send(json.dumps(command))

    def next_told(self):
        return json.loads(self.connection.recv(timeout=PATIENCE))

    def next_record(self):
        return record_of(self.next_told())

    def close(self):
        self.connection.close()


class Tcp(Native):
    """The native protocol over a raw socket: a line for each object."""

    def start(self):
        self.socket = reach(self.server, self.server.tcp)
        self.lines = self.socket.makefile("rb")
        start = {name: int(value) if name == "last" else value or True for name, value in self.query.items()}
        self.tell({"subscribe": self.channel, "id": 1, **start})

    def tell(self, command):
        self.socket.sendall(json.dumps(command).encode() + b"\n")

    def next_told(self):
        return json.loads(self.lines.readline())

    def close(self):
        self.lines.close()
        self.socket.close()


class Udp(Subscriber):
    """The native protocol over UDP, with repair. What does not fit into a datagram is announced, and fetched by a poll."""

    def start(self):
        start = {name: int(value) if name == "last" else value or True for name, value in self.query.items()}
        self.follower = Follower(self.server.udp, self.channel, start)

    def next_record(self):
        kind, told = self.follower.next()
        if kind == "announced":
            page = get(self.server, channel_path(self.channel, after=told["before"])).json()
            told = page["publications"][0] | {"length": told["length"]}
        return record_of(told)

    def close(self):
        self.follower.close()


class Plain(Subscriber):
    """Payloads alone, as frames: there is no room for a cursor, but offsets have no holes, so that counting tells it."""

    def start(self):
        self.connection = open_websocket(self.server, channel_path(self.channel, **self.query))

    def next_record(self):
        return Record("publication", data=self.connection.recv(timeout=PATIENCE))

    def close(self):
        self.connection.close()


class StreamOverHttp2(Stream):
    """The same over a stream of HTTP/2."""

    def ask(self, path, headers):
        self.connection = Http2(self.server)
        self.response = self.connection.request("GET", path, headers)
        self.response.head()


class Http2Ndjson(StreamOverHttp2, Ndjson):
    pass


class Http2Multipart(StreamOverHttp2, Multipart):
    pass


class Http2Sse(StreamOverHttp2, Sse):
    pass


class Http2Poll(Poll):
    """All polls over one connection."""

    def start(self):
        super().start()
        self.connection = Http2(self.server)

    def ask(self, path):
        stream = self.connection.request("GET", path)
        return Answer(stream.head(), stream.headers, stream.read())

    def close(self):
        self.connection.close()


class Http2LongPoll(Http2Poll, LongPoll):
    pass


class Http2Native(Native):
    def open(self):
        return Http2(self.server).websocket("/channels/" + self.channel, "bongsu.v1.json")

    def close(self):
        super().close()
        self.connection.stream.connection.close()


def open_websocket(server, path, subprotocols=None, **options):
    """A WebSocket by the `websockets` library, `legacy` in that it may be opened outside a `with`."""
    proxy = "http://{}:{}".format(*server.tunnel) if server.tunnel else None
    return connect(
        server.ws(path), subprotocols=subprotocols, proxy=proxy, compression=None, max_size=None, max_queue=None,
        open_timeout=PATIENCE, close_timeout=5, legacy=True, ssl=context_for_threads(server.authority) if server.tls else None, **options,
    )


def context_for_threads(authority):
    """A context for a library that reads in one thread while it writes in another, as `websockets` does. Python's ssl is not safe
    for that while TLS 1.3's session tickets come in, right after the handshake: once in some hundred connections the library's own
    end breaks. TLS 1.2 has nothing to read there; the clients of one thread speak TLS 1.3."""
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def close_frame(connection):
    """Receives until the server closes, and returns the close frame that it sent."""
    try:
        while True:
            connection.recv(timeout=PATIENCE)
    except ConnectionClosed as closed:
        assert closed.rcvd, "the server closed without a close frame"
        return closed.rcvd


# Every transport that tells positions, by name.
TRANSPORTS = {
    "poll": Poll, "long-poll": LongPoll, "ndjson": Ndjson, "multipart": Multipart, "sse": Sse, "sse-last-event-id": SseResumed,
    "native": Native, "tcp": Tcp, "udp": Udp,
    "http2-poll": Http2Poll, "http2-long-poll": Http2LongPoll, "http2-ndjson": Http2Ndjson, "http2-multipart": Http2Multipart,
    "http2-sse": Http2Sse, "http2-native": Http2Native,
}
