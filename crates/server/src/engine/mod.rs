//! The home of order: locks a channel's log, gives the position, and announces to each worker that watches, still under the lock,
//! so that no two workers see two publications the other way round.

mod inbox;
mod snapshot;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bongsu_core::directory::{Directory, DirectoryLimits, PublishFault, Rules, Watched};
use bongsu_core::hub::{Announcement, History};
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::limits::PageLimits;
use bongsu_core::log::{Located, Page};
use bongsu_core::{ChannelName, Draft, Offset, Position, Start};

use crate::clock::Clock;
pub use inbox::Inbox;

/// The engine of one process.
pub struct Engine {
    shards: Box<[Shard]>,
    /// By which channels are spread over the shards, and their epochs are made.
    secret: [u8; 16],
    inboxes: Box<[Inbox]>,
    clock: Clock,
    total_bytes_max: AtomicUsize,
}

struct Shard {
    directory: Mutex<Directory>,
    /// What its logs hold, readable without the lock.
    held_bytes: AtomicUsize,
}

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
        let total_bytes_max = AtomicUsize::new(total_bytes_max);
        Self { shards: (0..SHARDS).map(shard).collect(), secret, inboxes, clock, total_bytes_max }
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Orders a publication and has it delivered.
    pub fn publish(&self, name: &ChannelName, draft: Draft, key: Option<IdempotencyKey>) -> Result<Position, PublishFault> {
        let shard = self.shard(name);
        let mut directory = shard.lock();
        let position = self.order(&mut directory, name, draft, key)?;
        shard.release(directory);
        self.shed();
        Ok(position)
    }

    /// Orders several publications of one channel, with none of anyone else's between them: all of them, or, refused, none.
    pub fn publish_together(
        &self,
        name: &ChannelName,
        drafts: Vec<(Draft, Option<IdempotencyKey>)>,
    ) -> Result<Vec<Position>, PublishFault> {
        let shard = self.shard(name);
        let mut directory = shard.lock();
        // What refuses one refuses the first: a channel that has room for one publication is one that exists.
        let positions = drafts.into_iter().map(|(draft, key)| self.order(&mut directory, name, draft, key)).collect();
        shard.release(directory);
        self.shed();
        positions
    }

    /// Gives a publication its position and announces it, while the log is locked.
    fn order(
        &self,
        directory: &mut Directory,
        name: &ChannelName,
        draft: Draft,
        key: Option<IdempotencyKey>,
    ) -> Result<Position, PublishFault> {
        let published = directory.publish(name, draft, key, self.clock.now_ms())?;
        if let Some((publication, watchers)) = published.announce {
            let mut left = watchers;
            while left != 0 {
                let worker = left.trailing_zeros() as usize;
                left &= left - 1;
                self.inboxes[worker].push(Announcement { channel: name.clone(), publication: Arc::clone(&publication) });
            }
        }
        Ok(published.position)
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
}

impl History for EngineHandle<'_> {
    fn page(&self, channel: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
        self.engine.shard(channel).lock().page(channel, after, through, limits)
    }

    fn unwatch(&self, channel: &ChannelName) {
        self.engine.shard(channel).lock().unwatch(channel, self.worker, self.engine.clock.now_ms());
    }
}

/// The limits of one shard.
fn share(limits: DirectoryLimits) -> DirectoryLimits {
    let share = |max: usize| max.div_ceil(SHARDS);
    DirectoryLimits { channels_max: share(limits.channels_max), forgotten_max: share(limits.forgotten_max), ..limits }
}

/// Channels are spread over so many locks.
const SHARDS: usize = 16;
