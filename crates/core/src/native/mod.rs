//! The native protocol: one JSON object a line (TCP), frame (WebSocket) or datagram part (UDP), and a line of `POST /publish`.
//!
//! Bytes become a [`Command`] here or a [`NativeFault`]; what the server says back is written by the `write_` functions.

mod datagram;
mod draft;
mod encode;
mod fault;
mod members;

pub(crate) use datagram::decode_datagram_line;
pub use encode::{
    write_agreed, write_done, write_error, write_fault, write_ping, write_pong, write_published, write_subscribed, write_too_fast,
};
pub use fault::{NativeFault, NativeFaultKind};

use crate::json::{check_depth, check_readable};
use crate::name::ChannelName;
use crate::position::Cursor;
use crate::publication::Draft;
use crate::start::Start;
use members::{Field, Members};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Follow a channel.
    Subscribe {
        /// The channel to follow.
        channel: ChannelName,
        /// Where to start.
        start: Start,
        /// What the answer repeats.
        id: Option<Id>,
    },
    /// Publish in a channel.
    Publish {
        /// The channel to publish in.
        channel: ChannelName,
        /// What to publish.
        draft: Draft,
        /// Under which repetitions are known.
        idempotency_key: Option<Box<str>>,
        /// What the answer repeats.
        id: Option<Id>,
    },
    /// Follow a channel no longer.
    Unsubscribe {
        /// The channel that is followed.
        channel: ChannelName,
        /// What the answer repeats.
        id: Option<Id>,
    },
    /// Answer with the same value.
    Ping(PingValue),
    /// Answer with the same value, and from now on ask whether the client is there when it was silent for so long.
    Heartbeat {
        /// What the answer repeats.
        ping: PingValue,
        /// How long the client may be silent, in milliseconds; 0 to be asked no more.
        every_ms: u64,
    },
    /// The answer to a ping of the server's. Any other command shows as well that the client is there.
    Pong,
}

/// A publish on its own, as a line of `POST /publish` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The channel to publish in.
    pub channel: ChannelName,
    /// What to publish.
    pub draft: Draft,
    /// Under which repetitions are known.
    pub idempotency_key: Option<Box<str>>,
    /// What the answer repeats.
    pub id: Option<Id>,
}

/// A client's own mark on a command: the JSON text of a string or number, repeated in the answer as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(Box<str>);

/// The JSON text of what a ping carries, repeated in the pong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingValue(Box<str>);

/// The longest id or ping, in bytes of JSON text.
pub const ECHO_BYTES_MAX: usize = 256;

/// The longest silence after which a client may ask to be asked whether it is there: a day.
pub const PING_EVERY_MS_MAX: u64 = 86_400_000;

/// The bounds on a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeLimits {
    /// How deep its arrays and objects may lie within each other.
    pub depth_max: usize,
    /// The largest payload, in bytes as published.
    pub payload_bytes_max: usize,
    /// The longest key and idempotency key, in bytes.
    pub key_bytes_max: usize,
    /// How many headers a publication may have.
    pub headers_max: usize,
    /// How many bytes all its headers' names and values may have together.
    pub header_bytes_max: usize,
}

impl Default for NativeLimits {
    fn default() -> Self {
        Self { depth_max: 64, payload_bytes_max: 1 << 20, key_bytes_max: 255, headers_max: 32, header_bytes_max: 8 << 10 }
    }
}

/// Reads one command. Members that are `null` count as not given, but for `data`, where `null` is a payload, and `ping`.
pub fn decode(bytes: &[u8], limits: &NativeLimits) -> Result<Command, NativeFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| NativeFaultKind::NotJson { reason: "not UTF-8".to_owned() })?;
    check_depth(bytes, limits.depth_max).map_err(NativeFaultKind::from)?;
    let mut members = Members::default();
    members.read(text)?;
    let mut id = members.get(Field::Id).map(|raw| Id::parse(raw.get())).transpose()?;
    members.command(limits, &mut id).map_err(|kind| NativeFault { id, kind })
}

/// Reads a line that can only be a publish.
pub fn decode_publish(bytes: &[u8], limits: &NativeLimits) -> Result<Publish, NativeFault> {
    match decode(bytes, limits)? {
        Command::Publish { channel, draft, idempotency_key, id } => Ok(Publish { channel, draft, idempotency_key, id }),
        Command::Subscribe { id, .. } | Command::Unsubscribe { id, .. } => Err(NativeFault { id, kind: NativeFaultKind::NotAPublish }),
        Command::Ping(_) | Command::Heartbeat { .. } | Command::Pong => Err(NativeFaultKind::NotAPublish.into()),
    }
}

impl Id {
    /// Reads the JSON text of a string or number.
    pub fn parse(json: &str) -> Result<Self, NativeFaultKind> {
        let string_or_number = json.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
        let echoable = json.len() <= ECHO_BYTES_MAX && string_or_number && check_readable(json).is_ok();
        echoable.then(|| Self(json.into())).ok_or(NativeFaultKind::InvalidId)
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl PingValue {
    fn parse(json: &str) -> Result<Self, NativeFaultKind> {
        if json.len() > ECHO_BYTES_MAX {
            return Err(NativeFaultKind::PingTooLong { len: json.len() });
        }
        Ok(Self(json.into()))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Members<'_> {
    fn command(&self, limits: &NativeLimits, id: &mut Option<Id>) -> Result<Command, NativeFaultKind> {
        let command = self.only_command()?;
        self.check_fields(command)?;
        match command {
            Field::Subscribe => Ok(Command::Subscribe { channel: self.channel(command)?, start: self.start()?, id: id.take() }),
            Field::Publish => Ok(Command::Publish {
                channel: self.channel(command)?,
                draft: self.draft(limits)?,
                idempotency_key: self.idempotency_key(limits)?,
                id: id.take(),
            }),
            Field::Unsubscribe => Ok(Command::Unsubscribe { channel: self.channel(command)?, id: id.take() }),
            Field::Pong => Ok(Command::Pong),
            _ => self.ping(),
        }
    }

    fn ping(&self) -> Result<Command, NativeFaultKind> {
        let ping = PingValue::parse(self.raw(Field::Ping).map_or("null", |raw| raw.get()))?;
        let Some(every_ms) = self.get(Field::EveryMs) else { return Ok(Command::Ping(ping)) };
        let every_ms = every_ms.get().parse().ok().filter(|&every_ms| every_ms <= PING_EVERY_MS_MAX);
        every_ms.map(|every_ms| Command::Heartbeat { ping, every_ms }).ok_or(NativeFaultKind::InvalidPingEvery)
    }

    fn channel(&self, command: Field) -> Result<ChannelName, NativeFaultKind> {
        let text = self.text(command, || NativeFaultKind::ChannelNotText)?.ok_or(NativeFaultKind::ChannelNotText)?;
        Ok(ChannelName::parse(&text)?)
    }

    fn start(&self) -> Result<Start, NativeFaultKind> {
        let after = self.text(Field::After, || NativeFaultKind::InvalidCursor)?;
        let earliest = self.flag(Field::Earliest, || NativeFaultKind::InvalidStart { field: "earliest" })?;
        let live = self.flag(Field::Live, || NativeFaultKind::InvalidStart { field: "live" })?;
        let last = self.get(Field::Last).map(|raw| raw.get().parse::<u64>()).transpose();
        let last = last.map_err(|_| NativeFaultKind::InvalidStart { field: "last" })?;
        match (after, earliest, last, live) {
            (None, false, None, _) => Ok(Start::Live),
            (Some(after), false, None, false) => Ok(Start::After(Cursor::parse(&after).map_err(|_| NativeFaultKind::InvalidCursor)?)),
            (None, true, None, false) => Ok(Start::Earliest),
            (None, false, Some(last), false) => Ok(Start::Last(last)),
            _ => Err(NativeFaultKind::TwoStarts),
        }
    }
}

#[cfg(test)]
mod tests;
