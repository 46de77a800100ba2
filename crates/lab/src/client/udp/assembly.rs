//! One channel's publications as they come over UDP, lost, doubled and out of order, and as they are handed on: once, in order.

use std::collections::{BTreeMap, VecDeque};

use bongsu_core::{ChannelName, Cursor, Start};

use super::told::Told;
use crate::client::continuity::split;
use crate::client::event::{Event, GapNotice, Published};
use crate::client::fault::ClientFault;
use crate::client::record;

/// What has come of a channel and cannot be handed on yet.
#[derive(Debug)]
pub struct Assembly {
    channel: ChannelName,
    start: Start,
    complete: bool,
    cursor: Option<Cursor>,
    /// The newest position that is known to have been sent.
    head: Option<Cursor>,
    held: BTreeMap<u128, Held>,
    caught_up: bool,
    /// How many repairs were asked for.
    pub repairs: u64,
}

#[derive(Debug)]
enum Held {
    Publication(Box<Published>),
    /// It did not fit into a datagram.
    Large {
        position: Cursor,
    },
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The last publication before it.
    pub after: Cursor,
    /// The last publication in it; none where its end is not known.
    pub through: Option<Cursor>,
}

impl Assembly {
    /// Nothing has come. One that is not complete passes over what is missing.
    pub fn new(channel: ChannelName, start: Start, complete: bool) -> Self {
        Self { channel, start, complete, cursor: None, head: None, held: BTreeMap::new(), caught_up: true, repairs: 0 }
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Whether it waits for what is missing.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether the server has said where it begins.
    pub fn has_begun(&self) -> bool {
        self.cursor.is_some()
    }

    /// Where a subscribe is to start so that nothing is missed.
    pub fn start(&self) -> Start {
        self.cursor.clone().map_or_else(|| self.start.clone(), Start::After)
    }

    /// Takes one object that is about the channel.
    pub fn take(&mut self, told: &Told<'_>, line: &[u8], ready: &mut VecDeque<Event>) -> Result<(), ClientFault> {
        if let (Some(cursor), None) = (&told.cursor, &self.cursor) {
            self.cursor = Some(cursor.clone());
            ready.push_back(Event::Started { channel: self.channel.clone(), cursor: cursor.clone() });
        }
        // What comes before the beginning is known is found missing after it.
        let Some(cursor) = self.cursor.clone() else { return Ok(()) };
        if let Some(head) = &told.head
            && self.head.as_ref().is_none_or(|known| split(known).0 != split(head).0 || split(known).1 < split(head).1)
        {
            self.head = Some(head.clone());
        }
        if told.is_gap {
            return self.take_gap(&cursor, line, ready);
        }
        let Some(position) = &told.position else { return Ok(()) };
        let (epoch, offset) = split(position);
        let (ours, reached) = split(&cursor);
        if epoch != ours {
            // Of another life: a repair will be told the gap.
            self.head = Some(position.clone());
        } else if offset > reached && (self.held.len() < HELD_MAX || self.held.keys().next_back().is_some_and(|last| offset < *last)) {
            if self.held.len() >= HELD_MAX {
                self.held.pop_last();
            }
            let held = match told.length {
                Some(_) if !told.has_data => Held::Large { position: position.clone() },
                _ => Held::Publication(Box::new(read_publication(line)?)),
            };
            self.held.insert(offset, held);
        }
        Ok(())
    }

    fn take_gap(&mut self, cursor: &Cursor, line: &[u8], ready: &mut VecDeque<Event>) -> Result<(), ClientFault> {
        for event in record::read(line, None)?.into_events()? {
            if let Event::Gap(gap) = event {
                // One that came twice, or that answers an older question, is not of this cursor.
                if gap.asked == cursor.as_str() {
                    self.go_to(gap.resumed.clone());
                    ready.push_back(Event::Gap(gap));
                }
            }
        }
        Ok(())
    }

    /// Hands on what follows without a hole, or, where newer is better, whatever came. Tells whether anything did.
    pub fn settle(&mut self, ready: &mut VecDeque<Event>) -> bool {
        let mut went_on = false;
        while let Some(cursor) = self.cursor.clone() {
            let (epoch, reached) = split(&cursor);
            let Some(next) = self.held.first_entry() else { break };
            let offset = *next.key();
            if offset <= reached {
                next.remove();
                continue;
            }
            if offset > reached + 1 && self.complete {
                break;
            }
            let held = next.remove();
            if offset > reached + 1 {
                ready.push_back(self.gap(&cursor, at(epoch, offset - 1), "newest-only"));
            }
            self.hand_on(held, at(epoch, offset - 1), ready);
            went_on = true;
        }
        self.tell_caught_up(went_on, ready);
        went_on
    }

    /// Whether anything is to be asked for again. Nothing is where only the newest matters.
    pub fn is_missing(&self) -> bool {
        let Some(cursor) = self.cursor.as_ref().filter(|_| self.complete) else { return false };
        let (epoch, reached) = split(cursor);
        !self.held.is_empty() || self.head.as_ref().map(split).is_some_and(|head| head.0 != epoch || head.1 > reached)
    }

    /// What is to be asked for again: the first so many holes.
    pub fn holes(&self, max: usize) -> Vec<Hole> {
        let Some(cursor) = self.cursor.clone().filter(|_| self.is_missing()) else { return Vec::new() };
        let (epoch, mut reached) = split(&cursor);
        let mut holes = Vec::new();
        for &offset in self.held.keys() {
            if offset > reached + 1 {
                holes.push(Hole { after: at(epoch, reached), through: Some(at(epoch, offset - 1)) });
            }
            reached = offset;
        }
        if self.head.as_ref().map(split).is_some_and(|head| head.0 != epoch || head.1 > reached) {
            holes.push(Hole { after: at(epoch, reached), through: None });
        }
        holes.truncate(max);
        holes
    }

    fn hand_on(&mut self, held: Held, before: Cursor, ready: &mut VecDeque<Event>) {
        match held {
            Held::Publication(published) => {
                self.cursor = Some(published.position.clone());
                ready.push_back(Event::Publication(published));
            }
            // It lies on the server, to be fetched over another transport; here it is missing, which is said.
            Held::Large { position } => {
                ready.push_back(self.gap(&before, position.clone(), "too-large"));
                self.cursor = Some(position);
            }
        }
    }

    fn gap(&self, asked: &Cursor, resumed: Cursor, reason: &str) -> Event {
        Event::Gap(Box::new(GapNotice { channel: self.channel.clone(), asked: asked.to_string(), resumed, reason: reason.to_owned() }))
    }

    fn go_to(&mut self, cursor: Cursor) {
        let same = self.cursor.as_ref().is_some_and(|known| split(known).0 == split(&cursor).0);
        if !same {
            self.held.clear();
        }
        // A head of another life says nothing of this one.
        self.head = self.head.take().filter(|head| split(head).0 == split(&cursor).0);
        self.cursor = Some(cursor);
    }

    fn tell_caught_up(&mut self, went_on: bool, ready: &mut VecDeque<Event>) {
        // Before anything came there is nothing to have caught up with.
        if !self.has_begun() {
            return;
        }
        let is_there = self.held.is_empty() && self.cursor.as_ref().map(split) == self.head.as_ref().map(split);
        if let (true, false, Some(cursor)) = (is_there, self.caught_up && !went_on, self.cursor.clone()) {
            ready.push_back(Event::CaughtUp { channel: self.channel.clone(), cursor });
        }
        self.caught_up = is_there;
    }
}

fn at(epoch: &str, offset: u128) -> Cursor {
    Cursor::parse(&format!("{epoch}-{offset}")).expect("of the grammar: it was made of a cursor")
}

fn read_publication(line: &[u8]) -> Result<Published, ClientFault> {
    let event = record::read(line, None)?.into_events()?.pop();
    event.and_then(Event::into_publication).ok_or_else(|| record::unreadable(line, "no publication"))
}

/// How many publications are held back behind a hole; the rest is asked for again.
const HELD_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assembly(complete: bool) -> Assembly {
        Assembly::new(ChannelName::parse("a").expect("a name"), Start::Live, complete)
    }

    fn take(assembly: &mut Assembly, lines: &[String]) -> Vec<String> {
        let mut ready = VecDeque::new();
        for line in lines {
            let told = Told::read(line.as_bytes()).expect("an object");
            assembly.take(&told, line.as_bytes(), &mut ready).expect("of the contract");
            assembly.settle(&mut ready);
        }
        ready.iter().filter_map(shown).collect()
    }

    fn shown(event: &Event) -> Option<String> {
        match event {
            Event::Started { cursor, .. } => Some(format!("from {cursor}")),
            Event::Publication(published) => Some(published.position.to_string()),
            Event::Gap(gap) => Some(format!("{} {}..{}", gap.reason, gap.asked, gap.resumed)),
            _ => None,
        }
    }

    fn line(offset: u64) -> String {
        format!(r#"{{"channel":"a","position":"e-{offset}","data":"x"}}"#)
    }

    const BEGIN: &str = r#"{"id":1,"channel":"a","cursor":"e-0","head":"e-0","lease_ms":30000}"#;

    #[test]
    fn a_loss_that_nothing_follows_shows_by_the_head() {
        let mut assembly = assembly(true);
        take(&mut assembly, &[BEGIN.to_owned(), line(1)]);
        assert_eq!(assembly.holes(9), []);
        take(&mut assembly, &[r#"{"channel":"a","head":"e-6"}"#.to_owned()]);
        assert_eq!(assembly.holes(9), [Hole { after: at("e", 1), through: None }]);
        assert_eq!(take(&mut assembly, &[line(3), line(5)]), [""; 0]);
        let holes = [(1, Some(2)), (3, Some(4)), (5, None)];
        let holes = holes.map(|(after, through)| Hole { after: at("e", after), through: through.map(|through| at("e", through)) });
        assert_eq!(assembly.holes(9), holes);
        assert_eq!(assembly.holes(2), holes[..2]);
        assert_eq!(take(&mut assembly, &[line(2), line(6), line(4)]), ["e-2", "e-3", "e-4", "e-5", "e-6"]);
        assert!(!assembly.is_missing());
    }

    #[test]
    fn what_does_not_fit_is_said_and_passed_over() {
        let large = r#"{"channel":"a","position":"e-2","length":5000}"#.to_owned();
        let told = take(&mut assembly(true), &[BEGIN.to_owned(), large, line(3), line(1)]);
        assert_eq!(told, ["from e-0", "e-1", "too-large e-1..e-2", "e-3"]);
    }

    #[test]
    fn newest_only_says_what_it_passes_over() {
        let told = take(&mut assembly(false), &[BEGIN.to_owned(), line(2), line(1), line(5)]);
        assert_eq!(told, ["from e-0", "newest-only e-0..e-1", "e-2", "newest-only e-2..e-4", "e-5"]);
    }

    #[test]
    fn a_gap_is_taken_once_and_only_for_its_own_question() {
        let gap = r#"{"channel":"a","gap":{"asked":"e-0","resumed":"f-7","reason":"epoch"}}"#.to_owned();
        let after = r#"{"channel":"a","position":"f-8","data":"x"}"#.to_owned();
        let mut assembly = assembly(true);
        take(&mut assembly, &[BEGIN.to_owned(), after.clone()]);
        assert_eq!(assembly.holes(9), [Hole { after: at("e", 0), through: None }], "another epoch: the server is asked");
        assert_eq!(take(&mut assembly, &[gap.clone(), gap, after]), ["epoch e-0..f-7", "f-8"]);
    }

    proptest! {
        /// The network loses, doubles and reorders as it likes; whoever asks for each hole gets everything once, in order.
        #[test]
        fn everything_is_handed_on_once_and_in_order(
            count in 1u64..60,
            fates in prop::collection::vec((0u8..4, 0usize..6), 400),
        ) {
            let mut assembly = assembly(true);
            let mut told = take(&mut assembly, &[BEGIN.to_owned()]);
            told.clear();
            let mut fates = fates.into_iter();
            let mut wire: Vec<String> = (1..=count).map(line).collect();
            for _ in 0..200 {
                let mut arrived = Vec::new();
                for line in wire.drain(..) {
                    let (fate, place) = fates.next().unwrap_or((1, 0));
                    for _ in 0..match fate { 0 => 0, 3 => 2, _ => 1 } {
                        arrived.insert(arrived.len().saturating_sub(place), line.clone());
                    }
                }
                arrived.push(format!(r#"{{"channel":"a","head":"e-{count}"}}"#));
                told.extend(take(&mut assembly, &arrived));
                for Hole { after, through } in assembly.holes(3) {
                    let through = through.map_or(count, |through| split(&through).1 as u64);
                    wire.extend((split(&after).1 as u64 + 1..=through).map(line));
                }
                if wire.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(told, (1..=count).map(|offset| format!("e-{offset}")).collect::<Vec<_>>());
        }
    }
}
