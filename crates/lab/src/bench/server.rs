//! A server that is started for a measurement, and ended after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::BenchFault;
use super::target::TargetFile;

/// How servers are started.
#[derive(Debug, Clone)]
pub struct Start {
    /// This program, which the word `bongsu` stands for.
    pub itself: PathBuf,
}

/// A server that runs, started here or not.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    addresses: BTreeMap<String, SocketAddr>,
    _folder: Option<tempfile::TempDir>,
}

impl Start {
    /// What a target needs and does not find, and how to get it.
    pub fn missing(&self, target: &TargetFile) -> Option<String> {
        let is_missing = |need: &&String| match need.contains('/') {
            true => !target.here.join(need).exists(),
            false => find(need).is_none(),
        };
        let missing: Vec<&str> = target.needs.iter().filter(is_missing).map(String::as_str).collect();
        let how = if target.install.is_empty() { String::new() } else { format!("; install: {}", target.install) };
        (!missing.is_empty()).then(|| format!("{} not found{how}", missing.join(", ")))
    }

    /// Starts a target, with these further words on its command line, and waits until it listens.
    pub fn start(&self, target: &TargetFile, further: &str) -> Result<Running, BenchFault> {
        if target.start.is_empty() {
            let url = target.url.as_deref().unwrap_or_default();
            return Ok(Running { child: None, addresses: [("http".to_owned(), address_of(url)?)].into(), _folder: None });
        }
        let failed = |reason: String| BenchFault::Start { name: target.name.clone(), reason };
        let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let port = free_port().map_err(|error| failed(error.to_string()))?;
        let here = std::env::current_dir().map(|folder| folder.join(&target.here)).map_err(|error| failed(error.to_string()))?;
        let fill = |text: &str| {
            let text = text.replace("{port}", &port.to_string()).replace("{dir}", &folder.path().display().to_string());
            text.replace("{here}", &here.display().to_string())
        };
        for (name, text) in &target.files {
            let file = folder.path().join(name);
            std::fs::write(&file, fill(text)).map_err(BenchFault::file(file))?;
        }
        let line = fill(&format!("{} {further}", target.start));
        let mut words = line.split_whitespace();
        let program = words.next().unwrap_or_default();
        let program = if program == "bongsu" { self.itself.clone() } else { find(program).unwrap_or_else(|| program.into()) };
        let log = folder.path().join("bench-log.txt");
        let said = File::create(&log).and_then(|file| file.try_clone().map(|copy| (file, copy))).map_err(BenchFault::file(&log))?;
        let mut command = Command::new(program);
        command.args(words).current_dir(folder.path()).stdin(Stdio::null()).stdout(said.0).stderr(said.1);
        // What is set for whoever measures is not meant for the server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BONGSU_")) {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(|error| failed(format!("{line}: {error}")))?;
        started().insert(child.id());
        let mut running = Running { child: Some(child), addresses: BTreeMap::new(), _folder: Some(folder) };
        let ports = target.ports_file.as_ref().and_then(|name| running._folder.as_ref().map(|folder| folder.path().join(name)));
        running.wait(ports.as_deref(), port).map_err(|reason| failed(format!("{reason}{}", last_words(&log))))?;
        Ok(running)
    }
}

impl Running {
    /// Its process, if it was started here.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// One of its addresses, by the name in the ports file.
    pub fn address(&self, listener: &str) -> Result<SocketAddr, BenchFault> {
        let none = || BenchFault::Sense(format!("the server has no address for {listener}"));
        self.addresses.get(listener).copied().ok_or_else(none)
    }

    /// Where a target of this kind tells its counters.
    pub fn metrics(&self, target: &TargetFile) -> Option<(SocketAddr, String)> {
        Some((*self.addresses.get("http")?, target.metrics.clone()?))
    }

    fn wait(&mut self, ports: Option<&Path>, port: u16) -> Result<(), String> {
        let end = Instant::now() + STARTING_MAX;
        while Instant::now() < end {
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                return Err(format!("it ended with {status}"));
            }
            self.addresses = match ports {
                Some(file) => read_ports(file),
                None => {
                    let address = SocketAddr::from(([127, 0, 0, 1], port));
                    let listens = TcpStream::connect_timeout(&address, STARTING_MAX).is_ok();
                    listens.then(|| ("http".to_owned(), address)).into_iter().collect()
                }
            };
            if !self.addresses.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("it did not listen within {} seconds", STARTING_MAX.as_secs()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            started().remove(&child.id());
            // One that has ended by itself is not there to be ended; either way nothing is left of it.
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// Ends every server that was started here and still runs: for when the measurement itself is ended from outside.
pub fn end_all() {
    for pid in std::mem::take(&mut *started()) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // One that has ended by itself is not there to be ended.
            _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The processes of the servers that run.
fn started() -> std::sync::MutexGuard<'static, BTreeSet<u32>> {
    static STARTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address of a URL such as `http://127.0.0.1:8080`, or of a bare address.
pub(super) fn address_of(url: &str) -> Result<SocketAddr, BenchFault> {
    let wrong = |reason: &str| BenchFault::Sense(format!("{url:?}: {reason}; write http://127.0.0.1:8080"));
    let bare = match url.split_once("://") {
        Some(("http" | "ws", rest)) => rest,
        Some(_) => return Err(wrong("only http:// and ws:// can be measured")),
        None => url,
    };
    let bare = bare.split('/').next().unwrap_or_default();
    let with_port =
        if bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) { bare.to_owned() } else { format!("{bare}:80") };
    with_port.to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or_else(|| wrong("no such address"))
}

fn read_ports(file: &Path) -> BTreeMap<String, SocketAddr> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A program, also where Debian keeps servers and not everybody's PATH leads.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| file.exists());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    if last.is_empty() { String::new() } else { format!("; it said: {}", last.join(" / ")) }
}

const STARTING_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_from_urls() {
        let address = |url: &str| address_of(url).map(|address| address.to_string()).map_err(|fault| fault.to_string());
        assert_eq!(address("http://127.0.0.1:8080/"), Ok("127.0.0.1:8080".to_owned()));
        assert_eq!(address("[::1]:9"), Ok("[::1]:9".to_owned()));
        assert_eq!(address("ws://127.0.0.1"), Ok("127.0.0.1:80".to_owned()));
        assert!(address("https://127.0.0.1").is_err_and(|told| told.contains("only http://")));
    }

    #[test]
    fn what_is_missing_is_told_with_the_remedy() {
        let start = Start { itself: "bongsu".into() };
        let needs = vec!["no-such-program".to_owned(), "no/such/file".to_owned(), "sh".to_owned()];
        let target = TargetFile { needs, install: "apt-get install it".to_owned(), ..TargetFile::default() };
        assert_eq!(start.missing(&target).as_deref(), Some("no-such-program, no/such/file not found; install: apt-get install it"));
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let start = Start { itself: "bongsu".into() };
        let files = [("say.sh".to_owned(), "echo no room on {port}; exit 3".to_owned())].into();
        let target = TargetFile { name: "it".to_owned(), start: "sh {dir}/say.sh".to_owned(), files, ..TargetFile::default() };
        let told = start.start(&target, "").expect_err("it ends").to_string();
        assert!(told.contains("it did not start") && told.contains("it said: no room on "), "{told}");
    }
}
