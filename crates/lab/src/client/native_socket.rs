//! A connection that speaks the native protocol, whatever carries its objects; and publishing over it.

use bongsu_core::Cursor;
use bongsu_core::websocket::{Message, Opcode};
use bytes::Bytes;

use super::fault::ClientFault;
use super::http::Limits;
use super::publisher::{Outgoing, Results, lines, read_result};
use super::record::{self, Record};
use super::target::Target;
use super::tcp::LineSocket;
use super::websocket::{NATIVE, WebSocket};

/// What carries the objects.
#[derive(Debug)]
pub(crate) enum NativeSocket {
    /// A text message each.
    WebSocket(Box<WebSocket>),
    /// A line each.
    Tcp(Box<LineSocket>),
}

impl NativeSocket {
    pub(crate) async fn open_websocket(target: &Target, outgoing: &[Outgoing], limits: Limits) -> Result<Self, ClientFault> {
        let Some(first) = outgoing.first() else { return Err(ClientFault::contract("nothing to publish")) };
        let socket = WebSocket::open(target, &target.channel_path(&first.channel), Some(NATIVE), limits).await?;
        Ok(Self::WebSocket(Box::new(socket)))
    }

    pub(crate) async fn open_tcp(target: &Target, limits: Limits) -> Result<Self, ClientFault> {
        LineSocket::open(target, limits).await.map(Box::new).map(Self::Tcp)
    }

    /// Publishes in order: the result of each.
    pub(crate) async fn publish(&mut self, outgoing: &[Outgoing]) -> Result<Results, ClientFault> {
        let mut results = Vec::with_capacity(outgoing.len());
        // Neither side may wait for the other with full hands, so at most this many answers are outstanding.
        for window in outgoing.chunks(WINDOW) {
            lines(window).for_each(|line| self.lay(&line));
            self.flush().await?;
            for (id, _) in (1..).zip(window) {
                results.push(self.next_result(id).await?);
            }
        }
        Ok(results)
    }

    fn lay(&mut self, text: &str) {
        match self {
            Self::WebSocket(socket) => socket.lay(Opcode::Text, text.as_bytes()),
            Self::Tcp(socket) => socket.lay(text),
        }
    }

    async fn flush(&mut self) -> Result<(), ClientFault> {
        match self {
            Self::WebSocket(socket) => socket.flush().await,
            Self::Tcp(socket) => socket.flush().await,
        }
    }

    async fn receive(&mut self) -> Result<Bytes, ClientFault> {
        let closed = || ClientFault::broken("closed before the answer");
        let Self::WebSocket(socket) = self else {
            let Self::Tcp(socket) = self else { return Err(closed()) };
            return socket.receive().await?.ok_or_else(closed);
        };
        loop {
            match socket.receive().await? {
                Some(Message::Text(text)) => return Ok(text),
                Some(Message::Close(Some(frame))) => return Err(ClientFault::broken(format!("{} ({})", frame.reason, frame.code))),
                Some(Message::Close(None)) | None => return Err(closed()),
                Some(_) => (),
            }
        }
    }

    async fn next_result(&mut self, id: u64) -> Result<Result<Cursor, ClientFault>, ClientFault> {
        loop {
            let text = self.receive().await?;
            match record::read(&text, None)? {
                Record::Event(_) | Record::Cursors(_) => (),
                Record::Done { .. } | Record::Error { .. } => return Ok(read_result(&text, Some(id))),
            }
        }
    }
}

/// How many publications are on their way before their answers are read.
pub(crate) const WINDOW: usize = 64;
