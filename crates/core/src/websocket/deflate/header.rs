//! `Sec-WebSocket-Extensions` and the parameters of permessage-deflate in it. RFC 6455, 9.1; RFC 7692, 7.1.

/// The name of the extension.
pub const EXTENSION: &str = "permessage-deflate";

pub(super) const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
pub(super) const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
pub(super) const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
pub(super) const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The window that a client names or lets the server choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientBits {
    /// The parameter stands without a value: "choose one for me".
    ServersChoice,
    /// The most that it will use.
    Most(u8),
}

/// The parameters of one element, each at most once and with the value that it must have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) server_no_context_takeover: bool,
    pub(super) client_no_context_takeover: bool,
    pub(super) server_max_window_bits: Option<u8>,
    pub(super) client_max_window_bits: Option<ClientBits>,
}

impl Parameters {
    /// Reads what follows the extension's name; `None` where a parameter is unknown, doubled, or has no good value.
    fn parse<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut parameters = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_matches(BLANKS), Some(unquoted(value.trim_matches(BLANKS)))),
                None => (part, None),
            };
            parameters.set(name, value)?;
        }
        Some(parameters)
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Option<()> {
        match (name, value) {
            (SERVER_NO_CONTEXT_TAKEOVER, None) => set_flag(&mut self.server_no_context_takeover),
            (CLIENT_NO_CONTEXT_TAKEOVER, None) => set_flag(&mut self.client_no_context_takeover),
            (SERVER_MAX_WINDOW_BITS, Some(bits)) => set_once(&mut self.server_max_window_bits, window_bits(bits)?),
            (CLIENT_MAX_WINDOW_BITS, None) => set_once(&mut self.client_max_window_bits, ClientBits::ServersChoice),
            (CLIENT_MAX_WINDOW_BITS, Some(bits)) => set_once(&mut self.client_max_window_bits, ClientBits::Most(window_bits(bits)?)),
            _ => None,
        }
    }
}

/// The elements of all the header's values that name this extension, in order; `None` stands for one whose parameters are wrong.
pub(super) fn elements<'a>(values: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = Option<Parameters>> {
    values.into_iter().flat_map(|value| split_unquoted(value, ',')).filter_map(|element| {
        let mut parts = split_unquoted(element, ';');
        (parts.next() == Some(EXTENSION)).then(|| Parameters::parse(parts))
    })
}

/// Parts between separators that stand outside quotes, without the blanks around them.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = text.split(move |character| {
        quoted ^= character == '"';
        character == separator && !quoted
    });
    parts.map(|part| part.trim_matches(BLANKS))
}

// RFC 6455, 9.1: a value may stand in quotes. No value here needs an escape, so one that has any fails as a number.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

// RFC 7692, 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

fn set_flag(flag: &mut bool) -> Option<()> {
    (!std::mem::replace(flag, true)).then_some(())
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

const BLANKS: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Vec<Option<Parameters>> {
        elements([value]).collect()
    }

    #[test]
    fn every_parameter_is_read() {
        let all = "permessage-deflate; server_no_context_takeover;client_no_context_takeover ; server_max_window_bits = 10;\tclient_max_window_bits=\"8\"";
        let expected = Parameters {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: Some(10),
            client_max_window_bits: Some(ClientBits::Most(8)),
        };
        assert_eq!(read(all), [Some(expected)]);
        let choice = Parameters { client_max_window_bits: Some(ClientBits::ServersChoice), ..Parameters::default() };
        assert_eq!(read("permessage-deflate; client_max_window_bits"), [Some(choice)]);
        assert_eq!(read("permessage-deflate"), [Some(Parameters::default())]);
    }

    #[test]
    fn a_wrong_parameter_spoils_its_element_and_no_other() {
        for wrong in [
            "mystery",
            "mystery=1",
            "",
            "server_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=+9",
            "server_max_window_bits=\"10",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=1000000000000",
            "client_max_window_bits; client_max_window_bits=9",
        ] {
            let value = format!("permessage-deflate; {wrong}, permessage-deflate");
            // An open quote swallows the rest of its header.
            let expected = if wrong.contains('"') { vec![None] } else { vec![None, Some(Parameters::default())] };
            assert_eq!(read(&value), expected, "{value}");
        }
    }

    #[test]
    fn other_extensions_are_passed_over() {
        assert_eq!(
            read("x-webkit-deflate-frame, permessage-bzip2; a=\"b, permessage-deflate\", permessage-deflate"),
            [Some(Parameters::default())]
        );
        assert!(read("").is_empty());
    }
}
