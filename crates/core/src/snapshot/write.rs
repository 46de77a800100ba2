//! Writes a snapshot, record by record, to wherever it goes.

use std::io::{self, Write};

use super::{PublicationRecord, Record, SNAPSHOT_MAGIC, Seal, ServerState, Totals};
use crate::log::Log;
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Publication;

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
            self.publication(publication)?;
        }
        for (at_ms, key, offset) in log.window().entries() {
            self.totals.keys += 1;
            self.put(&Record::Key { publisher: &key.publisher, key: &key.key, offset, at_ms })?;
        }
        Ok(())
    }

    /// Ends the snapshot, and gives what it was written to back.
    pub fn finish(mut self) -> io::Result<(W, Totals)> {
        let totals = self.totals;
        self.put(&Record::End(totals))?;
        Ok((self.out, totals))
    }

    fn publication(&mut self, publication: &Publication) -> io::Result<()> {
        let draft = &publication.draft;
        self.totals.publications += 1;
        self.totals.payload_bytes += draft.data.len() as u64;
        self.put(&Record::Publication(PublicationRecord {
            time_ms: publication.time_ms,
            data: &draft.data,
            content_type: draft.content_type.as_str(),
            key: draft.key.as_deref(),
            headers: draft.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
        }))
    }

    fn put(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.record = postcard::to_extend(record, std::mem::take(&mut self.record)).map_err(io::Error::other)?;
        self.frame.clear();
        self.seal.frame(&self.record, &mut self.frame);
        self.record.clear();
        self.out.write_all(&self.frame)
    }
}
