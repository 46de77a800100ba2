//! What is done to the directory: publishing, sweeping and shedding, each held against the model.

use std::sync::Arc;

use bongsu_core::directory::PublishFault;
use bongsu_core::hub::Announcement;
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::limits::{ChannelLimits, PageLimits, SlowPolicy};
use bongsu_core::{ContentType, Draft, Format, Offset, Start};

use crate::chance::Chance;
use crate::model::Cause;
use crate::reader::Link;
use crate::world::World;

impl World {
    pub(crate) fn publish_some(&mut self) {
        for _ in 0..self.chance.pick(&[1, 1, 1, 2, 4, 12]) {
            self.publish_anything();
        }
    }

    /// Publishes something of any kind to any channel.
    pub(crate) fn publish_anything(&mut self) {
        let channel = self.chance.below(self.model.channels.len());
        self.published += 1;
        let draft = random_draft(&mut self.chance, self.published);
        let key = self.chance.percent(20).then(|| format!("key-{}", self.chance.below(6)));
        self.publish(channel, draft, key.as_deref());
    }

    pub(crate) fn publish(&mut self, channel: usize, draft: Draft, key: Option<&str>) {
        self.note("publish", channel);
        let name = self.model.channels[channel].name.clone();
        self.report_progress();
        let bare = self.directory.borrow().locate(&name, &Start::Live).cursor.offset == 0;
        let is_full = self.directory.borrow().published() >= self.directory_limits.channels_max;
        let published = self.directory.borrow_mut().publish(&name, draft, key.map(IdempotencyKey::anonymous), self.now_ms);
        let cause = if is_full { Cause::PublishToFull(channel) } else { Cause::Publish(channel) };
        let published = match published {
            Err(PublishFault::Held) => {
                assert!(self.is_held(channel, false), "a publisher waits only for a subscriber that is behind");
                let worker = self.chance.below(self.workers.len());
                assert!(self.directory.borrow_mut().await_release(&name, worker), "what is held is released later");
                self.waiting.borrow_mut().insert(name);
                return;
            }
            Ok(published) => published,
            Err(fault) => {
                assert_eq!(fault, PublishFault::TooManyChannels { max: self.directory_limits.channels_max });
                assert!(is_full && (bare || !self.is_watched(channel)), "a publish is refused only where there is no room");
                return self.observe(cause);
            }
        };
        assert!(!self.is_held(channel, true), "publishers wait for a subscriber that is behind");
        let watched = self.is_watched(channel);
        if let Some((publication, watchers)) = &published.announce {
            self.model.channels[channel].append(publication, watched);
            for (index, worker) in self.workers.iter_mut().enumerate() {
                let watches = watchers & (1 << index) != 0;
                assert_eq!(watches, worker.hub.channel(&name).is_some(), "announced to those who watch, and to nobody else");
                if watches {
                    worker.inbox.push_back(Announcement { channel: name.clone(), publication: Arc::clone(publication) });
                }
            }
        }
        self.observe(cause);
        if let Some(key) = key {
            self.model.channels[channel].keyed(key, published.position, published.announce.is_some(), self.now_ms);
        }
    }

    /// Whether a subscriber of a channel that pauses its publishers is further behind than it may be: the whole of what they wait for.
    /// For certain, or perhaps: what was trimmed in the meantime nobody may have looked at yet, and what a worker has yet to be told
    /// may be from before it began to watch.
    fn is_held(&self, channel: usize, certainly: bool) -> bool {
        let of = &self.model.channels[channel];
        if of.limits.slow != SlowPolicy::Pause {
            return false;
        }
        let head = of.head();
        let floor = if certainly { of.floor().offset } else { 0 };
        let mut slowest = head.offset;
        let mut taken = of.bytes_through(head.offset);
        for worker in self.workers.iter().filter(|worker| !certainly && worker.hub.channel(&of.name).is_some()) {
            let untold = worker.inbox.iter().find(|announcement| announcement.channel == of.name);
            slowest = untold.map_or(slowest, |untold| slowest.min(untold.publication.position.offset - 1));
        }
        taken = taken.min(of.bytes_through(slowest));
        for reader in &self.readers {
            let Link::Stream(stream) = &reader.link else { continue };
            // Who answers for each may have shut its window, and is not waited for then.
            if certainly && matches!(stream.encoding.format, Format::Stomp(_)) {
                continue;
            }
            for followed in reader.follows.iter().filter(|followed| followed.channel == channel) {
                let sent = followed.slot.and_then(|slot| self.workers[stream.worker].hub.sent(stream.key, slot));
                taken = sent.map_or(taken, |sent| taken.min(of.bytes_through(sent.offset.max(followed.joined).max(floor))));
            }
        }
        of.bytes_through(head.offset) - taken > of.limits.lag_bytes_max
    }

    /// Tells the directory how far the subscribers have come whose publishers wait.
    pub(crate) fn report_progress(&mut self) {
        for worker in 0..self.workers.len() {
            let shelf = self.shelf(worker);
            for progress in self.workers[worker].hub.take_progress(&shelf) {
                let released = self.directory.borrow_mut().taken(&progress.channel, worker, progress.payload_bytes);
                if released != 0 {
                    self.waiting.borrow_mut().remove(&progress.channel);
                }
            }
        }
    }

    /// Holds the directory against the model after something was done to it.
    pub(crate) fn observe(&mut self, cause: Cause) {
        let mut retained_bytes = 0;
        for index in 0..self.model.channels.len() {
            let watched = self.is_watched(index);
            let channel = &mut self.model.channels[index];
            let page = self.directory.borrow().page(&channel.name, Offset::MAX, 0, PageLimits { publications_max: 0, bytes_max: 0 });
            channel.observe(page.floor, page.head, cause, index, watched, self.now_ms);
            let bytes = channel.retained_bytes();
            assert!(channel.retained().len() <= channel.limits.publications_max && bytes <= channel.limits.bytes_max, "history is bounded");
            retained_bytes += bytes;
        }
        let directory = self.directory.borrow();
        // The model does not count the keys, which are few and short.
        let keys = directory.held_bytes().checked_sub(retained_bytes).expect("what is retained is held");
        assert!(keys <= self.model.channels.len() * (4 * 200 + KEYS.len() * 80), "{keys} bytes of keys");
        assert!(directory.dormant() <= self.directory_limits.forgotten_max, "what is remembered of the forgotten is bounded");
    }

    pub(crate) fn sweep_directory(&mut self) {
        self.note("sweep the directory", 0);
        self.now_ms += self.chance.pick(&[0, 100, 1000]);
        self.directory.borrow_mut().sweep(self.now_ms);
        self.observe(Cause::Sweep);
    }

    pub(crate) fn shed(&mut self) {
        let before = self.directory.borrow().held_bytes();
        let bytes = self.chance.between(0, before);
        self.note("shed", bytes);
        self.directory.borrow_mut().shed(bytes);
        self.observe(Cause::Shed);
        let freed = before - self.directory.borrow().held_bytes();
        assert!(freed >= bytes.min(before / 2), "{freed} of {before} were freed, of {bytes} asked for");
    }
}

/// Bounds of any size, most of them small.
pub(crate) fn random_limits(chance: &mut Chance) -> ChannelLimits {
    ChannelLimits {
        publications_max: chance.pick(&[0, 1, 3, 10, 40, 10_000]),
        bytes_max: chance.pick(&[300, 1000, 3000, 10_000, 1_000_000]),
        age_max_ms: chance.pick(&[50, 500, 5000, 100_000]),
        keys_max: chance.between(0, 4),
        keys_age_max_ms: chance.pick(&[50, 500, 5000]),
        lag_bytes_max: chance.pick(&[100, 1000, 1_000_000]),
        lag_age_max_ms: chance.pick(&[100, 1000, 100_000]),
        slow: chance.pick(&[SlowPolicy::Disconnect, SlowPolicy::Drop, SlowPolicy::Conflate, SlowPolicy::Pause]),
        pause_max_ms: chance.pick(&[50, 500, 5000]),
    }
}

fn random_draft(chance: &mut Chance, number: usize) -> Draft {
    let filler = "~".repeat(chance.pick(&[0, 0, 5, 30, 150, 400]));
    let draft = random_draft_without_key(chance, number, &filler);
    Draft { key: chance.pick(&KEYS).map(Into::into), ..draft }
}

/// What publications are about; some about nothing.
const KEYS: [Option<&str>; 6] = [None, None, Some("a"), Some("b"), Some("c"), Some("d")];

fn random_draft_without_key(chance: &mut Chance, number: usize, filler: &str) -> Draft {
    match chance.below(7) {
        0 => Draft {
            data: format!("{{\"n\":{number},\n\"filler\":\"{filler}\"}}").into(),
            content_type: ContentType::Json,
            ..Draft::default()
        },
        1 => {
            let data = [&[0xff, 0, b'\n'], number.to_string().as_bytes(), filler.as_bytes()].concat();
            Draft { data: data.into(), content_type: ContentType::Octets, ..Draft::default() }
        }
        2 => Draft { headers: [("a".into(), "b".into())].into(), ..Draft::text(format!("{number}\r\n\n{filler}\r")) },
        3 => Draft::text(""),
        4 => Draft { content_type: ContentType::Other("text/csv".into()), ..Draft::text(format!("{number},봉수\n\nid: 1\n")) },
        _ => Draft::text(format!("{number} {filler}")),
    }
}
