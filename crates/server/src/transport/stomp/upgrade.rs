//! STOMP over a WebSocket at `/stomp`: which version its subprotocols ask for.

use bongsu_core::hub::SubscriberKey;
use bongsu_core::stomp::Version;

use crate::http::{Problem, Request};
use crate::transport::answer::Exchange;
use crate::worker::Worker;

/// The subprotocols, the highest version first.
pub(crate) const SUBPROTOCOLS: [&str; 3] = [Version::V1_2.subprotocol(), Version::V1_1.subprotocol(), Version::V1_0.subprotocol()];

/// The highest version that a request offers: the order in which clients list them often means nothing.
pub(crate) fn offered(request: &Request) -> Option<Version> {
    let offered = request.header_items("sec-websocket-protocol");
    let version_of = |name: &str| Version::ALL.into_iter().find(|version| version.subprotocol() == name);
    offered.filter_map(version_of).max()
}

impl Worker {
    /// Makes a WebSocket that speaks STOMP of a request, in the highest version that it offers.
    pub(crate) fn upgrade_stomp(&mut self, key: SubscriberKey, exchange: &Exchange, request: &Request) {
        if let Err(problem) = self.check_handshake(request, &SUBPROTOCOLS) {
            return self.refuse(key, exchange, problem);
        }
        match offered(request) {
            Some(version) => self.open_stomp_websocket(key, exchange, request, version),
            None => {
                let detail = format!("offer one of the subprotocols {} in Sec-WebSocket-Protocol", SUBPROTOCOLS.join(", "));
                self.refuse(key, exchange, Problem::new(400, "unknown-subprotocol", detail));
            }
        }
    }
}
