//! What an HTTP subscription is about: one channel at its own address, or several at one, with one cursor for all.

use bongsu_core::{ChannelName, Composite, CompositeCursor, Cursor, Start};

use super::fault::ClientFault;
use super::target::{Target, add_query, add_start};

/// One or several channels, and where they go on.
#[derive(Debug, Clone)]
pub struct Subject {
    channels: Vec<ChannelName>,
    path: String,
    begin: Begin,
}

#[derive(Debug, Clone)]
enum Begin {
    Start(Start),
    /// The cursor of several channels, as the server gave it.
    Composite(String),
}

impl Subject {
    /// One channel.
    pub fn one(target: &Target, channel: &ChannelName, start: &Start) -> Self {
        Self { channels: vec![channel.clone()], path: target.channel_path(channel), begin: Begin::Start(start.clone()) }
    }

    /// All of the channels in one request, unless they start in ways that one request cannot say.
    pub fn of(target: &Target, starts: &[(ChannelName, Start)]) -> Option<Self> {
        let (first_channel, first) = starts.first()?;
        if starts.len() == 1 {
            return Some(Self::one(target, first_channel, first));
        }
        let channels: Vec<_> = starts.iter().map(|(channel, _)| channel.clone()).collect();
        let is_alike = !matches!(first, Start::After(_)) && starts.iter().all(|(_, start)| start == first);
        let begin = if is_alike { Begin::Start(first.clone()) } else { Begin::Composite(composite(starts)?) };
        Some(Self { path: target.subscribe_path(&channels), channels, begin })
    }

    /// The address to ask, with where to start.
    pub fn address(&self) -> String {
        let mut path = self.path.clone();
        match &self.begin {
            Begin::Start(start) => add_start(&mut path, start),
            Begin::Composite(cursor) => add_query(&mut path, "after", Some(cursor)),
        }
        path
    }

    /// The channels.
    pub fn channels(&self) -> &[ChannelName] {
        &self.channels
    }

    /// The channel, where there is only one: its records need not name it.
    pub fn only(&self) -> Option<&ChannelName> {
        if let [only] = self.channels.as_slice() { Some(only) } else { None }
    }

    /// Goes on after a cursor that the server gave.
    pub fn go_on_after(&mut self, cursor: &str) -> Result<(), ClientFault> {
        self.begin = match self.only() {
            Some(_) => Begin::Start(Start::After(Cursor::parse(cursor)?)),
            None => Begin::Composite(cursor.to_owned()),
        };
        Ok(())
    }

    /// What was asked for a channel, if that was a cursor.
    pub fn asked(&self, channel: &ChannelName) -> Option<Cursor> {
        match &self.begin {
            Begin::Start(Start::After(cursor)) => Some(cursor.clone()),
            Begin::Start(_) => None,
            Begin::Composite(text) => CompositeCursor::parse(text, self.channels.len()).ok()?.get(channel),
        }
    }

    /// The channels' own cursors in a cursor that the server gave. One that the server has not told yet is missing.
    pub fn cursors(&self, text: &str) -> Result<Vec<(ChannelName, Cursor)>, ClientFault> {
        if let Some(only) = self.only() {
            return Ok(vec![(only.clone(), Cursor::parse(text)?)]);
        }
        let composite = CompositeCursor::parse(text, self.channels.len()).map_err(|fault| ClientFault::contract(fault.to_string()))?;
        Ok(self.channels.iter().filter_map(|channel| Some((channel.clone(), composite.get(channel)?))).collect())
    }

    /// One channel's own cursor in a cursor that the server gave.
    pub fn cursor_of(&self, channel: &ChannelName, text: &str) -> Result<Cursor, ClientFault> {
        let own = self.cursors(text)?.into_iter().find(|(known, _)| known == channel);
        own.map(|(_, cursor)| cursor).ok_or_else(|| ClientFault::Contract(format!("a cursor {text:?} without {channel}")))
    }
}

/// One cursor for all, where each channel starts after one, of an epoch such as the server writes.
fn composite(starts: &[(ChannelName, Start)]) -> Option<String> {
    let mut composite = Composite::new(starts.iter().map(|(channel, _)| channel));
    for (index, (_, start)) in starts.iter().enumerate() {
        let Start::After(cursor) = start else { return None };
        composite.advance(index, cursor.position()?);
    }
    Some(composite.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(of: &[(&str, Start)]) -> Vec<(ChannelName, Start)> {
        of.iter().map(|(name, start)| (ChannelName::parse(name).expect("a name"), start.clone())).collect()
    }

    fn after(text: &str) -> Start {
        Start::After(Cursor::parse(text).expect("a cursor"))
    }

    #[test]
    fn several_channels_are_asked_at_once_where_one_request_can_say_it() {
        let target = Target::parse("http://a").expect("an address");
        let address = |of: &[(&str, Start)]| Subject::of(&target, &starts(of)).map(|subject| subject.address());
        assert_eq!(address(&[("a", after("e-1"))]).as_deref(), Some("/channels/a?after=e-1"));
        assert_eq!(address(&[("a", Start::Live), ("b", Start::Live)]).as_deref(), Some("/subscribe?channel=a&channel=b&live"));
        assert_eq!(address(&[("a", Start::Live), ("b", Start::Earliest)]), None);
        assert_eq!(address(&[("a", after("00000000001-1")), ("b", after("foreign-1"))]), None);
        let two = Subject::of(&target, &starts(&[("a", after("00000000001-1")), ("b", after("00000000002-7"))])).expect("sayable");
        let (_, cursor) = two.address().split_once("&after=").map(|(path, cursor)| (path.to_owned(), cursor.to_owned())).expect("a cursor");
        assert_eq!(two.cursor_of(&two.channels()[1], &cursor).expect("its own").as_str(), "00000000002-7");
        assert_eq!(two.asked(&two.channels()[0]).expect("was asked").as_str(), "00000000001-1");
    }
}
