//! A directory, a few workers and their readers, and everything that can happen to them.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bongsu_core::directory::{Directory, DirectoryLimits};
use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoder, Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::{Announcement, History, Hub, HubEvent, HubLimits, SubscriberKey};
use bongsu_core::limits::{ChannelLimits, PageLimits};
use bongsu_core::log::Page;
use bongsu_core::websocket::write_close;
use bongsu_core::{ChannelName, Forms, Offset, Position, Start};
use bytes::BytesMut;

use crate::chance::Chance;
use crate::check::Count;
use crate::model::{Cause, Model};
use crate::pipe::PipeEnd;
use crate::publish::random_limits;
use crate::reader::{Link, Reader};

/// Everything, and the model of what it should be.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) now_ms: u64,
    pub(crate) directory: Rc<RefCell<Directory>>,
    pub(crate) directory_limits: DirectoryLimits,
    pub(crate) workers: Vec<Worker>,
    pub(crate) hub_limits: HubLimits,
    pub(crate) model: Model,
    pub(crate) readers: Vec<Reader>,
    counts: [Count; Encoding::COUNT],
    pub(crate) published: usize,
    /// How often in a hundred a reader takes nothing when it could.
    idleness: usize,
    steps: VecDeque<String>,
}

/// One worker, with the announcements it has not looked at yet.
pub(crate) struct Worker {
    pub(crate) hub: Hub<PipeEnd>,
    pub(crate) inbox: VecDeque<Announcement>,
}

/// The directory as a worker's hub reads it.
pub(crate) struct Shelf {
    directory: Rc<RefCell<Directory>>,
    worker: usize,
    now_ms: u64,
}

impl History for Shelf {
    fn page(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        self.directory.borrow().page(channel, after, through, limits)
    }

    fn unwatch(&self, channel: &ChannelName) {
        self.directory.borrow_mut().unwatch(channel, self.worker, self.now_ms);
    }
}

impl World {
    /// A world whose bounds are small and whose readers are many.
    pub(crate) fn random(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let channels = (0..chance.between(2, 5)).map(|n| (format!("chat/c{n}"), random_limits(&mut chance))).collect();
        let directory_limits = DirectoryLimits {
            channels_max: chance.between(2, 6),
            unused_after_ms: chance.between(100, 2000) as u64,
            forgotten_max: chance.between(0, 3),
        };
        let hub_limits = HubLimits {
            tape_bytes_max: chance.pick(&[0, 500, 2000, 10_000, 1_000_000, 1_000_000]),
            tapes_bytes_max: chance.pick(&[500, 3000, 20_000, 1_000_000]),
            outbox_bytes_max: chance.pick(&[600, 2000, 100_000]),
            stalled_ms_max: 30_000,
        };
        let workers = chance.between(1, 3);
        let mut world = Self::new(chance, channels, directory_limits, hub_limits, workers);
        world.idleness = world.chance.pick(&[0, 0, 50, 98]);
        for _ in 0..world.chance.between(2, 7) {
            let count = if world.chance.percent(60) { 1 } else { world.chance.between(2, world.model.channels.len()) };
            let first = world.chance.below(world.model.channels.len());
            world.readers.push(Reader::new((0..count).map(|n| (first + n) % world.model.channels.len()).collect()));
        }
        world
    }

    /// A world with these channels and bounds, and nobody in it.
    pub(crate) fn new(
        mut chance: Chance,
        channels: Vec<(String, ChannelLimits)>,
        directory_limits: DirectoryLimits,
        hub_limits: HubLimits,
        workers: usize,
    ) -> Self {
        let channels: Vec<_> =
            channels.into_iter().map(|(name, limits)| (ChannelName::parse(&name).expect("a channel name"), limits)).collect();
        let rules: HashMap<ChannelName, ChannelLimits> = channels.iter().cloned().collect();
        let secret = [chance.bits().to_le_bytes(), chance.bits().to_le_bytes()].concat().try_into().expect("sixteen bytes");
        let directory = Directory::new(secret, directory_limits, Arc::new(move |name: &ChannelName| rules[name]));
        let model = Model::new(channels.into_iter().map(|(name, limits)| {
            let epoch = directory.locate(&name, &Start::Live).cursor.epoch;
            (name, limits, epoch)
        }));
        let encoder = Encoder::new(Forms::new(u128::from(chance.bits())));
        let worker = |_| Worker { hub: Hub::new(encoder.clone(), hub_limits), inbox: VecDeque::new() };
        Self {
            chance,
            now_ms: 1_000_000,
            directory: Rc::new(RefCell::new(directory)),
            directory_limits,
            workers: (0..workers).map(worker).collect(),
            hub_limits,
            model,
            readers: Vec::new(),
            counts: [Count::default(); Encoding::COUNT],
            published: 0,
            idleness: 0,
            steps: VecDeque::new(),
        }
    }

    /// The steps before the last, for who looks for a fault.
    pub(crate) fn recent_steps(&self) -> &VecDeque<String> {
        &self.steps
    }

    /// Lets a life's worth of things happen, and then everything come to rest.
    pub(crate) fn run(&mut self) {
        for _ in 0..self.chance.between(100, 400) {
            self.step();
        }
        self.come_to_rest();
        self.end();
    }

    fn step(&mut self) {
        self.now_ms += self.chance.pick(&[0, 0, 1, 5, 20, 100]);
        let worker = self.chance.below(self.workers.len());
        let reader = self.chance.below(self.readers.len());
        match self.chance.below(100) {
            0..35 => self.publish_some(),
            35..52 => self.deliver_some(worker),
            52..66 => self.make_room(reader),
            66..72 => self.answer(reader),
            72..86 => self.go_on(reader),
            86..90 => self.beat(reader),
            90..92 => self.vanish(reader),
            92..94 => self.sweep_hub(worker),
            94..96 => self.sweep_directory(),
            96..97 => self.shed(),
            _ => self.close_slow(worker),
        }
    }

    /// Notes what is being done.
    pub(crate) fn note(&mut self, step: &'static str, of: usize) {
        if self.steps.len() == STEPS_KEPT {
            self.steps.pop_front();
        }
        self.steps.push_back(format!("{step} {of}"));
    }

    pub(crate) fn shelf(&self, worker: usize) -> Shelf {
        Shelf { directory: Rc::clone(&self.directory), worker, now_ms: self.now_ms }
    }

    pub(crate) fn is_watched(&self, channel: usize) -> bool {
        self.workers.iter().any(|worker| worker.hub.channel(&self.model.channels[channel].name).is_some())
    }

    fn deliver_some(&mut self, worker: usize) {
        let waiting = self.workers[worker].inbox.len();
        let count = if self.chance.percent(50) { waiting } else { self.chance.between(0, waiting) };
        self.deliver(worker, count);
    }

    /// Has a worker take its oldest announcements in one turn.
    pub(crate) fn deliver(&mut self, worker: usize, count: usize) {
        self.note("deliver", count);
        let Worker { hub, inbox } = &mut self.workers[worker];
        hub.turn(inbox.drain(..count), self.now_ms);
        assert!(hub.tapes_bytes() <= self.hub_limits.tapes_bytes_max, "tapes are bounded");
        self.settle(worker);
    }

    /// Has a worker take all its announcements.
    pub(crate) fn drain(&mut self, worker: usize) {
        self.deliver(worker, self.workers[worker].inbox.len());
    }

    /// Does what the hub asked for, and reads what came.
    pub(crate) fn settle(&mut self, worker: usize) {
        loop {
            let events = self.workers[worker].hub.take_events();
            if events.is_empty() {
                break;
            }
            events.into_iter().for_each(|event| self.handle(worker, event));
        }
        for reader in 0..self.readers.len() {
            self.read(reader);
        }
        let outboxes = self.workers[worker].hub.subscribers() * (self.hub_limits.outbox_bytes_max + RECORDS_BYTES_MAX);
        assert!(self.workers[worker].hub.outbox_bytes() <= outboxes, "outboxes are bounded");
    }

    fn handle(&mut self, worker: usize, event: HubEvent) {
        match event {
            HubEvent::Blocked(key) => {
                // Who was closed in the meantime has no more to be told.
                let Some(reader) = self.reader_named(worker, key) else { return };
                self.readers[reader].stream().expect("only a stream is blocked").blocked = true;
            }
            HubEvent::Gone(key) => {
                let Some(reader) = self.reader_named(worker, key) else { return };
                assert!(self.readers[reader].stream().expect("a stream").pipe.borrow().gone, "only who is gone is called gone");
                self.disconnect(reader);
            }
            HubEvent::Close(key, Disconnect::Gap { channel, gap }) => {
                let reader = self.reader_named(worker, key).expect("only who is there is closed");
                self.read(reader);
                let followed = self.readers[reader].follows.iter().find(|followed| followed.slot.is_some()).expect("a subscription");
                assert_eq!(self.model.channels[followed.channel].name, channel);
                assert_eq!(Some(gap.asked.to_string()), followed.cursor.map(|cursor| cursor.to_string()), "it says what it had");
                assert_eq!(gap.resumed, self.resumable(worker, followed.channel), "and where it could go on");
                self.close(reader, &Disconnect::Gap { channel, gap });
            }
            HubEvent::Close(_, other) => panic!("nothing else closes: {other:?}"),
            HubEvent::Arrived { channel, from, publications, waiters } => self.arrive(worker, &channel, from, &publications, &waiters),
        }
    }

    /// The cursor at which a reader of this worker goes on that history no longer reaches: the floor, unless the worker has yet to be
    /// told even of what comes before that.
    pub(crate) fn resumable(&self, worker: usize, channel: usize) -> Position {
        let of = &self.model.channels[channel];
        let floor = of.floor();
        let untold = self.workers[worker].inbox.iter().find(|announcement| announcement.channel == of.name);
        match untold.map(|announcement| announcement.publication.position) {
            Some(next) if next.epoch == floor.epoch => Position::new(floor.epoch, floor.offset.min(next.offset - 1)),
            _ => floor,
        }
    }

    pub(crate) fn reader_named(&self, worker: usize, key: SubscriberKey) -> Option<usize> {
        self.readers.iter().position(|reader| reader.is_named(worker, key))
    }

    /// Reads what a reader's connection took.
    pub(crate) fn read(&mut self, reader: usize) {
        let Some(index) = self.readers[reader].stream().map(|stream| stream.encoding.index()) else { return };
        self.counts[index].whole += self.readers[reader].read(&self.model);
    }

    /// Sends a reader what it has still to get.
    pub(crate) fn pump(&mut self, reader: usize) {
        let Link::Stream(stream) = &self.readers[reader].link else { return };
        let (worker, key) = (stream.worker, stream.key);
        let follows = self.readers[reader].follows.iter().enumerate().filter(|(_, followed)| followed.slot.is_some());
        let floors: Vec<_> = follows.map(|(place, followed)| (place, self.resumable(worker, followed.channel))).collect();
        self.readers[reader].stream().expect("a stream").blocked = false;
        let shelf = self.shelf(worker);
        let hub = &mut self.workers[worker].hub;
        hub.pump(key, &shelf, self.now_ms);
        if !hub.take_gaps().is_empty() {
            self.readers[reader].stream().expect("a stream").told.extend(floors);
        }
        self.settle(worker);
    }

    /// A reader takes some more.
    fn make_room(&mut self, reader: usize) {
        let room = self.chance.pick(&[0, 1, 10, 50, 100, 300, 1000, 10_000]);
        let later = self.chance.percent(20);
        if self.chance.percent(self.idleness) {
            return;
        }
        let Some(stream) = self.readers[reader].stream() else { return };
        stream.pipe.borrow_mut().room += room;
        if stream.blocked && !later {
            self.note("pump", reader);
            self.pump(reader);
        }
    }

    /// A reader's peer is no more; its server has yet to find out.
    fn vanish(&mut self, reader: usize) {
        self.read(reader);
        let Some(stream) = self.readers[reader].stream() else { return };
        stream.pipe.borrow_mut().gone = true;
        self.note("vanish", reader);
    }

    /// Ends a reader's connection from its side.
    pub(crate) fn disconnect(&mut self, reader: usize) {
        self.note("disconnect", reader);
        self.read(reader);
        match &self.readers[reader].link {
            Link::None => (),
            Link::Stream(stream) => {
                self.counts[stream.encoding.index()].cut += u64::from(stream.parser.is_amid());
                self.workers[stream.worker].hub.remove(stream.key).expect("a connection is there until it is removed");
            }
            Link::Waiting { worker, key } => {
                let hub = &mut self.workers[*worker].hub;
                let name = &self.model.channels[self.readers[reader].follows[0].channel].name;
                if let Some(channel) = hub.channel(name) {
                    hub.stop_waiting(*key, channel);
                }
                hub.remove(*key).expect("a connection is there until it is removed");
            }
        }
        self.readers[reader].disconnected();
    }

    /// Ends a reader's connection from the server's side, with a goodbye.
    pub(crate) fn close(&mut self, reader: usize, why: &Disconnect) {
        self.note("close", reader);
        let Link::Stream(stream) = &self.readers[reader].link else { return };
        let (worker, key, encoding) = (stream.worker, stream.key, stream.encoding);
        if !stream.parser.is_open() {
            // What a stream begins with has not gone out, so there is no stream yet in which to say goodbye.
            return self.disconnect(reader);
        }
        let hub = &mut self.workers[worker].hub;
        hub.quiet(key);
        let mut out = BytesMut::new();
        match encoding.framing {
            Framing::WebSocket => write_close(&mut out, why.goodbye().code, &why.goodbye().reason),
            Framing::Raw if matches!(encoding.format, Format::Stomp(_)) => out.extend_from_slice(b"ERROR\n\n\0"),
            Framing::Raw | Framing::Chunked => hub.encoder().goodbye(encoding, &why.goodbye(), 250, &mut out),
        }
        hub.send(key, out.freeze(), self.now_ms).expect("there is room for a goodbye");
        let shelf = self.shelf(worker);
        self.workers[worker].hub.pump(key, &shelf, self.now_ms);
        self.read(reader);
        let drained = self.workers[worker].hub.is_drained(key);
        let stream = self.readers[reader].stream().expect("a stream");
        let gone = stream.pipe.borrow().gone;
        assert!(gone || !drained || stream.ended, "what is drained ends by the goodbye");
        assert!(!drained || !stream.parser.is_amid(), "a goodbye follows whole records");
        let follows: Vec<_> = self.readers[reader].follows.iter().filter(|followed| followed.slot.is_some()).collect();
        if let (true, [followed], Disconnect::Slow { cursor: Some(cursor) }) = (drained && !gone, follows.as_slice(), why)
            && followed.opening.is_none()
        {
            assert_eq!(followed.cursor, Some(*cursor), "it is told the cursor that it has");
        }
        self.disconnect(reader);
        self.settle(worker);
    }

    fn sweep_hub(&mut self, worker: usize) {
        self.note("sweep a hub", worker);
        let shelf = self.shelf(worker);
        self.workers[worker].hub.sweep(&shelf);
        self.observe(Cause::Watch);
    }

    /// Everybody takes everything.
    pub(crate) fn come_to_rest(&mut self) {
        for reader in &mut self.readers {
            if let Some(stream) = reader.stream() {
                stream.pipe.borrow_mut().room = usize::MAX / 2;
            }
        }
        (0..self.workers.len()).for_each(|worker| self.drain(worker));
        for _ in 0..ROUNDS_MAX {
            let blocked: Vec<_> =
                (0..self.readers.len()).filter(|&reader| self.readers[reader].stream().is_some_and(|s| s.blocked)).collect();
            if blocked.is_empty() && !self.answer_all() {
                return self.check_rest();
            }
            blocked.into_iter().for_each(|reader| self.pump(reader));
        }
        panic!("the world does not come to rest");
    }

    fn check_rest(&mut self) {
        for (index, reader) in self.readers.iter_mut().enumerate() {
            if matches!(&reader.link, Link::None) || reader.stream().is_some_and(|stream| stream.pipe.borrow().gone) {
                continue;
            }
            if let Some(stream) = reader.stream() {
                assert!(!stream.parser.is_amid(), "reader {index}: every frame came whole");
                assert!(self.workers[stream.worker].hub.is_drained(stream.key), "reader {index}: nothing is left");
            }
            let waits = matches!(&reader.link, Link::Waiting { .. });
            for followed in reader.follows.iter().filter(|followed| waits || followed.slot.is_some()) {
                let channel = &self.model.channels[followed.channel];
                assert_eq!(followed.cursor, Some(channel.head()), "reader {index} has everything of {}", channel.name);
                assert!(followed.opening.is_none() && followed.gap.is_none(), "reader {index} was told where it begins");
            }
        }
    }

    /// Everybody leaves, and nothing stays behind.
    pub(crate) fn end(&mut self) {
        for channel in &self.model.channels {
            let all = PageLimits { publications_max: usize::MAX, bytes_max: usize::MAX };
            let page = self.directory.borrow().page(&channel.name, 0, Offset::MAX, all);
            assert_eq!(page.publications, channel.retained(), "history is what was published");
        }
        (0..self.readers.len()).for_each(|reader| self.disconnect(reader));
        for worker in 0..self.workers.len() {
            (0..2).for_each(|_| self.sweep_hub(worker));
            let hub = &self.workers[worker].hub;
            assert_eq!((hub.subscribers(), hub.channels(), hub.tapes_bytes(), hub.outbox_bytes()), (0, 0, 0, 0), "nothing stays behind");
        }
        for (index, count) in self.counts.iter().enumerate() {
            let told: u64 = self.workers.iter().map(|worker| worker.hub.tallies()[index].deliveries).sum();
            assert!((count.whole..=count.whole + count.cut).contains(&told), "{told} deliveries were counted, but {count:?}");
        }
        self.now_ms += 1_000_000;
        self.directory.borrow_mut().sweep(self.now_ms);
        self.observe(Cause::Sweep);
        assert_eq!((self.directory.borrow().len(), self.directory.borrow().held_bytes()), (0, 0), "nothing stays behind");
    }
}

/// Start and gap records may pass the bound by this much for each of a handful of channels, as may the rest of a frame.
const RECORDS_BYTES_MAX: usize = 8000;
const ROUNDS_MAX: usize = 10_000;
const STEPS_KEPT: usize = 40;
