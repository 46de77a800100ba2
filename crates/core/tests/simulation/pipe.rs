//! A connection that takes as many bytes as it is allowed to, and keeps them for its reader.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use bongsu_core::Position;
use bongsu_core::hub::{Sink, Slot, Written};

/// What the peer took, and how much more it takes.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) taken: Vec<u8>,
    pub(crate) room: usize,
    pub(crate) gone: bool,
    /// How many records of a subscription may be unanswered, where its reader answers for them.
    pub(crate) prefetch: usize,
    /// What is unanswered, by subscription.
    pub(crate) in_flight: BTreeMap<Slot, VecDeque<Position>>,
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

    fn window(&self, slot: Slot) -> usize {
        let pipe = self.0.borrow();
        pipe.prefetch - pipe.in_flight.get(&slot).map_or(0, VecDeque::len)
    }

    fn sent(&mut self, slot: Slot, first: Position, count: usize) {
        assert!((1..=self.window(slot)).contains(&count), "{count} are sent through a window of {}", self.window(slot));
        let sent = (first.offset..).take(count).map(|offset| Position::new(first.epoch, offset));
        self.0.borrow_mut().in_flight.entry(slot).or_default().extend(sent);
    }

    fn gap_sent(&mut self, slot: Slot, resumed: Position) {
        assert!(self.window(slot) > 0, "a gap takes its place in the window too");
        self.0.borrow_mut().in_flight.entry(slot).or_default().push_back(resumed);
    }
}
