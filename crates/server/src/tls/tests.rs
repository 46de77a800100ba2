//! Stories of the link: what a full socket cannot take leaves later, whole and in order; an end is an end; idle means no buffers.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use bongsu_core::hub::Written;
use bytes::{Bytes, BytesMut};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio::task::LocalSet;

use super::{News, TlsFault, TlsLink};
use crate::link::Read;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A link whose kernel takes little, and the socket at its far end.
fn pair() -> (TcpStream, Rc<TlsLink>, Client) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let far = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (near, _) = listener.accept().expect("it connected");
    socket2::SockRef::from(&near).set_send_buffer_size(8 << 10).expect("a small buffer");
    near.set_nonblocking(true).expect("a socket");
    let link = TlsLink::new(tokio::net::TcpStream::from_std(near).expect("within a runtime"), Arc::new(server));
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(client, name).expect("a session");
    let raw = far.try_clone().expect("a socket");
    (raw, link, StreamOwned::new(session, far))
}

fn play(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, story);
}

/// Reads until there is plaintext or an end.
async fn read(link: &Rc<TlsLink>, input: &mut BytesMut) -> Read {
    loop {
        match link.try_read(input) {
            Read::Nothing => poll_fn(|cx| link.poll_readable(cx)).await,
            read => return read,
        }
    }
}

#[test]
fn whatever_a_full_socket_takes_nothing_is_lost_or_reordered() {
    play(async {
        let (_, link, mut client) = pair();
        let far = std::thread::spawn(move || {
            client.write_all(b"go").expect("the server reads");
            let mut got = Vec::new();
            client.read_to_end(&mut got).expect("an end with close_notify");
            got
        });
        let mut input = BytesMut::new();
        assert_eq!(read(&link, &mut input).await, Read::Some);
        assert_eq!((&input[..], link.take_news()), (&b"go"[..], Some(News::Opened { resumed: false })));
        let whole: Bytes = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut rest = whole.clone();
        let (mut parts, mut size) = (0, 1);
        while !rest.is_empty() {
            // Now a slice, now several, of all sizes up to more than is sealed at once.
            size = (size * 7 + 13) % 90_000 + 1;
            let slice = rest.slice(..size.min(rest.len()));
            let written = match size % 2 {
                0 => link.try_write(&slice),
                _ => link.try_write_vectored(&slice.chunks(997).map(|chunk| slice.slice_ref(chunk)).collect::<Vec<_>>()),
            };
            match written {
                Written::All => rest = rest.slice(slice.len()..),
                Written::Part(count) => {
                    rest = rest.slice(count..);
                    parts += 1;
                    link.writable().await;
                }
                Written::Gone => panic!("it is there"),
            }
        }
        assert!(parts > 0, "the socket was full at times");
        link.shut_write();
        while link.owes() {
            link.writable().await;
            tokio::task::yield_now().await;
        }
        assert!(far.join().expect("no panic") == whole, "all of it came, in order");
    });
}

#[test]
fn what_is_wrong_has_a_name() {
    play(async {
        for (said, news) in [
            (&b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00"[..], News::Failed { fault: TlsFault::Protocol, in_handshake: true }),
            (b"GET / HTTP/1.1\r\n", News::Clear),
        ] {
            let (mut raw, link, _client) = pair();
            raw.write_all(said).expect("it reads");
            let mut input = BytesMut::new();
            while link.try_read(&mut input) == Read::Nothing {
                if let Some(found) = link.take_news() {
                    assert_eq!(found, news);
                    break;
                }
                poll_fn(|cx| link.poll_readable(cx)).await;
            }
            if news == News::Clear {
                assert_eq!((&input[..], link.take_news()), (said, Some(News::Clear)));
                assert_eq!(link.try_write(b"use TLS"), Written::All);
                let mut told = [0; 7];
                raw.read_exact(&mut told).expect("it is told");
                assert_eq!(&told, b"use TLS");
            }
        }
        let (mut raw, link, _client) = pair();
        raw.write_all(b"\x16\x03").expect("it reads");
        raw.shutdown(Shutdown::Write).expect("a socket");
        assert_eq!(read(&link, &mut BytesMut::new()).await, Read::Closed);
        assert_eq!(link.take_news(), Some(News::Failed { fault: TlsFault::CutOff, in_handshake: true }));
    });
}
