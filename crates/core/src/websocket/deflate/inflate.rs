//! Decompressing what we receive, never past the bound of a message and, for text, never past its first bad byte.

use flate2::{Decompress, FlushDecompress, Status};

use super::super::WebSocketFault;
use super::super::utf8::Utf8Check;
use super::TAIL;

/// Inflates messages. One serves all the connections of a worker; with context takeover, a connection has its own.
///
/// It takes no memory before the first compressed message.
#[derive(Debug, Default)]
pub struct Inflater {
    state: Option<Box<State>>,
}

#[derive(Debug)]
struct State {
    inflate: Decompress,
    chunk: [u8; CHUNK_BYTES],
}

/// What is asked of an inflater for one message.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Task {
    pub(in super::super) text: bool,
    pub(in super::super) context_takeover: bool,
    pub(in super::super) message_bytes_max: usize,
}

impl Inflater {
    /// An inflater that has seen nothing.
    pub const fn new() -> Self {
        Self { state: None }
    }

    /// Whether it has inflated something, and so holds some 50 KiB.
    pub fn is_in_use(&self) -> bool {
        self.state.is_some()
    }

    /// Inflates a whole message.
    pub(in super::super) fn inflate(&mut self, compressed: &[u8], task: Task) -> Result<Vec<u8>, WebSocketFault> {
        let mut output = Output::new(task, compressed.len());
        // RFC 7692, 7.2.3.6, has an empty message sent as one zero byte; some peers send none.
        if !compressed.is_empty() {
            let state = self.state.get_or_insert_with(|| Box::new(State::new()));
            state.inflate_message(compressed, task.context_takeover, &mut output)?;
        }
        output.finish()
    }
}

impl State {
    fn new() -> Self {
        // The largest window reads what was compressed with any.
        Self { inflate: Decompress::new(false), chunk: [0; CHUNK_BYTES] }
    }

    fn inflate_message(&mut self, compressed: &[u8], context_takeover: bool, output: &mut Output) -> Result<(), WebSocketFault> {
        if !context_takeover {
            self.inflate.reset(false);
        }
        // RFC 7692, 7.2.3.4: a sender may close its stream with the message, and then no tail is missing.
        if self.feed(compressed, output)? == Place::StreamEnd {
            self.inflate.reset(false);
            return Ok(());
        }
        let told = output.len();
        let place = self.feed(&TAIL, output)?;
        // The tail ends an empty block. Where it came out as data, the message had been cut short.
        if place == Place::StreamEnd || output.len() != told {
            return Err(WebSocketFault::CorruptDeflate);
        }
        if context_takeover { Ok(()) } else { self.check_block_is_over(output) }
    }

    /// Checks that the next bits would begin a block, by giving it an empty last one.
    fn check_block_is_over(&mut self, output: &mut Output) -> Result<(), WebSocketFault> {
        let told = output.len();
        let over = self.feed(&EMPTY_LAST_BLOCK, output)? == Place::StreamEnd && output.len() == told;
        if over { Ok(()) } else { Err(WebSocketFault::CorruptDeflate) }
    }

    fn feed(&mut self, mut input: &[u8], output: &mut Output) -> Result<Place, WebSocketFault> {
        loop {
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let outcome = self.inflate.decompress(input, &mut self.chunk, FlushDecompress::Sync);
            let status = outcome.map_err(|_| WebSocketFault::CorruptDeflate)?;
            let taken = (self.inflate.total_in() - before_in) as usize;
            let made = (self.inflate.total_out() - before_out) as usize;
            input = &input[taken..];
            output.push(&self.chunk[..made])?;
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(Place::StreamEnd),
                // 7.2.3.5: more blocks may follow one that says it is the last.
                Status::StreamEnd => self.inflate.reset(false),
                _ if input.is_empty() && made < CHUNK_BYTES => return Ok(Place::Open),
                _ if taken == 0 && made == 0 => return Err(WebSocketFault::CorruptDeflate),
                _ => (),
            }
        }
    }
}

/// Where in the stream of blocks the input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// After a block that said it is the last.
    StreamEnd,
    /// Anywhere else.
    Open,
}

/// The message as it grows.
struct Output {
    bytes: Vec<u8>,
    max: usize,
    utf8: Option<Utf8Check>,
}

impl Output {
    fn new(task: Task, compressed_len: usize) -> Self {
        let likely = compressed_len.saturating_mul(4).min(task.message_bytes_max);
        Self { bytes: Vec::with_capacity(likely), max: task.message_bytes_max, utf8: task.text.then(Utf8Check::new) }
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), WebSocketFault> {
        let len = self.bytes.len() + piece.len();
        if len > self.max {
            return Err(WebSocketFault::InflatedTooLarge { max: self.max });
        }
        if let Some(utf8) = &mut self.utf8 {
            utf8.push(piece)?;
        }
        if len > self.bytes.capacity() {
            self.bytes.reserve_exact(len.saturating_mul(2).min(self.max) - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, WebSocketFault> {
        self.utf8.map_or(Ok(()), |utf8| utf8.finish())?;
        // The guess may have been far off, and the message may be kept long.
        if self.bytes.capacity() > 2 * self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
        Ok(self.bytes)
    }
}

/// Inflated at a time: what a refused message can exceed its bound by.
const CHUNK_BYTES: usize = 8 * 1024;

/// A last block with nothing in it, in three bits of header and seven of end.
const EMPTY_LAST_BLOCK: [u8; 2] = [0x03, 0x00];

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    fn task(message_bytes_max: usize) -> Task {
        Task { text: false, context_takeover: false, message_bytes_max }
    }

    #[test]
    fn a_bomb_is_refused_at_its_bound() {
        let mut bomb = Vec::with_capacity(1 << 20);
        let mut compress = Compress::new(Compression::best(), false);
        compress.compress_vec(&vec![0; 100_000_000], &mut bomb, FlushCompress::Sync).expect("room enough");
        assert!(bomb.len() * 1000 < 100_000_000, "a thousandfold: {} bytes", bomb.len());
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&bomb, task(1 << 20)), Err(WebSocketFault::InflatedTooLarge { max: 1 << 20 }));
        let inflated = inflater.state.expect("it was used").inflate.total_out();
        assert!(inflated <= (1 << 20) + CHUNK_BYTES as u64, "{inflated} bytes");
    }

    #[test]
    fn blocks_without_end_are_got_through() {
        let mut many = [0x03, 0x00].repeat(200_000);
        many.push(0x00);
        assert_eq!(Inflater::new().inflate(&many, task(10)), Ok(Vec::new()));
        let stored = [0x00, 0x00, 0x00, 0xFF, 0xFF].repeat(200_000);
        assert_eq!(Inflater::new().inflate(&[&stored[..], &[0]].concat(), task(10)), Ok(Vec::new()));
    }

    #[test]
    fn a_message_keeps_no_more_than_twice_its_bytes() {
        let mut compressed = Vec::with_capacity(2000);
        let mut compress = Compress::new(Compression::none(), false);
        compress.compress_vec(&[7; 1000], &mut compressed, FlushCompress::Sync).expect("room enough");
        compressed.truncate(compressed.len() - TAIL.len());
        let message = Inflater::new().inflate(&compressed, task(1 << 20)).expect("it is whole");
        assert_eq!(message, [7; 1000]);
        assert!(message.capacity() <= 2000, "{}", message.capacity());
    }
}
