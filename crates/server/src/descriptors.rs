//! Room for many connections: each is a file descriptor of the process.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Raises the limit on open descriptors as far as the system lets us, and has the kernel make room for them now. Call it before
/// any thread is started: growing the table of a process with threads stalls it for some ten milliseconds each time. Gives the limit, if
/// there is one.
pub(crate) fn make_room() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without the right to do so the limit stays as it is, which is no fault.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current;
    let current = limit.unwrap_or(MADE_READY_MAX).min(MADE_READY_MAX);
    let Some(highest) = current.checked_sub(1).and_then(|highest| i32::try_from(highest).ok()) else { return limit };
    // The copy is dropped at once; the table that was grown for it stays.
    let grown = fcntl_dupfd_cloexec(rustix::stdio::stderr(), highest).is_ok();
    debug!(limit = current, grown, "descriptors");
    limit
}

/// Says so if the system will not let the server hold the connections that it may.
pub(crate) fn tell_if_too_few(limit: Option<u64>, connections_max: usize, workers: usize) {
    let beside = (BESIDE + workers * BESIDE_PER_WORKER) as u64;
    let Some(limit) = limit.filter(|limit| *limit < connections_max as u64 + beside) else { return };
    warn!(
        open_files_max = limit,
        connections_max,
        "the system lets the server hold about {} connections: who comes beyond that waits, unanswered; raise the limit on open files \
         (ulimit -n, or LimitNOFILE= of a systemd unit), or lower http.connections_max, so that they are told",
        limit.saturating_sub(beside)
    );
}

/// Descriptors that the server has beside its clients', roughly: files, signals, the log …
const BESIDE: usize = 16;
/// … and a worker's event loop and listeners.
const BESIDE_PER_WORKER: usize = 12;
/// The table costs 8 bytes a descriptor: no more than 8 MiB are spent ahead of need.
const MADE_READY_MAX: u64 = 1 << 20;
