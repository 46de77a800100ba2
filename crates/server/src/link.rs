//! The bytes of one connection, in and out. A worker owns it and writes to it directly; only one that is full waits for itself.

use std::future::{pending, poll_fn};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll};

use bongsu_core::hub::{Sink, Written};
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::http2::Stream;
use crate::tls::{News, TlsLink};
use crate::transport::udp::Peer;

/// A connection's two ends.
#[derive(Debug, Clone)]
pub enum Link {
    /// TCP as it is.
    Plain(Rc<TcpStream>),
    /// TLS over TCP.
    Tls(Rc<TlsLink>),
    /// A stream of an HTTP/2 connection.
    Stream(Rc<Stream>),
    /// Datagrams to one address. What it sends comes by the worker's own socket.
    Datagrams(Rc<Peer>),
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Bytes; there may be more.
    Some,
    /// Bytes, and no more for now.
    Last,
    /// Nothing yet.
    Nothing,
    /// The end of what the peer sends; the answer may still go on.
    End,
    /// The end of the connection.
    Closed,
    /// The connection broke.
    Broken,
}

impl Link {
    /// Reads what is there, if anything, behind what `input` already holds.
    pub fn try_read(&self, input: &mut BytesMut) -> Read {
        match self {
            Self::Plain(stream) => {
                let room = input.capacity() - input.len();
                match stream.try_read_buf(input) {
                    Ok(0) => Read::Closed,
                    // epoll(7): less than there was room for means that no more is there. Saying so saves a call that would find it out.
                    Ok(read) if read < room => {
                        _ = stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
                        Read::Last
                    }
                    Ok(_) => Read::Some,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
                    Err(_) => Read::Broken,
                }
            }
            Self::Tls(link) => link.try_read(input),
            Self::Stream(stream) => stream.try_read(input),
            Self::Datagrams(_) => Read::Nothing,
        }
    }

    /// Whether there may be something to read; if not, the waker is woken once there is. It takes the place of the one before.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            // An error shows again when it is read.
            Self::Plain(stream) => stream.poll_read_ready(cx).map(drop),
            Self::Tls(link) => link.poll_readable(cx),
            Self::Stream(stream) => stream.poll_readable(cx),
            Self::Datagrams(_) => Poll::Pending,
        }
    }

    /// Waits until the peer may take more.
    pub async fn writable(&self) {
        match self {
            // An error shows again when something is written.
            Self::Plain(stream) => _ = stream.writable().await,
            Self::Tls(link) => link.writable().await,
            Self::Stream(stream) => poll_fn(|cx| stream.poll_writable(cx)).await,
            Self::Datagrams(peer) => peer.writable().await,
        }
    }

    /// Waits until the connection breaks. For one whose peer has ended its side, so that there is nothing more to read.
    pub async fn broken(&self) {
        match self {
            Self::Plain(stream) => _ = stream.ready(Interest::ERROR).await,
            Self::Tls(link) => _ = link.socket().ready(Interest::ERROR).await,
            // Its connection knows; and over UDP nothing breaks.
            Self::Stream(_) | Self::Datagrams(_) => pending().await,
        }
    }

    /// Says that nothing more will be written. What was written still goes out.
    pub fn shut_write(&self) {
        match self {
            // A socket that is already gone needs no goodbye.
            Self::Plain(stream) => _ = SockRef::from(&**stream).shutdown(Shutdown::Write),
            Self::Tls(link) => link.shut_write(),
            Self::Stream(stream) => stream.shut_write(),
            Self::Datagrams(_) => (),
        }
    }

    /// Whether the peer may still say something, and be heard, once our side has ended.
    pub fn lingers(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Tls(_) => true,
            Self::Stream(stream) => stream.lingers(),
            Self::Datagrams(_) => false,
        }
    }

    /// Ends both sides at once. Whoever still waits on the connection is woken, so that nothing holds it open.
    pub fn cut(&self) {
        match self {
            Self::Plain(stream) => _ = SockRef::from(&**stream).shutdown(Shutdown::Both),
            Self::Tls(link) => link.cut(),
            Self::Stream(stream) => stream.cut(),
            Self::Datagrams(_) => (),
        }
    }

    /// Whether something that counts as written has not left yet.
    pub fn owes(&self) -> bool {
        matches!(self, Self::Tls(link) if link.owes())
    }

    /// What happened to TLS since this was asked the last time.
    pub fn take_tls_news(&self) -> Option<News> {
        match self {
            Self::Tls(link) => link.take_news(),
            _ => None,
        }
    }

    /// Whether it is not yet known how a TLS handshake ends.
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(link) if link.is_handshaking())
    }

    /// Whether what goes over it is encrypted.
    pub fn is_sealed(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Datagrams(_) => false,
            Self::Tls(link) => link.is_sealed(),
            Self::Stream(stream) => stream.is_sealed(),
        }
    }
}

impl Sink for Link {
    fn try_write(&mut self, bytes: &Bytes) -> Written {
        match self {
            Self::Plain(stream) => written(stream.try_write(bytes), bytes.len()),
            Self::Tls(link) => link.try_write(bytes),
            Self::Stream(stream) => stream.try_write(bytes),
            Self::Datagrams(peer) => peer.try_write(bytes),
        }
    }

    fn try_write_vectored(&mut self, slices: &[Bytes]) -> Written {
        match self {
            Self::Plain(stream) => {
                let whole = slices.iter().map(Bytes::len).sum();
                let slices: smallvec::SmallVec<[io::IoSlice<'_>; 16]> =
                    slices.iter().take(SLICES_MAX).map(|slice| io::IoSlice::new(slice)).collect();
                written(stream.try_write_vectored(&slices), whole)
            }
            Self::Tls(link) => link.try_write_vectored(slices),
            Self::Stream(stream) => {
                let mut taken = 0;
                for slice in slices {
                    match stream.try_write(slice) {
                        Written::All => taken += slice.len(),
                        Written::Part(part) => return Written::Part(taken + part),
                        Written::Gone => return Written::Gone,
                    }
                }
                Written::All
            }
            Self::Datagrams(peer) => peer.try_write_vectored(slices),
        }
    }
}

fn written(result: io::Result<usize>, whole: usize) -> Written {
    match result {
        Ok(written) if written >= whole => Written::All,
        Ok(written) => Written::Part(written),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Written::Part(0),
        Err(_) => Written::Gone,
    }
}

/// What the kernel takes in one call (IOV_MAX).
const SLICES_MAX: usize = 1024;
