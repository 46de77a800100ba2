//! Publishers that wait: the policy of their channel is that they do while a subscriber is behind. To wait is a state of a
//! connection, which is not read from meanwhile.

use std::collections::{HashMap, VecDeque};

use bongsu_core::directory::PublishFault;
use bongsu_core::encoding::Encoding;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::native;
use bongsu_core::{ChannelName, Draft, Position};
use bytes::BytesMut;
use tracing::debug;

use super::Worker;
use crate::engine::Keyed;
use crate::metrics::TransportKind;
use crate::transport::answer::Exchange;
use crate::transport::publish::Batch;
use crate::transport::stomp::Commit;

/// A publication that may have to wait, and what follows on it.
pub(crate) struct Pending {
    pub(crate) kind: TransportKind,
    pub(crate) channel: ChannelName,
    pub(crate) draft: Draft,
    pub(crate) idempotency: Option<IdempotencyKey>,
    /// What belongs to it and is published right behind it.
    pub(crate) following: Vec<Keyed>,
    pub(crate) then: Then,
}

/// What follows on a publication.
pub(crate) enum Then {
    /// The answer to an HTTP request.
    Answer(Exchange),
    /// The next line of a batch.
    Batch { id: Option<native::Id>, batch: Box<Batch> },
    /// What else a SEND or COMMIT brought, and its receipt.
    Stomp(Box<Commit>),
    /// A reply in the native form.
    Reply { id: Option<native::Id>, encoding: Encoding },
    /// Nothing: a plain payload has no answer.
    Nothing,
}

/// The publishers of one worker that wait, by channel, each in the order in which it came.
#[derive(Default)]
pub(crate) struct Held {
    by_channel: HashMap<ChannelName, VecDeque<Waiter>>,
}

/// One connection that waits.
#[derive(Debug, Clone, Copy)]
struct Waiter {
    key: SubscriberKey,
    generation: u32,
    due_ms: u64,
}

/// What became of an attempt: what follows, and its result; or what is to wait.
pub(crate) type Attempt = Result<(Then, Result<Position, PublishFault>), Box<Pending>>;

impl Held {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.by_channel.values().map(VecDeque::len).sum()
    }

    /// Takes those whose time is over.
    fn take_due(&mut self, now_ms: u64) -> Vec<Waiter> {
        let mut due = Vec::new();
        self.by_channel.retain(|_, waiters| {
            while let Some(waiter) = waiters.pop_front_if(|waiter| waiter.due_ms <= now_ms) {
                due.push(waiter);
            }
            !waiters.is_empty()
        });
        due
    }
}

impl Worker {
    /// Publishes for a connection, now or when its channel takes publications again.
    pub(crate) fn publish_patiently(&mut self, key: SubscriberKey, pending: Pending, replies: &mut BytesMut) {
        match self.attempt(pending) {
            Ok((then, result)) => self.conclude(key, then, result, replies),
            Err(pending) => self.hold(key, pending),
        }
    }

    /// Tries to publish. Nothing is answered or counted of one that is to wait.
    pub(crate) fn attempt(&mut self, pending: Pending) -> Attempt {
        let Pending { kind, channel, draft, idempotency, following, then } = pending;
        let count = 1 + following.len() as u64;
        if !self.shared.rules.may_pause() {
            let result = self.engine().publish_together(&channel, (draft, idempotency), following);
            self.metrics.publications(kind, result.map_or(0, |_| count));
            return Ok((then, result));
        }
        loop {
            match self.engine().publish_together(&channel, (draft.clone(), idempotency.clone()), following.clone()) {
                Err(PublishFault::Held) if self.engine().of_worker(self.index).await_release(&channel) => {
                    return Err(Box::new(Pending { kind, channel, draft, idempotency, following, then }));
                }
                // It was let go in between.
                Err(PublishFault::Held) => (),
                result => {
                    self.metrics.publications(kind, result.map_or(0, |_| count));
                    return Ok((then, result));
                }
            }
        }
    }

    /// Has a connection wait with what it publishes. It is not read from until then.
    pub(crate) fn hold(&mut self, key: SubscriberKey, pending: Box<Pending>) {
        let due_ms = self.now_ms() + self.shared.rules.of(&pending.channel).pause_max_ms;
        self.metrics.publisher_paused(pending.kind);
        debug!(key, channel = %pending.channel, "a publisher waits for the channel's subscribers");
        let Some(connection) = self.hub.sink(key) else { return };
        let waiter = Waiter { key, generation: connection.generation, due_ms };
        self.held.by_channel.entry(pending.channel.clone()).or_default().push_back(waiter);
        connection.held = Some(pending);
    }

    /// Lets those publish whose channels take publications again.
    pub(super) fn release_held(&mut self) {
        for channel in self.engine().inbox(self.index).take_released() {
            self.retry_held(&channel);
        }
    }

    /// Lets all who wait try again, such as under another configuration.
    pub(super) fn retry_all_held(&mut self) {
        let channels: Vec<_> = self.held.by_channel.keys().cloned().collect();
        channels.iter().for_each(|channel| self.retry_held(channel));
    }

    fn retry_held(&mut self, channel: &ChannelName) {
        let Some(mut waiters) = self.held.by_channel.remove(channel) else { return };
        while let Some(waiter) = waiters.pop_front() {
            let Some(pending) = self.take_held(waiter) else { continue };
            match self.attempt(*pending) {
                Ok((then, result)) => self.conclude_held(waiter.key, then, result),
                Err(pending) => {
                    // Those behind it would fare no better, and keep their places.
                    if let Some(connection) = self.hub.sink(waiter.key) {
                        connection.held = Some(pending);
                        waiters.push_front(waiter);
                    }
                    break;
                }
            }
        }
        // Who went on may have come to wait again.
        let mut later = self.held.by_channel.remove(channel).unwrap_or_default();
        waiters.append(&mut later);
        if !waiters.is_empty() {
            self.held.by_channel.insert(channel.clone(), waiters);
        }
    }

    /// Tells those who have waited for too long.
    pub(super) fn expire_held(&mut self, now_ms: u64) {
        for waiter in self.held.take_due(now_ms) {
            let Some(pending) = self.take_held(waiter) else { continue };
            let Pending { channel, mut then, .. } = *pending;
            if let Then::Batch { batch, .. } = &mut then {
                batch.give_up(channel);
            }
            self.conclude_held(waiter.key, then, Err(PublishFault::Held));
        }
    }

    /// Whether a connection waits to publish.
    pub(crate) fn is_held(&mut self, key: SubscriberKey) -> bool {
        self.hub.sink(key).is_some_and(|connection| connection.held.is_some())
    }

    /// What a connection waits with, unless it is another by now or waits no longer.
    fn take_held(&mut self, waiter: Waiter) -> Option<Box<Pending>> {
        let connection = self.hub.sink(waiter.key).filter(|connection| connection.generation == waiter.generation)?;
        connection.held.take()
    }

    /// Tells one who waited what became of it, and reads on.
    fn conclude_held(&mut self, key: SubscriberKey, then: Then, result: Result<Position, PublishFault>) {
        let mut replies = BytesMut::new();
        self.conclude(key, then, result, &mut replies);
        self.reply(key, &mut replies);
        self.resume(key);
        self.settle();
    }
}
