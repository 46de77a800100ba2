//! A server whose every answer breaks off after a random number of bytes: whatever the transport, nothing is lost or doubled.

use bongsu_core::format::Forms;
use bongsu_core::page::{PageGaps, write_page};
use bongsu_core::websocket::{Opcode, handshake, write_frame};
use bongsu_core::{ChannelName, Draft, Epoch, Format, Position, Publication, Start};
use bongsu_lab::client::{Limits, Transport};
use bytes::BytesMut;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::peer::{answer, flow};
use crate::{AT_ONCE, client};

const PUBLICATIONS: u64 = 60;
const PAGE: u64 = 20;

fn at(offset: u64) -> Position {
    Position::new(Epoch::from_bits(7), offset)
}

fn channel() -> ChannelName {
    ChannelName::parse("a").expect("a name")
}

fn publication(offset: u64) -> Publication {
    Publication { position: at(offset), time_ms: 0, bytes_before: 0, draft: Draft::text(format!("number\n{offset}")) }
}

/// All that a format says after an offset.
fn stream(forms: &Forms, format: Format, after: u64) -> BytesMut {
    let mut out = BytesMut::new();
    forms.preamble(format, &mut out);
    forms.start(format, &channel(), at(after), None, &mut out);
    for offset in after + 1..=PUBLICATIONS {
        forms.publication(format, &channel(), &publication(offset), None, &mut out);
        forms.heartbeat(format, &channel(), at(offset), None, &mut out);
    }
    out
}

fn page(after: u64) -> String {
    let last = (after + PAGE).min(PUBLICATIONS);
    let page: Vec<_> = (after + 1..=last).map(publication).collect();
    let (name, mut out) = (channel(), BytesMut::new());
    write_page(page.iter().map(|one| (&name, one)), &at(last).to_string(), last < PUBLICATIONS, PageGaps::Channel(None), &mut out);
    answer("200 OK", "", std::str::from_utf8(&out).expect("UTF-8"))
}

/// The whole answer to a request, before anything is cut.
fn whole(forms: &Forms, request: &str, after: u64) -> Vec<u8> {
    for format in [Format::Json, Format::SseJson, Format::Multipart] {
        let kind = forms.content_type(format);
        let essence = kind.split(';').next().unwrap_or_default();
        if request.contains(&format!("accept: {essence}")) {
            return flow(&kind, &[stream(forms, format, after)]);
        }
    }
    page(after).into_bytes()
}

async fn serve(listener: TcpListener, mut chance: SmallRng) {
    let forms = Forms::new(1);
    loop {
        let (mut socket, _) = listener.accept().await.expect("a client comes");
        // The client may hang up at any time; then the next one is served.
        let _ = serve_one(&mut socket, &forms, &mut chance).await;
    }
}

async fn serve_one(socket: &mut TcpStream, forms: &Forms, chance: &mut SmallRng) -> std::io::Result<()> {
    let request = read_until(socket, "\r\n\r\n").await?;
    let Some(key) = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")) else {
        return cut(socket, &whole(forms, &request, after(&request, "after=")), chance).await;
    };
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: bongsu.v1.json\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        handshake::accept_key(key)
    );
    socket.write_all(head.as_bytes()).await?;
    let asked = read_masked(socket).await?;
    let mut wire = BytesMut::new();
    let lines = stream(forms, Format::Json, after(&asked, r#""after":""#)).freeze();
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        write_frame(&mut wire, Opcode::Text, line);
    }
    cut(socket, &wire, chance).await
}

/// Sends some of the answer and hangs up.
async fn cut(socket: &mut TcpStream, wire: &[u8], chance: &mut SmallRng) -> std::io::Result<()> {
    // A page that is not whole is worth nothing, so some answers have to arrive.
    let len = if chance.random_bool(0.3) { wire.len() } else { chance.random_range(0..=wire.len()) };
    socket.write_all(&wire[..len]).await
}

fn after(request: &str, name: &str) -> u64 {
    let cursor = request.split_once(name).map_or("", |(_, rest)| rest);
    let offset = cursor.split_once('-').map_or("", |(_, offset)| offset);
    offset.split(|char: char| !char.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

async fn read_until(socket: &mut TcpStream, end: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        bytes.push(socket.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One short masked frame, as a client's subscribe is.
async fn read_masked(socket: &mut TcpStream) -> std::io::Result<String> {
    let (_opcode, length) = (socket.read_u8().await?, socket.read_u8().await? & 0x7f);
    let mut mask = [0; 4];
    socket.read_exact(&mut mask).await?;
    let mut payload = vec![0; length.into()];
    socket.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(String::from_utf8_lossy(&payload).into_owned())
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_wherever_an_answer_breaks_off() {
    for transport in Transport::HTTP {
        for seed in 0..8 {
            check(transport, seed, 0).await;
        }
    }
}

#[tokio::test]
async fn nor_when_the_transport_changes_in_between() {
    for seed in 0..12 {
        check(Transport::WebSocket, seed, 7).await;
    }
}

async fn check(transport: Transport, seed: u64, switch_every: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
    let server = tokio::spawn(serve(listener, SmallRng::seed_from_u64(seed)));
    let mut options = client(&url).options();
    options.limits = Limits { silence_max: Duration::from_secs(5), ..options.limits };
    let client = client(&url).with_options(options);
    let mut subscriber = client.subscribe(transport, &["a"], Start::Earliest).expect("a name").with_backoff(AT_ONCE);
    for offset in 1..=PUBLICATIONS {
        let published = subscriber.next_publication().await.unwrap_or_else(|fault| panic!("{transport} seed {seed}: {fault}"));
        assert_eq!((published.position.as_str(), published.text()), (at(offset).to_string().as_str(), format!("number\n{offset}")));
        if switch_every > 0 && offset % switch_every == 0 {
            subscriber.switch(Transport::HTTP[(offset / switch_every) as usize % Transport::HTTP.len()]);
        }
    }
    server.abort();
}
