//! The client's side of every encoding: from the bytes that a connection took back to records. Whatever is cut or mixed up fails here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde_json::Value;

use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::stomp::{self, Frame, FrameCommand, StompLimits};
use bongsu_core::websocket::{Decoder, Limits, Message, Role};

/// What one record says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// Where a subscription starts, or stands.
    Cursor { channel: Option<String>, cursor: String },
    /// A publication, as far as its format tells of it.
    Publication { channel: Option<String>, position: Option<String>, cursor: Option<String>, data: Data },
    /// A gap.
    Gap { channel: Option<String>, asked: String, resumed: String, reason: String, cursor: Option<String> },
    /// A sign of life that says nothing else.
    Beat,
    /// The end.
    Bye,
}

/// A payload, as exactly as its format carries it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Bytes(Vec<u8>),
    Json(Value),
    /// Text whose line ends have become line feeds.
    Lines(String),
}

/// Reads one connection.
pub(crate) struct Parser {
    encoding: Encoding,
    input: BytesMut,
    decoder: Decoder,
    stomp: stomp::Decoder,
    boundary: Option<Vec<u8>>,
}

impl Parser {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let limits = Limits { message_bytes_max: 1 << 20, frame_bytes_max: 1 << 20, fragments_max: 1 };
        let mut stomp = stomp::Decoder::new(&StompLimits::default());
        stomp.set_version(stomp::Version::V1_2);
        Self { encoding, input: BytesMut::new(), decoder: Decoder::new(Role::Client, limits), stomp, boundary: None }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether a record has begun and not ended.
    pub(crate) fn is_amid(&self) -> bool {
        !self.input.is_empty() || self.decoder.is_mid_message() || self.stomp.is_within_frame()
    }

    /// Whether it knows how records are told apart: of a multipart stream only once it has begun.
    pub(crate) fn is_open(&self) -> bool {
        self.encoding.format != Format::Multipart || self.boundary.is_some()
    }

    /// The next record that is there whole.
    pub(crate) fn next(&mut self) -> Option<Record> {
        match self.encoding.framing {
            Framing::Raw => self.record(),
            Framing::Chunked => self.chunk(),
            Framing::WebSocket => self.message(),
        }
    }

    fn record(&mut self) -> Option<Record> {
        if let Format::Stomp(_) = self.encoding.format {
            return self.stomp.decode(&mut self.input).expect("the server's frames are well formed").map(|frame| stomp_record(&frame));
        }
        let (record, len) = record_in(self.encoding.format, &mut self.boundary, &self.input)?;
        drop(self.input.split_to(len));
        record.or_else(|| self.record())
    }

    fn chunk(&mut self) -> Option<Record> {
        let size_end = find(&self.input, b"\r\n")?;
        let size = std::str::from_utf8(&self.input[..size_end]).expect("a chunk's size is ASCII");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size is a hexadecimal number");
        let end = size_end + 2 + size;
        if self.input.len() < end + 2 {
            return None;
        }
        let chunk = self.input.split_to(end + 2).split_off(size_end + 2);
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends by CRLF");
        if size == 0 {
            return self.chunk();
        }
        let (record, len) = record_in(self.encoding.format, &mut self.boundary, &chunk[..size]).expect("a chunk holds a whole record");
        assert_eq!(len, size, "a chunk holds one record");
        record.or_else(|| self.chunk())
    }

    fn message(&mut self) -> Option<Record> {
        let message = self.decoder.decode(&mut self.input).expect("the server's frames are well formed")?;
        Some(match message {
            Message::Close(_) => Record::Bye,
            Message::Text(text) if self.encoding.format == Format::Json => json_record(&text),
            Message::Text(data) | Message::Binary(data) if self.encoding.format == Format::Payload => {
                Record::Publication { channel: None, position: None, cursor: None, data: Data::Bytes(data.to_vec()) }
            }
            Message::Text(data) | Message::Binary(data) if matches!(self.encoding.format, Format::Stomp(_)) => {
                let frame = self.stomp.decode(&mut BytesMut::from(&data[..])).expect("the server's frames are well formed");
                stomp_record(&frame.expect("a message holds a whole frame"))
            }
            other => panic!("a message that has no place here: {other:?}"),
        })
    }
}

/// The first record in these bytes, if it is one that says something, and its length.
fn record_in(format: Format, boundary: &mut Option<Vec<u8>>, bytes: &[u8]) -> Option<(Option<Record>, usize)> {
    match format {
        Format::Payload => panic!("payloads without frames cannot be told apart"),
        Format::Json => find(bytes, b"\n").map(|end| (Some(json_record(&bytes[..end])), end + 1)),
        Format::Sse | Format::SseJson => find(bytes, b"\n\n").map(|end| (Some(event(format, &bytes[..end + 1])), end + 2)),
        Format::Multipart => part_in(boundary, bytes),
        Format::Stomp(_) => panic!("frames are read by their own decoder"),
    }
}

fn part_in(boundary: &mut Option<Vec<u8>>, bytes: &[u8]) -> Option<(Option<Record>, usize)> {
    let Some(boundary) = boundary else {
        let end = find(bytes, b"\r\n")?;
        assert!(bytes.starts_with(b"--bongsu-"), "a stream begins with its delimiter");
        *boundary = Some([b"\r\n", &bytes[..end]].concat());
        return Some((None, end + 2));
    };
    let head_end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_end]).expect("headers are ASCII");
    let header = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(ToOwned::to_owned);
    let body_len: usize = header("Content-Length").expect("a length").parse().expect("a number");
    let body_end = head_end + 4 + body_len;
    let body = bytes.get(head_end + 4..body_end)?;
    let record = match (header("Bongsu-Position"), header("Bongsu-Gap"), header("Bongsu-Cursor")) {
        (Some(position), None, cursor) => {
            let data = Data::Bytes(body.to_vec());
            Record::Publication { channel: header("Bongsu-Channel"), position: Some(position), cursor, data }
        }
        (None, Some(_), _) => json_record(body),
        (None, None, Some(cursor)) => Record::Cursor { channel: header("Bongsu-Channel"), cursor },
        _ => Record::Bye,
    };
    let last: &[u8] = if record == Record::Bye { b"--\r\n" } else { b"\r\n" };
    let end = body_end + boundary.len() + last.len();
    let delimiter = bytes.get(body_end..end)?;
    assert!(delimiter.starts_with(boundary) && delimiter.ends_with(last), "a delimiter follows each part");
    Some((Some(record), end))
}

fn json_record(text: &[u8]) -> Record {
    let record: Value = serde_json::from_slice(text).expect("a record is JSON");
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let channel = text(&record["channel"]);
    let cursor = text(&record["cursor"]);
    if let Some(gap) = record.get("gap") {
        return gap_record(channel.or_else(|| text(&gap["channel"])), gap, cursor);
    }
    if record.get("bye").is_some() {
        return Record::Bye;
    }
    let Some(position) = text(&record["position"]) else {
        return Record::Cursor { channel, cursor: cursor.expect("a record without a position tells a cursor") };
    };
    let data = match (&record["type"], &record["data"]) {
        (Value::String(kind), data) if kind == "application/json" => Data::Json(data.clone()),
        (_, Value::String(data)) if record["base64"] == true => Data::Bytes(STANDARD.decode(data).expect("base64")),
        (_, Value::String(data)) => Data::Bytes(data.clone().into_bytes()),
        (_, other) => panic!("data that is no text: {other}"),
    };
    Record::Publication { channel, position: Some(position), cursor, data }
}

fn stomp_record(frame: &Frame) -> Record {
    let header = |name: &str| frame.get(name).map(ToOwned::to_owned);
    let channel = || header("destination").expect("a destination").strip_prefix("/topic/").map(ToOwned::to_owned);
    match frame.command {
        FrameCommand::Error => Record::Bye,
        FrameCommand::Receipt => Record::Cursor { channel: header("receipt-id"), cursor: header("cursor").expect("a cursor") },
        FrameCommand::Message if frame.get("gap").is_some() => {
            let gap: Value = serde_json::from_slice(&frame.body).expect("a gap is JSON");
            gap_record(channel(), &gap, None)
        }
        FrameCommand::Message => {
            let data = Data::Bytes(frame.body.to_vec());
            Record::Publication { channel: channel(), position: header("position"), cursor: None, data }
        }
        other => panic!("a frame that has no place here: {other:?}"),
    }
}

fn gap_record(channel: Option<String>, gap: &Value, cursor: Option<String>) -> Record {
    let text = |name: &str| gap[name].as_str().expect("a gap's fields are texts").to_owned();
    Record::Gap { channel, asked: text("asked"), resumed: text("resumed"), reason: text("reason"), cursor }
}

fn event(format: Format, block: &[u8]) -> Record {
    let block = std::str::from_utf8(block).expect("events are UTF-8");
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(ToOwned::to_owned);
    let data: Vec<&str> =
        block.lines().filter_map(|line| line.strip_prefix("data:")).map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let id = field("id");
    match (field("event").as_deref(), id, data.is_empty()) {
        (Some("bye"), _, _) => Record::Bye,
        (Some("gap"), Some(id), _) => match serde_json::from_str::<Value>(data[0]).expect("a gap is JSON") {
            gap if gap.get("gap").is_some() => match json_record(data[0].as_bytes()) {
                Record::Gap { channel, asked, resumed, reason, .. } => Record::Gap { channel, asked, resumed, reason, cursor: Some(id) },
                other => panic!("not a gap: {other:?}"),
            },
            gap => gap_record(gap["channel"].as_str().map(ToOwned::to_owned), &gap, Some(id)),
        },
        (None, None, true) => Record::Beat,
        (None, Some(id), true) => Record::Cursor { channel: None, cursor: id },
        (Some("base64"), id, _) => publication(id, Data::Bytes(STANDARD.decode(data[0]).expect("base64"))),
        (None, id, _) if format == Format::SseJson => match json_record(data[0].as_bytes()) {
            Record::Publication { channel, position, data, .. } => Record::Publication { channel, position, cursor: id, data },
            other => panic!("not a publication: {other:?}"),
        },
        (None, id, _) => publication(id, Data::Lines(data.join("\n"))),
        other => panic!("no event of ours: {other:?}"),
    }
}

fn publication(id: Option<String>, data: Data) -> Record {
    Record::Publication { channel: None, position: None, cursor: id, data }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}
