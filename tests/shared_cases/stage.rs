//! Where a case plays: a server on a free port, and publishers whose every word is remembered.

use std::net::SocketAddr;

use bongsu_core::{ChannelName, ContentType, Cursor, Draft, Start};
use bongsu_lab::client::{Client, Outgoing, Publisher, Trust};
use bongsu_server::config::{Config, SourceFile, Sources};
use bongsu_server::serve::Server;
use bytes::Bytes;
use tempfile::TempDir;

use crate::reader::{Carrier, Reader};

/// A server of its own for each case, and the transport that the case is about.
pub struct Stage {
    pub carrier: Carrier,
    pub client: Client,
    pub server: Server,
    /// Where its certificate is kept.
    _folder: Option<TempDir>,
}

/// A publication as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub channel: ChannelName,
    pub position: Cursor,
    pub draft: Draft,
}

impl Stage {
    /// Starts the server.
    pub fn in_the_clear(carrier: Carrier) -> Self {
        let server = start("");
        let client = client(&server, ["http", "tcp", "stomp"]);
        Self { carrier, client, server, _folder: None }
    }

    /// Starts the server with a certificate that its clients trust.
    pub fn over_tls(carrier: Carrier) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let state = folder.path().display().to_string();
        let server = start(&format!("tls = {{ self_signed = true, state_dir = {state:?} }}\n"));
        let trust = Trust::file(&folder.path().join("self-signed.pem")).expect("its certificate");
        let client = client(&server, ["https", "tcps", "stomps"]).trusting(trust);
        Self { carrier, client, server, _folder: Some(folder) }
    }

    /// A reader of one channel over the case's transport, which has begun.
    pub async fn reader(&self, channel: &str, start: Start) -> Reader {
        Reader::open(&self.client, self.carrier, &[channel], start).await
    }

    /// Publishes texts in order, a request each.
    pub async fn publish(&self, channel: &str, texts: impl IntoIterator<Item = String>) -> Vec<Sent> {
        let mut publisher = self.client.publisher();
        let mut sent = Vec::new();
        for text in texts {
            sent.push(publish(&mut publisher, channel, Draft::text(text)).await);
        }
        sent
    }

    /// Publishes one thing of any kind.
    pub async fn publish_draft(&self, channel: &str, draft: Draft) -> Sent {
        publish(&mut self.client.publisher(), channel, draft).await
    }
}

fn start(more: &str) -> Server {
    let file = SourceFile { name: "the stage".to_owned(), text: format!("{more}{CONFIG}") };
    let config = Config::load(&Sources { file: Some(file), ..Sources::default() }).expect("a sound configuration");
    Server::start(config).expect("a free port")
}

/// A client that knows where the server speaks HTTP, the native protocol and STOMP; and UDP, which has no TLS.
fn client(server: &Server, [http, tcp, stomp]: [&str; 3]) -> Client {
    let listening = server.addresses();
    let at = |scheme: &str, address: Option<SocketAddr>| format!("{scheme}://{}", address.expect("it listens"));
    let client = Client::new(&at(http, listening.http)).and_then(|client| client.also_at(&at(tcp, listening.tcp)));
    let client = client.and_then(|client| client.also_at(&at("udp", listening.udp)));
    client.and_then(|client| client.also_at(&at(stomp, listening.stomp))).expect("addresses")
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.shutdown();
    }
}

/// Publishes, and remembers what and where.
pub async fn publish(publisher: &mut Publisher, channel: &str, draft: Draft) -> Sent {
    let channel = ChannelName::parse(channel).expect("a name");
    let outgoing = Outgoing { channel, draft, idempotency_key: None };
    let position = publisher.publish(&outgoing).await.expect("published");
    Sent { channel: outgoing.channel, position, draft: outgoing.draft }
}

/// Texts that tell themselves apart.
pub fn texts(word: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{word} {number}"))
}

/// What any bytes are published as.
pub fn draft(data: impl Into<Bytes>, content_type: ContentType) -> Draft {
    Draft { data: data.into(), content_type, ..Draft::default() }
}

/// The offset of a cursor that the server gave.
pub fn offset(cursor: &Cursor) -> u64 {
    cursor.position().expect("a cursor of the server's own").offset
}

/// Little room on the tape and in the kernel, so that whoever pauses has to catch up from history; and short histories to fall out of.
const CONFIG: &str = r#"
workers = 2
listen = { http = "127.0.0.1:0", tcp = "127.0.0.1:0", udp = "127.0.0.1:0", stomp = "127.0.0.1:0" }
delivery.tape_bytes_max = "16 KiB"
delivery.send_buffer_bytes = "16 KiB"
shutdown.timeout = "2s"
udp.datagram_bytes_max = "16 KiB"
websocket.close_timeout = "500ms"

[[channels]]
pattern = "short/**"
publications_max = 10
"#;
