//! A client: what it follows, how far it has come, and the connection that it has at the moment.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bongsu_core::encoding::Encoding;
use bongsu_core::hub::{Slot, SubscriberKey};
use bongsu_core::stomp::MessageForm;
use bongsu_core::{Gap, Offset, Position};

use crate::parse::Parser;
use crate::pipe::Pipe;

/// A client with its cursors.
pub(crate) struct Reader {
    pub(crate) follows: Vec<Followed>,
    pub(crate) link: Link,
    /// The cursors it had after each of the last records: a lost connection may have lost the newest of them.
    pub(crate) remembered: VecDeque<Vec<Option<Position>>>,
}

/// One channel of a reader.
pub(crate) struct Followed {
    pub(crate) channel: usize,
    /// The last publication seen, or what the server said in its place.
    pub(crate) cursor: Option<Position>,
    /// The subscription, while there is one.
    pub(crate) slot: Option<Slot>,
    /// Where the subscription starts, until the stream has said so.
    pub(crate) opening: Option<Position>,
    /// Heartbeats that are on their way, and that must come before the opening does.
    pub(crate) beats: VecDeque<Position>,
    /// The gap it starts with, until the stream has said so.
    pub(crate) gap: Option<Gap>,
    /// The channel's head when it joined, as its worker knew it: what came before is catch-up.
    pub(crate) joined: Offset,
    /// After an unsubscribe: up to where the rest of what was begun may still come.
    pub(crate) until: Option<Offset>,
}

/// How a reader is connected.
pub(crate) enum Link {
    None,
    Stream(Box<Stream>),
    /// A long poll that waits.
    Waiting {
        worker: usize,
        key: SubscriberKey,
    },
}

/// A connection that takes frames.
pub(crate) struct Stream {
    pub(crate) worker: usize,
    pub(crate) key: SubscriberKey,
    pub(crate) encoding: Encoding,
    /// How its records are written, if it speaks STOMP.
    pub(crate) form: Option<MessageForm>,
    pub(crate) pipe: Rc<RefCell<Pipe>>,
    pub(crate) parser: Parser,
    /// The hub asked to be told when the pipe takes more.
    pub(crate) blocked: bool,
    /// What the floors were when gaps were told, by place in `follows`: the only cursors that a gap may resume at.
    pub(crate) told: Vec<(usize, Position)>,
    /// The server has said goodbye.
    pub(crate) ended: bool,
}

impl Reader {
    pub(crate) fn new(channels: Vec<usize>) -> Self {
        let follows = channels.into_iter().map(Followed::new).collect();
        Self { follows, link: Link::None, remembered: VecDeque::new() }
    }

    pub(crate) fn cursors(&self) -> Vec<Option<Position>> {
        self.follows.iter().map(|followed| followed.cursor).collect()
    }

    pub(crate) fn remember(&mut self) {
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back(self.cursors());
    }

    /// Goes back to what it knew so many records ago, as one does who never got them.
    pub(crate) fn forget_newest(&mut self, records: usize) {
        let index = self.remembered.len().saturating_sub(1 + records);
        if let Some(cursors) = self.remembered.get(index) {
            self.follows.iter_mut().zip(cursors).for_each(|(followed, cursor)| followed.cursor = *cursor);
        }
    }

    /// Nothing of the last connection counts for the next.
    pub(crate) fn disconnected(&mut self) {
        self.link = Link::None;
        for followed in &mut self.follows {
            *followed = Followed { cursor: followed.cursor, ..Followed::new(followed.channel) };
        }
    }

    pub(crate) fn stream(&mut self) -> Option<&mut Stream> {
        match &mut self.link {
            Link::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn is_named(&self, worker: usize, key: SubscriberKey) -> bool {
        match &self.link {
            Link::None => false,
            Link::Stream(stream) => (stream.worker, stream.key) == (worker, key),
            Link::Waiting { worker: of, key: named } => (*of, *named) == (worker, key),
        }
    }
}

impl Followed {
    fn new(channel: usize) -> Self {
        Self { channel, cursor: None, slot: None, opening: None, beats: VecDeque::new(), gap: None, joined: 0, until: None }
    }
}

const REMEMBERED_MAX: usize = 6;
