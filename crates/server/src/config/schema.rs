//! Which keys there are: read off the defaults, so that a new key needs no second list.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};

use super::Config;
use super::overrides::Tables;

/// The known keys, each with a value from which its type can be seen.
pub(super) struct Schema {
    /// Dotted key → default value. The lists of tables are not among them.
    keys: BTreeMap<String, Value>,
    /// The names of the sections.
    sections: Vec<String>,
    /// The keys of a table of each list.
    table_keys: Vec<(Tables, Vec<String>)>,
}

/// What a dotted path leads to.
pub(super) enum Place {
    /// A key with a value.
    Key,
    /// A section.
    Section,
    /// A list of tables, such as `[[channels]]`.
    Tables(Tables),
    /// Nothing; this may have been meant.
    Unknown { nearest: String },
}

impl Schema {
    /// Reads the schema off the built-in defaults.
    pub(super) fn new() -> Self {
        let table_keys = Tables::ALL.map(|tables| (tables, tables.keys())).into();
        let mut schema = Self { keys: BTreeMap::new(), sections: Vec::new(), table_keys };
        for (key, value) in to_table(&Config::default()) {
            match value {
                Value::Table(section) => {
                    schema.keys.extend(section.into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)));
                    schema.sections.push(key);
                }
                _ if tables(&key).is_some() => (),
                value => _ = schema.keys.insert(key, value),
            }
        }
        schema
    }

    /// What a dotted path leads to.
    pub(super) fn place(&self, path: &str) -> Place {
        if self.keys.contains_key(path) {
            Place::Key
        } else if self.sections.iter().any(|section| section == path) {
            Place::Section
        } else if let Some(tables) = tables(path) {
            Place::Tables(tables)
        } else {
            Place::Unknown { nearest: nearest(path, self.keys.keys().map(String::as_str)) }
        }
    }

    /// The section that may have been meant by the name of one that does not exist.
    pub(super) fn nearest_section(&self, path: &str) -> String {
        let section = nearest(path, self.sections.iter().map(String::as_str).chain(Tables::ALL.map(Tables::key)));
        if tables(&section).is_some() { format!("[[{section}]]") } else { format!("[{section}]") }
    }

    /// Whether a table of this list has this key; if not, the one that may have been meant.
    pub(super) fn table_key(&self, tables: Tables, key: &str) -> Result<(), String> {
        let known = || self.table_keys.iter().filter(move |(of, _)| *of == tables).flat_map(|(_, keys)| keys).map(String::as_str);
        match known().any(|known| known == key) {
            true => Ok(()),
            false => Err(nearest(key, known())),
        }
    }

    /// The key that a variable of the environment sets; if none, the variable that may have been meant.
    ///
    /// `BONGSU_HTTP_WAIT_MAX` and `BONGSU_HTTP__WAIT_MAX` both set `http.wait_max`.
    pub(super) fn key_of_variable(&self, name: &str) -> Result<&str, String> {
        let is_meant = |key: &&String| variable(key, "_") == name || variable(key, "__") == name;
        match self.keys.keys().find(is_meant) {
            Some(key) => Ok(key),
            None => {
                let known: Vec<String> = self.keys.keys().map(|key| variable(key, "_")).collect();
                Err(nearest(name, known.iter().map(String::as_str).chain(NOT_CONFIGURATION.iter().copied())))
            }
        }
    }

    /// Whether an unknown variable was probably meant for us: it names one of our sections, or nearly one of our keys.
    pub(super) fn may_be_meant(&self, name: &str, nearest: &str) -> bool {
        let section_of = |key: &String| key.split_once('.').map(|(section, _)| variable(section, "_") + "_");
        let of_a_section = self.keys.keys().filter_map(section_of).any(|section| name.starts_with(&section));
        of_a_section || strsim::jaro_winkler(&name[VARIABLE_PREFIX.len()..], nearest.trim_start_matches(VARIABLE_PREFIX)) > 0.85
    }

    /// Makes a value of a text from the environment or the command line, as the key's type asks.
    ///
    /// A text that does not suit the type stays a text, so that the check of the value tells what is allowed.
    pub(super) fn value_of_text(&self, key: &str, text: &str) -> Value {
        let as_text = || Value::String(text.to_owned());
        match self.keys.get(key) {
            Some(Value::Integer(_)) => text.replace('_', "").parse().map_or_else(|_| as_text(), Value::Integer),
            Some(Value::Boolean(_)) => text.parse().map_or_else(|_| as_text(), Value::Boolean),
            Some(Value::Array(_)) if text.starts_with('[') => toml_value(text).unwrap_or_else(as_text),
            Some(Value::Array(_)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
            }
            _ if text.starts_with('"') => toml_value(text).unwrap_or_else(as_text),
            _ => as_text(),
        }
    }

    /// Every known key, for tests and documentation.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }
}

/// The list of tables of this key.
fn tables(key: &str) -> Option<Tables> {
    Tables::ALL.into_iter().find(|tables| tables.key() == key)
}

/// The name of the variable that sets a key.
pub(super) fn variable(key: &str, separator: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', separator).to_ascii_uppercase())
}

/// Writes a part of the configuration as a TOML table.
pub(super) fn to_table<T: Serialize>(part: &T) -> Table {
    Table::try_from(part).expect("the configuration is made of tables, texts, numbers and lists, which TOML has")
}

fn toml_value(text: &str) -> Option<Value> {
    toml::from_str::<Table>(&format!("value = {text}")).ok()?.remove("value")
}

/// The known name that is most like the one given; what follows the last dot counts as much as the whole.
fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> String {
    let likeness = |name: &str| {
        let whole = strsim::jaro_winkler(asked, name);
        let last = strsim::normalized_damerau_levenshtein(last_part(asked), last_part(name));
        whole + last
    };
    known.max_by(|one, other| likeness(one).total_cmp(&likeness(other))).unwrap_or_default().to_owned()
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// What the names of our variables begin with.
pub(super) const VARIABLE_PREFIX: &str = "BONGSU_";

/// Variables with our prefix that configure no server: the log filter, the file itself, and the address for clients.
pub(super) const NOT_CONFIGURATION: &[&str] = &["BONGSU_LOG", "BONGSU_CONFIG", "BONGSU_URL"];
