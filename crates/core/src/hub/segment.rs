//! Frames laid end to end, and where each ends. A tape is made of segments; a catch-up from history is one too.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::position::Offset;

/// Where frames end. Most turns bring a channel one.
type Ends = SmallVec<[u32; 4]>;

/// Frames of consecutive publications in one encoding, as one slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    bytes: Bytes,
    ends: Ends,
    first: Offset,
    /// What it takes to keep it.
    held_bytes: usize,
    /// When the segment was sealed.
    pub(super) sealed_ms: u64,
}

/// A segment that is still being laid.
#[derive(Debug, Default)]
pub(super) struct SegmentBuilder {
    bytes: BytesMut,
    ends: Ends,
    first: Offset,
}

/// What a partial write left: frames that went out whole, and the rest of the one that was cut.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The last publication of which at least a byte went out. Its rest goes before all else.
    pub(super) through: Offset,
    /// How many frames went out whole.
    pub(super) whole: usize,
    /// The rest of the frame that was cut; empty when the cut fell between frames.
    pub(super) rest: Bytes,
}

impl SegmentBuilder {
    /// Lays one more frame, which `write` appends.
    pub(super) fn lay(&mut self, offset: Offset, write: impl FnOnce(&mut BytesMut)) {
        if self.ends.is_empty() {
            self.first = offset;
        }
        write(&mut self.bytes);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a turn's frames stay far below 4 GiB"));
    }

    /// Whether nothing was laid.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Closes the segment. The builder is empty again and keeps no large buffer.
    pub(super) fn seal(&mut self, now_ms: u64) -> Segment {
        let ends = Ends::from_slice(&self.ends);
        self.ends.clear();
        let held_bytes = self.bytes.capacity() + size_of_val(&*ends) + SEGMENT_OVERHEAD_BYTES;
        Segment { bytes: std::mem::take(&mut self.bytes).freeze(), ends, first: self.first, held_bytes, sealed_ms: now_ms }
    }
}

impl Segment {
    /// All frames.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What a tape that keeps it holds: its buffer with what is spare in it, where its frames end, and the fixed cost. A turn is often
    /// one small frame, whose bytes are the least of it.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How many frames there are.
    pub(super) fn frames(&self) -> usize {
        self.ends.len()
    }

    /// The offset of the first publication.
    pub(super) fn first(&self) -> Offset {
        self.first
    }

    /// The offset of the last publication.
    pub(super) fn last(&self) -> Offset {
        self.first + self.ends.len() as u64 - 1
    }

    /// How many bytes the frames up to an offset have.
    pub(super) fn bytes_through(&self, offset: Offset) -> u64 {
        let frames = ((offset + 1).saturating_sub(self.first) as usize).min(self.ends.len());
        if frames == 0 { 0 } else { u64::from(self.ends[frames - 1]) }
    }

    /// The frames after an offset, at least one and otherwise at most `bytes_max` long. Shares the bytes.
    pub(super) fn after(&self, offset: Offset, bytes_max: usize) -> Self {
        let skip = (offset + 1).saturating_sub(self.first).min(self.ends.len() as u64 - 1) as usize;
        let from = if skip == 0 { 0 } else { self.ends[skip - 1] };
        let fitting = self.ends[skip..].partition_point(|end| (end - from) as usize <= bytes_max).max(1);
        let taken = &self.ends[skip..skip + fitting];
        let to = taken[taken.len() - 1];
        Self {
            bytes: self.bytes.slice(from as usize..to as usize),
            ends: taken.iter().map(|end| end - from).collect(),
            first: self.first + skip as u64,
            held_bytes: 0,
            sealed_ms: self.sealed_ms,
        }
    }

    /// So many of its frames, at least one of which it has more.
    pub(super) fn first_frames(&self, count: usize) -> Self {
        let ends = Ends::from_slice(&self.ends[..count]);
        let to = ends[count - 1] as usize;
        Self { bytes: self.bytes.slice(..to), ends, first: self.first, held_bytes: 0, sealed_ms: self.sealed_ms }
    }

    /// This and those that follow it, as one.
    pub(super) fn join<'a>(&'a self, following: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let all = || std::iter::once(self).chain(following.clone());
        let mut bytes = BytesMut::with_capacity(all().map(|segment| segment.bytes.len()).sum());
        let mut ends = Ends::with_capacity(all().map(|segment| segment.ends.len()).sum());
        for segment in all() {
            let start = bytes.len() as u32;
            ends.extend(segment.ends.iter().map(|end| start + end));
            bytes.extend_from_slice(&segment.bytes);
        }
        Self { bytes: bytes.freeze(), ends, first: self.first, held_bytes: 0, sealed_ms: self.sealed_ms }
    }

    /// What is left when only `written` bytes went out. The rest is a copy where that is small, so that it pins no tape.
    pub(super) fn cut(&self, written: usize) -> Cut {
        let whole = self.ends.partition_point(|&end| end as usize <= written);
        let whole_end = if whole == 0 { 0 } else { self.ends[whole - 1] as usize };
        if written == whole_end {
            return Cut { through: self.first + whole as u64 - 1, whole, rest: Bytes::new() };
        }
        let rest = self.bytes.slice(written..self.ends[whole] as usize);
        let rest = if rest.len() <= COPIED_REST_BYTES_MAX { Bytes::copy_from_slice(&rest) } else { rest };
        Cut { through: self.first + whole as u64, whole, rest }
    }
}

/// A segment's record and the reference counts of its bytes.
const SEGMENT_OVERHEAD_BYTES: usize = 128;

const COPIED_REST_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(frames: &[&str]) -> Segment {
        let mut builder = SegmentBuilder::default();
        for (n, frame) in frames.iter().enumerate() {
            builder.lay(5 + n as u64, |out| out.extend_from_slice(frame.as_bytes()));
        }
        builder.seal(0)
    }

    #[test]
    fn gives_the_frames_after_an_offset() {
        let segment = segment(&["one", "two", "three"]);
        assert_eq!((segment.first(), segment.last()), (5, 7));
        assert_eq!(&segment.after(4, 100).bytes()[..], b"onetwothree");
        assert_eq!(&segment.after(5, 100).bytes()[..], b"twothree");
        assert_eq!(&segment.after(5, 3).bytes()[..], b"two");
        assert_eq!(&segment.after(6, 1).bytes()[..], b"three", "one frame comes whatever its size");
        assert_eq!(segment.after(5, 100).first(), 6);
    }

    #[test]
    fn is_joined_with_those_that_follow() {
        let whole = segment(&["one", "two", "three"]);
        let (first, second) = (whole.after(4, 3), whole.after(5, 100));
        let joined = first.join(std::iter::once(&second));
        assert_eq!((joined.bytes(), &joined.ends, joined.first()), (whole.bytes(), &whole.ends, 5));
    }

    #[test]
    fn is_cut_at_frame_boundaries() {
        let segment = segment(&["one", "two", "three"]);
        let cut = |written| {
            let cut = segment.cut(written);
            (cut.through, cut.whole, cut.rest.to_vec())
        };
        assert_eq!(cut(0), (4, 0, b"".to_vec()));
        assert_eq!(cut(1), (5, 0, b"ne".to_vec()));
        assert_eq!(cut(3), (5, 1, b"".to_vec()));
        assert_eq!(cut(7), (7, 2, b"hree".to_vec()));
        assert_eq!(cut(11), (7, 3, b"".to_vec()));
    }
}
