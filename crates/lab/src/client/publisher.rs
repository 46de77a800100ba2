//! Publishes, and retries in such a way that nothing is published twice.

use std::time::Duration;

use bongsu_core::websocket::{Message, Opcode};
use bongsu_core::{ChannelName, Cursor, Draft};
use bytes::Bytes;
use http::header;
use rand::RngExt;
use rand::rngs::SmallRng;

use super::backoff::{Backoff, BackoffLimits};
use super::connection::Options;
use super::fault::{ClientFault, Verdict};
use super::http::{Http, set};
use super::native;
use super::record::{self, Record};
use super::target::Target;
use super::udp::UdpPublisher;
use super::websocket::{NATIVE, WebSocket};

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
    WebSocket(Option<Box<WebSocket>>),
    Udp(Option<Box<UdpPublisher>>),
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
        let way = Way::Http(Box::new(Http::new(&target, options.limits)));
        Self { target, options, way, retries: 0, backoff: BackoffLimits::default(), chance }
    }

    /// Over a native WebSocket instead.
    pub fn over_websocket(mut self) -> Self {
        self.way = Way::WebSocket(None);
        self
    }

    /// Over UDP instead. It says a datagram again until it is answered, whether it may retry or not.
    pub fn over_udp(mut self) -> Self {
        self.way = Way::Udp(None);
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
            return post(http, &self.target, outgoing).await;
        }
        let mut results = self.publish_all_once(std::slice::from_ref(outgoing)).await?;
        results.pop().unwrap_or_else(|| Err(ClientFault::contract("no result")))
    }

    async fn publish_all_once(&mut self, outgoing: &[Outgoing]) -> Result<Results, ClientFault> {
        match &mut self.way {
            Way::Http(http) => post_lines(http, &self.target, outgoing).await,
            Way::WebSocket(kept) => {
                let mut socket = match kept.take() {
                    Some(socket) => socket,
                    None => Box::new(open_socket(&self.target, outgoing, self.options).await?),
                };
                let results = send_frames(&mut socket, outgoing).await?;
                *kept = Some(socket);
                Ok(results)
            }
            Way::Udp(kept) => {
                let mut udp = match kept.take() {
                    Some(udp) => udp,
                    None => Box::new(UdpPublisher::open(&self.target, self.options.limits.answer_max).await?),
                };
                let results = udp.publish_all(outgoing, &mut self.chance).await?;
                *kept = Some(udp);
                Ok(results)
            }
        }
    }
}

/// Whether trying again may help: the server was not reached, its answer was lost, or it asked for time.
fn may_pass(fault: &ClientFault) -> bool {
    match fault {
        ClientFault::Refused(problem) => fault.verdict() == Verdict::Outage || problem.is_gateway_trouble(),
        ClientFault::Connect { .. } | ClientFault::Broken(_) | ClientFault::Silent { .. } => true,
        _ => false,
    }
}

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

async fn open_socket(target: &Target, outgoing: &[Outgoing], options: Options) -> Result<WebSocket, ClientFault> {
    let Some(first) = outgoing.first() else { return Err(ClientFault::contract("nothing to publish")) };
    WebSocket::open(target, &target.channel_path(&first.channel), Some(NATIVE), options.limits).await
}

async fn send_frames(socket: &mut WebSocket, outgoing: &[Outgoing]) -> Result<Results, ClientFault> {
    let mut results = Vec::with_capacity(outgoing.len());
    // Neither side may wait for the other with full hands, so at most this many answers are outstanding.
    for window in outgoing.chunks(WINDOW) {
        for line in lines(window) {
            socket.lay(Opcode::Text, line.as_bytes());
        }
        socket.flush().await?;
        for (id, _) in (1..).zip(window) {
            results.push(next_result(socket, id).await?);
        }
    }
    Ok(results)
}

/// How many publications are on their way before their answers are read.
const WINDOW: usize = 64;

async fn next_result(socket: &mut WebSocket, id: u64) -> Result<Result<Cursor, ClientFault>, ClientFault> {
    loop {
        match socket.receive().await? {
            Some(Message::Text(text)) => match record::read(&text, None)? {
                Record::Event(_) | Record::Cursors(_) => (),
                Record::Done { .. } | Record::Error { .. } => return Ok(read_result(&text, Some(id))),
            },
            Some(Message::Close(frame)) => {
                return Err(ClientFault::broken(frame.map_or_else(String::new, |frame| format!("{} ({})", frame.reason, frame.code))));
            }
            Some(_) => (),
            None => return Err(ClientFault::broken("closed before the answer")),
        }
    }
}

/// A line for each publication, under ids that count from 1.
fn lines(outgoing: &[Outgoing]) -> impl Iterator<Item = String> {
    (1..).zip(outgoing).map(|(id, outgoing)| native::publish(&outgoing.channel, &outgoing.draft, outgoing.idempotency_key.as_deref(), id))
}

fn read_result(line: &[u8], expected: Option<u64>) -> Result<Cursor, ClientFault> {
    match record::read(line, None)? {
        Record::Done { id, .. } | Record::Error { id, .. } if id.is_some() && expected.is_some() && id != expected => {
            Err(ClientFault::Contract(format!("the answer to {id:?} where that to {expected:?} was due")))
        }
        Record::Done { position: Some(position), .. } => Ok(position),
        Record::Error { code, message, .. } => Err(ClientFault::Told { code, message }),
        _ => Err(record::unreadable(line, "no position")),
    }
}
