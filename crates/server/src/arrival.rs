//! From the accept to the worker: who connects, by the PROXY protocol where a trusted proxy is in front, and whether there is room.

use std::future::Future;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use bongsu_core::proxy::{HEADER_BYTES_MAX, Preamble, PreambleFault, preamble};
use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tracing::debug;

use crate::admission::{Refusal, Visitor};
use crate::config::{Config, ProxyProtocol};
use crate::http::{Problem, Request};
use crate::networks::Networks;
use crate::worker::{Door, Worker, WorkerRef};

/// The proxies whose word is taken, and what they say it in.
#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: Networks,
    header: Option<bongsu_core::proxy::forwarded::ForwardedHeader>,
}

/// What is wrong with how a connection begins that is to come through a proxy.
#[derive(Debug, thiserror::Error)]
enum ArrivalFault {
    #[error("connections here come through a proxy that speaks the PROXY protocol, and your address is not among proxy.trusted")]
    Untrusted,
    #[error("a connection here begins with a header of the PROXY protocol; have the proxy send it (send-proxy, proxy_protocol on)")]
    Missing,
    #[error(transparent)]
    Malformed(#[from] PreambleFault),
    #[error("the header of the PROXY protocol did not come in time")]
    Late,
    #[error("the connection ended before it said anything")]
    Gone(#[from] std::io::Error),
}

impl ArrivalFault {
    /// Its name; none for what is nobody's fault.
    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Untrusted => Some("proxy-untrusted"),
            Self::Missing => Some("proxy-header-missing"),
            Self::Malformed(_) => Some("proxy-header-malformed"),
            Self::Late => Some("proxy-header-late"),
            Self::Gone(_) => None,
        }
    }
}

impl Proxies {
    /// What a configuration says.
    pub(crate) fn new(config: &Config) -> Self {
        Self { trusted: Networks::of(&config.proxy.trusted), header: config.proxy.header.kind() }
    }

    /// Whether the word of this peer on its clients is taken.
    pub(crate) fn trust(&self, peer: IpAddr) -> bool {
        self.trusted.contains(peer)
    }
}

/// Takes up a connection that was accepted, once it is known whose it is.
pub(crate) fn arrive(worker: &WorkerRef, stream: TcpStream, peer: Option<SocketAddr>, door: Door) {
    let Some(peer) = peer.map(|peer| peer.ip().to_canonical()) else { return };
    let shared = std::sync::Arc::clone(&worker.borrow().shared);
    match shared.config.proxy.protocol(door.name()) {
        ProxyProtocol::Off => worker.borrow_mut().accept(stream, door, peer),
        ProxyProtocol::Optional if !shared.proxies.trust(peer) => worker.borrow_mut().accept(stream, door, peer),
        ProxyProtocol::Required if !shared.proxies.trust(peer) => refuse(worker, &stream, door, &ArrivalFault::Untrusted),
        wanted => {
            let timeout = Duration::from_millis(shared.config.http.head_timeout.as_millis());
            let entering = WorkerRef::clone(worker);
            if worker.borrow_mut().begin_arrival(door, &stream) {
                tokio::task::spawn_local(async move {
                    let told = in_time(timeout, read_preamble(&stream, wanted)).await;
                    entering.borrow_mut().arriving -= 1;
                    match told {
                        Ok(client) => {
                            let client = client.map_or(peer, |client| client.ip().to_canonical());
                            entering.borrow_mut().accept(stream, door, client);
                        }
                        Err(fault) => {
                            refuse(&entering, &stream, door, &fault);
                            drain(&stream).await;
                        }
                    }
                });
            }
        }
    }
}

/// Reads the header, and nothing behind it. Tells the client, if the proxy does.
async fn read_preamble(stream: &TcpStream, wanted: ProxyProtocol) -> Result<Option<SocketAddr>, ArrivalFault> {
    let mut first = [0; HEADER_BYTES_MAX];
    loop {
        let count = stream.peek(&mut first).await?;
        match preamble(&first[..count])? {
            _ if count == 0 => return Err(ArrivalFault::Gone(std::io::ErrorKind::UnexpectedEof.into())),
            Preamble::Header { len, source } => {
                take(stream, len).await?;
                return Ok(source);
            }
            Preamble::None if wanted == ProxyProtocol::Required => return Err(ArrivalFault::Missing),
            Preamble::None => return Ok(None),
            // Proxies send it in one piece, so that this is rare. The socket stays readable: what is there is looked at, not taken.
            Preamble::More(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Takes bytes that are known to be there.
async fn take(stream: &TcpStream, mut count: usize) -> std::io::Result<()> {
    let mut taken = [0; HEADER_BYTES_MAX];
    while count > 0 {
        stream.readable().await?;
        match stream.try_read(&mut taken[..count]) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => count -= read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Closes so that the refusal arrives: what is unread at a close resets the connection.
async fn drain(stream: &TcpStream) {
    // One that is gone needs no goodbye.
    _ = SockRef::from(stream).shutdown(Shutdown::Write);
    let passed_over = async {
        let mut rest = [0; HEADER_BYTES_MAX];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut rest) {
                Ok(1..) => (),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => (),
                _ => return,
            }
        }
    };
    _ = tokio::time::timeout(DRAIN_MAX, passed_over).await;
}

async fn in_time<T>(timeout: Duration, work: impl Future<Output = Result<T, ArrivalFault>>) -> Result<T, ArrivalFault> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(ArrivalFault::Late))
}

fn refuse(worker: &WorkerRef, stream: &TcpStream, door: Door, fault: &ArrivalFault) {
    let Some(code) = fault.code() else { return };
    debug!(listener = door.name(), fault = code, "a connection is refused");
    worker.borrow().metrics.fault(code);
    worker.borrow().say_no(stream, door, &Problem::new(400, code, fault));
}

impl Door {
    /// What a connection that is not taken up is told.
    pub(crate) fn refusal(self, problem: &Problem) -> Bytes {
        let retry = problem.headers.iter().find(|(name, _)| *name == "retry-after");
        let retry_ms = retry.and_then(|(_, seconds)| seconds.parse::<u64>().ok()).map(|seconds| seconds * 1000);
        match self {
            Self::Http | Self::Admin | Self::Redirect => problem.clone().into_response().into_bytes(false, false),
            Self::Tcp | Self::Udp => {
                let code = if retry_ms.is_some() { 1013 } else { 1008 };
                let bye = serde_json::json!({ "code": code, "reason": problem.detail, "reconnect_ms": retry_ms });
                Bytes::from(format!("{{\"bye\":{bye}}}\n"))
            }
            Self::Stomp => {
                let retry = retry_ms.map(|retry_ms| format!("reconnect-ms:{retry_ms}\n")).unwrap_or_default();
                // STOMP 1.2, "Value Encoding": a colon is escaped.
                Bytes::from(format!("ERROR\nmessage:{}\ncode:{}\n{retry}\n\0", problem.detail.replace(':', "\\c"), problem.code))
            }
        }
    }
}

impl Worker {
    /// Whether a connection may begin to say whose it is. Those who have begun are as many as there may be connections.
    fn begin_arrival(&mut self, door: Door, stream: &TcpStream) -> bool {
        if self.arriving >= self.shared.config.http.connections_max {
            self.turn_away(stream, door, &Refusal::Full);
            return false;
        }
        self.arriving += 1;
        true
    }

    /// Whether one more may come in from this address, and what it is known by.
    pub(crate) fn admit(&mut self, door: Door, address: IpAddr) -> Result<Visitor, Refusal> {
        if self.is_full_for(door) {
            return Err(Refusal::Full);
        }
        let from_proxy = self.shared.proxies.trust(address);
        if from_proxy || door == Door::Admin {
            // A proxy stands for many, who are counted by their own addresses; the numbers are wanted most when much goes on.
            return Ok(Visitor { from_proxy, ..Visitor::exempt(door) });
        }
        let guest = self.shared.admission.arrive(address, &self.shared.admission_limits, self.now_ms())?;
        Ok(Visitor { guest, ..Visitor::exempt(door) })
    }

    /// Tells a connection that it is not taken up.
    pub(crate) fn turn_away(&mut self, stream: &TcpStream, door: Door, refusal: &Refusal) {
        self.metrics.fault(refusal.code());
        self.say_no(stream, door, &refusal.problem());
    }

    /// One try: who is not ready to read a refusal, or not before a handshake of TLS, is closed without it.
    fn say_no(&self, stream: &TcpStream, door: Door, problem: &Problem) {
        let is_sealed = self.shared.tls.as_ref().is_some_and(|tls| tls.of_door(door).is_some());
        if !is_sealed {
            _ = stream.try_write(&door.refusal(problem));
        }
    }

    /// Learns from a trusted proxy whose request it passes on. The request counts among those of its client, while it lasts.
    pub(crate) fn recognise(&mut self, key: bongsu_core::hub::SubscriberKey, request: &Request) -> Result<(), Problem> {
        if !self.hub.sink(key).is_some_and(|connection| connection.visitor.from_proxy) {
            return Ok(());
        }
        let Some(header) = self.shared.proxies.header else { return Ok(()) };
        let shared = std::sync::Arc::clone(&self.shared);
        let client = header.client(request.header_all(header.name()), |address| shared.proxies.trust(address));
        let Some(client) = client.map_err(|fault| Problem::new(400, "forwarded-unreadable", fault))? else { return Ok(()) };
        let guest = shared.admission.pass_on(client, &shared.admission_limits).map_err(|refusal| refusal.problem())?;
        debug!(key, %client, "a request is passed on");
        if let Some(connection) = self.hub.sink(key) {
            connection.visitor.guest = guest;
        }
        Ok(())
    }
}

/// How long one who is refused may take to hang up.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// How long to wait for the rest of a header that came in pieces.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
