//! A restart as its clients live through it: subscribers of every transport and publishers that never stop, while their server is
//! ended and started again. Counts what each of them missed, got twice or was told, and how long it took to be whole again.

mod fleet;
mod port;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::client::{Client, ClientFault, Options, Transport};
use crate::server::{ServerFault, ServerProcess};
use fleet::{Common, Story, publish, subscribe};
pub use port::free_port;

/// What is to happen.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `bongsu` command.
    pub binary: PathBuf,
    /// Further arguments for `serve`.
    pub arguments: Vec<String>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// How many subscribers, spread evenly over the transports.
    pub subscribers: usize,
    /// How many publishers.
    pub publishers: usize,
    /// How long a publisher waits between two publications.
    pub pause: Duration,
    /// How long all is well before the restart.
    pub before: Duration,
    /// Whether the server is killed instead of asked to end.
    pub crash: bool,
    /// How long everything may take after the restart.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By transport, and then all together under `all`.
    pub rows: BTreeMap<String, Row>,
    /// How many publications were acknowledged.
    pub published: u64,
    /// How long the old server took to end.
    pub ending: Duration,
    /// How long nobody listened: from the old one's end until the new one was ready.
    pub starting: Duration,
    /// What any client saw that the contract does not allow.
    pub faults: Vec<String>,
}

/// What some subscribers saw.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// How many they are.
    pub subscribers: u64,
    /// How many were told goodbye in words, by a record or a close code.
    pub told: u64,
    /// How many came back by themselves.
    pub back: u64,
    /// How many got everything that was to be had at the end.
    pub whole: u64,
    /// Publications that were acknowledged and never came.
    pub missing: u64,
    /// Publications that came twice.
    pub twice: u64,
    /// How many were told a gap.
    pub told_gap: u64,
    /// How many missed something without being told a gap before.
    pub silent: u64,
    /// From the loss of the connection to the first publication sent since the new server was ready, sorted.
    pub whole_after: Vec<Duration>,
}

/// Why it could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RestartFault {
    /// The server did not start or end as it should.
    #[error(transparent)]
    Server(#[from] ServerFault),
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A client could not be made.
    #[error(transparent)]
    Client(#[from] ClientFault),
    /// Something took too long.
    #[error("{0} took longer than {1:?}")]
    TooLong(&'static str, Duration),
}

/// Carries a plan out.
pub async fn run(plan: &Plan) -> Result<Report, RestartFault> {
    let port = free_port()?;
    let mut server = start(plan, port)?;
    let options = Options { interval: POLL_INTERVAL, ..Options::default() };
    let client = Client::new(&format!("http://127.0.0.1:{port}"))?.with_options(options);
    let common = Arc::new(Common::new(plan.publishers));
    let stories = spawn_subscribers(plan, &client, &common)?;
    wait_for("connecting", plan.patience, || common.connected.load(Ordering::Relaxed) >= plan.subscribers).await?;
    let publishers: Vec<_> =
        (0..plan.publishers).map(|number| tokio::spawn(publish(client.clone(), number, plan.pause, Arc::clone(&common)))).collect();
    tokio::time::sleep(plan.before).await;

    let ending = end(&mut server, plan.crash).await?;
    common.ended_us.store(common.now_us(), Ordering::Relaxed);
    let began = Instant::now();
    let mut server = start(plan, port)?;
    common.ready_us.store(common.now_us(), Ordering::Relaxed);
    let starting = began.elapsed();
    // Everyone's whole, or never will be: what is missing then is counted, not an error of ours.
    _ = wait_for("being whole", plan.patience, || common.fresh_again.load(Ordering::Relaxed) >= plan.subscribers).await;
    common.stop.store(true, Ordering::Relaxed);
    let mut report = Report { ending, starting, ..Report::default() };
    for publisher in publishers {
        match tokio::time::timeout(plan.patience, publisher).await {
            Ok(Ok(Ok(last))) => report.published += last,
            Ok(Ok(Err(fault))) => report.faults.push(format!("a publisher: {fault}")),
            _ => report.faults.push("a publisher did not end".to_owned()),
        }
    }
    common.end_subscribers(plan.patience);
    for story in stories {
        let story = story.await.map_err(std::io::Error::from)?;
        report.add(&story, &common);
    }
    end(&mut server, false).await?;
    report.rows.values_mut().for_each(|row| row.whole_after.sort());
    Ok(report)
}

fn spawn_subscribers(plan: &Plan, client: &Client, common: &Arc<Common>) -> Result<Vec<tokio::task::JoinHandle<Story>>, ClientFault> {
    (0..plan.subscribers)
        .map(|number| {
            let transport = TRANSPORTS[number % TRANSPORTS.len()];
            let subscriber = client.subscribe(transport, &[CHANNEL], bongsu_core::Start::Live)?;
            Ok(tokio::spawn(subscribe(subscriber, transport, Arc::clone(common))))
        })
        .collect()
}

/// Ends a server, without holding the clients' thread up meanwhile.
fn start(plan: &Plan, port: u16) -> Result<ServerProcess, ServerFault> {
    let (http, data_dir) = (format!("127.0.0.1:{port}"), plan.data_dir.display().to_string());
    let arguments = ["--http", &http, "--tcp", "off", "--data-dir", &data_dir].map(str::to_owned);
    ServerProcess::start(&plan.binary, &plan.data_dir.with_extension("ports.json"), arguments.iter().chain(&plan.arguments))
}

async fn end(server: &mut ServerProcess, crash: bool) -> Result<Duration, RestartFault> {
    let began = Instant::now();
    server.signal(crash)?;
    while !server.has_ended(crash)? {
        if began.elapsed() > END_MAX {
            return Err(RestartFault::TooLong("ending", END_MAX));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(began.elapsed())
}

async fn wait_for(what: &'static str, patience: Duration, done: impl Fn() -> bool) -> Result<(), RestartFault> {
    let until = Instant::now() + patience;
    while !done() {
        if Instant::now() > until {
            return Err(RestartFault::TooLong(what, patience));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

impl Report {
    /// All subscribers together.
    pub fn all(&self) -> Row {
        self.rows.get(ALL).cloned().unwrap_or_default()
    }

    fn add(&mut self, story: &Story, common: &Common) {
        if let Some(fault) = &story.fault {
            self.faults.push(format!("{}: {fault}", story.transport));
        }
        for name in [story.transport.as_str(), ALL] {
            self.rows.entry(name.to_owned()).or_default().add(story, common);
        }
    }
}

impl Row {
    fn add(&mut self, story: &Story, common: &Common) {
        self.subscribers += 1;
        self.told += u64::from(story.told);
        self.back += u64::from(story.back);
        let missing = story.missing(common);
        self.whole += u64::from(missing == 0 && story.is_at_the_end(common));
        self.missing += missing;
        self.twice += story.twice;
        self.told_gap += u64::from(story.gaps > 0);
        self.silent += u64::from(story.silent);
        self.whole_after.extend(story.whole_after);
    }

    /// The time within which this share of the subscribers was whole again.
    pub fn whole_within(&self, share: f64) -> Duration {
        let place = (self.whole_after.len() as f64 * share).ceil() as usize;
        self.whole_after.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, ending, starting, faults, .. } = self;
        writeln!(f, "{published} published; the old server ended in {ending:.1?}, the new one was ready {starting:.1?} later")?;
        writeln!(
            f,
            "{:<11}{:>12}{:>7}{:>7}{:>7}{:>9}{:>7}{:>7}{:>8}{:>11}{:>11}",
            "", "subscribers", "told", "back", "whole", "missing", "twice", "gap", "silent", "whole p50", "p99"
        )?;
        for (name, row) in &self.rows {
            let seconds = |share| format!("{:.2} s", row.whole_within(share).as_secs_f64());
            writeln!(
                f,
                "{name:<11}{:>12}{:>7}{:>7}{:>7}{:>9}{:>7}{:>7}{:>8}{:>11}{:>11}",
                row.subscribers,
                row.told,
                row.back,
                row.whole,
                row.missing,
                row.twice,
                row.told_gap,
                row.silent,
                seconds(0.5),
                seconds(0.99)
            )?;
        }
        faults.iter().take(10).try_for_each(|fault| writeln!(f, "FAULT {fault}"))
    }
}

const TRANSPORTS: [Transport; 6] = Transport::HTTP;
const ALL: &str = "all";
const CHANNEL: &str = "restart/lobby";
const POLL_INTERVAL: Duration = Duration::from_millis(250);
const END_MAX: Duration = Duration::from_secs(60);
