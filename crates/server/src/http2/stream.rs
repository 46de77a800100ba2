//! The two ends of an HTTP/2 stream, with the face of a socket: what is read is the request's body, what is written the answer's.
//! How much may wait to be sent is bounded, so that a client that grants no window is slow like one that does not read its socket.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bongsu_core::hub::Written;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};

use super::Peer;
use super::given::Given;
use super::wakers::Wakers;
use crate::http::Response;
use crate::link::Read;

/// A stream that a worker serves as a connection.
pub struct Stream {
    incoming: RefCell<Incoming>,
    outgoing: RefCell<Outgoing>,
    wakers: Arc<Wakers>,
    waker: Waker,
    peer: Rc<Peer>,
}

/// What the client sends.
enum Incoming {
    /// More may come; what came is kept until it is read.
    Open { stream: RecvStream, next: Option<Bytes> },
    /// It ended, which nobody was told yet.
    Ending,
    /// Nothing more comes.
    Done,
}

/// What the client is sent.
enum Outgoing {
    /// The head of the answer is still to come.
    Awaited(SendResponse<Given>),
    /// The body goes out; perhaps it is known how much is left of it.
    Open { stream: SendStream<Given>, left: Option<usize> },
    /// Nothing more goes out.
    Done,
}

impl Stream {
    /// Takes up a stream of a connection.
    pub(super) fn new(body: RecvStream, respond: SendResponse<Given>, peer: &Rc<Peer>) -> Self {
        let wakers = Arc::new(Wakers::default());
        peer.begun();
        let incoming = if body.is_end_stream() { Incoming::Done } else { Incoming::Open { stream: body, next: None } };
        Self {
            incoming: RefCell::new(incoming),
            outgoing: RefCell::new(Outgoing::Awaited(respond)),
            waker: Waker::from(Arc::clone(&wakers)),
            wakers,
            peer: Rc::clone(peer),
        }
    }

    /// Whether what goes over it is encrypted.
    pub fn is_sealed(&self) -> bool {
        self.peer.is_sealed
    }

    /// Sends the head of an answer and returns its body, which is to be written next and ends the stream; what was taken out of it
    /// follows.
    pub fn answer(&self, response: Response, head_only: bool) -> Bytes {
        let len = if head_only { 0 } else { response.body_len() };
        let (head, body) = response.into_http2(head_only);
        self.send_head(head, Some(len));
        body
    }

    /// Sends the head of an answer whose body comes as it happens.
    pub fn begin(&self, response: Response) {
        self.send_head(response.into_http2(false).0, None);
    }

    /// Asks for the body that the client holds back (RFC 9110, 10.1.1).
    pub fn ask_for_body(&self) {
        if let Outgoing::Awaited(respond) = &mut *self.outgoing.borrow_mut() {
            let mut head = http::Response::new(());
            *head.status_mut() = http::StatusCode::CONTINUE;
            // A stream that is gone says so when it is answered.
            _ = respond.send_informational(head);
        }
    }

    fn send_head(&self, head: http::Response<()>, left: Option<usize>) {
        let mut outgoing = self.outgoing.borrow_mut();
        let Outgoing::Awaited(respond) = &mut *outgoing else { return };
        let ends = left == Some(0);
        *outgoing = match respond.send_response(head, ends) {
            Ok(stream) if !ends => Outgoing::Open { stream, left },
            _ => Outgoing::Done,
        };
    }

    /// Reads what is there, if anything, behind what `input` already holds.
    pub fn try_read(&self, input: &mut BytesMut) -> Read {
        let mut cx = Context::from_waker(&self.waker);
        let mut incoming = self.incoming.borrow_mut();
        if incoming.poll_next(&mut cx).is_pending() {
            return if self.is_reset(&mut cx) { Read::Closed } else { Read::Nothing };
        }
        match &mut *incoming {
            Incoming::Open { stream, next } => match next.take() {
                Some(data) => {
                    input.extend_from_slice(&data);
                    // An error means that the stream is gone, which the next read tells.
                    _ = stream.flow_control().release_capacity(data.len());
                    Read::Some
                }
                None => Read::Closed,
            },
            Incoming::Ending => {
                *incoming = Incoming::Done;
                Read::End
            }
            Incoming::Done if self.is_reset(&mut cx) => Read::Closed,
            Incoming::Done => Read::Nothing,
        }
    }

    /// Writes as much as the client's window and the bound take now.
    pub fn try_write(&self, bytes: &Bytes) -> Written {
        let mut outgoing = self.outgoing.borrow_mut();
        let Outgoing::Open { stream, left } = &mut *outgoing else { return Written::Gone };
        stream.reserve_capacity(bytes.len());
        let count = stream.capacity().min(bytes.len());
        let ends = *left == Some(count);
        if count > 0 && stream.send_data(Given::new(bytes.slice(..count), &self.peer), ends).is_err() {
            return Written::Gone;
        }
        *left = left.map(|left| left - count);
        if ends {
            *outgoing = Outgoing::Done;
        } else if count < bytes.len() {
            // Who must wait asks for little: the connection's window is given out in turn, so that many small turns are fair ones.
            stream.reserve_capacity((bytes.len() - count).min(SHARE_BYTES));
            let is_gone = stream.poll_reset(&mut Context::from_waker(&self.waker)).is_ready();
            return if is_gone { Written::Gone } else { Written::Part(count) };
        }
        Written::All
    }

    /// Whether there may be something to read, or the stream is gone.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wakers.reader(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        let mut incoming = self.incoming.borrow_mut();
        let nothing_comes = matches!(*incoming, Incoming::Done);
        if (!nothing_comes && incoming.poll_next(&mut cx).is_ready()) || self.is_reset(&mut cx) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the client may take more, or the stream is gone.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wakers.writer(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        let mut outgoing = self.outgoing.borrow_mut();
        match &mut *outgoing {
            Outgoing::Open { stream, .. } if stream.capacity() == 0 => stream.poll_capacity(&mut cx).map(drop),
            _ => Poll::Ready(()),
        }
    }

    /// Says that nothing more will be written. What was written still goes out.
    pub fn shut_write(&self) {
        if let Outgoing::Open { mut stream, .. } = self.outgoing.replace(Outgoing::Done) {
            // One that is gone needs no end.
            _ = stream.send_data(Given::new(Bytes::new(), &self.peer), true);
        }
    }

    /// Whether the client's side is still to be waited for once ours has ended. A reset would do as well, but a client in the midst
    /// of its body may take it for a failure and forget the answer.
    pub fn lingers(&self) -> bool {
        !matches!(*self.incoming.borrow(), Incoming::Done)
    }

    /// Lets go of both ends: what has not ended by itself is reset.
    pub fn cut(&self) {
        self.incoming.replace(Incoming::Done);
        self.outgoing.replace(Outgoing::Done);
        self.waker.wake_by_ref();
    }

    fn is_reset(&self, cx: &mut Context<'_>) -> bool {
        match &mut *self.outgoing.borrow_mut() {
            Outgoing::Awaited(respond) => respond.poll_reset(cx).is_ready(),
            Outgoing::Open { stream, .. } => stream.poll_reset(cx).is_ready(),
            Outgoing::Done => false,
        }
    }
}

impl Incoming {
    /// Ready when there is something to read, an end to be told, or a fault.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Open { stream, next } = self else { return Poll::Ready(()) };
        while next.is_none() {
            match std::task::ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => *next = Some(data).filter(|data| !data.is_empty()),
                Some(Err(_)) => return Poll::Ready(()),
                None => {
                    *self = Self::Ending;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Ready(())
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.peer.ended();
    }
}

/// How much of a connection's window a stream waits for at a time.
const SHARE_BYTES: usize = 4 << 10;
