//! `cargo xtask conformance autobahn`: Autobahn's fuzzing client against `/echo`, directly and through HTTP/2.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Running, Server, folder, text};
use crate::steps::{Steps, run as done, succeeds};
use crate::test::BINARY_VARIABLE;
use crate::{cargo, command, repository};

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Autobahn's case patterns, such as `12.*`.
    cases: Vec<String>,
    /// The way to the server; both if none is named.
    via: Option<Via>,
}

/// The way from the suite to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Via {
    /// HTTP/1.1, as the suite speaks it.
    Http1,
    /// Through nghttpx, which makes an extended CONNECT over HTTP/2 of each handshake.
    Http2,
}

/// Reads the arguments.
pub(super) fn plan(arguments: &[String]) -> Result<Plan, String> {
    let mut words = arguments.iter().map(String::as_str);
    let mut plan = Plan::default();
    while let Some(word) = words.next() {
        match word {
            "--cases" => plan.cases.extend(words.next().ok_or("--cases needs a pattern")?.split(',').map(str::to_owned)),
            "--via" => {
                plan.via = match words.next() {
                    Some("http1") => Some(Via::Http1),
                    Some("http2") => Some(Via::Http2),
                    _ => return Err("--via needs http1 or http2".to_owned()),
                }
            }
            _ => return Err(format!("unknown argument {word:?}")),
        }
    }
    Ok(plan)
}

/// Runs the suite and tells whether every case was answered acceptably.
pub(super) fn run(plan: &Plan) -> Result<bool, String> {
    let Some(python) = python27() else {
        println!("SKIPPED: autobahn, because there is no Python 2.7 here, neither as python2.7 nor under pyenv");
        return Ok(true);
    };
    let mut steps = Steps::default();
    let folder = folder("autobahn")?;
    steps.step(PACKAGES, || packages(&python, &folder));
    if std::env::var_os(BINARY_VARIABLE).is_none() {
        steps.step(BUILD, || done(&mut cargo(["build", "--package", "bongsu"])));
    }
    if plan.via != Some(Via::Http2) {
        steps.step_after(&[PACKAGES, BUILD], "Autobahn against /echo", || autobahn(plan, Via::Http1, &folder));
    }
    if plan.via != Some(Via::Http1) {
        match succeeds(&mut command("nghttpx", ["--version"])) {
            true => steps.step_after(&[PACKAGES, BUILD], "Autobahn against /echo over HTTP/2", || autobahn(plan, Via::Http2, &folder)),
            false => println!("SKIPPED: autobahn over HTTP/2, because there is no nghttpx here (Debian has it as nghttp2-proxy)"),
        }
    }
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

fn autobahn(plan: &Plan, via: Via, folder: &Path) -> Result<(), String> {
    // The two ways may run at the same time, and each keeps its reports.
    let folder = &folder.join(via.name());
    let reports = folder.join("reports");
    // Reports of an earlier run would count as this one's.
    _ = fs::remove_dir_all(&reports);
    fs::create_dir_all(&reports).map_err(|fault| format!("{}: {fault}", reports.display()))?;
    let server = Server::start(folder, &["--echo"])?;
    let front = if via == Via::Http2 { Some(Front::start(&server.address, folder)?) } else { None };
    let address = front.as_ref().map_or(&server.address, |front| &front.address);
    let cases = if plan.cases.is_empty() { vec!["*".to_owned()] } else { plan.cases.clone() };
    let specified = json!({
        "outdir": text(&reports),
        "servers": [{ "agent": AGENT, "url": format!("ws://{address}/echo") }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let (specification, log) = (folder.join("fuzzingclient.json"), folder.join("wstest.log"));
    fs::write(&specification, specified.to_string()).map_err(|fault| format!("{}: {fault}", specification.display()))?;
    println!("what it does is told in {}; all of it takes some 20 minutes", log.display());
    let program = folder.with_file_name("venv").join("bin/wstest");
    let mut wstest = command(program, ["--mode", "fuzzingclient", "--spec", &text(&specification)]);
    Running::start(wstest.current_dir(folder), &log)?.wait(PATIENCE)?;
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

impl Via {
    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

/// nghttpx before the server: HTTP/1.1 to the suite, HTTP/2 to the server.
struct Front {
    address: String,
    _process: Running,
}

impl Front {
    fn start(server: &str, folder: &Path) -> Result<Self, String> {
        // It cannot be asked which port it picked.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = free.map_err(|fault| format!("no free port: {fault}"))?.port();
        let backend = format!("--backend={};;proto=h2", server.replace(':', ","));
        let frontend = format!("--frontend=127.0.0.1,{port};no-tls");
        let arguments = [&*frontend, &*backend, "--workers=1", "--conf=/dev/null"];
        let mut nghttpx = command("nghttpx", arguments);
        let process = Running::start(nghttpx.current_dir(folder), &folder.join("nghttpx.log"))?;
        Ok(Self { address: format!("127.0.0.1:{port}"), _process: process })
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

const PACKAGES: &str = "Autobahn's packages";
const BUILD: &str = "build of the server";
const AGENT: &str = "bongsu";
/// How many cases version 25.10.1 has.
const CASES: usize = 517;
const PATIENCE: Duration = Duration::from_secs(3 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_which_cases() {
        let read = |text: &str| plan(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let cases = |cases: &[&str]| cases.iter().map(|&case| case.to_owned()).collect();
        assert_eq!(read(""), Ok(Plan::default()));
        assert_eq!(read("--cases 1.*,12.1.1"), Ok(Plan { cases: cases(&["1.*", "12.1.1"]), via: None }));
        assert_eq!(read("--via http2"), Ok(Plan { cases: vec![], via: Some(Via::Http2) }));
        for wrong in ["--cases", "1.*", "--via", "--via spdy"] {
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
