//! Bytes to frames, as they arrive: nothing is looked at twice, and every part of a frame is bounded before it is kept.

use bytes::{Buf, Bytes, BytesMut};

use super::escape::Escapes;
use super::fault::{StompFault, quote};
use super::frame::{Frame, FrameCommand};
use super::{StompLimits, Version};

/// Reads frames from a stream that may be cut anywhere.
#[derive(Debug)]
pub struct Decoder {
    version: Option<Version>,
    head_bytes_max: usize,
    headers_max: usize,
    body_bytes_max: usize,
    state: State,
    /// How much of the buffer is known not to hold what is looked for.
    scanned: usize,
    /// How many bytes the frame's head has had so far.
    head_bytes: usize,
}

#[derive(Debug)]
enum State {
    Between,
    Command,
    Headers(Frame),
    Body(Frame, Option<usize>),
}

impl Decoder {
    /// A decoder for a connection whose version is not yet agreed.
    pub fn new(limits: &StompLimits) -> Self {
        Self {
            version: None,
            head_bytes_max: limits.head_bytes_max,
            headers_max: limits.headers_max,
            body_bytes_max: limits.body_bytes_max,
            state: State::Between,
            scanned: 0,
            head_bytes: 0,
        }
    }

    /// Reads the frames from here on as this version says.
    pub fn set_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// Whether a frame has begun of which there is more to come.
    pub fn is_within_frame(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// Takes the next frame from the buffer; `None` while it is not whole. Line ends between frames, which are heart-beats, are
    /// passed over. After a fault the stream cannot be read on.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, StompFault> {
        loop {
            let next = match std::mem::replace(&mut self.state, State::Between) {
                State::Between => skip_line_ends(buffer).then_some(State::Command),
                State::Command => self.read_command(buffer)?,
                State::Headers(frame) => self.read_header(frame, buffer)?,
                State::Body(frame, length) => match self.read_body(frame, length, buffer)? {
                    Some(frame) => return Ok(Some(frame)),
                    None => return Ok(None),
                },
            };
            match next {
                Some(state) => self.state = state,
                None => return Ok(None),
            }
        }
    }

    fn read_command(&mut self, buffer: &mut BytesMut) -> Result<Option<State>, StompFault> {
        let Some(line) = self.take_line(buffer)? else {
            self.state = State::Command;
            return Ok(None);
        };
        match FrameCommand::parse(&line) {
            Some(command) => Ok(Some(State::Headers(Frame::new(command)))),
            None => Err(StompFault::UnknownCommand { command: quote(&line) }),
        }
    }

    fn read_header(&mut self, mut frame: Frame, buffer: &mut BytesMut) -> Result<Option<State>, StompFault> {
        let Some(line) = self.take_line(buffer)? else {
            self.state = State::Headers(frame);
            return Ok(None);
        };
        if !line.is_empty() {
            self.add_header(&mut frame, &line)?;
            return Ok(Some(State::Headers(frame)));
        }
        self.head_bytes = 0;
        let length = frame.get("content-length").map(|value| self.body_length(value)).transpose()?;
        Ok(Some(State::Body(frame, length)))
    }

    /// A line without its end, once all of it is there.
    fn take_line(&mut self, buffer: &mut BytesMut) -> Result<Option<BytesMut>, StompFault> {
        let end = memchr::memchr2(b'\n', 0, &buffer[self.scanned..]).map(|at| self.scanned + at);
        let bytes = end.map_or(buffer.len(), |end| end + 1);
        if self.head_bytes + bytes > self.head_bytes_max {
            return Err(StompFault::HeadTooLarge { max: self.head_bytes_max });
        }
        let Some(end) = end else {
            self.scanned = buffer.len();
            return Ok(None);
        };
        if buffer[end] == 0 {
            return Err(StompFault::NulInHead { line: quote(&buffer[..end]) });
        }
        let mut line = buffer.split_to(end + 1);
        self.scanned = 0;
        self.head_bytes += line.len();
        line.truncate(end);
        self.strip_carriage_return(&mut line)?;
        Ok(Some(line))
    }

    // STOMP 1.2, "Augmented BNF": a line ends with LF or CRLF. Before the version is agreed it may be a client of 1.2.
    fn strip_carriage_return(&self, line: &mut BytesMut) -> Result<(), StompFault> {
        if matches!(self.version, Some(Version::V1_0 | Version::V1_1)) {
            return Ok(());
        }
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        match memchr::memchr(b'\r', line) {
            Some(_) => Err(StompFault::CarriageReturnInHead { line: quote(line) }),
            None => Ok(()),
        }
    }

    fn add_header(&self, frame: &mut Frame, line: &[u8]) -> Result<(), StompFault> {
        if frame.headers.len() >= self.headers_max {
            return Err(StompFault::TooManyHeaders { max: self.headers_max });
        }
        let text = std::str::from_utf8(line).map_err(|_| StompFault::HeaderNotUtf8 { line: quote(line) })?;
        // Colons in a value should be escaped, but no reader can mistake them and many clients leave them as they are.
        let (name, value) = text.split_once(':').ok_or_else(|| StompFault::HeaderWithoutColon { line: quote(line) })?;
        let escapes = match self.version {
            Some(version) if frame.command.is_escaped() => Escapes::of(version),
            _ => Escapes::None,
        };
        // STOMP 1.0 pads values in its examples, so its servers trim; from 1.1 on that is forbidden.
        let value = if self.version == Some(Version::V1_0) { value.trim_matches(' ') } else { value };
        let undo = |text| escapes.undo(text).ok_or_else(|| StompFault::UnknownEscape { line: quote(line) });
        let (name, value) = (undo(name)?, undo(value)?);
        if name.is_empty() {
            return Err(StompFault::HeaderWithoutName { line: quote(line) });
        }
        // STOMP 1.2, "Repeated Header Entries": the first value wins.
        if frame.get(&name).is_none() {
            frame.headers.push((name.into(), value.into()));
        }
        Ok(())
    }

    fn body_length(&self, value: &str) -> Result<usize, StompFault> {
        let digits = (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(StompFault::InvalidContentLength { value: quote(value.as_bytes()) });
        }
        let length = value.parse().unwrap_or(usize::MAX);
        if length > self.body_bytes_max {
            return Err(StompFault::BodyTooLarge { max: self.body_bytes_max });
        }
        Ok(length)
    }

    fn read_body(&mut self, mut frame: Frame, length: Option<usize>, buffer: &mut BytesMut) -> Result<Option<Frame>, StompFault> {
        let end = match length {
            Some(length) if buffer.len() > length => match buffer[length] {
                0 => Some(length),
                _ => return Err(StompFault::BodyNotEnded { content_length: length }),
            },
            Some(_) => None,
            None => memchr::memchr(0, &buffer[self.scanned..]).map(|at| self.scanned + at),
        };
        if end.unwrap_or(buffer.len()) > self.body_bytes_max && length.is_none() {
            return Err(StompFault::BodyTooLarge { max: self.body_bytes_max });
        }
        let Some(end) = end else {
            self.scanned = buffer.len();
            self.state = State::Body(frame, length);
            return Ok(None);
        };
        // STOMP 1.0 ignores the body of other frames; from 1.1 on they must have none.
        if end > 0 && !frame.command.may_have_body() && self.version > Some(Version::V1_0) {
            return Err(StompFault::BodyNotAllowed { command: frame.command.as_str() });
        }
        // Copied, so that what is kept of it does not keep the read buffer.
        frame.body = Bytes::copy_from_slice(&buffer[..end]);
        buffer.advance(end + 1);
        self.scanned = 0;
        Ok(Some(frame))
    }
}

/// Passes over line ends; whether anything else follows.
fn skip_line_ends(buffer: &mut BytesMut) -> bool {
    let mut ends = 0;
    while buffer[ends..].starts_with(b"\n") || buffer[ends..].starts_with(b"\r\n") {
        ends += 1 + usize::from(buffer[ends] == b'\r');
    }
    buffer.advance(ends);
    // A CR alone may still become a line end.
    !buffer.is_empty() && **buffer != *b"\r"
}
