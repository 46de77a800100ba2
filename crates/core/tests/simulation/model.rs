//! What should be: each channel as a list of all that was ever published to it, life by life, and what history must still hold.

use std::collections::VecDeque;
use std::sync::Arc;

use bongsu_core::limits::{ChannelLimits, SlowPolicy};
use bongsu_core::log::Located;
use bongsu_core::{ChannelName, Cursor, Epoch, Gap, GapReason, Offset, Position, Publication, Start};

/// All channels.
pub(crate) struct Model {
    pub(crate) channels: Vec<Channel>,
}

/// One channel and all its lives.
pub(crate) struct Channel {
    pub(crate) name: ChannelName,
    pub(crate) limits: ChannelLimits,
    lives: Vec<Life>,
    keys: VecDeque<Key>,
}

struct Life {
    epoch: Epoch,
    publications: Vec<Arc<Publication>>,
    floor: Offset,
}

struct Key {
    key: String,
    position: Position,
    time_ms: u64,
    /// The channel may have been let go in between, and its keys with it.
    doubtful: bool,
}

/// What happened to a directory, which says what it may have let go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cause {
    /// It was published to this channel.
    Publish(usize),
    /// It was full and somebody wanted a new channel, this one: it may have swept first.
    PublishToFull(usize),
    /// It was swept.
    Sweep,
    /// It shed history.
    Shed,
    /// Watches came or went.
    Watch,
}

impl Model {
    pub(crate) fn new(channels: impl IntoIterator<Item = (ChannelName, ChannelLimits, Epoch)>) -> Self {
        let channels = channels.into_iter().map(|(name, limits, epoch)| Channel {
            name,
            limits,
            lives: vec![Life { epoch, publications: Vec::new(), floor: 0 }],
            keys: VecDeque::new(),
        });
        Self { channels: channels.collect() }
    }

    pub(crate) fn index_of(&self, name: &str) -> usize {
        self.channels.iter().position(|channel| channel.name.as_str() == name).expect("a channel of this world")
    }
}

impl Channel {
    fn life(&self) -> &Life {
        self.lives.last().expect("there always is a life")
    }

    pub(crate) fn head(&self) -> Position {
        Position::new(self.life().epoch, self.life().publications.len() as Offset)
    }

    pub(crate) fn floor(&self) -> Position {
        Position::new(self.life().epoch, self.life().floor)
    }

    /// The publication that must be at this position.
    pub(crate) fn publication(&self, at: Position) -> &Arc<Publication> {
        let life = self.lives.iter().find(|life| life.epoch == at.epoch).expect("an epoch that was");
        life.publications.get(at.offset as usize - 1).expect("a position that was given")
    }

    /// What history must hold.
    pub(crate) fn retained(&self) -> &[Arc<Publication>] {
        &self.life().publications[self.life().floor as usize..]
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.retained().iter().map(|publication| publication.draft.cost_bytes()).sum()
    }

    /// A publication was given its place.
    pub(crate) fn append(&mut self, publication: &Arc<Publication>, watched: bool) {
        let position = publication.position;
        if position.epoch != self.life().epoch {
            self.begin_life(position.epoch, watched);
        }
        assert_eq!(position.offset, self.head().offset + 1, "offsets have no holes");
        let life = self.lives.last_mut().expect("there always is a life");
        life.publications.push(Arc::clone(publication));
    }

    /// Holds the channel, as it now is, against what may have become of it.
    pub(crate) fn observe(&mut self, floor: Position, head: Position, cause: Cause, index: usize, watched: bool, now_ms: u64) {
        if head.epoch != self.life().epoch {
            self.begin_life(head.epoch, watched);
        }
        assert_eq!(head, self.head(), "the head of {}", self.name);
        let before = self.floor().offset;
        let floor = floor.offset;
        let let_go = !watched && floor == head.offset;
        let kept = self.floor_by_age(now_ms);
        match cause {
            Cause::Publish(of) | Cause::PublishToFull(of) if of == index => assert_eq!(floor, self.floor_by_size(), "what a publish trims"),
            Cause::Sweep => assert!(floor == kept || let_go, "a sweep keeps what is young: {floor}, not {kept}"),
            Cause::PublishToFull(_) => assert!(floor == before || floor == kept || let_go, "a sweep keeps what is young"),
            Cause::Shed => assert!((before..=head.offset).contains(&floor), "what is shed is the oldest"),
            Cause::Publish(_) | Cause::Watch => assert!(floor == before || let_go, "nothing trims after {cause:?}"),
        }
        self.lives.last_mut().expect("there always is a life").floor = floor;
        // What sheds gives up its keys last, once it has no publications left.
        if matches!(cause, Cause::Shed) || (matches!(cause, Cause::Sweep | Cause::PublishToFull(_)) && !watched) {
            self.keys.iter_mut().for_each(|key| key.doubtful = true);
        }
    }

    fn begin_life(&mut self, epoch: Epoch, watched: bool) {
        assert!(!watched, "a watched channel keeps its epoch");
        assert!(self.lives.iter().all(|life| life.epoch != epoch), "an epoch never comes again");
        self.lives.push(Life { epoch, publications: Vec::new(), floor: 0 });
        self.keys.iter_mut().for_each(|key| key.doubtful = true);
    }

    fn floor_by_size(&self) -> Offset {
        let life = self.life();
        let mut floor = life.floor as usize;
        let mut bytes = self.retained_bytes();
        while life.publications.len() - floor > self.limits.publications_max || bytes > self.limits.bytes_max {
            bytes -= life.publications[floor].draft.cost_bytes();
            floor += 1;
        }
        floor as Offset
    }

    fn floor_by_age(&self, now_ms: u64) -> Offset {
        let old = |publication: &&Arc<Publication>| publication.time_ms + self.limits.age_max_ms <= now_ms;
        self.life().floor + self.retained().iter().take_while(old).count() as Offset
    }

    /// Holds a conflation against the model: whatever it passes over has a newer one of its key after it. Returns where it resumes.
    pub(crate) fn conflated(&self, cursor: Position, resumed: &str) -> Position {
        assert_eq!(self.limits.slow, SlowPolicy::Conflate, "only where the policy says so");
        let life = self.lives.iter().find(|life| life.epoch == cursor.epoch).expect("an epoch that was");
        let resumed = Cursor::parse(resumed).ok().and_then(|cursor| cursor.position()).expect("a cursor of ours");
        assert_eq!(resumed.epoch, cursor.epoch);
        for passed_over in &life.publications[cursor.offset as usize..resumed.offset as usize] {
            let is_newer = |later: &Arc<Publication>| later.draft.key == passed_over.draft.key;
            assert!(life.publications[resumed.offset as usize..].iter().any(is_newer), "{passed_over:?} was the newest of its key");
        }
        resumed
    }

    /// Where a subscriber goes on that is passed over: as far back as half the bounds on lag allow.
    pub(crate) fn recent(&self, through: Offset, now_ms: u64) -> Position {
        let (floor, life) = (self.floor(), self.life());
        let bytes_through = |offset: Offset| {
            let last = offset.checked_sub(1).and_then(|last| life.publications.get(last as usize));
            last.map_or(0, |last| last.bytes_before + last.draft.data.len() as u64)
        };
        let is_near = |offset: &Offset| {
            let next = &life.publications[*offset as usize];
            let young = next.time_ms + self.limits.lag_age_max_ms / 2 >= now_ms;
            young && bytes_through(through) - next.bytes_before <= self.limits.lag_bytes_max / 2
        };
        Position::new(floor.epoch, (floor.offset..through).find(is_near).unwrap_or(through))
    }

    /// All payload bytes up to an offset of the present life.
    pub(crate) fn bytes_through(&self, offset: Offset) -> u64 {
        // Summed anew: a log that was let go in between counts from 0 again.
        self.life().publications[..offset as usize].iter().map(|publication| publication.draft.data.len() as u64).sum()
    }

    /// The same key came again, or a new one: holds what the log said against what is known.
    pub(crate) fn keyed(&mut self, key: &str, position: Position, is_new: bool, now_ms: u64) {
        while self.keys.front().is_some_and(|oldest| oldest.time_ms + self.limits.keys_age_max_ms <= now_ms) {
            self.keys.pop_front();
        }
        let known = self.keys.iter().position(|known| known.key == key);
        match (known, is_new) {
            (Some(known), false) => return assert_eq!(self.keys[known].position, position, "a repetition gets the first position"),
            (None, false) => panic!("{key} was never seen, or too long ago"),
            (Some(known), true) => {
                let known = self.keys.remove(known).expect("it was just found");
                assert!(known.doubtful, "{key} is published twice");
            }
            (None, true) => (),
        }
        self.keys.push_back(Key { key: key.to_owned(), position, time_ms: now_ms, doubtful: false });
        while self.keys.len() > self.limits.keys_max {
            self.keys.pop_front();
        }
    }

    /// Where a subscription must begin.
    pub(crate) fn locate(&self, start: &Start) -> Located {
        let (floor, head) = (self.floor(), self.head());
        let at = |offset| Located { cursor: Position::new(head.epoch, offset), gap: None };
        let Start::After(cursor) = start else {
            return match start {
                Start::Earliest => at(floor.offset),
                Start::Last(count) => at(head.offset.saturating_sub(*count).max(floor.offset)),
                _ => at(head.offset),
            };
        };
        match cursor.position() {
            Some(position) if position.epoch == head.epoch && position.offset > head.offset => gap(cursor, floor, GapReason::Future),
            Some(position) if position.epoch == head.epoch && position.offset < floor.offset => gap(cursor, floor, GapReason::Trimmed),
            Some(position) if position.epoch == head.epoch => at(position.offset),
            _ => gap(cursor, floor, GapReason::Epoch),
        }
    }
}

fn gap(asked: &Cursor, resumed: Position, reason: GapReason) -> Located {
    Located { cursor: resumed, gap: Some(Gap { asked: asked.clone(), resumed, reason }) }
}
