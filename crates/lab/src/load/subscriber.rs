//! One connection of the driver: a subscriber, or a publisher that reads its own publications back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::decode::{Decoder, PeerFault, Record};
use super::dial::dial;
use super::inflate::Inflated;
use super::opening::{Next, Opening, post};
use super::plan::{Over, Plan, Target};
use super::socket::Socket;
use super::transport::{Framing, Transport};
use super::wire;

/// A connection and what is known of its subscriptions.
#[derive(Debug)]
pub(super) struct Peer {
    stream: Socket,
    decoder: Decoder,
    outgoing: Vec<u8>,
    /// Sent as soon as the response's head is there.
    opening: Vec<u8>,
    /// Answers that are still to come before it counts as open.
    awaited: usize,
    connected: bool,
    asks: Asks,
    /// The lane of each subscription and the number it expects next.
    pub(super) subscriptions: Box<[(u64, u64)]>,
    /// When a subscriber that polls asks again, since the driver began.
    pub(super) poll_due: Duration,
    /// Bytes read from its socket so far, and written to it.
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    /// How often it read and found something.
    pub(super) reads: u64,
    pub(super) closed: bool,
}

/// Whether a connection asks again once it was answered.
#[derive(Debug)]
enum Asks {
    /// It is told without asking.
    Never,
    /// At once.
    Again(Box<Next>),
    /// When the driver says so; until then the request lies ready.
    Later { next: Box<Next>, ready: Vec<u8> },
    /// It is told without asking, and what it says itself has no frames around it.
    Raw,
    /// With the next publication that waits.
    Posts { waiting: VecDeque<Vec<u8>>, busy: bool },
}

/// What a connection has in common with all of its plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    ready: Option<&'a str>,
    answers: &'a [(String, String)],
}

impl<'a> Words<'a> {
    /// Of a plan's subscribers.
    pub(super) fn of_subscribers(target: &'a Target) -> Self {
        Self { ready: target.subscribe_ready.as_deref(), answers: &target.answers }
    }

    /// Of its publishers.
    pub(super) fn of_publishers(target: &'a Target) -> Self {
        Self { ready: target.publish_ready.as_deref(), answers: &target.answers }
    }
}

impl Peer {
    /// Connects subscriber number `index` of a plan.
    pub(super) fn subscriber(plan: &Plan, index: usize, registry: &Registry) -> io::Result<Self> {
        let channels = channels_of(plan, index);
        let target = &plan.target;
        let next = Next::new(target, &channels);
        let decoder = Decoder::new(target.transport.way().framing, &next.names);
        // What the kernel would hold for a slow one would hide for minutes that it is slow.
        let receive_bytes = (index < plan.slow_subscribers).then_some(SLOW_RECEIVE_BYTES);
        let stream = dial(target.address, index, receive_bytes)?;
        let mut peer = Self::connect(target, stream, Opening::of_subscriber(plan, &channels), decoder, index, registry)?;
        peer.asks = match target.transport {
            Transport::LongPoll => Asks::Again(Box::new(next)),
            Transport::Poll => Asks::Later { next: Box::new(next), ready: Vec::new() },
            _ => Asks::Never,
        };
        if target.open_once_sent {
            peer.awaited = 0;
        }
        let lanes = |channel: usize| (channel..plan.lanes()).step_by(plan.channels);
        peer.subscriptions = channels.into_iter().flat_map(lanes).map(|lane| (lane as u64, lane as u64)).collect();
        Ok(peer)
    }

    /// Connects a publisher; where it is a WebSocket of one channel, of this one.
    pub(super) fn publisher(plan: &Plan, channel: usize, token: usize, registry: &Registry) -> io::Result<Self> {
        let target = &plan.target;
        let stream = dial(target.address, token, None)?;
        match target.publish_over {
            Over::WebSocket => {
                Self::connect(target, stream, Opening::of_publisher(target, channel), Decoder::new(Framing::Frames, &[]), token, registry)
            }
            Over::Raw => {
                let decoder = Decoder::new(target.transport.way().framing, &[]);
                let mut peer = Self::connect(target, stream, Opening::of_raw_publisher(target), decoder, token, registry)?;
                peer.asks = Asks::Raw;
                Ok(peer)
            }
            Over::Http => {
                let mut peer = Self::connect(target, stream, Opening::default(), Decoder::new(Framing::Pages, &[]), token, registry)?;
                peer.asks = Asks::Posts { waiting: VecDeque::new(), busy: false };
                Ok(peer)
            }
        }
    }

    fn connect(
        target: &Target,
        mut stream: TcpStream,
        opening: Opening,
        decoder: Decoder,
        token: usize,
        registry: &Registry,
    ) -> io::Result<Self> {
        let socket = socket2::SockRef::from(&stream);
        // Closing resets, so that thousands of closed connections do not hold their ports for a minute.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_tcp_nodelay(true)?;
        registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream: Socket::new(stream, target.tls_ca.as_deref())?,
            decoder,
            outgoing: opening.request,
            opening: opening.then,
            awaited: opening.awaited,
            connected: false,
            asks: Asks::Never,
            subscriptions: Box::default(),
            poll_due: Duration::ZERO,
            bytes_read: 0,
            bytes_written: 0,
            reads: 0,
            closed: false,
        })
    }

    /// Whether its request, and each of its subscriptions, was answered.
    pub(super) fn is_open(&self) -> bool {
        self.awaited == 0 && self.connected && (self.bytes_written > 0 || matches!(self.asks, Asks::Posts { .. }))
    }

    /// Its socket takes bytes: at first, because it is connected.
    pub(super) fn writable(&mut self) {
        self.connected = true;
        self.flush();
    }

    /// Lays a publication to be sent with the next [`Peer::flush`].
    pub(super) fn lay(&mut self, target: &Target, channel: usize, payload: &str) {
        let text = match target.publish_frame.as_str() {
            "{payload}" => payload,
            frame => &wire::fill_payload(frame, channel, payload),
        };
        match &mut self.asks {
            Asks::Posts { waiting, busy: true } => waiting.push_back(post(target, channel, text)),
            Asks::Posts { busy, .. } => {
                *busy = true;
                self.outgoing.extend_from_slice(&post(target, channel, text));
            }
            Asks::Raw => self.outgoing.extend_from_slice(text.as_bytes()),
            _ => wire::lay_masked(1, text.as_bytes(), &mut self.outgoing),
        }
    }

    /// Whether it was answered and has a request to send when its time has come.
    pub(super) fn is_to_poll(&self) -> bool {
        matches!(&self.asks, Asks::Later { ready, .. } if !ready.is_empty())
    }

    /// Sends the request that lies ready.
    pub(super) fn poll(&mut self) {
        if let Asks::Later { ready, .. } = &mut self.asks {
            self.outgoing.append(ready);
            self.flush();
        }
    }

    /// Sends what is laid, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[sent..]) {
                Ok(written) => sent += written,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        // What is encrypted already may have waited for room.
        self.closed |= self.stream.flush().is_err();
        self.bytes_written += sent as u64;
        self.outgoing.drain(..sent);
    }

    /// Reads until the socket is empty and calls for each data record, with the subscriptions at hand.
    pub(super) fn read(
        &mut self,
        words: Words<'_>,
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
            self.reads += u64::from(read > 0);
            self.take(words, &buffer[..read], inflated, &mut each)?;
            // An edge-triggered stream socket that filled less than it was offered is empty: epoll(7).
            if read < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        words: Words<'_>,
        bytes: &[u8],
        inflated: &mut Inflated,
        each: &mut impl FnMut(&mut [(u64, u64)], &[u8]),
    ) -> Result<(), PeerFault> {
        let Self { decoder, subscriptions, awaited, outgoing, opening, asks, closed, .. } = self;
        decoder.feed(bytes, &mut |record| match record {
            Record::Data(_) | Record::Compressed(_) => {
                let data = match record {
                    Record::Compressed(data) => inflated.of(data),
                    Record::Data(data) => data,
                    _ => return,
                };
                if let Some((_, answer)) = words.answers.iter().find(|(said, _)| said.as_bytes() == data) {
                    wire::lay_masked(1, answer.as_bytes(), outgoing);
                } else if *awaited > 0 && words.ready.is_none_or(|ready| memmem::find(data, ready.as_bytes()).is_some()) {
                    *awaited -= 1;
                } else {
                    each(subscriptions, data);
                }
            }
            Record::Opened => {
                *awaited = awaited.saturating_sub(1);
                outgoing.append(opening);
            }
            Record::Answered { kept, more } => {
                *awaited = awaited.saturating_sub(1);
                match asks {
                    Asks::Again(next) => next.lay(kept, outgoing),
                    Asks::Later { next, .. } if more => next.lay(kept, outgoing),
                    Asks::Later { next, ready } => next.lay(kept, ready),
                    Asks::Posts { waiting, busy } => match waiting.pop_front() {
                        Some(request) => outgoing.extend_from_slice(&request),
                        None => *busy = false,
                    },
                    Asks::Never | Asks::Raw => (),
                }
            }
            Record::Ping(payload) => wire::lay_masked(10, payload, outgoing),
            Record::Closed => *closed = true,
        })?;
        self.flush();
        Ok(())
    }
}

const SLOW_RECEIVE_BYTES: usize = 16 * 1024;

/// The channels of subscriber `index`.
pub(super) fn channels_of(plan: &Plan, index: usize) -> Vec<usize> {
    spread(plan.channels, plan.subscriptions_per_connection, index)
}

/// So many of the channels, far from each other: publications that follow each other go to different connections.
fn spread(channels: usize, count: usize, index: usize) -> Vec<usize> {
    let step = channels / count;
    (0..count).map(|nth| (index + nth * step) % channels).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn followed(subscribers: usize, channels: usize, each: usize) -> Vec<Vec<usize>> {
        (0..subscribers).map(|index| spread(channels, each, index)).collect()
    }

    #[test]
    fn every_channel_has_equally_many_subscribers_and_none_twice() {
        for (subscribers, channels, each) in [(1000, 1, 1), (1000, 1000, 1), (100, 100, 10), (100, 1000, 10), (7, 7, 7)] {
            let all = followed(subscribers, channels, each);
            assert!(all.iter().all(|of_one| of_one.iter().collect::<HashSet<_>>().len() == each));
            for channel in 0..channels {
                let there = all.iter().filter(|of_one| of_one.contains(&channel)).count();
                assert_eq!(there, subscribers * each / channels, "{subscribers} on {channels}, {each} each: channel {channel}");
            }
        }
    }

    #[test]
    fn ten_publications_to_a_hundred_channels_reach_a_hundred_connections_once_each() {
        let all = followed(100, 100, 10);
        for first in 0..100 {
            let published: HashSet<_> = (first..first + 10).map(|number| number % 100).collect();
            assert!(all.iter().all(|of_one| of_one.iter().filter(|channel| published.contains(channel)).count() == 1), "from {first}");
        }
    }
}
