//! Small stories of delivery: who falls behind, who is cut, who follows several channels.

mod policies;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::*;
use crate::composite::{Composite, CompositeCursor};
use crate::encoding::Framing;
use crate::format::{Format, Forms};
use crate::limits::ChannelLimits;
use crate::log::{Appended, Log};
use crate::position::Epoch;
use crate::publication::Draft;
use crate::websocket::deflate::{Agreed, Window};
use crate::websocket::{Decoder, Limits, Message, Role};

const LINES: Encoding = Encoding::new(Format::Json, Framing::Raw);
const OWN_EVENTS: Encoding = Encoding { own: true, ..Encoding::new(Format::Sse, Framing::Raw) };
const PAYLOADS: Encoding = Encoding::new(Format::Payload, Framing::WebSocket);

/// A peer that takes so many more bytes.
#[derive(Clone, Default)]
struct Peer(Rc<RefCell<Taken>>);

#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    room: usize,
    writes: usize,
}

impl Peer {
    fn room(&self, bytes: usize) {
        self.0.borrow_mut().room = bytes;
    }

    /// How often it was written to since this was last asked.
    fn writes(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().writes)
    }

    fn taken(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.0.borrow_mut().bytes)).into_owned()
    }
}

impl Sink for Peer {
    fn try_write(&mut self, bytes: &Bytes) -> Written {
        let mut taken = self.0.borrow_mut();
        let len = bytes.len().min(taken.room);
        taken.bytes.extend_from_slice(&bytes[..len]);
        taken.room -= len;
        taken.writes += 1;
        if len == bytes.len() { Written::All } else { Written::Part(len) }
    }
}

/// Logs, and how often they were read.
#[derive(Default)]
struct Logs {
    logs: HashMap<ChannelName, Log>,
    reads: RefCell<usize>,
}

impl History for Logs {
    fn page(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        *self.reads.borrow_mut() += 1;
        self.logs[channel].page(after, through, limits)
    }

    fn latest(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        self.logs[channel].latest(after, through, limits)
    }

    fn recent(&self, channel: &ChannelName, through: Offset, bytes_max: u64, since_ms: u64) -> Offset {
        self.logs[channel].recent(through, bytes_max, since_ms)
    }

    fn unwatch(&self, _: &ChannelName) {}
}

struct Story {
    hub: Hub<Peer>,
    history: Logs,
    limits: ChannelLimits,
}

impl Story {
    fn new(tape_bytes_max: usize) -> Self {
        let limits = HubLimits {
            tape_bytes_max,
            tapes_bytes_max: 1 << 20,
            outbox_bytes_max: 1 << 10,
            stalled_ms_max: 30_000,
            silent_ms_max: 60_000,
        };
        Self { hub: Hub::new(Encoder::new(Forms::new(0)), limits), history: Logs::default(), limits: ChannelLimits::default() }
    }

    fn channel(&mut self, name: &str) -> ChannelKey {
        let name = ChannelName::parse(name).expect("a name");
        let log = self.history.logs.entry(name.clone()).or_insert_with(|| Log::new(Epoch::from_bits(1), 0));
        let watched = Watched { head: log.head(), payload_bytes: log.payload_bytes(), limits: self.limits };
        self.hub.channel(&name).unwrap_or_else(|| self.hub.add_channel(&name, watched))
    }

    fn join(&mut self, channels: &[&str], encoding: Encoding) -> (SubscriberKey, Peer) {
        let peer = Peer::default();
        let key = self.hub.add(peer.clone());
        for name in channels {
            let channel = self.channel(name);
            self.hub.subscribe(key, channel, encoding, 0);
        }
        self.pump(key);
        (key, peer)
    }

    fn pump(&mut self, key: SubscriberKey) {
        self.hub.pump(key, &self.history, 0);
    }

    /// Publishes to these channels, in one turn.
    fn publish(&mut self, publications: &[(&str, &str)]) {
        let mut announcements = Vec::new();
        for (name, text) in publications {
            let channel = ChannelName::parse(name).expect("a name");
            let log = self.history.logs.get_mut(&channel).expect("a channel of this story");
            let Appended::New(publication) = log.append(Draft::text(*text), None, 0, &self.limits) else { panic!("there is no key") };
            announcements.push(Announcement { channel, publication: Arc::clone(&publication) });
        }
        self.hub.turn(announcements, 0);
    }

    fn is_blocked(&mut self) -> bool {
        self.hub.take_events().iter().any(|event| matches!(event, HubEvent::Blocked(_)))
    }

    fn reads(&self) -> usize {
        self.history.reads.take()
    }
}

/// The payloads on these lines, in order.
fn payloads(lines: &str) -> Vec<String> {
    let data = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["data"].as_str().expect("text").to_owned();
    lines.lines().map(data).collect()
}

#[test]
fn a_slow_one_catches_up_from_the_tape_and_past_its_end_from_history() {
    let mut story = Story::new(1000);
    let (slow, peer) = story.join(&["a"], LINES);
    story.publish(&[("a", "one")]);
    assert!(story.is_blocked());
    story.publish(&[("a", "two")]);
    peer.room(10_000);
    story.pump(slow);
    assert_eq!((payloads(&peer.taken()), story.reads()), (vec!["one".into(), "two".into()], 0));

    peer.room(0);
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    texts.iter().for_each(|text| story.publish(&[("a", text)]));
    assert!(story.hub.tapes_bytes() <= 1000);
    peer.room(100_000);
    story.pump(slow);
    assert_eq!(payloads(&peer.taken()), texts);
    assert!(story.reads() > 0);
}

#[test]
fn a_tape_of_many_small_turns_is_bounded_by_what_it_takes_and_not_by_its_frames() {
    let mut story = Story::new(10_000);
    let (_, _) = story.join(&["a"], PAYLOADS);
    (0..1000).for_each(|_| story.publish(&[("a", "")]));
    let (_, tape) = story.hub.tapes.iter().next().expect("a tape");
    assert!(story.hub.tapes_bytes() <= 10_000 && tape.segments() < 100, "{} segments of a frame of 2 bytes", tape.segments());
}

#[test]
fn many_small_turns_are_caught_up_in_one_write() {
    let mut story = Story::new(1 << 20);
    let (slow, peer) = story.join(&["a"], LINES);
    let texts: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    texts.iter().for_each(|text| story.publish(&[("a", text)]));
    peer.room(1 << 20);
    peer.writes();
    story.pump(slow);
    assert_eq!((payloads(&peer.taken()), peer.writes()), (texts, 1));
}

#[test]
fn a_long_catch_up_lets_others_have_their_turn() {
    let mut story = Story::new(0);
    let (slow, peer) = story.join(&["a"], LINES);
    let text = "x".repeat(100 << 10);
    (0..20).for_each(|_| story.publish(&[("a", &text)]));
    peer.room(100 << 20);
    let mut pumps = 0;
    while story.is_blocked() {
        story.pump(slow);
        pumps += 1;
    }
    assert_eq!((payloads(&peer.taken()).len(), pumps), (20, 2));
}

#[test]
fn a_tape_is_given_up_when_the_last_one_has_caught_up_or_left() {
    let mut story = Story::new(100_000);
    let (first, peer) = story.join(&["a"], LINES);
    let (second, _) = story.join(&["a"], LINES);
    story.publish(&[("a", "one")]);
    peer.room(1000);
    story.pump(first);
    assert!(story.hub.tapes_bytes() > 0, "the second still reads it");
    story.hub.remove(second);
    assert_eq!(story.hub.tapes_bytes(), 0);
}

#[test]
fn several_channels_are_written_at_once_and_a_cut_costs_nothing() {
    let mut story = Story::new(100_000);
    let (key, peer) = story.join(&["a", "b", "c"], LINES);
    for room in 0..300 {
        peer.room(room);
        story.publish(&[("a", "A1"), ("b", "B1"), ("a", "A2"), ("c", "C1")]);
        peer.room(10_000);
        story.pump(key);
        let mut payloads = payloads(&peer.taken());
        assert!(payloads.iter().position(|text| text == "A1") < payloads.iter().position(|text| text == "A2"));
        payloads.sort();
        assert_eq!(payloads, ["A1", "A2", "B1", "C1"], "with room for {room}");
        assert!(story.hub.is_drained(key));
    }
    assert_eq!(story.hub.tallies()[LINES.index()].deliveries, 4 * 300);
}

#[test]
fn a_composite_cursor_counts_only_what_was_sent() {
    let mut story = Story::new(100_000);
    let peer = Peer::default();
    let key = story.hub.add(peer.clone());
    let (a, b) = (story.channel("a"), story.channel("b"));
    let channels = ["a", "b"].map(|name| ChannelName::parse(name).expect("a name"));
    let start = Position::new(Epoch::from_bits(1), 0);
    let mut composite = Composite::new(&channels);
    (0..2).for_each(|slot| composite.advance(slot, start));
    story.hub.set_composite(key, composite);
    for channel in [a, b] {
        story.hub.subscribe(key, channel, OWN_EVENTS, 0);
    }
    story.pump(key);

    let mut sent = [start; 2];
    for room in 0..300 {
        peer.room(room);
        story.publish(&[("a", "to a"), ("a", "to a"), ("b", "to b"), ("b", "to b")]);
        story.publish(&[("b", "to b"), ("a", "to a")]);
        peer.room(10_000);
        story.pump(key);
        for event in peer.taken().split_terminator("\n\n") {
            sent[usize::from(event.ends_with("to b"))].offset += 1;
            let id = event.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
            let cursor = CompositeCursor::parse(id, 2).expect("a composite cursor");
            let told = [0, 1].map(|slot| cursor.get(&channels[slot]));
            assert_eq!(told, sent.map(|position| Some(position.into())), "with room for {room}");
        }
    }
    assert_eq!(sent.map(|position| position.offset), [3 * 300; 2]);
}

#[test]
fn records_of_a_connections_own_leave_nothing_on_a_tape() {
    let mut story = Story::new(100_000);
    let (_, _) = story.join(&["a"], OWN_EVENTS);
    (0..10).for_each(|_| story.publish(&[("a", "one")]));
    assert!(story.hub.tapes.iter().all(|(_, tape)| tape.newest().is_none()));
}

#[test]
fn a_gap_that_cannot_be_said_is_not_passed_over() {
    let mut story = Story::new(0);
    story.limits.publications_max = 1;
    let (key, peer) = story.join(&["a"], PAYLOADS);
    ["one", "two", "three"].iter().for_each(|text| story.publish(&[("a", text)]));
    peer.room(1000);
    for _ in 0..2 {
        story.hub.take_events();
        story.pump(key);
        assert!(matches!(story.hub.take_events()[..], [HubEvent::Close(_, Disconnect::Gap { .. })]), "however often it is pumped");
        assert_eq!(peer.taken(), "");
    }
}

#[test]
fn a_goodbye_names_no_cursor_past_a_gap_that_was_not_told() {
    for told in [false, true] {
        let mut story = Story::new(1 << 20);
        story.limits.lag_bytes_max = 100;
        let channel = story.channel("a");
        (0..3).for_each(|_| story.publish(&[("a", "trimmed by now")]));
        let peer = Peer::default();
        let key = story.hub.add(peer.clone());
        // A reply that the peer has begun to take; behind it waits that the start is past a gap.
        story.hub.send(key, Bytes::from_static(b"a reply\n"), 0).expect("room");
        story.hub.send(key, Bytes::from_static(b"a gap up to 3\n"), 0).expect("room");
        story.hub.subscribe(key, channel, LINES, 3);
        if told {
            peer.room(b"a reply\na gap".len());
        }
        story.pump(key);
        story.publish(&[("a", &"x".repeat(1000))]);
        let slow = story.hub.find_slow(&story.history, 70_000);
        let Some((_, Disconnect::Slow { cursor })) = slow.first() else { panic!("it is slow: {slow:?}") };
        assert_eq!(*cursor, told.then_some(Position::new(Epoch::from_bits(1), 3)), "the rest of what was begun still goes");
    }
}

#[test]
fn a_frame_is_compressed_once_for_all_who_agreed_to_the_same_window() {
    let mut story = Story::new(1 << 20);
    let compressed = |bits| Encoding { deflate: Window::of_bits(bits), ..PAYLOADS };
    let text = "one channel, every transport; ".repeat(20);
    let peers: Vec<_> = [15, 15, 9].map(|bits| story.join(&["a"], compressed(bits)).1).into_iter().collect();
    let (_, plain) = story.join(&["a"], PAYLOADS);
    peers.iter().chain([&plain]).for_each(|peer| peer.room(1 << 20));
    story.publish(&[("a", &text), ("a", "too short to gain")]);

    assert_eq!(story.hub.encoder().compressions().messages, 2, "once for each window");
    let agreed = Agreed {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };
    for peer in &peers {
        let bytes = std::mem::take(&mut peer.0.borrow_mut().bytes);
        assert!(bytes.len() < 120, "{} bytes", bytes.len());
        let mut input = BytesMut::from(&bytes[..]);
        let limits = Limits { message_bytes_max: 10_000, frame_bytes_max: 10_000, fragments_max: 1 };
        let mut decoder = Decoder::with_deflate(Role::Client, limits, &agreed);
        for expected in [&text[..], "too short to gain"] {
            assert_eq!(decoder.decode(&mut input), Ok(Some(Message::Text(Bytes::copy_from_slice(expected.as_bytes())))));
        }
    }
    assert!(plain.taken().contains(&text));

    // Who comes later is caught up from history, by the same deflater: twice, since at first its peer takes nothing.
    let (late, peer) = story.join(&["a"], compressed(15));
    peer.room(1 << 20);
    story.pump(late);
    assert!((1..120).contains(&peer.taken().len()));
    assert_eq!(story.hub.encoder().compressions().messages, 4);
}
