//! One connection of any transport, and several of them as one where a single request cannot say where each channel starts.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::str::FromStr;
use std::task::Poll as Progress;
use std::time::Duration;

use bongsu_core::{ChannelName, Start};

use super::event::Event;
use super::fault::ClientFault;
use super::http::Limits;
use super::long_poll::LongPoll;
use super::multipart::Multipart;
use super::poll::Poll;
use super::sse::Sse;
use super::stomp::{Over, Stomp};
use super::stream::Stream;
use super::subject::Subject;
use super::target::{Scheme, Target};
use super::tcp::Tcp;
use super::udp::Udp;
use super::websocket::NativeWebSocket;

/// What carries a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A request at an interval.
    Poll,
    /// A request that is answered when there is something.
    LongPoll,
    /// An answer of JSON lines that goes on.
    Stream,
    /// An answer of parts that goes on, each with its own type.
    Multipart,
    /// An answer of server-sent events that goes on.
    Sse,
    /// A WebSocket with the native protocol.
    WebSocket,
    /// Datagrams with the native protocol.
    Udp,
    /// Lines of the native protocol over TCP.
    Tcp,
    /// STOMP over TCP.
    Stomp,
    /// STOMP over a WebSocket.
    StompWebSocket,
}

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Its waits and bounds.
    pub limits: Limits,
    /// The pause between two polls.
    pub interval: Duration,
    /// Whether over UDP only the newest of what is due is wanted, and what is lost is passed over.
    pub newest_only: bool,
}

/// A subscription to some channels over one transport, until that breaks.
#[derive(Debug)]
pub struct Connection {
    carrier: Carrier,
    /// Which channels have told their cursor: a second cursor says "caught up".
    started: Vec<ChannelName>,
}

#[derive(Debug)]
enum Carrier {
    One(Box<Single>),
    Many(Many),
}

#[derive(Debug)]
enum Single {
    Poll(Poll),
    LongPoll(LongPoll),
    Stream(Stream),
    Multipart(Box<Multipart>),
    Sse(Sse),
    WebSocket(NativeWebSocket),
    Udp(Box<Udp>),
    Tcp(Tcp),
    Stomp(Box<Stomp>),
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::WebSocket,
        Self::Sse,
        Self::Stream,
        Self::Multipart,
        Self::LongPoll,
        Self::Poll,
        Self::Tcp,
        Self::Udp,
        Self::Stomp,
        Self::StompWebSocket,
    ];

    /// Those that an address of HTTP is enough for.
    pub const HTTP: [Self; 6] = [Self::WebSocket, Self::Sse, Self::Stream, Self::Multipart, Self::LongPoll, Self::Poll];

    /// What `auto` tries, the most immediate first. Where NDJSON does not get through, multipart will not either; and what has an
    /// address of its own is not guessed at.
    pub const AUTO: [Self; 5] = [Self::WebSocket, Self::Sse, Self::Stream, Self::LongPoll, Self::Poll];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::LongPoll => "long-poll",
            Self::Stream => "stream",
            Self::Multipart => "multipart",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Stomp => "stomp",
            Self::StompWebSocket => "stomp+ws",
        }
    }

    /// What is spoken at the address that it needs.
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::Tcp => Scheme::Tcp,
            Self::Udp => Scheme::Udp,
            Self::Stomp => Scheme::Stomp,
            _ => Scheme::Http,
        }
    }
}

impl Connection {
    /// Opens the transport and asks for the channels, each from its start.
    pub async fn open(
        target: &Target,
        transport: Transport,
        starts: &[(ChannelName, Start)],
        options: Options,
    ) -> Result<Self, ClientFault> {
        let target = target.of(transport)?;
        let carrier = match Single::open_for_all(target, transport, starts, options).await? {
            Some(single) => Carrier::One(Box::new(single)),
            None => match Subject::of(target, starts) {
                Some(subject) => Carrier::One(Box::new(Single::open(target, transport, subject, options).await?)),
                None => Carrier::Many(Many::open(target, transport, starts, options).await?),
            },
        };
        Ok(Self { carrier, started: Vec::new() })
    }

    /// The next event, or nothing once the server ended it in good order. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        let event = match &mut self.carrier {
            Carrier::One(single) => single.next().await?,
            Carrier::Many(many) => many.next().await?,
        };
        Ok(event.map(|event| self.tell_apart(event)))
    }

    /// How long the server asked to stay away after this connection.
    pub fn retry(&self) -> Option<Duration> {
        match &self.carrier {
            Carrier::One(single) => match single.as_ref() {
                Single::Sse(sse) => sse.retry(),
                _ => None,
            },
            Carrier::Many(_) => None,
        }
    }

    /// Leaves in good order: a WebSocket with a close frame, STOMP with DISCONNECT, HTTP by hanging up.
    pub async fn close(self) {
        let Carrier::One(single) = self.carrier else { return };
        match *single {
            Single::WebSocket(websocket) => websocket.close().await,
            Single::Udp(udp) => udp.close().await,
            Single::Tcp(tcp) => tcp.close().await,
            Single::Stomp(stomp) => stomp.close().await,
            _ => (),
        }
    }

    fn tell_apart(&mut self, event: Event) -> Event {
        let Event::Started { channel, cursor } = event else { return event };
        if self.started.contains(&channel) {
            return Event::CaughtUp { channel, cursor };
        }
        self.started.push(channel.clone());
        Event::Started { channel, cursor }
    }
}

impl Single {
    /// Opens a transport whose protocol asks for channels by itself, each from its start. The others are asked by an address.
    async fn open_for_all(
        target: &Target,
        transport: Transport,
        starts: &[(ChannelName, Start)],
        Options { limits, newest_only, .. }: Options,
    ) -> Result<Option<Self>, ClientFault> {
        let single = match transport {
            Transport::WebSocket => Self::WebSocket(NativeWebSocket::open(target, starts, limits).await?),
            Transport::Tcp => Self::Tcp(Tcp::open(target, starts, limits).await?),
            Transport::Udp => Self::Udp(Box::new(Udp::open(target, starts, newest_only, limits).await?)),
            Transport::Stomp => Self::Stomp(Box::new(Stomp::open(target, Over::Tcp, starts, limits).await?)),
            Transport::StompWebSocket => Self::Stomp(Box::new(Stomp::open(target, Over::WebSocket, starts, limits).await?)),
            _ => return Ok(None),
        };
        Ok(Some(single))
    }

    async fn open(target: &Target, transport: Transport, subject: Subject, options: Options) -> Result<Self, ClientFault> {
        let Options { limits, interval, .. } = options;
        match transport {
            Transport::Poll => Ok(Self::Poll(Poll::new(target, subject, interval, limits))),
            Transport::LongPoll => Ok(Self::LongPoll(LongPoll::new(target, subject, limits))),
            Transport::Stream => Stream::open(target, subject, limits).await.map(Self::Stream),
            Transport::Multipart => Multipart::open(target, subject, limits).await.map(Box::new).map(Self::Multipart),
            Transport::Sse => Sse::open(target, subject, limits).await.map(Self::Sse),
            Transport::WebSocket | Transport::Tcp | Transport::Udp | Transport::Stomp | Transport::StompWebSocket => {
                Err(ClientFault::contract("this transport asks for its channels by itself"))
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        match self {
            Self::Poll(poll) => poll.next().await,
            Self::LongPoll(long_poll) => long_poll.next().await,
            Self::Stream(stream) => stream.next().await,
            Self::Multipart(multipart) => multipart.next().await,
            Self::Sse(sse) => sse.next().await,
            Self::WebSocket(websocket) => websocket.next().await,
            Self::Udp(udp) => udp.next().await,
            Self::Tcp(tcp) => tcp.next().await,
            Self::Stomp(stomp) => stomp.next().await,
        }
    }
}

/// Several connections, a channel each, merged as their events come. When one ends, all do.
struct Many {
    /// What each connection is waiting for, kept, so that one's event does not cancel another's request.
    steps: Vec<Step>,
    /// Where to look first, so that a busy channel does not starve the others.
    turn: usize,
}

type Step = Pin<Box<dyn Future<Output = (Single, Result<Option<Event>, ClientFault>)> + Send>>;

impl Many {
    async fn open(target: &Target, transport: Transport, starts: &[(ChannelName, Start)], options: Options) -> Result<Self, ClientFault> {
        let mut steps = Vec::with_capacity(starts.len());
        for (channel, start) in starts {
            let subject = Subject::one(target, channel, start);
            steps.push(step(Single::open(target, transport, subject, options).await?));
        }
        Ok(Self { steps, turn: 0 })
    }

    async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        poll_fn(|context| {
            for _ in 0..self.steps.len() {
                self.turn = (self.turn + 1) % self.steps.len();
                if let Progress::Ready((single, event)) = self.steps[self.turn].as_mut().poll(context) {
                    self.steps[self.turn] = step(single);
                    return Progress::Ready(event);
                }
            }
            Progress::Pending
        })
        .await
    }
}

fn step(mut single: Single) -> Step {
    Box::pin(async move {
        let event = single.next().await;
        (single, event)
    })
}

impl fmt::Debug for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Many({} connections)", self.steps.len())
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|transport| transport.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), interval: Duration::from_secs(1), newest_only: false }
    }
}
