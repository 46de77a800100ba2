//! A number of bytes as the configuration writes it: `"16 MiB"`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// A number of bytes, read from `"16 MiB"`, `"1 MB"` or a bare number, and printed in the largest unit that holds it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

/// The text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {SIZE_FORM}")]
pub struct SizeFault;

impl Size {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many times 1,024 KiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many times 1,024 MiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl FromStr for Size {
    type Err = SizeFault;

    fn from_str(text: &str) -> Result<Self, SizeFault> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, unit) = text.split_at(digits);
        let count: u64 = count.parse().map_err(|_| SizeFault)?;
        let unit = unit.trim_start();
        let unit_bytes = match UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)) {
            Some((_, bytes)) => *bytes,
            None if unit.is_empty() => 1,
            None => return Err(SizeFault),
        };
        count.checked_mul(unit_bytes).filter(|bytes| *bytes <= BYTES_MAX).map(Self).ok_or(SizeFault)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &&(&str, u64)| bytes.is_power_of_two() && self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        let (name, bytes) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{} {name}", self.0 / bytes)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SIZE_FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes).map(Size).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
    }
}

const SIZE_FORM: &str = "a size such as \"16 MiB\" (B, KiB, MiB, GiB, TiB, or in thousands kB, MB, GB, TB)";

/// Largest first, so that printing finds the largest that divides.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// TOML's integers are signed, so nothing larger could be written as a bare number.
const BYTES_MAX: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_sizes() {
        for (text, bytes, printed) in [
            ("16 MiB", 16 << 20, "16 MiB"),
            ("16MiB", 16 << 20, "16 MiB"),
            ("1024 kib", 1 << 20, "1 MiB"),
            ("2 GB", 2_000_000_000, "1953125 KiB"),
            ("1500", 1500, "1500 B"),
            ("0", 0, "0 B"),
            ("0 MiB", 0, "0 B"),
        ] {
            let size: Size = text.parse().expect(text);
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, printed), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in ["", "MiB", "-1", "1.5 MiB", "16 M", "16 MiB 2", "16777216 TiB", "99999999999999999999"] {
            assert_eq!(text.parse::<Size>(), Err(SizeFault), "{text:?}");
        }
    }
}
