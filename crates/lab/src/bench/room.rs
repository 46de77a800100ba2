//! Room for many connections: each is a file descriptor of the process, and has buffers in the kernel.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on open descriptors as far as the system lets us. Servers that are started then inherit it.
pub fn make_room() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without the right to do so the limit stays as it is, which a run with too many connections tells.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many bytes of socket buffers may be put to use: half of the memory that is available, and no more than TCP may have before the
/// kernel begins to save (tcp(7), `tcp_mem`). Nothing where Linux does not tell.
pub fn buffer_bytes() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024;
    let tcp = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    let pressure = tcp.split_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE_BYTES;
    Some((available / 2).min(pressure))
}

/// What `tcp_mem` is counted in, on machines that are measured.
const PAGE_BYTES: u64 = 4096;
