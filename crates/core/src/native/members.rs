//! The members of a command's object, found once and read as they are needed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::NativeFaultKind;

/// A member that some command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Subscribe,
    Publish,
    Unsubscribe,
    Ping,
    Id,
    After,
    Earliest,
    Last,
    Live,
    Data,
    Type,
    Key,
    Headers,
    Base64,
    IdempotencyKey,
    Pong,
    EveryMs,
    Repair,
    Through,
}

static FIELDS: [(Field, &str); 19] = [
    (Field::Subscribe, "subscribe"),
    (Field::Publish, "publish"),
    (Field::Unsubscribe, "unsubscribe"),
    (Field::Ping, "ping"),
    (Field::Id, "id"),
    (Field::After, "after"),
    (Field::Earliest, "earliest"),
    (Field::Last, "last"),
    (Field::Live, "live"),
    (Field::Data, "data"),
    (Field::Type, "type"),
    (Field::Key, "key"),
    (Field::Headers, "headers"),
    (Field::Base64, "base64"),
    (Field::IdempotencyKey, "idempotency_key"),
    (Field::Pong, "pong"),
    (Field::EveryMs, "every_ms"),
    (Field::Repair, "repair"),
    (Field::Through, "through"),
];

const COMMANDS: [Field; 5] = [Field::Subscribe, Field::Publish, Field::Unsubscribe, Field::Ping, Field::Pong];

impl Field {
    pub(super) fn name(self) -> &'static str {
        FIELDS[self as usize].1
    }

    fn of(name: &str) -> Option<Self> {
        FIELDS.iter().find(|(_, known)| *known == name).map(|(field, _)| *field)
    }

    /// A bit of its own.
    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The members that a command may have beside its own.
    fn companions(self) -> &'static [Field] {
        match self {
            Self::Subscribe => &[Self::Id, Self::After, Self::Earliest, Self::Last, Self::Live],
            Self::Publish => &[Self::Id, Self::Data, Self::Type, Self::Key, Self::Headers, Self::Base64, Self::IdempotencyKey],
            Self::Unsubscribe => &[Self::Id],
            Self::Repair => &[Self::Id, Self::After, Self::Through],
            Self::Ping => &[Self::EveryMs],
            _ => &[],
        }
    }
}

/// The members of one object.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    values: [Option<&'a RawValue>; FIELDS.len()],
    /// The bits of those that were given.
    given: u32,
    unknown: Option<String>,
    repeated: Option<Field>,
}

impl<'a> Members<'a> {
    /// Reads an object into `self`, which is empty and stays where it is: it is too large to be handed from call to call.
    pub(super) fn read(&mut self, text: &'a str) -> Result<(), NativeFaultKind> {
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(MembersVisitor(self)).and_then(|()| json.end()).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => NativeFaultKind::NotAnObject,
            _ => NativeFaultKind::NotJson { reason: error.to_string() },
        })
    }

    /// A member's value, as it was given.
    pub(super) fn raw(&self, field: Field) -> Option<&'a RawValue> {
        self.values[field as usize]
    }

    /// Takes a member away, as if it had not been given; null counts as not given.
    pub(super) fn take(&mut self, field: Field) -> Option<&'a RawValue> {
        self.given &= !field.bit();
        self.values[field as usize].take().filter(|raw| raw.get() != "null")
    }

    /// A member's value, unless it is null.
    pub(super) fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.raw(field).filter(|raw| raw.get() != "null")
    }

    pub(super) fn text(&self, field: Field, fault: impl Fn() -> NativeFaultKind) -> Result<Option<Cow<'a, str>>, NativeFaultKind> {
        self.get(field).map(|raw| read_text(raw).ok_or_else(fault)).transpose()
    }

    pub(super) fn flag(&self, field: Field, fault: impl Fn() -> NativeFaultKind) -> Result<bool, NativeFaultKind> {
        match self.get(field).map(|raw| raw.get()) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(fault()),
        }
    }

    /// The one command that is given.
    pub(super) fn only_command(&self) -> Result<Field, NativeFaultKind> {
        let mut given = COMMANDS.into_iter().filter(|&command| self.given & command.bit() != 0);
        let Some(command) = given.next() else {
            let nearest = self.unknown.as_deref().and_then(|name| nearest(name, COMMANDS.into_iter()));
            return Err(NativeFaultKind::UnknownCommand { nearest });
        };
        match given.next() {
            Some(other) => Err(NativeFaultKind::AmbiguousCommand { first: command.name(), second: other.name() }),
            None => Ok(command),
        }
    }

    /// Checks that the command has no member but its own, and none twice.
    pub(super) fn check_fields(&self, command: Field) -> Result<(), NativeFaultKind> {
        if let Some(field) = self.repeated {
            return Err(NativeFaultKind::RepeatedField { field: field.name() });
        }
        let known = command.companions().iter().fold(command.bit(), |bits, companion| bits | companion.bit());
        let misplaced = self.given & !known;
        let field = match &self.unknown {
            Some(name) => name.clone(),
            None if misplaced == 0 => return Ok(()),
            None => FIELDS[misplaced.trailing_zeros() as usize].1.to_owned(),
        };
        let nearest = nearest(&field, command.companions().iter().copied());
        Err(NativeFaultKind::UnknownField { command: command.name(), field, nearest })
    }

    fn add(&mut self, name: &str, value: &'a RawValue) {
        match Field::of(name) {
            Some(field) if self.given & field.bit() != 0 => self.repeated = Some(field),
            Some(field) => {
                self.given |= field.bit();
                self.values[field as usize] = Some(value);
            }
            // One is enough to tell, cut to what is worth reading.
            None if self.unknown.is_none() => self.unknown = Some(name.chars().take(QUOTE_CHARS_MAX).collect()),
            None => (),
        }
    }
}

const QUOTE_CHARS_MAX: usize = 40;

/// The text of a JSON string; `None` for other values and for half a surrogate pair.
pub(super) fn read_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw.get()).ok().map(Cow::Owned)
}

fn nearest(name: &str, known: impl Iterator<Item = Field>) -> Option<&'static str> {
    let near = known.map(|field| (strsim::osa_distance(name, field.name()), field.name()));
    near.filter(|(distance, known)| *distance <= known.len() / 3).min().map(|(_, name)| name)
}

struct MembersVisitor<'m, 'de>(&'m mut Members<'de>);

impl<'de> Visitor<'de> for MembersVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            self.0.add(&name, value);
        }
        Ok(())
    }
}

/// A member's name, borrowed where it holds no escape.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor).map(Self)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
