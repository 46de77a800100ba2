//! Stories of queues: who gets what, what comes back, what dies, and who is refused.

use std::sync::Arc;

use bytes::BytesMut;

use super::*;
use crate::publication::Draft;
use crate::snapshot::{Item, Reader, ServerState, Writer};

/// A shard of queues, and what its consumers were handed since they were last asked.
struct Scene {
    queues: Queues,
    now_ms: u64,
    next: MessageNumber,
    handed: Vec<Handed>,
}

fn limits() -> QueueLimits {
    QueueLimits { messages_max: 6, age_max_ms: 1000, consumers_max: 3, tries_max: 3, ..QueueLimits::default() }
}

fn scene() -> Scene {
    let queues = Queues::new(QueuesLimits { queues_max: 3 }, Arc::new(|_: &QueueName| limits()));
    Scene { queues, now_ms: 0, next: 1, handed: Vec::new() }
}

fn name(text: &str) -> QueueName {
    QueueName::parse(text).expect("a name")
}

const A: ConsumerKey = ConsumerKey(1);
const B: ConsumerKey = ConsumerKey(2);

impl Scene {
    fn with<R>(&mut self, act: impl FnOnce(&mut Queues, u64, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = act(&mut self.queues, self.now_ms, &mut effects);
        self.handed.append(&mut effects.handed);
        for dead in std::mem::take(&mut effects.dead) {
            self.queues.bury(dead, self.next, self.now_ms, &mut effects);
            self.next += 1;
            self.handed.append(&mut effects.handed);
        }
        result
    }

    fn send(&mut self, queue: &str, texts: &[&str]) -> Result<(), QueueFault> {
        let first = self.next;
        self.next += texts.len() as u64;
        let drafts = texts.iter().map(|text| Draft::text(*text)).collect();
        self.with(|queues, now_ms, effects| queues.publish(&name(queue), drafts, first, now_ms, effects))
    }

    fn consume(&mut self, queue: &str, key: ConsumerKey, window: usize) -> Result<(), QueueFault> {
        self.with(|queues, now_ms, effects| queues.consume(&name(queue), Consumer { key, worker: 0, window }, now_ms, effects))
    }

    fn answer(&mut self, queue: &str, key: ConsumerKey, numbers: &[u64], verdict: Verdict) {
        let answered = self.with(|queues, now_ms, effects| queues.answer(&name(queue), key, numbers, verdict, now_ms, effects));
        answered.expect("open");
    }

    fn cancel(&mut self, queue: &str, key: ConsumerKey, end: End) {
        self.with(|queues, now_ms, effects| queues.cancel(&name(queue), key, end, now_ms, effects));
    }

    /// What a consumer was handed since it was last asked: number, text, and how often.
    fn got(&mut self, key: ConsumerKey) -> Vec<(u64, String, u32)> {
        let (its, others) = std::mem::take(&mut self.handed).into_iter().partition(|handed: &Handed| handed.consumer == key);
        self.handed = others;
        let show = |handed: Handed| {
            let text = String::from_utf8_lossy(&handed.message.draft.data).into_owned();
            (handed.message.number, text, handed.deliveries)
        };
        let its: Vec<Handed> = its;
        its.into_iter().map(show).collect()
    }

    fn texts(&mut self, key: ConsumerKey) -> String {
        self.got(key).into_iter().map(|(_, text, _)| text).collect()
    }
}

#[test]
fn each_message_goes_to_one_consumer_in_turn() {
    let mut scene = scene();
    scene.consume("q", A, 10).expect("room");
    scene.consume("q", B, 10).expect("room");
    scene.send("q", &["a", "b", "c", "d", "e"]).expect("room");
    assert_eq!((scene.texts(A), scene.texts(B)), ("ace".to_owned(), "bd".to_owned()));
}

#[test]
fn what_waits_is_handed_to_whoever_comes_and_no_more_than_its_window() {
    let mut scene = scene();
    scene.send("q", &["a", "b", "c"]).expect("room");
    scene.consume("q", A, 2).expect("room");
    assert_eq!(scene.texts(A), "ab");
    scene.answer("q", A, &[2], Verdict::Done);
    assert_eq!(scene.texts(A), "c");
    assert_eq!(scene.queues.depth(), Depth { queues: 1, messages: 2, in_hand: 2, bytes: 2 * 193, consumers: 1 });
}

#[test]
fn a_dead_consumers_messages_go_to_another_in_order_and_marked() {
    let mut scene = scene();
    scene.consume("q", A, 4).expect("room");
    scene.send("q", &["a", "b", "c", "d", "e"]).expect("room");
    scene.answer("q", A, &[2], Verdict::Done);
    assert_eq!(scene.texts(A), "abcde");
    scene.consume("q", B, 10).expect("room");
    assert_eq!(scene.texts(B), "");
    scene.cancel("q", A, End::Lost);
    let again = [(1, "a", 2), (3, "c", 2), (4, "d", 2), (5, "e", 2)].map(|(number, text, count)| (number, text.to_owned(), count));
    assert_eq!(scene.got(B), again);
}

#[test]
fn what_fails_too_often_dies_and_tells_why() {
    let mut scene = scene();
    scene.consume("q", A, 1).expect("room");
    scene.send("q", &["a", "b"]).expect("room");
    for count in 1..=3 {
        assert_eq!(scene.got(A), [(1, "a".to_owned(), count)]);
        scene.answer("q", A, &[1], Verdict::Failed);
    }
    assert_eq!(scene.texts(A), "b");
    scene.consume("$dead/q", B, 1).expect("room");
    let [Handed { message, deliveries: 1, .. }] = &scene.handed[..] else { panic!("one dead letter: {:?}", scene.handed) };
    let letter = DeadLetter { queue: name("q"), reason: DeadReason::Tries, tries: 3, time_ms: 0 };
    assert_eq!((message.dead.as_deref(), &message.draft), (Some(&letter), &Draft::text("a")));
    // A dead letter may fail for ever, and is dropped by whoever rejects it.
    let number = message.number;
    (0..9).for_each(|_| scene.answer("$dead/q", B, &[number], Verdict::Failed));
    assert_eq!(scene.queues.depth_of(&name("$dead/q")).messages, 1);
    scene.answer("$dead/q", B, &[number], Verdict::Rejected);
    assert_eq!(scene.queues.depth_of(&name("$dead/q")).messages, 0);
    let counts = scene.queues.counts();
    assert_eq!((counts.dead_tries, counts.dead_rejected, counts.dropped, counts.nacked), (1, 1, 1, 13));
}

#[test]
fn who_leaves_in_good_order_counts_no_failure() {
    let mut scene = scene();
    scene.send("q", &["a"]).expect("room");
    for count in 1..20 {
        scene.consume("q", A, 1).expect("room");
        assert_eq!(scene.got(A), [(1, "a".to_owned(), count)]);
        scene.cancel("q", A, End::Leaving);
    }
    assert_eq!(scene.queues.depth_of(&name("q")).messages, 1);
}

#[test]
fn what_is_rejected_or_too_old_dies() {
    let mut scene = scene();
    scene.consume("q", A, 1).expect("room");
    scene.send("q", &["a", "b", "c"]).expect("room");
    scene.now_ms = 1;
    scene.answer("q", A, &[1], Verdict::Rejected);
    scene.now_ms = 1000;
    scene.with(|queues, now_ms, effects| queues.sweep(now_ms, effects));
    // What is in hand does not age away under whoever works on it.
    assert_eq!(scene.texts(A), "ab");
    assert_eq!(scene.queues.depth_of(&name("q")).messages, 1);
    scene.cancel("q", A, End::Leaving);
    assert_eq!((scene.queues.depth_of(&name("q")).messages, scene.queues.depth_of(&name("$dead/q")).messages), (0, 3));
    let counts = scene.queues.counts();
    assert_eq!((counts.dead_rejected, counts.dead_expired, counts.dropped), (1, 2, 0));
    scene.now_ms = 2000;
    scene.with(|queues, now_ms, effects| queues.sweep(now_ms, effects));
    assert_eq!((scene.queues.depth(), scene.queues.counts().dropped), (Depth::default(), 3));
}

#[test]
fn every_bound_refuses_by_its_name() {
    let mut scene = scene();
    let code = |result: Result<(), QueueFault>| result.map_err(|fault| fault.code());
    assert_eq!(code(scene.send("$dead/q", &["x"])), Err("reserved-queue"));
    assert_eq!(code(scene.send("q", &["x"; 7])), Err("queue-full"));
    assert_eq!(scene.queues.depth(), Depth::default());
    assert_eq!(code(scene.send("q", &["x"; 6])), Ok(()));
    assert_eq!(code(scene.send("q", &["x"])), Err("queue-full"));
    let large = "x".repeat(17 << 20);
    assert_eq!(code(scene.send("r", &[&large])), Err("queue-message-too-large"));
    assert_eq!([code(scene.send("r", &["x"])), code(scene.send("s", &["x"]))], [Ok(()), Ok(())]);
    assert_eq!(code(scene.send("t", &["x"])), Err("too-many-queues"));
    for key in 10..13 {
        assert_eq!(code(scene.consume("t", ConsumerKey(key), 1)), Ok(()));
    }
    assert_eq!(code(scene.consume("t", A, 1)), Err("too-many-consumers"));
    scene.queues.close();
    assert_eq!([code(scene.send("q", &["x"])), code(scene.consume("q", A, 1))], [Err("going-away"); 2]);
}

#[test]
fn a_full_dead_letter_queue_drops_its_oldest() {
    let mut scene = scene();
    scene.consume("q", A, 1).expect("room");
    for number in 0..8 {
        scene.send("q", &[&number.to_string()]).expect("room");
        let (number, ..) = scene.got(A)[0];
        scene.answer("q", A, &[number], Verdict::Rejected);
    }
    assert_eq!((scene.queues.depth_of(&name("$dead/q")).messages, scene.queues.counts().dropped), (6, 2));
    scene.consume("$dead/q", B, 10).expect("room");
    assert_eq!(scene.texts(B), "234567");
}

#[test]
fn who_answers_for_what_it_has_not_changes_nothing() {
    let mut scene = scene();
    scene.consume("q", A, 1).expect("room");
    scene.consume("q", B, 1).expect("room");
    scene.send("q", &["a", "b"]).expect("room");
    scene.answer("q", A, &[2, 99], Verdict::Done);
    scene.answer("r", A, &[1], Verdict::Done);
    assert_eq!((scene.queues.depth_of(&name("q")).messages, scene.queues.counts().acked), (2, 0));
}

#[test]
fn an_idle_queue_is_let_go() {
    let mut scene = scene();
    scene.consume("q", A, 1).expect("room");
    scene.send("q", &["a"]).expect("room");
    scene.answer("q", A, &[1], Verdict::Done);
    assert_eq!(scene.queues.depth(), Depth { consumers: 1, ..Depth::default() });
    scene.cancel("q", A, End::Leaving);
    assert_eq!(scene.queues.depth(), Depth::default());
}

#[test]
fn at_rest_nothing_is_handed_out() {
    let mut scene = scene();
    scene.consume("q", A, 1).expect("room");
    scene.consume("q", B, 5).expect("room");
    scene.send("q", &["a"]).expect("room");
    scene.queues.rest();
    scene.cancel("q", A, End::Leaving);
    scene.send("q", &["b"]).expect("room");
    assert_eq!((scene.texts(A), scene.texts(B)), ("a".to_owned(), String::new()));
}

#[test]
fn dead_letters_go_where_the_rule_says() {
    let of = |rule: &str, queue: &str| {
        DeadLetterRule::parse(rule).expect("a rule").of(&name(queue)).map_or_else(String::new, |name| name.to_string())
    };
    assert_eq!(of("$dead/*", "a/b"), "$dead/a/b");
    assert_eq!(of("dead", "a/b"), "dead");
    assert_eq!(of("*-dead", "a"), "a-dead");
    assert_eq!(of("", "a"), "");
    assert_eq!(of("$dead/*", &"x".repeat(255)), "$dead");
    for wrong in ["*/*", "a//b", "/dead", "dead/"] {
        assert!(DeadLetterRule::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn queues_outlive_the_process_and_what_was_in_hand_comes_back_marked() {
    let mut scene = scene();
    scene.consume("q", A, 2).expect("room");
    scene.send("q", &["a", "b", "c"]).expect("room");
    scene.answer("q", A, &[1], Verdict::Failed);
    scene.answer("q", A, &[2], Verdict::Rejected);
    scene.queues.close();
    let server = ServerState { secret: [0; 16], shards: 1, taken_ms: 0 };
    let mut writer = Writer::new(Vec::new(), server).expect("memory takes it");
    writer.shard(&[]).expect("memory takes it");
    scene.queues.save(&mut writer).expect("memory takes it");
    let (bytes, totals) = writer.finish().expect("memory takes it");
    assert_eq!((totals.queues, totals.messages, totals.message_bytes), (2, 3, 3));
    let mut after = self::scene();
    let (mut reader, mut input) = (Reader::new(), BytesMut::from(&bytes[..]));
    while let Some(item) = reader.read(&mut input).expect("whole") {
        if let Item::Queue(state) = item {
            after.queues.restore(*state).expect("once");
        }
    }
    assert_eq!(reader.finish(&input), Ok(totals));
    assert_eq!(after.queues.depth(), Depth { in_hand: 0, consumers: 0, ..scene.queues.depth() });
    after.consume("q", A, 9).expect("room");
    assert_eq!(after.got(A), [(1, "a".to_owned(), 3), (3, "c".to_owned(), 2)]);
    after.consume("$dead/q", B, 9).expect("room");
    let letter = DeadLetter { queue: name("q"), reason: DeadReason::Rejected, tries: 1, time_ms: 0 };
    assert_eq!(after.handed[0].message.dead.as_deref(), Some(&letter));
}
