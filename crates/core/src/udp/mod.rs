//! The native protocol over UDP, as far as it can be decided without a socket: cookies that validate an address, datagrams taken
//! apart and put together, leases, and the pace at which one client is sent to.

mod answer;
mod cookie;
mod fault;
mod lease;
mod lines;
mod pace;
mod request;
#[cfg(test)]
mod tests;

pub use answer::{
    Terms, write_announcement, write_cookie, write_head, write_lease_ended, write_repaired, write_stranger_answer, write_subscribed,
};
pub use cookie::{COOKIE_CHARS, Checked, Cookie, CookieKeys};
pub use fault::UdpFault;
pub use lease::{HeadTimes, Lease, Look};
pub use lines::{last_line, split_datagram};
pub use pace::Pace;
pub use request::{Opening, Request, commands, open};

/// How many bytes a hello must have to be answered in full: an unknown address is sent no more than it sent.
pub const HELLO_BYTES_MIN: usize = 256;

/// The smallest bound on a datagram: below it an answer with the longest names could not be said.
pub const DATAGRAM_BYTES_MIN: usize = 1200;
