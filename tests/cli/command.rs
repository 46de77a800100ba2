//! Runs the command: each in a folder of its own, without our variables, and never longer than [`PATIENCE`].

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The command with piped output. `BONGSU_…` variables of whoever runs the tests are kept from it.
pub fn bongsu(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bongsu"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BONGSU_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end: its exit code, and what it said on standard output and standard error.
pub fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    Running::start(&mut bongsu(folder, arguments)).finish()
}

/// The same, with something on its standard input.
pub fn run_with_input(folder: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut running = Running::start(bongsu(folder, arguments).stdin(Stdio::piped()));
    // A command that refuses its arguments reads nothing.
    _ = running.child().stdin.take().expect("piped").write_all(input.as_bytes());
    running.finish()
}

/// A folder that is gone after the test.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// A command that runs. It ends with the test, whatever happens, and by force when it takes too long.
pub struct Running {
    child: Option<Child>,
    _watched: mpsc::Sender<()>,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().expect("the command starts");
        let (watched, end) = mpsc::channel::<()>();
        let pid = child.id().to_string();
        std::thread::spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        Self { child: Some(child), _watched: watched }
    }

    /// The lines that it writes on standard output.
    pub fn stdout(&mut self) -> Lines<BufReader<ChildStdout>> {
        BufReader::new(self.child().stdout.take().expect("piped, and taken once")).lines()
    }

    /// The lines that it writes on standard error.
    pub fn stderr(&mut self) -> Lines<BufReader<ChildStderr>> {
        BufReader::new(self.child().stderr.take().expect("piped, and taken once")).lines()
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        let pid = self.child().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    }

    /// Waits for its end, and reads what it still says.
    pub fn finish(mut self) -> (Option<i32>, String, String) {
        let child = self.child.take().expect("it is there until it is finished");
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
        (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it is there until it is finished")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// A `bongsu serve` on a port of its own.
pub struct Serving {
    running: Running,
    log: Lines<BufReader<ChildStderr>>,
    pub address: String,
    ports: serde_json::Value,
}

impl Serving {
    /// Starts it, with further flags, and waits until it listens.
    pub fn start(folder: &Path, http: &str, flags: &[&str]) -> Self {
        let mut arguments = vec!["serve", "--http", http, "--workers", "1", "--ports-file", "ports.json"];
        for listener in ["--tcp", "--stomp"] {
            if !flags.contains(&listener) {
                arguments.extend_from_slice(&[listener, "off"]);
            }
        }
        arguments.extend_from_slice(flags);
        let mut running = Running::start(&mut bongsu(folder, &arguments));
        let mut log = running.stderr();
        log.by_ref().map_while(Result::ok).find(|line| line.contains("listening")).expect("it says when it listens");
        let ports = std::fs::read_to_string(folder.join("ports.json")).expect("written before it says so");
        let ports: serde_json::Value = serde_json::from_str(&ports).expect("JSON");
        let address = ports["http"].as_str().expect("an address").to_owned();
        Self { running, log, address, ports }
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of another of its listeners, as clients write it.
    pub fn url_of(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.ports[scheme].as_str().expect("it listens there"))
    }

    /// Ends it in good order.
    pub fn stop(mut self) {
        self.running.terminate();
        self.log.by_ref().map_while(Result::ok).find(|line| line.contains("stopping")).expect("it says that it stops");
        // What it still logs is read, so that it is not stopped by a full pipe.
        let rest: Vec<_> = self.log.by_ref().map_while(Result::ok).collect();
        assert_eq!(self.running.finish().0, Some(0), "{rest:?}");
    }
}

/// How long any command may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
