//! The form in which a section of the configuration is written down: key, type, default and allowed range, one line each.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// Takes what was found wrong: the key's last part, its value, and what is allowed.
pub(super) type Report<'a> = &'a mut dyn FnMut(&str, String, String);

/// Declares a section: its struct, its defaults, and the check of its ranges.
macro_rules! section {
    (
        $(#[$about:meta])*
        $name:ident {
            $( $(#[$doc:meta])* $key:ident: $type:ty = $default:expr $(, in $range:expr)?; )*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[$doc])* pub $key: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $name {
            /// Reports each key whose value lies outside its range.
            pub(super) fn check_ranges(&self, report: section::Report<'_>) {
                let _ = &report;
                $( $( section::check_range(stringify!($key), &self.$key, $range, report); )? )*
            }
        }
    };
}
pub(super) use section;

/// Reports the key if its value lies outside the range.
pub(super) fn check_range<T: PartialOrd + Display>(key: &str, value: &T, range: RangeInclusive<T>, report: Report<'_>) {
    if !range.contains(value) {
        report(key, value.to_string(), format!("{} to {}", range.start(), range.end()));
    }
}
