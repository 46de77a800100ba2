//! Reading: sockets bring their connections' keys to the worker, which reads them and acts at once, by what each is about.
//!
//! A silent connection has a waker and no task, which would cost it some hundred bytes more.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use bongsu_core::hub::SubscriberKey;
use bytes::{Bytes, BytesMut};
use tokio::task::spawn_local;

use super::{Worker, WorkerRef};
use crate::admission::Visitor;
use crate::connection::{Connection, Phase, Reader};
use crate::http::Version;
use crate::http2::Socket;
use crate::link::{Link, Read};
use crate::mailbox::Mailbox;
use crate::metrics::CloseReason;
use crate::tls::TlsStream;
use crate::transport::stomp::StompPhase;

/// The connections of a worker that may have something to read, with their generations. A connection is there once at a time.
pub(crate) type Readable = Mailbox<(SubscriberKey, u32)>;

/// What a socket wakes.
struct Knock {
    key: SubscriberKey,
    generation: u32,
    readable: Arc<Readable>,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.readable.push((self.key, self.generation));
    }
}

/// What follows on reading from a connection.
#[derive(Debug)]
enum Reading {
    /// It is waited for more.
    On,
    /// Others are read from, then it goes on.
    Yield,
    /// Nothing: reading is begun again when there is room.
    Off,
    /// The socket, of which these bytes were read, speaks HTTP/2.
    Handover(Link, Bytes, Visitor),
}

impl Worker {
    /// Reads from whoever has something to read, for as long as the thread lives.
    pub(crate) async fn read_all(worker: WorkerRef) {
        let readable = Arc::clone(&worker.borrow().readable);
        let mut taken = Vec::new();
        loop {
            readable.woken().await;
            readable.drain_into(&mut taken);
            for (key, generation) in taken.drain(..) {
                let reading = worker.borrow_mut().read_and_wait(key, generation);
                if let Some((socket, first, visitor)) = reading {
                    worker.borrow_mut().take_up_http2(WorkerRef::clone(&worker), socket, first, visitor);
                }
            }
            // Those who send without a pause let the others run.
            if !readable.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads from a connection, if it is one to be read from, and has it waited for. Returns a socket that speaks HTTP/2.
    fn read_and_wait(&mut self, key: SubscriberKey, generation: u32) -> Option<(Socket, Bytes, Visitor)> {
        let connection = self.hub.sink(key).filter(|connection| connection.generation == generation)?;
        if !matches!(connection.reader, Some(Reader::Waker(_))) {
            return None;
        }
        match self.on_readable(key, generation) {
            Reading::On => self.await_readable(key),
            Reading::Yield => self.readable.push((key, generation)),
            Reading::Off => (),
            Reading::Handover(link, first, visitor) => {
                let socket = match link {
                    Link::Plain(stream) => Rc::into_inner(stream).map(Socket::Plain),
                    Link::Tls(link) => Some(Socket::Tls(TlsStream::new(link))),
                    Link::Stream(_) | Link::Datagrams(_) => None,
                };
                return socket.map(|socket| (socket, first, visitor));
            }
        }
        None
    }

    fn await_readable(&mut self, key: SubscriberKey) {
        let Some(Connection { link, generation, reader: Some(Reader::Waker(waker)), .. }) = self.hub.sink(key) else { return };
        if link.poll_readable(&mut Context::from_waker(waker)).is_ready() {
            let generation = *generation;
            self.readable.push((key, generation));
        }
    }

    /// Reads what a connection has sent so far, and does not wait for more than it waits already.
    pub(super) fn read_now(&mut self, key: SubscriberKey, generation: u32) {
        _ = self.on_readable(key, generation);
    }

    /// Has it waited for something to read from a connection, unless it is.
    pub(crate) fn read_on(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        if connection.reader.is_some() || connection.half_closed {
            return;
        }
        if let Some(kind) = connection.paused.take() {
            self.metrics.reading_resumed(kind);
        }
        let knock = Knock { key, generation: connection.generation, readable: Arc::clone(&self.readable) };
        connection.reader = Some(Reader::Waker(Waker::from(Arc::new(knock))));
        self.await_readable(key);
    }

    /// Reads what is there and acts on it.
    fn on_readable(&mut self, key: SubscriberKey, generation: u32) -> Reading {
        for _ in 0..READS_MAX {
            let mut buffer = std::mem::take(&mut self.read_buffer);
            let Some(connection) = self.hub.sink(key).filter(|connection| connection.generation == generation) else {
                self.read_buffer = buffer;
                return Reading::Off;
            };
            let own = !connection.unread.is_empty();
            let mut input = if own { std::mem::take(&mut connection.unread) } else { std::mem::take(&mut buffer) };
            input.reserve(if own { input.len().clamp(4 << 10, READ_BUFFER_BYTES) } else { READ_BUFFER_BYTES });
            let read = connection.link.try_read(&mut input);
            let came = input.len();
            let news = connection.link.take_tls_news();
            if let Some(news) = news {
                self.on_tls(key, news);
            }
            match read {
                Read::Some | Read::Last => self.on_input(key, &mut input),
                Read::Nothing => (),
                Read::End => self.on_stream_end(key, &mut input),
                Read::Closed => {
                    self.on_unended_line(key, &mut input);
                    self.on_end(key, &input);
                }
                Read::Broken => self.close(key, CloseReason::Vanished),
            }
            if let Some(handover) = self.hand_over(key, generation, &mut input) {
                self.read_buffer = buffer;
                return handover;
            }
            let untouched = own && input.len() == came;
            self.keep_unread(key, generation, &mut input, untouched);
            if own {
                self.read_buffer = buffer;
            } else {
                input.clear();
                self.read_buffer = input;
            }
            self.settle();
            match read {
                Read::Some | Read::Last => (),
                Read::Nothing | Read::End => return Reading::On,
                Read::Closed | Read::Broken => return Reading::Off,
            }
            if self.is_stalled(key) {
                self.pause_reading(key);
                return Reading::Off;
            }
            if read == Read::Last {
                return Reading::On;
            }
        }
        Reading::Yield
    }

    /// Ends the reading until there is room again, and says so in the metrics.
    fn pause_reading(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        connection.reader = None;
        if connection.paused.replace(connection.kind).is_none() {
            self.metrics.reading_paused(connection.kind);
        }
    }

    /// Gives up a connection whose first bytes are of another protocol, and returns them. It ends when its new owner says so.
    fn hand_over(&mut self, key: SubscriberKey, generation: u32, input: &mut BytesMut) -> Option<Reading> {
        let connection = self.hub.sink(key).filter(|connection| connection.generation == generation)?;
        if !matches!(connection.phase, Phase::Handover) {
            return None;
        }
        let (link, visitor) = (connection.link.clone(), connection.visitor.clone());
        if let Some(connection) = self.hub.remove(key) {
            self.unweigh(&connection);
        }
        Some(Reading::Handover(link, Bytes::copy_from_slice(&input.split()), visitor))
    }

    /// Keeps what could not be used yet. Untouched is what nothing was used of, in memory of the connection's own.
    fn keep_unread(&mut self, key: SubscriberKey, generation: u32, input: &mut BytesMut, untouched: bool) {
        let Some(connection) = self.hub.sink(key).filter(|connection| connection.generation == generation) else { return };
        if !input.is_empty() {
            connection.unread = kept(input, untouched);
        }
        self.weigh(key);
    }

    /// Whether a connection is not to be read from: its answers wait to be taken, or it sent ahead more than it may.
    fn is_stalled(&mut self, key: SubscriberKey) -> bool {
        if self.is_paused(key) {
            return true;
        }
        let (waiting_bytes, owes) = (self.hub.waiting_bytes(key), self.owes(key));
        let own_max = self.shared.config.delivery.outbox_bytes_max.as_usize() / 2;
        let ahead_max = self.shared.config.http.head_bytes_max.as_usize();
        let Some(connection) = self.hub.sink(key) else { return false };
        if connection.held.is_some() {
            return true;
        }
        match &connection.phase {
            Phase::Head | Phase::Body(_) => owes,
            Phase::Waiting(_) => connection.unread.len() > ahead_max,
            Phase::WebSocket(_) | Phase::Lines(_) | Phase::Stomp(_) => waiting_bytes > own_max,
            Phase::Streaming(_) | Phase::Closing(_) | Phase::Handover | Phase::Datagrams(_) => false,
        }
    }

    /// Acts on what a connection sent, as far as it can.
    fn on_input(&mut self, key: SubscriberKey, input: &mut BytesMut) {
        loop {
            let waits = self.owes(key);
            let Some(connection) = self.hub.sink(key) else { return };
            if connection.held.is_some() {
                return;
            }
            let went_on = match &connection.phase {
                Phase::Head | Phase::Body(_) if waits => false,
                Phase::Head => self.on_head(key, input),
                Phase::Body(_) => self.on_body(key, input),
                Phase::WebSocket(_) => self.on_websocket(key, input),
                Phase::Lines(_) => self.on_lines(key, input),
                Phase::Stomp(_) => self.on_stomp(key, input),
                Phase::Waiting(_) | Phase::Handover | Phase::Datagrams(_) => false,
                Phase::Streaming(_) | Phase::Closing(_) => {
                    // After the request of a stream nothing is expected, and it ends the connection.
                    input.clear();
                    false
                }
            };
            if !went_on {
                return;
            }
        }
    }

    /// The peer sends no more; this is what it sent last and could not be acted on yet.
    fn on_end(&mut self, key: SubscriberKey, rest: &[u8]) {
        let waits = self.owes(key);
        let Some(connection) = self.hub.sink(key) else { return };
        // Of an HTTP/2 stream this is a reset: its end is told apart.
        let still_receives = !matches!(connection.link, Link::Stream(_));
        let reason = match &mut connection.phase {
            Phase::Lines(_) => return self.on_lines_end(key),
            Phase::Stomp(_) => return self.on_stomp_end(key),
            Phase::Waiting(waiting) if still_receives => {
                // RFC 9112, 9.6: the last answer of a connection says so.
                waiting.exchange.keep_alive &= !rest.is_empty();
                let version = waiting.exchange.version;
                return self.go_on_waiting(key, version);
            }
            // It has asked all that it wanted and still reads the answers.
            Phase::Head | Phase::Body(_) if still_receives && (waits || connection.held.is_some()) => return self.go_on_half_closed(key),
            Phase::Closing(reason) => *reason,
            Phase::Head if rest.is_empty() => CloseReason::Client,
            Phase::WebSocket(_) | Phase::Head | Phase::Body(_) => CloseReason::Vanished,
            Phase::Waiting(_) | Phase::Streaming(_) | Phase::Handover | Phase::Datagrams(_) => CloseReason::Client,
        };
        self.close(key, reason);
    }

    /// Who waits sends no more. It may have gone, which looks the same, so that it is sent something: the system of one that has gone
    /// answers by a reset. RFC 9110, 15.2.1: a client discards a 100 that it did not ask for; HTTP/1.0 knows none.
    fn go_on_waiting(&mut self, key: SubscriberKey, version: Version) {
        self.go_on_half_closed(key);
        if version == Version::Http11 {
            self.send(key, Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
    }

    /// The peer sends no more, but still receives. Nobody reads from it any longer, so that its break must be waited for by itself.
    pub(crate) fn go_on_half_closed(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        connection.half_closed = true;
        let (link, generation, me) = (connection.link.clone(), connection.generation, self.me.clone());
        let watch = spawn_local(async move {
            link.broken().await;
            let Some(worker) = me.upgrade() else { return };
            let mut worker = worker.borrow_mut();
            let Some(connection) = worker.hub.sink(key).filter(|connection| connection.generation == generation) else { return };
            let left = matches!(connection.phase, Phase::Waiting(_));
            worker.close(key, if left { CloseReason::Client } else { CloseReason::Vanished });
            worker.settle();
        });
        connection.reader = Some(Reader::Watch(watch.abort_handle()));
    }

    /// Ends a connection whose peer sends no more, once all is done that it asked for.
    fn end_when_done(&mut self, key: SubscriberKey) {
        let waits = self.owes(key);
        let Some(connection) = self.hub.sink(key) else { return };
        let reason = match &connection.phase {
            Phase::Lines(_) => return self.on_lines_end(key),
            Phase::Head | Phase::Body(_) if waits || connection.held.is_some() => return,
            Phase::Head if connection.unread.is_empty() => CloseReason::Client,
            // A request that was cut off.
            Phase::Head | Phase::Body(_) => CloseReason::Vanished,
            _ => return,
        };
        self.finish(key, Bytes::new(), reason, self.close_timeout_ms());
    }

    /// Acts on what was read while it could not be acted on, and reads on.
    pub(crate) fn resume(&mut self, key: SubscriberKey) {
        if self.is_paused(key) {
            return;
        }
        let Some(connection) = self.hub.sink(key) else { return };
        let mut input = std::mem::take(&mut connection.unread);
        let generation = connection.generation;
        let pending = connection.phase.stomp().is_some_and(StompPhase::has_pending);
        if !input.is_empty() || pending {
            let came = input.len();
            self.on_input(key, &mut input);
            let untouched = input.len() == came;
            self.keep_unread(key, generation, &mut input, untouched);
        }
        if self.hub.sink(key).is_some_and(|connection| connection.half_closed) {
            self.end_when_done(key);
        } else if !self.is_stalled(key) {
            self.read_on(key);
        }
    }
}

/// What is kept of input: a copy, which holds no more than it must. What only grows is left where it is, with room to grow: copied at each
/// read, a large message that comes byte by byte would cost more than all else.
fn kept(input: &mut BytesMut, untouched: bool) -> BytesMut {
    if untouched && input.capacity() <= 2 * input.len() { std::mem::take(input) } else { BytesMut::from(&input[..]) }
}

/// How often a connection is read from before others have their turn.
const READS_MAX: usize = 8;
/// How much is read at once.
const READ_BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_grows_is_not_copied_and_what_is_small_holds_no_more_than_it_must() {
        let mut large = BytesMut::with_capacity(150_000);
        large.resize(100_000, b'x');
        let at = large.as_ptr();
        assert_eq!(kept(&mut large, true).as_ptr(), at);

        let mut small = BytesMut::with_capacity(64 << 10);
        small.resize(100, b'x');
        assert!(kept(&mut small, true).capacity() < 200);

        // What stands behind something that was used still holds the memory of that.
        let mut rest = BytesMut::with_capacity(100_000);
        rest.resize(100_000, b'x');
        _ = rest.split_to(99_000);
        assert!(kept(&mut rest, false).as_ptr() != rest.as_ptr());
    }
}
