//! `[[queue]]`: other bounds for the queues that match a pattern.

use bongsu_core::ChannelPattern;
use bongsu_core::queue::{DeadLetterRule, QueueLimits, QueueName};
use serde::{Deserialize, Serialize};

use super::check::check_dead_letter;
use super::overrides::{Override, check_some};
use super::section::Report;
use super::{Config, Period, Size};

/// Bounds that take the place of the general ones for the queues that match a pattern. What is not set stays as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueOverride {
    /// Which queues: `orders`, `orders/*`, `orders/**`, `$dead/**`.
    pub pattern: String,
    /// In place of `queues.messages_max`.
    pub messages_max: Option<usize>,
    /// In place of `queues.bytes_max`.
    pub bytes_max: Option<Size>,
    /// In place of `queues.age_max`.
    pub age_max: Option<Period>,
    /// In place of `queues.consumers_max`.
    pub consumers_max: Option<usize>,
    /// In place of `queues.tries_max`.
    pub tries_max: Option<u32>,
    /// In place of `queues.dead_letter`.
    pub dead_letter: Option<String>,
}

impl QueueOverride {
    /// The general bounds with those that are set here in their place.
    fn over(&self, general: QueueLimits) -> QueueLimits {
        QueueLimits {
            messages_max: self.messages_max.unwrap_or(general.messages_max),
            bytes_max: self.bytes_max.map_or(general.bytes_max, Size::as_usize),
            age_max_ms: self.age_max.map_or(general.age_max_ms, Period::as_millis),
            consumers_max: self.consumers_max.unwrap_or(general.consumers_max),
            tries_max: self.tries_max.unwrap_or(general.tries_max),
            dead_letters: self.dead_letter.as_ref().map_or(general.dead_letters, |text| dead_letters(text)),
        }
    }
}

impl Override for QueueOverride {
    fn blank() -> Self {
        Self { pattern: "orders/**".to_owned(), ..Self::default() }
    }

    fn full() -> Self {
        Self {
            messages_max: Some(1),
            bytes_max: Some(Size::kib(1)),
            age_max: Some(Period::secs(1)),
            consumers_max: Some(1),
            tries_max: Some(1),
            dead_letter: Some("dead".to_owned()),
            ..Self::blank()
        }
    }

    /// The ranges are those of the general keys.
    fn check(&self, report: Report<'_>) {
        if let Err(fault) = ChannelPattern::parse(&self.pattern) {
            report("pattern", format!("{:?}", self.pattern), format!("a pattern of queue names such as \"orders/**\": {fault}"));
        }
        check_some("messages_max", self.messages_max, 1, 100_000_000, report);
        check_some("bytes_max", self.bytes_max, Size::kib(1), Size::gib(1024), report);
        check_some("age_max", self.age_max, Period::secs(1), Period::days(36_525), report);
        check_some("consumers_max", self.consumers_max, 1, 1_000_000, report);
        check_some("tries_max", self.tries_max, 0, 1_000_000, report);
        if let Some(dead_letter) = &self.dead_letter {
            check_dead_letter(dead_letter, report);
        }
    }
}

/// The bounds of every queue, by its name.
#[derive(Debug, Clone)]
pub struct QueueTables {
    general: QueueLimits,
    overrides: Vec<(ChannelPattern, QueueOverride)>,
}

impl QueueTables {
    /// Those of a configuration that was checked.
    pub fn new(config: &Config) -> Self {
        let queues = &config.queues;
        let general = QueueLimits {
            messages_max: queues.messages_max,
            bytes_max: queues.bytes_max.as_usize(),
            age_max_ms: queues.age_max.as_millis(),
            consumers_max: queues.consumers_max,
            tries_max: queues.tries_max,
            dead_letters: dead_letters(&queues.dead_letter),
        };
        let of = |queue: &QueueOverride| Some((ChannelPattern::parse(&queue.pattern).ok()?, queue.clone()));
        Self { general, overrides: config.queue.iter().filter_map(of).collect() }
    }

    /// The bounds of one queue: of the tables that match it, the first that sets a key decides it.
    pub fn of(&self, queue: &QueueName) -> QueueLimits {
        let matching = self.overrides.iter().rev().filter(|(pattern, _)| pattern.matches(queue.as_name()));
        matching.fold(self.general.clone(), |limits, (_, table)| table.over(limits))
    }
}

/// What was checked before.
fn dead_letters(text: &str) -> DeadLetterRule {
    DeadLetterRule::parse(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{SourceFile, Sources};
    use super::*;

    #[test]
    fn of_the_tables_that_match_the_first_that_sets_a_key_decides_it() {
        let text = "[queues]\nmessages_max = 1000\n\
                    [[queue]]\npattern = \"orders/urgent\"\nmessages_max = 5\ndead_letter = \"\"\n\
                    [[queue]]\npattern = \"orders/**\"\nmessages_max = 50\ntries_max = 0\ndead_letter = \"dead/*\"\n\
                    [[queue]]\npattern = \"$dead/**\"\nmessages_max = 7\n";
        let file = SourceFile { name: "a.toml".to_owned(), text: text.to_owned() };
        let config = Config::load(&Sources { file: Some(file), ..Sources::default() }).expect("sound");
        let tables = QueueTables::new(&config);
        let of = |name: &str| {
            let queue = QueueName::parse(name).expect("a name");
            let limits = tables.of(&queue);
            (limits.messages_max, limits.tries_max, limits.dead_letters.of(&queue).map_or(String::new(), |dead| dead.to_string()))
        };
        let dead = |name: &str| name.to_owned();
        assert_eq!(of("orders/urgent"), (5, 0, dead("")));
        assert_eq!(of("orders"), (50, 0, dead("dead/orders")));
        assert_eq!(of("mail"), (1000, 10, dead("$dead/mail")));
        assert_eq!(of("$dead/mail").0, 7);
    }
}
