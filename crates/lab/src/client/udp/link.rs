//! A socket, and the cookie by which the server hears it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::told::Told;
use super::{RETRY, RETRY_MAX, RETRY_MIN};
use crate::client::fault::ClientFault;
use crate::client::target::Target;

/// One end of the exchange.
#[derive(Debug)]
pub(crate) struct UdpLink {
    socket: UdpSocket,
    cookie: String,
    buffer: Vec<u8>,
    pub(super) datagram_bytes_max: usize,
    pub(super) lease: Duration,
    /// How long an answer may take before what was asked counts as lost.
    pub(super) patience: Duration,
    pub(super) heard_at: Instant,
    pub(super) datagrams: u64,
}

impl UdpLink {
    /// Says hello until it has a cookie.
    pub(crate) async fn open(target: &Target, answer_max: Duration) -> Result<Self, ClientFault> {
        let (host, port) = target.host_and_port();
        let fault = |why: io::Error| ClientFault::Connect { address: format!("{host}:{port}"), why };
        let address = tokio::net::lookup_host((host, port)).await.map_err(fault)?.next();
        let address = address.ok_or_else(|| fault(io::ErrorKind::NotFound.into()))?;
        let socket = connect(address).await.map_err(fault)?;
        let mut link = Self {
            socket,
            cookie: String::new(),
            buffer: vec![0; DATAGRAM_BYTES],
            datagram_bytes_max: bongsu_core::udp::DATAGRAM_BYTES_MIN,
            lease: Duration::from_secs(30),
            patience: RETRY,
            heard_at: Instant::now(),
            datagrams: 0,
        };
        let silent = |_| ClientFault::Silent { what: "a cookie", waited: answer_max };
        timeout(answer_max, link.say_hello()).await.map_err(silent)?.map_err(fault)?;
        Ok(link)
    }

    async fn say_hello(&mut self) -> io::Result<()> {
        // Padded, since an address that is not validated is sent no more than it sent.
        let hello = format!("{:<width$}", r#"{"hello":1}"#, width = bongsu_core::udp::HELLO_BYTES_MIN);
        let mut retry = RETRY;
        loop {
            let said_at = Instant::now();
            self.socket.send(hello.as_bytes()).await?;
            match timeout(retry, self.socket.recv(&mut self.buffer)).await {
                Ok(len) => {
                    let len = len?;
                    if self.take_terms(len) {
                        self.heard_at = Instant::now();
                        // One and a half round trips.
                        let patience = said_at.elapsed() * 3 / 2 + Duration::from_millis(10);
                        self.patience = patience.clamp(RETRY_MIN, RETRY_MAX);
                        return Ok(());
                    }
                }
                Err(_) => retry = (retry * 2).min(RETRY_MAX),
            }
        }
    }

    fn take_terms(&mut self, len: usize) -> bool {
        let Ok(Told { cookie: Some(cookie), lease_ms, datagram_bytes_max, .. }) = Told::read(&self.buffer[..len]) else { return false };
        self.cookie = cookie.into_owned();
        self.lease = lease_ms.map_or(self.lease, Duration::from_millis);
        self.datagram_bytes_max = datagram_bytes_max.unwrap_or(self.datagram_bytes_max);
        true
    }

    pub(super) fn set_cookie(&mut self, cookie: &str) {
        cookie.clone_into(&mut self.cookie);
    }

    /// How many bytes of lines go into one datagram.
    pub(super) fn room(&self) -> usize {
        self.datagram_bytes_max.saturating_sub(self.opening().len())
    }

    fn opening(&self) -> String {
        format!("{{\"cookie\":\"{}\"}}\n", self.cookie)
    }

    /// Says lines, as many in a datagram as fit. What does not leave is lost like what the network loses.
    pub(super) fn say(&self, lines: &[String]) {
        let mut datagram = self.opening();
        for line in lines {
            if datagram.len() + line.len() > self.datagram_bytes_max && !datagram.ends_with("\"}\n") {
                _ = self.socket.try_send(datagram.as_bytes());
                datagram = self.opening();
            }
            datagram.push_str(line);
            datagram.push_str(" \n");
        }
        if !lines.is_empty() {
            _ = self.socket.try_send(datagram.as_bytes());
        }
    }

    /// The next datagram. May be dropped while it waits.
    pub(super) async fn receive(&mut self) -> Result<Bytes, ClientFault> {
        match self.socket.recv(&mut self.buffer).await {
            Ok(len) => {
                self.heard_at = Instant::now();
                self.datagrams += 1;
                Ok(Bytes::copy_from_slice(&self.buffer[..len]))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ClientFault::broken("nobody listens there any more")),
            Err(error) => Err(ClientFault::broken(error)),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv6() { ([0u16; 8], 0).into() } else { ([0u8; 4], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // An improvement, not a condition: what does not fit is lost, and asked for again.
    _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.connect(address).await?;
    Ok(socket)
}

const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
const DATAGRAM_BYTES: usize = 65_536;
