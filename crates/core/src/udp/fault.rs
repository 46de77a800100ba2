//! What a datagram can be wrong in before its commands are read: a name for programs and a sentence for people.

/// Why a datagram is not acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UdpFault {
    /// There is nothing in it.
    #[error("the datagram is empty; begin with a hello")]
    Empty,
    /// It is longer than the bound.
    #[error("the datagram is over the bound; send less in each, large publications over another transport")]
    TooLarge,
    /// Its first line is no object that the protocol knows.
    #[error("a datagram begins with a line that has hello or cookie")]
    NoCookie,
    /// Its hello is too short to be answered in full.
    #[error("pad the hello")]
    ShortHello,
    /// The cookie is none by its form.
    #[error("not a cookie; use this one")]
    MalformedCookie,
    /// We never gave the cookie.
    #[error("not our cookie; use this one")]
    ForgedCookie,
    /// We gave the cookie to another address.
    #[error("the cookie is another address's; use this one")]
    AddressChanged,
    /// The cookie was given too long ago.
    #[error("the cookie is too old; use this one")]
    StaleCookie,
    /// Too many addresses that are not validated ask at once: this one goes unanswered.
    #[error("too many strangers at once")]
    Flood,
}

impl UdpFault {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::Empty,
        Self::TooLarge,
        Self::NoCookie,
        Self::ShortHello,
        Self::MalformedCookie,
        Self::ForgedCookie,
        Self::AddressChanged,
        Self::StaleCookie,
        Self::Flood,
    ];

    /// The fault's name for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty-datagram",
            Self::TooLarge => "datagram-too-large",
            Self::NoCookie => "no-cookie",
            Self::ShortHello => "short-hello",
            Self::MalformedCookie => "malformed-cookie",
            Self::ForgedCookie => "forged-cookie",
            Self::AddressChanged => "address-changed",
            Self::StaleCookie => "stale-cookie",
            Self::Flood => "too-many-strangers",
        }
    }
}
