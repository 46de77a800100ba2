//! Reads a snapshot as it comes, and believes nothing of it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::{COUNT_MAX, ChannelState, DeadRecord, FRAME_BYTES_MAX, Item, PublicationRecord, Record, SNAPSHOT_MAGIC, Seal, ServerState};
use super::{SnapshotFault, Totals};
use crate::directory::LIFE_COUNTERS;
use crate::idempotency::{IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey};
use crate::json::{JSON_DEPTH_MAX, check_json};
use crate::log::Log;
use crate::name::ChannelName;
use crate::position::{Epoch, Position};
use crate::publication::{ContentType, Draft, MEDIA_TYPE_BYTES_MAX};
use crate::queue::{DeadLetter, DeadReason, Held, Message, QueueName, QueueState};

/// Reads a snapshot: fed with bytes, gives what they hold. Only after `finish` is it known to be whole.
#[derive(Debug, Default)]
pub struct Reader {
    seal: Seal,
    place: Place,
    shards_left: u32,
    /// The channel whose publications and keys are being read.
    channel: Option<Box<ChannelState>>,
    /// The queue whose messages are being read.
    queue: Option<Box<QueueState>>,
    ready: VecDeque<Item>,
    seen: Totals,
}

/// What was read last, which decides what may come next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Nothing,
    Magic,
    Server,
    Shard,
    Channel,
    Key,
    Queue,
    End,
}

impl Reader {
    /// A reader at the very beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next item, and takes its bytes from the input; none when more bytes are needed.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Item>, SnapshotFault> {
        if self.place == Place::Nothing && !self.read_magic(input)? {
            return Ok(None);
        }
        while self.ready.is_empty() {
            let Some(frame) = self.next_frame(input)? else { return Ok(None) };
            let (record, rest) = postcard::take_from_bytes(&frame).map_err(|_| SnapshotFault::Record)?;
            check(rest.is_empty(), "bytes behind a record")?;
            self.accept(record)?;
        }
        Ok(self.ready.pop_front())
    }

    /// What the snapshot held, once all of its bytes were read.
    pub fn finish(&self, rest: &[u8]) -> Result<Totals, SnapshotFault> {
        match self.place {
            Place::End if rest.is_empty() => Ok(self.seen),
            Place::End => Err(SnapshotFault::TooLong),
            _ => Err(SnapshotFault::CutShort),
        }
    }

    fn read_magic(&mut self, input: &mut BytesMut) -> Result<bool, SnapshotFault> {
        let there = input.len().min(SNAPSHOT_MAGIC.len());
        if input[..there] != SNAPSHOT_MAGIC[..there] {
            return Err(SnapshotFault::Foreign);
        }
        if there < SNAPSHOT_MAGIC.len() {
            return Ok(false);
        }
        input.advance(there);
        self.place = Place::Magic;
        Ok(true)
    }

    fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, SnapshotFault> {
        if self.place == Place::End {
            return if input.is_empty() { Ok(None) } else { Err(SnapshotFault::TooLong) };
        }
        let Some(mut head) = input.get(..FRAME_HEAD_BYTES) else { return Ok(None) };
        let (len, sum) = (head.get_u32_le() as usize, head.get_u64_le());
        if len > FRAME_BYTES_MAX {
            return Err(SnapshotFault::FrameTooLarge { len });
        }
        if input.len() < FRAME_HEAD_BYTES + len {
            return Ok(None);
        }
        input.advance(FRAME_HEAD_BYTES);
        let frame = input.split_to(len);
        if self.seal.over(&frame) == sum { Ok(Some(frame)) } else { Err(SnapshotFault::Checksum) }
    }

    fn accept(&mut self, record: Record<'_>) -> Result<(), SnapshotFault> {
        match (record, self.place) {
            (Record::Server { secret, shards, taken_ms }, Place::Magic) => {
                check((1..=SHARDS_MAX).contains(&shards), "the number of shards")?;
                (self.place, self.shards_left) = (Place::Server, shards);
                self.ready.push_back(Item::Server(ServerState { secret, shards, taken_ms }));
            }
            (Record::Shard { lives }, Place::Server | Place::Shard | Place::Channel | Place::Key) => {
                check(lives.iter().all(|&(counter, _)| usize::from(counter) < LIFE_COUNTERS), "a counter")?;
                self.shards_left = self.shards_left.checked_sub(1).ok_or(misplaced("one shard too many"))?;
                self.end_channel();
                self.place = Place::Shard;
                self.ready.push_back(Item::Shard(lives));
            }
            (Record::Dormant { name, epoch, head }, Place::Shard) => {
                check(head <= COUNT_MAX, "an offset")?;
                self.seen.dormant += 1;
                self.ready.push_back(Item::Dormant(ChannelName::parse(name)?, Position::new(Epoch::from_bits(epoch), head)));
            }
            (Record::Channel { name, epoch, floor, floor_bytes, newest_ms, used_ms }, Place::Shard | Place::Channel | Place::Key) => {
                check(floor <= COUNT_MAX && floor_bytes <= COUNT_MAX, "an offset")?;
                self.end_channel();
                self.place = Place::Channel;
                self.seen.channels += 1;
                let log = Log::resumed(Position::new(Epoch::from_bits(epoch), floor), floor_bytes, newest_ms);
                self.channel = Some(Box::new(ChannelState { name: ChannelName::parse(name)?, log, used_ms }));
            }
            (Record::Publication(record), Place::Channel) => self.publication(&record)?,
            (Record::Key { publisher, key, offset, at_ms }, Place::Channel | Place::Key) => {
                self.place = Place::Key;
                check((1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()), "a key's length")?;
                let log = self.log()?;
                check((1..=log.head().offset).contains(&offset), "a key's offset")?;
                let key = IdempotencyKey { publisher: publisher.into(), key: key.into() };
                check(log.window_mut().put_back(key, offset, at_ms), "a key that is there twice")?;
                self.seen.keys += 1;
            }
            (Record::Queue { name }, Place::Shard | Place::Channel | Place::Key | Place::Queue) => {
                check(self.shards_left == 0, "a queue before the last shard")?;
                self.end_channel();
                self.place = Place::Queue;
                self.seen.queues += 1;
                self.queue = Some(Box::new(QueueState { name: QueueName::parse(name)?, messages: Vec::new() }));
            }
            (Record::Message { number, deliveries, failures, dead, publication }, Place::Queue) => {
                let message = self.message(number, dead, &publication)?;
                let queue = self.queue.as_mut().ok_or(misplaced("no queue has begun"))?;
                let in_order = queue.messages.last().is_none_or(|last| last.message.number < number);
                check(in_order && number <= COUNT_MAX, "the order of messages")?;
                queue.messages.push(Held { message: Arc::new(message), deliveries, failures });
            }
            (Record::End(totals), Place::Shard | Place::Channel | Place::Key | Place::Queue) => {
                check(self.shards_left == 0 && totals == self.seen, "the sum at the end")?;
                self.end_channel();
                self.place = Place::End;
            }
            (_, Place::Nothing | Place::Magic) => return Err(misplaced("the server comes first")),
            _ => return Err(misplaced("it does not belong there")),
        }
        Ok(())
    }

    fn publication(&mut self, record: &PublicationRecord<'_>) -> Result<(), SnapshotFault> {
        self.seen.publications += 1;
        self.seen.payload_bytes += record.data.len() as u64;
        let draft = draft_of(record)?;
        let log = self.log()?;
        check(log.newest_retained_ms() <= record.time_ms && record.time_ms <= log.newest_ms(), "the order of times")?;
        log.put_back(record.time_ms, draft);
        Ok(())
    }

    fn message(&mut self, number: u64, dead: Option<DeadRecord<'_>>, record: &PublicationRecord<'_>) -> Result<Message, SnapshotFault> {
        self.seen.messages += 1;
        self.seen.message_bytes += record.data.len() as u64;
        let letter_of = |DeadRecord { queue, reason, tries, time_ms }| {
            let reason = DeadReason::parse(reason).ok_or(SnapshotFault::Value { what: "why a message died" })?;
            Ok::<_, SnapshotFault>(Box::new(DeadLetter { queue: QueueName::parse(queue)?, reason, tries, time_ms }))
        };
        Ok(Message { number, time_ms: record.time_ms, draft: draft_of(record)?, dead: dead.map(letter_of).transpose()? })
    }

    fn log(&mut self) -> Result<&mut Log, SnapshotFault> {
        self.channel.as_mut().map(|channel| &mut channel.log).ok_or(misplaced("no channel has begun"))
    }

    /// What was being read is whole.
    fn end_channel(&mut self) {
        self.ready.extend(self.channel.take().map(Item::Channel));
        self.ready.extend(self.queue.take().map(Item::Queue));
    }
}

/// The draft in memory of its own: what was read is not kept for it.
fn draft_of(record: &PublicationRecord<'_>) -> Result<Draft, SnapshotFault> {
    let content_type = ContentType::parse(record.content_type);
    let plain = record.content_type.len() <= MEDIA_TYPE_BYTES_MAX && !record.content_type.contains(char::is_control);
    check(plain && !record.content_type.is_empty(), "a content type")?;
    if content_type == ContentType::Json {
        check(check_json(record.data, JSON_DEPTH_MAX).is_ok(), "JSON that is none")?;
    }
    Ok(Draft {
        data: Bytes::copy_from_slice(record.data),
        content_type,
        key: record.key.map(Into::into),
        headers: record.headers.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
    })
}

fn check(holds: bool, what: &'static str) -> Result<(), SnapshotFault> {
    if holds { Ok(()) } else { Err(SnapshotFault::Value { what }) }
}

const fn misplaced(what: &'static str) -> SnapshotFault {
    SnapshotFault::Misplaced { what }
}

const FRAME_HEAD_BYTES: usize = 12;
const SHARDS_MAX: u32 = 4096;
