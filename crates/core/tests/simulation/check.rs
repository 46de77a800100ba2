//! Each record that a reader gets, held against the model.

use bongsu_core::{CompositeCursor, Cursor, GapReason, Position, Publication};

use crate::model::Model;
use crate::parse::{Data, Record};
use crate::reader::{Link, Reader};

/// What a reader's records add up to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// Publications that came whole.
    pub(crate) whole: u64,
    /// Connections that ended within a record.
    pub(crate) cut: u64,
}

/// What a reader was told that it does not get.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lost {
    /// Since history no longer held it, or its channel drops.
    pub(crate) dropped: u64,
    /// Since there is a newer one of its key.
    pub(crate) conflated: u64,
}

impl Lost {
    fn add(&mut self, reason: &str, publications: u64) {
        match reason == GapReason::Conflated.as_str() {
            true => self.conflated += publications,
            false => self.dropped += publications,
        }
    }
}

impl Reader {
    /// Reads what its connection took. Counts the publications.
    pub(crate) fn read(&mut self, model: &Model) -> u64 {
        let mut publications = 0;
        let Some(stream) = self.stream() else { return 0 };
        let taken = std::mem::take(&mut stream.pipe.borrow_mut().taken);
        if taken.is_empty() {
            return 0;
        }
        stream.parser.feed(&taken);
        while let Some(record) = self.stream().and_then(|stream| stream.parser.next()) {
            publications += u64::from(matches!(record, Record::Publication { .. }));
            self.check(record, model);
            self.remember();
        }
        publications
    }

    fn check(&mut self, record: Record, model: &Model) {
        let stream = self.stream().expect("records come over a stream");
        assert!(!stream.ended, "nothing follows a goodbye: {record:?}");
        match record {
            Record::Bye => stream.ended = true,
            Record::Beat => (),
            Record::Cursor { channel, cursor } => self.check_cursor(channel, &cursor, model),
            Record::Gap { channel, asked, resumed, reason, cursor } => {
                self.check_gap(channel, &asked, &resumed, &reason, model);
                self.check_own_cursor(cursor.as_deref(), model);
            }
            Record::Publication { channel, position, cursor, data } => {
                let place = self.place_of(channel, cursor.as_deref(), model);
                self.check_publication(place, position, &data, model);
                self.check_own_cursor(cursor.as_deref(), model);
            }
        }
    }

    fn is_composite(&self) -> bool {
        matches!(&self.link, Link::Stream(stream) if stream.encoding.own)
    }

    /// Which of its channels a record is of.
    fn place_of(&self, channel: Option<String>, cursor: Option<&str>, model: &Model) -> usize {
        if let Some(channel) = channel {
            let index = model.index_of(&channel);
            return self.follows.iter().position(|followed| followed.channel == index).expect("a channel that it follows");
        }
        if !self.is_composite() {
            return self.follows.iter().position(|followed| followed.slot.is_some()).expect("a subscription");
        }
        // An event of several channels tells its channel only by the part of the cursor that moved.
        let composite = CompositeCursor::parse(cursor.expect("events have an id"), 16).expect("a composite cursor");
        let moved: Vec<usize> = (0..self.follows.len())
            .filter(|&place| {
                composite.get(&model.channels[self.follows[place].channel].name) != self.follows[place].cursor.map(Cursor::from)
            })
            .collect();
        assert_eq!(moved.len(), 1, "one record moves one channel, but moved are {moved:?}");
        moved[0]
    }

    fn check_cursor(&mut self, channel: Option<String>, cursor: &str, model: &Model) {
        let is_composite = self.is_composite();
        if is_composite && channel.is_none() && self.follows.iter().all(|followed| followed.opening.is_none()) {
            // A heartbeat of several channels.
            return self.check_own_cursor(Some(cursor), model);
        }
        let place = match &channel {
            Some(_) => self.place_of(channel, None, model),
            // A start without a channel's name is the next one that has not been told.
            None => self.follows.iter().position(|followed| followed.opening.is_some()).expect("a subscription that has not begun"),
        };
        let followed = &mut self.follows[place];
        let expected = match followed.beats.pop_front() {
            Some(beat) => {
                assert_eq!(followed.cursor, Some(beat), "a heartbeat tells what was delivered");
                beat
            }
            None => {
                followed.until = None;
                followed.opening.take().expect("a cursor is told when a subscription starts, or as a heartbeat")
            }
        };
        followed.cursor = Some(expected);
        if !is_composite {
            return assert_eq!(cursor, expected.to_string(), "a cursor is what was delivered last");
        }
        let composite = CompositeCursor::parse(cursor, 16).expect("a composite cursor");
        for followed in &self.follows {
            let expected = followed.opening.or(followed.cursor).map(Cursor::from);
            assert_eq!(composite.get(&model.channels[followed.channel].name), expected, "each part of a composite cursor is true");
        }
    }

    /// A record's own cursor resumes exactly after what was delivered, on every channel.
    fn check_own_cursor(&self, cursor: Option<&str>, model: &Model) {
        let Some(cursor) = cursor else { return assert!(!self.is_composite(), "every record of several channels tells its cursor") };
        if !self.is_composite() {
            assert!(self.follows.iter().any(|followed| followed.cursor.is_some_and(|at| at.to_string() == cursor)), "{cursor} is not true");
            return;
        }
        let composite = CompositeCursor::parse(cursor, 16).expect("a composite cursor");
        for followed in &self.follows {
            let expected = followed.opening.or(followed.cursor).map(Cursor::from);
            assert_eq!(composite.get(&model.channels[followed.channel].name), expected, "each part of a composite cursor is true");
        }
    }

    fn check_gap(&mut self, channel: Option<String>, asked: &str, resumed: &str, reason: &str, model: &Model) {
        let place = match channel {
            None => self.follows.iter().position(|followed| followed.slot.is_some()).expect("a subscription"),
            channel => self.place_of(channel, None, model),
        };
        let followed = &mut self.follows[place];
        assert!(followed.opening.is_none() || followed.until.is_some(), "a subscription's cursor comes first");
        if let Some(gap) = followed.gap.take_if(|_| followed.opening.is_none()) {
            assert_eq!((asked, resumed, reason), (gap.asked.as_str(), gap.resumed.to_string().as_str(), gap.reason.as_str()));
            return;
        }
        let cursor = followed.cursor.expect("a subscription tells where it starts");
        assert_eq!(asked, cursor.to_string(), "a gap begins at the reader's cursor");
        let channel = &model.channels[followed.channel];
        let resumed = if reason == GapReason::Conflated.as_str() {
            channel.conflated(cursor, resumed)
        } else {
            let stream = self.stream().expect("a gap comes over a stream");
            let is_told =
                |told: &&(usize, GapReason, Position)| told.0 == place && told.1.as_str() == reason && told.2.to_string() == resumed;
            let told = stream.told.iter().find(is_told);
            told.unwrap_or_else(|| panic!("a gap {reason} resumes at one of {:?}, not at {resumed}", stream.told)).2
        };
        assert!(resumed.offset > cursor.offset, "a gap is a loss");
        self.lost.add(reason, resumed.offset - cursor.offset);
        self.follows[place].cursor = Some(resumed);
    }

    fn check_publication(&mut self, place: usize, position: Option<String>, data: &Data, model: &Model) {
        let followed = &mut self.follows[place];
        let cursor = followed.cursor.expect("a subscription tells where it starts");
        let next = Position::new(cursor.epoch, cursor.offset + 1);
        let open = followed.slot.is_some() && followed.opening.is_none() && followed.gap.is_none();
        assert!(open || followed.until.is_some_and(|until| next.offset <= until), "a publication without a subscription");
        if let Some(position) = position {
            assert_eq!(position, next.to_string(), "each publication once, and in order");
        }
        assert!(is_payload(data, model.channels[followed.channel].publication(next)), "{next} is not {data:?}");
        followed.cursor = Some(next);
    }
}

fn is_payload(data: &Data, publication: &Publication) -> bool {
    let payload = &publication.draft.data;
    match data {
        Data::Bytes(bytes) => bytes == payload,
        Data::Json(value) => serde_json::from_slice::<serde_json::Value>(payload).is_ok_and(|published| published == *value),
        Data::Lines(lines) => std::str::from_utf8(payload).is_ok_and(|text| text.replace("\r\n", "\n").replace('\r', "\n") == *lines),
    }
}
