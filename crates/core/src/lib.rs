//! What bongsu decides: channels and their logs, positions, protocols, subscriptions.
//!
//! Pure: no sockets, no clock, no randomness, no threads. Time and chance arrive as arguments, so every behaviour can be replayed.

mod backpressure;
pub mod composite;
pub mod directory;
pub mod disconnect;
pub mod encoding;
pub mod format;
pub mod hub;
pub mod idempotency;
pub mod json;
mod latest;
pub mod limits;
pub mod log;
pub mod name;
pub mod native;
pub mod pace;
pub mod page;
pub mod pattern;
pub mod position;
pub mod proxy;
pub mod publication;
pub mod queue;
pub mod snapshot;
pub mod start;
pub mod stomp;
pub mod timestamp;
pub mod udp;
pub mod websocket;

pub use composite::{Composite, CompositeCursor, CompositeFault};
pub use disconnect::{Disconnect, Goodbye};
pub use format::{Format, Forms};
pub use name::{ChannelName, NameFault};
pub use pattern::{ChannelPattern, PatternFault};
pub use position::{Cursor, CursorFault, Epoch, Offset, Position};
pub use publication::{ContentType, Draft, Publication};
pub use start::{Gap, GapReason, Start};
