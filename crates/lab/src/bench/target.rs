//! A target file: a server described by data. How it is started, what is said to it, and where its subscribers and publishers go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::fault::unknown;
use super::scenario::Publish;
use crate::load::{Over, TRANSPORTS, Target, Transport};

/// A server, as its file describes it. Without `transports` and sections, it is spoken to as this project's own server is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetFile {
    /// What it is called in tables.
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// How it is started: words, of which `{port}`, `{dir}` (a folder of its own), `{here}` (this file's folder) are filled in.
    /// The word `bongsu` at the beginning is this program itself. Without it the server must run already.
    pub start: String,
    /// Where it listens if it is not started here.
    pub url: Option<String>,
    /// Its file of addresses in `{dir}`, as `bongsu serve --ports-file` writes it; without it, it listens on `{port}`.
    pub ports_file: Option<String>,
    /// The path at which it tells its counters as this project's server does, to be held against what subscribers got.
    pub metrics: Option<String>,
    /// Programs, or files beside this one, that it cannot do without.
    pub needs: Vec<String>,
    /// How to get them.
    pub install: String,
    /// Files that are written into `{dir}` before it starts, filled in like `start`.
    pub files: BTreeMap<String, String>,
    /// The transports that it speaks as this project's server does. All, if there are neither these nor sections.
    pub transports: Vec<Transport>,
    /// What differs, by transport.
    pub transport: BTreeMap<Transport, SubscribeSection>,
    /// How one publishes, unless as to this project's server.
    pub publish: Option<PublishSection>,
    /// The folder of the file.
    #[serde(skip)]
    pub here: PathBuf,
}

/// How one subscribes over a transport. What is not said is as with this project's server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscribeSection {
    /// What is asked for.
    pub path: Option<String>,
    /// The WebSocket subprotocol; empty for none.
    pub subprotocol: Option<String>,
    /// What is sent once it is open; a line with `{channel}`, for each of a connection's channels.
    pub opening: Option<Vec<String>>,
    /// The words that say that the subscription is there.
    pub ready: Option<String>,
    /// What the server may say, and what is said back.
    pub answers: BTreeMap<String, String>,
    /// What a poll asks after the first; `{name}` is the header of this name in the answer before.
    pub next_path: Option<String>,
    /// Headers of these requests.
    pub next_headers: BTreeMap<String, String>,
    /// Whether it counts as open as soon as the request is sent.
    pub open_once_sent: bool,
}

/// How one publishes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishSection {
    /// As frames of a WebSocket, or as POSTs.
    #[serde(default)]
    pub over: Over,
    /// Where to. With `{channel}`, WebSockets are one for each channel.
    pub path: String,
    /// Headers of a POST.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The WebSocket subprotocol.
    pub subprotocol: Option<String>,
    /// What is sent once it is open.
    #[serde(default)]
    pub opening: Vec<String>,
    /// The words that say that one may publish.
    pub ready: Option<String>,
    /// A publication's frame or body: `{payload}`, `{payload:json}`, `{bytes}`, `{channel}`.
    #[serde(default = "payload_alone")]
    pub frame: String,
}

fn payload_alone() -> String {
    "{payload}".to_owned()
}

impl TargetFile {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, BenchFault> {
        let text = std::fs::read_to_string(file).map_err(BenchFault::file(file))?;
        Self::parse(&text, file)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, file: &Path) -> Result<Self, BenchFault> {
        let wrong = |message: String| BenchFault::Text { file: file.to_owned(), message };
        let mut target: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        target.here = file.parent().unwrap_or(Path::new(".")).to_owned();
        if target.name.is_empty() {
            target.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        target.check().map_err(wrong)?;
        Ok(target)
    }

    /// This project's server, started with these further words.
    pub fn itself(words: &str) -> Self {
        Self {
            name: "bongsu".to_owned(),
            about: "this server".to_owned(),
            start: format!("{SERVE} {} {words}", listeners()),
            ports_file: Some("ports.json".to_owned()),
            metrics: Some(METRICS.to_owned()),
            ..Self::default()
        }
    }

    /// This project's server, which runs already.
    pub fn itself_at(url: &str) -> Self {
        Self { name: url.to_owned(), url: Some(url.to_owned()), metrics: Some(METRICS.to_owned()), ..Self::default() }
    }

    fn check(&self) -> Result<(), String> {
        if self.start.is_empty() && self.url.is_none() {
            return Err("say how it is started (start = \"program --port {port}\"), or where it runs (url = \"http://…\")".to_owned());
        }
        if !self.start.is_empty() && self.ports_file.is_none() && !self.says_port() {
            return Err("nothing in `start` or `files` takes {port}, and there is no ports_file: where would it listen?".to_owned());
        }
        let publish = self.publish.as_ref().map(|publish| publish.frame.as_str());
        if publish.is_some_and(|frame| !frame.contains("{payload")) {
            return Err("publish.frame has no {payload}: what would be published?".to_owned());
        }
        Ok(())
    }

    fn says_port(&self) -> bool {
        self.start.contains("{port}") || self.files.values().any(|text| text.contains("{port}"))
    }

    /// Whether its subscribers can use this transport.
    pub fn speaks(&self, transport: Transport) -> bool {
        let all = self.transports.is_empty() && self.transport.is_empty();
        all || self.transports.contains(&transport) || self.transport.contains_key(&transport)
    }

    /// The words for a run.
    pub fn target(
        &self,
        address: SocketAddr,
        transport: Transport,
        publish: Publish,
        several_subscriptions: bool,
    ) -> Result<Target, BenchFault> {
        if !self.speaks(transport) {
            let known = TRANSPORTS.iter().filter(|way| self.speaks(way.transport)).map(|way| way.name);
            return Err(unknown(&format!("transport of {}", self.name), transport.name(), known));
        }
        let mut target = Target::plain(address, transport);
        if several_subscriptions && !target.names_several_channels() {
            let parameters = target.subscribe_path.split_once('?').map_or(String::new(), |(_, query)| format!("&{query}"));
            target.subscribe_path = format!("/subscribe?{{channels}}{parameters}");
            target.next_path = target.next_path.replace("/channels/{channel}?", "/subscribe?{channels}&");
        }
        publish.apply(&mut target);
        if let Some(section) = self.transport.get(&transport) {
            section.apply(&mut target);
        }
        if let Some(section) = &self.publish {
            section.apply(&mut target);
        }
        Ok(target)
    }
}

impl SubscribeSection {
    fn apply(&self, target: &mut Target) {
        let set = |text: &mut String, new: &Option<String>| {
            if let Some(new) = new {
                text.clone_from(new);
            }
        };
        set(&mut target.subscribe_path, &self.path);
        set(&mut target.next_path, &self.next_path);
        if let Some(subprotocol) = &self.subprotocol {
            target.subscribe_subprotocol = Some(subprotocol.clone()).filter(|name| !name.is_empty());
        }
        if let Some(opening) = &self.opening {
            target.subscribe_opening.clone_from(opening);
            target.subscribe_ready = None;
        }
        if self.ready.is_some() {
            target.subscribe_ready.clone_from(&self.ready);
        }
        target.answers = self.answers.clone().into_iter().collect();
        target.next_headers = self.next_headers.clone().into_iter().collect();
        target.open_once_sent = self.open_once_sent;
    }
}

impl PublishSection {
    fn apply(&self, target: &mut Target) {
        target.publish_over = self.over;
        target.publish_path.clone_from(&self.path);
        target.publish_headers = self.headers.clone().into_iter().collect();
        target.publish_subprotocol.clone_from(&self.subprotocol);
        target.publish_opening.clone_from(&self.opening);
        target.publish_ready.clone_from(&self.ready);
        target.publish_frame.clone_from(&self.frame);
    }
}

/// Where this project's server tells its counters.
const METRICS: &str = "/metrics";

/// A server of this project on a port of its own.
const SERVE: &str = "bongsu serve --http 127.0.0.1:0 --log-level error --ports-file {dir}/ports.json";

/// The listeners beside HTTP that some transport connects to are open, the others off.
fn listeners() -> String {
    let flag = |name: &str| {
        let is_used = TRANSPORTS.iter().any(|way| way.listener == name);
        format!("--{name} {}", if is_used { "127.0.0.1:0" } else { "off" })
    };
    ["tcp", "udp", "stomp"].map(flag).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TargetFile, String> {
        TargetFile::parse(text, Path::new("there/some.toml")).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_file_says_how_it_is_spoken_to() {
        let file = parse(
            "start = 'some --port {port}'
             [transport.ws]
             path = '/'
             opening = ['SUB {channel} {n}', 'PING']
             ready = 'PONG'
             [publish]
             path = '/'
             frame = 'PUB {channel} {bytes} {payload}'",
        )
        .expect("a good file");
        assert_eq!((file.name.as_str(), file.here.as_path()), ("some", Path::new("there")));
        let address = ([127, 0, 0, 1], 80).into();
        let target = file.target(address, Transport::WebSocket, Publish::Ws, false).expect("a transport that it speaks");
        assert_eq!((target.subscribe_path.as_str(), target.subscribe_ready.as_deref()), ("/", Some("PONG")));
        assert!(target.publish_frame.starts_with("PUB"));
        let refused = file.target(address, Transport::Sse, Publish::Ws, false).expect_err("it does not speak that").to_string();
        assert_eq!(refused, "there is no transport of some \"sse\"; there are ws");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, words) in [
            ("", "say how it is started"),
            ("start = 'x'", "where would it listen"),
            ("start = 'x {port}'\nstrat = 1", "unknown field `strat`"),
            ("start = 'x {port}'\n[transport.pigeon]", "unknown variant `pigeon`"),
            ("start = 'x {port}'\n[publish]\npath = '/'\nframe = 'hello'", "no {payload}"),
            ("start = 'x {port}'\n[publish]", "missing field `path`"),
            ("start = 3", "line 1"),
        ] {
            let told = parse(text).expect_err("it is wrong");
            assert!(told.contains(words) && told.starts_with("there/some.toml: "), "{text}: {told}");
        }
    }
}
