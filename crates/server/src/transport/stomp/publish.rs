//! SEND and COMMIT: what a client publishes over STOMP.

use std::collections::{HashMap, VecDeque};

use bongsu_core::directory::PublishFault;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::stomp::{Receipt, StompPublish};
use bongsu_core::{ChannelName, Position};

use crate::engine::Keyed;
use crate::metrics::TransportKind;
use crate::transport::publish::publish_problem;
use crate::worker::Worker;
use crate::worker::held::{Pending, Then};

/// What one SEND or a whole transaction brought, on its way: published channel by channel, those of one with nobody else's between
/// them. The first refusal ends it.
pub(crate) struct Commit {
    kind: TransportKind,
    channels: VecDeque<(ChannelName, VecDeque<Keyed>)>,
    /// Whether there is one publication alone, whose position its receipt tells.
    single: bool,
    receipt: Option<Receipt>,
}

impl Worker {
    /// Publishes what was sent, and has the session acknowledge or refuse it.
    pub(super) fn publish_stomp(&mut self, key: SubscriberKey, publishes: Vec<StompPublish>, receipt: Option<Receipt>) {
        let Some(kind) = self.hub.sink(key).map(|connection| connection.kind) else { return };
        // The only refusal that STOMP has ends the connection: who is too fast is read from later instead.
        publishes.iter().for_each(|publish| self.charge_and_wait(key, publish.draft.data.len()));
        let single = publishes.len() == 1;
        let commit = Commit { kind, channels: by_channel(publishes), single, receipt };
        self.publish_channels(key, Box::new(commit), None);
    }

    /// Goes on with a commit of which some publications had to wait.
    pub(crate) fn go_on_with_commit(&mut self, key: SubscriberKey, commit: Box<Commit>, result: Result<Position, PublishFault>) {
        match result {
            Ok(position) => self.publish_channels(key, commit, Some(position)),
            Err(fault) => self.refuse_commit(key, &commit, fault),
        }
    }

    fn publish_channels(&mut self, key: SubscriberKey, mut commit: Box<Commit>, mut last: Option<Position>) {
        while let Some((channel, mut drafts)) = commit.channels.pop_front() {
            let Some((draft, idempotency)) = drafts.pop_front() else { continue };
            let kind = commit.kind;
            let pending = Pending { kind, channel, draft, idempotency, following: drafts.into(), then: Then::Stomp(commit) };
            match self.attempt(pending) {
                Ok((Then::Stomp(again), Ok(position))) => (commit, last) = (again, Some(position)),
                Ok((Then::Stomp(again), Err(fault))) => return self.refuse_commit(key, &again, fault),
                Ok(_) => return,
                Err(pending) => return self.hold(key, pending),
            }
        }
        let Some(stomp) = self.stomp(key) else { return };
        stomp.session.published(commit.receipt.as_ref(), last.filter(|_| commit.single));
    }

    fn refuse_commit(&mut self, key: SubscriberKey, commit: &Commit, fault: PublishFault) {
        let Some(stomp) = self.stomp(key) else { return };
        stomp.session.refuse(commit.receipt.as_ref(), publish_problem(fault).code, fault.to_string());
    }
}

/// The channels in the order in which they first came up.
fn by_channel(publishes: Vec<StompPublish>) -> VecDeque<(ChannelName, VecDeque<Keyed>)> {
    let mut places = HashMap::new();
    let mut channels: VecDeque<(ChannelName, VecDeque<Keyed>)> = VecDeque::new();
    for StompPublish { channel, draft, idempotency_key } in publishes {
        let place = *places.entry(channel.clone()).or_insert_with(|| {
            channels.push_back((channel, VecDeque::new()));
            channels.len() - 1
        });
        channels[place].1.push_back((draft, idempotency_key.as_deref().map(IdempotencyKey::anonymous)));
    }
    channels
}
