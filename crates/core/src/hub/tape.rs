//! A channel's frames in one encoding, end to end. All subscribers that share the encoding read the same tape.

use std::collections::VecDeque;

use super::segment::{Segment, SegmentBuilder};
use crate::encoding::Encoding;
use crate::position::Offset;

/// The newest frames of a channel in one encoding, bounded in bytes; older ones are encoded anew from history.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) channel: u32,
    pub(super) encoding: Encoding,
    /// Whether its readers answer for what they get, each with a window.
    pub(super) windowed: bool,
    /// Up to where frames were laid and sealed.
    pub(super) through: Offset,
    /// The subscribers that have taken all there is.
    pub(super) live: Vec<Member>,
    /// How many subscriptions read it, live or behind.
    pub(super) readers: u32,
    pub(super) laying: SegmentBuilder,
    segments: VecDeque<Segment>,
    bytes: usize,
}

/// A subscription of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) subscriber: u32,
    pub(super) slot: u32,
}

impl Tape {
    pub(super) fn new(channel: u32, encoding: Encoding, windowed: bool, through: Offset) -> Self {
        Self {
            channel,
            encoding,
            windowed,
            through,
            live: Vec::new(),
            readers: 0,
            laying: SegmentBuilder::default(),
            segments: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Seals what was laid in this turn and returns it.
    pub(super) fn seal(&mut self, now_ms: u64) -> Segment {
        let segment = self.laying.seal(now_ms);
        self.through = segment.last();
        // Records of a connection's own are laid for each anew: there is nothing to keep.
        if !self.encoding.own {
            self.bytes += segment.held_bytes();
            self.segments.push_back(segment.clone());
        }
        segment
    }

    /// Gives up what nobody needs: everything once all are up to date, else the oldest beyond `bytes_max`.
    pub(super) fn settle(&mut self, bytes_max: usize) {
        if self.live.len() == self.readers as usize {
            self.clear();
        }
        while self.bytes > bytes_max {
            self.drop_oldest();
        }
    }

    /// The frames after an offset, if the tape still holds the next one. Those of small turns are joined: one write costs more than
    /// the copy does.
    pub(super) fn after(&self, offset: Offset, bytes_max: usize) -> Option<Segment> {
        let oldest = self.segments.front()?.first();
        if offset + 1 < oldest || offset >= self.through {
            return None;
        }
        let index = self.segments.partition_point(|segment| segment.last() <= offset);
        let first = self.segments.get(index)?.after(offset, bytes_max);
        let mut len = first.bytes().len();
        let fits = |segment: &&Segment| {
            len += segment.bytes().len();
            len <= bytes_max
        };
        let more = self.segments.range(index + 1..).take_while(fits).count();
        // A segment that is cut itself has no follower.
        if more == 0 || first.last() < self.segments[index].last() {
            return Some(first);
        }
        Some(first.join(self.segments.range(index + 1..=index + more)))
    }

    /// The segment sealed last.
    pub(super) fn newest(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// How many bytes it holds, with what keeping them takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many turns it holds.
    #[cfg(test)]
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Gives up all frames, such as when the channel's continuity was lost.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.bytes = 0;
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.segments.pop_front() {
            self.bytes -= oldest.held_bytes();
        }
    }
}
