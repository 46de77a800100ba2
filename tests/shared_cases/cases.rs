//! The cases. Each tells a story that holds whatever carries it; where a transport has no room for a part of it, the case says so.

use bongsu_core::{ChannelName, ContentType, Cursor, Draft, Start};
use bongsu_lab::client::{Outgoing, PublishOver, Publisher, Transport};

use crate::reader::{Carrier, End, Reader, Seen};
use crate::stage::{Sent, Stage, draft, offset, publish, texts};

pub async fn parallel_publishers_have_one_order(stage: Stage) {
    let mut reader = stage.reader("a", Start::Live).await;
    let sent = publish_in_parallel(&stage, "a", 100).await;
    assert_eq!(reader.take(sent.len()).await, shown(&stage, &sent));
}

pub async fn resumes_after_a_cursor_without_hole_or_repetition(stage: Stage) {
    let mut reader = stage.reader("a", Start::Live).await;
    let mut sent = stage.publish("a", texts("before", 10)).await;
    reader.take(4).await;
    reader.close().await;
    sent.extend(stage.publish("a", texts("meanwhile", 10)).await);
    let mut reader = stage.reader("a", Start::After(sent[3].position.clone())).await;
    sent.extend(stage.publish("a", texts("after", 10)).await);
    assert_eq!(reader.take(26).await, shown(&stage, &sent[4..]));
}

pub async fn starts_where_it_is_asked_to(stage: Stage) {
    let mut sent = stage.publish("a", texts("before", 5)).await;
    let mut live = stage.reader("a", Start::Live).await;
    let mut earliest = stage.reader("a", Start::Earliest).await;
    let mut last = stage.reader("a", Start::Last(2)).await;
    let mut more_than_there_is = stage.reader("a", Start::Last(100)).await;
    sent.extend(stage.publish("a", texts("after", 3)).await);
    let all = shown(&stage, &sent);
    assert_eq!(live.take(3).await, all[5..]);
    assert_eq!(earliest.take(8).await, all);
    assert_eq!(last.take(5).await, all[3..]);
    assert_eq!(more_than_there_is.take(8).await, all);
}

pub async fn nothing_is_lost_between_history_and_live(stage: Stage) {
    // Readers join in the middle of what is being published, so the join falls somewhere else for each.
    let publishing = async {
        let mut publisher = stage.client.publisher().over_websocket();
        let mut sent = Vec::new();
        for text in texts("number", 400) {
            sent.push(publish(&mut publisher, "a", Draft::text(text)).await);
        }
        sent
    };
    let joining = async {
        let mut seen = Vec::new();
        for _ in 0..10 {
            let mut reader = stage.reader("a", Start::Earliest).await;
            seen.push(reader.take(400).await);
        }
        seen
    };
    let (sent, seen) = tokio::join!(publishing, joining);
    let expected = shown(&stage, &sent);
    seen.iter().for_each(|seen| assert_eq!(*seen, expected));
}

pub async fn a_trimmed_cursor_is_told_a_gap(stage: Stage) {
    let sent = stage.publish("short/a", texts("number", 30)).await;
    // Ten are retained: 21 to 30.
    expect_gap(&stage, "short/a", &sent[4].position, "trimmed", &sent[19].position, &sent[20..]).await;
}

pub async fn a_cursor_of_another_epoch_is_told_a_gap(stage: Stage) {
    let sent = stage.publish("a", texts("number", 3)).await;
    let before_first = beside(&sent[0].position, 0);
    for foreign in ["anotherlife-2", "00000000000-2"] {
        expect_gap(&stage, "a", &cursor(foreign), "epoch", &before_first, &sent).await;
    }
}

pub async fn a_cursor_from_the_future_is_told_a_gap(stage: Stage) {
    let sent = stage.publish("a", texts("number", 3)).await;
    let future = beside(&sent[0].position, 500);
    expect_gap(&stage, "a", &future, "future", &beside(&sent[0].position, 0), &sent).await;
}

pub async fn carries_every_kind_of_payload(stage: Stage) {
    let png = ContentType::parse("image/png");
    let html = ContentType::parse("text/html; charset=utf-8");
    let mut reader = stage.reader("a", Start::Live).await;
    let mut sent = Vec::new();
    for draft in [
        Draft::text("hi"),
        Draft::text(""),
        Draft::text("lines\nand\r\nreturns\r, a null \0, 봉수 🔥 \u{2028} \"quoted\" \\ \u{feff}"),
        Draft::text(": no comment\ndata: no field\n\n--boundary--\r\n"),
        draft("{\"n\": 1.00, \"deep\": [[{\"a\": null}]]}", ContentType::Json),
        draft("null", ContentType::Json),
        draft("\"a string\"", ContentType::Json),
        draft(&b"\xff\x00\r\n\x80binary"[..], ContentType::Octets),
        draft("text that is said to be octets", ContentType::Octets),
        draft("", ContentType::Octets),
        draft(&b"\x89PNG\r\n\x1a\n"[..], png),
        draft("<p>text of another type</p>", html),
        draft(&b"\xff"[..], ContentType::Text),
    ] {
        sent.push(stage.publish_draft("a", draft).await);
    }
    for (seen, sent) in reader.take(sent.len()).await.into_iter().zip(&sent) {
        assert_eq!(seen, stage.carrier.shows(sent));
    }
}

pub async fn carries_the_largest_payload(stage: Stage) {
    let mut reader = stage.reader("a", Start::Live).await;
    let binary: Vec<u8> = (0..LARGEST).map(|number| (number.wrapping_mul(number) >> 3) as u8).collect();
    let mut sent = vec![stage.publish_draft("a", Draft::text("봉수 ".repeat(LARGEST / 7))).await];
    sent.push(stage.publish_draft("a", draft(binary, ContentType::Octets)).await);
    sent.extend(stage.publish("a", ["a small one".to_owned()]).await);
    if stage.carrier == Carrier::Client(Transport::Udp) {
        // A datagram has no room for these: they are announced, and said to be missing here.
        for large in &sent[..2] {
            let told = reader.too_large().await.expect("a client");
            assert_eq!((told.reason.as_str(), &told.resumed), ("too-large", &large.position));
        }
        return assert_eq!(reader.take(1).await, shown(&stage, &sent[2..]));
    }
    // Not by assert_eq: a difference would be printed, all of it.
    assert!(reader.take(3).await == shown(&stage, &sent), "the largest payloads arrive as they were");
}

pub async fn carries_keys_and_headers(stage: Stage) {
    let mut reader = stage.reader("a", Start::Live).await;
    let headers = [("From You".into(), "50 %\r\nX: y".into()), ("b".into(), "봉수".into()), ("empty".into(), "".into())];
    let all = Draft { key: Some("k \"1\" 봉".into()), headers: headers.into(), ..Draft::text("hi") };
    let sent = [stage.publish_draft("a", all).await, stage.publish_draft("a", Draft::text("bare")).await];
    assert_eq!(reader.take(2).await, shown(&stage, &sent));
}

pub async fn follows_several_channels(stage: Stage) {
    if stage.carrier == Carrier::Plain {
        return; // Its frames have no room for a channel's name.
    }
    let channels = ["a", "봉수/b c", "c"];
    let mut reader = Reader::open(&stage.client, stage.carrier, &channels, Start::Live).await;
    let mut sent = Vec::new();
    for round in 0..20 {
        for channel in channels {
            sent.extend(stage.publish(channel, [format!("{channel} {round}")]).await);
        }
    }
    // Order is promised within a channel, not between channels.
    let seen = reader.take(sent.len()).await;
    for channel in channels {
        let name = ChannelName::parse(channel).expect("a name");
        let own: Vec<_> = sent.iter().filter(|sent| sent.channel == name).map(|sent| stage.carrier.shows(sent)).collect();
        assert_eq!(seen.iter().filter(|seen| own.contains(seen)).cloned().collect::<Vec<_>>(), own);
    }
}

pub async fn leaves_and_comes_back(stage: Stage) {
    let mut sent = stage.publish("a", texts("before", 3)).await;
    for round in 0..5 {
        let mut reader = stage.reader("a", Start::After(sent[round].position.clone())).await;
        assert_eq!(reader.take(2).await, shown(&stage, &sent[round + 1..round + 3]));
        reader.close().await;
        sent.extend(stage.publish("a", [format!("round {round}")]).await);
    }
}

pub async fn a_repeated_publish_arrives_once(stage: Stage) {
    let mut reader = stage.reader("a", Start::Live).await;
    let once = Outgoing {
        channel: ChannelName::parse("a").expect("a name"),
        draft: Draft::text("once"),
        idempotency_key: Some("order 1".to_owned()),
    };
    let mut over_http = stage.client.publisher();
    let mut over_websocket = stage.client.publisher().over_websocket();
    let first = over_http.publish(&once).await.expect("published");
    assert_eq!(over_http.publish(&once).await.expect("known"), first);
    assert_eq!(over_websocket.publish(&once).await.expect("known over any transport"), first);
    for over in [PublishOver::Tcp, PublishOver::Stomp, PublishOver::StompWebSocket] {
        let again = stage.client.publisher().over(over).publish(&once).await;
        assert_eq!(again.expect("known over any transport"), first, "{over:?}");
    }
    let batch = over_http.publish_all(&[once.clone(), once.clone()]).await.expect("answered");
    assert!(batch.iter().all(|result| result.as_ref().is_ok_and(|position| *position == first)), "{batch:?}");
    let next = stage.publish("a", ["next".to_owned()]).await;
    let sent = [Sent { channel: once.channel, position: first, draft: once.draft }, next[0].clone()];
    assert_eq!(offset(&sent[1].position), offset(&sent[0].position) + 1);
    assert_eq!(reader.take(2).await, shown(&stage, &sent));
}

pub async fn a_reader_that_pauses_catches_up(stage: Stage) {
    let mut reader = stage.reader("a", Start::Live).await;
    // Two megabytes: past what tape and kernel hold, within the lag that is allowed.
    let mut publisher = stage.client.publisher();
    let long = |number| Draft::text(format!("{number} {}", "x".repeat(8 << 10)));
    let mut sent = Vec::new();
    for number in 0..250 {
        sent.push(publish(&mut publisher, "a", long(number)).await);
    }
    assert_eq!(reader.take(100).await, shown(&stage, &sent[..100]));
    for number in 250..300 {
        sent.push(publish(&mut publisher, "a", long(number)).await);
    }
    assert_eq!(reader.take(200).await, shown(&stage, &sent[100..]));
}

pub async fn the_end_of_the_server_is_told(stage: Stage) {
    let mut reader = stage.reader("a", Start::Live).await;
    let sent = stage.publish("a", texts("last words", 3)).await;
    assert_eq!(reader.take(3).await, shown(&stage, &sent));
    stage.server.shutdown();
    match reader.end().await {
        End::Goodbye { code: GOING_AWAY, reconnect_ms } => {
            let expected = stage.carrier.tells_positions();
            assert_eq!(reconnect_ms.is_some_and(|ms| (1_000..=5_000).contains(&ms)), expected, "{reconnect_ms:?}");
        }
        End::Silent if !stage.carrier.is_held() => (),
        other => panic!("a goodbye is due, not {other:?}"),
    }
    stage.server.join().expect("it ended in good order");
}

/// Asks for what follows a cursor that cannot be continued: the gap is told, and delivery goes on from the oldest retained.
async fn expect_gap(stage: &Stage, channel: &str, asked: &Cursor, reason: &str, resumed: &Cursor, rest: &[Sent]) {
    let (gap, mut reader) = Reader::open_with_gap(&stage.client, stage.carrier, channel, asked).await;
    assert_eq!((gap.reason.as_str(), gap.asked.as_str(), &gap.resumed), (reason, asked.as_str(), resumed));
    assert_eq!(reader.take(rest.len()).await, shown(stage, rest));
}

/// Four publishers, over HTTP, WebSocket, TCP and STOMP, `count` each; in the order that the server gave.
pub async fn publish_in_parallel(stage: &Stage, channel: &str, count: usize) -> Vec<Sent> {
    let publish_all = async |mut publisher: Publisher, word: &str| {
        let mut sent = Vec::new();
        for text in texts(word, count) {
            sent.push(publish(&mut publisher, channel, Draft::text(text)).await);
        }
        sent
    };
    let (a, b, c, d) = tokio::join!(
        publish_all(stage.client.publisher(), "first"),
        publish_all(stage.client.publisher().over_websocket(), "second"),
        publish_all(stage.client.publisher().over(PublishOver::Tcp), "third"),
        publish_all(stage.client.publisher().over(PublishOver::Stomp), "fourth"),
    );
    for own in [&a, &b, &c, &d] {
        assert!(own.is_sorted_by_key(|sent| offset(&sent.position)), "a publisher's own order is kept");
    }
    let mut sent = [a, b, c, d].concat();
    sent.sort_by_key(|sent| offset(&sent.position));
    sent
}

fn shown(stage: &Stage, sent: &[Sent]) -> Vec<Seen> {
    sent.iter().map(|sent| stage.carrier.shows(sent)).collect()
}

fn cursor(text: &str) -> Cursor {
    Cursor::parse(text).expect("a cursor")
}

/// Another offset of the same epoch.
fn beside(known: &Cursor, offset: u64) -> Cursor {
    let (epoch, _) = known.as_str().split_once('-').expect("a cursor");
    cursor(&format!("{epoch}-{offset}"))
}

/// The largest payload that the defaults allow.
const LARGEST: usize = 1 << 20;
/// The close code of a server that stops.
const GOING_AWAY: u16 = 1001;
