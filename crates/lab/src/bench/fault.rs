//! Why something could not be measured, in words that say what to do.

use std::path::PathBuf;

use crate::load::RunFault;

/// What stands in the way of a measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchFault {
    /// A file that cannot be read or written.
    #[error("{}: {error}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file whose text is not what it should be.
    #[error("{}: {message}", .file.display())]
    Text {
        /// Which.
        file: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A scenario, target or goal that names what there is not, or says what cannot be.
    #[error("{0}")]
    Sense(String),
    /// A server that did not come up.
    #[error("{name} did not start: {reason}")]
    Start {
        /// The target's name.
        name: String,
        /// What was seen.
        reason: String,
    },
    /// A run that failed.
    #[error(transparent)]
    Run(#[from] RunFault),
    /// A plot that could not be drawn.
    #[error("a plot: {0}")]
    Plot(String),
}

impl BenchFault {
    /// A file that cannot be read or written.
    pub(super) fn file(file: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.into();
        move |error| Self::File { file, error }
    }
}

/// "there is no transport x; there are a, b and c".
pub(super) fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> BenchFault {
    let known: Vec<&str> = known.collect();
    BenchFault::Sense(format!("there is no {kind} {name:?}; there are {}", known.join(", ")))
}
