//! What a process has used, as Linux tells it under /proc. Elsewhere there is nothing to read, and reports leave it out.

use std::fs;

/// Processor time and memory of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor time in user code and in the kernel, in seconds.
    pub cpu_seconds: f64,
    /// The kernel's share of it, between 0 and 1, to the resolution of the clock tick.
    pub system_share: f64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

impl Usage {
    /// Reads what a process has used so far.
    pub fn of(pid: u32) -> Option<Self> {
        let (user, system) = ticks(pid)?;
        let ticked = (user + system) / TICKS_PER_SECOND;
        let system_share = if ticked > 0.0 { system / (user + system) } else { 0.0 };
        Some(Self { cpu_seconds: scheduled(pid).unwrap_or(ticked), system_share, rss_bytes: rss(pid)? })
    }

    /// The kernel's share of what was used since an earlier reading.
    pub fn system_share_since(&self, earlier: &Self) -> f64 {
        let spent = self.cpu_seconds - earlier.cpu_seconds;
        let system = self.cpu_seconds * self.system_share - earlier.cpu_seconds * earlier.system_share;
        if spent > 0.0 { (system / spent).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// utime and stime of proc(5), counted behind the last parenthesis because a command's name may hold anything.
fn ticks(pid: u32) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The scheduler's own account of all living threads, in nanoseconds: finer than ticks, which matters at low rates.
fn scheduled(pid: u32) -> Option<f64> {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let account = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += account.split_ascii_whitespace().next()?.parse::<f64>().ok()?;
    }
    (total > 0.0).then_some(total / 1e9)
}

fn rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// USER_HZ, which Linux fixes at 100 for what it shows in /proc.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_process() {
        let usage = Usage::of(std::process::id()).expect("/proc is there");
        assert!(usage.rss_bytes > 0 && usage.cpu_seconds > 0.0, "{usage:?}");
    }
}
