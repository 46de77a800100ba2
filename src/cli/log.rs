//! Log lines on standard error, as text or JSON.

use std::io::IsTerminal;

use bongsu_server::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;

use super::exit::{Exit, Failure};

/// Starts logging. `BONGSU_LOG` takes a finer filter than the configuration and outweighs it.
pub(super) fn start(log: &Log) -> Result<(), Failure> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(directives) => directives,
        Err(_) => default_directives(log.level),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        let form = "write a filter such as info,bongsu_server=debug";
        Failure::new(Exit::Usage, format!("{FILTER_VARIABLE}: {filter:?} is no log filter ({error}); {form}"))
    })?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match log.format {
        LogFormat::Text => logger.try_init(),
        LogFormat::Json => logger.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::new(Exit::Failure, error))
}

/// Our own events at the level asked for; those of the libraries below us only when something is amiss.
fn default_directives(level: LogLevel) -> String {
    let others = match level {
        LogLevel::Error => LogLevel::Error,
        LogLevel::Trace => LogLevel::Debug,
        _ => LogLevel::Warn,
    };
    format!("{},bongsu={}", others.as_str(), level.as_str())
}

const FILTER_VARIABLE: &str = "BONGSU_LOG";
