//! Publishing over STOMP: a SEND each, under a receipt that tells its position.

use bongsu_core::Cursor;
use bongsu_core::stomp::{Frame, FrameCommand};

use super::socket::{Over, StompSocket};
use super::{destination, goodbye};
use crate::client::fault::ClientFault;
use crate::client::http::Limits;
use crate::client::native_socket::WINDOW;
use crate::client::publisher::{Outgoing, Results};
use crate::client::target::Target;

/// A connection that publishes.
#[derive(Debug)]
pub(crate) struct StompPublisher {
    over: Over,
    socket: Option<StompSocket>,
}

impl StompPublisher {
    pub(crate) fn new(over: Over) -> Self {
        Self { over, socket: None }
    }

    /// Publishes in order: the result of each. An ERROR refuses one and ends the connection; the rest goes on over another.
    pub(crate) async fn publish(&mut self, target: &Target, outgoing: &[Outgoing], limits: Limits) -> Result<Results, ClientFault> {
        let mut results = Results::with_capacity(outgoing.len());
        while results.len() < outgoing.len() {
            let mut socket = match self.socket.take() {
                Some(socket) => socket,
                None => StompSocket::open(target, self.over, limits).await?,
            };
            let rest = &outgoing[results.len()..];
            let refused = publish_window(&mut socket, &rest[..rest.len().min(WINDOW)], &mut results).await?;
            if !refused {
                self.socket = Some(socket);
            }
        }
        Ok(results)
    }
}

/// Publishes some, at once; whether one was refused, after which the server has ended the connection.
async fn publish_window(socket: &mut StompSocket, window: &[Outgoing], results: &mut Results) -> Result<bool, ClientFault> {
    let mut receipts = Vec::with_capacity(window.len());
    for (number, outgoing) in window.iter().enumerate() {
        // What cannot be said is not sent, and neither is what follows it: order is kept.
        let Some(frame) = send(outgoing, number) else { break };
        socket.lay(&frame);
        receipts.push(number.to_string());
    }
    if receipts.is_empty() {
        results.push(Err(ClientFault::Unsayable { what: "a header of a name that STOMP uses itself" }));
        return Ok(false);
    }
    socket.flush().await?;
    for receipt in receipts {
        let Some(answer) = socket.receive().await? else { return Err(ClientFault::broken("closed before the answer")) };
        let is_ours = answer.get("receipt-id") == Some(&receipt);
        match answer.command {
            FrameCommand::Receipt if is_ours => results.push(position(&answer)),
            FrameCommand::Error => {
                let fault = match goodbye(&answer) {
                    Ok(bye) => return Err(ClientFault::broken(bye)),
                    Err(fault) => fault,
                };
                results.push(Err(fault));
                return Ok(true);
            }
            other => return Err(ClientFault::Contract(format!("{} where the receipt {receipt} was due", other.as_str()))),
        }
    }
    Ok(false)
}

fn position(receipt: &Frame) -> Result<Cursor, ClientFault> {
    let position = receipt.get("position").ok_or_else(|| ClientFault::contract("the receipt of a SEND without a position"))?;
    Ok(Cursor::parse(position)?)
}

fn send(Outgoing { channel, draft, idempotency_key }: &Outgoing, number: usize) -> Option<Frame> {
    let mut frame = Frame::new(FrameCommand::Send)
        .with("destination", &destination(channel))
        .with("receipt", &number.to_string())
        .with("content-type", draft.content_type.as_str())
        .with("content-length", &draft.data.len().to_string());
    if let Some(key) = &draft.key {
        frame = frame.with("key", key);
    }
    if let Some(key) = idempotency_key {
        frame = frame.with("idempotency-key", key);
    }
    for (name, value) in draft.headers.iter() {
        if RESERVED.contains(&name.as_ref()) {
            return None;
        }
        frame = frame.with(name, value);
    }
    frame.body = draft.data.clone();
    Some(frame)
}

/// Headers of SEND that say something by themselves.
const RESERVED: [&str; 7] = ["destination", "content-type", "content-length", "receipt", "transaction", "key", "idempotency-key"];
