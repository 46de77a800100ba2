//! Log lines on standard error, as text or JSON.

use std::io::IsTerminal;

use bongsu_server::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

use super::exit::{Exit, Failure};

/// Changes how much is logged while the server runs.
pub(super) struct LogHandle {
    set: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error>>,
    /// Whether `BONGSU_LOG` decides instead of the configuration.
    is_fixed: bool,
}

/// Starts logging. `BONGSU_LOG` takes a finer filter than the configuration and outweighs it.
pub(super) fn start(log: &Log) -> Result<LogHandle, Failure> {
    let from_variable = std::env::var(FILTER_VARIABLE).ok();
    let is_fixed = from_variable.is_some();
    let filter = from_variable.unwrap_or_else(|| default_directives(log.level));
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        let form = "write a filter such as info,bongsu_server=debug";
        Failure::new(Exit::Usage, format!("{FILTER_VARIABLE}: {filter:?} is no log filter ({error}); {form}"))
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| Failure::new(Exit::Failure, error))?;
    Ok(LogHandle { set: Box::new(move |filter| handle.reload(filter)), is_fixed })
}

impl LogHandle {
    /// Logs so much from now on, unless `BONGSU_LOG` says otherwise.
    pub(super) fn set_level(&self, level: LogLevel) -> Result<(), Failure> {
        if self.is_fixed {
            return Ok(());
        }
        (self.set)(EnvFilter::new(default_directives(level))).map_err(|error| Failure::new(Exit::Failure, error))
    }
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
