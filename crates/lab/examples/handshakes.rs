//! What it costs to come back: TCP, TLS from the beginning and resumed, and the WebSocket above each, in time, server CPU and bytes.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p bongsu-lab --example handshakes -- --binary target/release/bongsu
//! ```
//!
//! Ends with 1 if fewer than 98 of 100 that could be resumed were.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bongsu_lab::client::Trust;
use bongsu_lab::load::Usage;
use bongsu_lab::server::ServerProcess;
use clap::Parser;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

#[derive(Parser)]
struct Cli {
    /// The bongsu command.
    #[arg(long, default_value = "target/release/bongsu")]
    binary: PathBuf,
    /// How many connections of each kind, one after the other.
    #[arg(long, default_value_t = 1000)]
    count: usize,
}

/// What is done to each connection.
struct Kind {
    name: &'static str,
    tls: Option<Arc<ClientConfig>>,
    websocket: bool,
    /// Whether all but the first should be resumed.
    resumes: bool,
}

/// What a kind of connection costs, each.
struct Cost {
    ms: f64,
    server_cpu_us: f64,
    sent: u64,
    received: u64,
    resumed: usize,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let ports = |name: &str| folder.path().join(name);
    let plain = ServerProcess::start(&cli.binary, &ports("plain.json"), SERVE)?;
    let state = format!("tls.state_dir={}", folder.path().join("tls").display());
    let tls = ["--tls-self-signed", "--set", &state];
    let sealed = ServerProcess::start(&cli.binary, &ports("sealed.json"), SERVE.into_iter().chain(tls))?;
    let ca = folder.path().join("tls/self-signed.pem");
    let once = |version| config(&ca, version, false);
    let again = |version| config(&ca, version, true);
    let shared = Trust::file(&ca)?.config();
    let kinds = [
        Kind { name: "TCP", tls: None, websocket: false, resumes: false },
        Kind { name: "TCP + WebSocket", tls: None, websocket: true, resumes: false },
        Kind { name: "TLS 1.3, full", tls: Some(once(&version::TLS13)?), websocket: false, resumes: false },
        Kind { name: "TLS 1.2, full", tls: Some(once(&version::TLS12)?), websocket: false, resumes: false },
        Kind { name: "TLS 1.2, resumed", tls: Some(again(&version::TLS12)?), websocket: false, resumes: true },
        Kind { name: "TLS 1.3, full + WebSocket", tls: Some(once(&version::TLS13)?), websocket: true, resumes: false },
        // A ticket of TLS 1.3 comes after the handshake, with the first answer.
        Kind { name: "TLS 1.3, resumed + WebSocket", tls: Some(shared), websocket: true, resumes: true },
    ];
    println!("| {} connections of each, one after the other | ms | server CPU, us | bytes out | bytes in | resumed |", cli.count);
    println!("|---|---|---|---|---|---|");
    let mut enough = true;
    for kind in &kinds {
        let server = if kind.tls.is_some() { &sealed } else { &plain };
        let Cost { ms, server_cpu_us, sent, received, resumed } = measure(kind, server, cli.count)?;
        let told = if kind.resumes { format!("{:.1} %", 100.0 * resumed as f64 / cli.count as f64) } else { "-".to_owned() };
        println!("| {} | {ms:.3} | {server_cpu_us:.0} | {sent} | {received} | {told} |", kind.name);
        enough &= !kind.resumes || resumed * 100 >= cli.count * 98;
    }
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(kind: &Kind, server: &ServerProcess, count: usize) -> Result<Cost, Box<dyn Error>> {
    let mut cost = Cost { ms: 0.0, server_cpu_us: 0.0, sent: 0, received: 0, resumed: 0 };
    let used = |server: &ServerProcess| Usage::of(server.pid()).map_or(0.0, |usage| usage.cpu_seconds);
    let (before, began) = (used(server), Instant::now());
    for _ in 0..count {
        let (counted, resumed) = connect(kind, server.http())?;
        cost.sent += counted.sent;
        cost.received += counted.received;
        cost.resumed += usize::from(resumed);
    }
    let each = count.max(1);
    cost.ms = began.elapsed().as_secs_f64() * 1e3 / each as f64;
    // The server finishes what it was told last.
    std::thread::sleep(Duration::from_millis(100));
    cost.server_cpu_us = (used(server) - before) * 1e6 / each as f64;
    (cost.sent, cost.received) = (cost.sent / each as u64, cost.received / each as u64);
    Ok(cost)
}

/// Makes one connection and leaves it. Tells what went over the wire, and whether its session was resumed.
fn connect(kind: &Kind, address: SocketAddr) -> Result<(Counted, bool), Box<dyn Error>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    // Closing resets, so that thousands of closed connections do not hold their ports for a minute.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let mut counted = Counted { stream, sent: 0, received: 0 };
    let Some(config) = &kind.tls else {
        if kind.websocket {
            upgrade(&mut counted, address)?;
        }
        return Ok((counted, false));
    };
    let mut session = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    while session.is_handshaking() {
        session.complete_io(&mut counted)?;
    }
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    let mut stream = StreamOwned::new(session, counted);
    if kind.websocket {
        upgrade(&mut stream, address)?;
    }
    Ok((stream.sock, resumed))
}

fn upgrade(stream: &mut (impl Read + Write), address: SocketAddr) -> io::Result<()> {
    write!(
        stream,
        "GET /channels/handshakes HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut byte = [0; 512];
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&byte[..read]),
        }
    }
    if answer.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(io::Error::other("no WebSocket")) }
}

/// A client of one version, which resumes or does not.
fn config(ca: &Path, version: &'static SupportedProtocolVersion, resumes: bool) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_protocol_versions(&[version])?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// A socket that counts what goes over it.
struct Counted {
    stream: TcpStream,
    sent: u64,
    received: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).inspect(|&read| self.received += read as u64)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).inspect(|&written| self.sent += written as u64)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// One worker, and nothing but HTTP.
const SERVE: [&str; 8] = ["--http", "127.0.0.1:0", "--tcp", "off", "--stomp", "off", "--workers", "1"];
