//! The engine's channels and queues, written down at the end and taken up again at the start.

use std::io::{self, Write};

use bongsu_core::ChannelName;
use bongsu_core::directory::{DirectoryLimits, Rules};
use bongsu_core::snapshot::{ChannelState, Item, ServerState, SnapshotFault, Totals, Writer};

use super::{Engine, SHARDS, share};

/// Takes up the items of a snapshot, in their order.
pub struct Restoring<'a> {
    engine: &'a Engine,
    /// The shards of the snapshot that are still to come.
    shards: std::vec::IntoIter<Option<usize>>,
}

impl Engine {
    /// Refuses every publication and every change of a queue from now on. When it returns, whatever was given a position is in its log.
    pub fn close(&self) {
        self.shards.iter().for_each(|shard| shard.lock().close());
        self.queues.close();
    }

    /// Writes all channels and queues down. Close the engine before, so that nothing comes after.
    pub fn save<W: Write>(&self, out: W) -> io::Result<(W, Totals)> {
        let server = ServerState { secret: self.secret, shards: SHARDS as u32, taken_ms: self.clock.now_ms() };
        let mut writer = Writer::new(out, server)?;
        for shard in &self.shards {
            shard.lock().save(&mut writer)?;
        }
        self.queues.save(&mut writer)?;
        writer.finish()
    }

    /// Begins to take up a snapshot. The engine has the snapshot's secret and no channels.
    pub fn restoring(&self, server: ServerState) -> Restoring<'_> {
        // The same secret spreads the same names over as many shards in the same way, so each finds its own counters again. Where
        // there were more or fewer, every shard takes the counts of all.
        let same = server.shards as usize == SHARDS;
        let shards: Vec<_> = (0..server.shards as usize).map(|index| same.then_some(index)).collect();
        Restoring { engine: self, shards: shards.into_iter() }
    }

    /// Goes on under other limits and rules.
    pub fn reconfigure(&self, limits: DirectoryLimits, total_bytes_max: usize, rules: &Rules) {
        self.total_bytes_max.store(total_bytes_max, std::sync::atomic::Ordering::Relaxed);
        for shard in &self.shards {
            let mut directory = shard.lock();
            directory.reconfigure(share(limits), Rules::clone(rules));
            shard.release(directory);
        }
        self.shed_all();
    }

    /// Lets go of what is more or older than the limits allow, until all of it is within them.
    pub fn shed_all(&self) {
        self.sweep();
        // Each round halves what the fullest channel holds, at least, so this ends soon.
        for _ in 0..SHED_ROUNDS_MAX {
            if self.held_bytes() <= self.total_bytes_max() {
                return;
            }
            self.shed();
        }
    }
}

impl Restoring<'_> {
    /// Takes one item up.
    pub fn take(&mut self, item: Item) -> Result<(), SnapshotFault> {
        match item {
            Item::Server(_) => Ok(()),
            Item::Shard(lives) => {
                match self.shards.next().flatten() {
                    Some(index) => self.engine.shards[index].lock().restore_lives(&lives),
                    None => self.engine.shards.iter().for_each(|shard| shard.lock().restore_lives(&lives)),
                }
                Ok(())
            }
            Item::Dormant(name, head) => self.engine.shard(&name).lock().restore_dormant(&name, head),
            Item::Channel(state) => self.take_channel(*state),
            Item::Queue(state) => self.engine.queues.restore(*state),
        }
    }

    fn take_channel(&self, state: ChannelState) -> Result<(), SnapshotFault> {
        let shard = self.engine.shard(state.name());
        let mut directory = shard.lock();
        let taken = directory.restore_channel(state);
        shard.release(directory);
        // The bound on all of history holds while it is read, too.
        self.engine.shed();
        taken
    }
}

/// Which of so many shards a channel is in. What changes this must change the form of the snapshot, too.
pub(super) fn shard_of(secret: &[u8; 16], name: &ChannelName) -> usize {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new_with_key(secret);
    hasher.write(name.as_str().as_bytes());
    hasher.finish() as usize % SHARDS
}

const SHED_ROUNDS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bongsu_core::limits::{ChannelLimits, PageLimits};
    use bongsu_core::position::Cursor;
    use bongsu_core::snapshot::Reader;
    use bongsu_core::{Draft, Start};
    use bytes::BytesMut;

    use super::*;
    use crate::clock::Clock;

    const LIMITS: DirectoryLimits = DirectoryLimits { channels_max: 1_600, unused_after_ms: 60_000, forgotten_max: 160 };

    fn engine(secret: [u8; 16], total_bytes_max: usize) -> Engine {
        Engine::new(secret, LIMITS, total_bytes_max, Arc::new(|_| ChannelLimits::default()), 1, Clock::start())
    }

    fn name(number: usize) -> ChannelName {
        ChannelName::parse(&format!("a/{number}")).expect("a name")
    }

    /// An engine that has the snapshot, as if it had been written over so many shards.
    fn restored(bytes: &[u8], shards: u32, total_bytes_max: usize) -> Engine {
        let (mut reader, mut input) = (Reader::new(), BytesMut::from(bytes));
        let Ok(Some(Item::Server(server))) = reader.read(&mut input) else { panic!("the server comes first") };
        let engine = engine(server.secret, total_bytes_max);
        let mut restoring = engine.restoring(ServerState { shards, ..server });
        while let Some(item) = reader.read(&mut input).expect("whole") {
            restoring.take(item).expect("sound");
        }
        reader.finish(&input).expect("whole");
        engine
    }

    #[test]
    fn every_channel_finds_its_shard_again_however_many_there_were() {
        let before = engine([9; 16], usize::MAX);
        let heads: Vec<_> = (0..300).map(|n| before.publish(&name(n), Draft::text("x"), None).expect("room")).collect();
        before.close();
        let (bytes, totals) = before.save(Vec::new()).expect("memory takes it");
        assert_eq!((totals.channels, totals.publications), (300, 300));
        for shards in [SHARDS as u32, 3] {
            let after = restored(&bytes, shards, usize::MAX);
            assert_eq!((after.channels(), after.held_bytes()), (300, before.held_bytes()));
            for (number, head) in heads.iter().enumerate() {
                assert_eq!(after.locate(&name(number), &Start::After(Cursor::from(*head))).gap, None);
                let next = after.publish(&name(number), Draft::text("y"), None).expect("room");
                assert_eq!((next.epoch, next.offset), (head.epoch, 2));
            }
        }
    }

    #[test]
    fn the_bound_on_all_of_history_holds_while_it_is_read() {
        let before = engine([9; 16], usize::MAX);
        for number in 0..200 {
            before.publish(&name(number % 20), Draft::text("x".repeat(1000)), None).expect("room");
        }
        let (bytes, _) = before.save(Vec::new()).expect("memory takes it");
        let after = restored(&bytes, SHARDS as u32, 50_000);
        after.shed_all();
        assert!(after.held_bytes() <= 50_000 && after.held_bytes() > 10_000, "{}", after.held_bytes());
        let all = PageLimits { publications_max: usize::MAX, bytes_max: usize::MAX };
        assert!((0..20).all(|number| after.read(&name(number), &Start::Live, all).1.head.offset == 10));
    }
}
