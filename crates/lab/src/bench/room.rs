//! Room for many connections: each is a file descriptor of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on open descriptors as far as the system lets us. Servers that are started then inherit it.
pub fn make_room() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without the right to do so the limit stays as it is, which a run with too many connections tells.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
