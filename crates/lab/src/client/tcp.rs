//! Raw TCP: the native protocol, a JSON object a line. For devices and programs that have no HTTP.

use std::collections::VecDeque;
use std::time::Duration;

use bongsu_core::{ChannelName, Start};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::event::Event;
use super::fault::ClientFault;
use super::http::{Limits, connect};
use super::lines::Lines;
use super::native;
use super::record;
use super::target::Target;

/// An open connection, with nothing above its lines.
#[derive(Debug)]
pub struct LineSocket {
    stream: TcpStream,
    input: BytesMut,
    lines: Lines,
    output: BytesMut,
    silence_max: Duration,
}

impl LineSocket {
    /// Connects. The server says nothing until it is asked.
    pub async fn open(target: &Target, limits: Limits) -> Result<Self, ClientFault> {
        Ok(Self {
            stream: connect(target, limits.connect_max).await?,
            input: BytesMut::new(),
            lines: Lines::new(limits.record_bytes_max),
            output: BytesMut::new(),
            silence_max: limits.silence_max,
        })
    }

    /// Lays a line that goes out with the next flush.
    pub(crate) fn lay(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\n");
    }

    /// Sends what was laid. May be dropped while it waits: what is left goes out with the next.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientFault> {
        while !self.output.is_empty() {
            self.stream.write_buf(&mut self.output).await.map_err(ClientFault::broken)?;
        }
        Ok(())
    }

    /// The next line, or nothing once the server has closed. May be dropped while it waits.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, ClientFault> {
        loop {
            self.flush().await?;
            if let Some(line) = self.lines.take()? {
                return Ok(Some(line));
            }
            if !self.read().await? {
                let cut = self.lines.is_unfinished();
                return if cut { Err(ClientFault::broken("the connection ended in mid-line")) } else { Ok(None) };
            }
        }
    }

    /// Says that nothing more will be sent.
    pub async fn close(mut self) {
        // The peer may be gone already, and that is what was wanted.
        let _best_effort = self.stream.shutdown().await;
    }

    /// Reads more; after half of the longest silence it asks whether anybody is there. `false` at the end.
    async fn read(&mut self) -> Result<bool, ClientFault> {
        let half = self.silence_max / 2;
        self.input.reserve(READ_BYTES);
        let read = match timeout(half, self.stream.read_buf(&mut self.input)).await {
            Ok(read) => read,
            Err(_) => {
                self.lay(PING);
                self.flush().await?;
                let silent = |_| ClientFault::Silent { what: "a sign of life", waited: self.silence_max };
                timeout(half, self.stream.read_buf(&mut self.input)).await.map_err(silent)?
            }
        };
        let len = read.map_err(ClientFault::broken)?;
        self.lines.push(&self.input);
        self.input.clear();
        Ok(len > 0)
    }
}

/// How much room a read is given at least.
const READ_BYTES: usize = 16 << 10;
/// Asks the server for a sign of life.
const PING: &str = r#"{"ping":1}"#;

/// A subscriber over TCP: any number of channels on one connection.
#[derive(Debug)]
pub struct Tcp {
    socket: LineSocket,
    ready: VecDeque<Event>,
}

impl Tcp {
    /// Opens the connection and asks for the channels.
    pub async fn open(target: &Target, starts: &[(ChannelName, Start)], limits: Limits) -> Result<Self, ClientFault> {
        let mut socket = LineSocket::open(target, limits).await?;
        for (id, (channel, start)) in (1..).zip(starts) {
            socket.lay(&native::subscribe(channel, start, id));
        }
        socket.flush().await?;
        Ok(Self { socket, ready: VecDeque::new() })
    }

    /// The next event, or nothing once the server has closed.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.socket.receive().await? {
                Some(line) if line.trim_ascii().is_empty() => return Ok(Some(Event::Heartbeat)),
                Some(line) => self.ready.extend(record::read(&line, None)?.into_events()?),
                None => return Ok(None),
            }
        }
    }

    /// Says that nothing more will be sent.
    pub async fn close(self) {
        self.socket.close().await;
    }
}
