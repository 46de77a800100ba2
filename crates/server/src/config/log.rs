//! What is logged, and in what form.

use serde::{Deserialize, Serialize};

use super::section::{self, section};

section! {
    /// What is logged, and in what form.
    Log {
        /// How much.
        level: LogLevel = LogLevel::Info;
        /// In what form.
        format: LogFormat = LogFormat::Text;
    }
}

/// How much is logged: each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody's attention.
    Error,
    /// What may come to need it.
    Warn,
    /// What an operator likes to know.
    Info,
    /// What each connection does.
    Debug,
    /// Everything.
    Trace,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line, for machines.
    Json,
}

impl LogLevel {
    /// The word for it in the configuration, which is also a directive for a log filter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
