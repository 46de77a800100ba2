//! One connection: its link, and what it is about at the moment. The hub keeps it as the sink of its subscriber.

use std::task::Waker;

use bongsu_core::disconnect::Disconnect;
use bongsu_core::hub::{ChannelKey, Sink, Slot, Written};
use bongsu_core::{ChannelName, Position};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::task::AbortHandle;

use crate::admission::Visitor;
use crate::deadlines::Alarm;
use crate::http::{Body, Request};
use crate::link::Link;
use crate::metrics::{CloseReason, TransportKind};
use crate::transport::answer::Exchange;
use crate::transport::http::Plan;
use crate::transport::stomp::StompPhase;
use crate::transport::stream::Streaming;
use crate::transport::tcp::Lines;
use crate::transport::udp::Leased;
use crate::transport::websocket::WebSocketPhase;
use crate::worker::held::Pending;

/// A connection that a worker owns.
pub struct Connection {
    pub(crate) link: Link,
    /// Which of the connections that had its key: what was meant for an earlier one is dropped.
    pub(crate) generation: u32,
    pub(crate) kind: TransportKind,
    /// Who is at the other end.
    pub(crate) visitor: Visitor,
    /// Bytes of input that it held when it was last read from.
    pub(crate) held_bytes: u32,
    pub(crate) phase: Phase,
    /// Bytes that were read and could not be used yet.
    pub(crate) unread: BytesMut,
    /// When something is to happen if nothing else does.
    pub(crate) alarm: Alarm,
    /// Whether a part of a request's head is there, and the time for the rest runs.
    pub(crate) in_head: bool,
    /// Whether nothing was read yet, so that its first bytes tell what it speaks.
    pub(crate) fresh: bool,
    /// Whether it came in the clear where TLS is spoken, and is only told where to go.
    pub(crate) elsewhere: bool,
    /// Whether the peer sends no more but still receives.
    pub(crate) half_closed: bool,
    /// As what it is counted among those that are not read from, while it is one of them.
    pub(crate) paused: Option<TransportKind>,
    /// What waits for something to read; nothing while it is not to be read from.
    pub(crate) reader: Option<Reader>,
    /// What it publishes, while that has to wait. It is not read from, and no time runs against it.
    pub(crate) held: Option<Box<Pending>>,
}

/// What waits on a connection's socket.
pub(crate) enum Reader {
    /// Brings the connection's key to the worker once there may be something to read.
    Waker(Waker),
    /// Nothing more comes, and a task watches for the break.
    Watch(AbortHandle),
}

/// What a connection is about.
pub(crate) enum Phase {
    /// A request's head is awaited.
    Head,
    /// A request's body is on its way.
    Body(Box<Gathering>),
    /// A long poll waits.
    Waiting(Box<Waiting>),
    /// A stream over HTTP.
    Streaming(Box<Streaming>),
    /// A WebSocket.
    WebSocket(Box<WebSocketPhase>),
    /// Its first bytes are of another protocol, and it is handed over as soon as they are read.
    Handover,
    /// Lines over TCP.
    Lines(Box<Lines>),
    /// What an address follows over UDP.
    Datagrams(Box<Leased>),
    /// STOMP over TCP.
    Stomp(Box<StompPhase>),
    /// The last bytes go out; then the write side is shut and what still comes is passed over until the peer is done too.
    Closing(CloseReason),
}

/// A request whose body is on its way.
pub(crate) struct Gathering {
    pub(crate) request: Request,
    pub(crate) plan: Plan,
    pub(crate) body: Body,
    /// When it must be there.
    pub(crate) until_ms: u64,
    /// How much of it was there when it was last looked at.
    pub(crate) seen_bytes: usize,
}

/// A long poll that found nothing yet.
pub(crate) struct Waiting {
    pub(crate) exchange: Exchange,
    pub(crate) channels: SmallVec<[WaitingChannel; 1]>,
    /// The part of the next request's query that asks to wait again.
    pub(crate) wait_query: Option<u64>,
    /// Whether it was asked for as several channels, and is answered with a composite cursor.
    pub(crate) composite: bool,
}

/// One channel that a long poll waits for.
pub(crate) struct WaitingChannel {
    pub(crate) name: ChannelName,
    pub(crate) key: ChannelKey,
    pub(crate) cursor: Position,
}

/// A channel that a connection follows.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) name: ChannelName,
    pub(crate) slot: Slot,
}

impl Connection {
    pub(crate) fn new(link: Link, kind: TransportKind, generation: u32, visitor: Visitor) -> Self {
        Self {
            link,
            generation,
            kind,
            visitor,
            held_bytes: 0,
            phase: Phase::Head,
            unread: BytesMut::new(),
            alarm: Alarm::default(),
            in_head: false,
            fresh: true,
            elsewhere: false,
            half_closed: false,
            paused: None,
            reader: None,
            held: None,
        }
    }
}

impl Phase {
    /// The STOMP session, whatever carries it.
    pub(crate) fn stomp(&self) -> Option<&StompPhase> {
        match self {
            Self::Stomp(stomp) => Some(stomp),
            Self::WebSocket(websocket) => websocket.stomp(),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(crate) fn stomp_mut(&mut self) -> Option<&mut StompPhase> {
        match self {
            Self::Stomp(stomp) => Some(stomp),
            Self::WebSocket(websocket) => websocket.stomp_mut(),
            _ => None,
        }
    }
}

impl Sink for Connection {
    fn try_write(&mut self, bytes: &Bytes) -> Written {
        self.link.try_write(bytes)
    }

    fn try_write_vectored(&mut self, slices: &[Bytes]) -> Written {
        self.link.try_write_vectored(slices)
    }

    fn window(&self, slot: Slot) -> usize {
        self.phase.stomp().map_or(usize::MAX, |stomp| stomp.window(slot))
    }

    fn sent(&mut self, slot: Slot, first: Position, count: usize) {
        if let Some(stomp) = self.phase.stomp_mut() {
            stomp.sent(slot, first, count);
        }
    }

    fn gap_sent(&mut self, slot: Slot, resumed: Position) {
        if let Some(stomp) = self.phase.stomp_mut() {
            stomp.gap_sent(slot, resumed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The task holds the link too: with it the socket closes.
        if let Some(Reader::Watch(task)) = &self.reader {
            task.abort();
        }
    }
}

/// The counter of a disconnect.
pub(crate) fn close_reason(why: &Disconnect) -> CloseReason {
    match why {
        Disconnect::Shutdown => CloseReason::Shutdown,
        Disconnect::Slow { .. } => CloseReason::Slow,
        Disconnect::Gap { .. } => CloseReason::Gap,
        Disconnect::PingTimeout | Disconnect::IdleTimeout => CloseReason::Silent,
        Disconnect::Overloaded | Disconnect::Held | Disconnect::TooLarge { .. } | Disconnect::Expired => CloseReason::Limit,
        Disconnect::Internal | Disconnect::ProtocolFault { .. } => CloseReason::Fault,
    }
}
