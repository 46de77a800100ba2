//! Delivery on one worker: which connections follow which channels, and the way of a publication to them.
//!
//! A subscriber is a cursor, not a queue. What is announced in a turn is laid on a tape once per encoding and written as one slice
//! to all who are up to date. Who is behind takes from the tape, and, past its end, from history. The hub knows no sockets: it
//! writes to `Sink`s and reads from a `History`, so the same code runs under a simulation.

mod join;
mod lag;
mod outbox;
mod pass_over;
mod pause;
mod pump;
mod segment;
mod subscriber;
mod tape;
#[cfg(test)]
mod tests;
mod turn;
mod window;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use slab::Slab;

pub use outbox::OutboxFull;
pub use pause::Progress;
pub use turn::Announcement;

use crate::directory::Watched;
use crate::disconnect::Disconnect;
use crate::encoding::{Encoder, Encoding};
use crate::limits::{ChannelLimits, PageLimits};
use crate::log::Page;
use crate::name::ChannelName;
use crate::position::{Offset, Position};
use crate::publication::Publication;
use crate::start::GapReason;
use subscriber::Subscriber;
use tape::Tape;

/// Where a connection's bytes go.
pub trait Sink {
    /// Writes as much as the peer takes now.
    fn try_write(&mut self, bytes: &Bytes) -> Written;

    /// Writes several slices as one, as far as the peer takes them now.
    fn try_write_vectored(&mut self, slices: &[Bytes]) -> Written {
        let mut written = 0;
        for slice in slices {
            match self.try_write(slice) {
                Written::All => written += slice.len(),
                Written::Part(part) => return Written::Part(written + part),
                Written::Gone => return Written::Gone,
            }
        }
        Written::All
    }

    /// How many more publications the peer takes on a subscription that it answers for. Asked only of those.
    fn window(&self, _slot: Slot) -> usize {
        usize::MAX
    }

    /// The publications from `first` on, so many, were sent on a subscription that the peer answers for.
    fn sent(&mut self, _slot: Slot, _first: Position, _count: usize) {}

    /// A gap was told on a subscription that the peer answers for.
    fn gap_sent(&mut self, _slot: Slot, _resumed: Position) {}
}

/// What a sink took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything.
    All,
    /// So many bytes, perhaps none; it says when it takes more.
    Part(usize),
    /// The peer is gone.
    Gone,
}

/// The engine's logs, as far as delivery reads them.
pub trait History {
    /// Reads a channel's history after an offset, as far as `through`.
    fn page(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page;
    /// Reads the newest publication of each key that lies after an offset, as far as `through`.
    fn latest(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page;
    /// The earliest cursor from which no more than so many payload bytes, and nothing older, lead up to `through`.
    fn recent(&self, channel: &ChannelName, through: Offset, bytes_max: u64, since_ms: u64) -> Offset;
    /// Ends the announcing of a channel to this worker.
    fn unwatch(&self, channel: &ChannelName);
}

/// Bounds on delivery.
#[derive(Debug, Clone, Copy)]
pub struct HubLimits {
    /// How many bytes a tape holds for those who are behind; who falls off catches up from history.
    pub tape_bytes_max: usize,
    /// How many bytes all tapes of this worker hold; beyond it a tape that settles is given up.
    pub tapes_bytes_max: usize,
    /// How many bytes of replies may wait for one client.
    pub outbox_bytes_max: usize,
    /// How long a client without subscriptions may take nothing of what is for it.
    pub stalled_ms_max: u64,
    /// How long one may take nothing at all whose channel passes publications over for it.
    pub silent_ms_max: u64,
}

/// What the hub asks of its worker.
#[derive(Debug)]
pub enum HubEvent {
    /// The subscriber's sink takes no more: call `pump` once it does.
    Blocked(SubscriberKey),
    /// The subscriber's peer is gone.
    Gone(SubscriberKey),
    /// The subscriber is to be told why, and closed.
    Close(SubscriberKey, Disconnect),
    /// Something came for those who waited on a channel; they wait no longer.
    Arrived {
        /// The channel.
        channel: ChannelName,
        /// The cursor that all of them had.
        from: Position,
        /// What came.
        publications: Vec<Arc<Publication>>,
        /// Who waited.
        waiters: Vec<SubscriberKey>,
    },
}

/// Names a subscriber within its hub.
pub type SubscriberKey = u32;
/// Names a channel within its hub.
pub type ChannelKey = u32;
/// Names a subscription within its subscriber.
pub type Slot = u32;

/// What was delivered in one encoding, and what was not. At every moment between two calls of the hub, what was offered is what was
/// delivered, dropped, conflated or abandoned, and what is pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Publications that subscribers were to get: for each, what lay between its start and the tape's end when it joined, and all that
    /// came since.
    pub offered: u64,
    /// Publications that a gap took the place of, since history no longer held them or their channel drops.
    pub dropped: u64,
    /// Publications that a gap took the place of, since there was a newer one of their key.
    pub conflated: u64,
    /// Publications that were pending when their subscription ended.
    pub abandoned: u64,
    /// How often a subscriber began to hold its channel's publishers back.
    pub holds: u64,
    /// Publications handed to the kernel whole or in part.
    pub deliveries: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.dropped += other.dropped;
        self.conflated += other.conflated;
        self.abandoned += other.abandoned;
        self.holds += other.holds;
        self.deliveries += other.deliveries;
        self.bytes += other.bytes;
    }
}

/// The delivery of one worker.
pub struct Hub<S> {
    subscribers: Slab<Subscriber<S>>,
    channels: Slab<HubChannel>,
    by_name: HashMap<ChannelName, ChannelKey>,
    tapes: Slab<Tape>,
    encoder: Encoder,
    limits: HubLimits,
    blocked: BTreeSet<SubscriberKey>,
    dirty_tapes: Vec<u32>,
    dirty_channels: Vec<ChannelKey>,
    gathered: Vec<(SubscriberKey, Slot)>,
    events: Vec<HubEvent>,
    tallies: Box<[Tally; Encoding::COUNT]>,
    tapes_bytes: usize,
    gaps: Vec<GapReason>,
    /// Channels that pause their publishers and whose subscribers have moved.
    stirred: Vec<ChannelKey>,
}

struct HubChannel {
    name: ChannelName,
    /// The last publication that was announced to this worker.
    head: Position,
    payload_bytes: u64,
    limits: ChannelLimits,
    /// In the order of their encodings.
    tapes: Vec<u32>,
    waiters: Vec<SubscriberKey>,
    /// What was announced in this turn, kept while somebody waits or has an encoding of its own.
    arrived: Vec<Arc<Publication>>,
    unused: bool,
    stirred: bool,
}

impl<S: Sink> Hub<S> {
    /// A hub without subscribers.
    pub fn new(encoder: Encoder, limits: HubLimits) -> Self {
        Self {
            subscribers: Slab::new(),
            channels: Slab::new(),
            by_name: HashMap::new(),
            tapes: Slab::new(),
            encoder,
            limits,
            blocked: BTreeSet::new(),
            dirty_tapes: Vec::new(),
            dirty_channels: Vec::new(),
            gathered: Vec::new(),
            events: Vec::new(),
            tallies: Box::new([Tally::default(); Encoding::COUNT]),
            tapes_bytes: 0,
            gaps: Vec::new(),
            stirred: Vec::new(),
        }
    }

    /// Goes on under other limits: its own, and those of the channels that it watches.
    pub fn reconfigure(&mut self, limits: HubLimits, of_channel: impl Fn(&ChannelName) -> ChannelLimits) {
        self.limits = limits;
        for (_, channel) in &mut self.channels {
            channel.limits = of_channel(&channel.name);
        }
        let channels: Vec<_> = self.channels.iter().map(|(key, _)| key as ChannelKey).collect();
        channels.into_iter().for_each(|channel| self.stir(channel));
    }

    /// Whether nothing has happened that a worker would have to see to.
    pub fn is_settled(&self) -> bool {
        self.events.is_empty() && self.gaps.is_empty() && self.stirred.is_empty()
    }

    /// What has happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<HubEvent> {
        std::mem::take(&mut self.events)
    }

    /// The gaps that were told since this was last asked.
    pub fn take_gaps(&mut self) -> Vec<GapReason> {
        std::mem::take(&mut self.gaps)
    }

    /// The channel's key, if this worker watches it.
    pub fn channel(&self, name: &ChannelName) -> Option<ChannelKey> {
        self.by_name.get(name).copied()
    }

    /// The last publication of a channel that was delivered here, to whoever follows it.
    pub fn head(&self, channel: ChannelKey) -> Option<Position> {
        self.channels.get(channel as usize).map(|channel| channel.head)
    }

    /// Takes up a channel that the engine now announces to this worker.
    pub fn add_channel(&mut self, name: &ChannelName, watched: Watched) -> ChannelKey {
        let channel = HubChannel {
            name: name.clone(),
            head: watched.head,
            payload_bytes: watched.payload_bytes,
            limits: watched.limits,
            tapes: Vec::new(),
            waiters: Vec::new(),
            arrived: Vec::new(),
            unused: false,
            stirred: false,
        };
        let key = self.channels.insert(channel) as ChannelKey;
        self.by_name.insert(name.clone(), key);
        key
    }

    /// Ends the watch of channels that were unused at the last two sweeps: a long poll's next request often comes soon.
    pub fn sweep(&mut self, history: &impl History) {
        let mut unused = Vec::new();
        for (key, channel) in &mut self.channels {
            let idle = channel.tapes.is_empty() && channel.waiters.is_empty();
            if idle && channel.unused {
                unused.push(key);
            }
            channel.unused = idle;
        }
        for key in unused {
            let channel = self.channels.remove(key);
            self.by_name.remove(&channel.name);
            history.unwatch(&channel.name);
        }
    }

    /// What was delivered, by encoding.
    pub fn tallies(&self) -> &[Tally; Encoding::COUNT] {
        &self.tallies
    }

    /// What subscribers are still to get, by encoding.
    pub fn pending(&self) -> Box<[u64; Encoding::COUNT]> {
        let mut pending = Box::new([0; Encoding::COUNT]);
        if self.tapes.iter().all(|(_, tape)| tape.is_level()) {
            return pending;
        }
        let subscriptions = self.subscribers.iter().flat_map(|(_, subscriber)| &subscriber.subscriptions);
        for subscription in subscriptions.filter(|subscription| !subscription.is_live()) {
            if let Some(tape) = self.tapes.get(subscription.tape as usize) {
                pending[tape.encoding.index()] += tape.through.saturating_sub(subscription.sent);
            }
        }
        pending
    }

    /// How many bytes the tapes hold.
    pub fn tapes_bytes(&self) -> usize {
        self.tapes_bytes
    }

    /// How many bytes wait in outboxes.
    pub fn outbox_bytes(&self) -> usize {
        let of = |key: &SubscriberKey| self.subscribers.get(*key as usize).and_then(|subscriber| subscriber.outbox.as_ref());
        self.blocked.iter().filter_map(of).map(|outbox| outbox.bytes()).sum()
    }

    /// How many channels this worker watches.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// How many connections take frames.
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// How many subscriptions all connections have together.
    pub fn subscriptions(&self) -> usize {
        self.tapes.iter().map(|(_, tape)| tape.readers as usize).sum()
    }

    /// Every connection.
    pub fn keys(&self) -> impl Iterator<Item = (SubscriberKey, &S)> {
        self.subscribers.iter().map(|(key, subscriber)| (key as SubscriberKey, &subscriber.sink))
    }

    /// Where a connection that has one cursor for all its channels stands.
    pub fn composite(&self, key: SubscriberKey) -> Option<String> {
        let subscriber = self.subscribers.get(key as usize)?;
        subscriber.composite.as_ref().map(|composite| composite.as_str().to_owned())
    }

    /// How records are written, to change it.
    pub fn encoder_mut(&mut self) -> &mut Encoder {
        &mut self.encoder
    }

    /// How records are written.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }
}
