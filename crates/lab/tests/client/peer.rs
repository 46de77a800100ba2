//! A server that plays a script: what it must be asked, what it answers, how the connection ends.

use bongsu_core::websocket::{Decoder, Limits, Message, Opcode, Role, handshake, write_close, write_frame};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request and its answer.
pub(crate) struct Scene {
    /// What must be in the request's head or body.
    asked: Vec<String>,
    /// What must not be.
    not_asked: Vec<String>,
    answer: Answer,
    end: End,
}

enum Answer {
    Bytes(Vec<u8>),
    WebSocket(Vec<Frame>),
}

/// What the peer does on a WebSocket, in order.
pub(crate) enum Frame {
    /// Waits for a message that holds this.
    Hear(&'static str),
    /// Says this.
    Say(&'static str),
    /// Pings, and waits for the pong.
    Ping,
    /// Closes in good order.
    Close(u16, &'static str),
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The peer closes.
    Close,
    /// The connection takes the next request.
    Keep,
    /// Nothing more is said until the client closes.
    Hold,
    /// Nothing more is said until the script ends.
    LeaveOpen,
}

/// A running peer.
pub(crate) struct Peer {
    pub(crate) url: String,
    play: JoinHandle<Vec<String>>,
}

impl Peer {
    /// Starts to play on a free port.
    pub(crate) async fn play(scenes: Vec<Scene>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        Self { url, play: tokio::spawn(play(listener, scenes)) }
    }

    /// Waits until the script was played to its end, and gives the requests that were seen.
    pub(crate) async fn finished(self) -> Vec<String> {
        self.play.await.expect("the script is played as written")
    }
}

/// A scene that answers a request which holds all of `asked`.
pub(crate) fn scene(asked: &[&str], answer: impl Into<Vec<u8>>) -> Scene {
    Scene { asked: owned(asked), not_asked: Vec::new(), answer: Answer::Bytes(answer.into()), end: End::Close }
}

/// A scene that takes a WebSocket.
pub(crate) fn websocket(asked: &[&str], frames: Vec<Frame>) -> Scene {
    Scene { asked: owned(asked), not_asked: Vec::new(), answer: Answer::WebSocket(frames), end: End::Close }
}

impl Scene {
    /// The next scene comes on the same connection.
    pub(crate) fn kept(self) -> Self {
        Self { end: End::Keep, ..self }
    }

    /// The connection stays open and silent until the client leaves.
    pub(crate) fn held(self) -> Self {
        Self { end: End::Hold, ..self }
    }

    /// The connection stays open and silent while the next scenes are played.
    pub(crate) fn left_open(self) -> Self {
        Self { end: End::LeaveOpen, ..self }
    }

    /// The request must not hold this.
    pub(crate) fn without(mut self, text: &str) -> Self {
        self.not_asked.push(text.to_owned());
        self
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length =
        if status.starts_with("204") || status.starts_with("304") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status}\r\n{headers}{length}\r\n{body}")
}

/// An answer that goes on, as its chunks; it ends well only with an empty one.
pub(crate) fn flow(kind: &str, chunks: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    chunks
        .iter()
        .map(AsRef::as_ref)
        .fold(head.into_bytes(), |wire, chunk| [&wire, format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
}

async fn play(listener: TcpListener, scenes: Vec<Scene>) -> Vec<String> {
    let (mut kept, mut left_open, mut requests) = (None, Vec::new(), Vec::new());
    for scene in scenes {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => listener.accept().await.expect("a client comes").0,
        };
        let request = read_request(&mut stream).await;
        for asked in &scene.asked {
            assert!(request.contains(asked.as_str()), "asked for {asked:?} in {request}");
        }
        for not_asked in &scene.not_asked {
            assert!(!request.contains(not_asked.as_str()), "not asked for {not_asked:?} in {request}");
        }
        match scene.answer {
            Answer::Bytes(bytes) => stream.write_all(&bytes).await.expect("the client reads"),
            Answer::WebSocket(frames) => play_websocket(&mut stream, &request, frames).await,
        }
        requests.push(request);
        match scene.end {
            End::Close => drop(stream),
            End::Keep => kept = Some(stream),
            End::LeaveOpen => left_open.push(stream),
            End::Hold => while stream.read(&mut [0; 1024]).await.is_ok_and(|len| len > 0) {},
        }
    }
    requests
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        let mut chunk = [0; 4096];
        let len = stream.read(&mut chunk).await.expect("the client writes");
        assert!(len > 0, "the client left in mid-request: {text}");
        bytes.extend_from_slice(&chunk[..len]);
    }
}

async fn play_websocket(stream: &mut TcpStream, request: &str, frames: Vec<Frame>) {
    let header = |name: &str| request.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let (key, subprotocol) = (header("sec-websocket-key: "), header("sec-websocket-protocol: "));
    let subprotocol = if subprotocol.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {subprotocol}\r\n") };
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{subprotocol}Sec-WebSocket-Accept: {}\r\n\r\n",
        handshake::accept_key(key)
    );
    stream.write_all(head.as_bytes()).await.expect("the client reads");
    let limits = Limits { message_bytes_max: 1 << 20, frame_bytes_max: 1 << 20, fragments_max: 16 };
    let (mut decoder, mut input) = (Decoder::new(Role::Server, limits), BytesMut::new());
    for frame in frames {
        let mut out = BytesMut::new();
        match frame {
            Frame::Hear(text) => match hear(stream, &mut decoder, &mut input).await {
                Message::Text(heard) => assert!(String::from_utf8_lossy(&heard).contains(text), "{text} in {heard:?}"),
                other => panic!("{other:?} where {text} was due"),
            },
            Frame::Say(text) => write_frame(&mut out, Opcode::Text, text.as_bytes()),
            Frame::Ping => {
                write_frame(&mut out, Opcode::Ping, b"there?");
                stream.write_all(&out).await.expect("the client reads");
                out.clear();
                assert_eq!(hear(stream, &mut decoder, &mut input).await, Message::Pong("there?".into()));
            }
            Frame::Close(code, reason) => write_close(&mut out, code, reason),
        }
        stream.write_all(&out).await.expect("the client reads");
    }
}

async fn hear(stream: &mut TcpStream, decoder: &mut Decoder, input: &mut BytesMut) -> Message {
    loop {
        if let Some(message) = decoder.decode(input).expect("the client speaks WebSocket") {
            return message;
        }
        assert!(stream.read_buf(input).await.expect("the client writes") > 0, "the client left");
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
