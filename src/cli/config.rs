//! `bongsu config`: prints the default configuration, and checks one.

use std::path::PathBuf;

use bongsu_server::config::{Config, Sources};
use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::print;

/// Print the default configuration, or check one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bongsu config default > bongsu.toml
  bongsu config check bongsu.toml
  BONGSU_HTTP_WAIT_MAX=30s bongsu config check")]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every key with its default and what it does, as a file to start from.
    Default,
    /// Tell everything that is wrong with a configuration; or that it is sound, and where each value that is no default comes from.
    ///
    /// The environment's BONGSU_… variables are laid over the file, as `bongsu serve` would do. Exits with 2 if anything is wrong.
    Check {
        /// The file; without one, ./bongsu.toml if it exists.
        #[arg(value_name = "FILE", env = "BONGSU_CONFIG")]
        file: Option<PathBuf>,
    },
}

impl ConfigCommand {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Default => print(Config::default_text()),
            Action::Check { file } => {
                let usage = |fault| Failure::new(Exit::Usage, fault);
                let sources = Sources::of_process(file.as_deref(), Vec::new()).map_err(usage)?;
                print(&check(&sources)?)
            }
        }
    }
}

/// What there is to say about a sound configuration.
fn check(sources: &Sources) -> Result<String, Failure> {
    let loaded = Config::load_with_origins(sources).map_err(|fault| Failure::new(Exit::Usage, fault))?;
    let changed = loaded.changed();
    let file = sources.file.as_ref().map_or("no file", |file| file.name.as_str());
    let mut said = match changed.len() {
        0 => format!("ok: {file}, everything at its default\n"),
        count => format!("ok: {file}, {count} not at the default\n"),
    };
    for setting in changed {
        said += &format!("  {} = {}  # {}\n", setting.key, setting.value, setting.origin);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bongsu_server::config::SourceFile;

    #[test]
    fn a_sound_configuration_is_told_with_where_each_value_comes_from() {
        let sources = Sources {
            file: Some(SourceFile { name: "my.toml".to_owned(), text: "workers = 2\n[http]\nwait_max = \"60s\"".to_owned() }),
            environment: vec![("BONGSU_LISTEN_HTTP".to_owned(), "127.0.0.1:9".to_owned())],
            flags: Vec::new(),
        };
        assert_eq!(
            check(&sources).expect("sound"),
            "ok: my.toml, 2 not at the default\n  workers = 2  # my.toml:1\n  listen.http = \"127.0.0.1:9\"  # BONGSU_LISTEN_HTTP\n"
        );
        assert_eq!(check(&Sources::default()).expect("sound"), "ok: no file, everything at its default\n");
    }
}
