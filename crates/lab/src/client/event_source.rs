//! The `text/event-stream` format, read as the HTML standard says ("Interpreting an event stream"). Pure.

use bytes::BytesMut;

use super::fault::ClientFault;

/// What a stream of events says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event, dispatched by its empty line.
    Event {
        /// Its type; `message` where it has none.
        name: String,
        /// Its data lines, joined by line feeds.
        data: String,
        /// The last event id, its own or an earlier one's.
        id: String,
    },
    /// A block that only set the last event id: the standard dispatches nothing, but remembers it.
    Id(String),
    /// A comment, sent to keep the connection open.
    Comment,
    /// How long to wait before reconnecting, in milliseconds.
    Retry(u64),
}

/// Reads a stream of events from chunks of any size.
#[derive(Debug)]
pub struct Parser {
    buffer: BytesMut,
    searched: usize,
    event_bytes_max: usize,
    /// Nothing was read yet, so a byte order mark may come.
    at_begin: bool,
    /// The last line ended with a carriage return, so a line feed that follows belongs to it.
    after_return: bool,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    id: String,
    /// The id of the block that is being read; it counts once the block ends.
    new_id: Option<String>,
}

impl Parser {
    /// A parser that takes events up to a bound.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            event_bytes_max,
            at_begin: true,
            after_return: false,
            name: String::new(),
            data: Vec::new(),
            has_data: false,
            id: String::new(),
            new_id: None,
        }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next item, once it is whole.
    pub fn take(&mut self) -> Result<Option<Item>, ClientFault> {
        while let Some(line) = self.take_line()? {
            if let Some(item) = self.accept(&line) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn take_line(&mut self) -> Result<Option<BytesMut>, ClientFault> {
        if !self.skip_mark() {
            return Ok(None);
        }
        if self.after_return && !self.buffer.is_empty() {
            self.after_return = false;
            if self.buffer[0] == b'\n' {
                let _line_feed = self.buffer.split_to(1);
            }
        }
        let Some(at) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return if self.searched + self.data.len() > self.event_bytes_max { Err(too_long()) } else { Ok(None) };
        };
        let line = self.buffer.split_to(self.searched + at);
        self.after_return = self.buffer.split_to(1)[0] == b'\r';
        self.searched = 0;
        if line.len() + self.data.len() > self.event_bytes_max { Err(too_long()) } else { Ok(Some(line)) }
    }

    /// One leading byte order mark is passed over. Answers whether reading can go on.
    fn skip_mark(&mut self) -> bool {
        const MARK: &[u8] = b"\xEF\xBB\xBF";
        if !self.at_begin {
            return true;
        }
        if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
            return false;
        }
        self.at_begin = false;
        if self.buffer.starts_with(MARK) {
            let _mark = self.buffer.split_to(MARK.len());
        }
        true
    }

    fn accept(&mut self, line: &[u8]) -> Option<Item> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => return Some(Item::Comment),
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (line, &b""[..]),
        };
        match field {
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => self.add_data(value),
            // "If the field value does not contain U+0000 NULL, set the last event ID buffer".
            b"id" if !value.contains(&0) => self.new_id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                return std::str::from_utf8(value).ok()?.parse().ok().map(Item::Retry);
            }
            _ => (),
        }
        None
    }

    fn add_data(&mut self, value: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }

    fn dispatch(&mut self) -> Option<Item> {
        let new_id = self.new_id.take();
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        if let Some(id) = &new_id {
            self.id.clone_from(id);
        }
        // The standard looks at the data buffer, to which each line added a line feed: one empty `data` line does dispatch.
        if !std::mem::take(&mut self.has_data) {
            return new_id.map(Item::Id);
        }
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Item::Event { name, data: String::from_utf8_lossy(&data).into_owned(), id: self.id.clone() })
    }
}

fn too_long() -> ClientFault {
    ClientFault::contract("an event without end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8], sizes: &[usize]) -> Vec<Item> {
        let (mut parser, mut items, mut rest, mut turn) = (Parser::new(1 << 20), Vec::new(), text, 0);
        while !rest.is_empty() {
            let size = sizes.get(turn % sizes.len().max(1)).copied().unwrap_or(rest.len()).clamp(1, rest.len());
            parser.push(&rest[..size]);
            (rest, turn) = (&rest[size..], turn + 1);
            while let Some(item) = parser.take().expect("short events") {
                items.push(item);
            }
        }
        items
    }

    fn event(name: &str, data: &str, id: &str) -> Item {
        Item::Event { name: name.into(), data: data.into(), id: id.into() }
    }

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(parse(b"data: YHOO\ndata: +2\ndata: 10\n\n", &[]), [event("message", "YHOO\n+2\n10", "")]);
        let stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n";
        assert_eq!(parse(stream, &[]), [Item::Comment, event("message", "first event", "1"), event("message", "second event", "")]);
        assert_eq!(parse(b"data\n\ndata\ndata\n\ndata:", &[]), [event("message", "", ""), event("message", "\n", "")]);
        assert_eq!(parse(b"data:test\n\ndata: test\n\n", &[]), [event("message", "test", ""), event("message", "test", "")]);
    }

    #[test]
    fn ids_retries_and_odd_fields() {
        assert_eq!(parse(b"id: e-1\n\n", &[]), [Item::Id("e-1".into())]);
        assert_eq!(parse(b"id: e-1\n\ndata: x\n\n", &[]), [Item::Id("e-1".into()), event("message", "x", "e-1")]);
        assert_eq!(parse(b"id: a\0b\ndata: x\n\n", &[]), [event("message", "x", "")]);
        assert_eq!(parse(b"retry: 250\nretry: 1s\nretry:\nfoo: bar\n\n", &[]), [Item::Retry(250)]);
        assert_eq!(parse(b"event: gap\n\ndata: x\n\n", &[]), [event("message", "x", "")]);
        assert_eq!(parse(b"\xEF\xBB\xBFdata: x\n\n\xEF\xBB\xBFdata: y\n\n", &[]), [event("message", "x", "")]);
    }

    #[test]
    fn an_event_without_end_is_refused_at_its_bound() {
        let mut parser = Parser::new(8);
        parser.push(b"data: 123456789");
        assert!(parser.take().is_err());
    }

    proptest! {
        #[test]
        fn the_chunks_do_not_matter(
            parts in prop::collection::vec(prop::sample::select(vec![
                "data: one\n", "data: two\r\n", "data\r", "event: gap\n", "id: e-1\r\n", "id\n", ": c\n", "retry: 5\r", "\n", "\r\n", "\r", "x", "\u{feff}", "é",
            ]), 0..24),
            sizes in prop::collection::vec(1usize..9, 1..8),
        ) {
            let text = parts.concat();
            prop_assert_eq!(parse(text.as_bytes(), &[]), parse(text.as_bytes(), &sizes));
        }

        #[test]
        fn any_line_end_says_the_same(data in "[a-z]{0,4}", id in "[a-z]{1,4}") {
            let text = format!("id: {id}\ndata: {data}\ndata: {data}\n\n");
            let expected = parse(text.as_bytes(), &[]);
            prop_assert_eq!(&parse(text.replace('\n', "\r\n").as_bytes(), &[1]), &expected);
            prop_assert_eq!(&parse(text.replace('\n', "\r").as_bytes(), &[1]), &expected);
        }
    }
}
