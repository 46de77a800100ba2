//! What a server does for one STOMP client: frames in, actions out. Sockets, timers and the hub are the caller's.

mod answer;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::{Bytes, BytesMut};

use super::connect::{Connect, HeartBeatOffer};
use super::decode::Decoder;
use super::destination::Target;
use super::fault::{StompFault, quote};
use super::frame::{Frame, FrameCommand};
use super::message::MessageForm;
use super::send::Sent;
use super::subscription::{AckMode, Answered, MessageId, SubscribeRequest, Subscription, SubscriptionKey, not_in_flight};
use super::transaction::{Answer, Transaction, Transactions};
use super::{StompLimits, Version};
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Draft;
use crate::queue::{MessageNumber, QueueName, Verdict};
use crate::start::Start;

/// One client's session.
#[derive(Debug)]
pub struct StompSession {
    limits: StompLimits,
    versions: Vec<Version>,
    heart_beat: HeartBeatOffer,
    decoder: Decoder,
    state: State,
    /// By number, which are given in order and never twice.
    subscriptions: BTreeMap<SubscriptionNumber, Subscription>,
    numbers: BTreeMap<SubscriptionKey, SubscriptionNumber>,
    next_number: u64,
    transactions: Transactions,
    nacked: u64,
    /// What the frames read so far led to; at most what one frame can.
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum State {
    /// Nothing but CONNECT is expected.
    Opened,
    /// Waiting for `accept` or `refuse`; what else came stays unread.
    Connecting(Connect),
    Connected(Version),
    /// The last word was said, in this version if one was agreed.
    Ended,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Decide whether this client may connect: `accept` or `refuse`. Until then nothing more is read.
    Connect(Connect),
    /// Publish these in order, those of one channel together; then `published`, or `refuse`.
    Publish {
        /// One SEND, or all of a transaction.
        publishes: Vec<StompPublish>,
        /// What to acknowledge once it is done.
        receipt: Option<Receipt>,
    },
    /// Join the channel; then `subscribed`, or `refuse`.
    Subscribe {
        /// The subscription in later calls and actions.
        subscription: SubscriptionNumber,
        /// The channel to follow.
        channel: ChannelName,
        /// Where to start.
        start: Start,
        /// How its messages are written.
        form: MessageForm,
        /// What to acknowledge once it is done.
        receipt: Option<Receipt>,
    },
    /// Leave the channel.
    Unsubscribe {
        /// The subscription, which is already forgotten here.
        subscription: SubscriptionNumber,
        /// The channel that it followed.
        channel: ChannelName,
    },
    /// Put these into the queue, all or none; then `published`, or `refuse`.
    Enqueue {
        /// The queue.
        queue: QueueName,
        /// One SEND, or those of a transaction to this queue.
        drafts: Vec<Draft>,
        /// What to acknowledge once it is done.
        receipt: Option<Receipt>,
    },
    /// Begin to consume the queue; then `consuming`, or `refuse`.
    Consume {
        /// The subscription in later calls and actions.
        subscription: SubscriptionNumber,
        /// The queue.
        queue: QueueName,
        /// How many messages may be in hand.
        window: usize,
        /// How its messages are written. For a form that is acknowledged, tell the session of each by `queued_sent`; otherwise they are
        /// done once they are sent.
        form: MessageForm,
        /// What to acknowledge once it is done.
        receipt: Option<Receipt>,
    },
    /// Pass on what the client says of messages that it has in hand.
    Answer {
        /// The subscription.
        subscription: SubscriptionNumber,
        /// The queue.
        queue: QueueName,
        /// The messages.
        numbers: Vec<MessageNumber>,
        /// What it says of them.
        verdict: Verdict,
    },
    /// Consume the queue no more.
    Cancel {
        /// The subscription, which is already forgotten here.
        subscription: SubscriptionNumber,
        /// The queue that it consumed.
        queue: QueueName,
    },
    /// A subscription that could be sent no more can be sent more again.
    WindowOpened {
        /// The subscription.
        subscription: SubscriptionNumber,
    },
    /// Send these bytes.
    Reply(Bytes),
    /// Send what is left, then end the connection: half-close, and linger until the client ends its side or a short time passed.
    Close {
        /// The name of the fault that ended it, if one did.
        fault: Option<&'static str>,
    },
}

/// What a SEND publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StompPublish {
    /// The channel to publish in.
    pub channel: ChannelName,
    /// What to publish.
    pub draft: Draft,
    /// Under which repetitions are known: the header `idempotency-key`.
    pub idempotency_key: Option<Box<str>>,
}

/// A client's mark on a frame, repeated when the frame was processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt(pub(super) Box<str>);

/// A subscription of a session, by the order in which it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionNumber(pub(super) u64);

impl StompSession {
    /// A session that speaks these versions; over WebSocket the subprotocol leaves but one.
    pub fn new(limits: StompLimits, versions: &[Version], heart_beat: HeartBeatOffer) -> Self {
        Self {
            decoder: Decoder::new(&limits),
            limits,
            versions: versions.to_vec(),
            heart_beat,
            state: State::Opened,
            subscriptions: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            transactions: Transactions::default(),
            nacked: 0,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do, reading from the buffer as far as that needs; `None` until more bytes come or `accept` is called.
    pub fn poll(&mut self, buffer: &mut BytesMut) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            match self.state {
                State::Connecting(_) => return None,
                // STOMP 1.2, "DISCONNECT": clients MUST NOT send any more frames.
                State::Ended => {
                    buffer.clear();
                    return None;
                }
                State::Opened | State::Connected(_) => (),
            }
            match self.decoder.decode(buffer) {
                Ok(None) => return None,
                Ok(Some(frame)) => self.handle(&frame).unwrap_or_else(|fault| self.fail(&fault, Some(&frame))),
                Err(fault) => self.fail(&fault, None),
            }
        }
    }

    /// How many more messages the subscription may be sent now; none for one that is not open.
    pub fn window(&self, subscription: SubscriptionNumber) -> usize {
        self.subscriptions.get(&subscription).map_or(0, Subscription::window)
    }

    /// Notes that a publication was sent, so that it waits for its ACK. Needless for a form that is not acknowledged.
    pub fn message_sent(&mut self, subscription: SubscriptionNumber, position: Position) {
        self.sent(subscription, MessageId::Publication(position));
    }

    /// Notes that a gap was sent, which waits for its ACK like any message.
    pub fn gap_sent(&mut self, subscription: SubscriptionNumber, resumed: Position) {
        self.sent(subscription, MessageId::Gap(resumed));
    }

    /// Notes that a message of a queue was sent, so that it waits for its ACK. Needless for a form that is not acknowledged.
    pub fn queued_sent(&mut self, subscription: SubscriptionNumber, number: MessageNumber) {
        self.sent(subscription, MessageId::Queued(number));
    }

    /// Whether there is something to do without further input.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// How many bytes its open transactions hold.
    pub fn transaction_bytes(&self) -> usize {
        self.transactions.bytes()
    }

    /// How many messages the client has refused so far.
    pub fn nacked(&self) -> u64 {
        self.nacked
    }

    /// Whether a frame has begun of which there is more to come.
    pub fn is_within_frame(&self) -> bool {
        self.decoder.is_within_frame()
    }

    /// The version, once agreed.
    pub fn version(&self) -> Option<Version> {
        match &self.state {
            State::Connecting(connect) => Some(connect.version),
            State::Connected(version) => Some(*version),
            State::Opened | State::Ended => None,
        }
    }

    fn handle(&mut self, frame: &Frame) -> Result<(), StompFault> {
        use FrameCommand::{Abort, Ack, Begin, Commit, Connect, Disconnect, Nack, Send, Stomp, Subscribe, Unsubscribe};
        let State::Connected(version) = self.state else { return self.handle_connect(frame) };
        match frame.command {
            Connect | Stomp => Err(StompFault::AlreadyConnected),
            Send => self.handle_send(frame),
            Subscribe => self.handle_subscribe(frame, version),
            Unsubscribe => self.handle_unsubscribe(frame, version),
            Ack => self.handle_answer(frame, version, Verdict::Done),
            Nack if version > Version::V1_0 => self.handle_answer(frame, version, refusal(frame)?),
            Begin => self.transactions.begin(frame, &self.limits).and_then(|()| self.done(frame)),
            Commit => self.handle_commit(frame),
            Abort => self.transactions.end(frame).and_then(|_| self.done(frame)),
            Disconnect => self.handle_disconnect(frame),
            command => Err(StompFault::UnexpectedCommand { command: command.as_str() }),
        }
    }

    fn handle_connect(&mut self, frame: &Frame) -> Result<(), StompFault> {
        if !matches!(frame.command, FrameCommand::Connect | FrameCommand::Stomp) {
            return Err(StompFault::NotConnected { command: frame.command.as_str() });
        }
        let connect = Connect::read(frame, &self.versions, self.heart_beat)?;
        self.actions.push_back(Action::Connect(connect.clone()));
        self.state = State::Connecting(connect);
        Ok(())
    }

    fn handle_send(&mut self, frame: &Frame) -> Result<(), StompFault> {
        let sent = Sent::read(frame, &self.limits)?;
        if let Some(transaction) = frame.get("transaction") {
            self.transactions.add_sent(transaction, sent, &self.limits)?;
            return self.done(frame);
        }
        let receipt = self.receipt_of(frame)?;
        self.send(vec![sent], receipt);
        Ok(())
    }

    fn handle_subscribe(&mut self, frame: &Frame, version: Version) -> Result<(), StompFault> {
        let request = SubscribeRequest::read(frame, version, &self.limits)?;
        let receipt = self.receipt_of(frame)?;
        if matches!(&request.destination.target, Target::Channel(channel) if channel.is_reserved()) {
            return Err(StompFault::ReservedChannel);
        }
        if self.numbers.contains_key(&request.key) {
            return Err(StompFault::SubscriptionExists { id: quote(request.key.as_str().as_bytes()) });
        }
        if self.subscriptions.len() >= self.limits.subscriptions_max {
            return Err(StompFault::TooManySubscriptions { max: self.limits.subscriptions_max });
        }
        let subscription = SubscriptionNumber(self.next_number);
        let opened = Subscription::new(subscription, &request);
        let in_flight_max: usize = self.subscriptions.values().chain([&opened]).map(Subscription::in_flight_max).sum();
        if opened.in_flight_max() > 0 && in_flight_max > self.limits.prefetch_total_max {
            return Err(StompFault::PrefetchTotalTooLarge { max: self.limits.prefetch_total_max });
        }
        self.next_number += 1;
        self.subscriptions.insert(subscription, opened);
        let form = MessageForm {
            version,
            subscription: request.key.id(),
            prefix: request.destination.prefix,
            acknowledged: request.ack_mode != AckMode::Auto,
        };
        self.numbers.insert(request.key, subscription);
        self.actions.push_back(match request.destination.target {
            Target::Channel(channel) => Action::Subscribe { subscription, channel, start: request.start, form, receipt },
            Target::Queue(queue) => Action::Consume { subscription, queue, window: request.prefetch, form, receipt },
        });
        Ok(())
    }

    fn handle_unsubscribe(&mut self, frame: &Frame, version: Version) -> Result<(), StompFault> {
        let key = SubscriptionKey::read(frame, version, &self.limits)?;
        let closed = self.numbers.remove(&key).and_then(|number| self.subscriptions.remove(&number));
        let Subscription { number: subscription, target, .. } =
            closed.ok_or_else(|| StompFault::UnknownSubscription { id: quote(key.as_str().as_bytes()) })?;
        self.actions.push_back(match target {
            Target::Channel(channel) => Action::Unsubscribe { subscription, channel },
            Target::Queue(queue) => Action::Cancel { subscription, queue },
        });
        self.done(frame)
    }

    fn handle_answer(&mut self, frame: &Frame, version: Version, verdict: Verdict) -> Result<(), StompFault> {
        let (subscription, message) = self.answered(frame, version)?;
        let answer = Answer { subscription, message, verdict };
        match frame.get("transaction") {
            Some(transaction) => self.transactions.add_answer(transaction, answer, &self.limits)?,
            None => self.apply(&answer),
        }
        self.done(frame)
    }

    /// Of which message an ACK or NACK speaks; it must be in flight.
    fn answered(&self, frame: &Frame, version: Version) -> Result<(SubscriptionKey, MessageId), StompFault> {
        // STOMP 1.2: `id` is the `ack` of the MESSAGE. 1.1: `message-id` and `subscription`. 1.0: `message-id` alone will do.
        let (text, subscription) = match version {
            Version::V1_2 => {
                let ack = frame.require("id")?;
                ack.split_once('@').map(|(message, subscription)| (message, Some(subscription))).ok_or_else(|| not_in_flight(ack))?
            }
            Version::V1_1 => (frame.require("message-id")?, Some(frame.require("subscription")?)),
            Version::V1_0 => (frame.require("message-id")?, frame.get("subscription")),
        };
        let message = MessageId::parse(text).ok_or_else(|| not_in_flight(text))?;
        let waits = |number| self.subscriptions.get(number).is_some_and(|subscription| subscription.is_in_flight(message));
        let key = match subscription {
            Some(id) => self.numbers.get_key_value(&SubscriptionKey::Id(id.into())).filter(|(_, number)| waits(number)),
            None => self.numbers.iter().find(|(_, number)| waits(number)),
        };
        key.map(|(key, _)| (key.clone(), message)).ok_or_else(|| not_in_flight(text))
    }

    /// Moves the window. What is no longer in flight, since its subscription ended or it was answered for meanwhile, changes nothing.
    fn apply(&mut self, answer: &Answer) {
        let Some(number) = self.numbers.get(&answer.subscription) else { return };
        let Some(subscription) = self.subscriptions.get_mut(number) else { return };
        let Answered { messages, was_shut } = subscription.answer(answer.message);
        if answer.verdict != Verdict::Done {
            self.nacked += messages.len() as u64;
        }
        let subscription = match &subscription.target {
            Target::Channel(_) if was_shut => Action::WindowOpened { subscription: *number },
            Target::Queue(queue) if !messages.is_empty() => Action::Answer {
                subscription: *number,
                queue: queue.clone(),
                numbers: messages.iter().filter_map(|message| message.queued()).collect(),
                verdict: answer.verdict,
            },
            _ => return,
        };
        self.actions.push_back(subscription);
    }

    fn handle_commit(&mut self, frame: &Frame) -> Result<(), StompFault> {
        let receipt = self.receipt_of(frame)?;
        let transaction = self.transactions.end(frame)?;
        let Transaction { sent, answers, .. } = transaction;
        let receipt = if sent.is_empty() { receipt } else { self.send(sent, receipt) };
        // After what was sent, so that nothing is acknowledged for whose sake something should have been sent that was refused.
        answers.iter().for_each(|answer| self.apply(answer));
        self.receipt(receipt.as_ref(), None);
        Ok(())
    }

    /// Asks for what was sent to be done: queue by queue, then the channels. The last carries the receipt.
    fn send(&mut self, sent: Vec<Sent>, receipt: Option<Receipt>) -> Option<Receipt> {
        let (mut publishes, mut queues) = (Vec::new(), Vec::<(QueueName, Vec<Draft>)>::new());
        for sent in sent {
            match sent {
                Sent::Channel(publish) => publishes.push(publish),
                Sent::Queue(queue, draft) => match queues.iter_mut().find(|(known, _)| *known == queue) {
                    Some((_, drafts)) => drafts.push(draft),
                    None => queues.push((queue, vec![draft])),
                },
            }
        }
        let mut receipt = receipt;
        let count = queues.len();
        for (place, (queue, drafts)) in queues.into_iter().enumerate() {
            let is_last = place + 1 == count && publishes.is_empty();
            let receipt = if is_last { receipt.take() } else { None };
            self.actions.push_back(Action::Enqueue { queue, drafts, receipt });
        }
        if !publishes.is_empty() {
            self.actions.push_back(Action::Publish { publishes, receipt: receipt.take() });
        }
        receipt
    }

    fn handle_disconnect(&mut self, frame: &Frame) -> Result<(), StompFault> {
        // STOMP 1.2, "BEGIN": open transactions are implicitly aborted.
        self.done(frame)?;
        self.end(None);
        Ok(())
    }

    fn sent(&mut self, subscription: SubscriptionNumber, id: MessageId) {
        if let Some(subscription) = self.subscriptions.get_mut(&subscription) {
            subscription.sent(id);
        }
    }

    /// Acknowledges a frame that is processed as soon as it is read.
    fn done(&mut self, frame: &Frame) -> Result<(), StompFault> {
        let receipt = self.receipt_of(frame)?;
        self.receipt(receipt.as_ref(), None);
        Ok(())
    }

    fn receipt_of(&self, frame: &Frame) -> Result<Option<Receipt>, StompFault> {
        match frame.get("receipt") {
            Some(_) => frame.require_id("receipt", &self.limits).map(|id| Some(Receipt(id.into()))),
            None => Ok(None),
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SubscriptionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a NACK says: RabbitMQ's `requeue:false` has a queue's message not tried again.
fn refusal(frame: &Frame) -> Result<Verdict, StompFault> {
    match frame.get("requeue") {
        None | Some("true") => Ok(Verdict::Failed),
        Some("false") => Ok(Verdict::Rejected),
        Some(_) => Err(StompFault::InvalidRequeue),
    }
}
