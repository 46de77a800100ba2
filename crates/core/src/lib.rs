//! What bongsu decides: channels and their logs, positions, protocols, subscriptions.
//!
//! Pure: no sockets, no clock, no randomness, no threads. Time and chance arrive as arguments, so every behaviour can be replayed.

pub mod name;
pub mod position;
pub mod publication;
pub mod start;
pub mod websocket;

pub use name::{ChannelName, NameFault};
pub use position::{Cursor, CursorFault, Epoch, Offset, Position};
pub use publication::{ContentType, Draft, Publication};
pub use start::{Gap, GapReason, Start};
