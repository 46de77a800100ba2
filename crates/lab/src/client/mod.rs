//! The client: the far end of every transport, and above them a subscriber that resumes and a publisher that retries.

pub mod backoff;
pub mod connection;
pub mod continuity;
pub mod event;
pub mod event_source;
pub mod fault;
mod http;
mod lines;
pub mod long_poll;
pub mod native;
mod page;
pub mod poll;
pub mod record;
pub mod sse;
pub mod stream;
pub mod target;
pub mod websocket;

pub use self::http::Limits;
