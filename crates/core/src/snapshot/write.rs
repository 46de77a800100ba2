//! Writes a snapshot, record by record, to wherever it goes.

use std::io::{self, Write};

use super::{DeadRecord, PublicationRecord, Record, SNAPSHOT_MAGIC, Seal, ServerState, Totals};
use crate::log::Log;
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Draft;
use crate::queue::{DeadLetter, Held, QueueName};

/// Writes a snapshot. Without `finish` it is none.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    seal: Seal,
    totals: Totals,
    record: Vec<u8>,
    frame: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a snapshot.
    pub fn new(mut out: W, server: ServerState) -> io::Result<Self> {
        out.write_all(SNAPSHOT_MAGIC)?;
        let mut writer = Self { out, seal: Seal::default(), totals: Totals::default(), record: Vec::new(), frame: Vec::new() };
        let ServerState { secret, shards, taken_ms } = server;
        writer.put(&Record::Server { secret, shards, taken_ms })?;
        Ok(writer)
    }

    /// A shard begins.
    pub(crate) fn shard(&mut self, lives: &[u32]) -> io::Result<()> {
        let lives = (0..).zip(lives.iter().copied()).filter(|&(_, life)| life > 0).collect();
        self.put(&Record::Shard { lives })
    }

    /// A channel of which only epoch and head are remembered.
    pub(crate) fn dormant(&mut self, name: &ChannelName, head: Position) -> io::Result<()> {
        self.totals.dormant += 1;
        self.put(&Record::Dormant { name: name.as_str(), epoch: head.epoch.bits(), head: head.offset })
    }

    /// A channel with its publications and keys.
    pub(crate) fn channel(&mut self, name: &ChannelName, log: &Log, used_ms: u64) -> io::Result<()> {
        let floor = log.floor();
        self.totals.channels += 1;
        self.put(&Record::Channel {
            name: name.as_str(),
            epoch: floor.epoch.bits(),
            floor: floor.offset,
            floor_bytes: log.floor_bytes(),
            newest_ms: log.newest_ms(),
            used_ms,
        })?;
        for publication in log.publications() {
            self.totals.publications += 1;
            self.totals.payload_bytes += publication.draft.data.len() as u64;
            self.put(&Record::Publication(record_of(publication.time_ms, &publication.draft)))?;
        }
        for (at_ms, key, offset) in log.window().entries() {
            self.totals.keys += 1;
            self.put(&Record::Key { publisher: &key.publisher, key: &key.key, offset, at_ms })?;
        }
        Ok(())
    }

    /// A queue with its messages, in order. Queues come after all shards.
    pub(crate) fn queue<'a>(&mut self, name: &QueueName, messages: impl Iterator<Item = &'a Held>) -> io::Result<()> {
        self.totals.queues += 1;
        self.put(&Record::Queue { name: name.as_str() })?;
        for Held { message, deliveries, failures } in messages {
            self.totals.messages += 1;
            self.totals.message_bytes += message.draft.data.len() as u64;
            let dead = message.dead.as_deref().map(|DeadLetter { queue, reason, tries, time_ms }| DeadRecord {
                queue: queue.as_str(),
                reason: reason.as_str(),
                tries: *tries,
                time_ms: *time_ms,
            });
            let publication = record_of(message.time_ms, &message.draft);
            let (number, deliveries, failures) = (message.number, *deliveries, *failures);
            self.put(&Record::Message { number, deliveries, failures, dead, publication })?;
        }
        Ok(())
    }

    /// Ends the snapshot, and gives what it was written to back.
    pub fn finish(mut self) -> io::Result<(W, Totals)> {
        let totals = self.totals;
        self.put(&Record::End(totals))?;
        Ok((self.out, totals))
    }

    fn put(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.record = postcard::to_extend(record, std::mem::take(&mut self.record)).map_err(io::Error::other)?;
        self.frame.clear();
        self.seal.frame(&self.record, &mut self.frame);
        self.record.clear();
        self.out.write_all(&self.frame)
    }
}

fn record_of(time_ms: u64, draft: &Draft) -> PublicationRecord<'_> {
    PublicationRecord {
        time_ms,
        data: &draft.data,
        content_type: draft.content_type.as_str(),
        key: draft.key.as_deref(),
        headers: draft.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
    }
}
