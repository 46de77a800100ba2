//! The client: the far end of every transport, and above them a subscriber that resumes and a publisher that retries.

mod auto;
pub mod backoff;
pub mod connection;
pub mod continuity;
pub mod event;
pub mod event_source;
pub mod fault;
mod http;
mod lines;
pub mod long_poll;
pub mod multipart;
pub mod native;
mod native_socket;
mod page;
pub mod parts;
pub mod poll;
pub mod publisher;
pub mod record;
pub mod sse;
pub mod stomp;
pub mod stream;
pub mod subject;
pub mod subscriber;
pub mod target;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod websocket;

use bongsu_core::{ChannelName, Start};
use rand::SeedableRng;
use rand::rngs::SmallRng;

pub use self::auto::{Choice, NextTry};
pub use self::backoff::{Backoff, BackoffLimits};
pub use self::connection::{Connection, Options, Transport};
pub use self::event::{Bye, Event, GapNotice, Published};
pub use self::fault::{ClientFault, Problem, Verdict};
pub use self::http::Limits;
pub use self::publisher::{Outgoing, PublishOver, Publisher};
pub use self::subscriber::{Notice, Subscriber};
pub use self::target::{Scheme, Target};
pub use self::tls::Trust;
pub use self::websocket::WebSocket;

/// A server, as a client sees it: where subscribers and publishers come from.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
    options: Options,
}

impl Client {
    /// A client of the server at an address such as `http://127.0.0.1:8080`. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Self, ClientFault> {
        Ok(Self { target: Target::parse(url)?, options: Options::default() })
    }

    /// The same server at another address as well, such as `tcp://127.0.0.1:7070`, for the transports that need it.
    pub fn also_at(mut self, url: &str) -> Result<Self, ClientFault> {
        self.target = self.target.also_at(url)?;
        Ok(self)
    }

    /// Trusting others than the authorities of the web, where it speaks TLS.
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.target = self.target.trusting(trust);
        self
    }

    /// With other waits and bounds.
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Where the server is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How this client connects.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Follows channels over one transport, all from the same start.
    pub fn subscribe(&self, transport: Transport, channels: &[impl AsRef<str>], start: Start) -> Result<Subscriber, ClientFault> {
        self.follow(Choice::fixed(transport), channels, start)
    }

    /// Follows channels over a transport of choice, all from the same start.
    pub fn follow(&self, choice: Choice, channels: &[impl AsRef<str>], start: Start) -> Result<Subscriber, ClientFault> {
        let names = channels.iter().map(|name| ChannelName::parse(name.as_ref()));
        let mut starts: Vec<(ChannelName, Start)> = Vec::with_capacity(channels.len());
        for name in names {
            let name = name?;
            // Naming a channel twice asks for no more than naming it once.
            if !starts.iter().any(|(known, _)| *known == name) {
                starts.push((name, start.clone()));
            }
        }
        self.follow_from(choice, starts)
    }

    /// Follows channels over a transport of choice, each from a start of its own.
    pub fn follow_from(&self, choice: Choice, starts: Vec<(ChannelName, Start)>) -> Result<Subscriber, ClientFault> {
        if starts.is_empty() {
            return Err(bongsu_core::NameFault::Empty.into());
        }
        Ok(Subscriber::new(self.target.clone(), choice, starts, self.options, SmallRng::from_rng(&mut rand::rng())))
    }

    /// A publisher over HTTP.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.target.clone(), self.options, SmallRng::from_rng(&mut rand::rng()))
    }
}
