//! `cargo xtask test`: installs what the tests need and runs everything, as CI does.

use std::env;
use std::path::PathBuf;

use crate::install::{self, CHROMIUM, CURL, H2LOAD, HAPROXY, NC, NGINX, NODE, OPENSSL, PEBBLE, PYTHON, TINYPROXY};
use crate::steps::{Steps, run as done};
use crate::{cargo, command, repository};

/// A part of the tests that can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Formatting, lints, documentation, and the tests of the workspace.
    Rust,
    /// The suites in Python.
    Python,
    /// The suites that run curl.
    Curl,
    /// The suites behind proxies.
    Proxies,
    /// The clients from npm.
    Node,
    /// Chromium.
    Browser,
}

const ALL: &[(&str, Part)] = &[
    ("rust", Part::Rust),
    ("python", Part::Python),
    ("curl", Part::Curl),
    ("proxies", Part::Proxies),
    ("node", Part::Node),
    ("browser", Part::Browser),
];

const BUILD: &str = "build of the server";
const TOOLS: &str = "system packages";
const PYTHON_PACKAGES: &str = "Python packages";
const NPM_PACKAGES: &str = "npm packages";

/// Reads `--only`; without it, everything is asked for.
pub(crate) fn parts(arguments: &[String]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let names = match word.strip_prefix("--only") {
            Some("") => words.next().ok_or("--only needs a part")?.as_str(),
            Some(rest) => rest.strip_prefix('=').ok_or_else(|| format!("unknown option {word:?}"))?,
            None => return Err(format!("unknown argument {word:?}")),
        };
        for name in names.split(',') {
            parts.push(part(name)?);
        }
    }
    Ok(if parts.is_empty() { ALL.iter().map(|(_, part)| *part).collect() } else { parts })
}

fn part(name: &str) -> Result<Part, String> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, part)| *part).ok_or_else(|| format!("there is no part {name:?}"))
}

/// Runs these parts and tells whether all their steps passed.
pub(crate) fn run(parts: &[Part]) -> bool {
    let mut steps = Steps::default();
    let has = |part| parts.contains(&part);
    if has(Part::Rust) {
        rust(&mut steps);
    }
    if parts.iter().any(|part| *part != Part::Rust) {
        prepare(&mut steps, parts);
    }
    if has(Part::Python) {
        steps.step_after(&[BUILD, TOOLS, PYTHON_PACKAGES], "Python clients", || pytest("not curl and not proxies"));
    }
    if has(Part::Curl) {
        steps.step_after(&[BUILD, TOOLS, PYTHON_PACKAGES, NPM_PACKAGES], "curl", || pytest("curl"));
    }
    if has(Part::Proxies) {
        steps.step_after(&[BUILD, TOOLS, PYTHON_PACKAGES], "proxies", proxies);
    }
    if has(Part::Node) {
        steps.step_after(&[BUILD, TOOLS, NPM_PACKAGES], "npm clients", || node("clients.test.mjs"));
        steps.step_after(&[BUILD, TOOLS, NPM_PACKAGES], "npm STOMP client", || node("stomp.test.mjs"));
        steps.step_after(&[BUILD, TOOLS, NPM_PACKAGES], "npm STOMP client, queues", || node("queues.test.mjs"));
        steps.step_after(&[BUILD, TOOLS, NPM_PACKAGES], "the page's client", || node("subscription.test.mjs"));
    }
    if has(Part::Browser) {
        steps.step_after(&[BUILD, TOOLS, NPM_PACKAGES], "Chromium", || node("browser.test.mjs"));
        steps.step_after(&[BUILD, TOOLS, NPM_PACKAGES], "page", || node("page.test.mjs"));
    }
    steps.finish()
}

fn rust(steps: &mut Steps) {
    steps.step("formatting", || done(&mut cargo(["fmt", "--all", "--check"])));
    steps.step("lints", || done(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])));
    steps.step("documentation", || done(cargo(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings")));
    steps.step("tests of the workspace", || done(&mut cargo(["test", "--workspace"])));
}

fn prepare(steps: &mut Steps, parts: &[Part]) {
    let has = |part| parts.contains(&part);
    let pythonic = has(Part::Python) || has(Part::Curl) || has(Part::Proxies);
    // One of curl's suites has a subscriber from npm beside it.
    let npm = has(Part::Node) || has(Part::Browser) || has(Part::Curl);
    let proxies = has(Part::Proxies);
    let wanted = [
        // TLS is looked at by curl too, among the Python clients.
        (CURL, pythonic),
        (H2LOAD, has(Part::Curl)),
        (NC, pythonic),
        (NGINX, proxies),
        (HAPROXY, proxies),
        (TINYPROXY, proxies),
        (CHROMIUM, has(Part::Browser)),
        (OPENSSL, pythonic),
        (PEBBLE, has(Part::Python)),
        (PYTHON, pythonic),
        (NODE, npm),
    ];
    let names: Vec<&str> = wanted.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| *name).collect();
    steps.step(TOOLS, || install::tools(&names));
    if pythonic {
        steps.step_after(&[TOOLS], PYTHON_PACKAGES, install::python_packages);
    }
    if npm {
        steps.step_after(&[TOOLS], NPM_PACKAGES, install::npm_packages);
    }
    if env::var_os(BINARY_VARIABLE).is_none() {
        steps.step(BUILD, || done(&mut cargo(["build", "--package", "bongsu"])));
    }
}

/// The server under test: the one that `BONGSU_BIN` names, or the one that was built beside this chore's own binary.
pub(crate) fn binary() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os(BINARY_VARIABLE) {
        return std::path::absolute(named).map_err(|fault| format!("{BINARY_VARIABLE}: {fault}"));
    }
    let own = env::current_exe().map_err(|fault| format!("where this binary lies is unknown: {fault}"))?;
    Ok(own.with_file_name("bongsu"))
}

fn pytest(marked: &str) -> Result<(), String> {
    let arguments = ["-m", "pytest", "conformance/python", "-m", marked];
    done(command(install::python(), arguments).env(BINARY_VARIABLE, binary()?))
}

/// Runs what is about proxies, and then through each proxy what is about transports: not what a proxy itself decides, as bad
/// requests and slow readers are.
fn proxies() -> Result<(), String> {
    pytest("proxies")?;
    for via in ["nginx", "haproxy", "tinyproxy"] {
        println!("through {via}:");
        let files = BEHIND_PROXIES.map(|name| format!("conformance/python/test_{name}.py"));
        let arguments = ["-m", "pytest"].into_iter().chain(files.iter().map(String::as_str));
        done(command(install::python(), arguments).env(BINARY_VARIABLE, binary()?).env("BONGSU_VIA", via))?;
    }
    Ok(())
}

fn node(file: &str) -> Result<(), String> {
    let folder = repository().join("conformance/node");
    done(command("node", ["--test", file]).current_dir(folder).env(BINARY_VARIABLE, binary()?))
}

/// The variable that names the server under test.
pub(crate) const BINARY_VARIABLE: &str = "BONGSU_BIN";
const BEHIND_PROXIES: [&str; 7] = ["shared_cases", "changing_transport", "curl", "goodbye", "http", "many_channels", "native"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_which_parts_are_asked_for() {
        let read = |text: &str| parts(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read("").map(|parts| parts.len()), Ok(ALL.len()));
        assert_eq!(read("--only curl"), Ok(vec![Part::Curl]));
        assert_eq!(read("--only rust,node --only=browser"), Ok(vec![Part::Rust, Part::Node, Part::Browser]));
        for wrong in ["--only", "--only rusty", "--onlyrust", "rust", "--only rust,"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
