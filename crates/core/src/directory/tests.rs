//! Small stories of channels that come, go and are remembered.

use super::*;
use crate::position::Cursor;
use crate::start::GapReason;

fn directory(limits: DirectoryLimits) -> Directory {
    let rules = |_: &ChannelName| ChannelLimits { age_max_ms: 100, keys_age_max_ms: 10, ..ChannelLimits::default() };
    Directory::new([7; 16], limits, Arc::new(rules))
}

fn roomy() -> DirectoryLimits {
    DirectoryLimits { channels_max: 10, unused_after_ms: 1000, forgotten_max: 2 }
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a channel name")
}

fn publish(directory: &mut Directory, channel: &str, now_ms: u64) -> Position {
    directory.publish(&name(channel), Draft::text("x"), None, now_ms).expect("there is room").position
}

fn gap(directory: &Directory, channel: &str, cursor: Position) -> Option<GapReason> {
    directory.locate(&name(channel), &Start::After(Cursor::from(cursor))).gap.map(|gap| gap.reason)
}

#[test]
fn reading_creates_nothing_and_its_cursor_holds() {
    let mut directory = directory(roomy());
    let cursor = directory.locate(&name("a"), &Start::Live).cursor;
    assert_eq!((directory.len(), cursor.offset), (0, 0));
    assert_eq!(publish(&mut directory, "a", 0), Position::new(cursor.epoch, 1));
    assert_eq!(gap(&directory, "a", cursor), None);
}

#[test]
fn a_watched_channel_vanishes_with_its_last_watcher() {
    let mut directory = directory(roomy());
    let head = directory.watch(&name("a"), 1, 0).head;
    directory.watch(&name("a"), 2, 0);
    directory.unwatch(&name("a"), 1, 0);
    assert_eq!(directory.len(), 1);
    directory.unwatch(&name("a"), 2, 0);
    assert_eq!((directory.len(), directory.dormant()), (0, 0));
    assert_eq!(directory.locate(&name("a"), &Start::Live).cursor, head);
}

#[test]
fn an_idle_channel_is_let_go_and_its_cursor_still_resumes() {
    let mut directory = directory(roomy());
    let head = publish(&mut directory, "a", 0);
    directory.sweep(100);
    assert_eq!((directory.len(), directory.dormant(), directory.held_bytes()), (0, 1, 0));
    assert_eq!(gap(&directory, "a", head), None);
    assert_eq!(publish(&mut directory, "a", 200), Position::new(head.epoch, 2));
    assert_eq!(directory.dormant(), 0);
}

#[test]
fn the_next_life_of_a_forgotten_channel_has_a_new_epoch() {
    let mut directory = directory(roomy());
    let head = publish(&mut directory, "a", 0);
    directory.sweep(100);
    for (other, now_ms) in [("b", 200), ("c", 400)] {
        publish(&mut directory, other, now_ms);
        directory.sweep(now_ms + 100);
    }
    assert_eq!(directory.dormant(), 2);
    assert_eq!(gap(&directory, "a", head), Some(GapReason::Epoch));
    assert_ne!(publish(&mut directory, "a", 900).epoch, head.epoch);
}

#[test]
fn a_channel_too_many_is_refused_until_one_can_be_let_go() {
    let mut directory = directory(DirectoryLimits { channels_max: 1, ..roomy() });
    publish(&mut directory, "a", 0);
    let refused = directory.publish(&name("b"), Draft::text("x"), None, 50);
    assert_eq!(refused.expect_err("full"), PublishFault::TooManyChannels { max: 1 });
    publish(&mut directory, "b", 1100);
}

#[test]
fn sheds_from_those_that_hold_the_most() {
    let mut directory = directory(roomy());
    publish(&mut directory, "small", 0);
    for _ in 0..100 {
        publish(&mut directory, "large", 0);
    }
    let before = directory.held_bytes();
    directory.shed(before / 4);
    assert!(directory.held_bytes() <= before - before / 4);
    let all = PageLimits { publications_max: 1000, bytes_max: usize::MAX };
    assert_eq!(directory.page(&name("small"), 0, Offset::MAX, all).publications.len(), 1);
}

#[test]
fn what_belongs_to_a_publication_that_was_taken_is_taken_too() {
    let rules = |_: &ChannelName| ChannelLimits { slow: SlowPolicy::Pause, lag_bytes_max: 0, ..ChannelLimits::default() };
    let mut directory = Directory::new([7; 16], roomy(), Arc::new(rules));
    directory.watch(&name("a"), 0, 0);
    publish(&mut directory, "a", 0);
    let refused = directory.publish(&name("a"), Draft::text("x"), None, 0);
    assert_eq!(refused.expect_err("its subscriber has not taken the first"), PublishFault::Held);
    let next = directory.publish_next(&name("a"), Draft::text("y"), None, 0);
    assert_eq!(next.expect("it belongs to the first").position.offset, 2);
    assert!(directory.publish_next(&name("b"), Draft::text("y"), None, 0).is_none(), "nothing was taken there");
}

#[test]
fn the_servers_own_channels_are_not_published_to() {
    let refused = directory(roomy()).publish(&name("$presence/a"), Draft::text("x"), None, 0);
    assert_eq!(refused.expect_err("reserved"), PublishFault::Reserved);
}
