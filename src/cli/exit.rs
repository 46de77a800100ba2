//! How the command ends: one list of exit codes for all subcommands.

use std::process::ExitCode;

/// The exit codes. They are documented in `EXIT_CODES`, which `--help` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything went as asked.
    Ok = 0,
    /// Something failed while running.
    Failure = 1,
    /// The command line or the configuration is wrong; nothing was started.
    Usage = 2,
    /// A listener's address is taken or not allowed.
    CannotListen = 3,
    /// The server refused what was asked of it.
    Refused = 4,
    /// The server could not be reached.
    CannotConnect = 5,
    /// The data directory is in use by another server, or cannot be read or written.
    DataDir = 6,
}

/// Why a subcommand ends early, and what is said about it on standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong and what to do.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with this code, told by its message.
    pub(crate) fn new(exit: Exit, message: impl ToString) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit codes as `--help` tells them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  everything went as asked
  1  something failed while running, or a second signal cut the goodbyes short
  2  the command line or the configuration is wrong; nothing was started
  3  a listener's address is taken or not allowed
  4  the server refused what was asked of it
  5  the server could not be reached
  6  the data directory is in use by another server, or cannot be read or written";
