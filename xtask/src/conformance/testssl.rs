//! `cargo xtask conformance testssl`: testssl.sh against the default listener, with a certificate that vouches for itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::process::{Running, Server, folder, text};
use crate::command;
use crate::steps::{Steps, run as done, succeeds};
use crate::test::BINARY_VARIABLE;

/// Runs it and tells whether nothing worse than LOW was found.
pub(super) fn run() -> Result<bool, String> {
    let Some(program) = PROGRAMS.into_iter().find(|program| succeeds(&mut command(program, ["--version"]))) else {
        println!("SKIPPED: testssl, because testssl.sh is not installed (apt install testssl.sh)");
        return Ok(true);
    };
    let mut steps = Steps::default();
    let folder = folder("testssl")?;
    if std::env::var_os(BINARY_VARIABLE).is_none() {
        steps.step(BUILD, || done(&mut crate::cargo(["build", "--package", "bongsu"])));
    }
    steps.step_after(&[BUILD], "testssl.sh against https", || look(program, &folder));
    Ok(steps.finish())
}

fn look(program: &str, folder: &Path) -> Result<(), String> {
    let (report, state) = (folder.join("report.json"), format!("tls.state_dir={}", text(&folder.join("state"))));
    // It adds to a report that is there.
    _ = fs::remove_file(&report);
    let server = Server::start(folder, &["--tls-self-signed", "--set", &state])?;
    let arguments =
        ["--quiet", "--color", "0", "--warnings", "batch", "--protocols", "--std", "--fs", "--headers", "--vulnerable", "--ip", "one"];
    let mut look = command(program, arguments);
    look.args(["--jsonfile", &text(&report), &server.address]).current_dir(folder);
    // Its own verdict is a sum of what it found, which is read below.
    let told = Running::start(&mut look, &folder.join("testssl.log"))?.wait(PATIENCE);
    let found = fs::read_to_string(&report).map_err(|fault| format!("no report: {fault}; {told:?}"))?;
    let found: Vec<Value> = serde_json::from_str(&found).map_err(|fault| format!("{}: {fault}", report.display()))?;
    let (mut bad, mut looked) = (0, 0);
    for finding in &found {
        let of = |key: &str| finding[key].as_str().unwrap_or_default();
        looked += 1;
        if !HARMLESS.contains(&of("severity")) {
            bad += 1;
            println!("  {} {}: {}", of("severity"), of("id"), of("finding"));
        }
    }
    println!("{looked} findings, {bad} of them worse than LOW; the report is {}", report.display());
    match (looked, bad) {
        (0..LEAST, _) => Err("it looked at hardly anything".to_owned()),
        (_, 0) => Ok(()),
        (_, bad) => Err(format!("{bad} findings are worse than LOW")),
    }
}

/// Debian calls it without its ending.
const PROGRAMS: [&str; 2] = ["testssl", "testssl.sh"];
const HARMLESS: [&str; 4] = ["OK", "INFO", "LOW", "DEBUG"];
/// What it finds at least, when it runs to its end.
const LEAST: usize = 40;
const BUILD: &str = "build";
const PATIENCE: Duration = Duration::from_secs(20 * 60);
