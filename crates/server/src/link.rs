//! The bytes of one connection, in and out. A worker owns it and writes to it directly; only one that is full waits for itself.

use std::io;
use std::rc::Rc;

use bongsu_core::hub::{Sink, Written};
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;

/// A connection's two ends.
#[derive(Debug, Clone)]
pub enum Link {
    /// TCP as it is.
    Plain(Rc<TcpStream>),
}

impl Link {
    /// Reads what is there, if anything, behind what `input` already holds.
    pub fn try_read(&self, input: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read_buf(input),
        }
    }

    /// Waits until there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
        }
    }

    /// Waits until the peer may take more.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.writable().await,
        }
    }

    /// Says that nothing more will be written. What was written still goes out.
    pub fn shut_write(&self) {
        match self {
            // A socket that is already gone needs no goodbye.
            Self::Plain(stream) => _ = SockRef::from(&**stream).shutdown(std::net::Shutdown::Write),
        }
    }
}

impl Sink for Link {
    fn try_write(&mut self, bytes: &Bytes) -> Written {
        match self {
            Self::Plain(stream) => written(stream.try_write(bytes), bytes.len()),
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
