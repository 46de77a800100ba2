//! A STOMP connection: connected, with nothing above its frames. The frames are read and written by the project's own codec.

use std::time::Duration;

use bongsu_core::stomp::{Decoder, Frame, FrameCommand, StompLimits, Version, write_frame};
use bongsu_core::websocket::{Message, Opcode};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::goodbye;
use crate::client::fault::ClientFault;
use crate::client::http::{Limits, connect};
use crate::client::target::Target;
use crate::client::websocket::WebSocket;

/// What carries the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A TCP connection.
    Tcp,
    /// A WebSocket, a message a frame.
    WebSocket,
}

/// A connection after CONNECTED.
#[derive(Debug)]
pub struct StompSocket {
    carrier: Carrier,
    decoder: Decoder,
    input: BytesMut,
    /// How long the server may be silent, where it promised heart-beats.
    silence_max: Option<Duration>,
}

#[derive(Debug)]
enum Carrier {
    Tcp { stream: TcpStream, output: BytesMut },
    WebSocket(Box<WebSocket>),
}

impl StompSocket {
    /// Connects, and waits until the server has let us in.
    pub async fn open(target: &Target, over: Over, limits: Limits) -> Result<Self, ClientFault> {
        let carrier = match over {
            Over::Tcp => Carrier::Tcp { stream: connect(target, limits.connect_max).await?, output: BytesMut::new() },
            Over::WebSocket => {
                let path = target.stomp_path();
                Carrier::WebSocket(Box::new(WebSocket::open(target, &path, Some(VERSION.subprotocol()), limits).await?))
            }
        };
        let bounds =
            StompLimits { head_bytes_max: 1 << 20, headers_max: 1_000, body_bytes_max: limits.record_bytes_max, ..Default::default() };
        let mut socket = Self { carrier, decoder: Decoder::new(&bounds), input: BytesMut::new(), silence_max: None };
        let connecting = timeout(limits.answer_max, socket.connect(target, limits));
        connecting.await.map_err(|_| ClientFault::Silent { what: "CONNECTED", waited: limits.answer_max })??;
        Ok(socket)
    }

    async fn connect(&mut self, target: &Target, limits: Limits) -> Result<(), ClientFault> {
        // A WebSocket has pings of its own.
        let every_ms = if matches!(self.carrier, Carrier::Tcp { .. }) { (limits.silence_max / 3).as_millis() } else { 0 };
        let connect = Frame::new(FrameCommand::Connect)
            .with("accept-version", VERSION.as_str())
            .with("host", target.host_and_port().0)
            .with("heart-beat", &format!("0,{every_ms}"));
        self.lay(&connect);
        self.flush().await?;
        let Some(answer) = self.receive().await? else { return Err(ClientFault::broken("closed before CONNECTED")) };
        match answer.command {
            FrameCommand::Connected if answer.get("version") == Some(VERSION.as_str()) => (),
            FrameCommand::Error => return Err(ClientFault::SentAway(goodbye(&answer)?)),
            _ => return Err(ClientFault::contract(format!("CONNECT was answered with {}", answer.command.as_str()))),
        }
        self.decoder.set_version(VERSION);
        let promised = answer.get("heart-beat").and_then(|told| told.split_once(',')).is_some_and(|(sends, _)| sends.trim() != "0");
        self.silence_max = (promised && every_ms > 0).then_some(limits.silence_max);
        Ok(())
    }

    /// Lays a frame that goes out with the next flush.
    pub(crate) fn lay(&mut self, frame: &Frame) {
        match &mut self.carrier {
            Carrier::Tcp { output, .. } => write_frame(VERSION, frame, output),
            Carrier::WebSocket(socket) => {
                let mut bytes = BytesMut::new();
                write_frame(VERSION, frame, &mut bytes);
                let opcode = if std::str::from_utf8(&bytes).is_ok() { Opcode::Text } else { Opcode::Binary };
                socket.lay(opcode, &bytes);
            }
        }
    }

    /// Sends what was laid. May be dropped while it waits: what is left goes out with the next.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientFault> {
        match &mut self.carrier {
            Carrier::Tcp { stream, output } => {
                while !output.is_empty() {
                    stream.write_buf(output).await.map_err(ClientFault::broken)?;
                }
                Ok(())
            }
            Carrier::WebSocket(socket) => socket.flush().await,
        }
    }

    /// The next frame, or nothing once the server has closed. May be dropped while it waits.
    pub async fn receive(&mut self) -> Result<Option<Frame>, ClientFault> {
        loop {
            self.flush().await?;
            let decoded = self.decoder.decode(&mut self.input);
            if let Some(frame) = decoded.map_err(|fault| ClientFault::contract(fault.to_string()))? {
                return Ok(Some(frame));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Says goodbye; what the server still sends is not waited for.
    pub async fn close(mut self) {
        self.lay(&Frame::new(FrameCommand::Disconnect));
        // The peer may be gone already, and that is what was wanted.
        let _best_effort = self.flush().await;
        match self.carrier {
            Carrier::Tcp { mut stream, .. } => _ = stream.shutdown().await,
            Carrier::WebSocket(socket) => socket.close().await,
        }
    }

    /// Reads more. `false` at the end.
    async fn read(&mut self) -> Result<bool, ClientFault> {
        match &mut self.carrier {
            Carrier::Tcp { stream, .. } => {
                self.input.reserve(READ_BYTES);
                let reading = stream.read_buf(&mut self.input);
                let read = match self.silence_max {
                    Some(waited) => {
                        let silent = |_| ClientFault::Silent { what: "a heart-beat", waited };
                        timeout(waited, reading).await.map_err(silent)?
                    }
                    None => reading.await,
                };
                read.map(|len| len > 0).map_err(ClientFault::broken)
            }
            Carrier::WebSocket(socket) => match socket.receive().await? {
                Some(Message::Text(data) | Message::Binary(data)) => {
                    self.input.extend_from_slice(&data);
                    Ok(true)
                }
                Some(Message::Ping(_) | Message::Pong(_)) => Ok(true),
                Some(Message::Close(_)) | None => Ok(false),
            },
        }
    }
}

/// The version that is spoken here.
const VERSION: Version = Version::V1_2;
/// How much room a read is given at least.
const READ_BYTES: usize = 16 << 10;
