//! `cargo xtask conformance slowhttptest`: a thousand slow connections in each of its four modes, and what other clients notice.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{Running, Server, folder, text};
use crate::steps::{Steps, run as done, succeeds};
use crate::test::BINARY_VARIABLE;
use crate::{cargo, command};

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// One mode; all if none is named.
    mode: Option<&'static str>,
}

/// A way to be slow, and the arguments that ask for it.
struct Mode {
    name: &'static str,
    step: &'static str,
    arguments: &'static [&'static str],
}

const MODES: [Mode; 4] = [
    Mode { name: "headers", step: "slow headers", arguments: &["-H"] },
    Mode { name: "body", step: "slow body", arguments: &["-B", "-s", "65536", "-t", "POST"] },
    Mode { name: "range", step: "slow range", arguments: &["-R", "-a", "10", "-b", "3000", "-t", "HEAD"] },
    Mode { name: "read", step: "slow read", arguments: &["-X", "-w", "64", "-y", "128", "-z", "32", "-n", "5", "-k", "3"] },
];

/// Reads the arguments.
pub(super) fn plan(arguments: &[String]) -> Result<Plan, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => Ok(Plan::default()),
        ["--mode", name] => match MODES.iter().find(|mode| mode.name == name) {
            Some(mode) => Ok(Plan { mode: Some(mode.name) }),
            None => Err(format!("there is no mode {name:?}; there are {}", MODES.map(|mode| mode.name).join(", "))),
        },
        _ => Err("slowhttptest takes --mode MODE, or nothing".to_owned()),
    }
}

/// Runs the modes one after the other, and tells whether others were served all the time and memory stayed bounded.
pub(super) fn run(plan: &Plan) -> Result<bool, String> {
    if !succeeds(&mut command("sh", ["-c", "command -v slowhttptest"])) {
        println!("SKIPPED: slowhttptest, because it is not installed here (Debian has it as slowhttptest)");
        return Ok(true);
    }
    let mut steps = Steps::default();
    let folder = folder("slowhttptest")?;
    if std::env::var_os(BINARY_VARIABLE).is_none() {
        steps.step(BUILD, || done(&mut cargo(["build", "--package", "bongsu"])));
    }
    for mode in MODES.iter().filter(|mode| plan.mode.is_none_or(|one| one == mode.name)) {
        steps.step_after(&[BUILD], mode.step, || attack(mode, &folder));
    }
    Ok(steps.finish())
}

/// What another client sees: how long its requests take.
struct Seen {
    answered: usize,
    p50_ms: f64,
    p99_ms: f64,
}

fn attack(mode: &Mode, folder: &Path) -> Result<(), String> {
    let bound = format!("limits.in_flight_bytes_max={IN_FLIGHT_BYTES_MAX}");
    let server = Server::start(folder, &["--set", &bound])?;
    let channel = format!("http://{}/channels/slow", server.address);
    // Something to read slowly, and for the others to be served.
    for _ in 0..20 {
        ask(
            &server.address,
            &format!("POST /channels/slow HTTP/1.1\r\nHost: {}\r\nContent-Length: 20000\r\n\r\n{}", server.address, "x".repeat(20_000)),
        )?;
    }
    let before = others(&server.address, QUIET)?;
    let idle = numbers(&server.address)?;
    let url = if mode.name == "read" { format!("{channel}?earliest") } else { channel };
    let report = text(&folder.join(mode.name));
    let (rate, connections, seconds) = ((CONNECTIONS / 5).to_string(), CONNECTIONS.to_string(), ATTACK.as_secs().to_string());
    let arguments: [&str; 17] =
        ["-c", &connections, "-r", &rate, "-i", "2", "-l", &seconds, "-x", "24", "-p", "3", "-g", "-o", &report, "-u", &url];
    let mut tool = command("slowhttptest", mode.arguments.iter().copied().chain(arguments));
    let mut tool = Running::start(&mut tool, &folder.join(format!("{}.log", mode.name)))?;
    // The first seconds are its connecting. Some modes are over for most connections before the last is made.
    let after_connecting = Instant::now() + Duration::from_secs(4);
    let (mut most_connections, mut most_bytes) = (0, 0);
    while Instant::now() < after_connecting {
        let now = numbers(&server.address)?;
        (most_connections, most_bytes) = (most_connections.max(now.connections), most_bytes.max(now.in_flight_bytes));
        std::thread::sleep(Duration::from_millis(200));
    }
    let during = others(&server.address, QUIET)?;
    let attacked = numbers(&server.address)?;
    let (most_connections, most_bytes) = (most_connections.max(attacked.connections), most_bytes.max(attacked.in_flight_bytes));
    let opened = attacked.opened - idle.opened;
    tool.wait(ATTACK * 3)?;
    let unavailable = fs::read_to_string(format!("{report}.csv")).map_or(0, |csv| unavailable_seconds(&csv));
    println!(
        "  slow {}: {opened} connections opened, at most {most_connections} at once; others' p50 {:.2} -> {:.2} ms, p99 {:.2} -> {:.2} ms \
         ({} and {} requests); at most {most_bytes} B held for what is under way; unavailable for {unavailable} s by its own probe",
        mode.name, before.p50_ms, during.p50_ms, before.p99_ms, during.p99_ms, before.answered, during.answered
    );
    match () {
        () if unavailable > 0 => Err(format!("its probe found the server unavailable for {unavailable} s; see {report}.html")),
        () if most_bytes > IN_FLIGHT_BYTES_MAX => Err(format!("{most_bytes} B are held for slow clients")),
        () if opened < CONNECTIONS / 2 => Err(format!("only {opened} connections were made: nothing was tested")),
        () => Ok(()),
    }
}

/// Polls a page again and again over one connection, as a client that is not slow. All must be answered.
fn others(address: &str, how_long: Duration) -> Result<Seen, String> {
    let mut stream = connect(address)?;
    let request = format!("GET /channels/slow?last=1 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (until, mut took_ms) = (Instant::now() + how_long, Vec::new());
    while Instant::now() < until {
        let began = Instant::now();
        let answer = exchange(&mut stream, &request)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!("another client was answered {:?}", answer.lines().next().unwrap_or_default()));
        }
        took_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(Duration::from_millis(2));
    }
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| took_ms.get((took_ms.len() as f64 * share) as usize).copied().unwrap_or_default();
    Ok(Seen { answered: took_ms.len(), p50_ms: at(0.5), p99_ms: at(0.99) })
}

/// What the server says of itself.
struct Numbers {
    in_flight_bytes: u64,
    connections: u64,
    opened: u64,
}

fn numbers(address: &str) -> Result<Numbers, String> {
    let metrics = ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n"))?;
    let sum = |name: &str| -> f64 {
        let of = |line: &str| line.starts_with(name).then(|| line.rsplit(' ').next()?.parse::<f64>().ok()).flatten();
        metrics.lines().filter_map(of).sum()
    };
    Ok(Numbers {
        in_flight_bytes: sum("bongsu_in_flight_bytes ") as u64,
        connections: sum("bongsu_connections{") as u64,
        opened: sum("bongsu_connections_opened_total{") as u64,
    })
}

fn ask(address: &str, request: &str) -> Result<String, String> {
    exchange(&mut connect(address)?, request)
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|fault| format!("{address}: {fault}"))?;
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_nodelay(true)).map_err(|fault| fault.to_string())?;
    Ok(stream)
}

/// One request and its answer, which says how long it is.
fn exchange(stream: &mut TcpStream, request: &str) -> Result<String, String> {
    let failed = |fault: std::io::Error| format!("another client was not served: {fault}");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 64 << 10]);
    loop {
        let count = stream.read(&mut buffer).map_err(failed)?;
        answer.extend_from_slice(&buffer[..count]);
        let seen = String::from_utf8_lossy(&answer);
        let whole = seen.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= content_length(head));
        if whole || count == 0 {
            return Ok(seen.into_owned());
        }
    }
}

fn content_length(head: &str) -> usize {
    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0)
}

/// The seconds in which its own probe was not answered, by the last column of its table.
fn unavailable_seconds(csv: &str) -> usize {
    csv.lines().skip(1).filter(|line| line.rsplit(',').next().is_some_and(|available| available.trim() == "0")).count()
}

const BUILD: &str = "build of the server";
const CONNECTIONS: u64 = 1_000;
const ATTACK: Duration = Duration::from_secs(25);
/// How long others are watched, with and without.
const QUIET: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(10);
/// The bound on memory for what is under way. A thousand who read slowly are each owed a page of 400 kB, which would be far more.
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_which_mode() {
        let read = |text: &str| plan(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read(""), Ok(Plan { mode: None }));
        assert_eq!(read("--mode body"), Ok(Plan { mode: Some("body") }));
        for wrong in ["--mode", "--mode fast", "body"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_the_seconds_without_an_answer() {
        let csv = "Seconds,Closed,Pending,Connected,Service Available\n0,0,1,1,1000\n1,0,1,1,0\n2,0,0,2,1000\n";
        assert_eq!(unavailable_seconds(csv), 1);
    }
}
