//! Bytes that a stream gave to its connection to send. They count as buffered for exactly as long as they are: until they are
//! written, or thrown away because the stream was reset.

use std::rc::Rc;

use bytes::{Buf, Bytes};

use super::Peer;

/// A piece of an answer that is on its way.
#[derive(Debug)]
pub(super) struct Given {
    bytes: Bytes,
    peer: Rc<Peer>,
}

impl Given {
    pub(super) fn new(bytes: Bytes, peer: &Rc<Peer>) -> Self {
        peer.buffered_bytes.set(peer.buffered_bytes.get() + bytes.len());
        Self { bytes, peer: Rc::clone(peer) }
    }

    fn let_go(&self, count: usize) {
        self.peer.buffered_bytes.set(self.peer.buffered_bytes.get() - count);
    }
}

impl Buf for Given {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.let_go(count);
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.let_go(self.bytes.len());
    }
}
