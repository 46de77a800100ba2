//! A connection that takes as many bytes as it is allowed to, and keeps them for its reader.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use bongsu_core::hub::{Sink, Written};

/// What the peer took, and how much more it takes.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) taken: Vec<u8>,
    pub(crate) room: usize,
    pub(crate) gone: bool,
}

/// The server's end of a pipe.
#[derive(Clone, Default)]
pub(crate) struct PipeEnd(pub Rc<RefCell<Pipe>>);

impl Sink for PipeEnd {
    fn try_write(&mut self, bytes: &Bytes) -> Written {
        let mut pipe = self.0.borrow_mut();
        if pipe.gone {
            return Written::Gone;
        }
        let taken = bytes.len().min(pipe.room);
        pipe.taken.extend_from_slice(&bytes[..taken]);
        pipe.room -= taken;
        if taken == bytes.len() { Written::All } else { Written::Part(taken) }
    }
}
