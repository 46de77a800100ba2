//! Publishes, and retries in such a way that nothing is published twice.

use std::str::FromStr;
use std::time::Duration;

use bongsu_core::{ChannelName, Cursor, Draft};
use bytes::Bytes;
use http::header;
use rand::RngExt;
use rand::rngs::SmallRng;

use super::backoff::{Backoff, BackoffLimits};
use super::connection::{Options, Transport};
use super::fault::{ClientFault, Verdict};
use super::http::{Http, set};
use super::native;
use super::native_socket::NativeSocket;
use super::record::{self, Record};
use super::stomp::{Over, StompPublisher};
use super::target::{Scheme, Target};
use super::udp::UdpPublisher;

/// A publisher on a server. One request at a time, so what it publishes keeps its order.
#[derive(Debug)]
pub struct Publisher {
    target: Target,
    options: Options,
    way: Way,
    retries: u32,
    backoff: BackoffLimits,
    chance: SmallRng,
}

#[derive(Debug)]
enum Way {
    Http(Box<Http>),
    WebSocket(Option<NativeSocket>),
    Tcp(Option<NativeSocket>),
    Udp(Option<Box<UdpPublisher>>),
    Stomp(Transport, Box<StompPublisher>),
}

/// What a publisher may publish over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOver {
    /// A request for each publication or batch.
    Http,
    /// A WebSocket with the native protocol.
    WebSocket,
    /// Lines of the native protocol over TCP.
    Tcp,
    /// Datagrams with the native protocol.
    Udp,
    /// STOMP over TCP.
    Stomp,
    /// STOMP over a WebSocket.
    StompWebSocket,
}

impl PublishOver {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Http, Self::WebSocket, Self::Tcp, Self::Udp, Self::Stomp, Self::StompWebSocket];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => Transport::WebSocket.as_str(),
            Self::Tcp => Transport::Tcp.as_str(),
            Self::Udp => Transport::Udp.as_str(),
            Self::Stomp => Transport::Stomp.as_str(),
            Self::StompWebSocket => Transport::StompWebSocket.as_str(),
        }
    }

    /// What an address leaves no choice about; HTTP where it does.
    pub fn implied(target: &Target) -> Self {
        match target.implied() {
            Some(Transport::Tcp) => Self::Tcp,
            Some(Transport::Udp) => Self::Udp,
            Some(Transport::Stomp) => Self::Stomp,
            Some(Transport::StompWebSocket) => Self::StompWebSocket,
            _ => Self::Http,
        }
    }

    /// What is spoken at the address that it needs.
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::Http | Self::WebSocket | Self::StompWebSocket => Scheme::Http,
            Self::Tcp => Scheme::Tcp,
            Self::Udp => Scheme::Udp,
            Self::Stomp => Scheme::Stomp,
        }
    }
}

impl FromStr for PublishOver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|over| over.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// A publication on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The channel to publish in.
    pub channel: ChannelName,
    /// What to publish.
    pub draft: Draft,
    /// Under which the server knows a repetition; without one, the publisher makes one up if it may retry.
    pub idempotency_key: Option<String>,
}

/// What came of each publication of a batch, in order: its position, or why not.
pub type Results = Vec<Result<Cursor, ClientFault>>;

impl Publisher {
    /// A publisher over HTTP that tries once.
    pub fn new(target: Target, options: Options, chance: SmallRng) -> Self {
        let way = over_http(&target, options);
        Self { target, options, way, retries: 0, backoff: BackoffLimits::default(), chance }
    }

    /// Over a native WebSocket instead.
    pub fn over_websocket(self) -> Self {
        self.over(PublishOver::WebSocket)
    }

    /// Over something else instead.
    pub fn over(mut self, over: PublishOver) -> Self {
        self.way = match over {
            PublishOver::Http => over_http(&self.target, self.options),
            PublishOver::WebSocket => Way::WebSocket(None),
            PublishOver::Tcp => Way::Tcp(None),
            PublishOver::Udp => Way::Udp(None),
            PublishOver::Stomp => Way::Stomp(Transport::Stomp, Box::new(StompPublisher::new(Over::Tcp))),
            PublishOver::StompWebSocket => Way::Stomp(Transport::StompWebSocket, Box::new(StompPublisher::new(Over::WebSocket))),
        };
        self
    }

    /// Tries again so often, after waits within these limits, when the server cannot be reached or its answer is lost.
    pub fn with_retries(mut self, retries: u32, backoff: BackoffLimits) -> Self {
        self.retries = retries;
        self.backoff = backoff;
        self
    }

    /// Publishes one, and answers its position.
    pub async fn publish(&mut self, outgoing: &Outgoing) -> Result<Cursor, ClientFault> {
        let mut outgoing = outgoing.clone();
        self.give_key(&mut outgoing);
        let mut backoff = Backoff::new(self.backoff);
        loop {
            match self.publish_once(&outgoing).await {
                Ok(position) => return Ok(position),
                Err(fault) => self.wait_or_give_up(fault, &mut backoff).await?,
            }
        }
    }

    /// Publishes many with one request, in order. It is not atomic: each has its own result.
    pub async fn publish_all(&mut self, outgoing: &[Outgoing]) -> Result<Results, ClientFault> {
        let mut outgoing = outgoing.to_vec();
        outgoing.iter_mut().for_each(|outgoing| self.give_key(outgoing));
        let mut backoff = Backoff::new(self.backoff);
        loop {
            match self.publish_all_once(&outgoing).await {
                // Each has its key, so those that were published get their first position again.
                Ok(results) if backoff.failures() < self.retries && results.iter().any(is_held) => {
                    tokio::time::sleep(backoff.next_after(None, &mut self.chance)).await;
                }
                Ok(results) => return Ok(results),
                Err(fault) => self.wait_or_give_up(fault, &mut backoff).await?,
            }
        }
    }

    /// A lost answer leaves open whether it was published; under a key, asking again does not publish again.
    fn give_key(&mut self, outgoing: &mut Outgoing) {
        if self.retries > 0 && outgoing.idempotency_key.is_none() {
            outgoing.idempotency_key = Some(format!("{:032x}", self.chance.random::<u128>()));
        }
    }

    async fn wait_or_give_up(&mut self, fault: ClientFault, backoff: &mut Backoff) -> Result<(), ClientFault> {
        if backoff.failures() >= self.retries || !may_pass(&fault) {
            return Err(fault);
        }
        tokio::time::sleep(backoff.next_after(fault.retry_after(), &mut self.chance)).await;
        Ok(())
    }

    async fn publish_once(&mut self, outgoing: &Outgoing) -> Result<Cursor, ClientFault> {
        // A POST to the channel has no room for a key and headers; a line has.
        let is_plain = outgoing.draft.key.is_none() && outgoing.draft.headers.is_empty();
        if let Way::Http(http) = &mut self.way
            && is_plain
        {
            return post(http, self.target.of(Transport::Poll)?, outgoing).await;
        }
        let mut results = self.publish_all_once(std::slice::from_ref(outgoing)).await?;
        results.pop().unwrap_or_else(|| Err(ClientFault::contract("no result")))
    }

    async fn publish_all_once(&mut self, outgoing: &[Outgoing]) -> Result<Results, ClientFault> {
        let (target, limits) = (&self.target, self.options.limits);
        match &mut self.way {
            Way::Http(http) => post_lines(http, target.of(Transport::Poll)?, outgoing).await,
            Way::WebSocket(kept) => {
                let socket = match kept.take() {
                    Some(socket) => socket,
                    None => NativeSocket::open_websocket(target.of(Transport::WebSocket)?, outgoing, limits).await?,
                };
                publish_on(socket, kept, outgoing).await
            }
            Way::Tcp(kept) => {
                let socket = match kept.take() {
                    Some(socket) => socket,
                    None => NativeSocket::open_tcp(target.of(Transport::Tcp)?, limits).await?,
                };
                publish_on(socket, kept, outgoing).await
            }
            Way::Udp(kept) => {
                let mut udp = match kept.take() {
                    Some(udp) => udp,
                    None => Box::new(UdpPublisher::open(target.of(Transport::Udp)?, limits.answer_max).await?),
                };
                let results = udp.publish_all(outgoing, &mut self.chance).await?;
                *kept = Some(udp);
                Ok(results)
            }
            Way::Stomp(transport, publisher) => publisher.publish(target.of(*transport)?, outgoing, limits).await,
        }
    }
}

fn over_http(target: &Target, options: Options) -> Way {
    // Where there is no address of HTTP, that is said once something is published.
    let target = target.of(Transport::Poll).unwrap_or(target);
    Way::Http(Box::new(Http::new(target, options.limits)))
}

/// Publishes on a connection, which is kept unless it broke.
async fn publish_on(mut socket: NativeSocket, kept: &mut Option<NativeSocket>, outgoing: &[Outgoing]) -> Result<Results, ClientFault> {
    let results = socket.publish(outgoing).await?;
    *kept = Some(socket);
    Ok(results)
}

/// Whether trying again may help: the server was not reached, its answer was lost, or it asked for time.
fn may_pass(fault: &ClientFault) -> bool {
    match fault {
        ClientFault::Refused(problem) => fault.verdict() == Verdict::Outage || problem.is_gateway_trouble(),
        ClientFault::Connect { .. } | ClientFault::Broken(_) | ClientFault::Silent { .. } => true,
        ClientFault::Told { code, .. } => code == HELD,
        _ => false,
    }
}

/// Whether a publication was refused since it waited too long for subscribers that are behind.
fn is_held(result: &Result<Cursor, ClientFault>) -> bool {
    matches!(result, Err(ClientFault::Told { code, .. }) if code == HELD)
}

/// What a publisher is told whose channel waits for its subscribers.
const HELD: &str = "channel-held";

async fn post(http: &mut Http, target: &Target, outgoing: &Outgoing) -> Result<Cursor, ClientFault> {
    let mut request = http.post(&target.channel_path(&outgoing.channel), outgoing.draft.data.clone())?;
    set(&mut request, header::CONTENT_TYPE, outgoing.draft.content_type.as_str());
    if let Some(key) = &outgoing.idempotency_key {
        set(&mut request, header::HeaderName::from_static("idempotency-key"), key);
    }
    let answer = http.ask(request, Duration::ZERO).await?;
    read_result(&answer.body, None)
}

async fn post_lines(http: &mut Http, target: &Target, outgoing: &[Outgoing]) -> Result<Results, ClientFault> {
    let mut body = String::new();
    for line in lines(outgoing) {
        body.push_str(&line);
        body.push('\n');
    }
    let mut request = http.post(&target.publish_path(), Bytes::from(body))?;
    set(&mut request, header::CONTENT_TYPE, "application/x-ndjson");
    let answer = http.ask(request, Duration::ZERO).await?;
    let results: Results = answer
        .body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .zip(1..)
        .map(|(line, id)| read_result(line, Some(id)))
        .collect();
    if results.len() != outgoing.len() {
        return Err(ClientFault::Contract(format!("{} results for {} publications", results.len(), outgoing.len())));
    }
    Ok(results)
}

/// A line for each publication, under ids that count from 1.
pub(crate) fn lines(outgoing: &[Outgoing]) -> impl Iterator<Item = String> {
    (1..).zip(outgoing).map(|(id, outgoing)| native::publish(&outgoing.channel, &outgoing.draft, outgoing.idempotency_key.as_deref(), id))
}

pub(crate) fn read_result(line: &[u8], expected: Option<u64>) -> Result<Cursor, ClientFault> {
    match record::read(line, None)? {
        Record::Done { id, .. } | Record::Error { id, .. } if id.is_some() && expected.is_some() && id != expected => {
            Err(ClientFault::Contract(format!("the answer to {id:?} where that to {expected:?} was due")))
        }
        Record::Done { position: Some(position), .. } => Ok(position),
        Record::Error { code, message, .. } => Err(ClientFault::Told { code, message }),
        _ => Err(record::unreadable(line, "no position")),
    }
}
