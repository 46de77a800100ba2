//! Installs what the tests need and is missing. What is there already needs no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{run, succeeds};
use crate::{command, repository};

/// A program that a suite needs, and the Debian packages that bring it.
struct Tool {
    name: &'static str,
    packages: &'static [&'static str],
    is_there: fn() -> bool,
}

/// What curl's suite needs.
pub(crate) const CURL: &str = "curl";
/// What a person at a raw socket needs. Only OpenBSD's can end its own half of a connection.
pub(crate) const NC: &str = "nc";
/// What loads HTTP/2 beside curl.
pub(crate) const H2LOAD: &str = "h2load";
/// What the browser's suite needs.
pub(crate) const CHROMIUM: &str = "chromium";
/// A proxy in front.
pub(crate) const NGINX: &str = "nginx";
/// Another.
pub(crate) const HAPROXY: &str = "haproxy";
/// A proxy between.
pub(crate) const TINYPROXY: &str = "tinyproxy";
/// What makes certificates for tests, and a client of TLS.
pub(crate) const OPENSSL: &str = "openssl";
/// An authority of ACME for tests.
pub(crate) const PEBBLE: &str = "pebble";
/// What the Python suites need.
pub(crate) const PYTHON: &str = "python";
/// What the npm suites need.
pub(crate) const NODE: &str = "node";

const TOOLS: &[Tool] = &[
    Tool { name: CURL, packages: &["curl"], is_there: || succeeds(&mut command("curl", ["--version"])) },
    Tool { name: NC, packages: &["netcat-openbsd"], is_there: || succeeds(&mut command("sh", ["-c", "nc -h 2>&1 | grep -q OpenBSD"])) },
    Tool { name: H2LOAD, packages: &["nghttp2-client"], is_there: || succeeds(&mut command("h2load", ["--version"])) },
    Tool { name: CHROMIUM, packages: &["chromium"], is_there: || chromium().is_some() },
    Tool { name: NGINX, packages: &["nginx-light"], is_there: || is_program("nginx") },
    Tool { name: HAPROXY, packages: &["haproxy"], is_there: || is_program("haproxy") },
    Tool { name: TINYPROXY, packages: &["tinyproxy-bin"], is_there: || is_program("tinyproxy") },
    Tool {
        name: PEBBLE,
        packages: &["pebble"],
        is_there: || succeeds(&mut command("sh", ["-c", "command -v pebble && command -v pebble-challtestsrv"])),
    },
    Tool { name: OPENSSL, packages: &["openssl"], is_there: || succeeds(&mut command("openssl", ["version"])) },
    Tool { name: PYTHON, packages: &["python3", "python3-venv"], is_there: has_python },
    Tool { name: NODE, packages: &["nodejs", "npm"], is_there: has_node },
];

/// Installs those of the named tools that are missing, by apt.
pub(crate) fn tools(names: &[&str]) -> Result<(), String> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| names.contains(&tool.name) && !(tool.is_there)()).collect();
    if missing.is_empty() {
        println!("all there: {}", names.join(", "));
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|tool| tool.packages).copied().collect();
    if !succeeds(&mut command("apt-get", ["--version"])) {
        return Err(format!("missing: {}; there is no apt-get here, so install them by hand", packages.join(", ")));
    }
    twice(&packages.join(", "), || {
        run(&mut as_root(&["apt-get", "update", "--quiet=2"]))?;
        let install = ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends"];
        run(&mut as_root(&[&install, packages.as_slice()].concat()))
    })?;
    let still: Vec<&str> = missing.iter().filter(|tool| !(tool.is_there)()).map(|tool| tool.name).collect();
    if still.is_empty() { Ok(()) } else { Err(format!("installed, but still missing or too old: {}", still.join(", "))) }
}

/// Makes the virtual environment with the pinned packages of the Python suites.
pub(crate) fn python_packages() -> Result<(), String> {
    let requirements = repository().join("conformance/python/requirements.txt");
    let stamp = venv().join("installed.txt");
    if same(&requirements, &stamp) && succeeds(&mut command(python(), ["-c", "import pytest, websockets, h2"])) {
        println!("all there: {}", venv().display());
        return Ok(());
    }
    let (venv, file) = (venv().display().to_string(), requirements.display().to_string());
    twice("the Python packages of conformance/python/requirements.txt", || {
        run(&mut command("python3", ["-m", "venv", "--clear", venv.as_str()]))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", file.as_str()];
        run(&mut command(python(), install))
    })?;
    copy(&requirements, &stamp)
}

/// Installs the npm packages of the lock file.
pub(crate) fn npm_packages() -> Result<(), String> {
    let folder = repository().join("conformance/node");
    let (lock, stamp) = (folder.join("package-lock.json"), folder.join("node_modules/.installed.json"));
    if same(&lock, &stamp) {
        println!("all there: {}", folder.join("node_modules").display());
        return Ok(());
    }
    twice("the npm packages of conformance/node/package-lock.json", || {
        run(command("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder))
    })?;
    copy(&lock, &stamp)
}

/// The Python of the virtual environment.
pub(crate) fn python() -> PathBuf {
    venv().join("bin/python")
}

fn venv() -> PathBuf {
    repository().join("conformance/.venv")
}

fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM_BIN").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|file| file.exists())
}

/// Whether a program answers. Debian keeps servers where not everybody's PATH leads.
fn is_program(name: &str) -> bool {
    [name.to_owned(), format!("/usr/sbin/{name}")].into_iter().any(|program| succeeds(&mut command(program, ["-v"])))
}

fn has_python() -> bool {
    succeeds(&mut command("python3", ["-c", "import sys, venv, ensurepip; assert sys.version_info >= (3, 11)"]))
}

fn has_node() -> bool {
    let new_enough = "process.exit(Number(process.versions.node.split('.')[0]) >= 20 ? 0 : 1)";
    succeeds(&mut command("node", ["-e", new_enough])) && succeeds(&mut command("npm", ["--version"]))
}

/// Runs an installation, and once more should it fail: a network may stumble.
fn twice(what: &str, install: impl Fn() -> Result<(), String>) -> Result<(), String> {
    install().or_else(|first| {
        println!("once more, because {first}");
        install().map_err(|fault| format!("missing: {what} ({fault})"))
    })
}

fn as_root(words: &[&str]) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let words = if is_root { words.to_vec() } else { [&["sudo"], words].concat() };
    let mut command = command(words[0], words[1..].iter().copied());
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(|_| ()).map_err(|fault| format!("{} cannot be written: {fault}", to.display()))
}
