//! `[[channels]]`: other bounds for the channels that match a pattern.

use bongsu_core::limits::{ChannelLimits, SlowPolicy};
use bongsu_core::{ChannelName, ChannelPattern};
use serde::{Deserialize, Serialize};

use super::overrides::{Override, check_some};
use super::section::Report;
use super::{Config, Period, Size};

/// Bounds that take the place of the general ones for the channels that match a pattern. What is not set stays as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelOverride {
    /// Which channels: `chat/lobby`, `chat/*`, `chat/**`.
    pub pattern: String,
    /// In place of `history.publications_max`.
    pub publications_max: Option<usize>,
    /// In place of `history.bytes_max`.
    pub bytes_max: Option<Size>,
    /// In place of `history.age_max`.
    pub age_max: Option<Period>,
    /// In place of `delivery.lag_bytes_max`.
    pub lag_bytes_max: Option<Size>,
    /// In place of `delivery.lag_age_max`.
    pub lag_age_max: Option<Period>,
    /// In place of `delivery.slow`.
    pub slow: Option<Slow>,
    /// In place of `delivery.pause_max`.
    pub pause_max: Option<Period>,
    /// In place of `idempotency.keys_max`.
    pub idempotency_keys_max: Option<usize>,
    /// In place of `idempotency.age_max`.
    pub idempotency_age_max: Option<Period>,
}

impl ChannelOverride {
    /// The general bounds with those that are set here in their place.
    fn over(&self, general: ChannelLimits) -> ChannelLimits {
        ChannelLimits {
            publications_max: self.publications_max.unwrap_or(general.publications_max),
            bytes_max: self.bytes_max.map_or(general.bytes_max, Size::as_usize),
            age_max_ms: self.age_max.map_or(general.age_max_ms, Period::as_millis),
            keys_max: self.idempotency_keys_max.unwrap_or(general.keys_max),
            keys_age_max_ms: self.idempotency_age_max.map_or(general.keys_age_max_ms, Period::as_millis),
            lag_bytes_max: self.lag_bytes_max.map_or(general.lag_bytes_max, Size::get),
            lag_age_max_ms: self.lag_age_max.map_or(general.lag_age_max_ms, Period::as_millis),
            slow: self.slow.map_or(general.slow, Slow::policy),
            pause_max_ms: self.pause_max.map_or(general.pause_max_ms, Period::as_millis),
        }
    }
}

impl Override for ChannelOverride {
    fn blank() -> Self {
        Self { pattern: "chat/**".to_owned(), ..Self::default() }
    }

    fn full() -> Self {
        Self {
            pattern: "chat/**".to_owned(),
            publications_max: Some(1),
            bytes_max: Some(Size::kib(1)),
            age_max: Some(Period::secs(1)),
            lag_bytes_max: Some(Size::kib(4)),
            lag_age_max: Some(Period::secs(1)),
            slow: Some(Slow::Disconnect),
            pause_max: Some(Period::secs(1)),
            idempotency_keys_max: Some(1),
            idempotency_age_max: Some(Period::secs(1)),
        }
    }

    /// The ranges are those of the general keys.
    fn check(&self, report: Report<'_>) {
        if let Err(fault) = ChannelPattern::parse(&self.pattern) {
            report("pattern", format!("{:?}", self.pattern), format!("a pattern of channel names such as \"chat/**\": {fault}"));
        }
        check_some("publications_max", self.publications_max, 1, 100_000_000, report);
        check_some("bytes_max", self.bytes_max, Size::kib(1), Size::gib(1024), report);
        check_some("age_max", self.age_max, Period::secs(1), Period::days(36_525), report);
        check_some("lag_bytes_max", self.lag_bytes_max, Size::kib(4), Size::gib(1024), report);
        check_some("lag_age_max", self.lag_age_max, Period::millis(10), Period::days(1), report);
        check_some("pause_max", self.pause_max, Period::millis(10), Period::hours(1), report);
        check_some("idempotency_keys_max", self.idempotency_keys_max, 0, 10_000_000, report);
        check_some("idempotency_age_max", self.idempotency_age_max, Period::secs(1), Period::days(30), report);
    }
}

/// What becomes of a subscriber that passed its channel's bounds on lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slow {
    /// It is closed, with the cursor to come back from.
    Disconnect,
    /// It is told a gap, and goes on near the head.
    Drop,
    /// It gets the newest publication of each key, and is told a gap wherever one was passed over.
    Conflate,
    /// Publishers wait for it.
    Pause,
}

impl Slow {
    fn policy(self) -> SlowPolicy {
        match self {
            Self::Disconnect => SlowPolicy::Disconnect,
            Self::Drop => SlowPolicy::Drop,
            Self::Conflate => SlowPolicy::Conflate,
            Self::Pause => SlowPolicy::Pause,
        }
    }
}

/// The bounds of every channel, by its name.
#[derive(Debug, Clone)]
pub struct ChannelRules {
    general: ChannelLimits,
    overrides: Vec<(ChannelPattern, ChannelOverride)>,
}

impl ChannelRules {
    /// The rules of a configuration that was checked.
    pub fn new(config: &Config) -> Self {
        let general = ChannelLimits {
            publications_max: config.history.publications_max,
            bytes_max: config.history.bytes_max.as_usize(),
            age_max_ms: config.history.age_max.as_millis(),
            keys_max: config.idempotency.keys_max,
            keys_age_max_ms: config.idempotency.age_max.as_millis(),
            lag_bytes_max: config.delivery.lag_bytes_max.get(),
            lag_age_max_ms: config.delivery.lag_age_max.as_millis(),
            slow: config.delivery.slow.policy(),
            pause_max_ms: config.delivery.pause_max.as_millis(),
        };
        let of = |channel: &ChannelOverride| Some((ChannelPattern::parse(&channel.pattern).ok()?, channel.clone()));
        Self { general, overrides: config.channels.iter().filter_map(of).collect() }
    }

    /// Whether there may be channels whose publishers wait.
    pub fn may_pause(&self) -> bool {
        self.general.slow == SlowPolicy::Pause || self.overrides.iter().any(|(_, table)| table.slow == Some(Slow::Pause))
    }

    /// The bounds of one channel: of the tables that match it, the first that sets a key decides it.
    pub fn of(&self, channel: &ChannelName) -> ChannelLimits {
        let matching = self.overrides.iter().rev().filter(|(pattern, _)| pattern.matches(channel));
        matching.fold(self.general, |limits, (_, table)| table.over(limits))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SourceFile, Sources};
    use super::*;

    #[test]
    fn of_the_tables_that_match_the_first_that_sets_a_key_decides_it() {
        let text = "[history]\npublications_max = 1000\n\
                    [[channels]]\npattern = \"chat/lobby\"\npublications_max = 5\n\
                    [[channels]]\npattern = \"chat/**\"\npublications_max = 50\nage_max = \"1h\"\n";
        let file = SourceFile { name: "a.toml".to_owned(), text: text.to_owned() };
        let config = Config::load(&Sources { file: Some(file), ..Sources::default() }).expect("sound");
        let rules = ChannelRules::new(&config);
        let of = |name: &str| {
            let limits = rules.of(&ChannelName::parse(name).expect("a name"));
            (limits.publications_max, limits.age_max_ms / 60_000)
        };
        assert_eq!([of("chat/lobby"), of("chat/other"), of("chat"), of("news")], [(5, 60), (50, 60), (50, 60), (1000, 10)]);
    }
}
