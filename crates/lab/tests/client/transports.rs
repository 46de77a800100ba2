//! Each transport alone: what it asks, what it makes of the answers, and how it resumes after a cut.

use bongsu_core::websocket::{Message, Opcode};
use bongsu_core::{ChannelName, Cursor, Start};
use bongsu_lab::client::{Choice, Limits, Transport, WebSocket, record};

use crate::peer::Frame::{Close, Hear, Ping, Say};
use crate::peer::{Peer, Scene, answer, flow, scene, websocket};
use crate::{AT_ONCE, client, transcript};

const NDJSON: &str = "application/x-ndjson";
const SSE: &str = "text/event-stream";

/// Plays the scenes, follows channel `a` from its start, and holds what the subscriber says against the transcript.
async fn check(transport: Transport, start: Start, scenes: Vec<Scene>, expected: &str) {
    let peer = Peer::play(scenes).await;
    let mut subscriber = client(&peer.url).subscribe(transport, &["a"], start).expect("a name").with_backoff(AT_ONCE);
    assert_eq!(transcript(&mut subscriber, expected.split(" | ").count()).await, expected);
    drop(subscriber);
    peer.finished().await;
}

fn after(cursor: &str) -> Start {
    Start::After(Cursor::parse(cursor).expect("a cursor"))
}

fn page(body: &str) -> String {
    answer("200 OK", "content-type: application/json\r\n", body)
}

#[tokio::test]
async fn a_stream_is_read_line_by_line_and_resumed_after_a_cut() {
    let first = [
        "{\"channel\":\"a\",\"cursor\":\"e-7\"}\n{\"chan",
        "nel\":\"a\",\"position\":\"e-8\",\"data\":\"eight\"}\n\n",
        "{\"channel\":\"a\",\"cursor\":\"e-8\"}\n{\"channel\":\"a\",\"position\":\"e-9\",\"da",
    ];
    let second = [
        "{\"channel\":\"a\",\"cursor\":\"e-8\"}\n{\"channel\":\"a\",\"gap\":{\"asked\":\"e-8\",\"resumed\":\"f-2\",\"reason\":\"eclipse\"}}\n",
        "{\"channel\":\"a\",\"position\":\"f-3\",\"data\":\"three\"}\n{\"bye\":{\"code\":1001,\"reason\":\"stop\",\"reconnect_ms\":0}}\n",
        "",
    ];
    let third = ["{\"channel\":\"a\",\"cursor\":\"f-3\"}\n"];
    check(
        Transport::Stream,
        Start::Live,
        vec![
            scene(&["GET /channels/a?live HTTP/1.1", "accept: application/x-ndjson", "host: 127.0.0.1:"], flow(NDJSON, &first)),
            scene(&["GET /channels/a?after=e-8 "], flow(NDJSON, &second)),
            scene(&["GET /channels/a?after=f-3 "], flow(NDJSON, &third)).held(),
        ],
        "over stream | a from e-7 | e-8 eight | caught up e-8 | lost | over stream | a from e-8 | gap e-8 to f-2 (eclipse) | f-3 three \
         | bye 1001 | lost | over stream | a from f-3",
    )
    .await;
}

#[tokio::test]
async fn events_are_read_exactly_and_resumed_after_a_cut() {
    let first = [
        ": hello\n\nid: e-0\n\nid: e-1\r\ndata: {\"channel\":\"a\",\"position\":\"e-1\",",
        "\"data\":\"one\\r\"}\r\n\r\n:\n\nevent: gap\nid: e-5\ndata: {\"asked\":\"e-1\",\"resumed\":\"e-5\",\"reason\":\"dropped\"}\n\n",
        "id: e-6\ndata: {\"channel\":\"a\",\"position\":\"e-6\",\"data\":\"/w==\",\"base64\":true}\n\nid: e-7\nda",
    ];
    let second = ["id: e-6\n\nretry: 0\nevent: bye\ndata: {\"code\":1001,\"reason\":\"stop\",\"reconnect_ms\":0}\n\n"];
    check(
        Transport::Sse,
        Start::Earliest,
        vec![
            scene(&["GET /channels/a?earliest&format=json HTTP/1.1", "accept: text/event-stream"], flow(SSE, &first)),
            scene(&["GET /channels/a?after=e-6&format=json "], flow(SSE, &second)),
        ],
        "over sse | a from e-0 | e-1 one\r | gap e-1 to e-5 (dropped) | e-6 \u{fffd} | lost | over sse | a from e-6 | bye 1001 | lost",
    )
    .await;
}

#[tokio::test]
async fn polls_follow_the_cursor_and_use_the_tag() {
    let empty = "bongsu-cursor: e-3\r\netag: \"t\"\r\n";
    check(
        Transport::Poll,
        Start::Earliest,
        vec![
            scene(
                &["GET /channels/a?earliest HTTP/1.1"],
                page(r#"{"publications":[{"channel":"a","position":"e-2","data":"two"}],"cursor":"e-2","more":true}"#),
            )
            .kept(),
            scene(
                &["GET /channels/a?after=e-2 "],
                page(r#"{"publications":[{"channel":"a","position":"e-3","data":"three"}],"cursor":"e-3","more":false}"#),
            ),
            scene(&["GET /channels/a?after=e-3 "], answer("200 OK", empty, r#"{"publications":[],"cursor":"e-3","more":false}"#)).kept(),
            scene(&["GET /channels/a?after=e-3 ", "if-none-match: \"t\""], answer("304 Not Modified", empty, "")).kept(),
            scene(
                &["GET /channels/a?after=e-3 ", "if-none-match: \"t\""],
                page(
                    r#"{"publications":[{"channel":"a","position":"f-9","data":"nine"}],"cursor":"f-9","more":false,
                        "gap":{"asked":"e-3","resumed":"f-8","reason":"epoch"}}"#,
                ),
            ),
        ],
        "over poll | a from e-1 | e-2 two | e-3 three | gap e-3 to f-8 (epoch) | f-9 nine",
    )
    .await;
}

#[tokio::test]
async fn a_long_poll_learns_its_cursor_first_and_then_waits() {
    check(
        Transport::LongPoll,
        Start::Live,
        vec![
            scene(&["GET /channels/a?live "], page(r#"{"publications":[],"cursor":"e-4","more":false}"#)).without("prefer").kept(),
            scene(&["GET /channels/a?after=e-4 ", "prefer: wait=7"], answer("204 No Content", "bongsu-cursor: e-4\r\n", "")).kept(),
            scene(
                &["GET /channels/a?after=e-4 ", "prefer: wait=7"],
                page(r#"{"publications":[{"channel":"a","position":"e-5","data":"five"}],"cursor":"e-5","more":true}"#),
            ),
            scene(
                &["GET /channels/a?after=e-5 "],
                page(r#"{"publications":[{"channel":"a","position":"e-6","data":"six"}],"cursor":"e-6","more":false}"#),
            )
            .without("prefer"),
            scene(&["GET /channels/a?after=e-6 "], String::new()),
            scene(
                &["GET /channels/a?after=e-6 "],
                page(r#"{"publications":[{"channel":"a","position":"e-7","data":"seven"}],"cursor":"e-7","more":false}"#),
            ),
        ],
        "over long-poll | a from e-4 | e-5 five | e-6 six | lost | over long-poll | a from e-6 | e-7 seven",
    )
    .await;
}

#[tokio::test]
async fn a_websocket_speaks_the_native_protocol_and_resumes_after_a_cut() {
    let head = ["GET /channels/a HTTP/1.1", "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-protocol: bongsu.v1.json"];
    check(
        Transport::WebSocket,
        Start::Last(2),
        vec![
            websocket(
                &head,
                vec![
                    Hear(r#"{"id":1,"last":2,"subscribe":"a"}"#),
                    Say(r#"{"id":1,"channel":"a","cursor":"e-1"}"#),
                    Say(r#"{"channel":"a","position":"e-2","data":"two"}"#),
                    Ping,
                    Say(r#"{"channel":"a","position":"e-3","data":{"n":3},"type":"application/json"}"#),
                ],
            ),
            websocket(
                &head,
                vec![
                    Hear(r#"{"after":"e-3","id":1,"subscribe":"a"}"#),
                    Say(r#"{"id":1,"channel":"a","cursor":"e-3"}"#),
                    Say(r#"{"bye":{"code":1001,"reason":"stop","reconnect_ms":0}}"#),
                    Close(1001, "stop"),
                ],
            ),
            websocket(&head, vec![Hear("after"), Say(r#"{"id":1,"channel":"a","cursor":"e-3"}"#), Close(1002, "your fault")]),
        ],
        "over websocket | a from e-1 | e-2 two | e-3 {\"n\":3} | lost | over websocket | a from e-3 | bye 1001 | lost | over websocket \
         | a from e-3 | SENT AWAY",
    )
    .await;
}

#[tokio::test]
async fn a_hole_without_a_gap_is_a_fault_on_every_transport() {
    let lines = ["{\"channel\":\"a\",\"cursor\":\"e-7\"}\n", "{\"channel\":\"a\",\"position\":\"e-9\",\"data\":\"\"}\n"];
    check(Transport::Stream, after("e-7"), vec![scene(&[], flow(NDJSON, &lines)).held()], "over stream | a from e-7 | HOLE").await;
    let events = ["id: e-7\n\n", "id: e-9\ndata: {\"channel\":\"a\",\"position\":\"e-9\",\"data\":\"\"}\n\n"];
    check(Transport::Sse, after("e-7"), vec![scene(&[], flow(SSE, &events)).held()], "over sse | a from e-7 | HOLE").await;
    let body = r#"{"publications":[{"channel":"a","position":"e-9","data":""}],"cursor":"e-9","more":false}"#;
    check(Transport::Poll, after("e-7"), vec![scene(&[], page(body))], "over poll | a from e-7 | HOLE").await;
    check(Transport::LongPoll, after("e-7"), vec![scene(&[], page(body))], "over long-poll | a from e-7 | HOLE").await;
    let frames = vec![Say(r#"{"id":1,"channel":"a","cursor":"e-7"}"#), Say(r#"{"channel":"a","position":"e-9","data":""}"#)];
    check(Transport::WebSocket, after("e-7"), vec![websocket(&[], frames).held()], "over websocket | a from e-7 | HOLE").await;
}

#[tokio::test]
async fn a_duplicate_and_a_false_caught_up_are_faults() {
    let twice = ["{\"channel\":\"a\",\"cursor\":\"e-7\"}\n", "{\"channel\":\"a\",\"position\":\"e-7\",\"data\":\"\"}\n"];
    check(Transport::Stream, Start::Live, vec![scene(&[], flow(NDJSON, &twice)).held()], "over stream | a from e-7 | DUPLICATE").await;
    let false_word = ["{\"channel\":\"a\",\"cursor\":\"e-7\"}\n{\"channel\":\"a\",\"cursor\":\"e-9\"}\n"];
    check(Transport::Stream, Start::Live, vec![scene(&[], flow(NDJSON, &false_word)).held()], "over stream | a from e-7 | HOLE").await;
}

#[tokio::test]
async fn several_channels_come_over_one_websocket() {
    let listening = Peer::play(vec![
        websocket(
            &["GET /channels/a HTTP/1.1"],
            vec![
                Hear(r#""subscribe":"a""#),
                Hear(r#""subscribe":"b/c""#),
                Say(r#"{"id":2,"channel":"b/c","cursor":"e-0"}"#),
                Say(r#"{"id":1,"channel":"a","cursor":"f-4"}"#),
                Say(r#"{"channel":"a","position":"f-5","data":"x"}"#),
                Say(r#"{"channel":"b/c","position":"e-1","data":"y"}"#),
            ],
        )
        .held(),
    ])
    .await;
    let mut subscriber = client(&listening.url).subscribe(Transport::WebSocket, &["a", "b/c", "a"], Start::Live).expect("names");
    assert_eq!(transcript(&mut subscriber, 5).await, "over websocket | b/c from e-0 | a from f-4 | f-5 x | e-1 y");
    let cursors: Vec<_> = subscriber.cursors().map(|(channel, cursor)| format!("{channel} {}", cursor.expect("known"))).collect();
    assert_eq!(cursors, ["a f-5", "b/c e-1"]);
    drop(subscriber);
    listening.finished().await;
}

#[tokio::test]
async fn channels_with_starts_that_one_request_cannot_say_come_over_a_connection_each() {
    let lines = |name: &str| {
        format!("{{\"channel\":\"{name}\",\"cursor\":\"e-0\"}}\n{{\"channel\":\"{name}\",\"position\":\"e-1\",\"data\":\"{name}\"}}\n")
    };
    let peer = Peer::play(vec![
        scene(&["GET /channels/a?live "], flow(NDJSON, &[lines("a")])).left_open(),
        scene(&["GET /channels/b?earliest "], flow(NDJSON, &[lines("b")])).held(),
    ])
    .await;
    let name = |text| ChannelName::parse(text).expect("a name");
    let starts = vec![(name("a"), Start::Live), (name("b"), Start::Earliest)];
    let mut subscriber = client(&peer.url).follow_from(Choice::fixed(Transport::Stream), starts).expect("channels");
    let mut texts: Vec<_> = subscriber.take(2).await.expect("both").iter().map(|published| published.text()).collect();
    texts.sort();
    assert_eq!(texts, ["a", "b"]);
    drop(subscriber);
    peer.finished().await;
}

#[tokio::test]
async fn a_plain_websocket_carries_payloads_both_ways_and_a_gap_as_it_closes() {
    let peer = Peer::play(vec![
        websocket(
            &["GET /channels/a?after=e-1 "],
            vec![Hear("up"), Say("down"), Close(4009, r#"{"asked":"e-1","resumed":"f-3","reason":"epoch"}"#)],
        )
        .without("sec-websocket-protocol"),
    ])
    .await;
    let client = client(&peer.url);
    let channel = ChannelName::parse("a").expect("a name");
    let mut socket = WebSocket::open_plain(client.target(), &channel, &after("e-1"), Limits::default()).await.expect("open");
    socket.send(Opcode::Text, b"up").await.expect("sent");
    assert_eq!(socket.receive().await.expect("a message"), Some(Message::Text("down".into())));
    let Ok(Some(Message::Close(Some(frame)))) = socket.receive().await else { panic!("no close") };
    let gap = record::read_gap(&frame.reason, &channel).expect("a gap");
    assert_eq!((frame.code, gap.resumed.as_str(), gap.reason.as_str()), (4009, "f-3", "epoch"));
    assert_eq!(socket.receive().await.expect("the end"), None);
    peer.finished().await;
}
