"""The HTTP face beside delivery: publishing, pages, validators, waits, cross-origin reading, problem documents."""

import io
import json
import time
from urllib.parse import urljoin

import pytest

from harness import FOREIGN_ORIGIN, LISTED_ORIGIN, Server
from http_client import (CURSOR, assert_problem, channel_path, connect, epoch_of, get, moved, offset_of, publish, publish_many, read_answer,
                         request)
from raw_websocket import PING, PONG, RawWebSocket, frame
from subscribers import Multipart, Native, Ndjson, Sse


def test_publish_counts_offsets_without_holes(server, channel):
    positions = publish_many(server, channel, ["a", "b", "c"])
    assert len({epoch_of(position) for position in positions}) == 1
    assert [offset_of(position) for position in positions] == [1, 2, 3]


def test_an_idempotency_key_returns_the_first_position_again(server, channel):
    first = publish(server, channel, "once", Idempotency_Key="key-1")
    assert publish(server, channel, "once", Idempotency_Key="key-1") == first
    assert publish(server, channel, "other", Idempotency_Key="key-2") == moved(first, 1)
    page = get(server, channel_path(channel)).json()
    assert [publication["data"] for publication in page["publications"]] == ["once", "other"]


def test_a_page_has_the_publications_and_the_cursor(server, channel):
    positions = publish_many(server, channel, ["a", "b"])
    answer = get(server, channel_path(channel))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    page = answer.json()
    assert page["cursor"] == answer.headers["bongsu-cursor"] == positions[-1]
    assert page["more"] is False
    assert "gap" not in page
    assert [(entry["channel"], entry["position"], entry["data"]) for entry in page["publications"]] == [
        (channel, positions[0], "a"), (channel, positions[1], "b")]
    assert "type" not in page["publications"][0], "plain text needs no type"


def test_the_link_to_the_next_page_goes_on(server, channel):
    publish(server, channel, "a")
    link = get(server, channel_path(channel)).headers["link"]
    assert 'rel="next"' in link or "rel=next" in link
    target = link[link.index("<") + 1:link.index(">")]
    publish(server, channel, "b")
    next_page = urljoin(server.http(channel_path(channel)), target).removeprefix(server.http())
    assert [entry["data"] for entry in get(server, next_page).json()["publications"]] == ["b"]


def test_pages_follow_one_another_until_there_is_no_more(server, channel):
    publish_many(server, channel, [str(n) for n in range(1500)])
    query, seen, pages = {}, [], 0
    while True:
        page = get(server, channel_path(channel, **query)).json()
        seen += [entry["data"] for entry in page["publications"]]
        pages += 1
        assert pages <= 1500
        if not page["more"]:
            break
        query = {"after": page["cursor"]}
    assert seen == [str(n) for n in range(1500)]


def test_json_forms_of_payloads(server, channel):
    publish(server, channel, '{"n":1}', "application/json")
    publish(server, channel, "<p>", "text/html")
    publish(server, channel, b"\xff\x00", "application/octet-stream")
    value, html, octets = get(server, channel_path(channel)).json()["publications"]
    assert (value["data"], value["type"]) == ({"n": 1}, "application/json")
    assert (html["data"], html["type"]) == ("<p>", "text/html")
    assert (octets["data"], octets["base64"]) == ("/wA=", True)


def test_a_channel_name_is_decoded_once(server, channel):
    publish(server, channel + "/x", "nested")
    encoded = "/channels/" + channel.replace("/", "%2F") + "%2Fx"
    assert get(server, encoded).json()["publications"][0]["channel"] == channel + "/x"
    path = "/channels/" + channel + "/%252F%EB%B4%89"
    assert request(server, "POST", path, b"literal").status == 201
    assert get(server, path).json()["publications"][0]["channel"] == channel + "/%2F봉"


def test_reading_a_channel_that_never_was_is_an_empty_page(server, channel):
    answer = get(server, channel_path(channel))
    assert (answer.status, answer.json()["publications"], answer.json()["more"]) == (200, [], False)
    assert CURSOR.fullmatch(answer.headers["bongsu-cursor"])


def test_a_validator_folds_an_unchanged_page(server, channel):
    publish(server, channel, "a")
    first = get(server, channel_path(channel))
    assert first.headers["etag"].startswith('"'), "a strong validator"
    vary = first.headers["vary"].lower()
    assert all(name in vary for name in ("accept", "prefer", "last-event-id")), "what chooses the answer"
    again = get(server, channel_path(channel), If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["bongsu-cursor"] == first.headers["bongsu-cursor"]
    assert "link" in again.headers
    publish(server, channel, "b")
    changed = get(server, channel_path(channel), If_None_Match=first.headers["etag"])
    assert changed.status == 200
    assert changed.headers["etag"] != first.headers["etag"]


def test_a_validator_never_chooses_content(server, channel):
    """The validator of one address says nothing about another, even where it matches in form."""
    positions = publish_many(server, channel, ["a", "b"])
    whole = get(server, channel_path(channel))
    rest = get(server, channel_path(channel, after=positions[0]), If_None_Match=whole.headers["etag"])
    assert (rest.status, [entry["data"] for entry in rest.json()["publications"]]) == (200, ["b"])


def test_head_is_get_without_the_body(server, channel):
    publish(server, channel, "a")
    answer = request(server, "HEAD", channel_path(channel))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["bongsu-cursor"] == get(server, channel_path(channel)).headers["bongsu-cursor"]
    assert "etag" in answer.headers


def test_head_of_a_stream_does_not_stream(server, channel):
    answer = request(server, "HEAD", channel_path(channel), headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("header", [False, True], ids=["query", "prefer"])
def test_a_wait_that_ends_has_no_content_but_a_cursor(server, channel, header):
    last = publish(server, channel, "a")
    began = time.monotonic()
    if header:
        answer = get(server, channel_path(channel, after=last), Prefer="wait=1")
    else:
        answer = get(server, channel_path(channel, after=last, wait=1))
    assert 0.9 <= time.monotonic() - began < 5
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["bongsu-cursor"] == last
    assert 'rel="next"' in answer.headers["link"]
    assert "no-store" in answer.headers["cache-control"]


def test_a_wait_ends_with_the_first_publication(server, channel):
    last = publish(server, channel, "a")
    connection = connect(server)
    began = time.monotonic()
    connection.request("GET", channel_path(channel, after=last, wait=25))
    position = publish(server, channel, "b")
    answer = read_answer(connection.getresponse())
    connection.close()
    assert time.monotonic() - began < 10
    assert [entry["position"] for entry in answer.json()["publications"]] == [position]
    assert answer.headers["bongsu-cursor"] == position


def test_a_wait_is_over_at_once_when_something_is_there(server, channel):
    positions = publish_many(server, channel, ["a", "b"])
    began = time.monotonic()
    answer = get(server, channel_path(channel, after=positions[0], wait=25))
    assert time.monotonic() - began < 5
    assert [entry["data"] for entry in answer.json()["publications"]] == ["b"]


def test_a_gap_answers_a_wait_at_once(server, channel):
    publish(server, channel, "a")
    began = time.monotonic()
    answer = get(server, channel_path(channel, after="strangersEpoch-1", wait=25))
    assert time.monotonic() - began < 5
    assert answer.json()["gap"]["reason"] == "epoch"


def test_last_event_id_wins_over_the_query(server, channel):
    positions = publish_many(server, channel, ["a", "b", "c"])
    page = get(server, channel_path(channel, after=positions[0]), Last_Event_ID=positions[1]).json()
    assert [entry["data"] for entry in page["publications"]] == ["c"]


def test_streams_say_that_nobody_may_hold_them_back(server, channel):
    for accept in ["application/x-ndjson", "multipart/mixed", "text/event-stream"]:
        connection = connect(server)
        connection.request("GET", channel_path(channel), headers={"Accept": accept})
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Type").startswith(accept)
        assert "no-store" in response.getheader("Cache-Control", "") or "no-cache" in response.getheader("Cache-Control", "")
        assert response.getheader("X-Accel-Buffering") == "no"
        response.close()
        connection.close()


@pytest.mark.parametrize("transport", [Ndjson, Multipart, Sse])
def test_a_silent_stream_shows_that_it_is_alive(channel, transport):
    """Proxies cut what is silent; and what keeps them from it is no record that a reader could mistake."""
    with Server({"http": {"heartbeat": "200ms"}}) as server, transport(server, channel) as stream:
        collected = b""
        # The opening, and then what comes without anybody having published.
        for _ in range(4):
            chunk = stream.response.read1(65536)
            assert chunk, "the stream ended"
            collected += chunk
        publish(server, channel, "at last")
        while b"at last" not in collected:
            collected += stream.response.read1(65536)
        stream.response = io.BytesIO(collected + b"\r\n\r\n")
        stream.records = stream.parse()
        stream.opened()
        assert stream.take().data == "at last"


def test_a_silent_websocket_is_pinged_after_each_silence(channel):
    """However long an answer to a ping may take: proxies cut what is silent."""
    with Server({"websocket": {"ping_interval": "100ms", "ping_timeout": "10m"}}) as server:
        with RawWebSocket(server, "/channels/" + channel) as websocket:
            for _ in range(4):
                assert websocket.receive() == (PING, b"")
                websocket.send(frame(PONG))


def test_sse_can_put_the_json_form_in_data(server, channel):
    with Sse(server, channel, format="json") as subscriber:
        subscriber.opened()
        position = publish(server, channel, '{"n":1}', "application/json")
        record = subscriber.take()
    assert record.position == position
    told = json.loads(record.data)
    assert (told["channel"], told["position"], told["data"]) == (channel, position, {"n": 1})


@pytest.mark.parametrize("path", ["/channels/options", "/publish", "/subscribe"])
def test_options_tells_what_is_allowed(server, path):
    answer = request(server, "OPTIONS", path)
    assert answer.status in (200, 204)
    allowed = {method.strip() for method in answer.headers["allow"].split(",")}
    assert "OPTIONS" in allowed
    assert ("POST" in allowed) == (path != "/subscribe")


def test_a_listed_origin_may_read_and_publish(server, channel):
    publish(server, channel, "a")
    answer = get(server, channel_path(channel), Origin=LISTED_ORIGIN, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == LISTED_ORIGIN
    assert "origin" in answer.headers["vary"].lower()
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert "bongsu-cursor" in exposed or exposed == "*"
    posted = request(server, "POST", channel_path(channel), b"b", {"Origin": LISTED_ORIGIN, "Sec-Fetch-Site": "cross-site"})
    assert (posted.status, posted.headers["access-control-allow-origin"]) == (201, LISTED_ORIGIN)


def test_a_listed_origin_may_ask_beforehand(server, channel):
    headers = {
        "Origin": LISTED_ORIGIN, "Sec-Fetch-Site": "cross-site", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, idempotency-key, last-event-id, prefer"}
    answer = request(server, "OPTIONS", channel_path(channel), headers=headers)
    assert answer.status in (200, 204)
    assert answer.headers["access-control-allow-origin"] == LISTED_ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ["content-type", "idempotency-key", "last-event-id", "prefer"])


def test_the_servers_own_pages_need_no_listing(server, channel):
    own = {"Origin": server.http(), "Sec-Fetch-Site": "same-origin"}
    assert request(server, "POST", channel_path(channel), b"a", own).status == 201


@pytest.mark.parametrize("route", ["/channels/guarded", "/subscribe?channel=guarded", "/publish", "/metrics", "/health", "/"])
def test_a_foreign_page_reaches_no_route(server, harmless, route):
    method = "POST" if route == "/publish" else "GET"
    for headers in [
        {"Origin": FOREIGN_ORIGIN, "Sec-Fetch-Site": "cross-site"}, {"Origin": FOREIGN_ORIGIN}, {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example"}]:
        answer = request(server, method, route, b"{}" if method == "POST" else None, headers)
        assert answer.status in (400, 403, 421), (headers, answer.status)
        assert "access-control-allow-origin" not in answer.headers


def test_a_foreign_page_cannot_publish(server, channel, harmless):
    """A form post needs no leave beforehand, so that it has to be refused when it comes."""
    headers = {"Origin": FOREIGN_ORIGIN, "Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert_problem(request(server, "POST", channel_path(channel), b"a", headers), 403)
    assert get(server, channel_path(channel)).json()["publications"] == []


def test_health_and_metrics_answer(server):
    assert get(server, "/health").status == 200
    answer = get(server, "/metrics")
    assert answer.status == 200
    assert b"bongsu_" in answer.body


def test_what_is_not_there_is_a_problem_document(server):
    assert_problem(get(server, "/nowhere"), 404)


def test_a_batch_has_a_result_for_every_line_in_order(server, channel):
    lines = [
        {"publish": channel, "data": "text", "id": 1}, {"publish": channel + "/b", "data": {"n": 1}, "id": 2},
        {"publish": "a//b", "data": "no channel", "id": 3}, {"publish": channel, "data": "/wA=", "base64": True, "id": 4}]
    body = "".join(json.dumps(line) + "\n" for line in lines[:2]) + "not json\n" + "".join(json.dumps(line) + "\n" for line in lines[2:])
    answer = request(server, "POST", "/publish", body.encode(), {"Content-Type": "application/x-ndjson"})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    results = [json.loads(line) for line in answer.body.splitlines() if line.strip()]
    assert [result.get("id") for result in results] == [1, 2, None, 3, 4]
    assert [("position" in result, "error" in result) for result in results] == [
        (True, False), (True, False), (False, True), (False, True), (True, False)]
    assert all(result["error"]["code"] and result["error"]["message"] for result in results if "error" in result)
    assert [entry["data"] for entry in get(server, channel_path(channel)).json()["publications"]] == ["text", "/wA="]


def test_a_batch_and_a_subscriber_meet(server, channel):
    with Ndjson(server, channel) as subscriber, Native(server, channel) as native:
        subscriber.opened()
        native.opened()
        body = "".join(json.dumps({"publish": channel, "data": str(n)}) + "\n" for n in range(100))
        assert request(server, "POST", "/publish", body.encode(), {"Content-Type": "application/x-ndjson"}).status == 200
        for reader in (subscriber, native):
            assert [reader.take().data for _ in range(100)] == [str(n) for n in range(100)]


def test_keeps_the_connection_open_between_requests(server, channel):
    connection = connect(server)
    connection.connect()
    socket = connection.sock
    for n in range(3):
        connection.request("POST", channel_path(channel), str(n))
        assert read_answer(connection.getresponse()).status == 201
        connection.request("GET", channel_path(channel))
        assert len(read_answer(connection.getresponse()).json()["publications"]) == n + 1
    assert connection.sock is socket, "the server closed a connection that it could have kept"
    connection.close()
