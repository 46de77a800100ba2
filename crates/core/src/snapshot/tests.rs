//! Stories of snapshots: what is written is read again, and what was changed is recognised.

use std::sync::Arc;

use bytes::BytesMut;

use super::*;
use crate::directory::{Directory, DirectoryLimits};
use crate::idempotency::IdempotencyKey;
use crate::limits::{ChannelLimits, PageLimits};
use crate::position::{Cursor, Offset};
use crate::publication::{ContentType, Draft};
use crate::start::Start;

const LIMITS: DirectoryLimits = DirectoryLimits { channels_max: 100, unused_after_ms: 1000, forgotten_max: 2 };
const ALL: PageLimits = PageLimits { publications_max: usize::MAX, bytes_max: usize::MAX };
const SERVER: ServerState = ServerState { secret: [7; 16], shards: 1, taken_ms: 5 };

fn directory(limits: DirectoryLimits) -> Directory {
    Directory::new(SERVER.secret, limits, Arc::new(|_: &ChannelName| ChannelLimits { age_max_ms: 100, ..ChannelLimits::default() }))
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a name")
}

/// A directory in which everything occurs that a snapshot can hold.
fn rich() -> Directory {
    let mut directory = directory(LIMITS);
    for (count, forgotten) in ["f1", "f2", "f3"].into_iter().enumerate() {
        let now_ms = count as u64 * 200;
        directory.publish(&name(forgotten), Draft::text("x"), None, now_ms).expect("room");
        directory.sweep(now_ms + 150_000);
    }
    let drafts = [
        Draft { data: "{\"n\": 1.50}".into(), content_type: ContentType::Json, key: Some("k".into()), ..Draft::default() },
        Draft { data: vec![0xff, 0].into(), content_type: ContentType::Octets, headers: Box::new([("a".into(), "b".into())]), key: None },
        Draft { data: "<b>".into(), content_type: ContentType::parse("text/html"), ..Draft::default() },
        Draft::text("봉수"),
    ];
    for (index, draft) in drafts.into_iter().enumerate() {
        let key = (index % 2 == 0).then(|| IdempotencyKey::anonymous(&format!("key-{index}")));
        directory.publish(&name("chat/lobby"), draft, key, 1_000_000 + index as u64 * 30).expect("room");
    }
    directory.sweep(1_000_101);
    directory.watch(&name("silent"), 0, 1_000_101);
    directory
}

fn written(directory: &Directory) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), SERVER).expect("memory takes it");
    directory.save(&mut writer).expect("memory takes it");
    writer.finish().expect("memory takes it").0
}

/// Reads a snapshot that comes in pieces of this size.
fn read(bytes: &[u8], piece: usize, limits: DirectoryLimits) -> Result<(Directory, Totals), SnapshotFault> {
    let (mut reader, mut input, mut restored) = (Reader::new(), BytesMut::new(), directory(limits));
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        while let Some(item) = reader.read(&mut input)? {
            match item {
                Item::Server(server) => assert_eq!(server, SERVER),
                Item::Shard(lives) => restored.restore_lives(&lives),
                Item::Dormant(name, head) => restored.restore_dormant(&name, head)?,
                Item::Channel(state) => restored.restore_channel(*state)?,
                // Their story is told beside them.
                Item::Queue(_) => (),
            }
        }
    }
    reader.finish(&input).map(|totals| (restored, totals))
}

#[test]
fn a_directory_goes_on_where_it_was() {
    let mut before = rich();
    let (mut after, totals) = read(&written(&before), 7, LIMITS).expect("whole");
    assert_eq!(totals, Totals { channels: 1, dormant: 2, publications: 3, payload_bytes: 11, keys: 2, ..Totals::default() });
    assert_eq!((after.len(), after.dormant(), after.held_bytes()), (1, 2, before.held_bytes()));
    for channel in ["chat/lobby", "f1", "f2", "f3", "silent", "new"].map(name) {
        let page = |directory: &Directory| directory.page(&channel, 0, Offset::MAX, ALL).publications;
        assert_eq!(page(&after), page(&before), "{channel}");
        let located = |directory: &Directory, start| directory.locate(&channel, &start);
        let head = located(&before, Start::Live);
        assert_eq!(located(&after, Start::Live), head, "{channel}");
        assert_eq!(located(&after, Start::After(Cursor::from(head.cursor))).gap, None, "{channel}");
    }
    for (key, repeated) in [("key-0", true), ("key-2", true), ("key-9", false)] {
        let publish = |directory: &mut Directory| {
            let key = Some(IdempotencyKey::anonymous(key));
            directory.publish(&name("chat/lobby"), Draft::text("again"), key, 1_000_102).expect("room")
        };
        let (was, is) = (publish(&mut before), publish(&mut after));
        assert_eq!((is.position, is.announce.is_none()), (was.position, repeated), "{key}");
    }
}

#[test]
fn age_goes_on_by_the_clock_on_the_wall() {
    let (mut after, _) = read(&written(&rich()), 4096, LIMITS).expect("whole");
    let oldest = |directory: &Directory| directory.page(&name("chat/lobby"), 0, Offset::MAX, ALL).publications[0].time_ms;
    assert_eq!(oldest(&after), 1_000_030);
    after.sweep(1_000_130);
    assert_eq!(oldest(&after), 1_000_060);
}

#[test]
fn smaller_limits_hold_at_once() {
    let bytes = written(&rich());
    let (after, _) = read(&bytes, 4096, DirectoryLimits { channels_max: 0, forgotten_max: 5, ..LIMITS }).expect("whole");
    assert_eq!((after.len(), after.dormant(), after.held_bytes()), (0, 3, 0));
    let located = after.locate(&name("chat/lobby"), &Start::Earliest);
    assert_eq!(located.cursor, rich().locate(&name("chat/lobby"), &Start::Live).cursor);
}

#[test]
fn a_closed_directory_takes_nothing_that_its_snapshot_would_miss() {
    let mut directory = rich();
    directory.close();
    let refused = directory.publish(&name("chat/lobby"), Draft::text("x"), None, 0);
    assert_eq!(refused.expect_err("closed"), crate::directory::PublishFault::GoingAway);
}

#[test]
fn every_cut_and_every_changed_byte_is_recognised() {
    let bytes = written(&rich());
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len], 4096, LIMITS).is_err(), "cut to {len} of {}", bytes.len());
    }
    for at in (0..bytes.len()).filter(|at| at % 3 == 0 || *at < 200 || *at + 400 > bytes.len()) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(read(&changed, 4096, LIMITS).is_err(), "changed at {at}");
    }
    assert_eq!(read(&[&bytes[..], b"x"].concat(), 4096, LIMITS).err(), Some(SnapshotFault::TooLong));
}

/// Sealed frames around records that this version would never write.
fn forged(records: &[Record<'_>]) -> Result<Totals, SnapshotFault> {
    let (mut bytes, mut seal) = (SNAPSHOT_MAGIC.to_vec(), Seal::default());
    for record in records {
        seal.frame(&postcard::to_stdvec(record).expect("memory takes it"), &mut bytes);
    }
    read(&bytes, 4096, LIMITS).map(|(_, totals)| totals)
}

#[test]
fn values_that_cannot_be_are_refused_though_the_seal_holds() {
    let server = || Record::Server { secret: [7; 16], shards: 1, taken_ms: 5 };
    let shard = || Record::Shard { lives: Vec::new() };
    let channel = |name, floor| Record::Channel { name, epoch: 1, floor, floor_bytes: 0, newest_ms: 10, used_ms: 10 };
    let publication = |time_ms, content_type| {
        Record::Publication(PublicationRecord { time_ms, data: b"{", content_type, key: None, headers: Vec::new() })
    };
    let key = |offset| Record::Key { publisher: "", key: "k", offset, at_ms: 1 };
    let message = |number, reason| {
        let dead = Some(DeadRecord { queue: "q", reason, tries: 1, time_ms: 1 });
        let publication = PublicationRecord { time_ms: 1, data: b"{", content_type: "a/b", key: None, headers: Vec::new() };
        Record::Message { number, deliveries: 1, failures: 0, dead, publication }
    };
    let end = || Record::End(Totals::default());
    assert_eq!(forged(&[server(), shard(), end()]), Ok(Totals::default()));
    let value = |what| Err(SnapshotFault::Value { what });
    for (records, told) in [
        (vec![shard()], Err(SnapshotFault::Misplaced { what: "the server comes first" })),
        (vec![server(), server()], Err(SnapshotFault::Misplaced { what: "it does not belong there" })),
        (vec![server(), shard(), shard()], Err(SnapshotFault::Misplaced { what: "one shard too many" })),
        (vec![server(), Record::Shard { lives: vec![(9999, 1)] }], value("a counter")),
        (vec![server(), shard(), channel("a//b", 0)], Err(SnapshotFault::Name(NameFault::EmptySegment))),
        (vec![server(), shard(), channel("a", u64::MAX)], value("an offset")),
        (vec![server(), shard(), publication(1, "text/plain")], Err(SnapshotFault::Misplaced { what: "it does not belong there" })),
        (vec![server(), shard(), channel("a", 0), publication(11, "text/plain")], value("the order of times")),
        (vec![server(), shard(), channel("a", 0), publication(9, "a/b"), publication(8, "a/b")], value("the order of times")),
        (vec![server(), shard(), channel("a", 0), publication(1, "application/json")], value("JSON that is none")),
        (vec![server(), shard(), channel("a", 0), publication(1, "a\r\nb: c")], value("a content type")),
        (vec![server(), shard(), channel("a", 0), key(1)], value("a key's offset")),
        (vec![server(), shard(), channel("a", 1), key(1), key(1)], value("a key that is there twice")),
        (vec![server(), shard(), channel("a", 1), end()], value("the sum at the end")),
        (vec![server(), Record::Queue { name: "q" }], Err(SnapshotFault::Misplaced { what: "it does not belong there" })),
        (vec![server(), shard(), Record::Queue { name: "q" }, shard()], Err(SnapshotFault::Misplaced { what: "it does not belong there" })),
        (vec![server(), shard(), Record::Queue { name: "/q" }], Err(SnapshotFault::Name(NameFault::EmptySegment))),
        (vec![server(), shard(), message(1, "tries")], Err(SnapshotFault::Misplaced { what: "it does not belong there" })),
        (vec![server(), shard(), Record::Queue { name: "q" }, message(1, "boredom")], value("why a message died")),
        (vec![server(), shard(), Record::Queue { name: "q" }, message(2, "tries"), message(2, "tries")], value("the order of messages")),
        (vec![server(), shard(), Record::Queue { name: "q" }, message(2, "tries"), end()], value("the sum at the end")),
        (
            vec![server(), shard(), channel("a", 1), channel("a", 1), channel("b", 1)],
            Err(SnapshotFault::Misplaced { what: "a channel that is there twice" }),
        ),
    ] {
        assert_eq!(forged(&records), told, "{records:?}");
    }
}
