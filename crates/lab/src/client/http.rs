//! One kept HTTP/1.1 connection to a server, and what every HTTP transport asks of it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fault::{ClientFault, Problem};
use super::target::Target;
use super::tls::Wire;

/// How long a client waits, and how much it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a TCP connection to stand.
    pub connect_max: Duration,
    /// For an answer's head or a subscription's first record.
    pub answer_max: Duration,
    /// For the next sign of life on a stream: past it the connection counts as dead.
    pub silence_max: Duration,
    /// How long a long poll asks the server to wait, in whole seconds.
    pub wait: Duration,
    /// The longest line, event or message.
    pub record_bytes_max: usize,
    /// The longest page or other whole answer.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(10),
            answer_max: Duration::from_secs(15),
            silence_max: Duration::from_secs(90),
            wait: Duration::from_secs(25),
            record_bytes_max: 128 << 20,
            body_bytes_max: 256 << 20,
        }
    }
}

/// A client's HTTP connection: opened when first needed, kept while it serves.
#[derive(Debug)]
pub(crate) struct Http {
    target: Target,
    limits: Limits,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn new(target: &Target, limits: Limits) -> Self {
        Self { target: target.clone(), limits, sender: None }
    }

    /// A GET of a path, to be completed with headers.
    pub(crate) fn get(&self, path: &str) -> Result<Request<Full<Bytes>>, ClientFault> {
        self.request(Method::GET, path, Bytes::new())
    }

    /// A POST of a body to a path, to be completed with headers.
    pub(crate) fn post(&self, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientFault> {
        self.request(Method::POST, path, body)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientFault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let unsayable = |_| ClientFault::Url { url: path.chars().take(80).collect(), why: "too long, or not what a request line can hold" };
        *request.uri_mut() = path.parse().map_err(unsayable)?;
        set(&mut request, header::HOST, &self.target.authority());
        set(&mut request, header::USER_AGENT, concat!("bongsu/", env!("CARGO_PKG_VERSION")));
        Ok(request)
    }

    /// Sends and waits for the head, on the kept connection if it still stands. Refusals become faults.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>, wait: Duration) -> Result<Response<Incoming>, ClientFault> {
        let answer_max = self.limits.answer_max + wait;
        let sending = self.send_once_more(request);
        let response = timeout(answer_max, sending).await.map_err(|_| ClientFault::Silent { what: "the answer", waited: answer_max })??;
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(self.refusal(response).await);
        }
        Ok(response)
    }

    /// Sends and reads the whole answer. Refusals become faults.
    pub(crate) async fn ask(&mut self, request: Request<Full<Bytes>>, wait: Duration) -> Result<Answer, ClientFault> {
        let response = self.send(request, wait).await?;
        let (head, body) = response.into_parts();
        let body = collect(body, self.limits.body_bytes_max, self.limits.answer_max).await?;
        Ok(Answer { head, body })
    }

    async fn send_once_more(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientFault> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request.clone()).await {
                Ok(response) => {
                    self.sender = Some(sender);
                    return Ok(response);
                }
                // A kept connection may have been closed meanwhile. What was not sent, or changes nothing, goes out again.
                Err(fault) if fault.message().is_none() && *request.method() != Method::GET => {
                    return Err(ClientFault::broken(fault.error()));
                }
                Err(_) => (),
            }
        }
        let mut sender = self.open().await?;
        let response = sender.send_request(request).await.map_err(ClientFault::broken)?;
        self.sender = Some(sender);
        Ok(response)
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, ClientFault> {
        let stream = connect(&self.target, self.limits.connect_max).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ClientFault::broken)?;
        // It ends by itself: with the server's close, or once neither a request nor a body needs it.
        tokio::spawn(async move {
            let _told_to_the_requester = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientFault {
        let (head, body) = response.into_parts();
        let body = collect(body, PROBLEM_BYTES_MAX, self.limits.answer_max).await.unwrap_or_default();
        ClientFault::Refused(Box::new(Problem::read(head.status, &head.headers, &body)))
    }
}

/// A refusal's document is read up to here; one that is longer explains nothing.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Sets a header from a value that was built here; one that cannot stand in a header is left out.
pub(crate) fn set(request: &mut Request<Full<Bytes>>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        request.headers_mut().insert(name, value);
    }
}

/// A header of an answer, as text.
pub(crate) fn header_text<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Opens a TCP connection, and TLS above it where the address says so.
pub(crate) async fn connect(target: &Target, connect_max: Duration) -> Result<Wire, ClientFault> {
    let fault = |why| ClientFault::Connect { address: target.authority(), why };
    let connecting = timeout(connect_max, TcpStream::connect(target.host_and_port()));
    let stream = connecting.await.map_err(|late| fault(late.into()))?.map_err(fault)?;
    stream.set_nodelay(true).map_err(fault)?;
    let handshake = timeout(connect_max, Wire::open(stream, target.host_and_port().0, target.trust()));
    match handshake.await.map_err(|late| fault(late.into()))? {
        Ok(wire) => Ok(wire),
        Err(why) if why.kind() == std::io::ErrorKind::InvalidData => {
            Err(ClientFault::Tls { address: target.authority(), why: why.to_string() })
        }
        Err(why) => Err(fault(why)),
    }
}

async fn collect(body: Incoming, bytes_max: usize, wait: Duration) -> Result<Bytes, ClientFault> {
    let whole = timeout(wait, Limited::new(body, bytes_max).collect());
    let whole = whole.await.map_err(|_| ClientFault::Silent { what: "the rest of the answer", waited: wait })?;
    Ok(whole.map_err(ClientFault::broken)?.to_bytes())
}

/// A body that goes on: the next bytes of it, or nothing once it ended well. May be dropped while it waits.
pub(crate) async fn next_chunk(body: &mut Incoming, silence_max: Duration) -> Result<Option<Bytes>, ClientFault> {
    loop {
        let frame = timeout(silence_max, body.frame()).await;
        match frame.map_err(|_| ClientFault::Silent { what: "a sign of life", waited: silence_max })? {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => continue,
            },
            Some(Err(fault)) => return Err(ClientFault::broken(fault)),
        }
    }
}
