//! One HTTP/2 connection: its streams are handed to the worker as they come, and its peer is asked whether it is still there.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use h2::server::{Builder, Connection};
use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep_until, timeout};

use super::given::Given;
use super::rewound::Rewound;
use super::{Peer, header_list_bytes_max, reason_of};
use crate::config::{Http2, Size};
use crate::metrics::CloseReason;
use crate::worker::WorkerRef;

/// Serves a connection until it ends, and says why it did.
pub(super) async fn serve(worker: &WorkerRef, io: Rewound, peer: &Rc<Peer>) -> CloseReason {
    let shared = std::sync::Arc::clone(&worker.borrow().shared);
    let config = &shared.config;
    let handshake = builder(&config.http2, header_list_bytes_max(shared.head_limits)).handshake::<_, Given>(io);
    let mut connection = match timeout(Duration::from_millis(config.http.head_timeout.as_millis()), handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return reason_of(&error, &worker.borrow()),
        Err(_) => {
            worker.borrow().metrics.fault("request-timeout");
            return CloseReason::Silent;
        }
    };
    let mut life = Life::new(&config.http2, Duration::from_millis(config.http.idle_timeout.as_millis()), &mut connection);
    let alarm = sleep_until(life.next(peer));
    tokio::pin!(alarm);
    loop {
        tokio::select! {
            // In this order: what came is read before the peer is taken for silent.
            biased;
            () = peer.leave.notified() => life.leave(&mut connection),
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => worker.borrow_mut().accept_stream(request, respond, peer),
                Some(Err(error)) => return reason_of(&error, &worker.borrow()),
                None if life.leaving => return CloseReason::Done,
                None => return CloseReason::Client,
            },
            () = life.heard() => (),
            () = &mut alarm => {
                if life.is_over(Instant::now(), peer, &mut connection) {
                    return CloseReason::Silent;
                }
                alarm.as_mut().reset(life.next(peer));
            }
        }
    }
}

/// `h2`'s own bounds hold for the rest. Against rapid resets: 20 streams that were reset before they were taken up, and 1024 that
/// we had to reset, end the connection with ENHANCE_YOUR_CALM; so do too many CONTINUATION or tiny DATA frames.
fn builder(config: &Http2, header_list_bytes_max: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(config.streams_max as u32)
        .initial_window_size(window(config.receive_stream_bytes))
        .initial_connection_window_size(window(config.receive_connection_bytes))
        .max_header_list_size(header_list_bytes_max)
        .max_send_buffer_size(config.stream_bytes_max.as_usize())
        .enable_connect_protocol();
    builder
}

/// A window has 31 bits (RFC 9113, 6.9.1); what may be configured has far fewer.
fn window(size: Size) -> u32 {
    u32::try_from(size.get()).unwrap_or(WINDOW_BYTES_MAX).min(WINDOW_BYTES_MAX)
}

/// Whether the peer is still there, and still wants something.
struct Life {
    pings: Option<PingPong>,
    ping_interval: Duration,
    ping_timeout: Duration,
    idle_timeout: Duration,
    /// When the next ping goes out.
    ping_at: Instant,
    /// When the answer to the one that is out must be there.
    pong_by: Option<Instant>,
    /// Whether the peer was told that no more streams are served.
    leaving: bool,
}

impl Life {
    fn new(config: &Http2, idle_timeout: Duration, connection: &mut Connection<Rewound, Given>) -> Self {
        let ping_interval = Duration::from_millis(config.ping_interval.as_millis());
        Self {
            pings: connection.ping_pong(),
            ping_interval,
            ping_timeout: Duration::from_millis(config.ping_timeout.as_millis()),
            idle_timeout,
            ping_at: Instant::now() + ping_interval,
            pong_by: None,
            leaving: false,
        }
    }

    /// When to look again.
    fn next(&self, peer: &Peer) -> Instant {
        let look = self.pong_by.unwrap_or(self.ping_at);
        match peer.idle_since() {
            Some(since) if !self.leaving => look.min(since + self.idle_timeout),
            _ => look,
        }
    }

    /// Asks the peer whether it is there, or takes leave of one that is idle. Tells whether the peer is gone.
    fn is_over(&mut self, now: Instant, peer: &Peer, connection: &mut Connection<Rewound, Given>) -> bool {
        if self.pong_by.is_some_and(|by| now >= by) {
            return true;
        }
        if peer.idle_since().is_some_and(|since| now >= since + self.idle_timeout) {
            self.leave(connection);
        }
        if self.pong_by.is_none() && now >= self.ping_at {
            self.ping_at = now + self.ping_interval;
            let sent = self.pings.as_mut().is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok());
            self.pong_by = sent.then(|| now + self.ping_timeout);
        }
        false
    }

    /// Says that no more streams are served; those that are open go on to their ends (RFC 9113, 6.8).
    fn leave(&mut self, connection: &mut Connection<Rewound, Given>) {
        if !std::mem::replace(&mut self.leaving, true) {
            connection.graceful_shutdown();
        }
    }

    /// Waits for the answer to a ping, if one is out.
    async fn heard(&mut self) {
        let (Some(_), Some(pings)) = (self.pong_by, self.pings.as_mut()) else { return std::future::pending().await };
        match poll_fn(|cx| pings.poll_pong(cx)).await {
            Ok(_) => self.pong_by = None,
            // The connection is gone, which its own end tells.
            Err(_) => self.pings = None,
        }
    }
}

const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
