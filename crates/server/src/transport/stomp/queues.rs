//! Queues over STOMP: what consumers on this worker are handed goes out as far as their sockets take it; what they say of it goes to
//! the engine. A blocked consumer holds messages in its hand, bounded by its window, and nothing that is encoded.

use std::collections::{HashMap, VecDeque};

use bongsu_core::Draft;
use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::Framing;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::queue::{ConsumerKey, End, Handed, MessageNumber, QueueName, Verdict};
use bongsu_core::stomp::{MessageForm, Receipt, SubscriptionNumber};
use bongsu_core::websocket::Opcode;
use bytes::BytesMut;

use crate::metrics::CloseReason;
use crate::worker::{Worker, WorkerRef};

/// The consumers of a worker's connections.
#[derive(Default)]
pub(crate) struct Consumers {
    connections: HashMap<SubscriberKey, Consuming>,
    connection_of: HashMap<ConsumerKey, SubscriberKey>,
}

/// The consumers of one connection.
#[derive(Default)]
struct Consuming {
    consumers: HashMap<ConsumerKey, Consumed>,
    of_subscription: HashMap<SubscriptionNumber, ConsumerKey>,
    /// What it was handed and was not yet sent, in order. Bounded by the windows of its consumers.
    to_send: VecDeque<Handed>,
    /// What it was sent and needs no answer, but may still wait for its socket.
    to_settle: Vec<(ConsumerKey, MessageNumber)>,
}

/// What one consumer consumes.
struct Consumed {
    queue: QueueName,
    subscription: SubscriptionNumber,
    form: MessageForm,
}

impl Worker {
    /// Sends what this worker's consumers are handed, for as long as the thread lives.
    pub(crate) async fn deliver_queued(worker: WorkerRef) {
        let (shared, index) = {
            let worker = worker.borrow();
            (std::sync::Arc::clone(&worker.shared), worker.index())
        };
        loop {
            shared.engine.queues().inbox(index).woken().await;
            let mut worker = worker.borrow_mut();
            worker.take_handed();
            worker.settle();
        }
    }

    /// Puts messages into a queue, and has the session acknowledge or refuse it.
    pub(super) fn enqueue_stomp(&mut self, key: SubscriberKey, queue: &QueueName, drafts: Vec<Draft>, receipt: Option<&Receipt>) {
        let published = self.engine().queues().publish(queue, drafts);
        let Some(stomp) = self.stomp(key) else { return };
        match published {
            Ok(()) => stomp.session.published(receipt, None),
            Err(fault) => stomp.session.refuse(receipt, fault.code(), fault.to_string()),
        }
    }

    /// Makes a consumer of a subscription. It is handed what waits in the worker's next turn.
    pub(super) fn consume_stomp(
        &mut self,
        key: SubscriberKey,
        subscription: SubscriptionNumber,
        queue: QueueName,
        window: usize,
        form: MessageForm,
        receipt: Option<&Receipt>,
    ) {
        let consumer = self.engine().queues().consume(&queue, self.index(), window);
        let Some(stomp) = self.stomp(key) else { return };
        match consumer {
            Ok(consumer) => {
                stomp.session.consuming(receipt);
                self.consumers.connection_of.insert(consumer, key);
                let consuming = self.consumers.connections.entry(key).or_default();
                consuming.of_subscription.insert(subscription, consumer);
                consuming.consumers.insert(consumer, Consumed { queue, subscription, form });
            }
            Err(fault) => stomp.session.refuse(receipt, fault.code(), fault.to_string()),
        }
    }

    /// Passes on what a client says of messages that it has in hand.
    pub(super) fn answer_stomp(
        &mut self,
        key: SubscriberKey,
        subscription: SubscriptionNumber,
        queue: &QueueName,
        numbers: &[MessageNumber],
        verdict: Verdict,
    ) {
        let consumer = self.consumers.connections.get(&key).and_then(|consuming| consuming.of_subscription.get(&subscription));
        let Some(&consumer) = consumer else { return };
        if self.engine().queues().answer(queue, consumer, numbers, verdict).is_err() {
            // It comes too late to be in the snapshot, so no receipt may claim that it was done.
            self.disconnect(key, &Disconnect::Shutdown);
        }
    }

    /// Ends the consumer of a subscription that is no more.
    pub(super) fn cancel_stomp(&mut self, key: SubscriberKey, subscription: SubscriptionNumber, queue: &QueueName) {
        let Some(consuming) = self.consumers.connections.get_mut(&key) else { return };
        let Some(consumer) = consuming.of_subscription.remove(&subscription) else { return };
        consuming.consumers.remove(&consumer);
        consuming.to_send.retain(|handed| handed.consumer != consumer);
        if consuming.consumers.is_empty() {
            self.consumers.connections.remove(&key);
        }
        self.consumers.connection_of.remove(&consumer);
        self.engine().queues().cancel(queue, consumer, End::Leaving);
    }

    /// Ends the consumers of a connection that ends; what they have in hand goes to others.
    pub(crate) fn stop_consuming(&mut self, key: SubscriberKey, reason: CloseReason) {
        let Some(consuming) = self.consumers.connections.remove(&key) else { return };
        let end = match reason {
            CloseReason::Client | CloseReason::Done | CloseReason::Shutdown => End::Leaving,
            _ => End::Lost,
        };
        for (consumer, Consumed { queue, .. }) in consuming.consumers {
            self.consumers.connection_of.remove(&consumer);
            self.engine().queues().cancel(&queue, consumer, end);
        }
    }

    /// Takes what was handed out, and sends it as far as the sockets take it.
    fn take_handed(&mut self) {
        let mut to_serve = Vec::new();
        for handed in self.engine().queues().inbox(self.index()).take() {
            // A consumer that has ended meanwhile has given it back.
            let Some(&key) = self.consumers.connection_of.get(&handed.consumer) else { continue };
            let Some(consuming) = self.consumers.connections.get_mut(&key) else { continue };
            if consuming.to_send.is_empty() {
                to_serve.push(key);
            }
            consuming.to_send.push_back(handed);
        }
        to_serve.into_iter().for_each(|key| self.send_queued(key));
    }

    /// Sends a connection what it was handed, while its socket takes it. Called again when a blocked one has taken all.
    pub(crate) fn send_queued(&mut self, key: SubscriberKey) {
        let mut frames = BytesMut::new();
        while self.hub.waiting_bytes(key) == 0 {
            let Some(consuming) = self.consumers.connections.get_mut(&key) else { return };
            let Some(handed) = consuming.to_send.pop_front() else { break };
            self.write_queued(key, &handed, &mut frames);
            if frames.len() > BATCH_BYTES {
                self.reply(key, &mut frames);
            }
        }
        self.reply(key, &mut frames);
        self.settle_queued(key);
    }

    fn write_queued(&mut self, key: SubscriberKey, handed: &Handed, frames: &mut BytesMut) {
        let Handed { consumer, message, deliveries, .. } = handed;
        let Some(consuming) = self.consumers.connections.get_mut(&key) else { return };
        let Some(Consumed { queue, subscription, form }) = consuming.consumers.get(consumer) else { return };
        let Some(stomp) = self.hub.sink(key).and_then(|connection| connection.phase.stomp_mut()) else { return };
        if form.is_acknowledged() {
            stomp.session.queued_sent(*subscription, message.number);
        } else {
            consuming.to_settle.push((*consumer, message.number));
        }
        match stomp.framing {
            Framing::WebSocket => {
                let deflate = stomp.deflate;
                let mut frame = BytesMut::new();
                form.write_queued(queue, message, *deliveries, &mut frame);
                let is_text = message.draft.content_type.is_textual() && std::str::from_utf8(&message.draft.data).is_ok();
                let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
                self.hub.encoder().message(deflate, opcode, &frame, frames);
            }
            Framing::Raw | Framing::Chunked | Framing::Datagram => form.write_queued(queue, message, *deliveries, frames),
        }
    }

    /// What needs no answer is done once the kernel has it.
    fn settle_queued(&mut self, key: SubscriberKey) {
        if self.hub.waiting_bytes(key) > 0 {
            return;
        }
        let Some(consuming) = self.consumers.connections.get_mut(&key) else { return };
        let mut done = std::mem::take(&mut consuming.to_settle);
        done.sort_unstable();
        for of_one in done.chunk_by(|one, other| one.0 == other.0) {
            let consumer = of_one[0].0;
            let numbers: Vec<_> = of_one.iter().map(|(_, number)| *number).collect();
            let queue = self.consumers.connections.get(&key).and_then(|consuming| consuming.consumers.get(&consumer));
            let Some(Consumed { queue, .. }) = queue else { continue };
            // Too late for the snapshot it is only delivered once more.
            _ = self.engine().queues().answer(queue, consumer, &numbers, Verdict::Done);
        }
    }
}

/// How much is encoded before it is written.
const BATCH_BYTES: usize = 64 << 10;
