//! A subscription's window: which of its messages wait for an ACK, and whether another may be sent.

use std::collections::VecDeque;

use super::destination::Destination;
use super::fault::{StompFault, quote};
use super::frame::Frame;
use super::message::GAP_SUFFIX;
use super::session::SubscriptionNumber;
use super::{StompLimits, Version};
use crate::name::ChannelName;
use crate::position::{Cursor, Position};
use crate::start::Start;

/// What SUBSCRIBE asks for.
#[derive(Debug)]
pub(super) struct SubscribeRequest {
    pub(super) key: SubscriptionKey,
    pub(super) destination: Destination,
    pub(super) ack_mode: AckMode,
    pub(super) prefetch: usize,
    pub(super) start: Start,
}

/// By what a client names a subscription: its id, or, in 1.0 without one, its destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SubscriptionKey {
    Id(Box<str>),
    Destination(Box<str>),
}

/// How a client answers for its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckMode {
    Auto,
    Client,
    ClientIndividual,
}

/// An open subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) number: SubscriptionNumber,
    pub(super) channel: ChannelName,
    ack_mode: AckMode,
    prefetch: usize,
    /// What was sent and not answered for, in the order sent; at most `prefetch`.
    in_flight: VecDeque<MessageId>,
}

/// What a message is answered for by: the position, and whether it told a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageId {
    pub(super) position: Position,
    pub(super) is_gap: bool,
}

impl SubscribeRequest {
    pub(super) fn read(frame: &Frame, version: Version, limits: &StompLimits) -> Result<Self, StompFault> {
        let destination = frame.require("destination")?;
        let prefetch = frame.get("prefetch-count").map(|text| read_prefetch(text, limits.prefetch_max)).transpose()?;
        Ok(Self {
            key: SubscriptionKey::read(frame, version, limits)?,
            destination: Destination::parse(destination)?,
            ack_mode: AckMode::read(frame.get("ack"), version)?,
            prefetch: prefetch.unwrap_or(limits.prefetch_default),
            start: read_start(frame)?,
        })
    }
}

impl SubscriptionKey {
    /// Reads the `id` of SUBSCRIBE or UNSUBSCRIBE; 1.0 can do without.
    pub(super) fn read(frame: &Frame, version: Version, limits: &StompLimits) -> Result<Self, StompFault> {
        if version == Version::V1_0 && frame.get("id").is_none() {
            return Ok(Self::Destination(frame.require("destination")?.into()));
        }
        Ok(Self::Id(frame.require_id("id", limits)?.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Id(text) | Self::Destination(text) => text,
        }
    }

    pub(super) fn id(&self) -> Option<Box<str>> {
        match self {
            Self::Id(id) => Some(id.clone()),
            Self::Destination(_) => None,
        }
    }
}

impl AckMode {
    fn read(text: Option<&str>, version: Version) -> Result<Self, StompFault> {
        match text {
            None | Some("auto") => Ok(Self::Auto),
            Some("client") => Ok(Self::Client),
            Some("client-individual") if version > Version::V1_0 => Ok(Self::ClientIndividual),
            Some(_) => Err(StompFault::InvalidAckMode),
        }
    }
}

impl Subscription {
    pub(super) fn new(number: SubscriptionNumber, request: &SubscribeRequest) -> Self {
        let SubscribeRequest { destination, ack_mode, prefetch, .. } = request;
        let channel = destination.channel.clone();
        Self { number, channel, ack_mode: *ack_mode, prefetch: *prefetch, in_flight: VecDeque::new() }
    }

    /// How many messages may be in flight, where the client answers for them.
    pub(super) fn in_flight_max(&self) -> usize {
        if self.ack_mode == AckMode::Auto { 0 } else { self.prefetch }
    }

    /// How many more messages may be sent now.
    pub(super) fn window(&self) -> usize {
        match self.ack_mode {
            AckMode::Auto => usize::MAX,
            _ => self.prefetch.saturating_sub(self.in_flight.len()),
        }
    }

    /// Notes that a message was sent.
    pub(super) fn sent(&mut self, id: MessageId) {
        if self.ack_mode != AckMode::Auto {
            self.in_flight.push_back(id);
        }
    }

    pub(super) fn is_in_flight(&self, id: MessageId) -> bool {
        self.in_flight.contains(&id)
    }

    /// Takes an answer: how many messages it was for, and whether the window was shut until now.
    pub(super) fn answer(&mut self, id: MessageId) -> (usize, bool) {
        let Some(at) = self.in_flight.iter().position(|known| *known == id) else { return (0, false) };
        let was_shut = self.window() == 0;
        match self.ack_mode {
            AckMode::ClientIndividual => {
                self.in_flight.remove(at);
                (1, was_shut)
            }
            _ => (self.in_flight.drain(..=at).count(), was_shut),
        }
    }
}

impl MessageId {
    /// Reads a `message-id` as [`super::MessageForm`] wrote it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (cursor, is_gap) = text.strip_suffix(GAP_SUFFIX).map_or((text, false), |cursor| (cursor, true));
        let position = Cursor::parse(cursor).ok()?.position()?;
        Some(Self { position, is_gap })
    }
}

fn read_prefetch(text: &str, max: usize) -> Result<usize, StompFault> {
    text.parse().ok().filter(|count| (1..=max).contains(count)).ok_or(StompFault::InvalidPrefetch { max })
}

fn read_start(frame: &Frame) -> Result<Start, StompFault> {
    match (frame.get("after"), frame.get("earliest"), frame.get("last")) {
        (None, None | Some("false"), None) => Ok(Start::Live),
        (Some(after), None, None) => Cursor::parse(after).map(Start::After).map_err(|_| StompFault::InvalidCursor),
        (None, Some("true"), None) => Ok(Start::Earliest),
        (None, None, Some(last)) => last.parse().map(Start::Last).map_err(|_| StompFault::InvalidStart),
        _ => Err(StompFault::InvalidStart),
    }
}

impl Frame {
    /// A header that the frame cannot do without.
    pub(super) fn require(&self, name: &'static str) -> Result<&str, StompFault> {
        self.get(name).ok_or(StompFault::MissingHeader { command: self.command.as_str(), name })
    }

    /// A header that the frame cannot do without, and that is kept.
    pub(super) fn require_id(&self, name: &'static str, limits: &StompLimits) -> Result<&str, StompFault> {
        let id = self.require(name)?;
        if id.len() > limits.id_bytes_max {
            return Err(StompFault::IdTooLong { name, max: limits.id_bytes_max });
        }
        Ok(id)
    }
}

/// The fault of answering for what is not in flight.
pub(super) fn not_in_flight(text: &str) -> StompFault {
    StompFault::NotInFlight { id: quote(text.as_bytes()) }
}
