//! `bongsu completions` and `bongsu man`: what shells and readers of manual pages need, made from the command line itself.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::{Cli, print};

/// Print a shell's completions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bongsu completions bash > ~/.local/share/bash-completion/completions/bongsu
  bongsu completions zsh > \"${fpath[1]}/_bongsu\"
  bongsu completions fish > ~/.config/fish/completions/bongsu.fish")]
pub(super) struct Completions {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page, or write one for each command into a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bongsu man | man -l -
  bongsu man --into ~/.local/share/man/man1")]
pub(super) struct Man {
    /// Write bongsu.1, bongsu-serve.1 and so on into this folder.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Completions {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "bongsu", &mut text);
        print(&String::from_utf8_lossy(&text))
    }
}

impl Man {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        let command = Cli::command().disable_help_subcommand(true);
        match self.into {
            None => print(&page(command)?),
            Some(folder) => {
                let unwritten = |error| Failure::new(Exit::Failure, format!("cannot write into {}: {error}", folder.display()));
                clap_mangen::generate_to(command, &folder).map_err(unwritten)
            }
        }
    }
}

fn page(command: Command) -> Result<String, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text).map_err(|error| Failure::new(Exit::Failure, error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "bongsu", &mut text);
            let text = String::from_utf8(text).expect("text");
            for word in ["serve", "publish", "subscribe", "config", "completions", "data-dir"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_its_page() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        Man { into: Some(folder.path().to_owned()) }.run().expect("written");
        for name in ["bongsu", "bongsu-serve", "bongsu-publish", "bongsu-subscribe", "bongsu-config", "bongsu-config-check", "bongsu-man"] {
            let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).expect(name);
            assert!(page.contains(".TH") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
    }
}
