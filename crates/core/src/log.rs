//! One channel's log: the home of order. The directory owns one per channel; nothing else appends.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::idempotency::{IdempotencyKey, Window};
use crate::latest::Latest;
use crate::limits::{ChannelLimits, PageLimits, SlowPolicy};
use crate::position::{Cursor, Epoch, Offset, Position};
use crate::publication::{Draft, Publication};
use crate::start::{Gap, GapReason, Start};

/// A totally ordered log of publications, of which the newest are retained.
#[derive(Debug)]
pub struct Log {
    epoch: Epoch,
    head: Offset,
    retained: VecDeque<Arc<Publication>>,
    retained_bytes: usize,
    payload_bytes: u64,
    newest_ms: u64,
    window: Window,
    /// Where the newest publication of each key is, in a channel that conflates.
    latest: Option<Box<Latest>>,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The publication was ordered.
    New(Arc<Publication>),
    /// Its idempotency key was known: the position it was given the first time.
    Repeated(Position),
}

/// Where a subscription begins, once the log has looked at what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The cursor to begin right after.
    pub cursor: Position,
    /// What must be said first, when the cursor asked for could not be honoured.
    pub gap: Option<Gap>,
}

impl Located {
    /// The cursor to tell first. Where a gap follows it is the one asked with: whoever is cut off in between asks with it again, and
    /// the gap is told again.
    pub fn told(&self) -> Cursor {
        self.gap.as_ref().map_or_else(|| self.cursor.into(), |gap| gap.asked.clone())
    }
}

/// A stretch of history.
#[derive(Debug, Clone)]
pub struct Page {
    /// The publications right after the cursor, or, if history no longer reaches it, the oldest retained.
    pub publications: Vec<Arc<Publication>>,
    /// The cursor right before the oldest publication retained.
    pub floor: Position,
    /// The channel's head.
    pub head: Position,
}

impl Log {
    /// A log whose last publication, if any, is no longer retained.
    pub fn new(epoch: Epoch, head: Offset) -> Self {
        Self {
            epoch,
            head,
            retained: VecDeque::new(),
            retained_bytes: 0,
            payload_bytes: 0,
            newest_ms: 0,
            window: Window::default(),
            latest: None,
        }
    }

    /// A log as it was up to its oldest publication retained; `put_back` adds those, and the window's keys follow.
    pub(crate) fn resumed(floor: Position, floor_bytes: u64, newest_ms: u64) -> Self {
        Self { payload_bytes: floor_bytes, newest_ms, ..Self::new(floor.epoch, floor.offset) }
    }

    /// Adds a publication that the log had, behind those put back before. The limits are applied later, by `trim`.
    pub(crate) fn put_back(&mut self, time_ms: u64, draft: Draft) {
        self.head += 1;
        let publication = Arc::new(Publication { position: self.head(), time_ms, bytes_before: self.payload_bytes, draft });
        self.payload_bytes += publication.draft.data.len() as u64;
        self.retained_bytes += publication.draft.cost_bytes();
        self.retained.push_back(publication);
    }

    /// Lets go of what is more than the limits allow, once they have changed.
    pub(crate) fn trim(&mut self, limits: &ChannelLimits) {
        self.window.trim(limits.keys_max);
        self.keep_latest(limits);
        self.trim_history(limits);
    }

    /// Gives a draft its place, unless its idempotency key already has one.
    pub fn append(&mut self, draft: Draft, key: Option<IdempotencyKey>, now_ms: u64, limits: &ChannelLimits) -> Appended {
        self.window.expire(now_ms, limits.keys_age_max_ms);
        if let Some(offset) = key.as_ref().and_then(|key| self.window.find(key)) {
            return Appended::Repeated(Position::new(self.epoch, offset));
        }
        // A clock that is set back must not make a later publication look older.
        self.newest_ms = self.newest_ms.max(now_ms);
        self.head += 1;
        let publication = Arc::new(Publication { position: self.head(), time_ms: self.newest_ms, bytes_before: self.payload_bytes, draft });
        self.payload_bytes += publication.draft.data.len() as u64;
        if let Some(key) = key {
            self.window.remember(key, self.head, now_ms, limits.keys_max);
        }
        self.retain(Arc::clone(&publication), limits);
        Appended::New(publication)
    }

    /// Lets go of what is older than the limits allow.
    pub fn expire(&mut self, now_ms: u64, limits: &ChannelLimits) {
        self.window.expire(now_ms, limits.keys_age_max_ms);
        while self.retained.front().is_some_and(|oldest| oldest.time_ms.saturating_add(limits.age_max_ms) <= now_ms) {
            self.drop_oldest();
        }
    }

    /// Lets the oldest publications go until so many bytes are free, and, if that is not enough, the oldest keys.
    pub fn shed(&mut self, bytes: usize) {
        let goal = self.held_bytes().saturating_sub(bytes);
        while self.held_bytes() > goal && !self.retained.is_empty() {
            self.drop_oldest();
        }
        self.window.shed(self.held_bytes().saturating_sub(goal));
    }

    /// The position of the newest publication.
    pub fn head(&self) -> Position {
        Position::new(self.epoch, self.head)
    }

    /// The cursor right before the oldest publication retained.
    pub fn floor(&self) -> Position {
        Position::new(self.epoch, self.head - self.retained.len() as u64)
    }

    /// All payload bytes ever appended, by which lag is measured.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// What it holds in memory: the publications retained, with their overhead, and the idempotency keys.
    pub fn held_bytes(&self) -> usize {
        self.retained_bytes + self.window.bytes() + self.latest.as_ref().map_or(0, |latest| latest.bytes())
    }

    /// How many publications are retained.
    pub fn retained(&self) -> usize {
        self.retained.len()
    }

    /// The publications retained, the oldest first.
    pub(crate) fn publications(&self) -> impl Iterator<Item = &Publication> {
        self.retained.iter().map(|publication| &**publication)
    }

    /// Payload bytes appended before the oldest publication retained.
    pub(crate) fn floor_bytes(&self) -> u64 {
        self.retained.front().map_or(self.payload_bytes, |oldest| oldest.bytes_before)
    }

    /// The latest time that a publication was given.
    pub(crate) fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// The time of the newest publication retained.
    pub(crate) fn newest_retained_ms(&self) -> u64 {
        self.retained.back().map_or(0, |newest| newest.time_ms)
    }

    /// The idempotency keys.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// The idempotency keys, to put back those that there were.
    pub(crate) fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    /// Whether nothing would be lost if only epoch and head were kept.
    pub fn is_bare(&self) -> bool {
        self.retained.is_empty() && self.window.is_empty()
    }

    /// Finds where a subscription begins. A cursor that cannot be honoured begins at the oldest retained, and says so.
    pub fn locate(&self, start: &Start) -> Located {
        let found = |offset| Located { cursor: Position::new(self.epoch, offset), gap: None };
        let cursor = match start {
            Start::Live => return found(self.head),
            Start::Earliest => return found(self.floor().offset),
            Start::Last(count) => return found(self.head.saturating_sub(*count).max(self.floor().offset)),
            Start::After(cursor) => cursor,
        };
        let reason = match cursor.position() {
            Some(position) if position.epoch == self.epoch => match position.offset {
                offset if offset > self.head => GapReason::Future,
                offset if offset < self.floor().offset => GapReason::Trimmed,
                offset => return found(offset),
            },
            _ => GapReason::Epoch,
        };
        let resumed = self.floor();
        Located { cursor: resumed, gap: Some(Gap { asked: cursor.clone(), resumed, reason }) }
    }

    /// Reads history after an offset, as far as `through`.
    pub fn page(&self, after: Offset, through: Offset, limits: PageLimits) -> Page {
        let floor = self.floor();
        let first = after.max(floor.offset);
        let skip = (first - floor.offset).min(self.retained.len() as u64) as usize;
        let mut bytes = 0;
        let publications = self
            .retained
            .range(skip..)
            .take_while(|publication| publication.position.offset <= through)
            .take(limits.publications_max)
            .take_while(|publication| {
                let fits = bytes == 0 || bytes + publication.draft.data.len() <= limits.bytes_max;
                bytes += publication.draft.data.len().max(1);
                fits
            })
            .cloned()
            .collect();
        Page { publications, floor, head: self.head() }
    }

    /// Reads the newest publication of each key that lies after an offset, as far as `through`. A key that was published to again
    /// past `through` is left out: its newest is yet to come.
    pub fn latest(&self, after: Offset, through: Offset, limits: PageLimits) -> Page {
        let Some(latest) = &self.latest else { return self.page(after, through, limits) };
        let floor = self.floor();
        let mut bytes = 0;
        let publications = latest
            .between(after.max(floor.offset), through)
            .take(limits.publications_max)
            .filter_map(|offset| self.retained.get((offset - floor.offset - 1) as usize))
            .take_while(|publication| {
                let fits = bytes == 0 || bytes + publication.draft.data.len() <= limits.bytes_max;
                bytes += publication.draft.data.len().max(1);
                fits
            })
            .cloned()
            .collect();
        Page { publications, floor, head: self.head() }
    }

    /// The earliest cursor from which no more than so many payload bytes, and nothing older, lead up to `through`.
    pub fn recent(&self, through: Offset, bytes_max: u64, since_ms: u64) -> Offset {
        let floor = self.floor().offset;
        let last = through.saturating_sub(floor).checked_sub(1).and_then(|last| self.retained.get(last as usize));
        let end_bytes = last.map_or(self.payload_bytes, |last| last.bytes_before + last.draft.data.len() as u64);
        let is_far = |publication: &Arc<Publication>| {
            end_bytes.saturating_sub(publication.bytes_before) > bytes_max || publication.time_ms < since_ms
        };
        (floor + self.retained.partition_point(is_far) as u64).min(through)
    }

    /// Begins to keep where the newest of each key is, or ceases to, as the limits want it.
    fn keep_latest(&mut self, limits: &ChannelLimits) {
        match limits.slow {
            SlowPolicy::Conflate if self.latest.is_none() => {
                let mut latest = Box::<Latest>::default();
                self.retained.iter().for_each(|publication| latest.add(publication));
                self.latest = Some(latest);
            }
            SlowPolicy::Conflate => (),
            SlowPolicy::Disconnect | SlowPolicy::Drop | SlowPolicy::Pause => self.latest = None,
        }
    }

    fn retain(&mut self, publication: Arc<Publication>, limits: &ChannelLimits) {
        self.keep_latest(limits);
        if let Some(latest) = &mut self.latest {
            latest.add(&publication);
        }
        self.retained_bytes += publication.draft.cost_bytes();
        self.retained.push_back(publication);
        self.trim_history(limits);
    }

    fn trim_history(&mut self, limits: &ChannelLimits) {
        while self.retained.len() > limits.publications_max || self.retained_bytes > limits.bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        match self.retained.pop_front() {
            Some(oldest) => {
                self.retained_bytes -= oldest.draft.cost_bytes();
                if let Some(latest) = &mut self.latest {
                    latest.remove(&oldest);
                }
            }
            None => self.retained_bytes = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: PageLimits = PageLimits { publications_max: usize::MAX, bytes_max: usize::MAX };

    fn log_of(count: u64, limits: &ChannelLimits) -> Log {
        let mut log = Log::new(Epoch::from_bits(7), 0);
        for n in 1..=count {
            log.append(Draft::text(n.to_string()), None, n, limits);
        }
        log
    }

    fn offsets(page: &Page) -> Vec<Offset> {
        page.publications.iter().map(|publication| publication.position.offset).collect()
    }

    #[test]
    fn counts_from_one_without_holes() {
        let log = log_of(3, &ChannelLimits::default());
        assert_eq!(offsets(&log.page(0, Offset::MAX, ALL)), [1, 2, 3]);
        assert_eq!(offsets(&log.page(1, 2, ALL)), [2]);
        assert!(offsets(&log.page(3, Offset::MAX, ALL)).is_empty());
    }

    #[test]
    fn retains_by_count_bytes_and_age() {
        let limits = ChannelLimits { publications_max: 2, ..ChannelLimits::default() };
        assert_eq!(log_of(5, &limits).floor().offset, 3);
        let limits = ChannelLimits { bytes_max: 500, ..ChannelLimits::default() };
        assert_eq!(log_of(5, &limits).retained(), 2);
        let limits = ChannelLimits { age_max_ms: 10, ..ChannelLimits::default() };
        let mut log = log_of(5, &limits);
        log.expire(13, &limits);
        assert_eq!(offsets(&log.page(0, Offset::MAX, ALL)), [4, 5]);
        log.expire(1000, &limits);
        assert_eq!((log.floor().offset, log.held_bytes()), (5, 0));
    }

    #[test]
    fn a_page_stops_at_its_bounds_but_brings_at_least_one() {
        let log = log_of(9, &ChannelLimits::default());
        assert_eq!(offsets(&log.page(0, Offset::MAX, PageLimits { publications_max: 2, bytes_max: 100 })), [1, 2]);
        assert_eq!(offsets(&log.page(0, Offset::MAX, PageLimits { publications_max: 9, bytes_max: 3 })), [1, 2, 3]);
        assert_eq!(offsets(&log.page(0, Offset::MAX, PageLimits { publications_max: 9, bytes_max: 0 })), [1]);
    }

    #[test]
    fn begins_where_it_is_asked_to() {
        let log = log_of(5, &ChannelLimits { publications_max: 3, ..ChannelLimits::default() });
        for (start, offset) in [(Start::Live, 5), (Start::Earliest, 2), (Start::Last(2), 3), (Start::Last(9), 2), (Start::Last(0), 5)] {
            assert_eq!(log.locate(&start), Located { cursor: Position::new(Epoch::from_bits(7), offset), gap: None }, "{start:?}");
        }
        let at = |offset| Start::After(Position::new(Epoch::from_bits(7), offset).into());
        assert_eq!(log.locate(&at(2)).gap, None);
        assert_eq!(log.locate(&at(5)).cursor.offset, 5);
    }

    #[test]
    fn says_what_is_lost() {
        let log = log_of(5, &ChannelLimits { publications_max: 3, ..ChannelLimits::default() });
        let epoch = Epoch::from_bits(7);
        for (cursor, reason) in [
            (Cursor::from(Position::new(epoch, 1)), GapReason::Trimmed),
            (Cursor::from(Position::new(epoch, 6)), GapReason::Future),
            (Cursor::from(Position::new(Epoch::from_bits(8), 5)), GapReason::Epoch),
            (Cursor::parse("e-5").expect("well formed"), GapReason::Epoch),
        ] {
            let located = log.locate(&Start::After(cursor.clone()));
            assert_eq!(located.gap, Some(Gap { asked: cursor, resumed: Position::new(epoch, 2), reason }));
            assert_eq!(located.cursor, Position::new(epoch, 2));
        }
    }

    #[test]
    fn a_repeated_key_returns_the_first_position() {
        let limits = ChannelLimits { keys_max: 2, keys_age_max_ms: 100, ..ChannelLimits::default() };
        let mut log = Log::new(Epoch::from_bits(7), 0);
        let mut publish = |key: &str, now_ms| match log.append(Draft::text("x"), Some(IdempotencyKey::anonymous(key)), now_ms, &limits) {
            Appended::New(publication) => (true, publication.position.offset),
            Appended::Repeated(position) => (false, position.offset),
        };
        assert_eq!(publish("a", 0), (true, 1));
        assert_eq!(publish("a", 99), (false, 1));
        assert_eq!(publish("b", 99), (true, 2));
        assert_eq!(publish("a", 100), (true, 3), "the window has passed");
        assert_eq!(publish("c", 100), (true, 4));
        assert_eq!(publish("b", 100), (true, 5), "beyond two keys the oldest is forgotten");
    }

    #[test]
    fn a_clock_set_back_does_not_reorder_time() {
        let limits = ChannelLimits::default();
        let mut log = Log::new(Epoch::from_bits(7), 0);
        log.append(Draft::text("a"), None, 1000, &limits);
        log.append(Draft::text("b"), None, 10, &limits);
        assert_eq!(log.page(1, 2, ALL).publications[0].time_ms, 1000);
    }
}
