//! A connection that speaks TLS: records in and out of a socket, with the face of a socket. Ciphertext lies here only while a record
//! is incomplete or the socket is full, so that an idle connection holds the session and no buffer.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bongsu_core::hub::Written;
use bytes::{Buf, Bytes, BytesMut};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::fault::TlsFault;
use super::session::{Progress, Session};
use crate::link::Read;

/// A socket and what TLS knows of it.
pub struct TlsLink {
    stream: TcpStream,
    state: RefCell<State>,
    /// Whether a task waits to bring out what is sealed.
    flushing: Cell<bool>,
}

struct State {
    stage: Stage,
    /// What came and is no whole record yet.
    incoming: BytesMut,
    /// What is sealed and the socket has not taken yet; at most one piece of plaintext's worth.
    outgoing: BytesMut,
    /// What happened and nobody was told yet.
    news: Option<News>,
    /// Whether our side ends once all that is sealed is out.
    ending: bool,
}

enum Stage {
    /// Nothing was read yet: the first byte tells whether TLS is spoken.
    Fresh(Arc<ServerConfig>),
    /// The handshake is under way.
    Handshake(Box<Session>),
    /// It is done.
    Open(Box<Session>),
    /// The peer speaks in the clear; it is understood, so that it can be told what is wanted.
    Clear,
    /// The peer broke the rules, and was told so. What it still sends is passed over.
    Failed,
}

/// What happened to a connection, for the worker to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The handshake is done.
    Opened {
        /// Whether it went on from an earlier one.
        resumed: bool,
    },
    /// The peer does not speak TLS.
    Clear,
    /// The peer broke the rules.
    Failed {
        /// Which.
        fault: TlsFault,
        /// Whether the handshake was not done yet.
        in_handshake: bool,
    },
}

impl TlsLink {
    /// A connection of which nothing was read yet.
    pub fn new(stream: TcpStream, config: Arc<ServerConfig>) -> Rc<Self> {
        let state = State { stage: Stage::Fresh(config), incoming: BytesMut::new(), outgoing: BytesMut::new(), news: None, ending: false };
        Rc::new(Self { stream, state: RefCell::new(state), flushing: Cell::new(false) })
    }

    /// What happened since this was asked the last time.
    pub fn take_news(&self) -> Option<News> {
        self.state.borrow_mut().news.take()
    }

    /// Whether it is not yet known how the handshake ends.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state.borrow().stage, Stage::Fresh(_) | Stage::Handshake(_))
    }

    /// Whether what goes over it is encrypted.
    pub fn is_sealed(&self) -> bool {
        matches!(self.state.borrow().stage, Stage::Open(_))
    }

    /// The socket under it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads what is there, if anything, behind what `input` already holds.
    pub fn try_read(self: &Rc<Self>, input: &mut BytesMut) -> Read {
        let mut state = self.state.borrow_mut();
        match &state.stage {
            Stage::Clear => return read_of(self.stream.try_read_buf(input)),
            Stage::Open(session) if session.has_ended() => return Read::Closed,
            _ => (),
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            scratch.extend_from_slice(&state.incoming);
            scratch.reserve(READ_BYTES);
            let read = read_of(self.stream.try_read_buf(scratch));
            if read != Read::Some {
                return state.cut_off(read);
            }
            state.incoming = BytesMut::new();
            let read = state.take(scratch, input);
            // A socket that broke says so at the next read.
            if let Ok(false) = state.flush(&self.stream) {
                self.flush_later();
            }
            read
        })
    }

    /// Whether there may be something to read; if not, the waker is woken once there is.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let has_ended = matches!(&self.state.borrow().stage, Stage::Open(session) if session.has_ended());
        // An error shows again when it is read.
        if has_ended { Poll::Ready(()) } else { self.stream.poll_read_ready(cx).map(drop) }
    }

    /// Waits until the peer may take more.
    pub async fn writable(&self) {
        // An error shows again when something is written.
        _ = self.stream.writable().await;
    }

    /// Writes as much as the peer takes now. What is sealed counts as written: it leaves before all else, and what the socket did
    /// not take of it is brought out by a task of its own.
    pub fn try_write(self: &Rc<Self>, bytes: &[u8]) -> Written {
        let mut state = self.state.borrow_mut();
        match &state.stage {
            Stage::Open(_) if state.ending => return Written::Gone,
            Stage::Open(_) => (),
            Stage::Clear => return written_of(self.stream.try_write(bytes), bytes.len()),
            Stage::Fresh(_) | Stage::Handshake(_) | Stage::Failed => return Written::Gone,
        }
        let mut taken = 0;
        while taken < bytes.len() {
            match state.flush(&self.stream) {
                Ok(true) => (),
                Ok(false) => break,
                Err(_) => return Written::Gone,
            }
            let piece = &bytes[taken..bytes.len().min(taken + PIECE_BYTES)];
            if state.seal(piece, &self.stream).is_err() {
                return Written::Gone;
            }
            taken += piece.len();
        }
        let is_full = !state.outgoing.is_empty();
        drop(state);
        if is_full {
            self.flush_later();
        }
        if taken == bytes.len() { Written::All } else { Written::Part(taken) }
    }

    /// The same for several slices, gathered so that they do not become a record each.
    pub fn try_write_vectored(self: &Rc<Self>, slices: &[Bytes]) -> Written {
        let (mut taken, mut rest) = (0, slices);
        let mut gathered = BytesMut::new();
        while let Some((first, behind)) = rest.split_first() {
            let next_fits = behind.first().is_some_and(|next| gathered.len() + first.len() + next.len() <= PIECE_BYTES);
            rest = behind;
            if next_fits {
                gathered.extend_from_slice(first);
                continue;
            }
            let written = if gathered.is_empty() {
                self.try_write(first)
            } else {
                gathered.extend_from_slice(first);
                self.try_write(&gathered)
            };
            match written {
                Written::All => taken += if gathered.is_empty() { first.len() } else { gathered.len() },
                Written::Part(part) => return Written::Part(taken + part),
                Written::Gone => return Written::Gone,
            }
            gathered.clear();
        }
        Written::All
    }

    /// Brings out what is sealed, as far as the socket takes it. Tells whether all is out.
    pub fn flush(&self) -> io::Result<bool> {
        self.state.borrow_mut().flush(&self.stream)
    }

    /// Whether something that counts as written has not left yet.
    pub fn owes(&self) -> bool {
        !self.state.borrow().outgoing.is_empty()
    }

    /// Says that nothing more will be written: with a `close_notify`, so that the peer knows that nothing was cut off.
    pub fn shut_write(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if std::mem::replace(&mut state.ending, true) {
            return;
        }
        let State { stage, incoming, outgoing, .. } = &mut *state;
        if let Stage::Open(session) = stage {
            session.seal_end(incoming, outgoing);
        }
        // One that broke needs no goodbye.
        let is_out = state.flush(&self.stream).unwrap_or(true);
        drop(state);
        if !is_out {
            self.flush_later();
        }
    }

    /// Ends both sides at once.
    pub fn cut(&self) {
        _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
    }

    /// Waits, once, until the socket takes what is sealed.
    fn flush_later(self: &Rc<Self>) {
        if self.flushing.replace(true) {
            return;
        }
        let link = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while link.stream.writable().await.is_ok() && matches!(link.flush(), Ok(false)) {}
            link.flushing.set(false);
        });
    }
}

impl State {
    /// Acts on what was read; what is no whole record yet is kept.
    fn take(&mut self, records: &mut BytesMut, input: &mut BytesMut) -> Read {
        if let Stage::Fresh(config) = &self.stage {
            if records.first() != Some(&HANDSHAKE) {
                self.stage = Stage::Clear;
                self.news = Some(News::Clear);
                input.extend_from_slice(records);
                return Read::Some;
            }
            match Session::new(Arc::clone(config)) {
                Ok(session) => self.stage = Stage::Handshake(Box::new(session)),
                Err(fault) => return self.fail(fault),
            }
        }
        let (Stage::Handshake(session) | Stage::Open(session)) = &mut self.stage else { return Read::Nothing };
        let before = input.len();
        let progress = session.take(records, input, &mut self.outgoing);
        let is_open = session.is_open();
        match progress {
            Ok(Progress { used, ended }) => {
                records.advance(used);
                if records.len() > INCOMING_BYTES_MAX {
                    return self.fail(TlsFault::TooLarge);
                }
                self.incoming = BytesMut::from(&records[..]);
                if is_open {
                    self.open();
                }
                match (input.len() > before, ended) {
                    (true, _) => Read::Some,
                    (false, true) => Read::Closed,
                    // More may be there, but what was read said nothing to us.
                    (false, false) => Read::Nothing,
                }
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn open(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Handshake(session) => {
                self.news = Some(News::Opened { resumed: session.is_resumed() });
                self.stage = Stage::Open(session);
            }
            other => self.stage = other,
        }
    }

    /// The peer has been told, in an alert, or has told us.
    fn fail(&mut self, fault: TlsFault) -> Read {
        let in_handshake = !matches!(self.stage, Stage::Open(_));
        self.stage = Stage::Failed;
        self.incoming = BytesMut::new();
        self.news = Some(News::Failed { fault, in_handshake });
        Read::Nothing
    }

    /// Nothing was read. An end in the midst of a handshake is a fault, and one before anything was said is none.
    fn cut_off(&mut self, read: Read) -> Read {
        if read != Read::Nothing && matches!(self.stage, Stage::Handshake(_)) {
            self.fail(TlsFault::CutOff);
        }
        read
    }

    /// Seals a piece and writes it; what the socket does not take is kept.
    fn seal(&mut self, piece: &[u8], stream: &TcpStream) -> Result<(), TlsFault> {
        let Self { stage: Stage::Open(session), incoming, .. } = self else { return Ok(()) };
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            session.seal(piece, incoming, scratch)?;
            let written = match stream.try_write(scratch) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return Err(TlsFault::CutOff),
            };
            if written < scratch.len() {
                self.outgoing = BytesMut::from(&scratch[written..]);
            }
            Ok(())
        })
    }

    fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while !self.outgoing.is_empty() {
            match stream.try_write(&self.outgoing) {
                Ok(written) => self.outgoing.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.outgoing = BytesMut::new();
        if self.ending {
            // A socket that is already gone needs no goodbye.
            _ = SockRef::from(stream).shutdown(Shutdown::Write);
        }
        Ok(true)
    }
}

impl std::fmt::Debug for TlsLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsLink").finish_non_exhaustive()
    }
}

fn read_of(read: io::Result<usize>) -> Read {
    match read {
        Ok(0) => Read::Closed,
        Ok(_) => Read::Some,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
        Err(_) => Read::Broken,
    }
}

fn written_of(result: io::Result<usize>, whole: usize) -> Written {
    match result {
        Ok(written) if written >= whole => Written::All,
        Ok(written) => Written::Part(written),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Written::Part(0),
        Err(_) => Written::Gone,
    }
}

thread_local! {
    /// Where ciphertext lies between a socket and a session, one way or the other.
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The type of the record that a handshake begins with (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// How much is read at once.
const READ_BYTES: usize = 32 << 10;
/// How much plaintext is sealed before the socket must have taken it: a few records (RFC 8446, 5.1: 16 KiB each) for one write.
const PIECE_BYTES: usize = 32 << 10;
/// What may be held of records that are not whole: the longest handshake message that rustls takes, and a record's head.
const INCOMING_BYTES_MAX: usize = 72 << 10;
