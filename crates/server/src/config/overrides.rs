//! Tables that hold for what matches a pattern, `[[channels]]` and `[[queue]]`: how they are read and checked is the same for both.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::channels::ChannelOverride;
use super::load::{deserialize, first_refusal};
use super::queues::QueueOverride;
use super::schema::to_table;
use super::section::{Report, check_range};

/// A table that sets other bounds for what matches its pattern.
pub(super) trait Override: Serialize + DeserializeOwned {
    /// One with a sound pattern, and nothing else.
    fn blank() -> Self;
    /// One in which every key is set, from which the schema learns their names.
    fn full() -> Self;
    /// Reports each key whose value is not allowed.
    fn check(&self, report: Report<'_>);
}

/// Which list of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// `[[channels]]`.
    Channels,
    /// `[[queue]]`.
    Queue,
}

impl Tables {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Channels, Self::Queue];

    /// The key of the list.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Queue => "queue",
        }
    }

    /// What is allowed for the list.
    pub(super) fn form(self) -> String {
        format!("tables under the heading [[{}]]", self.key())
    }

    /// What is allowed for a table that has no pattern.
    pub(super) const fn pattern_form(self) -> &'static str {
        match self {
            Self::Channels => "a table with a pattern such as pattern = \"chat/**\"",
            Self::Queue => "a table with a pattern such as pattern = \"orders/**\"",
        }
    }

    /// The keys of a table.
    pub(super) fn keys(self) -> Vec<String> {
        let full = match self {
            Self::Channels => to_table(&ChannelOverride::full()),
            Self::Queue => to_table(&QueueOverride::full()),
        };
        full.into_iter().map(|(key, _)| key).collect()
    }

    /// What is allowed for a key, if this value is not, tried alone over a pattern that is known to be good.
    pub(super) fn refusal(self, key: &str, value: &Value) -> Option<String> {
        match self {
            Self::Channels => refusal_of::<ChannelOverride>(key, value),
            Self::Queue => refusal_of::<QueueOverride>(key, value),
        }
    }
}

fn refusal_of<T: Override>(key: &str, value: &Value) -> Option<String> {
    let mut trial = to_table(&T::blank());
    trial.insert(key.to_owned(), value.clone());
    match deserialize::<T>(trial) {
        Ok(table) => first_refusal(|report| table.check(&mut |_, _, allowed| report(allowed))),
        Err(allowed) => Some(allowed),
    }
}

/// Reports the key if it is set to a value outside its range.
pub(super) fn check_some<T: PartialOrd + std::fmt::Display>(key: &str, value: Option<T>, min: T, max: T, report: Report<'_>) {
    if let Some(value) = value {
        check_range(key, &value, min..=max, report);
    }
}
