//! What a running server can take over from a configuration that was changed, and what has to wait for its restart.

use toml::{Table, Value};

use super::Config;
use super::schema::to_table;

/// A key that has another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The dotted key.
    pub key: String,
    /// The value before, as it is written in the configuration.
    pub from: String,
    /// The value now.
    pub to: String,
}

impl Config {
    /// The keys whose values another configuration changes, in the order of their names.
    pub fn changes(&self, to: &Self) -> Vec<Change> {
        let (from, to) = (leaves(to_table(self)), leaves(to_table(to)));
        let value = |of: &[(String, Value)], key: &str| of.iter().find(|(known, _)| known == key).map(|(_, value)| value.to_string());
        let mut keys: Vec<_> = from.iter().chain(&to).map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys.dedup();
        let change = |key: String| Change { from: value(&from, &key).unwrap_or_default(), to: value(&to, &key).unwrap_or_default(), key };
        keys.into_iter().map(change).filter(|change| change.from != change.to).collect()
    }

    /// Takes back what a running server cannot change, and tells what that was.
    pub fn keep_what_needs_a_restart(&mut self, running: &Self) -> Vec<Change> {
        let asked = self.clone();
        self.workers = running.workers;
        self.data_dir.clone_from(&running.data_dir);
        self.listen = running.listen.clone();
        self.acme = running.acme.clone();
        if self.wants_tls() != running.wants_tls() {
            self.tls = running.tls.clone();
        }
        self.tls.self_signed = running.tls.self_signed;
        self.tls.reload_interval = running.tls.reload_interval;
        self.tls.state_dir.clone_from(&running.tls.state_dir);
        self.access = running.access.clone();
        self.log.format = running.log.format;
        self.changes(&asked)
    }
}

fn leaves(table: Table) -> Vec<(String, Value)> {
    let of_section = |(key, value)| match value {
        Value::Table(section) => section.into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)).collect(),
        value => vec![(key, value)],
    };
    table.into_iter().flat_map(of_section).collect()
}
