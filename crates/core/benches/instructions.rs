//! What the hot path costs in instructions: each scenario does one thing so many times over, and valgrind counts. Who runs it is
//! `cargo xtask bench`, which runs each twice, with more and with fewer repetitions: the difference is free of what sets it up.
#![expect(clippy::print_stdout, reason = "a command's words are its output")]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use bongsu_core::directory::{Directory, DirectoryLimits};
use bongsu_core::encoding::{Encoder, Encoding, Framing};
use bongsu_core::hub::{Announcement, ChannelKey, History, Hub, HubLimits, Sink, Written};
use bongsu_core::limits::{ChannelLimits, PageLimits};
use bongsu_core::log::Page;
use bongsu_core::native::{self, NativeLimits};
use bongsu_core::stomp::{self, StompLimits};
use bongsu_core::websocket::{self, Limits, Opcode, Role, write_masked_frame};
use bongsu_core::{ChannelName, Draft, Format, Forms, Offset, Publication, Start};
use bytes::{Bytes, BytesMut};

type Scenario = (&'static str, fn(usize));

/// The scenarios, by name.
const SCENARIOS: [Scenario; 17] = [
    ("publish", publish),
    ("deliver 1 to 1000", |times| deliver(times, 1)),
    ("deliver 64 to 1000", |times| deliver(times, 64)),
    ("deliver on 1000 channels", deliver_on_many),
    ("catch up with 1000", catch_up),
    ("join and leave", join_and_leave),
    ("encode websocket", |times| encode(times, Format::Payload, Framing::WebSocket)),
    ("encode native", |times| encode(times, Format::Json, Framing::WebSocket)),
    ("encode ndjson", |times| encode(times, Format::Json, Framing::Chunked)),
    ("encode sse", |times| encode(times, Format::Sse, Framing::Chunked)),
    ("encode sse json", |times| encode(times, Format::SseJson, Framing::Chunked)),
    ("encode multipart", |times| encode(times, Format::Multipart, Framing::Chunked)),
    ("decode websocket", decode_websocket),
    ("decode native publish", |times| decode_native(times, NATIVE_PUBLISH)),
    ("decode native subscribe", |times| decode_native(times, br#"{"subscribe":"chat/lobby","after":"8JqVu2mPw0x-42","id":1}"#)),
    ("decode stomp", decode_stomp),
    ("find start", find_start),
];

/// `instructions SCENARIO TIMES` runs one; without arguments their names are listed.
fn main() {
    // Cargo adds a flag of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [name, times] = arguments.as_slice() else { return SCENARIOS.iter().for_each(|(name, _)| println!("{name}")) };
    let (_, run) = SCENARIOS.iter().find(|(known, _)| known == name).expect("a scenario of the list");
    run(times.parse().expect("a number of repetitions"));
}

/// Takes everything and keeps nothing.
#[derive(Default)]
struct Counting {
    bytes: usize,
}

impl Sink for Counting {
    fn try_write(&mut self, bytes: &Bytes) -> Written {
        self.bytes += black_box(bytes).len();
        Written::All
    }
}

struct Shelf(RefCell<Directory>);

impl History for Shelf {
    fn page(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        self.0.borrow().page(channel, after, through, limits)
    }

    fn latest(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        self.0.borrow().latest(channel, after, through, limits)
    }

    fn recent(&self, channel: &ChannelName, through: Offset, bytes_max: u64, since_ms: u64) -> Offset {
        self.0.borrow().recent(channel, through, bytes_max, since_ms)
    }

    fn unwatch(&self, channel: &ChannelName) {
        self.0.borrow_mut().unwatch(channel, 0, 0);
    }
}

/// A worker without sockets.
struct Bench {
    hub: Hub<Counting>,
    shelf: Shelf,
}

impl Bench {
    fn new() -> Self {
        let limits = HubLimits {
            tape_bytes_max: 256 << 10,
            tapes_bytes_max: 64 << 20,
            outbox_bytes_max: 256 << 10,
            stalled_ms_max: 30_000,
            silent_ms_max: 120_000,
        };
        let directory_limits = DirectoryLimits { channels_max: 10_000, unused_after_ms: 1_000_000, forgotten_max: 0 };
        let directory = Directory::new([7; 16], directory_limits, Arc::new(|_| ChannelLimits::default()));
        Self { hub: Hub::new(Encoder::new(Forms::new(1)), limits), shelf: Shelf(RefCell::new(directory)) }
    }

    fn channel(&mut self, number: usize) -> (ChannelName, ChannelKey) {
        let name = ChannelName::parse(&format!("chat/{number}")).expect("a name");
        let watched = self.shelf.0.borrow_mut().watch(&name, 0, 0);
        let key = self.hub.add_channel(&name, watched);
        (name, key)
    }

    fn join(&mut self, channel: ChannelKey, sent: Offset) -> u32 {
        let key = self.hub.add(Counting::default());
        self.hub.subscribe(key, channel, WEBSOCKET, sent);
        self.hub.pump(key, &self.shelf, 0);
        key
    }

    fn publish(&mut self, channel: &ChannelName) -> Announcement {
        let published = self.shelf.0.borrow_mut().publish(channel, draft(), None, 0).expect("there is room");
        let (publication, _) = published.announce.expect("it has no key");
        Announcement { channel: channel.clone(), publication }
    }
}

fn draft() -> Draft {
    Draft { data: Bytes::from_static(PAYLOAD), ..Draft::default() }
}

fn publish(times: usize) {
    let mut bench = Bench::new();
    let (name, _) = bench.channel(0);
    (0..times).for_each(|_| _ = black_box(bench.publish(&name)));
}

fn deliver(times: usize, at_once: usize) {
    let mut bench = Bench::new();
    let (name, key) = bench.channel(0);
    (0..1000).for_each(|_| _ = bench.join(key, 0));
    let announced: Vec<Vec<_>> = (0..times).map(|_| (0..at_once).map(|_| bench.publish(&name)).collect()).collect();
    for announcements in announced {
        bench.hub.turn(announcements, 0);
    }
    assert_eq!(bench.hub.tallies()[WEBSOCKET.index()].deliveries, (times * at_once * 1000) as u64);
}

fn deliver_on_many(times: usize) {
    let mut bench = Bench::new();
    let channels: Vec<_> = (0..1000).map(|number| bench.channel(number)).collect();
    channels.iter().for_each(|(_, key)| _ = bench.join(*key, 0));
    let announced: Vec<Vec<_>> = (0..times).map(|_| channels.iter().map(|(name, _)| bench.publish(name)).collect()).collect();
    for announcements in announced {
        bench.hub.turn(announcements, 0);
    }
    assert_eq!(bench.hub.tallies()[WEBSOCKET.index()].deliveries, times as u64 * 1000);
}

fn catch_up(times: usize) {
    let mut bench = Bench::new();
    let (name, key) = bench.channel(0);
    for _ in 0..1000 {
        let announcement = bench.publish(&name);
        bench.hub.turn([announcement], 0);
    }
    for _ in 0..times {
        let subscriber = bench.join(key, 0);
        bench.hub.remove(subscriber);
    }
    assert_eq!(bench.hub.tallies()[WEBSOCKET.index()].deliveries, times as u64 * 1000);
}

fn join_and_leave(times: usize) {
    let mut bench = Bench::new();
    let (_, key) = bench.channel(0);
    (0..1000).for_each(|_| _ = bench.join(key, 0));
    for _ in 0..times {
        let subscriber = bench.join(key, 0);
        bench.hub.remove(subscriber);
    }
}

fn encode(times: usize, format: Format, framing: Framing) {
    let encoder = Encoder::new(Forms::new(1));
    let mut bench = Bench::new();
    let (name, _) = bench.channel(0);
    let publication: Arc<Publication> = bench.publish(&name).publication;
    let mut out = BytesMut::with_capacity(1 << 10);
    for _ in 0..times {
        out.clear();
        encoder.publication(Encoding::new(format, framing), &name, black_box(&publication), None, &mut out);
        black_box(&out);
    }
}

fn decode_websocket(times: usize) {
    let limits = Limits { message_bytes_max: 1 << 20, frame_bytes_max: 1 << 20, fragments_max: 1024 };
    let mut decoder = websocket::Decoder::new(Role::Server, limits);
    let mut input = BytesMut::new();
    for _ in 0..times {
        write_masked_frame(&mut input, Opcode::Text, PAYLOAD, [1, 2, 3, 4]);
        assert!(black_box(decoder.decode(&mut input)).is_ok_and(|message| message.is_some()));
    }
}

fn decode_native(times: usize, command: &[u8]) {
    let limits = NativeLimits::default();
    (0..times).for_each(|_| assert!(black_box(native::decode(black_box(command), &limits)).is_ok()));
}

fn decode_stomp(times: usize) {
    let mut decoder = stomp::Decoder::new(&StompLimits::default());
    let mut input = BytesMut::new();
    for _ in 0..times {
        input.extend_from_slice(STOMP_SEND);
        assert!(black_box(decoder.decode(&mut input)).is_ok_and(|frame| frame.is_some()));
    }
}

fn find_start(times: usize) {
    let mut bench = Bench::new();
    let (name, _) = bench.channel(0);
    let cursor = bench.publish(&name).publication.position;
    (0..100).for_each(|_| _ = bench.publish(&name));
    let start = Start::After(cursor.into());
    (0..times).for_each(|_| assert!(black_box(bench.shelf.0.borrow().locate(&name, black_box(&start))).gap.is_none()));
}

const WEBSOCKET: Encoding = Encoding::new(Format::Payload, Framing::WebSocket);
/// 128 bytes, as the figures of docs/performance.md have them.
const PAYLOAD: &[u8; 128] = &[b'x'; 128];
const NATIVE_PUBLISH: &[u8] = br#"{"publish":"chat/lobby","data":"a line that somebody wrote, neither short nor long","key":"EUR","id":7}"#;
const STOMP_SEND: &[u8] = b"SEND\ndestination:/chat/lobby\ncontent-type:text/plain\ncontent-length:5\n\nhello\0";
