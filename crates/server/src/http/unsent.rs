//! The body of an answer, as far as it was not written yet. What waits for a client that reads slowly is not the page but what it is
//! made of: publications, which history holds anyway. They are written a piece at a time, as the client takes them.

use std::collections::VecDeque;
use std::sync::Arc;

use bongsu_core::page::{PAGE_OPENING, write_page_item};
use bongsu_core::position::Offset;
use bongsu_core::{ChannelName, Publication};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// What is still to be written of an answer.
#[derive(Debug, Clone)]
pub struct Unsent {
    /// What goes before the publications: the answer's head, the page's opening.
    front: BytesMut,
    publications: VecDeque<(ChannelName, Arc<Publication>)>,
    /// Whether the first of them is the first of its page.
    at_first: bool,
    /// What goes last: the page's ending, or a body that was whole from the beginning.
    last: Bytes,
    body_bytes: usize,
}

/// What is to be written next: a buffer of whole parts, and what goes last, if it is its turn.
pub struct Piece {
    slices: SmallVec<[Bytes; 2]>,
    /// Where each part of the buffer ends.
    ends: SmallVec<[usize; 16]>,
}

impl Unsent {
    /// A body that is there whole, and may be shared.
    pub fn whole(body: Bytes) -> Self {
        let body_bytes = body.len();
        Self { front: BytesMut::new(), publications: VecDeque::new(), at_first: true, last: body, body_bytes }
    }

    /// A page of publications that ends in `ending`. It is `body_bytes` long, which the caller has measured.
    pub fn page(publications: impl IntoIterator<Item = (ChannelName, Arc<Publication>)>, ending: Bytes, body_bytes: usize) -> Self {
        let publications = publications.into_iter().collect();
        Self { front: BytesMut::from(PAGE_OPENING), publications, at_first: true, last: ending, body_bytes }
    }

    /// How long the body is, or was before anything of it was written.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Puts the answer's head before the body.
    pub fn lead_with(&mut self, mut head: BytesMut) {
        head.extend_from_slice(&self.front);
        self.front = head;
    }

    /// Whether all of it was written.
    pub fn is_done(&self) -> bool {
        self.front.is_empty() && self.publications.is_empty() && self.last.is_empty()
    }

    /// Writes what goes next.
    pub fn piece(&self) -> Piece {
        let mut ends = SmallVec::new();
        let mut buffer = self.front.clone();
        if !buffer.is_empty() {
            ends.push(buffer.len());
        }
        let mut count = 0;
        for (channel, publication) in &self.publications {
            if buffer.len() >= PIECE_BYTES {
                break;
            }
            write_page_item(self.at_first && count == 0, channel, publication, &mut buffer);
            ends.push(buffer.len());
            count += 1;
        }
        let mut slices = SmallVec::new();
        if !buffer.is_empty() {
            slices.push(buffer.freeze());
        }
        if count == self.publications.len() && !self.last.is_empty() {
            slices.push(self.last.clone());
        }
        Piece { slices, ends }
    }

    /// Notes that so many bytes of a piece were taken. Returns what is left of the part that was cut, which is to go next: never
    /// more than one part, so that no more than that is held.
    pub fn taken(&mut self, piece: Piece, count: usize) -> Bytes {
        let Piece { slices, ends } = piece;
        let buffer_bytes = ends.last().copied().unwrap_or(0);
        let parts = ends.iter().position(|&end| end > count).map_or(ends.len(), |cut| cut + 1);
        self.pass(parts);
        if count < buffer_bytes {
            let end = ends[parts - 1];
            // A copy, so that the rest of the buffer is not held for it.
            return Bytes::copy_from_slice(&slices[0][count..end]);
        }
        let Some(last) = slices.get(usize::from(buffer_bytes > 0)) else { return Bytes::new() };
        self.last = Bytes::new();
        let rest = last.slice(count - buffer_bytes..);
        // One that nobody else has, and most of which is gone, is worth a copy too.
        drop(slices);
        if rest.is_unique() && count - buffer_bytes > rest.len() { Bytes::copy_from_slice(&rest) } else { rest }
    }

    /// Passes over so many parts that were written.
    fn pass(&mut self, mut parts: usize) {
        if parts > 0 && !self.front.is_empty() {
            self.front = BytesMut::new();
            parts -= 1;
        }
        if parts > 0 {
            self.publications.drain(..parts);
            self.at_first = false;
        }
        if self.publications.is_empty() {
            self.publications = VecDeque::new();
        }
    }

    /// How many bytes of memory it takes that nobody else would hold. `floor` tells for a channel what its history no longer holds.
    pub fn held_bytes(&self, mut floor: impl FnMut(&ChannelName, &Publication) -> Offset) -> usize {
        let of_list = self.publications.capacity() * size_of::<(ChannelName, Arc<Publication>)>();
        let (first, second) = self.publications.as_slices();
        let runs = first.chunk_by(|one, other| one.0 == other.0).chain(second.chunk_by(|one, other| one.0 == other.0));
        let trimmed = runs.map(|run| {
            let (channel, next) = &run[0];
            let floor = floor(channel, next);
            let count = run.partition_point(|(_, publication)| publication.position.offset <= floor);
            run[..count].iter().map(|(_, publication)| publication.draft.data.len()).sum::<usize>()
        });
        self.front.capacity() + of_list + trimmed.sum::<usize>() + self.last.len()
    }
}

impl Piece {
    /// It, as slices to be written at once.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(Bytes::len).sum()
    }
}

/// About how much of a page is written at a time, before others have their turn.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use bongsu_core::page::{PageGaps, write_page, write_page_ending};
    use bongsu_core::{Draft, Epoch, Position};

    use super::*;

    /// Publications of some length each, and the page of them as it is written in one go.
    fn page(count: u64, len: usize) -> (Unsent, Vec<u8>) {
        let channel = ChannelName::parse("a").expect("a name");
        let publications: Vec<_> = (1..=count)
            .map(|offset| Publication {
                position: Position::new(Epoch::from_bits(1), offset),
                time_ms: 0,
                bytes_before: 0,
                draft: Draft::text("x".repeat(len).as_str()),
            })
            .map(|publication| (channel.clone(), Arc::new(publication)))
            .collect();
        let (mut whole, mut ending) = (BytesMut::new(), BytesMut::new());
        let listed = publications.iter().map(|(channel, publication)| (channel, &**publication));
        write_page(listed, "00000000001-9", false, PageGaps::Channel(None), &mut whole);
        write_page_ending("00000000001-9", false, PageGaps::Channel(None), &mut ending);
        (Unsent::page(publications, ending.freeze(), whole.len()), whole.to_vec())
    }

    /// Writes it to a client that takes so many bytes at a time. Tells what came, and the most that was held for it in between.
    fn read_in(mut unsent: Unsent, at_a_time: usize) -> (Vec<u8>, usize) {
        let (mut came, mut most) = (Vec::new(), 0);
        while !unsent.is_done() {
            let piece = unsent.piece();
            let bytes = piece.slices().concat();
            let taken = at_a_time.min(bytes.len());
            came.extend_from_slice(&bytes[..taken]);
            let rest = unsent.taken(piece, taken);
            most = most.max(rest.len());
            came.extend_from_slice(&rest);
        }
        (came, most)
    }

    #[test]
    fn however_it_is_taken_it_is_the_same_page() {
        for (count, len) in [(0, 0), (1, 10), (3, 0), (40, 5_000), (2, 200_000)] {
            for at_a_time in [0, 1, 18, 5_000, 5_117, 65_536, usize::MAX] {
                let (mut unsent, whole) = page(count, len);
                unsent.lead_with(BytesMut::from(&b"head"[..]));
                let (came, most) = read_in(unsent, at_a_time);
                assert_eq!(came[..4], b"head"[..]);
                assert_eq!(came[4..], whole, "{count} of {len} bytes, {at_a_time} at a time");
                assert!(most <= len + 200, "of {count} of {len} bytes {most} were held, {at_a_time} at a time");
            }
        }
    }

    #[test]
    fn a_body_that_is_shared_stays_shared() {
        static BODY: [u8; 10_000] = [b'x'; 10_000];
        let shared = Bytes::from_static(&BODY);
        let mut unsent = Unsent::whole(shared.clone());
        let piece = unsent.piece();
        let rest = unsent.taken(piece, 9_000);
        assert_eq!((rest.as_ptr(), rest.len()), (shared[9_000..].as_ptr(), 1_000));
        assert!(unsent.is_done());
    }

    #[test]
    fn holds_what_history_holds_no_more() {
        let (unsent, _) = page(4, 1_000);
        let with_floor = |floor| unsent.held_bytes(|_, _| floor);
        assert!(with_floor(0) < 1_000, "history has all of it");
        assert_eq!(with_floor(3) - with_floor(0), 3_000);
    }
}
