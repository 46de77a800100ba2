//! Clients that ask for long answers and read nothing of them: what the server holds for them, and that it reads nothing more from them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bongsu_server::config::{Config, SourceFile, Sources};
use bongsu_server::serve::Server;

/// A server of one worker with a channel that has a page of 800 kB.
struct Stage(Server);

impl Stage {
    fn new(config: &str) -> Self {
        let text = format!("workers = 1\nlisten = {{ http = \"127.0.0.1:0\", tcp = \"off\" }}\nshutdown.timeout = \"1s\"\n{config}");
        let sources = Sources { file: Some(SourceFile { name: "the stage".to_owned(), text }), ..Sources::default() };
        let stage = Self(Server::start(Config::load(&sources).expect("a sound configuration")).expect("a free port"));
        for _ in 0..PUBLICATIONS {
            let body = "x".repeat(PUBLICATION_BYTES);
            let head =
                format!("POST /channels/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            assert!(read_all(stage.ask(&(head + &body))).starts_with(b"HTTP/1.1 20"));
        }
        stage
    }

    fn ask(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.0.addresses().http.expect("it listens")).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(request.as_bytes()).expect("the server reads");
        stream
    }

    /// One of its numbers; 0 for a counter that has counted nothing.
    fn number(&self, name: &str) -> u64 {
        let metrics = read_all(self.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let metrics = String::from_utf8(metrics).expect("text");
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
    }

    fn eventually(&self, name: &str, holds: impl Fn(u64) -> bool) {
        let began = Instant::now();
        while !holds(self.number(name)) {
            assert!(began.elapsed() < PATIENCE, "{name} is {} all the time", self.number(name));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers");
    bytes
}

/// Several requests of one client; the last ends the connection.
fn requests(count: usize) -> String {
    let page = "GET /channels/a?earliest HTTP/1.1\r\nHost: localhost\r\n";
    format!("{}{page}Connection: close\r\n\r\n", format!("{page}\r\n").repeat(count - 1))
}

#[test]
fn what_waits_for_those_who_read_nothing_is_not_the_page() {
    let stage = Stage::new("");
    let readers: Vec<_> = (0..READERS).map(|_| stage.ask(&requests(3))).collect();
    stage.eventually("bongsu_reading_paused{transport=\"http\"}", |paused| paused == READERS);
    let polls = "bongsu_requests_total{route=\"channel\",status=\"2xx\"}";
    assert_eq!(stage.number(polls), READERS, "of each its first request was taken up, and no other");
    let held = stage.number("bongsu_in_flight_bytes");
    assert!(held < READERS * 2 * PUBLICATION_BYTES as u64, "{held} B are held for {READERS} who read nothing");
    // Who reads after all gets all three answers whole.
    for reader in readers {
        let came = read_all(reader);
        assert_eq!(came.windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count(), 3);
        assert!(came.len() > 3 * PUBLICATIONS * PUBLICATION_BYTES && came.ends_with(b"\"more\":false}"));
    }
    stage.eventually("bongsu_in_flight_bytes", |held| held < 10_000);
}

#[test]
fn who_takes_nothing_of_an_answer_is_closed() {
    let stage = Stage::new("delivery.answer_timeout = \"300ms\"");
    for count in [1, 2] {
        let reader = stage.ask(&requests(count));
        stage.eventually("bongsu_faults_total{fault=\"answer-not-taken\"}", |faults| faults == count as u64);
        drop(reader);
    }
    assert_eq!(stage.number("bongsu_in_flight_bytes"), 0);
}

const READERS: u64 = 40;
const PUBLICATIONS: usize = 160;
const PUBLICATION_BYTES: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(20);
