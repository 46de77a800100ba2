//! Lays the sources over the defaults, in rising weight: file, environment, flags.
//!
//! Each setting is tried alone over the defaults, so that every fault is told, with its key and the place where it stands.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::overrides::Tables;
use super::schema::{NOT_CONFIGURATION, Place, Schema, VARIABLE_PREFIX, to_table};
use super::{Config, ConfigFault, Fault};

/// Where the configuration comes from, beside the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<SourceFile>,
    /// The environment; only names that begin with `BONGSU_` are looked at.
    pub environment: Vec<(String, String)>,
    /// The flags, in the order given: of two that set the same key, the later wins.
    pub flags: Vec<Flag>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As it was given, for messages.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A flag that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as it was given, for messages: `--http`, `--set`.
    pub name: String,
    /// The dotted key that it sets.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// A configuration, and how it came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// What was set by a source and is in force, by key. What is not here is a default.
    pub settings: Vec<Setting>,
}

/// A key that a source has set.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value that was set.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
}

/// Who set a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file as it was given.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl Loaded {
    /// What differs from the defaults, in its usual form, by who set it.
    pub fn changed(&self) -> Vec<Setting> {
        let (now, default) = (to_table(&self.config), to_table(&Config::default()));
        let differs = |setting: &&Setting| get(&now, &setting.key) != get(&default, &setting.key);
        let in_usual_form = |setting: &Setting| {
            let value = get(&now, &setting.key).unwrap_or(&setting.value).clone();
            Setting { value, ..setting.clone() }
        };
        self.settings.iter().filter(differs).map(in_usual_form).collect()
    }
}

impl Sources {
    /// The file that the flag names or `./bongsu.toml`, the environment of the process, and the flags.
    pub fn of_process(file: Option<&Path>, flags: Vec<Flag>) -> Result<Self, ConfigFault> {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect();
        Ok(Self { file: SourceFile::find(file)?, environment, flags })
    }
}

impl SourceFile {
    /// Reads the file that was asked for; without one, `./bongsu.toml` if it exists.
    pub fn find(asked: Option<&Path>) -> Result<Option<Self>, ConfigFault> {
        match asked {
            Some(path) => Self::read(path).map(Some),
            None => {
                let path = PathBuf::from(FILE_NAME);
                // One that is there and cannot be read, such as a link that leads nowhere, must not pass for none.
                match path.symlink_metadata() {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    _ => Self::read(&path).map(Some),
                }
            }
        }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigFault> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                let reason = format!("{error}{}", crate::advice::on_reading(&error));
                Err(Fault::Unreadable { name, reason }.into())
            }
        }
    }
}

/// Lays the sources over the defaults.
pub(super) fn load(sources: &Sources) -> Result<Loaded, ConfigFault> {
    let mut loader = Loader::new();
    if let Some(file) = &sources.file {
        loader.read_file(file);
    }
    loader.read_environment(&sources.environment);
    loader.read_flags(&sources.flags);
    loader.finish()
}

/// What has been read so far.
struct Loader {
    schema: Schema,
    defaults: Table,
    merged: Table,
    settings: Vec<Setting>,
    faults: Vec<Fault>,
}

impl Loader {
    fn new() -> Self {
        let defaults = to_table(&Config::default());
        Self { schema: Schema::new(), merged: defaults.clone(), defaults, settings: Vec::new(), faults: Vec::new() }
    }

    fn read_file(&mut self, file: &SourceFile) {
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        for error in &errors {
            let origin = file.origin(error.span().map_or(0, |span| span.start));
            self.faults.push(Fault::NotToml { origin, reason: error.message().to_owned() });
        }
        // What a broken file seems to say would only add guesses to the faults.
        if errors.is_empty() {
            self.read_table(file, "", table.get_ref());
        }
    }

    fn read_table(&mut self, file: &SourceFile, section: &str, table: &DeTable<'_>) {
        for (key, value) in in_order(table) {
            let path = if section.is_empty() { key.get_ref().to_string() } else { format!("{section}.{}", key.get_ref()) };
            let origin = file.origin(key.span().start);
            match (self.schema.place(&path), value.get_ref()) {
                (Place::Key, _) => self.set(path, plain(value), origin),
                (Place::Section, DeValue::Table(inner)) => self.read_table(file, &path, inner),
                (Place::Section, value_as_read) => {
                    let mut allowed = format!("keys under the heading [{path}]");
                    if path == "queues" && has_heading(value_as_read) {
                        allowed += ", which hold for all queues; those of some stand under [[queue]]";
                    }
                    self.refuse(path, &plain(value), allowed, origin);
                }
                (Place::Tables(tables), DeValue::Array(entries)) => self.read_tables(file, tables, entries, origin),
                (Place::Tables(tables), _) => self.refuse(path, &plain(value), tables.form(), origin),
                (Place::Unknown { .. }, value) if has_heading(value) => {
                    let nearest = self.schema.nearest_section(&path);
                    self.faults.push(Fault::UnknownKey { origin, key: format!("[{path}]"), nearest });
                }
                (Place::Unknown { nearest }, _) => self.faults.push(Fault::UnknownKey { origin, key: path, nearest }),
            }
        }
    }

    fn read_tables(&mut self, file: &SourceFile, tables: Tables, entries: &[Spanned<DeValue<'_>>], origin: Origin) {
        let (key, mut read) = (tables.key().to_owned(), Vec::new());
        for entry in entries {
            match entry.get_ref() {
                DeValue::Table(table) => read.push(Value::Table(self.read_pattern_table(file, tables, entry.span().start, table))),
                _ => self.refuse(key.clone(), &plain(entry), tables.form(), file.origin(entry.span().start)),
            }
        }
        let value = Value::Array(read);
        self.merged.insert(key.clone(), value.clone());
        self.settings.push(Setting { key, value, origin });
    }

    /// Reads one table of `[[channels]]` or `[[queue]]`, each key tried alone.
    fn read_pattern_table(&mut self, file: &SourceFile, tables: Tables, start: usize, table: &DeTable<'_>) -> Table {
        let mut sound = Table::new();
        for (key, value) in in_order(table) {
            let origin = file.origin(key.span().start);
            let (name, path, value) = (key.get_ref().to_string(), format!("{}.{}", tables.key(), key.get_ref()), plain(value));
            if let Err(nearest) = self.schema.table_key(tables, &name) {
                self.faults.push(Fault::UnknownKey { origin, key: path, nearest: format!("{}.{nearest}", tables.key()) });
                continue;
            }
            match tables.refusal(&name, &value) {
                Some(allowed) => self.refuse(path, &value, allowed, origin),
                None => _ = sound.insert(name, value),
            }
        }
        if !table.iter().any(|(key, _)| key.get_ref() == "pattern") {
            let allowed = tables.pattern_form().to_owned();
            self.refuse(tables.key().to_owned(), &Value::Table(sound.clone()), allowed, file.origin(start));
        }
        sound
    }

    fn read_environment(&mut self, environment: &[(String, String)]) {
        let ours = |(name, _): &&(String, String)| name.starts_with(VARIABLE_PREFIX) && !NOT_CONFIGURATION.contains(&name.as_str());
        for (name, text) in environment.iter().filter(ours) {
            match self.schema.key_of_variable(name).map(str::to_owned) {
                Ok(key) => {
                    let value = self.schema.value_of_text(&key, text);
                    self.set(key, value, Origin::Variable(name.clone()));
                }
                // Some other program's, such as what an orchestrator sets for a service named bongsu.
                Err(nearest) if !self.schema.may_be_meant(name, &nearest) => (),
                Err(nearest) => self.faults.push(Fault::UnknownVariable { name: name.clone(), nearest }),
            }
        }
    }

    fn read_flags(&mut self, flags: &[Flag]) {
        for Flag { name, key, value } in flags {
            let origin = Origin::Flag(name.clone());
            match self.schema.place(key) {
                Place::Key => self.set(key.clone(), self.schema.value_of_text(key, value), origin),
                Place::Section => self.refuse(key.clone(), &Value::String(value.clone()), format!("a key of {key}, as in {key}.…"), origin),
                Place::Tables(tables) => {
                    self.refuse(key.clone(), &Value::String(value.clone()), format!("{} in the file", tables.form()), origin);
                }
                Place::Unknown { nearest } => self.faults.push(Fault::UnknownKey { origin, key: key.clone(), nearest }),
            }
        }
    }

    /// Takes a value for a key, if it is allowed there.
    fn set(&mut self, key: String, value: Value, origin: Origin) {
        let mut trial = self.defaults.clone();
        insert(&mut trial, &key, value.clone());
        let refusal = match deserialize::<Config>(trial) {
            Ok(config) => first_refusal(|report| config.check_ranges(&mut |_, _, allowed| report(allowed))),
            Err(allowed) => Some(allowed),
        };
        if let Some(allowed) = refusal {
            return self.refuse(key, &value, allowed, origin);
        }
        insert(&mut self.merged, &key, value.clone());
        self.settings.retain(|setting| setting.key != key);
        self.settings.push(Setting { key, value, origin });
    }

    fn refuse(&mut self, key: String, value: &Value, allowed: String, origin: Origin) {
        self.faults.push(Fault::BadValue { origin, key, value: value.to_string(), allowed });
    }

    fn finish(mut self) -> Result<Loaded, ConfigFault> {
        // With faults already found, what was refused is missing, and its absence would look like more faults.
        if !self.faults.is_empty() {
            return Err(ConfigFault { faults: self.faults });
        }
        let config: Config = deserialize(self.merged).expect("each setting was tried alone, and no key changes another's type");
        self.faults.extend(config.check_together());
        if self.faults.is_empty() { Ok(Loaded { config, settings: self.settings }) } else { Err(ConfigFault { faults: self.faults }) }
    }
}

impl SourceFile {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(offset);
        Origin::File { name: self.name.clone(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }
}

/// A table's entries in the order of the file: a table itself is sorted by key.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Whether a value is what stands under `[heading]` or `[[heading]]`.
fn has_heading(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(entries) => entries.iter().any(|entry| entry.get_ref().is_table()),
        _ => false,
    }
}

/// A value without its place in the file.
fn plain(value: &Spanned<DeValue<'_>>) -> Value {
    let spanned = toml::de::ValueDeserializer::from(value.clone());
    serde::Deserialize::deserialize(spanned).unwrap_or_else(|_| Value::String("a number that is too large".to_owned()))
}

/// The value of a dotted key.
fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, key)) => table.get(section)?.get(key),
    }
}

/// Sets a dotted key, whose section exists.
fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => _ = table.insert(key.to_owned(), value),
        Some((section, key)) => {
            let section = table.get_mut(section).and_then(Value::as_table_mut);
            section.expect("every section stands in the defaults").insert(key.to_owned(), value);
        }
    }
}

/// Reads a typed part of the configuration, or says what is allowed where it cannot be read.
pub(super) fn deserialize<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    T::deserialize(Value::Table(table)).map_err(|error| {
        let message = error.message();
        match message.split_once("expected ").map_or(message, |(_, allowed)| allowed) {
            "usize" | "u32" | "u8" => "a whole number, 0 or more".to_owned(),
            "a boolean" => "true or false".to_owned(),
            "a sequence" => "a list of texts such as [\"a\", \"b\"]".to_owned(),
            "a string" => "a text in quotes".to_owned(),
            allowed => allowed.to_owned(),
        }
    })
}

/// What is allowed, by the first fault that a check reports.
pub(super) fn first_refusal(check: impl FnOnce(&mut dyn FnMut(String))) -> Option<String> {
    let mut refusal = None;
    check(&mut |allowed| _ = refusal.get_or_insert(allowed));
    refusal
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

const FILE_NAME: &str = "bongsu.toml";
