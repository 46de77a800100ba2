//! What goes over several transports at once: a reader that changes between them, and commands that only one of them has.

use std::collections::HashSet;

use bongsu_core::websocket::{Message, Opcode};
use bongsu_core::{ChannelName, Start};
use bongsu_lab::client::{Event, Transport, WebSocket};
use serde_json::{Value, json};

use crate::cases::publish_in_parallel;
use crate::reader::Carrier;
use crate::stage::{Stage, texts};
use crate::{CARRIERS, play};

#[test]
fn a_reader_that_changes_its_transport_misses_nothing_and_sees_nothing_twice() {
    const EACH: usize = 500;
    const TURN: usize = 100;
    play(async {
        let stage = Stage::in_the_clear(Carrier::Plain);
        let transports: Vec<Transport> = CARRIERS.iter().filter_map(|carrier| carrier.transport()).collect();
        let mut subscriber = stage.client.subscribe(transports[0], &["a"], Start::Live).expect("a subscription");
        assert!(matches!(subscriber.next_event().await, Ok(Event::Started { .. })));
        let reading = async {
            let (mut seen, mut carried) = (Vec::new(), HashSet::new());
            for transport in transports.iter().cycle().take(4 * EACH / TURN) {
                subscriber.switch(*transport);
                for published in subscriber.take(TURN).await.expect("no hole, nothing twice") {
                    carried.insert(subscriber.transport());
                    seen.push((published.position.clone(), published.text()));
                }
            }
            assert_eq!(carried.len(), transports.len(), "each of them carried something");
            seen
        };
        let (seen, sent) = tokio::join!(reading, publish_in_parallel(&stage, "a", EACH));
        let sent: Vec<_> =
            sent.iter().map(|sent| (sent.position.clone(), String::from_utf8_lossy(&sent.draft.data).into_owned())).collect();
        assert_eq!(seen, sent);
    });
}

#[test]
fn a_channel_that_is_unsubscribed_is_silent_until_it_is_subscribed_again() {
    play(async {
        let stage = Stage::in_the_clear(Carrier::Client(Transport::WebSocket));
        let mut socket = Native::open(&stage).await;
        for channel in ["a", "b"] {
            let answer = socket.ask(json!({"subscribe": channel, "id": channel})).await;
            assert_eq!((&answer["id"], &answer["channel"]), (&json!(channel), &json!(channel)));
        }
        let sent = stage.publish("a", ["one".to_owned()]).await;
        assert_eq!(socket.next().await["data"], "one");
        assert_eq!(socket.ask(json!({"unsubscribe": "a", "id": 3})).await, json!({"id": 3}));
        assert_eq!(socket.ask(json!({"unsubscribe": "a", "id": 4})).await["error"]["code"], "not-subscribed");

        // What follows in the other channel shows that nothing of the first came.
        stage.publish("a", texts("unheard", 3)).await;
        stage.publish("b", ["heard".to_owned()]).await;
        assert_eq!(socket.next().await["data"], "heard");

        let again = json!({"subscribe": "a", "after": sent[0].position.as_str(), "id": 5});
        assert_eq!(socket.ask(again.clone()).await["cursor"], sent[0].position.as_str());
        for text in texts("unheard", 3) {
            assert_eq!(socket.next().await["data"], text);
        }
        assert_eq!(socket.ask(again).await["error"]["code"], "already-subscribed");
    });
}

/// A native WebSocket, word by word.
struct Native(WebSocket);

impl Native {
    async fn open(stage: &Stage) -> Self {
        let path = stage.client.target().channel_path(&ChannelName::parse("a").expect("a name"));
        let limits = stage.client.options().limits;
        Self(WebSocket::open(stage.client.target(), &path, Some("bongsu.v1.json"), limits).await.expect("it opens"))
    }

    async fn ask(&mut self, command: Value) -> Value {
        self.0.send(Opcode::Text, command.to_string().as_bytes()).await.expect("sent");
        self.next().await
    }

    async fn next(&mut self) -> Value {
        match self.0.receive().await.expect("the connection stands") {
            Some(Message::Text(text)) => serde_json::from_slice(&text).expect("JSON"),
            other => panic!("a record is due, not {other:?}"),
        }
    }
}
