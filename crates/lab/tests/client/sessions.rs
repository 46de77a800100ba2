//! What a subscriber does above its transports: fall back, remember, change in mid-way, wait, give up.

use std::time::Duration;

use bongsu_core::Start;
use bongsu_lab::client::{Choice, Client, ClientFault, Limits, Options, Subscriber, Transport};

use crate::peer::Frame::{Hear, Say};
use crate::peer::{Peer, answer, flow, scene, websocket};
use crate::{AT_ONCE, client, transcript};

const NDJSON: &str = "application/x-ndjson";
const NOTHING: [&str; 0] = [];
const PROBLEM: &str = "content-type: application/problem+json\r\n";

fn auto(client: &Client) -> Subscriber {
    client.follow(Choice::auto(), &["a"], Start::Live).expect("a name").with_backoff(AT_ONCE)
}

#[tokio::test]
async fn falls_back_past_proxies_that_break_transports_and_remembers_what_worked() {
    let peer = Peer::play(vec![
        scene(&["upgrade: websocket"], answer("400 Bad Request", "content-type: text/html\r\n", "<h1>no upgrades</h1>")),
        scene(&["accept: text/event-stream"], answer("200 OK", "content-type: text/html\r\n", "<h1>hello</h1>")),
        scene(&["accept: application/x-ndjson"], flow(NDJSON, &["{\"channel\":\"a\",\"cursor\":\"e-7\"}\n"])),
        scene(&["accept: application/x-ndjson", "after=e-7"], answer("502 Bad Gateway", "", "")),
        scene(&["accept: application/x-ndjson", "after=e-7"], flow(NDJSON, &["{\"channel\":\"a\",\"cursor\":\"e-7\"}\n"])).held(),
    ])
    .await;
    let mut subscriber = auto(&client(&peer.url));
    assert_eq!(
        transcript(&mut subscriber, 8).await,
        "websocket to sse | sse to stream | over stream | a from e-7 | lost | lost | over stream | a from e-7"
    );
    drop(subscriber);
    peer.finished().await;
}

#[tokio::test]
async fn a_proxy_that_holds_a_stream_back_is_left_for_a_transport_that_answers() {
    let limits = Limits { answer_max: Duration::from_millis(60), ..Limits::default() };
    let body = r#"{"publications":[],"cursor":"e-7","more":false}"#;
    let peer = Peer::play(vec![
        websocket(&[], vec![Hear("subscribe")]).held(),
        scene(&["text/event-stream"], flow("text/event-stream", &NOTHING)).held(),
        scene(&["x-ndjson"], flow(NDJSON, &NOTHING)).held(),
        scene(&["GET /channels/a?live "], answer("200 OK", "", body)).held(),
    ])
    .await;
    let client = client(&peer.url).with_options(Options { limits, ..Options::default() });
    let mut subscriber = auto(&client);
    assert_eq!(
        transcript(&mut subscriber, 5).await,
        "websocket to sse | sse to stream | stream to long-poll | over long-poll | a from e-7"
    );
    drop(subscriber);
    peer.finished().await;
}

#[tokio::test]
async fn what_the_server_itself_refuses_is_final() {
    let body = r#"{"type":"urn:x:bad-name","title":"bad name","detail":"write chat/lobby","status":400}"#;
    let peer = Peer::play(vec![scene(&["upgrade: websocket"], answer("400 Bad Request", PROBLEM, body))]).await;
    let fault = auto(&client(&peer.url)).next().await.expect_err("refused");
    assert_eq!(fault.to_string(), "the server refused (400 Bad Request): bad name: write chat/lobby");
    peer.finished().await;
}

#[tokio::test]
async fn changes_its_transport_in_mid_way_and_misses_nothing() {
    let publication = |offset: u64| format!(r#"{{"channel":"a","position":"e-{offset}","data":"x"}}"#);
    let peer = Peer::play(vec![
        scene(&["x-ndjson", "?live"], flow(NDJSON, &["{\"channel\":\"a\",\"cursor\":\"e-0\"}\n", (publication(1) + "\n").as_str()])).held(),
        websocket(
            &["upgrade: websocket"],
            vec![
                Hear(r#""after":"e-1""#),
                Say(r#"{"id":1,"channel":"a","cursor":"e-1"}"#),
                Say(r#"{"channel":"a","position":"e-2","data":"x"}"#),
            ],
        )
        .held(),
        scene(
            &["GET /channels/a?after=e-2 "],
            answer("200 OK", "", &format!(r#"{{"publications":[{}],"cursor":"e-3","more":false}}"#, publication(3))),
        )
        .held(),
        scene(
            &["text/event-stream", "after=e-3"],
            flow("text/event-stream", &["id: e-3\n\n", format!("id: e-4\ndata: {}\n\n", publication(4)).as_str()]),
        )
        .held(),
    ])
    .await;
    let mut subscriber = client(&peer.url).subscribe(Transport::Stream, &["a"], Start::Live).expect("a name");
    for (offset, next) in (1..).zip([Some(Transport::WebSocket), Some(Transport::Poll), Some(Transport::Sse), None]) {
        let published = subscriber.next_publication().await.expect("a publication");
        assert_eq!(published.position.as_str(), format!("e-{offset}"));
        if let Some(next) = next {
            subscriber.switch(next);
        }
    }
    drop(subscriber);
    peer.finished().await;
}

#[tokio::test]
async fn a_server_that_asks_for_time_is_asked_again_over_the_same_transport() {
    let busy = answer("503 Service Unavailable", "content-type: application/problem+json\r\nretry-after: 0\r\n", "{}");
    let started = websocket(&["upgrade: websocket"], vec![Say(r#"{"id":1,"channel":"a","cursor":"e-0"}"#)]).held();
    let peer = Peer::play(vec![scene(&["upgrade: websocket"], busy), started]).await;
    let mut subscriber = auto(&client(&peer.url));
    assert_eq!(transcript(&mut subscriber, 3).await, "lost | over websocket | a from e-0");
    drop(subscriber);
    peer.finished().await;
}

#[tokio::test]
async fn stays_away_when_told_to() {
    let bye = "{\"channel\":\"a\",\"cursor\":\"e-0\"}\n{\"bye\":{\"code\":1009,\"reason\":\"no more\",\"reconnect_ms\":null}}\n";
    let peer = Peer::play(vec![scene(&[], flow(NDJSON, &[bye]))]).await;
    let mut subscriber = client(&peer.url).subscribe(Transport::Stream, &["a"], Start::Live).expect("a name");
    assert_eq!(transcript(&mut subscriber, 9).await, "over stream | a from e-0 | SENT AWAY");
    peer.finished().await;
}

#[tokio::test]
async fn without_reconnecting_a_loss_is_the_end() {
    let peer = Peer::play(vec![scene(&[], flow(NDJSON, &["{\"channel\":\"a\",\"cursor\":\"e-0\"}\n"]))]).await;
    let mut subscriber = client(&peer.url).subscribe(Transport::Stream, &["a"], Start::Live).expect("a name").without_reconnect();
    assert_eq!(transcript(&mut subscriber, 9).await, "over stream | a from e-0 | BROKEN");
    peer.finished().await;
    // A port that is taken but does not listen.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("loopback has a free port");
    let url = format!("http://{}", socket.local_addr().expect("a bound socket has an address"));
    let mut subscriber = client(&url).subscribe(Transport::Poll, &["a"], Start::Live).expect("a name").without_reconnect();
    assert!(matches!(subscriber.next().await, Err(ClientFault::Connect { .. })));
}

#[tokio::test]
async fn waiting_may_be_given_up_at_any_point_without_loss() {
    let peer = Peer::play(vec![
        websocket(
            &[],
            vec![
                Say(r#"{"id":1,"channel":"a","cursor":"e-0"}"#),
                Say(r#"{"channel":"a","position":"e-1","data":"one"}"#),
                Say(r#"{"channel":"a","position":"e-2","data":"two"}"#),
            ],
        )
        .held(),
    ])
    .await;
    let mut subscriber = client(&peer.url).subscribe(Transport::WebSocket, &["a"], Start::Live).expect("a name");
    subscriber.next().await.expect("connected");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        // A turn of the loop at a time: the wait is dropped whenever nothing is there yet.
        tokio::select! {
            biased;
            published = subscriber.next_publication() => seen.push(published.expect("a publication").text()),
            () = tokio::task::yield_now() => (),
        }
    }
    assert_eq!(seen, ["one", "two"]);
    drop(subscriber);
    peer.finished().await;
}
