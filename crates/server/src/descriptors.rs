//! Room for many connections: each is a file descriptor of the process.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Raises the limit on open descriptors as far as the system lets us, and has the kernel make room for them now. Call it before
/// any thread is started: growing the table of a process with threads stalls it for some ten milliseconds each time.
pub(crate) fn make_room() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without the right to do so the limit stays as it is, which is no fault.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let current = getrlimit(Resource::Nofile).current.unwrap_or(MADE_READY_MAX).min(MADE_READY_MAX);
    let Some(highest) = current.checked_sub(1).and_then(|highest| i32::try_from(highest).ok()) else { return };
    // The copy is dropped at once; the table that was grown for it stays.
    let grown = fcntl_dupfd_cloexec(rustix::stdio::stderr(), highest).is_ok();
    debug!(limit = current, grown, "descriptors");
}

/// The table costs 8 bytes a descriptor: no more than 8 MiB are spent ahead of need.
const MADE_READY_MAX: u64 = 1 << 20;
