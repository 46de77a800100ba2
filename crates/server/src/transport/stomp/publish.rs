//! SEND and COMMIT: what a client publishes over STOMP.

use std::collections::HashMap;

use bongsu_core::directory::PublishFault;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::stomp::{Receipt, StompPublish};
use bongsu_core::{ChannelName, Draft, Position};

use crate::transport::publish::publish_problem;
use crate::worker::Worker;

/// What is to be published in one channel, in the order sent.
type Together = (ChannelName, Vec<(Draft, Option<IdempotencyKey>)>);

impl Worker {
    /// Publishes what one SEND or a whole transaction brought, and has the session acknowledge or refuse it.
    pub(super) fn publish_stomp(&mut self, key: SubscriberKey, publishes: Vec<StompPublish>, receipt: Option<&Receipt>) {
        let Some(kind) = self.hub.sink(key).map(|connection| connection.kind) else { return };
        // The only refusal that STOMP has ends the connection: who is too fast is read from later instead.
        publishes.iter().for_each(|publish| self.charge_and_wait(key, publish.draft.data.len()));
        let (published, fault) = self.publish_all(publishes);
        self.metrics.publications(kind, published.len() as u64);
        let Some(stomp) = self.stomp(key) else { return };
        match fault {
            None => stomp.session.published(receipt, published.first().copied().filter(|_| published.len() == 1)),
            Some(fault) => stomp.session.refuse(receipt, publish_problem(fault).code, fault.to_string()),
        }
    }

    /// Publishes channel by channel, those of one with nobody else's between them. The first refusal ends it.
    fn publish_all(&self, mut publishes: Vec<StompPublish>) -> (Vec<Position>, Option<PublishFault>) {
        if publishes.len() == 1
            && let Some(StompPublish { channel, draft, idempotency_key }) = publishes.pop()
        {
            let published = self.engine().publish(&channel, draft, idempotency_key.as_deref().map(IdempotencyKey::anonymous));
            return published.map_or_else(|fault| (Vec::new(), Some(fault)), |position| (vec![position], None));
        }
        let mut positions = Vec::with_capacity(publishes.len());
        for (channel, drafts) in by_channel(publishes) {
            match self.engine().publish_together(&channel, drafts) {
                Ok(more) => positions.extend(more),
                Err(fault) => return (positions, Some(fault)),
            }
        }
        (positions, None)
    }
}

/// The channels in the order in which they first came up.
fn by_channel(publishes: Vec<StompPublish>) -> Vec<Together> {
    let mut places = HashMap::new();
    let mut channels: Vec<Together> = Vec::new();
    for StompPublish { channel, draft, idempotency_key } in publishes {
        let place = *places.entry(channel.clone()).or_insert_with(|| {
            channels.push((channel, Vec::new()));
            channels.len() - 1
        });
        channels[place].1.push((draft, idempotency_key.as_deref().map(IdempotencyKey::anonymous)));
    }
    channels
}
