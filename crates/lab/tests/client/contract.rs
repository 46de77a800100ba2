//! The client against the server's own encoders: what the one writes, the other reads, for one channel and for several.

use bongsu_core::format::Forms;
use bongsu_core::native::{self, Command, NativeLimits};
use bongsu_core::page::{PageGaps, write_page};
use bongsu_core::{
    ChannelName, Composite, ContentType, Cursor, Disconnect, Draft, Epoch, Format, Gap, GapReason, Position, Publication, Start,
};
use bongsu_lab::client::native::{publish, subscribe};
use bongsu_lab::client::{Choice, Published, Transport};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

use crate::peer::{Peer, answer, flow, scene};
use crate::{AT_ONCE, client, transcript};

const STREAMS: [(Transport, Format); 3] =
    [(Transport::Stream, Format::Json), (Transport::Sse, Format::SseJson), (Transport::Multipart, Format::Multipart)];

fn channel(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a name")
}

fn at(epoch: u64, offset: u64) -> Position {
    Position::new(Epoch::from_bits(epoch), offset)
}

fn publication(position: Position, draft: Draft) -> Publication {
    Publication { position, time_ms: 1_795_197_600_123, bytes_before: 0, draft }
}

fn gap(asked: &str, resumed: Position) -> Gap {
    Gap { asked: Cursor::parse(asked).expect("a cursor"), resumed, reason: GapReason::Epoch }
}

fn drafts() -> [Draft; 4] {
    let headers = Box::new([("n".into(), "v \"quoted\"".into())]);
    [
        Draft { key: Some(Arc::from("k")), headers, ..Draft::text("line\r\none\n \u{2028}é") },
        Draft { data: Bytes::from_static(b"{\"n\": 1.00}"), content_type: ContentType::Json, ..Draft::default() },
        Draft { data: Bytes::from_static(b"\x00\xff"), content_type: ContentType::Octets, ..Draft::default() },
        Draft { content_type: ContentType::Other(Arc::from("text/html")), ..Draft::text("") },
    ]
}

fn check_whole(published: &[Published]) {
    for (got, draft) in published.iter().zip(drafts()) {
        assert_eq!((&got.data, &got.content_type, got.key.as_deref()), (&draft.data, &draft.content_type, draft.key.as_deref()));
        assert_eq!(got.headers.len(), draft.headers.len());
        assert!(got.headers.iter().zip(&draft.headers).all(|(got, sent)| (got.0.as_str(), got.1.as_str()) == (&sent.0, &sent.1)));
        assert_eq!(got.time.as_deref(), Some("2026-11-20T18:00:00.123Z"));
    }
    assert_eq!(published.len(), 4);
}

/// One channel in a format: start, all payloads, a heartbeat, a gap, one more, goodbye.
fn one(forms: &Forms, format: Format) -> BytesMut {
    let (name, mut out) = (channel("a"), BytesMut::new());
    forms.preamble(format, &mut out);
    forms.start(format, &name, at(1, 0), None, &mut out);
    for (offset, draft) in (1..).zip(drafts()) {
        forms.publication(format, &name, &publication(at(1, offset), draft), None, &mut out);
    }
    forms.heartbeat(format, &name, at(1, 4), None, &mut out);
    forms.gap(format, &name, &gap("00000000001-4", at(2, 8)), None, &mut out);
    forms.publication(format, &name, &publication(at(2, 9), Draft::text("nine")), None, &mut out);
    forms.goodbye(format, &Disconnect::Shutdown.goodbye(), 0, &mut out);
    out
}

/// Two channels in a format, with the composite cursor that follows them.
fn two(forms: &Forms, format: Format) -> BytesMut {
    let (names, mut out) = ([channel("a"), channel("b")], BytesMut::new());
    let mut composite = Composite::new(&names);
    forms.preamble(format, &mut out);
    composite.advance(0, at(1, 7));
    forms.start(format, &names[0], at(1, 7), Some(composite.as_str()), &mut out);
    composite.advance(1, at(2, 0));
    forms.start(format, &names[1], at(2, 0), Some(composite.as_str()), &mut out);
    composite.advance(1, at(2, 1));
    forms.publication(format, &names[1], &publication(at(2, 1), Draft::text("one")), Some(composite.as_str()), &mut out);
    composite.advance(0, at(3, 4));
    forms.gap(format, &names[0], &gap("00000000001-7", at(3, 4)), Some(composite.as_str()), &mut out);
    composite.advance(0, at(3, 5));
    forms.publication(format, &names[0], &publication(at(3, 5), Draft::text("five")), Some(composite.as_str()), &mut out);
    forms.heartbeat(format, &names[0], at(3, 5), Some(composite.as_str()), &mut out);
    out
}

/// As chunks that cut records anywhere.
fn played(forms: &Forms, format: Format, wire: &[u8], size: usize) -> Vec<u8> {
    let chunks: Vec<&[u8]> = wire.chunks(size).chain([&b""[..]]).collect();
    flow(&forms.content_type(format), &chunks)
}

#[tokio::test]
async fn reads_every_stream_as_the_server_writes_it() {
    let forms = Forms::new(7);
    for (transport, format) in STREAMS {
        let wire = one(&forms, format);
        let again = scene(&["after=00000000002-9"], answer("404 Not Found", "content-type: application/problem+json\r\n", "{}"));
        let peer = Peer::play(vec![scene(&[], played(&forms, format, &wire, 11)), again]).await;
        let mut subscriber = client(&peer.url).subscribe(transport, &["a"], Start::Earliest).expect("a name").with_backoff(AT_ONCE);
        check_whole(&subscriber.take(4).await.expect("four"));
        let rest = transcript(&mut subscriber, 9).await;
        let rest = rest.strip_prefix("caught up 00000000001-4 | ").unwrap_or(&rest);
        assert_eq!(rest, "gap 00000000001-4 to 00000000002-8 (epoch) | 00000000002-9 nine | bye 1001 | lost | REFUSED");
        peer.finished().await;
    }
}

#[tokio::test]
async fn reads_several_channels_and_resumes_them_by_their_one_cursor() {
    let forms = Forms::new(7);
    for (transport, format) in STREAMS {
        let wire = two(&forms, format);
        let mut composite = Composite::new(&[channel("a"), channel("b")]);
        composite.advance(0, at(3, 5));
        composite.advance(1, at(2, 1));
        let again = format!("GET /subscribe?channel=a&channel=b&after={composite}");
        let refused = answer("404 Not Found", "content-type: application/problem+json\r\n", "{}");
        let peer = Peer::play(vec![
            scene(&["GET /subscribe?channel=a&channel=b&live"], played(&forms, format, &wire, 5)),
            scene(&[&again], refused),
        ])
        .await;
        let mut subscriber = client(&peer.url).subscribe(transport, &["a", "b"], Start::Live).expect("names").with_backoff(AT_ONCE);
        let said = transcript(&mut subscriber, 99).await.replace(" | caught up 00000000003-5 | caught up 00000000002-1", "");
        assert_eq!(
            said,
            format!(
                "over {transport} | a from 00000000001-7 | b from 00000000002-0 | 00000000002-1 one \
                 | gap 00000000001-7 to 00000000003-4 (epoch) | 00000000003-5 five | lost | REFUSED"
            )
        );
        peer.finished().await;
    }
}

#[tokio::test]
async fn reads_pages_as_the_server_writes_them() {
    let names = [channel("a"), channel("b")];
    let all: Vec<_> = (1..).zip(drafts()).map(|(offset, draft)| (channel("a"), publication(at(1, offset), draft))).collect();
    let page = |publications: &[(ChannelName, Publication)], cursor: &str, gaps: PageGaps<'_>| {
        let mut out = BytesMut::new();
        write_page(publications.iter().map(|(channel, publication)| (channel, publication)), cursor, false, gaps, &mut out);
        answer("200 OK", "content-type: application/json\r\n", std::str::from_utf8(&out).expect("UTF-8"))
    };
    let peer = Peer::play(vec![scene(&[], page(&all, "00000000001-4", PageGaps::Channel(None)))]).await;
    let mut subscriber = client(&peer.url).subscribe(Transport::Poll, &["a"], Start::Earliest).expect("a name");
    check_whole(&subscriber.take(4).await.expect("four"));
    peer.finished().await;

    let mut composite = Composite::new(&names);
    composite.advance(0, at(3, 5));
    composite.advance(1, at(2, 1));
    let publications =
        [(channel("b"), publication(at(2, 1), Draft::text("one"))), (channel("a"), publication(at(3, 5), Draft::text("five")))];
    let gaps = [(channel("a"), gap("00000000001-7", at(3, 4)))];
    let after = |text: &str| Start::After(Cursor::parse(text).expect("a cursor"));
    let starts = vec![(channel("a"), after("00000000001-7")), (channel("b"), after("00000000002-0"))];
    let (later, mut advanced) = ([(channel("b"), publication(at(2, 2), Draft::text("two")))], composite.clone());
    advanced.advance(1, at(2, 2));
    let next = format!("GET /subscribe?channel=a&channel=b&after={composite} ");
    let peer = Peer::play(vec![
        scene(&["GET /subscribe?channel=a&channel=b&after="], page(&publications, composite.as_str(), PageGaps::Channels(&gaps))),
        scene(&[&next], answer("204 No Content", &format!("bongsu-cursor: {composite}\r\n"), "")),
        scene(&[&next], page(&later, advanced.as_str(), PageGaps::Channels(&[]))),
    ])
    .await;
    let mut subscriber = client(&peer.url).follow_from(Choice::fixed(Transport::LongPoll), starts).expect("channels");
    assert_eq!(
        transcript(&mut subscriber, 7).await,
        "over long-poll | a from 00000000001-7 | b from 00000000002-0 | gap 00000000001-7 to 00000000003-4 (epoch) \
         | 00000000002-1 one | 00000000003-5 five | 00000000002-2 two"
    );
    peer.finished().await;
}

#[test]
fn the_server_reads_what_the_client_says() {
    let limits = NativeLimits::default();
    for draft in drafts() {
        let line = publish(&channel("a"), &draft, Some("once"), 7);
        let Command::Publish { channel: to, draft: read, idempotency_key, id } = native::decode(line.as_bytes(), &limits).expect(&line)
        else {
            panic!("{line} is no publish");
        };
        assert_eq!((to.as_str(), &read), ("a", &draft), "{line}");
        assert_eq!((idempotency_key.as_deref(), id.map(|id| id.as_json().to_owned()).as_deref()), (Some("once"), Some("7")));
    }
    let starts = [Start::Live, Start::Earliest, Start::Last(3), Start::After(Cursor::from(at(1, 2)))];
    for asked in starts {
        let line = subscribe(&channel("a"), &asked, 1);
        let Command::Subscribe { start, .. } = native::decode(line.as_bytes(), &limits).expect(&line) else { panic!("{line}") };
        assert_eq!(start, asked, "{line}");
    }
}
