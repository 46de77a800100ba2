//! One connection of the driver: a subscriber, or a publisher that reads its own publications back.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::decode::{Decoder, PeerFault, Record};
use super::inflate::Inflated;
use super::wire;
use super::{Plan, Target, Transport};

/// A connection and what is known of its subscriptions.
#[derive(Debug)]
pub(super) struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    /// Sent as soon as the response's head is there.
    opening: Vec<u8>,
    /// Answers that are still to come before it counts as open; the head is one.
    awaited: usize,
    /// A poll's request line up to its cursor, and the rest.
    poll: Option<Box<(String, String)>>,
    /// The channel of each subscription and the number it expects next.
    pub(super) subscriptions: Box<[(u64, u64)]>,
    /// Bytes read from its socket so far.
    pub(super) bytes_read: u64,
    pub(super) closed: bool,
}

impl Peer {
    /// Connects subscriber number `index` of a plan.
    pub(super) fn subscriber(plan: &Plan, index: usize, registry: &Registry) -> io::Result<Self> {
        let channels = channels_of(plan, index);
        let target = &plan.target;
        let host = target.address.to_string();
        let path = wire::fill(&target.subscribe_path, &channels);
        let request = match target.transport {
            Transport::WebSocket => {
                wire::upgrade(&host, &path, target.subscribe_subprotocol.as_deref(), target.subscribe_extensions.as_deref())
            }
            Transport::Sse => wire::get(&host, &path, "text/event-stream"),
            Transport::Lines => wire::get(&host, &path, "application/x-ndjson"),
            Transport::LongPoll => wire::get(&host, &path, "*/*"),
        };
        let mut opening = Vec::new();
        for channel in channels.iter().take(target.subscribe_frame.iter().len() * channels.len()) {
            let frame = wire::fill(target.subscribe_frame.as_deref().unwrap_or_default(), &[*channel]);
            wire::lay_masked(1, frame.as_bytes(), &mut opening);
        }
        let answers = if opening.is_empty() { 0 } else { channels.len() };
        let mut peer = Self::connect(target, target.transport, request, index, registry)?;
        if target.transport == Transport::LongPoll {
            let joint = if path.contains('?') { '&' } else { '?' };
            peer.poll = Some(Box::new((format!("GET {path}{joint}after="), format!(" HTTP/1.1\r\nHost: {host}\r\n\r\n"))));
            peer.awaited = 0;
        }
        peer.opening = opening;
        peer.awaited += answers;
        peer.subscriptions = channels.iter().map(|&channel| (channel as u64, channel as u64)).collect();
        Ok(peer)
    }

    /// Connects the publisher of a channel.
    pub(super) fn publisher(plan: &Plan, channel: usize, token: usize, registry: &Registry) -> io::Result<Self> {
        let target = &plan.target;
        let path = wire::fill(&target.publish_path, &[channel]);
        let request = wire::upgrade(&target.address.to_string(), &path, target.publish_subprotocol.as_deref(), None);
        Self::connect(target, Transport::WebSocket, request, token, registry)
    }

    fn connect(target: &Target, transport: Transport, request: Vec<u8>, token: usize, registry: &Registry) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target.address)?;
        // Closing resets, so that thousands of closed connections do not hold their ports for a minute.
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
        registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            decoder: Decoder::new(transport),
            outgoing: request,
            opening: Vec::new(),
            awaited: 1,
            poll: None,
            subscriptions: Box::default(),
            bytes_read: 0,
            closed: false,
        })
    }

    /// Whether its request, and each of its subscriptions, was answered; a poll's only has to be sent.
    pub(super) fn is_open(&self) -> bool {
        self.awaited == 0 && (self.poll.is_none() || self.outgoing.is_empty())
    }

    /// Lays a publication to be sent with the next [`Peer::flush`].
    pub(super) fn lay(&mut self, frame: &str) {
        wire::lay_masked(1, frame.as_bytes(), &mut self.outgoing);
    }

    /// Sends what is laid, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// Reads until the socket is empty and calls for each data record, with the subscriptions at hand.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        inflated: &mut Inflated,
        mut each: impl FnMut(&mut [(u64, u64)], &[u8]),
    ) -> Result<(), PeerFault> {
        while !self.closed {
            let read = match self.stream.read(buffer) {
                Ok(0) => 0,
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(_) => 0,
            };
            self.closed |= read == 0;
            self.bytes_read += read as u64;
            self.take(&buffer[..read], inflated, &mut each)?;
            // An edge-triggered stream socket that filled less than it was offered is empty: epoll(7).
            if read < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], inflated: &mut Inflated, each: &mut impl FnMut(&mut [(u64, u64)], &[u8])) -> Result<(), PeerFault> {
        let Self { decoder, subscriptions, awaited, outgoing, opening, poll, closed, .. } = self;
        decoder.feed(bytes, &mut |record| match record {
            Record::Data(data) if *awaited == 0 => each(subscriptions, data),
            Record::Compressed(data) if *awaited == 0 => each(subscriptions, inflated.of(data)),
            Record::Data(_) | Record::Compressed(_) => *awaited -= 1,
            Record::Opened => {
                *awaited -= 1;
                outgoing.append(opening);
            }
            Record::Polled(cursor) => {
                let Some((before, behind)) = poll.as_deref() else { return };
                [before.as_str(), cursor, behind].iter().for_each(|part| outgoing.extend_from_slice(part.as_bytes()));
            }
            Record::Ping(payload) => wire::lay_masked(10, payload, outgoing),
            Record::Closed => *closed = true,
        })?;
        self.flush();
        Ok(())
    }
}

/// The channels of subscriber `index`: one after the other, around and around.
pub(super) fn channels_of(plan: &Plan, index: usize) -> Vec<usize> {
    let first = index * plan.subscriptions_per_connection;
    (first..first + plan.subscriptions_per_connection).map(|channel| channel % plan.channels).collect()
}
