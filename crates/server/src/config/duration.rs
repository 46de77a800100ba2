//! A length of time as the configuration writes it: `"10m"`, `"1m30s"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// A length of time, read from `"10m"` or `"1m30s"`, and printed in the largest unit that holds it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(u64);

/// The text is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {PERIOD_FORM}")]
pub struct PeriodFault;

impl Period {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(secs * 1_000)
    }

    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self::secs(minutes * 60)
    }

    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    /// So many days.
    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }

    /// As the standard library's type.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl FromStr for Period {
    type Err = PeriodFault;

    fn from_str(text: &str) -> Result<Self, PeriodFault> {
        let mut rest = text.trim();
        let mut millis = 0u64;
        // Each part has a smaller unit than the one before, so that "5s5s" is seen to be a slip.
        let mut unit_before = u64::MAX;
        while !rest.is_empty() {
            let (part, unit, after) = take_part(rest).filter(|(_, unit, _)| *unit < unit_before).ok_or(PeriodFault)?;
            millis = part.checked_mul(unit).and_then(|part| millis.checked_add(part)).ok_or(PeriodFault)?;
            (rest, unit_before) = (after, unit);
        }
        let said_something = unit_before != u64::MAX;
        if said_something && millis <= MILLIS_MAX { Ok(Self(millis)) } else { Err(PeriodFault) }
    }
}

/// Splits `"1m30s"` into 1, the milliseconds of a minute, and `"30s"`.
fn take_part(text: &str) -> Option<(u64, u64, &str)> {
    let after_digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let count = text[..text.len() - after_digits.len()].parse().ok()?;
    let unit_on = after_digits.trim_start();
    let after = unit_on.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &unit_on[..unit_on.len() - after.len()];
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some((count, *millis, after.trim_start()))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, millis): &&(&str, u64)| self.0 >= *millis && self.0.is_multiple_of(*millis);
        match UNITS.iter().find(fits) {
            Some((name, millis)) => write!(f, "{}{name}", self.0 / millis),
            None => f.write_str("0s"),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PERIOD_FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

const PERIOD_FORM: &str = "a length of time such as \"30s\" or \"1m30s\" (ms, s, m, h, d)";

const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A century: enough to mean "never" and far from overflowing any clock.
const MILLIS_MAX: u64 = 36_525 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_lengths_of_time() {
        for (text, millis, printed) in [
            ("10m", 600_000, "10m"),
            ("75s", 75_000, "75s"),
            ("120 s", 120_000, "2m"),
            ("1m30s", 90_000, "90s"),
            ("1h 30m", 5_400_000, "90m"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
            ("365d", 31_536_000_000, "365d"),
        ] {
            let period: Period = text.parse().expect(text);
            assert_eq!((period.as_millis(), period.to_string().as_str()), (millis, printed), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_length_of_time() {
        for text in ["", "10", "s", "-1s", "1.5s", "10 min", "30s1m", "5s5s", "10S", "200000d", "99999999999999999999s"] {
            assert_eq!(text.parse::<Period>(), Err(PeriodFault), "{text:?}");
        }
    }
}
