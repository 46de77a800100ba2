//! The command line: a file for each subcommand.

mod bench;
mod config;
mod exit;
mod log;
mod manual;
mod publish;
mod serve;
mod subscribe;
mod systemd;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{EXIT_CODES, Exit, Failure};

/// A realtime messaging server: one channel, every transport.
///
/// A publication in a channel reaches every subscriber in the same order with the same position, whether the subscriber
/// polls, long-polls, streams or holds a WebSocket.
#[derive(Debug, Parser)]
#[command(name = "bongsu", version, after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Publish(publish::Args),
    Subscribe(subscribe::Args),
    Bench(Box<bench::Bench>),
    Config(config::ConfigCommand),
    Completions(manual::Completions),
    Man(manual::Man),
}

/// Does what the command line asks.
pub(crate) fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Publish(args) => return block_on(publish::run(args)),
        Command::Subscribe(args) => return block_on(subscribe::run(args)),
        Command::Bench(bench) => bench.run(),
        Command::Config(config) => config.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match done {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => fail(&failure),
    }
}

/// Runs a client's command on this thread.
fn block_on(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => fail(&Failure::new(Exit::Failure, error)),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    say(&failure.message);
    failure.exit.into()
}

/// Tells a person something. Standard output stays free for what a program would read.
fn say(text: &str) {
    // Whoever closed standard error does not want to hear it.
    _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints what was asked for.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(Exit::Failure, error)),
        _ => Ok(()),
    }
}

const AFTER_HELP: &str = "\
Examples:
  bongsu serve                                  a server on 127.0.0.1:8080
  bongsu serve --http 127.0.0.1:0 --set history.publications_max=100
  bongsu subscribe chat/lobby                   print what is published, across reconnects
  bongsu publish chat/lobby 'hello, world'
  bongsu bench --rate 300                       what it costs, with every message checked
  bongsu config default > bongsu.toml           every key, its default and what it does
  bongsu config check bongsu.toml               everything that is wrong with a file";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for exit in [Exit::Ok, Exit::Failure, Exit::Usage, Exit::CannotListen, Exit::DataDir] {
            assert!(help.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
