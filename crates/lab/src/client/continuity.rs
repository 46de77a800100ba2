//! Holds a channel's positions against what the contract promises: no hole without a gap, nothing twice.

use bongsu_core::{ChannelName, Cursor, Start};

use super::event::{Event, GapNotice};
use super::fault::ClientFault;

/// One channel as a subscriber follows it: where it is, and what may come next.
#[derive(Debug, Clone)]
pub struct Continuity {
    channel: ChannelName,
    start: Start,
    /// The server began elsewhere than asked, and owes a gap that says so.
    gap_owed: Option<Cursor>,
}

impl Continuity {
    /// Follows a channel from a start.
    pub fn new(channel: ChannelName, start: Start) -> Self {
        Self { channel, start, gap_owed: None }
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Where a new connection has to start so that nothing is missed.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The cursor, as soon as there is one.
    pub fn cursor(&self) -> Option<&Cursor> {
        match &self.start {
            Start::After(cursor) => Some(cursor),
            _ => None,
        }
    }

    /// A connection was lost: what it owed, the next one will say.
    pub fn reconnect(&mut self) {
        if let Some(asked) = self.gap_owed.take() {
            self.start = Start::After(asked);
        }
    }

    /// Takes what the server said next about this channel.
    pub fn accept(&mut self, event: &Event) -> Result<(), ClientFault> {
        match event {
            Event::Started { cursor, .. } => self.started(cursor),
            Event::Gap(gap) => self.gap(gap),
            Event::Publication(published) => self.publication(&published.position)?,
            Event::CaughtUp { cursor, .. } => self.caught_up(cursor)?,
            Event::Bye(_) | Event::Heartbeat => (),
        }
        Ok(())
    }

    fn started(&mut self, cursor: &Cursor) {
        // A gap follows the first record; until it does, what was asked for stays what a reconnect asks for.
        if let Start::After(asked) = &self.start
            && split(asked) != split(cursor)
        {
            self.gap_owed = Some(asked.clone());
        }
        self.start = Start::After(cursor.clone());
    }

    fn gap(&mut self, gap: &GapNotice) {
        self.gap_owed = None;
        self.start = Start::After(gap.resumed.clone());
    }

    fn caught_up(&self, cursor: &Cursor) -> Result<(), ClientFault> {
        match (&self.gap_owed, self.cursor()) {
            (None, Some(last)) if split(last) == split(cursor) => Ok(()),
            (Some(asked), _) => Err(self.hole(asked, cursor)),
            (None, last) => Err(self.hole(last.unwrap_or(cursor), cursor)),
        }
    }

    fn publication(&mut self, position: &Cursor) -> Result<(), ClientFault> {
        if let Some(asked) = &self.gap_owed {
            return Err(self.hole(asked, position));
        }
        match self.cursor().map(|last| step(last, position)) {
            None => return Err(ClientFault::contract(format!("{} began with {position}, before any cursor", self.channel))),
            Some(Step::Next) => (),
            Some(Step::Back) => return Err(self.duplicate(position)),
            Some(Step::Away) => return Err(self.hole(self.cursor().unwrap_or(position), position)),
        }
        self.start = Start::After(position.clone());
        Ok(())
    }

    fn hole(&self, after: &Cursor, got: &Cursor) -> ClientFault {
        ClientFault::Hole { channel: self.channel.clone(), after: after.to_string(), got: got.to_string() }
    }

    fn duplicate(&self, got: &Cursor) -> ClientFault {
        let after = self.cursor().map(Cursor::to_string).unwrap_or_default();
        ClientFault::Duplicate { channel: self.channel.clone(), after, got: got.to_string() }
    }
}

enum Step {
    Next,
    Back,
    Away,
}

fn step(last: &Cursor, position: &Cursor) -> Step {
    let ((last_epoch, last), (epoch, offset)) = (split(last), split(position));
    match (last_epoch == epoch, offset.checked_sub(last)) {
        (true, Some(1)) => Step::Next,
        (true, None | Some(0)) => Step::Back,
        _ => Step::Away,
    }
}

/// The epoch's text and the offset: to a client an epoch is a word that it compares and no more.
pub(crate) fn split(cursor: &Cursor) -> (&str, u128) {
    let (epoch, offset) = cursor.as_str().split_once('-').unwrap_or((cursor.as_str(), ""));
    (epoch, offset.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::event::Published;

    fn channel() -> ChannelName {
        ChannelName::parse("a").expect("a name")
    }

    fn cursor(text: &str) -> Cursor {
        Cursor::parse(text).expect("a cursor")
    }

    /// `s` started, `c` caught up, `g` gap, else a publication.
    fn run(start: Start, script: &[&str]) -> Result<String, ClientFault> {
        let mut continuity = Continuity::new(channel(), start);
        for word in script {
            let event = match word.split_once(' ') {
                Some(("c", at)) => Event::CaughtUp { channel: channel(), cursor: cursor(at) },
                Some(("s", at)) => Event::Started { channel: channel(), cursor: cursor(at) },
                Some((_, at)) => {
                    Event::Gap(Box::new(GapNotice { channel: channel(), asked: String::new(), resumed: cursor(at), reason: "new".into() }))
                }
                None => Event::Publication(Box::new(Published {
                    channel: channel(),
                    position: cursor(word),
                    data: bytes::Bytes::new(),
                    content_type: bongsu_core::ContentType::Text,
                    time: None,
                    key: None,
                    headers: Vec::new(),
                })),
            };
            continuity.accept(&event)?;
        }
        continuity.reconnect();
        Ok(continuity.cursor().map(Cursor::to_string).unwrap_or_default())
    }

    #[test]
    fn what_follows_without_a_hole_is_accepted() {
        assert_eq!(run(Start::Live, &["s e-7", "c e-7", "e-8", "e-9", "c e-9"]).expect("in order"), "e-9");
        assert_eq!(run(Start::After(cursor("e-7")), &["s e-7", "e-8", "s e-8", "e-9"]).expect("in order"), "e-9");
        assert_eq!(run(Start::After(cursor("e-7")), &["s f-3", "g f-3", "f-4"]).expect("a gap was said"), "f-4");
        assert_eq!(run(Start::Live, &["s e-7", "e-8", "g e-20", "e-21"]).expect("a gap was said"), "e-21");
    }

    #[test]
    fn a_hole_and_a_duplicate_are_faults() {
        assert!(matches!(run(Start::Live, &["s e-7", "e-9"]), Err(ClientFault::Hole { .. })));
        assert!(matches!(run(Start::Live, &["s e-7", "f-8"]), Err(ClientFault::Hole { .. })));
        assert!(matches!(run(Start::Live, &["s e-7", "e-8", "e-8"]), Err(ClientFault::Duplicate { .. })));
        assert!(matches!(run(Start::Live, &["s e-7", "e-7"]), Err(ClientFault::Duplicate { .. })));
        assert!(matches!(run(Start::After(cursor("e-7")), &["s e-9", "e-10"]), Err(ClientFault::Hole { .. })));
        assert!(matches!(run(Start::Live, &["s e-7", "c e-9"]), Err(ClientFault::Hole { .. })));
        assert!(matches!(run(Start::Live, &["e-1"]), Err(ClientFault::Contract(_))));
    }

    #[test]
    fn a_cut_between_first_record_and_gap_asks_again_for_what_was_asked() {
        assert_eq!(run(Start::After(cursor("e-7")), &["s f-3"]).expect("nothing came"), "e-7");
    }
}
