//! What the server itself says became of every publication: its metrics, read at the end of a run while all connections still stand.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Report;

/// The server's own account, since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What was offered and where it went, by the server's names of the transports; those that were offered nothing are left out.
    pub transports: BTreeMap<String, Account>,
    /// Connections that it closed as slow.
    pub slow_closes: u64,
    /// Publishers that had to wait for slow subscribers.
    pub publishers_held: u64,
    /// Publishers that waited in vain.
    pub publishers_refused: u64,
}

/// One transport's account: `offered` is the sum of all the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Account {
    pub offered: u64,
    pub delivered: u64,
    pub dropped: u64,
    pub conflated: u64,
    pub abandoned: u64,
    pub pending: u64,
}

impl Balance {
    /// Asks the server for its metrics; nothing if it has none there, or does not say what this needs. What a worker counts is told a
    /// moment later, so it is asked again until it accounts for what the report says was seen, and for a while at most.
    pub(super) fn ask(address: SocketAddr, path: &str, report: &Report) -> Option<Self> {
        let end = Instant::now() + TELLING_MAX;
        loop {
            let balance = Self::parse(&get(address, path).ok()?)?;
            if balance.adds_up(report) || Instant::now() > end {
                return Some(balance);
            }
            std::thread::sleep(TELLING);
        }
    }

    /// Reads OpenMetrics.
    fn parse(text: &str) -> Option<Self> {
        let mut balance = Self::default();
        let mut told = false;
        for line in text.lines().filter_map(|line| line.strip_prefix("bongsu_")) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (Some((name, labels)), Ok(value)) = (series.split_once('{'), value.parse::<u64>()) else { continue };
            let label = labels.split('"').nth(1).unwrap_or_default();
            let mut add = |read: fn(&mut Account) -> &mut u64| {
                told = true;
                if value > 0 {
                    *read(balance.transports.entry(label.to_owned()).or_default()) += value;
                }
            };
            match (name, label) {
                ("offered_total", _) => add(|account| &mut account.offered),
                ("deliveries_total", _) => add(|account| &mut account.delivered),
                ("dropped_total", _) => add(|account| &mut account.dropped),
                ("conflated_total", _) => add(|account| &mut account.conflated),
                ("abandoned_total", _) => add(|account| &mut account.abandoned),
                ("pending", _) => add(|account| &mut account.pending),
                ("closes_total", "slow") => balance.slow_closes += value,
                ("publishers_paused_total", _) => balance.publishers_held += value,
                ("faults_total", "channel-held") => balance.publishers_refused += value,
                _ => (),
            }
        }
        told.then_some(balance)
    }

    /// All transports together.
    pub fn sum(&self) -> Account {
        self.transports.values().fold(Account::default(), |sum, one| Account {
            offered: sum.offered + one.offered,
            delivered: sum.delivered + one.delivered,
            dropped: sum.dropped + one.dropped,
            conflated: sum.conflated + one.conflated,
            abandoned: sum.abandoned + one.abandoned,
            pending: sum.pending + one.pending,
        })
    }

    /// Whether its counters add up: in themselves, transport by transport, and with what the subscribers at the other end saw. What
    /// they got was delivered, and what they were never given, as the next message showed, was dropped or conflated.
    pub fn adds_up(&self, report: &Report) -> bool {
        let sum = self.sum();
        self.transports.values().all(Account::adds_up)
            && sum.delivered >= report.received
            && sum.dropped + sum.conflated >= report.slow_lost
    }
}

impl Account {
    fn adds_up(&self) -> bool {
        self.offered == self.delivered + self.dropped + self.conflated + self.abandoned + self.pending
    }
}

/// The body of an answer to a GET.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    // A chunk's length could stand in the middle of a line.
    let is_plain = head.starts_with("HTTP/1.1 200") && !head.to_ascii_lowercase().contains("transfer-encoding");
    is_plain.then(|| body.to_owned()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

const TELLING: Duration = Duration::from_millis(100);
const TELLING_MAX: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# TYPE bongsu_offered counter
bongsu_offered_total{transport="websocket"} 100
bongsu_offered_total{transport="sse"} 0
bongsu_deliveries_total{transport="websocket"} 70
bongsu_dropped_total{transport="websocket"} 20
bongsu_conflated_total{transport="websocket"} 4
bongsu_abandoned_total{transport="websocket"} 5
bongsu_pending{transport="websocket"} 1
bongsu_closes_total{reason="slow"} 2
bongsu_closes_total{reason="client"} 7
bongsu_publishers_paused_total{transport="http"} 3
bongsu_faults_total{fault="channel-held"} 1
# EOF
"#;

    #[test]
    fn the_servers_account_is_held_against_what_was_seen() {
        let balance = Balance::parse(METRICS).expect("it has what this needs");
        assert_eq!(balance.transports.keys().collect::<Vec<_>>(), ["websocket"]);
        assert_eq!((balance.slow_closes, balance.publishers_held, balance.publishers_refused), (2, 3, 1));
        let seen = |received, slow_lost| Report { received, slow_lost, ..Report::default() };
        assert!(balance.adds_up(&seen(70, 24)));
        assert!(!balance.adds_up(&seen(71, 24)), "more came than was delivered");
        assert!(!balance.adds_up(&seen(70, 25)), "more is missing than was passed over");
        let skewed = Balance::parse(&METRICS.replace("} 70", "} 71")).expect("it has what this needs");
        assert!(!skewed.adds_up(&seen(70, 24)), "the sum is not what was offered");
        assert_eq!(Balance::parse("some_other_total 3\n"), None);
    }
}
