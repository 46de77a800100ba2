//! The handshake that opens a WebSocket, over HTTP/1.1 and HTTP/2: what it must have, and the head that answers it.

use bongsu_core::websocket::handshake;

use crate::http::{Method, Problem, Request, Response, Version};
use crate::worker::Worker;

impl Worker {
    /// RFC 6455, 4.2.1: what a handshake must have. Returns the subprotocol that was chosen.
    pub(super) fn check_handshake(&self, request: &Request, supported: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        let upgrade = request.header_has("upgrade", "websocket") && request.header_has("connection", "upgrade");
        if !request.tunnel && (request.method() != Method::Get || request.version != Version::Http11 || !upgrade) {
            let detail = "open a WebSocket here: GET over HTTP/1.1 with Connection: Upgrade and Upgrade: websocket, \
                or over HTTP/2 an extended CONNECT";
            return Err(Problem::new(426, "websocket-required", detail).with("upgrade", "websocket"));
        }
        if request.header("sec-websocket-version") != Some(handshake::VERSION) {
            // RFC 6455, 4.4: the answer names the versions that are spoken.
            let detail = "the only version spoken here is 13: send Sec-WebSocket-Version: 13";
            // Over HTTP/2 there is nothing to upgrade.
            let problem = Problem::new(if request.tunnel { 400 } else { 426 }, "websocket-version", detail).with("upgrade", "websocket");
            return Err(problem.with("sec-websocket-version", handshake::VERSION));
        }
        // RFC 8441, 5.1: over HTTP/2 there is no key, and nothing that answers it.
        if !request.tunnel {
            check_key(request)?;
        }
        let offered = request.header_all("sec-websocket-protocol");
        let chosen = handshake::choose_subprotocol(offered, supported);
        if chosen.is_none() && !supported.is_empty() && request.header("sec-websocket-protocol").is_some() {
            let detail =
                format!("none of the subprotocols offered is spoken here; offer {}, or none for plain payloads", supported.join(", "));
            return Err(Problem::new(400, "unknown-subprotocol", detail));
        }
        Ok(chosen)
    }
}

fn check_key(request: &Request) -> Result<(), Problem> {
    let mut keys = request.header_all("sec-websocket-key");
    let (Some(client_key), None) = (keys.next(), keys.next()) else {
        return Err(Problem::new(400, "websocket-key", "the handshake must have exactly one Sec-WebSocket-Key"));
    };
    handshake::validate_key(client_key).map_err(|fault| Problem::new(400, "websocket-key", fault))
}

/// The head that opens a WebSocket, in the way of the request's version.
pub(super) fn accepted(request: &Request) -> Response {
    if request.tunnel {
        return Response::stream(200);
    }
    Response::stream(101)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-accept", &handshake::accept_key(request.header("sec-websocket-key").unwrap_or_default()))
}
