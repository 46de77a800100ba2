//! The server that one writes in an afternoon with axum: a `tokio::sync::broadcast` for each channel, a task or two for each connection.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt, stream};
use tokio::sync::broadcast;

type Channels = Arc<Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>>;

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok()).ok_or_else(|| std::io::Error::other("say which port"))?;
    // One thread, as the servers beside it have.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = Router::new().route("/channels/{channel}", get(subscribe)).with_state(Channels::default());
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(([127, 0, 0, 1], port).into())?;
        axum::serve(socket.listen(4096)?, router).await
    })
}

async fn subscribe(
    State(channels): State<Channels>,
    Path(name): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let channel = {
        let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.entry(name).or_insert_with(|| broadcast::channel(CAPACITY).0).clone()
    };
    match upgrade {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| converse(socket, channel)),
        Err(_) if headers.contains_key(header::ACCEPT) => events(channel),
        Err(refused) => refused.into_response(),
    }
}

async fn converse(socket: WebSocket, channel: broadcast::Sender<Utf8Bytes>) {
    let mut publications = channel.subscribe();
    let (mut outgoing, mut incoming) = socket.split();
    let sending = tokio::spawn(async move {
        while let Ok(text) = publications.recv().await {
            if outgoing.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = incoming.next().await {
        if let Message::Text(text) = message {
            // Nobody there is no fault.
            _ = channel.send(text);
        }
    }
    sending.abort();
}

fn events(channel: broadcast::Sender<Utf8Bytes>) -> Response {
    let publications = stream::unfold(channel.subscribe(), |mut publications| async move {
        let text = publications.recv().await.ok()?;
        Some((Ok::<_, Infallible>(Event::default().data(text.as_str())), publications))
    });
    Sse::new(publications).into_response()
}

/// Who falls so many messages behind is let go.
const CAPACITY: usize = 4096;
