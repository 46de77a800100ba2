//! The home of order: locks a channel's log, gives the position, and announces to each worker that watches, still under the lock,
//! so that no two workers see two publications the other way round.

mod inbox;
mod queues;
mod snapshot;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bongsu_core::directory::{Directory, DirectoryLimits, PublishFault, Published, Rules, Watched, Watchers};
use bongsu_core::hub::{Announcement, History, Progress};
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::limits::PageLimits;
use bongsu_core::log::{Located, Page};
use bongsu_core::{ChannelName, Draft, Offset, Position, Start};

use crate::clock::Clock;
pub use inbox::Inbox;
pub use queues::{QueueBounds, QueueEngine};

/// The engine of one process.
pub struct Engine {
    shards: Box<[Shard]>,
    /// By which channels are spread over the shards, and their epochs are made.
    secret: [u8; 16],
    inboxes: Box<[Inbox]>,
    queues: QueueEngine,
    clock: Clock,
    total_bytes_max: AtomicUsize,
}

struct Shard {
    directory: Mutex<Directory>,
    /// What its logs hold, readable without the lock.
    held_bytes: AtomicUsize,
}

/// What is to be published, and the key under which a repetition of it is known.
pub type Keyed = (Draft, Option<IdempotencyKey>);

/// The engine as one worker sees it.
pub struct EngineHandle<'a> {
    engine: &'a Engine,
    worker: usize,
}

impl Engine {
    /// An engine without channels.
    pub fn new(secret: [u8; 16], limits: DirectoryLimits, total_bytes_max: usize, rules: Rules, workers: usize, clock: Clock) -> Self {
        let limits = share(limits);
        let shard =
            |_| Shard { directory: Mutex::new(Directory::new(secret, limits, Arc::clone(&rules))), held_bytes: AtomicUsize::new(0) };
        let inboxes = (0..workers).map(|_| Inbox::default()).collect();
        let queues = QueueEngine::new(secret, workers, clock);
        let total_bytes_max = AtomicUsize::new(total_bytes_max);
        Self { shards: (0..SHARDS).map(shard).collect(), secret, inboxes, queues, clock, total_bytes_max }
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Orders a publication and has it delivered.
    pub fn publish(&self, name: &ChannelName, draft: Draft, key: Option<IdempotencyKey>) -> Result<Position, PublishFault> {
        self.publish_together(name, (draft, key), Vec::new())
    }

    /// Orders a publication and those that belong to it in the same channel, with none of anyone else's between them: all of them, or,
    /// refused, none. Returns the position of the last.
    pub fn publish_together(&self, name: &ChannelName, first: Keyed, following: Vec<Keyed>) -> Result<Position, PublishFault> {
        let shard = self.shard(name);
        let mut directory = shard.lock();
        let now_ms = self.clock.now_ms();
        let (draft, key) = first;
        let mut position = self.announce(name, directory.publish(name, draft, key, now_ms)?);
        for (draft, key) in following {
            if let Some(published) = directory.publish_next(name, draft, key, now_ms) {
                position = self.announce(name, published);
            }
        }
        shard.release(directory);
        self.shed();
        Ok(position)
    }

    /// Announces a publication that was given its position, while its log is still locked.
    fn announce(&self, name: &ChannelName, published: Published) -> Position {
        if let Some((publication, watchers)) = published.announce {
            let mut left = watchers;
            while left != 0 {
                let worker = left.trailing_zeros() as usize;
                left &= left - 1;
                self.inboxes[worker].push(Announcement { channel: name.clone(), publication: Arc::clone(&publication) });
            }
        }
        published.position
    }

    /// Finds where a subscription begins.
    pub fn locate(&self, name: &ChannelName, start: &Start) -> Located {
        self.shard(name).lock().locate(name, start)
    }

    /// Finds where a subscription begins and reads on from there.
    pub fn read(&self, name: &ChannelName, start: &Start, limits: PageLimits) -> (Located, Page) {
        self.shard(name).lock().read(name, start, limits)
    }

    /// Lets go of what is too old. Call it every second or so.
    pub fn sweep(&self) {
        for shard in &self.shards {
            let mut directory = shard.lock();
            directory.sweep(self.clock.now_ms());
            shard.release(directory);
        }
    }

    /// What all logs hold together.
    pub fn held_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.held_bytes.load(Ordering::Relaxed)).sum()
    }

    /// How many channels there are.
    pub fn channels(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// The queues, which are apart from the channels.
    pub fn queues(&self) -> &QueueEngine {
        &self.queues
    }

    /// What was announced to a worker.
    pub fn inbox(&self, worker: usize) -> &Inbox {
        &self.inboxes[worker]
    }

    /// The engine as one worker sees it.
    pub fn of_worker(&self, worker: usize) -> EngineHandle<'_> {
        EngineHandle { engine: self, worker }
    }

    /// Past the bound on the sum, the fullest shard gives up its oldest, a little more than need be, so that it is rare.
    fn shed(&self) {
        let (retained, total_bytes_max) = (self.held_bytes(), self.total_bytes_max());
        if retained <= total_bytes_max {
            return;
        }
        let excess = retained - total_bytes_max + total_bytes_max / 64;
        let fullest = self.shards.iter().max_by_key(|shard| shard.held_bytes.load(Ordering::Relaxed));
        if let Some(shard) = fullest {
            let mut directory = shard.lock();
            directory.shed(excess);
            shard.release(directory);
        }
    }

    /// Tells workers that a channel takes publications again.
    fn release(&self, channel: &ChannelName, workers: Watchers) {
        let waits = |worker: &usize| workers & (1 << worker) != 0;
        (0..self.inboxes.len()).filter(waits).for_each(|worker| self.inboxes[worker].release(channel.clone()));
    }

    fn shard(&self, name: &ChannelName) -> &Shard {
        &self.shards[snapshot::shard_of(&self.secret, name)]
    }

    fn total_bytes_max(&self) -> usize {
        self.total_bytes_max.load(Ordering::Relaxed)
    }
}

impl Shard {
    // A panic elsewhere leaves a directory whole: each of its changes is one call.
    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, directory: MutexGuard<'_, Directory>) {
        self.held_bytes.store(directory.held_bytes(), Ordering::Relaxed);
    }
}

impl EngineHandle<'_> {
    /// Has later publications of a channel announced to this worker.
    pub fn watch(&self, name: &ChannelName) -> Watched {
        self.engine.shard(name).lock().watch(name, self.worker, self.engine.clock.now_ms())
    }

    /// How far this worker's subscribers of a channel have come, whose publishers may wait for that.
    pub fn taken(&self, progress: &Progress) {
        let Progress { channel, payload_bytes } = progress;
        let released = self.engine.shard(channel).lock().taken(channel, self.worker, *payload_bytes);
        self.engine.release(channel, released);
    }

    /// Has this worker told when a channel takes publications again; `false` if it does already.
    pub fn await_release(&self, channel: &ChannelName) -> bool {
        self.engine.shard(channel).lock().await_release(channel, self.worker)
    }
}

impl History for EngineHandle<'_> {
    fn page(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        self.engine.shard(channel).lock().page(channel, after, through, limits)
    }

    fn latest(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        self.engine.shard(channel).lock().latest(channel, after, through, limits)
    }

    fn recent(&self, channel: &ChannelName, through: Offset, bytes_max: u64, since_ms: u64) -> Offset {
        self.engine.shard(channel).lock().recent(channel, through, bytes_max, since_ms)
    }

    fn unwatch(&self, channel: &ChannelName) {
        let released = self.engine.shard(channel).lock().unwatch(channel, self.worker, self.engine.clock.now_ms());
        self.engine.release(channel, released);
    }
}

/// The limits of one shard.
fn share(limits: DirectoryLimits) -> DirectoryLimits {
    let share = |max: usize| max.div_ceil(SHARDS);
    DirectoryLimits { channels_max: share(limits.channels_max), forgotten_max: share(limits.forgotten_max), ..limits }
}

/// Channels are spread over so many locks.
const SHARDS: usize = 16;
