//! Subscribing, in the order in which the server does it, and what else is done to a connection.

use std::rc::Rc;

use bongsu_core::composite::Composite;
use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::{ChannelKey, OutboxFull, Slot};
use bongsu_core::limits::SlowPolicy;
use bongsu_core::log::Located;
use bongsu_core::stomp::{Action, FormKey, HeartBeatOffer, MessageForm, StompLimits, StompSession, Version};
use bongsu_core::{Cursor, Epoch, Position, Start};
use bytes::BytesMut;

use crate::model::Cause;
use crate::parse::Parser;
use crate::pipe::PipeEnd;
use crate::reader::{Followed, Link, Reader, Stream};
use crate::world::{START_MS, World};

/// What a reader of one channel may ask for.
pub(crate) const SINGLE: [Encoding; 12] = [
    STOMP,
    STOMP_WEBSOCKET,
    Encoding::new(Format::Json, Framing::Raw),
    Encoding::new(Format::Json, Framing::Chunked),
    Encoding::new(Format::Json, Framing::WebSocket),
    Encoding::new(Format::Sse, Framing::Raw),
    Encoding::new(Format::Sse, Framing::Chunked),
    Encoding::new(Format::SseJson, Framing::Chunked),
    Encoding::new(Format::Multipart, Framing::Raw),
    Encoding::new(Format::Multipart, Framing::Chunked),
    Encoding::new(Format::Payload, Framing::WebSocket),
    Encoding::new(Format::Payload, Framing::WebSocket),
];

/// What a reader of several channels may ask for that keeps a cursor for each.
const SEVERAL: [Encoding; 4] =
    [Encoding::new(Format::Json, Framing::Raw), Encoding::new(Format::Json, Framing::WebSocket), STOMP, STOMP_WEBSOCKET];

/// STOMP, in a form that is drawn when it connects.
const STOMP: Encoding = Encoding::new(Format::Stomp(FormKey::ANY), Framing::Raw);
const STOMP_WEBSOCKET: Encoding = Encoding::new(Format::Stomp(FormKey::ANY), Framing::WebSocket);

/// What a reader of several channels may ask for that keeps one cursor for all.
const COMPOSITE: [Encoding; 5] = [
    own(Format::Json, Framing::Raw),
    own(Format::Json, Framing::Chunked),
    own(Format::Sse, Framing::Chunked),
    own(Format::SseJson, Framing::Raw),
    own(Format::Multipart, Framing::Chunked),
];

const fn own(format: Format, framing: Framing) -> Encoding {
    Encoding { own: true, ..Encoding::new(format, framing) }
}

impl World {
    /// A reader does something: comes, goes, or changes what it follows.
    pub(crate) fn go_on(&mut self, reader: usize) {
        let several = self.readers[reader].follows.len() > 1;
        let leaves = self.chance.percent(25);
        match &self.readers[reader].link {
            Link::None if !several && self.chance.percent(30) => self.poll(reader),
            Link::None => self.connect_somehow(reader),
            Link::Stream(stream) if several && !stream.encoding.own && !leaves => self.change_one(reader),
            _ if leaves => {
                self.disconnect(reader);
                let records = if self.chance.percent(50) { 0 } else { self.chance.below(6) };
                self.readers[reader].forget_newest(records);
            }
            _ => (),
        }
    }

    fn connect_somehow(&mut self, reader: usize) {
        let worker = self.chance.below(self.workers.len());
        let encoding = match self.readers[reader].follows.len() {
            1 => self.chance.pick(&SINGLE),
            _ if self.chance.percent(50) => self.chance.pick(&SEVERAL),
            _ => self.chance.pick(&COMPOSITE),
        };
        let starts = (0..self.readers[reader].follows.len()).map(|place| self.random_start(reader, place)).collect();
        let room = self.chance.pick(&[0, 30, 500, 100_000, 100_000]);
        self.connect(reader, worker, encoding, starts, room);
    }

    /// Most go on where they were; others begin anew, or ask for what never was.
    pub(crate) fn random_start(&mut self, reader: usize, place: usize) -> Start {
        let cursor = self.readers[reader].follows[place].cursor;
        if let (Some(cursor), true) = (cursor, self.chance.percent(85)) {
            return Start::After(cursor.into());
        }
        let head = self.model.channels[self.readers[reader].follows[place].channel].head();
        match self.chance.below(6) {
            0 => Start::Live,
            1 => Start::Earliest,
            2 => Start::Last(self.chance.below(8) as u64),
            3 => Start::After(Position::new(Epoch::from_bits(self.chance.bits()), head.offset).into()),
            4 => Start::After(Position::new(head.epoch, head.offset + 1 + self.chance.below(3) as u64).into()),
            _ => Start::After(Cursor::parse("another-1").expect("well formed")),
        }
    }

    /// The form of a STOMP subscription, one of a few, so that some share theirs; half of them answer for what they get.
    fn draw_form(&mut self) -> MessageForm {
        let (id, ack) = (self.chance.below(2), self.chance.pick(&["auto", "client"]));
        let said = format!("CONNECT\naccept-version:1.2\n\n\0SUBSCRIBE\nid:{id}\ndestination:/topic/a\nack:{ack}\n\n\0");
        let (mut session, mut input) = (
            StompSession::new(StompLimits::default(), &[Version::V1_2], HeartBeatOffer { send_ms: 0, expect_ms: 0 }),
            BytesMut::from(&*said),
        );
        loop {
            match session.poll(&mut input).expect("a whole frame has an action") {
                Action::Connect(_) => session.accept("", ""),
                Action::Subscribe { form, .. } => return form,
                _ => (),
            }
        }
    }

    /// A reader answers for some of what it has on one subscription, oldest first.
    pub(crate) fn answer(&mut self, reader: usize) {
        let Some(stream) = self.readers[reader].stream() else { return };
        let (worker, key, pipe) = (stream.worker, stream.key, Rc::clone(&stream.pipe));
        let waiting: Vec<Slot> =
            pipe.borrow().in_flight.iter().filter(|(_, in_flight)| !in_flight.is_empty()).map(|(&slot, _)| slot).collect();
        if waiting.is_empty() {
            return;
        }
        self.note("answer", reader);
        let slot = self.chance.pick(&waiting);
        if let Some(in_flight) = pipe.borrow_mut().in_flight.get_mut(&slot) {
            in_flight.drain(..self.chance.between(1, in_flight.len()));
        }
        self.workers[worker].hub.window_opened(key, slot);
        self.pump(reader);
    }

    /// Everybody answers for everything. Tells whether anybody had something to answer for.
    pub(crate) fn answer_all(&mut self) -> bool {
        let unanswered =
            |reader: &mut Reader| reader.stream().is_some_and(|s| s.pipe.borrow().in_flight.values().any(|one| !one.is_empty()));
        let mut any = false;
        for reader in 0..self.readers.len() {
            while unanswered(&mut self.readers[reader]) {
                any = true;
                self.answer(reader);
            }
        }
        any
    }

    /// Finds where a subscription begins and has the worker watch its channel, under one lock.
    pub(crate) fn locate(&mut self, worker: usize, channel: usize, start: &Start, watch: bool) -> Located {
        let name = self.model.channels[channel].name.clone();
        let located = self.directory.borrow().locate(&name, start);
        assert_eq!(located, self.model.channels[channel].locate(start), "where {start:?} begins");
        let hub = &mut self.workers[worker].hub;
        if watch && hub.channel(&name).is_none() {
            let watched = self.directory.borrow_mut().watch(&name, worker, self.now_ms);
            hub.add_channel(&name, watched);
            self.observe(Cause::Watch);
        }
        located
    }

    fn channel_key(&self, worker: usize, channel: usize) -> ChannelKey {
        self.workers[worker].hub.channel(&self.model.channels[channel].name).expect("it was added")
    }

    /// Connects a reader, in the server's order: locate and watch, take what was announced, subscribe, say where it starts, pump.
    pub(crate) fn connect(&mut self, reader: usize, worker: usize, encoding: Encoding, starts: Vec<Start>, room: usize) {
        self.note("connect", reader);
        let channels: Vec<usize> = self.readers[reader].follows.iter().map(|followed| followed.channel).collect();
        let located: Vec<Located> =
            channels.iter().zip(&starts).map(|(&channel, start)| self.locate(worker, channel, start, true)).collect();
        if self.chance.percent(20) {
            self.publish_anything();
        }
        self.drain(worker);
        if encoding.format == Format::Payload
            && let Some(gap) = &located[0].gap
        {
            // There is no room to say it: the server refuses with the gap, and the client goes on from there.
            self.readers[reader].follows[0].cursor = Some(gap.resumed);
            return;
        }
        let pipe = PipeEnd::default();
        pipe.0.borrow_mut().room = room;
        let form = matches!(encoding.format, Format::Stomp(_)).then(|| self.draw_form());
        pipe.0.borrow_mut().prefetch = self.chance.pick(&[1, 1, 2, 5, 100]);
        let key = self.workers[worker].hub.add(pipe.clone());
        let stream = Stream {
            worker,
            key,
            encoding,
            form,
            pipe: Rc::clone(&pipe.0),
            parser: Parser::new(encoding),
            blocked: false,
            told: Vec::new(),
            ended: false,
        };
        self.readers[reader].link = Link::Stream(Box::new(stream));
        self.readers[reader].remembered.clear();
        self.readers[reader].remember();
        let composite = encoding.own.then(|| self.composite_of(&channels, &located));
        if let Some(composite) = &composite {
            self.workers[worker].hub.set_composite(key, composite.clone());
            let follows = self.readers[reader].follows.iter_mut().zip(&located);
            follows.for_each(|(followed, located)| followed.opening = Some(located.cursor));
        }
        let mut preamble = BytesMut::new();
        self.workers[worker].hub.encoder().preamble(encoding, &mut preamble);
        self.workers[worker].hub.send(key, preamble.freeze(), self.now_ms).expect("there is room for the first frame");
        for (place, located) in located.into_iter().enumerate() {
            if self.subscribe(reader, place, located, composite.as_ref()).is_err() {
                return self.close(reader, &Disconnect::Slow { cursor: None });
            }
        }
        if self.chance.percent(10) {
            self.publish_anything();
            self.drain(worker);
        }
        self.pump(reader);
    }

    fn composite_of(&self, channels: &[usize], located: &[Located]) -> Composite {
        let mut composite = Composite::new(channels.iter().map(|&channel| &self.model.channels[channel].name));
        located.iter().enumerate().for_each(|(place, located)| composite.advance(place, located.cursor));
        composite
    }

    /// Subscribes one channel of a connection and says where it starts.
    fn subscribe(&mut self, reader: usize, place: usize, located: Located, composite: Option<&Composite>) -> Result<(), OutboxFull> {
        let followed = &self.readers[reader].follows[place];
        let channel = followed.channel;
        let Link::Stream(stream) = &mut self.readers[reader].link else { panic!("only a stream subscribes") };
        let (worker, key, pipe) = (stream.worker, stream.key, Rc::clone(&stream.pipe));
        if let Some(form) = &stream.form {
            stream.encoding.format = Format::Stomp(self.workers[worker].hub.encoder_mut().hold_form(form));
        }
        let encoding = stream.encoding;
        let channel_key = self.channel_key(worker, channel);
        let hub = &mut self.workers[worker].hub;
        let slot = hub.subscribe(key, channel_key, encoding, located.cursor.offset);
        pipe.borrow_mut().in_flight.remove(&slot);
        let name = &self.model.channels[channel].name;
        let composite = composite.map(Composite::as_str);
        let mut start = BytesMut::new();
        match encoding.format {
            // Said by the session, as an answer to who asked.
            Format::Stomp(_) => hub.encoder().frame(encoding, &mut start, |out| {
                out.extend_from_slice(format!("RECEIPT\nreceipt-id:{name}\ncursor:{}\n\n\0", located.cursor).as_bytes());
            }),
            _ => hub.encoder().start(encoding, name, located.cursor, composite, &mut start),
        }
        let mut sent = if start.is_empty() { Ok(()) } else { hub.send(key, start.freeze(), self.now_ms) };
        if let (Some(gap), Ok(())) = (&located.gap, sent) {
            let mut record = BytesMut::new();
            assert!(hub.encoder().gap(encoding, name, gap, composite, &mut record), "the format has room for a gap");
            sent = hub.send(key, record.freeze(), self.now_ms);
        }
        hub.encoder_mut().release(encoding);
        let followed = &mut self.readers[reader].follows[place];
        followed.slot = Some(slot);
        followed.joined = self.model.channels[channel].head().offset;
        followed.gap = located.gap;
        match encoding.format {
            Format::Payload => followed.cursor = Some(located.cursor),
            _ => followed.opening = Some(located.cursor),
        }
        sent
    }

    /// A reader of several channels leaves one of them, or comes back to it.
    fn change_one(&mut self, reader: usize) {
        let place = self.chance.below(self.readers[reader].follows.len());
        let Link::Stream(stream) = &self.readers[reader].link else { return };
        let (worker, key) = (stream.worker, stream.key);
        let followed = &self.readers[reader].follows[place];
        if followed.opening.is_some() || followed.gap.is_some() {
            return;
        }
        if let Some(slot) = followed.slot {
            self.note("unsubscribe", reader);
            let sent = self.workers[worker].hub.sent(key, slot).expect("it is subscribed");
            self.workers[worker].hub.unsubscribe(key, slot);
            self.readers[reader].follows[place].slot = None;
            self.readers[reader].follows[place].until = Some(sent.offset);
            return;
        }
        self.note("subscribe", reader);
        let start = self.random_start(reader, place);
        let located = self.locate(worker, self.readers[reader].follows[place].channel, &start, true);
        self.drain(worker);
        if !matches!(&self.readers[reader].link, Link::Stream(_)) {
            return;
        }
        match self.subscribe(reader, place, located, None) {
            Ok(()) => self.pump(reader),
            Err(OutboxFull) => self.close(reader, &Disconnect::Slow { cursor: None }),
        }
    }

    /// The server gives a sign of life.
    pub(crate) fn beat(&mut self, reader: usize) {
        let place = self.chance.below(self.readers[reader].follows.len());
        let Link::Stream(stream) = &self.readers[reader].link else { return };
        let followed = &self.readers[reader].follows[place];
        let (worker, key, encoding, channel) = (stream.worker, stream.key, stream.encoding, followed.channel);
        let Some(slot) =
            followed.slot.filter(|_| !matches!(encoding.format, Format::Payload | Format::Stomp(_)) && followed.opening.is_none())
        else {
            return;
        };
        self.note("beat", reader);
        let hub = &mut self.workers[worker].hub;
        let sent = hub.sent(key, slot).expect("it is subscribed");
        let composite = hub.composite(key);
        let mut beat = BytesMut::new();
        hub.encoder().heartbeat(encoding, &self.model.channels[channel].name, sent, composite.as_deref(), &mut beat);
        let is_sent = hub.send(key, beat.freeze(), self.now_ms).is_ok();
        if is_sent && !encoding.own && matches!(encoding.format, Format::Json | Format::Multipart) {
            self.readers[reader].follows[place].beats.push_back(sent);
        }
        self.settle(worker);
    }

    /// The server closes those who are too slow, and nobody else.
    pub(crate) fn close_slow(&mut self, worker: usize) {
        self.note("find slow", worker);
        let shelf = self.shelf(worker);
        let slow = self.workers[worker].hub.find_slow(&shelf, self.now_ms);
        for reader in 0..self.readers.len() {
            let Link::Stream(stream) = &self.readers[reader].link else { continue };
            if stream.worker != worker || !stream.blocked {
                continue;
            }
            let found = slow.iter().any(|(key, _)| *key == stream.key);
            let lags = (0..self.readers[reader].follows.len()).any(|place| self.lags(reader, place));
            assert!(found || !lags, "reader {reader} lags, and nobody has seen it");
        }
        for (key, why) in slow {
            let reader = self.reader_named(worker, key).expect("only who is there is slow");
            assert!(self.readers[reader].stream().expect("a stream").blocked, "only who is blocked is slow");
            let Disconnect::Slow { cursor } = &why else { panic!("slow, not {why:?}") };
            let slots: Vec<_> = self.readers[reader].follows.iter().filter_map(|followed| followed.slot).collect();
            let sent = if let [slot] = *slots { self.workers[worker].hub.sent(key, slot) } else { None };
            let closes = |followed: &Followed| {
                let policy = self.model.channels[followed.channel].limits.slow;
                matches!(policy, SlowPolicy::Disconnect | SlowPolicy::Pause)
            };
            let silent = self.hub_limits.silent_ms_max < self.now_ms - START_MS;
            let follows = &self.readers[reader].follows;
            assert!(silent || slots.is_empty() || follows.iter().any(closes), "who passes over stays");
            // What waits behind a cut frame may be a gap that it was not told, and goes when it is closed.
            if cursor.is_some() || self.workers[worker].hub.waiting_bytes(key) == 0 {
                assert_eq!(*cursor, sent, "with one channel the cursor is what was sent, and with several there is none");
            }
            self.close(reader, &why);
        }
    }

    /// Whether what came after it joined lags beyond the channel's bounds.
    fn lags(&self, reader: usize, place: usize) -> bool {
        let followed = &self.readers[reader].follows[place];
        let (Link::Stream(stream), Some(slot)) = (&self.readers[reader].link, followed.slot) else { return false };
        let pipe = stream.pipe.borrow();
        if pipe.in_flight.get(&slot).is_some_and(|in_flight| in_flight.len() >= pipe.prefetch) {
            // It has shut its window.
            return false;
        }
        let channel = &self.model.channels[followed.channel];
        let sent = self.workers[stream.worker].hub.sent(stream.key, slot).expect("it is subscribed");
        let untold = self.workers[stream.worker].inbox.iter().find(|announcement| announcement.channel == channel.name);
        let head = untold.map_or(channel.head().offset, |announcement| announcement.publication.position.offset - 1);
        let next = sent.offset.max(channel.floor().offset) + 1;
        if next > head || next <= followed.joined + 1 || matches!(channel.limits.slow, SlowPolicy::Drop | SlowPolicy::Conflate) {
            return false;
        }
        let (next, head) = (channel.publication(Position::new(sent.epoch, next)), channel.publication(Position::new(sent.epoch, head)));
        let lag_bytes = head.bytes_before + head.draft.data.len() as u64 - next.bytes_before;
        // Where publishers wait, bytes alone are no reason.
        let is_long = channel.limits.slow == SlowPolicy::Disconnect && lag_bytes > channel.limits.lag_bytes_max;
        is_long || self.now_ms - next.time_ms > channel.limits.lag_age_max_ms
    }
}
