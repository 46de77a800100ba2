//! The queues of a process: spread over locks like channels, reached from every worker. What is handed out goes into the inbox of
//! its consumer's worker while the lock is held, so that a consumer's messages reach its worker in their order.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use bongsu_core::Draft;
use bongsu_core::queue::{
    Consumer, ConsumerKey, Dead, Depth, Effects, End, Handed, MessageNumber, QueueCounts, QueueFault, QueueLimits, QueueName, QueueRules,
    QueueState, Queues, QueuesLimits, Verdict,
};
use bongsu_core::snapshot::{SnapshotFault, Writer};

use super::{SHARDS, snapshot};
use crate::clock::Clock;
use crate::mailbox::Mailbox;

/// All queues.
pub struct QueueEngine {
    shards: Box<[Mutex<Queues>]>,
    secret: [u8; 16],
    inboxes: Box<[HandedInbox]>,
    /// The number of the next message.
    next_number: AtomicU64,
    next_consumer: AtomicU64,
    held_bytes: AtomicUsize,
    total_bytes_max: AtomicUsize,
    /// Held, shared, by whoever may have a dead letter between two locks; alone, by whoever closes all of them.
    crossing: RwLock<()>,
    clock: Clock,
}

/// The bounds on all queues together, and on each.
pub struct QueueBounds {
    /// How many queues may hold messages.
    pub queues_max: usize,
    /// How many bytes all may hold.
    pub total_bytes_max: usize,
    /// The bounds of each, by its name.
    pub rules: QueueRules,
}

/// What was handed out to consumers of one worker and the worker has not yet taken. Bounded by their windows.
pub type HandedInbox = Mailbox<Handed>;

impl QueueEngine {
    /// An engine without queues, under the default bounds.
    pub fn new(secret: [u8; 16], workers: usize, clock: Clock) -> Self {
        let bounds = QueueBounds::default();
        let shard = |_| Mutex::new(Queues::new(share(&bounds), QueueRules::clone(&bounds.rules)));
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            secret,
            inboxes: (0..workers).map(|_| HandedInbox::default()).collect(),
            // Numbers rise with the clock, so that those of another life of the server are not given again: there is room for a
            // million a millisecond.
            next_number: AtomicU64::new(clock.now_ms() << NUMBERS_PER_MS_BITS),
            next_consumer: AtomicU64::new(0),
            held_bytes: AtomicUsize::new(0),
            total_bytes_max: AtomicUsize::new(bounds.total_bytes_max),
            crossing: RwLock::default(),
            clock,
        }
    }

    /// Goes on under other bounds. Nothing that is held is dropped.
    pub fn reconfigure(&self, bounds: &QueueBounds) {
        self.total_bytes_max.store(bounds.total_bytes_max, Ordering::Relaxed);
        self.shards.iter().for_each(|shard| lock(shard).reconfigure(share(bounds), QueueRules::clone(&bounds.rules)));
    }

    /// Takes messages into a queue, all or none.
    pub fn publish(&self, name: &QueueName, drafts: Vec<Draft>) -> Result<(), QueueFault> {
        let bytes: usize = drafts.iter().map(Draft::cost_bytes).sum();
        let max = self.total_bytes_max.load(Ordering::Relaxed);
        // Reserved before it is taken, so that publishers to several shards do not pass the bound together.
        if self.held_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > max {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(QueueFault::AllFull { max });
        }
        let count = drafts.len() as u64;
        let published = self.act(name, |queues, now_ms, effects| {
            // Drawn under the lock, so that a queue's numbers rise.
            let first = self.next_number.fetch_add(count, Ordering::Relaxed);
            queues.publish(name, drafts, first, now_ms, effects)
        });
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        published
    }

    /// Adds a consumer on a worker. It is handed what waits at once, through the worker's inbox.
    pub fn consume(&self, name: &QueueName, worker: usize, window: usize) -> Result<ConsumerKey, QueueFault> {
        let key = ConsumerKey(self.next_consumer.fetch_add(1, Ordering::Relaxed));
        self.act(name, |queues, now_ms, effects| queues.consume(name, Consumer { key, worker, window }, now_ms, effects))?;
        Ok(key)
    }

    /// Takes a consumer's answer for messages that it has in hand.
    pub fn answer(&self, name: &QueueName, key: ConsumerKey, numbers: &[MessageNumber], verdict: Verdict) -> Result<(), QueueFault> {
        self.act(name, |queues, now_ms, effects| queues.answer(name, key, numbers, verdict, now_ms, effects))
    }

    /// Ends a consumer; what it has in hand goes to others.
    pub fn cancel(&self, name: &QueueName, key: ConsumerKey, end: End) {
        self.act(name, |queues, now_ms, effects| queues.cancel(name, key, end, now_ms, effects));
    }

    /// Lets go of what is too old. Call it every second or so.
    pub fn sweep(&self) {
        for shard in &self.shards {
            self.act_on(shard, |queues, now_ms, effects| queues.sweep(now_ms, effects));
        }
    }

    /// Hands nothing out from now on, since the server is about to end.
    pub fn rest(&self) {
        self.shards.iter().for_each(|shard| lock(shard).rest());
    }

    /// Changes nothing from now on. When it returns, no dead letter is on its way between two queues.
    pub fn close(&self) {
        let _alone = self.crossing.write().unwrap_or_else(PoisonError::into_inner);
        self.shards.iter().for_each(|shard| lock(shard).close());
    }

    /// Writes all queues down.
    pub fn save<W: Write>(&self, writer: &mut Writer<W>) -> io::Result<()> {
        self.shards.iter().try_for_each(|shard| lock(shard).save(writer))
    }

    /// Takes up a queue of a snapshot.
    pub fn restore(&self, state: QueueState) -> Result<(), SnapshotFault> {
        let last = state.messages.last().map_or(0, |held| held.message.number);
        self.next_number.fetch_max(last + 1, Ordering::Relaxed);
        let mut queues = lock(self.shard(&state.name));
        let before = queues.depth().bytes;
        let restored = queues.restore(state);
        self.held_bytes.fetch_add(queues.depth().bytes - before, Ordering::Relaxed);
        restored
    }

    /// How much all queues hold, and what happened in them so far.
    pub fn totals(&self) -> (Depth, QueueCounts) {
        let (mut depth, mut counts) = (Depth::default(), QueueCounts::default());
        for shard in &self.shards {
            let queues = lock(shard);
            depth.add(&queues.depth());
            counts.add(&queues.counts());
        }
        (depth, counts)
    }

    /// What was handed out to a worker's consumers.
    pub fn inbox(&self, worker: usize) -> &HandedInbox {
        &self.inboxes[worker]
    }

    fn act<R>(&self, name: &QueueName, act: impl FnOnce(&mut Queues, u64, &mut Effects) -> R) -> R {
        self.act_on(self.shard(name), act)
    }

    fn act_on<R>(&self, shard: &Mutex<Queues>, act: impl FnOnce(&mut Queues, u64, &mut Effects) -> R) -> R {
        let _crossing = self.crossing.read().unwrap_or_else(PoisonError::into_inner);
        let (result, dead) = self.act_locked(shard, act);
        for dead in dead {
            let shard = self.shard(&dead.to);
            self.act_locked(shard, |queues, now_ms, effects| self.bury(queues, dead, now_ms, effects));
        }
        result
    }

    fn bury(&self, queues: &mut Queues, dead: Dead, now_ms: u64, effects: &mut Effects) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        queues.bury(dead, number, now_ms, effects);
    }

    /// Acts on a shard, passes on what was handed out, and returns what died.
    fn act_locked<R>(&self, shard: &Mutex<Queues>, act: impl FnOnce(&mut Queues, u64, &mut Effects) -> R) -> (R, Vec<Dead>) {
        let mut queues = lock(shard);
        let before = queues.depth().bytes;
        let mut effects = Effects::default();
        let result = act(&mut queues, self.clock.now_ms(), &mut effects);
        // Wraps where it falls, which the sum undoes.
        self.held_bytes.fetch_add(queues.depth().bytes.wrapping_sub(before), Ordering::Relaxed);
        effects.handed.into_iter().for_each(|handed| self.inboxes[handed.worker].push(handed));
        (result, effects.dead)
    }

    fn shard(&self, name: &QueueName) -> &Mutex<Queues> {
        &self.shards[snapshot::shard_of(&self.secret, name.as_name())]
    }
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self { queues_max: 10_000, total_bytes_max: 128 << 20, rules: std::sync::Arc::new(|_| QueueLimits::default()) }
    }
}

// A panic elsewhere leaves queues whole: each of their changes is one call.
fn lock(shard: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The limits of one shard.
fn share(bounds: &QueueBounds) -> QueuesLimits {
    QueuesLimits { queues_max: bounds.queues_max.div_ceil(SHARDS) }
}

const NUMBERS_PER_MS_BITS: u32 = 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bongsu_core::queue::DeadLetterRule;

    use super::*;

    fn engine(workers: usize, total_bytes_max: usize, limits: QueueLimits) -> QueueEngine {
        let engine = QueueEngine::new([3; 16], workers, Clock::start());
        let rules: QueueRules = Arc::new(move |_| limits.clone());
        engine.reconfigure(&QueueBounds { queues_max: 1_600, total_bytes_max, rules });
        engine
    }

    fn name(text: &str) -> QueueName {
        QueueName::parse(text).expect("a name")
    }

    fn texts(handed: &[Handed]) -> Vec<String> {
        handed.iter().map(|handed| String::from_utf8_lossy(&handed.message.draft.data).into_owned()).collect()
    }

    #[test]
    fn consumers_on_two_workers_take_turns() {
        let engine = engine(2, usize::MAX, QueueLimits::default());
        let keys = [0, 1].map(|worker| engine.consume(&name("q"), worker, 10).expect("room"));
        let drafts = ["a", "b", "c", "d"].map(Draft::text);
        engine.publish(&name("q"), drafts.into()).expect("room");
        let inboxes = [0, 1].map(|worker| engine.inbox(worker).take());
        assert_eq!(inboxes.each_ref().map(|handed| texts(handed)), [["a", "c"], ["b", "d"]]);
        engine.cancel(&name("q"), keys[0], End::Lost);
        let again = engine.inbox(1).take();
        assert_eq!(texts(&again), ["a", "c"]);
        assert!(again.iter().all(|handed| handed.consumer == keys[1] && handed.deliveries == 2));
    }

    #[test]
    fn the_bound_on_all_queues_is_exact_and_gives_back() {
        let one = Draft::text("x").cost_bytes();
        let engine = engine(1, 3 * one, QueueLimits::default());
        for queue in ["a", "b", "c"] {
            engine.publish(&name(queue), vec![Draft::text("x")]).expect("room");
        }
        assert_eq!(engine.publish(&name("d"), vec![Draft::text("x")]), Err(QueueFault::AllFull { max: 3 * one }));
        let key = engine.consume(&name("a"), 0, 1).expect("room");
        let [handed] = &engine.inbox(0).take()[..] else { panic!("one message") };
        engine.answer(&name("a"), key, &[handed.message.number], Verdict::Done).expect("open");
        engine.publish(&name("d"), vec![Draft::text("x")]).expect("room again");
        assert_eq!(engine.totals().0.bytes, 3 * one);
    }

    #[test]
    fn workers_at_once_lose_nothing_and_repeat_nothing() {
        let limits = QueueLimits { tries_max: 2, dead_letters: DeadLetterRule::parse("dead").expect("a rule"), ..QueueLimits::default() };
        let engine = engine(4, usize::MAX, limits);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let engine = &engine;
                scope.spawn(move || {
                    let queues = ["a", "b", "c"].map(name);
                    for round in 0..200 {
                        let queue = &queues[(round + worker) % 3];
                        engine.publish(queue, vec![Draft::text("x"); 3]).expect("room");
                        let key = engine.consume(queue, worker, 4).expect("room");
                        let handed = engine.inbox(worker).take();
                        let numbers: Vec<_> = handed.iter().map(|handed| handed.message.number).collect();
                        let verdict = if round % 2 == 0 { Verdict::Done } else { Verdict::Failed };
                        engine.answer(queue, key, &numbers, verdict).expect("open");
                        engine.cancel(queue, key, if round % 5 == 0 { End::Lost } else { End::Leaving });
                    }
                });
            }
        });
        let (depth, counts) = engine.totals();
        assert_eq!((counts.published, depth.in_hand, depth.consumers), (2_400, 0, 0));
        assert_eq!(counts.acked + counts.dropped + depth.messages as u64, counts.published);
        assert!(counts.dead_tries > 0 && counts.acked > 0, "{counts:?}");
        assert_eq!(engine.held_bytes.load(Ordering::Relaxed), depth.bytes);
    }

    #[test]
    fn closed_it_changes_nothing() {
        let engine = engine(1, usize::MAX, QueueLimits::default());
        engine.publish(&name("q"), vec![Draft::text("x")]).expect("room");
        let key = engine.consume(&name("q"), 0, 1).expect("room");
        let number = engine.inbox(0).take()[0].message.number;
        engine.close();
        assert_eq!(engine.answer(&name("q"), key, &[number], Verdict::Done), Err(QueueFault::GoingAway));
        engine.cancel(&name("q"), key, End::Lost);
        assert_eq!(engine.totals().0.messages, 1);
        assert_eq!(engine.publish(&name("q"), vec![Draft::text("x")]), Err(QueueFault::GoingAway));
        assert_eq!(engine.held_bytes.load(Ordering::Relaxed), engine.totals().0.bytes);
    }
}
