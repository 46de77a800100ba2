//! A client's datagram taken apart: the line it opens with, and its commands.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Cookie, UdpFault};
use crate::name::ChannelName;
use crate::native::{self, Command, Id, NativeFault, NativeLimits};
use crate::position::Cursor;

/// What a datagram opens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// An address that asks for a cookie.
    Hello,
    /// An address that shows one.
    Cookie(Cookie),
}

/// What a client asks for, once its address is validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// What the native protocol has everywhere; `complete` is a subscribe's wish to have what is lost again.
    Command {
        /// The command.
        command: Command,
        /// Whether a subscribe wants every publication, or only the newest of those that are due.
        complete: bool,
    },
    /// To be sent again what was lost.
    Repair {
        /// The channel, which must be subscribed to.
        channel: ChannelName,
        /// The last publication before the hole.
        after: Cursor,
        /// The last publication in the hole; without one, all that was sent.
        through: Option<Cursor>,
        /// What the answer repeats.
        id: Option<Id>,
    },
}

/// The members that an opening line may have. Others, such as those that pad it, mean nothing.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    cookie: Option<&'a str>,
    #[serde(default)]
    hello: Option<IgnoredAny>,
}

/// Reads the line that a datagram opens with, and gives what follows it.
pub fn open(datagram: &[u8]) -> Result<(Opening, &[u8]), UdpFault> {
    if datagram.trim_ascii().is_empty() {
        return Err(UdpFault::Empty);
    }
    let end = memchr::memchr(b'\n', datagram).unwrap_or(datagram.len());
    let (first, rest) = datagram.split_at(end);
    // A JSON array would do for serde as well.
    if !first.trim_ascii_start().starts_with(b"{") {
        return Err(UdpFault::NoCookie);
    }
    let members: Members<'_> = serde_json::from_slice(first).map_err(|_| UdpFault::NoCookie)?;
    match (members.cookie, members.hello) {
        (Some(cookie), _) => Ok((Opening::Cookie(Cookie::parse(cookie)?), rest)),
        (None, Some(_)) => Ok((Opening::Hello, rest)),
        (None, None) => Err(UdpFault::NoCookie),
    }
}

/// The commands that follow the opening line, each on a line of its own. Empty lines, with which a datagram may be padded, are passed over.
pub fn commands<'a>(rest: &'a [u8], limits: &'a NativeLimits) -> impl Iterator<Item = Result<Request, NativeFault>> + 'a {
    let lines = rest.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    lines.map(|line| native::decode_datagram_line(line, limits))
}
