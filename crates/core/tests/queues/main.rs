//! Queues against a simple model, from seeds: publishers, consumers that come, answer, refuse, leave and are killed, time that passes,
//! and restarts. Nothing is lost, nothing is in two hands, order and bounds hold, and the counts add up.
//!
//! `BONGSU_SEEDS=10000 cargo test -p bongsu-core --test queues` runs more of them; `BONGSU_SEED=7` runs one.

#[path = "../simulation/chance.rs"]
mod chance;
mod model;

use std::sync::Arc;

use bongsu_core::Draft;
use bongsu_core::queue::{
    Consumer, ConsumerKey, Effects, End, QueueFault, QueueLimits, QueueName, QueueRules, QueueState, Queues, QueuesLimits, Verdict,
};
use bongsu_core::snapshot::{Item, Reader, ServerState, Writer};
use bytes::BytesMut;

use chance::Chance;
use model::Model;

/// The queues under test, the model, and what is to come.
struct World {
    queues: Queues,
    model: Model,
    chance: Chance,
    names: Vec<QueueName>,
    limits: QueueLimits,
    now_ms: u64,
    next_number: u64,
    next_consumer: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let limits = QueueLimits {
            messages_max: chance.between(3, 40),
            bytes_max: chance.between(2_000, 20_000),
            age_max_ms: chance.between(50, 5_000) as u64,
            consumers_max: chance.between(1, 5),
            tries_max: chance.between(0, 4) as u32,
            ..QueueLimits::default()
        };
        let names = ["a", "b", "a/b"].map(|text| QueueName::parse(text).expect("a name")).to_vec();
        let (queues, model) = (queues(&limits), Model::new(limits.clone()));
        Self { queues, model, chance, names, limits, now_ms: 0, next_number: 1, next_consumer: 0 }
    }

    fn step(&mut self) {
        match self.chance.below(100) {
            0..30 => self.publish(),
            30..42 => self.consume(),
            42..78 => self.answer(),
            78..86 => self.cancel(),
            86..94 => {
                self.now_ms += self.chance.below(200) as u64;
                let now_ms = self.now_ms;
                self.act(|queues, effects| queues.sweep(now_ms, effects));
                self.model.expire_all(now_ms);
            }
            94..99 => self.now_ms += 1,
            _ => self.restart(),
        }
        self.model.check(&self.queues, self.now_ms);
    }

    fn publish(&mut self) {
        let name = self.name();
        let drafts: Vec<_> = (0..self.chance.between(1, 4)).map(|_| Draft::text("x".repeat(self.chance.below(600)))).collect();
        let (first, now_ms) = (self.next_number, self.now_ms);
        self.next_number += drafts.len() as u64;
        let given = drafts.clone();
        self.model.expire(&name, now_ms);
        let fits = self.model.fits(&name, &drafts);
        let taken = self.act(|queues, effects| {
            let taken = queues.publish(&name, given, first, now_ms, effects);
            match &taken {
                Ok(()) => assert!(fits, "taken beyond the bounds"),
                Err(fault) => {
                    assert!(!fits && matches!(fault, QueueFault::Full { .. } | QueueFault::TooLarge { .. }), "{fault:?}");
                }
            }
            taken
        });
        // What was handed out of it is checked when it is known to the model; the effects wait for that.
        if taken.is_ok() {
            self.model.publish(&name, &drafts, first, now_ms);
        }
        self.model.settle();
    }

    fn consume(&mut self) {
        let name = self.name_or_dead();
        let key = ConsumerKey(self.next_consumer);
        self.next_consumer += 1;
        let (window, now_ms) = (self.chance.between(1, 8), self.now_ms);
        let result = self.act(|queues, effects| queues.consume(&name, Consumer { key, worker: 0, window }, now_ms, effects));
        let has_room = self.model.consumers_of(&name) < self.limits.consumers_max;
        assert_eq!(result.is_ok(), has_room, "{result:?}");
        if has_room {
            self.model.consume(&name, key, window);
            self.model.expire(&name, now_ms);
        }
        self.model.settle();
    }

    fn answer(&mut self) {
        let Some((name, key, hand)) = self.model.some_consumer(&mut self.chance) else { return };
        let mut numbers: Vec<_> = hand.into_iter().filter(|_| self.chance.percent(60)).collect();
        if self.chance.percent(10) {
            numbers.push(self.next_number + 5);
        }
        let verdict = self.chance.pick(&[Verdict::Done, Verdict::Done, Verdict::Failed, Verdict::Rejected]);
        let now_ms = self.now_ms;
        self.act(|queues, effects| queues.answer(&name, key, &numbers, verdict, now_ms, effects)).expect("open");
        self.model.answer(&name, key, &numbers, verdict, now_ms);
        self.model.settle();
    }

    fn cancel(&mut self) {
        let Some((name, key, _)) = self.model.some_consumer(&mut self.chance) else { return };
        let end = self.chance.pick(&[End::Leaving, End::Lost, End::Lost]);
        let now_ms = self.now_ms;
        self.act(|queues, effects| queues.cancel(&name, key, end, now_ms, effects));
        self.model.cancel(&name, key, end, now_ms);
        self.model.settle();
    }

    /// Writes all down and goes on from it, without consumers.
    fn restart(&mut self) {
        let before = self.queues.counts();
        self.queues.close();
        let mut writer = Writer::new(Vec::new(), ServerState { secret: [0; 16], shards: 1, taken_ms: 0 }).expect("memory takes it");
        directory().save(&mut writer).expect("memory takes it");
        self.queues.save(&mut writer).expect("memory takes it");
        let (bytes, _) = writer.finish().expect("memory takes it");
        self.queues = queues(&self.limits);
        let (mut reader, mut input) = (Reader::new(), BytesMut::from(&bytes[..]));
        while let Some(item) = reader.read(&mut input).expect("sound") {
            if let Item::Queue(state) = item {
                self.queues.restore(QueueState::clone(&state)).expect("once");
            }
        }
        reader.finish(&input).expect("whole");
        self.model.restart(before);
    }

    /// Acts, buries what died, and keeps what was handed out for the model to check.
    fn act<R>(&mut self, act: impl FnOnce(&mut Queues, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = act(&mut self.queues, &mut effects);
        self.model.handed(std::mem::take(&mut effects.handed));
        for dead in std::mem::take(&mut effects.dead) {
            self.model.buried(&dead, self.next_number, self.now_ms);
            self.queues.bury(dead, self.next_number, self.now_ms, &mut effects);
            self.next_number += 1;
            self.model.handed(std::mem::take(&mut effects.handed));
            assert!(effects.dead.is_empty(), "a dead letter does not die at its burial");
        }
        result
    }

    fn name(&mut self) -> QueueName {
        let at = self.chance.below(self.names.len());
        self.names[at].clone()
    }

    fn name_or_dead(&mut self) -> QueueName {
        let name = self.name();
        match self.chance.percent(25) {
            true => self.limits.dead_letters.of(&name).expect("it has one"),
            false => name,
        }
    }
}

fn queues(limits: &QueueLimits) -> Queues {
    let limits = limits.clone();
    let rules: QueueRules = Arc::new(move |_| limits.clone());
    Queues::new(QueuesLimits { queues_max: usize::MAX }, rules)
}

/// A shard without channels, which a snapshot has before its queues.
fn directory() -> bongsu_core::directory::Directory {
    use bongsu_core::directory::{Directory, DirectoryLimits};
    let limits = DirectoryLimits { channels_max: 1, unused_after_ms: 1, forgotten_max: 1 };
    Directory::new([0; 16], limits, Arc::new(|_| bongsu_core::limits::ChannelLimits::default()))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn agrees_with_the_model() {
    let seeds = match number("BONGSU_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BONGSU_SEEDS").unwrap_or(300),
    };
    let mut delivered = 0;
    for seed in seeds {
        let told = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..300).for_each(|_| world.step());
            world.model.delivered()
        });
        match told {
            Ok(count) => delivered += count,
            Err(cause) => {
                let shown = cause.downcast_ref::<String>().map_or("", String::as_str);
                panic!("seed {seed}: BONGSU_SEED={seed} repeats it: {shown}");
            }
        }
    }
    assert!(delivered > 0, "something was delivered");
}
