//! What becomes of one that is slow, policy by policy.

use serde_json::Value;

use super::*;
use crate::limits::SlowPolicy;

/// A story of one channel whose subscribers may lag by so many bytes.
fn story(slow: SlowPolicy, lag_bytes_max: u64) -> Story {
    let mut story = Story::new(1 << 20);
    story.limits = ChannelLimits { slow, lag_bytes_max, pause_max_ms: 1000, ..ChannelLimits::default() };
    story
}

impl Story {
    /// Publishes of these keys, each with the number of the publication and in a turn of its own.
    fn publish_keys(&mut self, keys: &str) {
        for key in keys.split(' ') {
            let channel = ChannelName::parse("a").expect("a name");
            let log = self.history.logs.get_mut(&channel).expect("the channel of this story");
            let draft = Draft { key: Some(key.into()), ..Draft::text(format!("{:010}", log.head().offset + 1)) };
            let Appended::New(publication) = log.append(draft, None, 0, &self.limits) else { panic!("there is no key") };
            self.hub.turn([Announcement { channel, publication }], 0);
        }
    }

    fn slow(&mut self, now_ms: u64) -> Vec<Disconnect> {
        self.hub.find_slow(&self.history, now_ms).into_iter().map(|(_, why)| why).collect()
    }

    fn taken_bytes(&mut self) -> Vec<u64> {
        self.hub.take_progress(&self.history).into_iter().map(|progress| progress.payload_bytes).collect()
    }

    /// What was offered went somewhere.
    fn assert_balance(&self) {
        let pending = self.hub.pending();
        for (tally, pending) in self.hub.tallies().iter().zip(pending.iter()) {
            assert_eq!(tally.offered, tally.deliveries + tally.dropped + tally.conflated + tally.abandoned + pending, "{tally:?}");
        }
    }
}

/// The offsets of publications, and of gaps as `asked>resumed reason`.
fn offsets(lines: &str) -> String {
    let offset = |value: &Value| value.as_str().and_then(|text| text.rsplit('-').next()).unwrap_or_default().to_owned();
    let told = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("JSON");
        match record.get("gap") {
            Some(gap) => format!("{}>{} {}", offset(&gap["asked"]), offset(&gap["resumed"]), gap["reason"].as_str().unwrap_or_default()),
            None => offset(&record["position"]),
        }
    };
    lines.lines().map(told).collect::<Vec<_>>().join(", ")
}

#[test]
fn one_that_is_dropped_goes_on_from_half_of_what_it_may_lag() {
    let mut story = story(SlowPolicy::Drop, 100);
    let (key, peer) = story.join(&["a"], LINES);
    peer.room(1);
    story.publish_keys(&["x"; 30].join(" "));
    assert_eq!(story.slow(0), []);
    story.assert_balance();
    peer.room(1 << 20);
    story.pump(key);
    assert_eq!(offsets(&peer.taken()), "1, 1>25 dropped, 26, 27, 28, 29, 30");
    assert_eq!(story.hub.tallies()[LINES.index()].dropped, 24);
    story.assert_balance();
    story.publish_keys("x");
    assert_eq!(offsets(&peer.taken()), "31", "it is live again");
}

#[test]
fn one_that_is_conflated_gets_the_newest_of_each_key_in_order() {
    let mut story = story(SlowPolicy::Conflate, 20);
    let (key, peer) = story.join(&["a"], LINES);
    peer.room(1);
    story.publish_keys("a a b a c b a a");
    assert_eq!(story.slow(0), []);
    // A little at a time: what it gets is true wherever it is cut.
    let mut taken = String::new();
    for _ in 0..400 {
        peer.room(3);
        story.pump(key);
        story.assert_balance();
        taken += &peer.taken();
    }
    assert_eq!(offsets(&taken), "1, 1>4 conflated, 5, 6, 6>7 conflated, 8");
    assert_eq!(story.hub.tallies()[LINES.index()].conflated, 4);
}

#[test]
fn what_a_plain_payload_cannot_say_closes_it_when_it_next_takes_something() {
    for (policy, reason) in [(SlowPolicy::Drop, GapReason::Dropped), (SlowPolicy::Conflate, GapReason::Conflated)] {
        let mut story = story(policy, 20);
        let (key, peer) = story.join(&["a"], PAYLOADS);
        peer.room(1);
        story.publish_keys(&["x"; 9].join(" "));
        assert_eq!(story.slow(0), []);
        story.hub.take_events();
        peer.room(1 << 20);
        story.pump(key);
        let events = story.hub.take_events();
        assert!(matches!(&events[..], [HubEvent::Close(_, Disconnect::Gap { gap, .. })] if gap.reason == reason), "{events:?}");
        story.hub.remove(key);
        assert_eq!(story.hub.tallies()[PAYLOADS.index()].abandoned, 8);
        story.assert_balance();
    }
}

#[test]
fn one_that_takes_nothing_at_all_is_closed_in_the_end() {
    let mut story = story(SlowPolicy::Drop, 100);
    story.join(&["a"], LINES);
    story.publish_keys(&["x"; 30].join(" "));
    assert_eq!(story.slow(60_000), []);
    assert!(matches!(story.slow(60_001)[..], [Disconnect::Slow { cursor: Some(_) }]));
}

#[test]
fn publishers_are_told_how_far_the_slowest_has_come() {
    let mut story = story(SlowPolicy::Pause, 50);
    let (key, peer) = story.join(&["a"], LINES);
    let (_, fast) = story.join(&["a"], LINES);
    fast.room(1 << 20);
    story.taken_bytes();
    peer.room(1);
    story.publish_keys("x x x x x x x");
    // The frame that was cut counts as taken.
    assert_eq!(story.taken_bytes(), [10]);
    assert_eq!(story.hub.tallies()[LINES.index()].holds, 1);
    assert_eq!(story.slow(500), [], "it may stand still for a moment");
    assert!(matches!(story.slow(501)[..], [Disconnect::Slow { cursor: Some(_) }]), "but not for long");
    peer.room(1 << 20);
    story.pump(key);
    assert_eq!((story.taken_bytes(), story.slow(501)), (vec![70], vec![]));
    assert_eq!(offsets(&peer.taken()), "1, 2, 3, 4, 5, 6, 7", "nothing is lost");
}
