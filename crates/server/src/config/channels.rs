//! `[[channels]]`: other bounds for the channels that match a pattern.

use serde::{Deserialize, Serialize};

use super::section::{Report, check_range};
use super::{Period, Size};

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
    /// In place of `idempotency.keys_max`.
    pub idempotency_keys_max: Option<usize>,
    /// In place of `idempotency.age_max`.
    pub idempotency_age_max: Option<Period>,
}

impl ChannelOverride {
    /// Reports each key whose value is not allowed: the ranges are those of the general keys.
    pub(super) fn check(&self, report: Report<'_>) {
        if !is_pattern(&self.pattern) {
            report("pattern", format!("{:?}", self.pattern), "a pattern of channel names such as \"chat/**\"".to_owned());
        }
        check_some("publications_max", self.publications_max, 1, 100_000_000, report);
        check_some("bytes_max", self.bytes_max, Size::kib(1), Size::gib(1024), report);
        check_some("age_max", self.age_max, Period::secs(1), Period::days(36_525), report);
        check_some("lag_bytes_max", self.lag_bytes_max, Size::kib(4), Size::gib(1024), report);
        check_some("lag_age_max", self.lag_age_max, Period::millis(10), Period::days(1), report);
        check_some("idempotency_keys_max", self.idempotency_keys_max, 0, 10_000_000, report);
        check_some("idempotency_age_max", self.idempotency_age_max, Period::secs(1), Period::days(30), report);
    }

    /// An override in which every key is set, from which the schema learns their names.
    pub(super) fn full() -> Self {
        Self {
            pattern: "chat/**".to_owned(),
            publications_max: Some(1),
            bytes_max: Some(Size::kib(1)),
            age_max: Some(Period::secs(1)),
            lag_bytes_max: Some(Size::kib(4)),
            lag_age_max: Some(Period::secs(1)),
            idempotency_keys_max: Some(1),
            idempotency_age_max: Some(Period::secs(1)),
        }
    }
}

/// Whether a text is a pattern of channel names.
fn is_pattern(text: &str) -> bool {
    !text.is_empty()
}

fn check_some<T: PartialOrd + std::fmt::Display>(key: &str, value: Option<T>, min: T, max: T, report: Report<'_>) {
    if let Some(value) = value {
        check_range(key, &value, min..=max, report);
    }
}
