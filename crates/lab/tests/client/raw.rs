//! The transports without HTTP before them, against peers that play a script byte for byte.

use bongsu_core::{Cursor, Start};
use bongsu_lab::client::{Choice, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{AT_ONCE, client, transcript};

/// One connection's turns: what is awaited from the client, and what is said then.
type Turns = &'static [(&'static str, &'static str)];

/// Plays a connection after the other; each ends with the peer hanging up.
async fn play(connections: &'static [Turns]) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let playing = tokio::spawn(async move {
        for turns in connections {
            let (mut stream, _) = listener.accept().await.expect("the client connects");
            let mut heard = Vec::new();
            for (awaited, said) in *turns {
                while !String::from_utf8_lossy(&heard).contains(awaited) {
                    let read = stream.read_buf(&mut heard).await.expect("the client speaks");
                    assert!(read > 0, "{awaited:?} is due, not the end after {:?}", String::from_utf8_lossy(&heard));
                }
                // In pieces, so that nothing relies on how bytes arrive.
                for piece in said.as_bytes().chunks(7) {
                    stream.write_all(piece).await.expect("the client listens");
                }
            }
        }
    });
    (address, playing)
}

async fn check(url: &str, transport: Transport, start: Start, connections: &'static [Turns], expected: &str) {
    let (address, playing) = play(connections).await;
    let choice = Choice::fixed(transport);
    let client = client(&format!("{url}{address}"));
    let mut subscriber = client.follow(choice, &["a"], start).expect("a name").with_backoff(AT_ONCE);
    assert_eq!(transcript(&mut subscriber, expected.split(" | ").count()).await, expected);
    drop(subscriber);
    playing.await.expect("the script was played to its end");
}

fn after(cursor: &str) -> Start {
    Start::After(Cursor::parse(cursor).expect("a cursor"))
}

#[tokio::test]
async fn lines_are_resumed_after_a_cut_and_a_gap_is_told() {
    const FIRST: Turns = &[(
        "{\"id\":1,\"subscribe\":\"a\"}\n",
        "{\"id\":1,\"channel\":\"a\",\"cursor\":\"e-7\"}\n{\"channel\":\"a\",\"position\":\"e-8\",\"data\":\"eight\"}\r\n\n{\"chan",
    )];
    const SECOND: Turns = &[(
        "{\"after\":\"e-8\",\"id\":1,\"subscribe\":\"a\"}\n",
        "{\"id\":1,\"channel\":\"a\",\"cursor\":\"e-8\"}\n{\"channel\":\"a\",\"gap\":{\"asked\":\"e-8\",\"resumed\":\"f-2\",\"reason\":\"epoch\"}}\n\
         {\"channel\":\"a\",\"position\":\"f-3\",\"data\":\"three\"}\n{\"bye\":{\"code\":1001,\"reason\":\"stop\",\"reconnect_ms\":0}}\n",
    )];
    check(
        "tcp://",
        Transport::Tcp,
        Start::Live,
        &[FIRST, SECOND],
        "over tcp | a from e-7 | e-8 eight | lost | over tcp | a from e-8 | gap e-8 to f-2 (epoch) | f-3 three | bye 1001 | lost",
    )
    .await;
}

#[tokio::test]
async fn a_hole_and_a_refusal_over_lines_are_faults() {
    const HOLE: Turns =
        &[("subscribe", "{\"id\":1,\"channel\":\"a\",\"cursor\":\"e-1\"}\n{\"channel\":\"a\",\"position\":\"e-3\",\"data\":\"three\"}\n")];
    check("tcp://", Transport::Tcp, Start::Live, &[HOLE], "over tcp | a from e-1 | HOLE").await;
    const REFUSED: Turns = &[("subscribe", "{\"id\":1,\"error\":{\"code\":\"reserved-channel\",\"message\":\"no\"}}\n")];
    check("tcp://", Transport::Tcp, Start::Live, &[REFUSED], "TOLD").await;
}

#[tokio::test]
async fn frames_are_resumed_after_a_cut_and_a_gap_is_told() {
    const FIRST: Turns = &[
        ("accept-version:1.2\n", "CONNECTED\nversion:1.2\nheart-beat:1000,10000\n\n\0"),
        (
            "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:0\n\n\0",
            "\nRECEIPT\nreceipt-id:0\ncursor:e-7\n\n\0MESSAGE\nsubscription:0\nmessage-id:e-8\nposition:e-8\nmine:a\\cb\n\
             content-type:text/plain\ncontent-length:5\n\neight\0\n\nMESS",
        ),
    ];
    const SECOND: Turns = &[
        ("CONNECT", "CONNECTED\nversion:1.2\n\n\0"),
        (
            "\nafter:e-8\n",
            "RECEIPT\nreceipt-id:0\ncursor:e-8\n\n\0MESSAGE\nsubscription:0\nmessage-id:f-2-gap\nposition:f-2\ngap:epoch\n\n\
             {\"asked\":\"e-8\",\"resumed\":\"f-2\",\"reason\":\"epoch\"}\0MESSAGE\nsubscription:0\nposition:f-3\n\nthree\0\
             ERROR\ncode:shutdown\nmessage:stop\nreconnect-ms:0\n\n\0",
        ),
    ];
    check(
        "stomp://",
        Transport::Stomp,
        Start::Live,
        &[FIRST, SECOND],
        "over stomp | a from e-7 | e-8 eight | lost | over stomp | a from e-8 | gap e-8 to f-2 (epoch) | f-3 three | bye 1001 | lost",
    )
    .await;
}

#[tokio::test]
async fn what_a_stomp_server_refuses_or_breaks_is_a_fault() {
    const REFUSED: Turns =
        &[("CONNECT", "CONNECTED\nversion:1.2\n\n\0"), ("SUBSCRIBE", "ERROR\ncode:invalid-destination\nmessage:no\n\n\0")];
    check("stomp://", Transport::Stomp, Start::Live, &[REFUSED], "TOLD").await;
    const TWICE: Turns = &[
        ("CONNECT", "CONNECTED\nversion:1.2\n\n\0"),
        ("after:e-8", "RECEIPT\nreceipt-id:0\ncursor:e-8\n\n\0MESSAGE\nsubscription:0\nposition:e-8\n\nagain\0"),
    ];
    check("stomp://", Transport::Stomp, after("e-8"), &[TWICE], "over stomp | a from e-8 | DUPLICATE").await;
}
