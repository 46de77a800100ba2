//! The publisher: one, many, again after a lost answer, over either way.

use std::sync::Arc;

use bongsu_core::{ChannelName, ContentType, Draft};
use bongsu_lab::client::{ClientFault, Outgoing};

use crate::peer::Frame::{Hear, Say};
use crate::peer::{Peer, answer, scene, websocket};
use crate::{AT_ONCE, client};

fn outgoing(text: &str) -> Outgoing {
    Outgoing { channel: ChannelName::parse("chat/a b").expect("a name"), draft: Draft::text(text), idempotency_key: None }
}

fn created(position: &str) -> String {
    answer("201 Created", "content-type: application/json\r\n", &format!(r#"{{"position":"{position}"}}"#))
}

#[tokio::test]
async fn a_publication_is_posted_as_it_is() {
    let peer = Peer::play(vec![
        scene(&["POST /channels/chat/a%20b HTTP/1.1", "content-type: application/json", "\r\n\r\n{\"n\":1.0}"], created("e-1"))
            .without("idempotency-key"),
        scene(&["idempotency-key: mine", "content-type: text/plain; charset=utf-8"], created("e-2")),
    ])
    .await;
    let mut publisher = client(&peer.url).publisher();
    let draft = Draft { data: "{\"n\":1.0}".into(), content_type: ContentType::Json, ..Draft::default() };
    let position = publisher.publish(&Outgoing { draft, ..outgoing("") }).await.expect("published");
    assert_eq!(position.as_str(), "e-1");
    let keyed = Outgoing { idempotency_key: Some("mine".into()), ..outgoing("x") };
    assert_eq!(publisher.publish(&keyed).await.expect("published").as_str(), "e-2");
    peer.finished().await;
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_gives_the_same_key() {
    let busy = answer("503 Service Unavailable", "retry-after: 0\r\n", "");
    let peer = Peer::play(vec![scene(&["POST "], ""), scene(&["POST "], busy), scene(&["POST "], created("e-1"))]).await;
    let mut publisher = client(&peer.url).publisher().with_retries(2, AT_ONCE);
    assert_eq!(publisher.publish(&outgoing("x")).await.expect("published").as_str(), "e-1");
    let requests = peer.finished().await;
    let keys: Vec<_> = requests.iter().map(|request| request.lines().find(|line| line.starts_with("idempotency-key: "))).collect();
    assert!(keys[0].is_some_and(|key| key.len() == "idempotency-key: ".len() + 32), "{keys:?}");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_refusal_is_not_retried() {
    let body = r#"{"title":"payload too large","detail":"at most 1 MiB"}"#;
    let peer =
        Peer::play(vec![scene(&["POST "], answer("413 Content Too Large", "content-type: application/problem+json\r\n", body))]).await;
    let fault = client(&peer.url).publisher().with_retries(9, AT_ONCE).publish(&outgoing("x")).await.expect_err("refused");
    assert_eq!(fault.to_string(), "the server refused (413 Payload Too Large): payload too large: at most 1 MiB");
    peer.finished().await;
}

#[tokio::test]
async fn a_batch_has_a_result_a_line_in_order() {
    let lines = "{\"id\":1,\"position\":\"e-1\"}\n{\"id\":2,\"error\":{\"code\":\"too-large\",\"message\":\"smaller, please\"}}\n";
    let peer = Peer::play(vec![scene(
        &[
            "POST /publish HTTP/1.1",
            "content-type: application/x-ndjson",
            "\r\n\r\n{\"id\":1,\"publish\":\"chat/a b\",\"data\":\"one\"}\n{\"id\":2,",
        ],
        answer("200 OK", "content-type: application/x-ndjson\r\n", lines),
    )])
    .await;
    let results = client(&peer.url).publisher().publish_all(&[outgoing("one"), outgoing("two")]).await.expect("answered");
    assert_eq!(results[0].as_ref().expect("published").as_str(), "e-1");
    assert!(matches!(&results[1], Err(ClientFault::Told { code, .. }) if code == "too-large"));
    peer.finished().await;
}

#[tokio::test]
async fn key_and_headers_go_in_a_line() {
    let peer = Peer::play(vec![scene(
        &["POST /publish HTTP/1.1", r#"{"headers":{"n":"v"},"id":1,"key":"k","publish":"chat/a b","data":"x"}"#],
        answer("200 OK", "", "{\"id\":1,\"position\":\"e-1\"}\n"),
    )])
    .await;
    let draft = Draft { key: Some(Arc::from("k")), headers: Box::new([("n".into(), "v".into())]), ..Draft::text("x") };
    let position = client(&peer.url).publisher().publish(&Outgoing { draft, ..outgoing("") }).await.expect("published");
    assert_eq!(position.as_str(), "e-1");
    peer.finished().await;
}

#[tokio::test]
async fn over_a_websocket_a_cut_is_retried_under_the_same_keys() {
    let peer = Peer::play(vec![
        websocket(&["GET /channels/chat/a%20b "], vec![Hear("one"), Say(r#"{"id":1,"position":"e-1"}"#), Hear("two")]),
        websocket(
            &[],
            vec![
                Hear("one"),
                Hear("two"),
                Say(r#"{"id":1,"position":"e-1"}"#),
                Say(r#"{"id":2,"position":"e-2"}"#),
                Hear("three"),
                Say(r#"{"id":1,"position":"e-3"}"#),
            ],
        )
        .held(),
    ])
    .await;
    let mut publisher = client(&peer.url).publisher().over_websocket().with_retries(1, AT_ONCE);
    let results = publisher.publish_all(&[outgoing("one"), outgoing("two")]).await.expect("answered");
    let positions: Vec<_> = results.iter().map(|result| result.as_ref().expect("published").as_str()).collect();
    assert_eq!(positions, ["e-1", "e-2"]);
    assert_eq!(publisher.publish(&outgoing("three")).await.expect("published").as_str(), "e-3");
    drop(publisher);
    peer.finished().await;
}
