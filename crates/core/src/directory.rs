//! Every channel that there is, and a bounded memory of those that were. The engine locks it; it decides all else.
//!
//! Reading never creates a channel. What a name's epoch would be is computed from a secret, the name and a count of forgotten
//! lives, so even a channel that does not exist has a cursor to tell, at no cost.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::io;
use std::sync::Arc;

use siphasher::sip::SipHasher24;

use crate::backpressure::Backpressure;
use crate::idempotency::IdempotencyKey;
use crate::limits::{ChannelLimits, PageLimits, SlowPolicy};
use crate::log::{Appended, Located, Log, Page};
use crate::name::ChannelName;
use crate::position::{Epoch, Offset, Position};
use crate::publication::{Draft, Publication};
use crate::snapshot::{ChannelState, SnapshotFault, Writer};
use crate::start::Start;

/// The channels of one shard.
pub struct Directory {
    secret: [u8; 16],
    channels: HashMap<ChannelName, Channel>,
    dormant: Dormant,
    limits: DirectoryLimits,
    rules: Rules,
    held_bytes: usize,
    /// How many channels are only watched and were never published to. They are bounded by their subscribers.
    bare: usize,
    swept_ms: u64,
    closed: bool,
}

/// The bounds of every channel, by its name.
pub type Rules = Arc<dyn Fn(&ChannelName) -> ChannelLimits + Send + Sync>;

/// The bounds on a directory as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// How many channels may have a log; publishing to one more is refused.
    pub channels_max: usize,
    /// How long a channel without subscribers and publications keeps its log.
    pub unused_after_ms: u64,
    /// How many channels that were let go are remembered by epoch and head; beyond it the oldest is forgotten.
    pub forgotten_max: usize,
}

/// Why a publication was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishFault {
    /// The bound on channels is reached and none can be let go.
    #[error(
        "the server holds {max} channels, which is its bound; publish to an existing channel, try later, or raise history.channels_max"
    )]
    TooManyChannels {
        /// The bound.
        max: usize,
    },
    /// The name is the server's own.
    #[error("channels that begin with $ are the server's own; choose another name")]
    Reserved,
    /// A subscriber is behind, and the channel's policy is that publishers wait. Nothing was published.
    #[error("subscribers of this channel are behind, and its publishers wait for them; publish again in a moment")]
    Held,
    /// The server is about to end, and what it holds is being written down.
    #[error("the server is going away; publish again in a moment")]
    GoingAway,
}

/// What a publish did.
#[derive(Debug, Clone)]
pub struct Published {
    /// The position, now or the first time.
    pub position: Position,
    /// What is to be announced, and to which workers; nothing when the publish was a repetition.
    pub announce: Option<(Arc<Publication>, Watchers)>,
}

/// The workers that have subscribers of a channel, a bit each.
pub type Watchers = u64;

/// What a worker learns when it begins to watch a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// The head: all later publications will be announced to the worker.
    pub head: Position,
    /// Payload bytes appended up to the head.
    pub payload_bytes: u64,
    /// The channel's bounds.
    pub limits: ChannelLimits,
}

struct Channel {
    log: Log,
    limits: ChannelLimits,
    watchers: Watchers,
    used_ms: u64,
    /// Where publishers wait for slow subscribers.
    backpressure: Option<Box<Backpressure>>,
}

/// Epoch and head of channels that were let go.
#[derive(Default)]
struct Dormant {
    heads: HashMap<ChannelName, (Position, u64)>,
    by_age: VecDeque<(ChannelName, u64)>,
    count: u64,
    lives: Vec<u32>,
}

impl Directory {
    /// An empty directory. The secret is random: who knows it can guess epochs.
    pub fn new(secret: [u8; 16], limits: DirectoryLimits, rules: Rules) -> Self {
        let dormant = Dormant { lives: vec![0; LIFE_COUNTERS], ..Dormant::default() };
        Self { secret, channels: HashMap::new(), dormant, limits, rules, held_bytes: 0, bare: 0, swept_ms: 0, closed: false }
    }

    /// Orders a publication.
    pub fn publish(
        &mut self,
        name: &ChannelName,
        draft: Draft,
        key: Option<IdempotencyKey>,
        now_ms: u64,
    ) -> Result<Published, PublishFault> {
        if name.is_reserved() {
            return Err(PublishFault::Reserved);
        }
        if self.closed {
            return Err(PublishFault::GoingAway);
        }
        // One look for a channel that was published to before, which is nearly always.
        let channel = match self.channels.get_mut(name) {
            Some(channel) if !channel.is_bare() => channel,
            _ => {
                self.make_room(now_ms)?;
                if !self.channels.contains_key(name) {
                    self.create(name, now_ms);
                }
                let channel = self.channels.get_mut(name).expect("it was there, or was just created");
                self.bare -= usize::from(channel.is_bare());
                channel
            }
        };
        if channel.is_held() {
            return Err(PublishFault::Held);
        }
        Ok(channel.append(draft, key, now_ms, &mut self.held_bytes))
    }

    /// Orders a publication of a channel in which one was just ordered, to which it belongs: nothing refuses it any more.
    pub fn publish_next(&mut self, name: &ChannelName, draft: Draft, key: Option<IdempotencyKey>, now_ms: u64) -> Option<Published> {
        let channel = self.channels.get_mut(name)?;
        Some(channel.append(draft, key, now_ms, &mut self.held_bytes))
    }

    /// Has later publications announced to a worker.
    pub fn watch(&mut self, name: &ChannelName, worker: usize, now_ms: u64) -> Watched {
        if !self.channels.contains_key(name) {
            self.create(name, now_ms);
        }
        let channel = self.channels.get_mut(name).expect("it was there, or was just created");
        channel.watchers |= 1 << worker;
        channel.used_ms = now_ms;
        if channel.limits.slow == SlowPolicy::Pause {
            channel.backpressure.get_or_insert_default().take(worker, channel.log.payload_bytes());
        }
        Watched { head: channel.log.head(), payload_bytes: channel.log.payload_bytes(), limits: channel.limits }
    }

    /// A worker's slowest subscriber of a channel has come so far, in payload bytes. Returns the workers whose publishers need wait no
    /// longer.
    pub fn taken(&mut self, name: &ChannelName, worker: usize, payload_bytes: u64) -> Watchers {
        let Some(channel) = self.channels.get_mut(name).filter(|channel| channel.limits.slow == SlowPolicy::Pause) else { return 0 };
        channel.backpressure.get_or_insert_default().take(worker, payload_bytes);
        channel.release()
    }

    /// Has a worker told when a channel takes publications again; `false` if it does already.
    pub fn await_release(&mut self, name: &ChannelName, worker: usize) -> bool {
        let Some(channel) = self.channels.get_mut(name).filter(|channel| channel.is_held()) else { return false };
        channel.backpressure.get_or_insert_default().wait(worker);
        true
    }

    /// Ends a worker's watch, and returns the workers whose publishers need wait no longer. A channel that was never published to
    /// vanishes with its last watcher.
    pub fn unwatch(&mut self, name: &ChannelName, worker: usize, now_ms: u64) -> Watchers {
        let Some(channel) = self.channels.get_mut(name) else { return 0 };
        channel.watchers &= !(1 << worker);
        channel.used_ms = now_ms;
        let released = channel.release();
        if channel.watchers == 0 && channel.log.is_bare() {
            self.let_go(&name.clone());
        }
        released
    }

    /// Reads the newest publication of each key, as `Log::latest` does.
    pub fn latest(&self, name: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        match self.channels.get(name) {
            Some(channel) => channel.log.latest(after, through, limits),
            None => self.bare(name).latest(after, through, limits),
        }
    }

    /// The earliest cursor that is near enough to `through`, as `Log::recent` finds it.
    pub fn recent(&self, name: &ChannelName, through: Offset, bytes_max: u64, since_ms: u64) -> Offset {
        self.channels.get(name).map_or(through, |channel| channel.log.recent(through, bytes_max, since_ms))
    }

    /// Finds where a subscription begins, without creating anything.
    pub fn locate(&self, name: &ChannelName, start: &Start) -> Located {
        self.channels.get(name).map_or_else(|| self.bare(name).locate(start), |channel| channel.log.locate(start))
    }

    /// Finds where a subscription begins and reads on from there, in one look, without creating anything.
    pub fn read(&self, name: &ChannelName, start: &Start, limits: PageLimits) -> (Located, Page) {
        let of = |log: &Log| {
            let located = log.locate(start);
            let page = log.page(located.cursor.offset, Offset::MAX, limits);
            (located, page)
        };
        self.channels.get(name).map_or_else(|| of(&self.bare(name)), |channel| of(&channel.log))
    }

    /// Reads history, without creating anything.
    pub fn page(&self, name: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        match self.channels.get(name) {
            Some(channel) => channel.log.page(after, through, limits),
            None => self.bare(name).page(after, through, limits),
        }
    }

    /// Lets go of what is too old: publications, keys, and channels that nobody has used for a time.
    pub fn sweep(&mut self, now_ms: u64) {
        self.swept_ms = now_ms;
        let unused_after_ms = self.limits.unused_after_ms;
        let mut unused = Vec::new();
        for (name, channel) in &mut self.channels {
            let before = channel.log.held_bytes();
            channel.log.expire(now_ms, &channel.limits);
            self.held_bytes = self.held_bytes + channel.log.held_bytes() - before;
            let idle = channel.log.is_bare() || channel.used_ms.saturating_add(unused_after_ms) <= now_ms;
            if channel.watchers == 0 && idle {
                unused.push(name.clone());
            }
        }
        unused.iter().for_each(|name| self.let_go(name));
    }

    /// Frees so many bytes of history, from the channels that hold the most.
    pub fn shed(&mut self, mut bytes: usize) {
        let mut largest: Vec<_> = self.channels.values_mut().filter(|channel| channel.log.held_bytes() > 0).collect();
        largest.sort_by_key(|channel| std::cmp::Reverse(channel.log.held_bytes()));
        for channel in largest {
            if bytes == 0 {
                break;
            }
            let before = channel.log.held_bytes();
            channel.log.shed(bytes.min(before.div_ceil(2)));
            let freed = before - channel.log.held_bytes();
            self.held_bytes -= freed;
            bytes = bytes.saturating_sub(freed);
        }
    }

    /// Refuses every publication from now on, so that nothing is ordered that a snapshot would miss.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Writes down all that must outlive the process.
    pub fn save<W: io::Write>(&self, writer: &mut Writer<W>) -> io::Result<()> {
        writer.shard(&self.dormant.lives)?;
        for (name, head) in self.dormant.in_order() {
            writer.dormant(name, head)?;
        }
        let is_kept = |channel: &Channel| !channel.log.is_bare();
        // Of a channel that has only an epoch and a head, nothing else is lost; one that would begin the same anew needs nothing.
        for (name, channel) in self.channels.iter().filter(|(_, channel)| !is_kept(channel)) {
            if self.is_worth_remembering(name, channel.log.head()) {
                writer.dormant(name, channel.log.head())?;
            }
        }
        for (name, channel) in self.channels.iter().filter(|(_, channel)| is_kept(channel)) {
            writer.channel(name, &channel.log, channel.used_ms)?;
        }
        Ok(())
    }

    /// Counts forgotten lives on from what a snapshot says. Where several shards became one, the highest count is right for all:
    /// an epoch too new is a gap too many, one too old would be a loss unsaid.
    pub fn restore_lives(&mut self, lives: &[(u16, u32)]) {
        for &(counter, life) in lives {
            if let Some(count) = self.dormant.lives.get_mut(usize::from(counter)) {
                *count = life.max(*count);
            }
        }
    }

    /// Remembers a channel that was let go, the longest unused first.
    pub fn restore_dormant(&mut self, name: &ChannelName, head: Position) -> Result<(), SnapshotFault> {
        if self.channels.contains_key(name) || self.dormant.heads.contains_key(name) {
            return Err(SnapshotFault::Misplaced { what: "a channel that is there twice" });
        }
        self.dormant.remember(name, head, self.limits.forgotten_max);
        Ok(())
    }

    /// Takes up a channel where it was, within the limits of today; of a channel too many, only epoch and head are kept.
    pub fn restore_channel(&mut self, state: ChannelState) -> Result<(), SnapshotFault> {
        let ChannelState { name, mut log, used_ms } = state;
        if self.channels.len() - self.bare >= self.limits.channels_max {
            return self.restore_dormant(&name, log.head());
        }
        if self.channels.contains_key(&name) || self.dormant.heads.contains_key(&name) {
            return Err(SnapshotFault::Misplaced { what: "a channel that is there twice" });
        }
        let limits = (self.rules)(&name);
        log.trim(&limits);
        self.held_bytes += log.held_bytes();
        let channel = Channel { log, limits, watchers: 0, used_ms, backpressure: None };
        self.bare += usize::from(channel.is_bare());
        self.channels.insert(name, channel);
        Ok(())
    }

    /// Goes on under other limits and rules, which hold for the channels that there are, too.
    pub fn reconfigure(&mut self, limits: DirectoryLimits, rules: Rules) {
        (self.limits, self.rules) = (limits, rules);
        for (name, channel) in &mut self.channels {
            channel.limits = (self.rules)(name);
            channel.backpressure.take_if(|_| channel.limits.slow != SlowPolicy::Pause);
            let before = channel.log.held_bytes();
            channel.log.trim(&channel.limits);
            self.held_bytes = self.held_bytes + channel.log.held_bytes() - before;
        }
        self.dormant.forget(limits.forgotten_max);
    }

    /// What all logs hold together.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How many channels there are.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there is no channel.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// How many channels that were let go are still remembered.
    pub fn dormant(&self) -> usize {
        self.dormant.heads.len()
    }

    /// How many channels were ever published to: those that `channels_max` bounds.
    pub fn published(&self) -> usize {
        self.channels.len() - self.bare
    }

    fn make_room(&mut self, now_ms: u64) -> Result<(), PublishFault> {
        let max = self.limits.channels_max;
        // A sweep looks at every channel: one a second is enough for those who are refused.
        if self.published() >= max && self.swept_ms.saturating_add(SWEEP_MS) <= now_ms {
            self.sweep(now_ms);
        }
        if self.published() >= max { Err(PublishFault::TooManyChannels { max }) } else { Ok(()) }
    }

    fn create(&mut self, name: &ChannelName, now_ms: u64) {
        let log = self.bare(name);
        self.dormant.heads.remove(name);
        let limits = (self.rules)(name);
        let channel = Channel { log, limits, watchers: 0, used_ms: now_ms, backpressure: None };
        self.bare += usize::from(channel.is_bare());
        self.channels.insert(name.clone(), channel);
    }

    /// The log of a channel that has none: what is remembered of it, or the first life that it would have.
    fn bare(&self, name: &ChannelName) -> Log {
        match self.dormant.heads.get(name) {
            Some((head, _)) => Log::new(head.epoch, head.offset),
            None => Log::new(self.first_epoch(name), 0),
        }
    }

    fn first_epoch(&self, name: &ChannelName) -> Epoch {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(name.as_str().as_bytes());
        hasher.write_u32(self.dormant.lives[self.dormant.counter_of(name)]);
        Epoch::from_bits(hasher.finish())
    }

    fn let_go(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.remove(name) else { return };
        self.held_bytes -= channel.log.held_bytes();
        self.bare -= usize::from(channel.is_bare());
        let head = channel.log.head();
        if self.is_worth_remembering(name, head) {
            self.dormant.remember(name, head, self.limits.forgotten_max);
        }
    }

    /// A first life without a publication would come out the same again: there is nothing to remember.
    fn is_worth_remembering(&self, name: &ChannelName, head: Position) -> bool {
        head.offset > 0 || head.epoch != self.first_epoch(name)
    }
}

impl Channel {
    /// Whether nothing was ever published in it: it is here for its watchers alone.
    fn is_bare(&self) -> bool {
        self.log.head().offset == 0
    }

    fn append(&mut self, draft: Draft, key: Option<IdempotencyKey>, now_ms: u64, held_bytes: &mut usize) -> Published {
        self.used_ms = now_ms;
        let before = self.log.held_bytes();
        let appended = self.log.append(draft, key, now_ms, &self.limits);
        *held_bytes = *held_bytes + self.log.held_bytes() - before;
        match appended {
            Appended::New(publication) => Published { position: publication.position, announce: Some((publication, self.watchers)) },
            Appended::Repeated(position) => Published { position, announce: None },
        }
    }

    /// Whether publishers must wait for a subscriber.
    fn is_held(&self) -> bool {
        let lag_bytes = |backpressure: &Backpressure| backpressure.lag_bytes(self.watchers, self.log.payload_bytes());
        self.backpressure.as_deref().is_some_and(|backpressure| lag_bytes(backpressure) > self.limits.lag_bytes_max)
    }

    /// The workers whose publishers need wait no longer.
    fn release(&mut self) -> Watchers {
        if self.is_held() { 0 } else { self.backpressure.as_mut().map_or(0, |backpressure| backpressure.release()) }
    }
}

impl Dormant {
    fn remember(&mut self, name: &ChannelName, head: Position, max: usize) {
        self.count += 1;
        self.heads.insert(name.clone(), (head, self.count));
        self.by_age.push_back((name.clone(), self.count));
        self.forget(max);
    }

    /// Forgets the longest unused until no more than `max` are left.
    fn forget(&mut self, max: usize) {
        while self.heads.len() > max {
            let Some((oldest, count)) = self.by_age.pop_front() else { break };
            if self.is_current(&oldest, count) {
                self.heads.remove(&oldest);
                let counter = self.counter_of(&oldest);
                self.lives[counter] = self.lives[counter].wrapping_add(1);
            }
        }
        // A channel that came to life again leaves a stale entry behind.
        if self.by_age.len() > 2 * self.heads.len() + 16 {
            let mut by_age = std::mem::take(&mut self.by_age);
            by_age.retain(|(name, count)| self.is_current(name, *count));
            self.by_age = by_age;
        }
    }

    /// Those remembered, the longest unused first.
    fn in_order(&self) -> impl Iterator<Item = (&ChannelName, Position)> {
        let current = |(name, count): &&(ChannelName, u64)| self.is_current(name, *count);
        self.by_age.iter().filter(current).filter_map(|(name, _)| Some((name, self.heads.get(name)?.0)))
    }

    fn is_current(&self, name: &ChannelName, count: u64) -> bool {
        self.heads.get(name).is_some_and(|(_, current)| *current == count)
    }

    /// Names share counters, so a forgotten name may give a neighbour a new epoch too: a gap too many, never a loss unsaid.
    fn counter_of(&self, name: &ChannelName) -> usize {
        let hash =
            name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        (hash % self.lives.len() as u64) as usize
    }
}

/// How many counters of forgotten lives a directory has.
pub(crate) const LIFE_COUNTERS: usize = 4096;
const SWEEP_MS: u64 = 1000;

#[cfg(test)]
mod tests;
