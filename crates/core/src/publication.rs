//! What is published: bytes with a content type, a key, headers, and, once ordered, a position.

use std::sync::Arc;

use bytes::Bytes;

use crate::position::Position;

/// A publication as its publisher gave it, before the channel has ordered it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// The payload.
    pub data: Bytes,
    /// What the payload is.
    pub content_type: ContentType,
    /// What the publication is about, for those who keep the newest by key.
    pub key: Option<Arc<str>>,
    /// The publisher's own headers, in the order given.
    pub headers: Headers,
}

/// Names and values that travel with a publication.
pub type Headers = Box<[(Box<str>, Box<str>)]>;

/// A publication with its place in the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its place in the channel.
    pub position: Position,
    /// When it was ordered, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The payload bytes of the channel before this one, by which a subscriber's lag is measured.
    pub bytes_before: u64,
    /// What the publisher gave.
    pub draft: Draft,
}

/// What a payload is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ContentType {
    /// Plain text in UTF-8.
    #[default]
    Text,
    /// One JSON value, checked when it was published.
    Json,
    /// Bytes without a further description.
    Octets,
    /// Any other media type, as the publisher wrote it.
    Other(Arc<str>),
}

impl ContentType {
    /// Reads a media type; `text/plain` in UTF-8, JSON and octets are known without regard to case or spacing.
    pub fn parse(text: &str) -> Self {
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim();
        let parameters = parameters.trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return Self::Json;
        }
        let utf8 = parameters.is_empty()
            || parameters.split_once('=').is_some_and(|(name, value)| {
                let value = value.trim().trim_matches('"');
                name.trim().eq_ignore_ascii_case("charset")
                    && ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
            });
        if essence.eq_ignore_ascii_case("text/plain") && utf8 {
            return Self::Text;
        }
        if essence.eq_ignore_ascii_case("application/octet-stream") && parameters.is_empty() {
            return Self::Octets;
        }
        Self::Other(Arc::from(text.trim()))
    }

    /// Whether a text may stand as a media type: a slash, visible ASCII and spaces, at most 255 bytes, so that any header can hold it.
    pub fn is_well_formed(text: &str) -> bool {
        let essence = text.split(';').next().unwrap_or_default().trim();
        text.len() <= MEDIA_TYPE_BYTES_MAX
            && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
            && essence.split_once('/').is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty())
    }

    /// The media type as it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Octets => "application/octet-stream",
            Self::Other(text) => text,
        }
    }

    /// Whether a payload of this type goes into a text frame, as long as it is valid UTF-8.
    pub fn is_textual(&self) -> bool {
        let Self::Other(text) = self else { return !matches!(self, Self::Octets) };
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence.starts_with("text/")
            || ["+json", "+xml", "/xml", "/javascript", "/x-www-form-urlencoded", "/x-ndjson"].iter().any(|end| essence.ends_with(end))
    }
}

impl Draft {
    /// A publication of plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { data: Bytes::from(text.into()), ..Self::default() }
    }

    /// What it counts against the bounds on history: payload, type, key and headers, and the fixed cost of keeping it.
    pub fn cost_bytes(&self) -> usize {
        let type_bytes = if let ContentType::Other(text) = &self.content_type { text.len() } else { 0 };
        let header_bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        self.data.len() + type_bytes + self.key.as_ref().map_or(0, |key| key.len()) + header_bytes + PUBLICATION_OVERHEAD_BYTES
    }
}

/// The longest media type, in bytes.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// What keeping one publication costs beside its bytes: the record, its reference counts and its place in the log.
pub const PUBLICATION_OVERHEAD_BYTES: usize = 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_types_that_json_forms_treat_specially() {
        for (text, known) in [
            ("text/plain", ContentType::Text),
            ("Text/Plain;charset=UTF-8", ContentType::Text),
            ("text/plain; charset=\"utf-8\"", ContentType::Text),
            ("application/json; charset=utf-8", ContentType::Json),
            ("application/octet-stream", ContentType::Octets),
            ("text/plain; charset=latin1", ContentType::Other("text/plain; charset=latin1".into())),
            ("image/png", ContentType::Other("image/png".into())),
        ] {
            assert_eq!(ContentType::parse(text), known, "{text}");
        }
        assert!(ContentType::parse("text/html").is_textual());
        assert!(ContentType::parse("application/ld+json").is_textual());
        assert!(!ContentType::parse("image/png").is_textual());
        assert!(!ContentType::Octets.is_textual());
        assert!(ContentType::is_well_formed("text/plain; charset=utf-8"));
        for text in ["", "text", "/plain", "text/", "text/pl\u{e9}in", "a/b\r\nX: y", &format!("a/{}", "b".repeat(254))] {
            assert!(!ContentType::is_well_formed(text), "{text:?}");
        }
    }
}
