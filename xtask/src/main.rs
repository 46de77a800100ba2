//! The project's chores, for people and for CI: `cargo xtask test`, `cargo xtask bench`, `cargo xtask fuzz`, `cargo xtask conformance`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's words are its output")]

mod bench;
mod conformance;
mod fuzz;
mod install;
mod steps;
mod test;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
The project's chores.

  cargo xtask test [--only PART]…            install what the tests need, then run everything
                                             PART: rust, python, curl, proxies, node or browser; several with commas
  cargo xtask fuzz [--seconds N] [TARGET]    feed the decoders with mutated input, 60 seconds unless said otherwise
  cargo xtask bench [--check|--record]       count the instructions of the hot path under valgrind, and hold them against the
                                             baseline in crates/core/benches/instructions.txt, or record a new one
  cargo xtask conformance autobahn [--cases PATTERN]… [--via http1|http2]
                                             run the Autobahn test suite against /echo, directly and over HTTP/2 (through
                                             nghttpx); all cases take some 20 minutes each way
  cargo xtask conformance testssl            run testssl.sh against the default listener over TLS
  cargo xtask conformance slowhttptest [--mode headers|body|range|read]
                                             a thousand slow connections in each mode, and what other clients notice";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((chore, rest)) if chore == "test" => test::parts(rest).map(|parts| test::run(&parts)),
        Some((chore, rest)) if chore == "bench" => bench::plan(rest).and_then(bench::run),
        Some((chore, rest)) if chore == "fuzz" => fuzz::plan(rest).and_then(|plan| fuzz::run(&plan)),
        Some((chore, rest)) if chore == "conformance" => conformance::plan(rest).and_then(|plan| conformance::run(&plan)),
        Some((chore, _)) if ["help", "--help", "-h"].contains(&chore.as_str()) => {
            println!("{USAGE}");
            Ok(true)
        }
        Some((chore, _)) => Err(format!("there is no chore {chore:?}")),
        None => Err("say which chore".to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("xtask: {fault}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The root of the repository, wherever the chore was called from.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// A command that runs in the root of the repository.
fn command<'a>(program: impl AsRef<std::ffi::OsStr>, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repository());
    command
}

/// The cargo that runs this.
fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}
