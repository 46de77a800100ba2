//! WebSocket: the handshake over HTTP, messages by the project's own codec, and above them the native protocol.

use std::collections::VecDeque;
use std::time::Duration;

use bongsu_core::websocket::{self, CloseFrame, Decoder, Message, Opcode, Role, close, handshake};
use bongsu_core::{ChannelName, Start};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, Request, StatusCode, header};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::event::{Bye, Event};
use super::fault::ClientFault;
use super::http::{Http, Limits, header_text, set};
use super::native;
use super::record;
use super::target::{Target, add_start};

/// The subprotocol of native JSON frames.
pub const NATIVE: &str = "bongsu.v1.json";

/// An open WebSocket, with nothing above the messages.
#[derive(Debug)]
pub struct WebSocket {
    io: TokioIo<Upgraded>,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    silence_max: Duration,
    closing: bool,
}

impl WebSocket {
    /// Opens a channel's plain WebSocket, where every message is a payload, both ways.
    pub async fn open_plain(target: &Target, channel: &ChannelName, start: &Start, limits: Limits) -> Result<Self, ClientFault> {
        let mut path = target.channel_path(channel);
        add_start(&mut path, start);
        Self::open(target, &path, None, limits).await
    }

    /// Opens a WebSocket at a path, with a subprotocol that the server has to agree to.
    pub async fn open(target: &Target, path: &str, subprotocol: Option<&str>, limits: Limits) -> Result<Self, ClientFault> {
        let mut http = Http::new(target, limits);
        let key = handshake::client_key(rand::rng().random());
        let request = upgrade(http.get(path)?, &key, subprotocol);
        let response = http.send(request, Duration::ZERO).await?;
        check_handshake(&response, &key, subprotocol)?;
        let upgraded = hyper::upgrade::on(response).await.map_err(ClientFault::broken)?;
        let max = limits.record_bytes_max;
        let bounds = websocket::Limits { message_bytes_max: max, frame_bytes_max: max, fragments_max: 1 << 20 };
        Ok(Self {
            io: TokioIo::new(upgraded),
            decoder: Decoder::new(Role::Client, bounds),
            input: BytesMut::new(),
            output: BytesMut::new(),
            silence_max: limits.silence_max,
            closing: false,
        })
    }

    /// Lays a message and sends it.
    pub async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), ClientFault> {
        self.lay(opcode, payload);
        self.flush().await
    }

    /// Lays a message that goes out with the next flush.
    pub(crate) fn lay(&mut self, opcode: Opcode, payload: &[u8]) {
        websocket::write_masked_frame(&mut self.output, opcode, payload, rand::rng().random());
    }

    /// Sends what was laid. May be dropped while it waits: what is left goes out with the next.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientFault> {
        while !self.output.is_empty() {
            self.io.write_buf(&mut self.output).await.map_err(ClientFault::broken)?;
        }
        self.io.flush().await.map_err(ClientFault::broken)
    }

    /// The next message, pings answered; nothing once the connection has ended. May be dropped while it waits.
    pub async fn receive(&mut self) -> Result<Option<Message>, ClientFault> {
        loop {
            self.flush_if_open().await?;
            match self.decode().await? {
                Some(Message::Ping(payload)) => self.lay(Opcode::Pong, &payload),
                Some(Message::Close(frame)) => {
                    self.answer_close(frame.as_ref()).await;
                    return Ok(Some(Message::Close(frame)));
                }
                Some(message) => return Ok(Some(message)),
                None if self.closing => return Ok(None),
                None if !self.read().await? => {
                    return Err(ClientFault::broken("the WebSocket ended without a close frame"));
                }
                None => (),
            }
        }
    }

    /// Says goodbye; what the server still sends is not waited for.
    pub async fn close(mut self) {
        self.answer_close(None).await;
    }

    async fn decode(&mut self) -> Result<Option<Message>, ClientFault> {
        if self.closing {
            return Ok(None);
        }
        let decoded = self.decoder.decode(&mut self.input);
        if let Err(fault) = &decoded {
            // RFC 6455, 7.1.7: whoever fails the connection should say why.
            websocket_close(&mut self.output, fault.close_code(), &fault.to_string());
            self.closing = true;
            let _best_effort = self.flush().await;
        }
        decoded.map_err(|fault| ClientFault::contract(fault.to_string()))
    }

    async fn flush_if_open(&mut self) -> Result<(), ClientFault> {
        if self.closing { Ok(()) } else { self.flush().await }
    }

    async fn answer_close(&mut self, frame: Option<&CloseFrame>) {
        if !std::mem::replace(&mut self.closing, true) {
            let code = frame.map_or(close::NORMAL, |frame| frame.code);
            websocket_close(&mut self.output, code, "");
            // The peer may be gone already, and that is what was wanted.
            let _best_effort = self.flush().await;
            let _best_effort = self.io.shutdown().await;
        }
    }

    /// Reads more; after half of the longest silence it asks whether anybody is there. `false` at the end.
    async fn read(&mut self) -> Result<bool, ClientFault> {
        let half = self.silence_max / 2;
        let read = match timeout(half, self.io.read_buf(&mut self.input)).await {
            Ok(read) => read,
            Err(_) => {
                self.send(Opcode::Ping, b"").await?;
                let silent = |_| ClientFault::Silent { what: "a sign of life", waited: self.silence_max };
                timeout(half, self.io.read_buf(&mut self.input)).await.map_err(silent)?
            }
        };
        read.map(|len| len > 0).map_err(ClientFault::broken)
    }
}

/// A subscriber that speaks the native protocol over a WebSocket: any number of channels on one connection.
#[derive(Debug)]
pub struct NativeWebSocket {
    socket: WebSocket,
    said_goodbye: bool,
    ready: VecDeque<Event>,
}

impl NativeWebSocket {
    /// Opens the connection and asks for the channels.
    pub async fn open(target: &Target, starts: &[(ChannelName, Start)], limits: Limits) -> Result<Self, ClientFault> {
        let Some((first, _)) = starts.first() else { return Err(ClientFault::contract("no channel to subscribe to")) };
        // Any channel's address leads to the native protocol, and nothing is subscribed until asked.
        let mut socket = WebSocket::open(target, &target.channel_path(first), Some(NATIVE), limits).await?;
        for (id, (channel, start)) in (1..).zip(starts) {
            socket.lay(Opcode::Text, native::subscribe(channel, start, id).as_bytes());
        }
        socket.flush().await?;
        Ok(Self { socket, said_goodbye: false, ready: VecDeque::new() })
    }

    /// The next event, or nothing once the server has closed.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.socket.receive().await? {
                Some(Message::Text(text)) => self.read(&text)?,
                Some(Message::Binary(_)) => return Err(ClientFault::contract("a binary frame in the native protocol")),
                Some(Message::Ping(_) | Message::Pong(_)) => (),
                Some(Message::Close(_)) if self.said_goodbye => return Ok(None),
                Some(Message::Close(frame)) => return Ok(Some(Event::Bye(goodbye(frame)))),
                None => return Ok(None),
            }
        }
    }

    fn read(&mut self, text: &Bytes) -> Result<(), ClientFault> {
        for event in record::read(text, None)?.into_events()? {
            self.said_goodbye |= matches!(event, Event::Bye(_));
            self.ready.push_back(event);
        }
        Ok(())
    }
}

fn upgrade(mut request: Request<Full<Bytes>>, key: &str, subprotocol: Option<&str>) -> Request<Full<Bytes>> {
    set(&mut request, header::CONNECTION, "Upgrade");
    set(&mut request, header::UPGRADE, "websocket");
    set(&mut request, header::SEC_WEBSOCKET_VERSION, handshake::VERSION);
    set(&mut request, header::SEC_WEBSOCKET_KEY, key);
    if let Some(subprotocol) = subprotocol {
        set(&mut request, header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    request
}

fn check_handshake<B>(response: &http::Response<B>, key: &str, subprotocol: Option<&str>) -> Result<(), ClientFault> {
    let told = |name: HeaderName| header_text(response.headers(), name.as_str());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ClientFault::contract(format!("a WebSocket handshake answered with {}", response.status())));
    }
    // RFC 6455, 4.1: what a client must see before it takes the connection for a WebSocket.
    if told(header::SEC_WEBSOCKET_ACCEPT) != Some(handshake::accept_key(key).as_str()) {
        return Err(ClientFault::contract("a WebSocket handshake with the wrong Sec-WebSocket-Accept"));
    }
    if told(header::SEC_WEBSOCKET_PROTOCOL) != subprotocol {
        return Err(ClientFault::contract(format!("asked for the subprotocol {subprotocol:?} and did not get it")));
    }
    Ok(())
}

fn goodbye(frame: Option<CloseFrame>) -> Bye {
    let CloseFrame { code, reason } = frame.unwrap_or(CloseFrame { code: close::NO_CODE, reason: String::new() });
    // What the server holds against the client's own bytes would be the same the next time.
    let own_fault = [close::PROTOCOL_ERROR, close::UNSUPPORTED, close::INVALID_PAYLOAD, close::POLICY, close::TOO_BIG].contains(&code);
    Bye { code, reason, reconnect_ms: None, come_back: !own_fault }
}

fn websocket_close(out: &mut BytesMut, code: u16, reason: &str) {
    let mut payload = Vec::new();
    if close::may_be_sent(code) {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(close::cut_reason(reason).as_bytes());
    }
    websocket::write_masked_frame(out, Opcode::Close, &payload, rand::rng().random());
}
