//! HTTP/2 with prior knowledge (RFC 9113). `h2` reads and writes the frames of a connection; each of its streams becomes a
//! connection of the hub, served by the same code as a socket is.

mod connection;
mod given;
mod rewound;
mod stream;
mod wakers;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bongsu_core::hub::SubscriberKey;
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::admission::Visitor;
use crate::connection::Phase;
use crate::front::TLS_REFUSAL;
use crate::http::{HeadLimits, Problem, Request};
use crate::link::Link;
use crate::metrics::{CloseReason, TransportKind};
use crate::worker::{Worker, WorkerRef};

use given::Given;
pub(crate) use rewound::Socket;
pub use stream::Stream;

/// The HTTP/2 connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<u64, (Rc<Peer>, AbortHandle)>,
    next: u64,
}

/// What a worker and the task of an HTTP/2 connection know of each other.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Tells the connection to take its leave.
    leave: Notify,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    visitor: Visitor,
    /// Whether its connection is encrypted.
    is_sealed: bool,
    /// How many bytes its streams were given that have not yet been written to the socket, nor thrown away.
    buffered_bytes: Cell<usize>,
}

impl Peer {
    fn new(visitor: Visitor, is_sealed: bool) -> Self {
        let (leave, streams, idle_since) = (Notify::new(), Cell::new(0), Cell::new(Instant::now()));
        Self { leave, streams, idle_since, visitor, is_sealed, buffered_bytes: Cell::new(0) }
    }

    fn begun(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    fn ended(&self) {
        self.streams.set(self.streams.get() - 1);
        self.idle_since.set(Instant::now());
    }

    /// Since when it has had no stream.
    fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }
}

impl Peers {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// How many bytes wait in all of them together.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffering().map(|(bytes, _)| bytes).sum()
    }

    /// Those in which something waits, and how much.
    pub(crate) fn buffering(&self) -> impl Iterator<Item = (usize, u64)> {
        let buffered = self.peers.iter().map(|(id, (peer, _))| (peer.buffered_bytes.get(), *id));
        buffered.filter(|(bytes, _)| *bytes > 0)
    }

    /// Tells every client that no more streams are served than those that are open.
    pub(crate) fn leave(&self) {
        self.peers.values().for_each(|(peer, _)| peer.leave.notify_one());
    }
}

impl Worker {
    /// Goes on with a socket as HTTP/2. It counts as a connection from its accept to its end, and each of its streams as another.
    pub(crate) fn take_up_http2(&mut self, worker: WorkerRef, socket: Socket, first: Bytes, visitor: Visitor) {
        let id = self.http2.next;
        self.http2.next += 1;
        let peer = Rc::new(Peer::new(visitor, matches!(socket, Socket::Tls(_))));
        if self.leaving.is_some() {
            peer.leave.notify_one();
        }
        let serving = Rc::clone(&peer);
        let task = spawn_local(async move {
            let reason = connection::serve(&worker, rewound::Rewound::new(first, socket), &serving).await;
            worker.borrow_mut().end_http2(id, reason);
        });
        self.http2.peers.insert(id, (peer, task.abort_handle()));
    }

    fn end_http2(&mut self, id: u64, reason: CloseReason) {
        if self.http2.peers.remove(&id).is_some() {
            self.metrics.closed(TransportKind::Http, reason);
        }
    }

    /// Ends one at once, which holds too much.
    pub(crate) fn cut_http2_peer(&mut self, id: u64) {
        if let Some((_, task)) = self.http2.peers.remove(&id) {
            task.abort();
            self.metrics.closed(TransportKind::Http, CloseReason::Limit);
        }
    }

    /// Ends all HTTP/2 connections at once, and their streams with them.
    pub(crate) fn cut_http2(&mut self) {
        for (_, task) in std::mem::take(&mut self.http2.peers).into_values() {
            task.abort();
            self.metrics.closed(TransportKind::Http, CloseReason::Shutdown);
        }
    }

    /// Takes up a stream that a client opened, and its request.
    fn accept_stream(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Given>, peer: &Rc<Peer>) {
        let (head, body) = request.into_parts();
        let ended = body.is_end_stream();
        let stream = Stream::new(body, respond, peer);
        if self.is_full_for(peer.visitor.door) {
            self.metrics.fault("too-many-connections");
            let problem = Problem::new(503, "too-many-connections", "the server has all the connections that it may; come back later");
            let body = stream.answer(problem.with("retry-after", 5).into_response(), false);
            _ = stream.try_write(&body);
            return;
        }
        let (key, generation) = self.add(Link::Stream(Rc::new(stream)), TransportKind::Http, peer.visitor.clone());
        match Request::from_http2(&head, ended, self.shared.head_limits) {
            Ok(request) => _ = self.on_request(key, request),
            Err(fault) => _ = self.refuse_head(key, &fault),
        }
        if self.hub.sink(key).is_some_and(|connection| connection.generation == generation) {
            self.read_on(key);
        }
        self.settle();
    }

    /// The client's side of a stream has ended; the stream goes on until our side has.
    pub(crate) fn on_stream_end(&mut self, key: SubscriberKey, input: &mut BytesMut) {
        let waits = self.owes(key);
        let Some(connection) = self.hub.sink(key) else { return };
        match &mut connection.phase {
            Phase::Body(gathering) => {
                gathering.body.end();
                self.on_body(key, input);
            }
            Phase::WebSocket(_) => self.close(key, CloseReason::Vanished),
            Phase::Closing(reason) if !waits => {
                let reason = *reason;
                self.close(key, reason);
            }
            Phase::Closing(_) | Phase::Head | Phase::Waiting(_) | Phase::Streaming(_) | Phase::Handover => (),
            Phase::Lines(_) | Phase::Stomp(_) | Phase::Datagrams(_) => (),
        }
    }

    /// Refuses a handshake of TLS, in words that its client knows.
    pub(crate) fn refuse_tls(&mut self, key: SubscriberKey) {
        info!("a client began a TLS handshake, which is not spoken here: use http:// and ws://, or put a proxy that ends TLS in front");
        self.metrics.fault("tls-not-spoken");
        self.finish(key, Bytes::from_static(TLS_REFUSAL), CloseReason::Fault, TLS_LINGER_MS);
    }
}

/// The bound on a header list as `h2` counts it (RFC 9113, 6.5.2: 32 bytes more for each), so that up to ours it lets all pass.
fn header_list_bytes_max(limits: HeadLimits) -> u32 {
    u32::try_from(limits.bytes_max.saturating_add(32 * limits.headers_max)).unwrap_or(u32::MAX)
}

/// Why a connection ended that `h2` ended.
fn reason_of(error: &h2::Error, worker: &Worker) -> CloseReason {
    debug!(%error, "an HTTP/2 connection ended");
    match () {
        () if error.is_io() => CloseReason::Vanished,
        () if error.is_remote() => CloseReason::Client,
        () => {
            worker.metrics.fault("http2-protocol");
            CloseReason::Fault
        }
    }
}

const TLS_LINGER_MS: u64 = 1000;
