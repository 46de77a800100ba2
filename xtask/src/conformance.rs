//! `cargo xtask conformance autobahn`: the suites that take too long, or need too much, to run with every change.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::steps::{Steps, run as done, succeeds};
use crate::test::{BINARY_VARIABLE, binary};
use crate::{cargo, command, repository};

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Autobahn's case patterns, such as `12.*`.
    cases: Vec<String>,
}

/// Reads the arguments.
pub(crate) fn plan(arguments: &[String]) -> Result<Plan, String> {
    let mut words = arguments.iter().map(String::as_str);
    match words.next() {
        Some("autobahn") => (),
        Some(other) => return Err(format!("there is no suite {other:?}; there is autobahn")),
        None => return Err("say which suite: autobahn".to_owned()),
    }
    let mut cases = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--cases" => cases.extend(words.next().ok_or("--cases needs a pattern")?.split(',').map(str::to_owned)),
            _ => return Err(format!("unknown argument {word:?}")),
        }
    }
    Ok(Plan { cases })
}

/// Runs the suite and tells whether every case was answered acceptably.
pub(crate) fn run(plan: &Plan) -> Result<bool, String> {
    let Some(python) = python27() else {
        println!("SKIPPED: autobahn, because there is no Python 2.7 here, neither as python2.7 nor under pyenv");
        return Ok(true);
    };
    let mut steps = Steps::default();
    let folder = folder()?;
    steps.step(PACKAGES, || packages(&python, &folder));
    if std::env::var_os(BINARY_VARIABLE).is_none() {
        steps.step(BUILD, || done(&mut cargo(["build", "--package", "bongsu"])));
    }
    steps.step_after(&[PACKAGES, BUILD], "Autobahn's fuzzing client against /echo", || autobahn(plan, &folder));
    Ok(steps.finish())
}

/// A Python 2.7, which the suite's authors never left.
fn python27() -> Option<PathBuf> {
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let versions = home.and_then(|home| fs::read_dir(home.join("versions")).ok()).into_iter().flatten().flatten();
    let under_pyenv = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("2.7."));
    let candidates = std::iter::once(PathBuf::from("python2.7")).chain(under_pyenv.map(|entry| entry.path().join("bin/python2.7")));
    // pyenv's shim has the right name and may lead nowhere: it counts only if it runs.
    let runs = |python: &PathBuf| succeeds(&mut command(python, ["-c", "import sys; assert sys.version_info[:2] == (2, 7)"]));
    candidates.into_iter().find(runs)
}

/// Where the suite and its reports lie: beside what cargo builds.
fn folder() -> Result<PathBuf, String> {
    let folder = binary_folder()?.parent().ok_or("this binary lies at the root")?.join("autobahn");
    fs::create_dir_all(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    Ok(folder)
}

fn binary_folder() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|fault| format!("where this binary lies is unknown: {fault}"))?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Makes a virtual environment with the pinned packages, unless it is there.
fn packages(python: &Path, folder: &Path) -> Result<(), String> {
    let requirements = repository().join("conformance/autobahn/requirements.txt");
    let stamp = folder.join("installed.txt");
    if matches!((fs::read(&requirements), fs::read(&stamp)), (Ok(wanted), Ok(there)) if wanted == there) {
        println!("all there: {}", folder.join("venv").display());
        return Ok(());
    }
    // virtualenv dropped Python 2.7 with version 20.22.
    let (tool, venv) = (text(&folder.join("tool")), text(&folder.join("venv")));
    let quiet = ["--quiet", "--disable-pip-version-check"];
    done(command(python, ["-m", "pip", "install", "--upgrade", "--target", &tool, "virtualenv<20.22"]).args(quiet))?;
    done(command(python, ["-m", "virtualenv", "--quiet", "--clear", &venv]).env("PYTHONPATH", &tool))?;
    let install = ["-m", "pip", "install", "--requirement", &text(&requirements)];
    done(command(folder.join("venv/bin/python"), install).args(quiet))?;
    fs::copy(&requirements, &stamp).map(drop).map_err(|fault| format!("{}: {fault}", stamp.display()))
}

fn autobahn(plan: &Plan, folder: &Path) -> Result<(), String> {
    let (reports, specification, log) = (folder.join("reports"), folder.join("fuzzingclient.json"), folder.join("wstest.log"));
    // Reports of an earlier run would count as this one's.
    _ = fs::remove_dir_all(&reports);
    let server = Server::start(folder)?;
    let cases = if plan.cases.is_empty() { vec!["*".to_owned()] } else { plan.cases.clone() };
    let specified = json!({
        "outdir": text(&reports),
        "servers": [{ "agent": AGENT, "url": format!("ws://{}/echo", server.address) }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let unwritten = |path: &Path, fault| format!("{}: {fault}", path.display());
    fs::write(&specification, specified.to_string()).map_err(|fault| unwritten(&specification, fault))?;
    let output = File::create(&log).map_err(|fault| unwritten(&log, fault))?;
    println!("what it does is told in {}; all of it takes some 20 minutes", log.display());
    let mut wstest = command(folder.join("venv/bin/wstest"), ["--mode", "fuzzingclient", "--spec", &text(&specification)]);
    wstest.current_dir(folder).stdout(output.try_clone().map_err(|fault| unwritten(&log, fault))?).stderr(output);
    let mut wstest = Running(wstest.spawn().map_err(|fault| format!("wstest cannot be run: {fault}"))?);
    wstest.wait(PATIENCE)?;
    let index = fs::read_to_string(reports.join("index.json")).map_err(|_| format!("it wrote no reports; see {}", log.display()))?;
    let verdicts = verdicts(&index)?;
    println!("{}", summary(&verdicts));
    let bad: Vec<_> = verdicts.iter().filter(|verdict| !verdict.is_acceptable()).collect();
    for Verdict { case, behaviour, close } in &bad {
        println!("  {case}: {behaviour}, close {close}");
    }
    match (bad.len(), verdicts.len()) {
        (0, cases) if plan.cases.is_empty() && cases != CASES => Err(format!("{cases} cases ran, of {CASES}")),
        (0, 0) => Err("no case ran".to_owned()),
        (0, _) => Ok(()),
        (bad, all) => Err(format!("{bad} of {all} cases; the reports are in {}", reports.display())),
    }
}

/// What the suite found in one case.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    case: String,
    behaviour: String,
    close: String,
}

impl Verdict {
    fn is_acceptable(&self) -> bool {
        let good = |word: &str| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&word);
        good(&self.behaviour) && good(&self.close)
    }
}

fn verdicts(index: &str) -> Result<Vec<Verdict>, String> {
    let index: Value = serde_json::from_str(index).map_err(|fault| format!("index.json: {fault}"))?;
    let cases = index[AGENT].as_object().ok_or("index.json names no server of ours")?;
    let word = |case: &Value, key: &str| case[key].as_str().unwrap_or("missing").to_owned();
    let verdict = |(name, case): (&String, &Value)| Verdict {
        case: name.clone(),
        behaviour: word(case, "behavior"),
        close: word(case, "behaviorClose"),
    };
    Ok(cases.iter().map(verdict).collect())
}

/// How many cases behaved in which way.
fn summary(verdicts: &[Verdict]) -> String {
    let count = |of: fn(&Verdict) -> &String| {
        let mut counts = BTreeMap::<&String, usize>::new();
        verdicts.iter().for_each(|verdict| *counts.entry(of(verdict)).or_default() += 1);
        counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    };
    let (behaviour, close) = (count(|verdict| &verdict.behaviour), count(|verdict| &verdict.close));
    format!("{} cases\n  behaviour: {behaviour}\n  close:     {close}", verdicts.len())
}

/// The server under test.
struct Server {
    address: String,
    _process: Running,
}

impl Server {
    fn start(folder: &Path) -> Result<Self, String> {
        let ports = folder.join("ports.json");
        _ = fs::remove_file(&ports);
        let arguments = ["serve", "--http", "127.0.0.1:0", "--tcp", "off", "--echo", "--ports-file", &text(&ports)];
        let mut serve = command(binary()?, arguments);
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
struct Running(Child);

impl Running {
    fn wait(&mut self, patience: Duration) -> Result<(), String> {
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

fn text(path: &Path) -> String {
    path.display().to_string()
}

const PACKAGES: &str = "Autobahn's packages";
const BUILD: &str = "build of the server";
const AGENT: &str = "bongsu";
/// How many cases version 25.10.1 has.
const CASES: usize = 517;
const READY: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_which_cases() {
        let read = |text: &str| plan(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read("autobahn"), Ok(Plan { cases: vec![] }));
        assert_eq!(read("autobahn --cases 1.*,12.1.1"), Ok(Plan { cases: vec!["1.*".to_owned(), "12.1.1".to_owned()] }));
        for wrong in ["", "h2spec", "autobahn --cases", "autobahn 1.*"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_named_is_acceptable() {
        let index = r#"{"bongsu": {
            "1.1.1": {"behavior": "OK", "behaviorClose": "OK"},
            "6.4.1": {"behavior": "NON-STRICT", "behaviorClose": "INFORMATIONAL"},
            "7.1.1": {"behavior": "OK", "behaviorClose": "UNCLEAN"},
            "12.1.1": {"behavior": "UNIMPLEMENTED", "behaviorClose": "OK"}}}"#;
        let verdicts = verdicts(index).expect("an index");
        let acceptable: Vec<_> = verdicts.iter().filter(|verdict| verdict.is_acceptable()).map(|verdict| verdict.case.as_str()).collect();
        assert_eq!(acceptable, ["1.1.1", "6.4.1"]);
        assert!(summary(&verdicts).contains("1 NON-STRICT, 2 OK, 1 UNIMPLEMENTED"), "{}", summary(&verdicts));
    }
}
