//! The load driver: opens subscribers, publishes at a rate or in a window, checks every message, and reads what it cost the server.
//!
//! One thread with an event loop of its own, so that what it costs itself stays small beside the server. [`run`] does a whole run.

mod balance;
mod check;
mod decode;
mod dial;
mod driver;
mod inflate;
mod opening;
mod plan;
mod process;
mod report;
mod socket;
mod subscriber;
mod tally;
mod transport;
mod wire;

pub use balance::{Account, Balance};
pub use decode::PeerFault;
pub use driver::{run, run_watched};
pub use plan::{Filling, Over, Pace, Plan, Target};
pub use process::Usage;
pub use report::{Latency, Progress, Report, RunFault, Sample};
pub use transport::{TRANSPORTS, Transport, Way};
pub use wire::name as channel_name;

/// The shortest payload: it has room for the mark and the number.
pub const PAYLOAD_BYTES_MIN: usize = wire::STAMP_LEN;
