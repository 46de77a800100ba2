//! The bare server: the least that this kernel lets a server do for one delivery. Every ratio is quoted against it.
//!
//! One thread, one event loop, no checks and no positions but a count for those who poll. A path is a channel (or, in a query, several: `channel=a&channel=b`);
//! what arrives in a WebSocket frame goes to all who are on the channel, the sender too. The frames of one loop turn are laid end
//! to end once and leave with one write for each subscriber.

mod connection;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use connection::{Connection, Phase, Request};

/// How the server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writing {
    /// All frames of a loop turn in one write.
    #[default]
    Batched,
    /// One write for each message, as most servers do.
    Unbatched,
}

/// What a subscriber's bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// WebSocket text frames.
    WebSocket,
    /// Server-sent events in chunked coding.
    Sse,
    /// A line for each message in chunked coding.
    Lines,
    /// A request for each answer, held back or not; the answer holds the lines of all that came since.
    LongPoll,
}

/// The server, bound and ready to run.
#[derive(Debug)]
pub struct Ceiling {
    poll: Poll,
    listener: TcpListener,
    writing: Writing,
    connections: Slab<Connection>,
    channels: Vec<Channel>,
    names: HashMap<String, usize>,
    marked: Vec<usize>,
    buffer: Vec<u8>,
}

/// Who is on a channel, and what has to leave in this turn, for each encoding.
#[derive(Debug, Default)]
struct Channel {
    marked: bool,
    lanes: [Lane; ENCODINGS.len()],
    /// Whether anyone ever polled, how many messages there were, and since then the last of them for who is between two polls.
    polled: bool,
    head: u64,
    recent: VecDeque<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Lane {
    subscribers: Vec<usize>,
    laid: Vec<u8>,
    ends: Vec<usize>,
}

impl Ceiling {
    /// Binds the address; port 0 picks a free one.
    pub fn bind(address: SocketAddr, writing: Writing) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(StdListener::from(socket));
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            writing,
            connections: Slab::new(),
            channels: Vec::new(),
            names: HashMap::new(),
            marked: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES],
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends or the event loop fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            self.turn(&mut events)?;
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accept(),
                Token(key) => self.serve(key, event.is_readable(), event.is_writable()),
            }
        }
        self.flush();
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let entry = self.connections.vacant_entry();
            let both = Interest::READABLE | Interest::WRITABLE;
            if stream.set_nodelay(true).is_ok() && self.poll.registry().register(&mut stream, Token(entry.key()), both).is_ok() {
                entry.insert(Connection::new(stream));
            }
        }
    }

    fn serve(&mut self, key: usize, readable: bool, writable: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let alive = (!writable || connection.drain()) && (!readable || self.read(key));
        if !alive {
            self.close(key);
        }
    }

    /// Reads until the socket is empty; false once the connection is over.
    fn read(&mut self, key: usize) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let alive = loop {
            let Some(connection) = self.connections.get_mut(key) else { break false };
            let held = connection.unfinished.len();
            buffer[..held].copy_from_slice(&connection.unfinished);
            connection.unfinished = Vec::new();
            let Some(read) = connection.read(&mut buffer[held..]) else { break false };
            let Some(used) = self.take(key, &mut buffer[..held + read]) else { break false };
            let Some(connection) = self.connections.get_mut(key) else { break false };
            connection.unfinished = buffer[used..held + read].to_vec();
            // An edge-triggered stream socket that filled less than it was offered is empty: epoll(7).
            if held + read < buffer.len() {
                break connection.unfinished.len() < buffer.len() / 2;
            }
        };
        self.buffer = buffer;
        alive
    }

    /// Takes what is whole; how many bytes that was, or nothing if the connection must end.
    fn take(&mut self, key: usize, bytes: &mut [u8]) -> Option<usize> {
        let mut used = 0;
        if self.connections.get(key)?.phase == Phase::Head {
            let Some((request, head)) = Request::parse(bytes) else { return (bytes.len() < HEAD_BYTES_MAX).then_some(0) };
            match request.encoding {
                Encoding::LongPoll => self.wait(key, &request),
                _ => self.join(key, &request),
            }
            used = head;
        }
        let connection = self.connections.get(key)?;
        let Phase::Open(Encoding::WebSocket) = connection.phase else { return Some(bytes.len()) };
        let channel = connection.channels.first().copied();
        while let Some(frame) = connection::unmask(&mut bytes[used..]) {
            let payload = &bytes[used..][frame.payload.clone()];
            match (frame.opcode, channel) {
                (1 | 2, Some(channel)) => self.lay(channel, payload),
                (8, _) => return None,
                _ => (),
            }
            used += frame.payload.end;
        }
        Some(used)
    }

    fn join(&mut self, key: usize, request: &Request) {
        let channels: Vec<u32> = request.channels.iter().map(|name| self.channel(name)).collect();
        for &channel in &channels {
            self.channels[channel as usize].lanes[request.encoding as usize].subscribers.push(key);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.channels = channels.into_boxed_slice();
        connection.phase = Phase::Open(request.encoding);
        connection.write(&request.answer);
    }

    /// Answers a poll with what came since its cursor, or, if it waits, holds it until something comes.
    fn wait(&mut self, key: usize, request: &Request) {
        let Some(name) = request.channels.first() else { return };
        let index = self.channel(name);
        let channel = &mut self.channels[index as usize];
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.channels = Box::new([index]);
        channel.polled = true;
        let missed = channel.head - request.after.unwrap_or(channel.head).min(channel.head);
        if missed == 0 && request.waits {
            connection.phase = Phase::Waiting;
            channel.lanes[Encoding::LongPoll as usize].subscribers.push(key);
            return;
        }
        let from = channel.recent.len().saturating_sub(missed as usize);
        let mut lines = Vec::new();
        channel.recent.range(from..).for_each(|payload| connection::lay(Encoding::LongPoll, payload, &mut lines));
        connection.write(&connection::page(channel.head, &lines));
    }

    fn channel(&mut self, name: &str) -> u32 {
        let next = self.channels.len();
        let channel = *self.names.entry(name.to_owned()).or_insert(next);
        if channel == next {
            self.channels.push(Channel::default());
        }
        channel as u32
    }

    fn lay(&mut self, channel: u32, payload: &[u8]) {
        let index = channel as usize;
        let channel = &mut self.channels[index];
        channel.head += 1;
        if channel.polled {
            channel.recent.push_back(payload.to_vec());
            channel.recent.drain(..channel.recent.len().saturating_sub(RECENT_MAX));
        }
        for (lane, encoding) in channel.lanes.iter_mut().zip(ENCODINGS) {
            if !lane.subscribers.is_empty() {
                connection::lay(encoding, payload, &mut lane.laid);
                lane.ends.push(lane.laid.len());
            }
        }
        if !std::mem::replace(&mut channel.marked, true) {
            self.marked.push(index);
        }
    }

    fn flush(&mut self) {
        for index in self.marked.drain(..) {
            let channel = &mut self.channels[index];
            channel.marked = false;
            let [streams @ .., polls] = &mut channel.lanes;
            for lane in streams {
                lane.flush(&mut self.connections, self.writing);
            }
            if !polls.laid.is_empty() {
                polls.answer(&mut self.connections, channel.head);
            }
        }
    }

    fn close(&mut self, key: usize) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        for &channel in &connection.channels {
            for lane in &mut self.channels[channel as usize].lanes {
                lane.subscribers.retain(|&other| other != key);
            }
        }
    }
}

impl Lane {
    fn flush(&mut self, connections: &mut Slab<Connection>, writing: Writing) {
        for &key in &self.subscribers {
            let Some(connection) = connections.get_mut(key) else { continue };
            match writing {
                Writing::Batched => connection.write(&self.laid),
                Writing::Unbatched => {
                    self.ends.iter().fold(0, |start, &end| {
                        connection.write(&self.laid[start..end]);
                        end
                    });
                }
            }
        }
        self.clear();
    }

    /// Answers all who wait; each asks again when it wants more.
    fn answer(&mut self, connections: &mut Slab<Connection>, head: u64) {
        let page = connection::page(head, &self.laid);
        for key in self.subscribers.drain(..) {
            let Some(connection) = connections.get_mut(key) else { continue };
            connection.phase = Phase::Head;
            connection.write(&page);
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.laid.clear();
        self.ends.clear();
    }
}

const ENCODINGS: [Encoding; 4] = [Encoding::WebSocket, Encoding::Sse, Encoding::Lines, Encoding::LongPoll];

const LISTENER: Token = Token(usize::MAX);
const LISTEN_BACKLOG: i32 = 4096;
const EVENTS_MAX: usize = 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const RECENT_MAX: usize = 1024;
