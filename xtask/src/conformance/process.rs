//! What a suite runs beside itself: the server under test, and whatever stands in front of it. All of it ends with the suite.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command;
use crate::test::binary;

/// Where a suite and its reports lie: beside what cargo builds.
pub(super) fn folder(suite: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|fault| format!("where this binary lies is unknown: {fault}"))?;
    let folder = own.parent().and_then(Path::parent).ok_or("this binary lies at the root")?.join(suite);
    fs::create_dir_all(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    Ok(folder)
}

/// The server under test.
pub(super) struct Server {
    pub(super) address: String,
    _process: Running,
}

impl Server {
    /// Starts it with everything on free ports, and the flags beside.
    pub(super) fn start(folder: &Path, flags: &[&str]) -> Result<Self, String> {
        let ports = folder.join("ports.json");
        _ = fs::remove_file(&ports);
        let arguments = ["serve", "--http", "127.0.0.1:0", "--tcp", "off", "--ports-file", &text(&ports)];
        let mut serve = command(binary()?, arguments);
        serve.args(flags);
        // Out of the repository, where no bongsu.toml of a developer's changes it.
        let log = File::create(folder.join("server.log")).map_err(|fault| format!("server.log: {fault}"))?;
        serve.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = Running(serve.spawn().map_err(|fault| format!("the server cannot be run: {fault}"))?);
        let began = Instant::now();
        loop {
            if let Some(ports) = fs::read(&ports).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok()) {
                let address = ports["http"].as_str().ok_or("the ports file names no http")?.to_owned();
                return Ok(Self { address, _process: process });
            }
            if process.0.try_wait().is_ok_and(|ended| ended.is_some()) || began.elapsed() > READY {
                return Err("the server did not become ready".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A process of ours, ended when it is let go.
pub(super) struct Running(Child);

impl Running {
    /// Starts a program that is ended when this is let go, with what it says in a file.
    pub(super) fn start(program: &mut Command, log: &Path) -> Result<Self, String> {
        let name = program.get_program().to_string_lossy().into_owned();
        let output = File::create(log).map_err(|fault| format!("{}: {fault}", log.display()))?;
        let errors = output.try_clone().map_err(|fault| format!("{}: {fault}", log.display()))?;
        let child = program.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        child.map(Self).map_err(|fault| format!("{name} cannot be run: {fault}"))
    }

    /// Waits for its end, which is to be a good one.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < patience {
            match self.0.try_wait().map_err(|fault| fault.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("it ended with {status}")),
                None => std::thread::sleep(Duration::from_millis(200)),
            }
        }
        Err(format!("it was not done after {} minutes", patience.as_secs() / 60))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself cannot be ended again.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A path as an argument.
pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

const READY: Duration = Duration::from_secs(20);
