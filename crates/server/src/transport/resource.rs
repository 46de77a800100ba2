//! What stands at each path, and what may be done there. Asked about each request by its head alone.

use bongsu_core::ChannelName;

use super::answer::Exchange;
use crate::config::{Config, Listener};
use crate::console;
use crate::http::target::{Decoded, is_well_encoded};
use crate::http::{Method, Problem, Request, Response};
use crate::metrics::Route;
use crate::worker::Door;

/// What stands at a path.
#[derive(Debug, Clone)]
pub(crate) enum Resource {
    /// One channel.
    Channel(ChannelName),
    /// Several channels, named in the query.
    Subscribe,
    /// Publications for any channels, a line each.
    Batch,
    /// STOMP over a WebSocket, for any channels.
    Stomp,
    /// The WebSocket echo.
    Echo,
    /// The numbers.
    Metrics,
    /// Whether the server is well.
    Health,
    /// The page for a browser; for everyone else, what there is.
    Index,
    /// A file of the page.
    Console(&'static console::Asset),
}

impl Resource {
    /// Itself, if it is to be had by this listener.
    pub(super) fn at(self, door: Door, config: &Config) -> Result<Self, Problem> {
        match (door, &self) {
            (Door::Admin, Self::Metrics | Self::Health) => Ok(self),
            (Door::Admin, _) => Err(Problem::new(404, "not-found", "here are /metrics and /health; all else is at the HTTP listener")),
            (_, Self::Metrics) if config.listen.admin != Listener::Off => {
                Err(Problem::new(404, "not-found", "the numbers have a listener of their own (listen.admin)"))
            }
            _ => Ok(self),
        }
    }

    pub(super) fn allowed(&self) -> &'static str {
        match self {
            Self::Channel(_) => "GET, HEAD, POST, OPTIONS",
            Self::Batch => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whether this may be done to it; the same as `allowed` says.
    pub(super) fn allows(&self, method: Method) -> bool {
        match method {
            Method::Get | Method::Head => !matches!(self, Self::Batch),
            Method::Post => matches!(self, Self::Channel(_) | Self::Batch),
            Method::Options => true,
            Method::Other => false,
        }
    }

    pub(super) fn route(&self, method: Method) -> Route {
        match self {
            Self::Channel(_) if method == Method::Post => Route::Publish,
            Self::Channel(_) => Route::Channel,
            Self::Subscribe => Route::Subscribe,
            Self::Batch => Route::Batch,
            Self::Stomp => Route::Stomp,
            Self::Echo => Route::Echo,
            Self::Metrics => Route::Metrics,
            Self::Health => Route::Health,
            Self::Index | Self::Console(_) => Route::Other,
        }
    }
}

/// Whether this is the page or a part of it: what other sites may link to, and nothing that can be read or published by it.
pub(super) fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with(CONSOLE)
}

pub(super) fn find(path: &str, config: &Config) -> Result<Resource, Problem> {
    if !is_well_encoded(path) {
        return Err(Problem::new(
            400,
            "bad-percent-encoding",
            "a % in the path is not followed by two hexadecimal digits; write % itself as %25",
        ));
    }
    if let Some(name) = path.strip_prefix("/channels/") {
        return Decoded::of_path(name).to_channel().map(Resource::Channel).map_err(|fault| Problem::new(400, "invalid-channel", fault));
    }
    if let Some(name) = path.strip_prefix(CONSOLE) {
        return match console::find(name) {
            _ if !config.console.enabled => Err(Problem::new(404, "no-console", "the console is off; set console.enabled = true")),
            Some(asset) => Ok(Resource::Console(asset)),
            None => Err(Problem::new(404, "not-found", "the console has no such file; it begins at /")),
        };
    }
    match path {
        "/subscribe" => Ok(Resource::Subscribe),
        "/publish" => Ok(Resource::Batch),
        "/stomp" => Ok(Resource::Stomp),
        "/metrics" => Ok(Resource::Metrics),
        "/health" => Ok(Resource::Health),
        "/" => Ok(Resource::Index),
        "/echo" if config.echo.enabled => Ok(Resource::Echo),
        "/echo" => Err(Problem::new(404, "no-echo", "the echo is off; start the server with --echo")),
        "/channels" => Err(Problem::new(404, "not-found", "name a channel: /channels/chat/lobby")),
        _ => Err(Problem::new(
            404,
            "not-found",
            "nothing is here; the resources are /channels/{name}, /subscribe, /publish, /stomp, /metrics and /health",
        )),
    }
}

/// What is possible, for a person with curl and for a browser's preflight alike (Fetch, "CORS-preflight request").
pub(super) fn options(resource: &Resource, request: &Request, exchange: &Exchange) -> Response {
    let response = Response::new(204).header("allow", resource.allowed());
    if exchange.origin.is_none() || request.header("access-control-request-method").is_none() {
        return response;
    }
    response
        .header("access-control-allow-methods", resource.allowed())
        .header("access-control-allow-headers", "accept, content-type, idempotency-key, if-none-match, last-event-id, prefer, bongsu-key")
        .header("access-control-max-age", "600")
}

/// Where the files of the page are.
const CONSOLE: &str = "/console/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_what_is_said_to_be() {
        let channel = Resource::Channel(ChannelName::parse("a").expect("a name"));
        for resource in [channel, Resource::Batch, Resource::Subscribe, Resource::Stomp, Resource::Index] {
            let said: Vec<_> = resource.allowed().split(", ").collect();
            for (method, word) in [(Method::Get, "GET"), (Method::Head, "HEAD"), (Method::Post, "POST"), (Method::Options, "OPTIONS")] {
                assert_eq!(resource.allows(method), said.contains(&word), "{resource:?} {word}");
            }
            assert!(!resource.allows(Method::Other));
        }
    }
}
