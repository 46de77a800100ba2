//! What only a socket shows: deadlines, requests that come together or in crumbs, HTTP/1.0, ends that close by half.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bongsu_server::config::{Config, SourceFile, Sources};
use bongsu_server::serve::Server;

/// A server whose deadlines are short, or as a test wants them.
struct Stage(Server);

impl Stage {
    fn new(config: &str) -> Self {
        let text = format!("workers = 1\nlisten = {{ http = \"127.0.0.1:0\", tcp = \"off\" }}\nshutdown.timeout = \"1s\"\n{config}");
        let sources = Sources { file: Some(SourceFile { name: "the stage".to_owned(), text }), ..Sources::default() };
        Self(Server::start(Config::load(&sources).expect("a sound configuration")).expect("a free port"))
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.0.addresses().http.expect("it listens")).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Client { stream, unread: Vec::new() }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// A client that says what it is told to, byte by byte.
struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    fn send(&mut self, bytes: &str) -> &mut Self {
        self.stream.write_all(bytes.as_bytes()).expect("the server reads");
        self
    }

    /// Everything up to and with `end`.
    fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = find(&self.unread, end.as_bytes()) {
                let rest = self.unread.split_off(at + end.len());
                return text(std::mem::replace(&mut self.unread, rest));
            }
            assert!(self.read() > 0, "{end:?} is due, but the connection ended after {:?}", text(self.unread.clone()));
        }
    }

    /// Everything up to the end of the connection.
    fn rest(&mut self) -> String {
        while self.read() > 0 {}
        text(std::mem::take(&mut self.unread))
    }

    fn read(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let count = match self.stream.read(&mut bytes) {
            Ok(count) => count,
            // A peer that ends with something unread resets.
            Err(fault) if fault.kind() == ErrorKind::ConnectionReset => 0,
            Err(fault) => panic!("nothing came: {fault}"),
        };
        self.unread.extend_from_slice(&bytes[..count]);
        count
    }
}

#[test]
fn a_body_that_does_not_come_in_time_is_refused() {
    let stage = Stage::new("http.body_timeout = \"200ms\"");
    let mut client = stage.connect();
    client.send("POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhell");
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"request-timeout\""), "{answer}");
}

#[test]
fn a_head_or_body_in_crumbs_gains_no_time() {
    let stage = Stage::new("http.head_timeout = \"300ms\"\nhttp.body_timeout = \"300ms\"");
    for begin in [
        "GET /channels/a HTTP/1.1\r\nHost: localhost\r\nX: ",
        "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n",
    ] {
        let mut client = stage.connect();
        client.send(begin);
        client.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let began = Instant::now();
        let mut bytes = [0; 1024];
        // A crumb for each time that nothing came.
        let answer = loop {
            match client.stream.read(&mut bytes) {
                Ok(count) => break text(bytes[..count].to_vec()),
                Err(_) => _ = client.stream.write(b"x"),
            }
            assert!(began.elapsed() < PATIENCE, "it was never refused");
        };
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn a_kept_connection_without_a_request_is_let_go() {
    let stage = Stage::new("http.idle_timeout = \"200ms\"");
    let mut client = stage.connect();
    client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.until("}").starts_with("HTTP/1.1 200 "));
    assert_eq!(client.rest(), "");
}

#[test]
fn requests_that_come_together_are_answered_one_after_the_other() {
    let stage = Stage::new("");
    let publish = |body: &str| {
        format!("POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    // The long poll in the middle holds back what follows it, until the wait is over.
    let together = [
        publish("one"),
        get("/channels/a", ""),
        get("/channels/b?wait=1", ""),
        publish("two"),
        get("/channels/a?last=1", "Connection: close\r\n"),
        get("/health", ""),
    ];
    let answers = stage.connect().send(&together.concat()).rest();
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["201", "200", "204", "201", "200"], "{answers}");
    let page = |data: &str| format!("\"data\":\"{data}\"");
    assert!(find(answers.as_bytes(), page("one").as_bytes()) < find(answers.as_bytes(), page("two").as_bytes()));
}

#[test]
fn a_client_that_asks_for_leave_is_given_it_once() {
    let stage = Stage::new("");
    let mut client = stage.connect();
    client.send("POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(client.send("hi").until("}\n").starts_with("HTTP/1.1 201 "));
}

#[test]
fn http_1_0_has_no_chunks_and_ends_with_the_connection() {
    let stage = Stage::new("");
    let answer = stage.connect().send("GET /health HTTP/1.0\r\n\r\n").rest();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");

    let mut reader = stage.connect();
    let head = reader.send("GET /channels/a HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n").until("\r\n\r\n");
    assert!(head.contains("connection: close") && !head.contains("chunked"), "{head}");
    assert!(reader.until("\n").starts_with("{\"channel\":\"a\",\"cursor\":"));
    stage.connect().send("POST /channels/a HTTP/1.0\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi").rest();
    assert!(reader.until("\n").contains("\"data\":\"hi\""));
    stage.0.shutdown();
    let last = reader.rest();
    assert!(last.starts_with("{\"bye\":") && last.ends_with("}\n"), "{last}");
}

#[test]
fn a_client_that_says_no_more_still_gets_its_answer() {
    let stage = Stage::new("");
    let mut client = stage.connect();
    client.send("POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi");
    client.stream.shutdown(Shutdown::Write).expect("a socket");
    assert!(client.rest().starts_with("HTTP/1.1 201 "));
}

#[test]
fn frames_that_come_with_the_handshake_are_heard() {
    let stage = Stage::new("");
    let mut client = stage.connect();
    client.send(&handshake("/channels/a")).until("\r\n\r\n");

    // In one write: the handshake, and a masked text of "hi" under a mask of zeros.
    let mut publisher = stage.connect();
    publisher.stream.write_all(&[handshake("/channels/a").as_bytes(), &[0x81, 0x82, 0, 0, 0, 0], b"hi"].concat()).expect("sent");
    assert!(publisher.until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    for reader in [&mut publisher, &mut client] {
        assert_eq!(reader.until("hi"), "\u{81}\u{2}hi");
    }
}

#[test]
fn a_ping_without_a_pong_ends_the_connection_with_its_reason() {
    let stage = Stage::new("websocket.ping_interval = \"50ms\"\nwebsocket.ping_timeout = \"100ms\"\nwebsocket.close_timeout = \"100ms\"");
    let mut client = stage.connect();
    client.send(&handshake("/channels/a")).until("\r\n\r\n");
    let reason = "no answer to a ping in time";
    // A ping without payload; then a close frame: its length, 4002 in two bytes, the reason.
    assert_eq!(client.rest(), format!("\u{89}\0\u{88}{}\u{0f}\u{a2}{reason}", char::from(2 + reason.len() as u8)));
}

#[test]
fn one_connection_too_many_is_told_and_harms_no_other() {
    let stage = Stage::new("http.connections_max = 1");
    let mut first = stage.connect();
    first.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").until("}");
    let refusal = stage.connect().rest();
    assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("too-many-connections"), "{refusal}");
    assert!(first.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").until("}").contains("HTTP/1.1 200 "));
}

fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Bytes as text; what is no UTF-8 stays one character a byte.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|fault| fault.as_bytes().iter().map(|&byte| char::from(byte)).collect())
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
