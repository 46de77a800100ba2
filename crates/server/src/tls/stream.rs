//! A TLS connection as a stream of bytes for a task that waits: HTTP/2 runs over it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bongsu_core::hub::Written;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::TlsLink;
use crate::link::Read;

/// A TLS connection that one task owns.
#[derive(Debug)]
pub(crate) struct TlsStream {
    link: Rc<TlsLink>,
    /// Plaintext that came and was not asked for yet.
    unread: BytesMut,
}

impl TlsStream {
    pub(crate) fn new(link: Rc<TlsLink>) -> Self {
        Self { link, unread: BytesMut::new() }
    }

    /// Waits until all that is sealed is out.
    fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.link.flush()? {
            ready!(self.link.socket().poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { link, unread } = &mut *self;
        while unread.is_empty() {
            // Ready first: an attempt at a socket with nothing to read is what makes the next wait a wait.
            match link.try_read(unread) {
                Read::Some | Read::Last => break,
                Read::Nothing => ready!(link.socket().poll_read_ready(cx))?,
                Read::End | Read::Closed => return Poll::Ready(Ok(())),
                Read::Broken => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let count = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..count]);
        unread.advance(count);
        if unread.is_empty() {
            *unread = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.link.try_write(bytes) {
                Written::All => return Poll::Ready(Ok(bytes.len())),
                Written::Part(0) => ready!(self.link.socket().poll_write_ready(cx))?,
                Written::Part(count) => return Poll::Ready(Ok(count)),
                Written::Gone => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.shut_write();
        self.poll_out(cx)
    }
}
