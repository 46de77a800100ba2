//! What is agreed when a client connects: the version, and who sends heart-beats how often.

use super::Version;
use super::fault::StompFault;
use super::frame::Frame;

/// What a client says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that was agreed.
    pub version: Version,
    /// The virtual host that the client wants. The versions demand it from 1.1 on, but well-known clients leave it out.
    pub host: Option<Box<str>>,
    /// Who the client says it is.
    pub login: Option<Box<str>>,
    /// How it proves that.
    pub passcode: Option<Box<str>>,
    /// The heart-beats that were agreed.
    pub heart_beat: HeartBeat,
}

/// The heart-beats that the server can send and would like to have, in milliseconds; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartBeatOffer {
    /// The shortest time between heart-beats that the server will send.
    pub send_ms: u64,
    /// The time between heart-beats that it wants from clients.
    pub expect_ms: u64,
}

/// The heart-beats of a connection, in milliseconds; `None` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeartBeat {
    /// The server sends something at least this often, a line end if it has nothing else.
    pub send_ms: Option<u64>,
    /// The client does; allow it a margin before [`super::StompSession::handle_silence`].
    pub expect_ms: Option<u64>,
}

impl Connect {
    /// Reads a CONNECT or STOMP frame.
    pub(super) fn read(frame: &Frame, versions: &[Version], offer: HeartBeatOffer) -> Result<Self, StompFault> {
        let version = agree(frame.get("accept-version"), versions)?;
        let own = |name| frame.get(name).map(Box::from);
        let heart_beat = match version {
            Version::V1_0 => HeartBeat::default(),
            _ => HeartBeat::agree(frame.get("heart-beat"), offer)?,
        };
        Ok(Self { version, host: own("host"), login: own("login"), passcode: own("passcode"), heart_beat })
    }
}

impl HeartBeat {
    // STOMP 1.2, "Heart-beating": none if either side says 0, otherwise the larger of the two; a missing header is 0,0.
    fn agree(header: Option<&str>, offer: HeartBeatOffer) -> Result<Self, StompFault> {
        let Some(header) = header else { return Ok(Self::default()) };
        let (can, wants) = header.split_once(',').ok_or(StompFault::InvalidHeartBeat)?;
        let number = |text: &str| text.trim().parse::<u32>().map(u64::from).map_err(|_| StompFault::InvalidHeartBeat);
        let both = |ours: u64, theirs: u64| (ours != 0 && theirs != 0).then(|| ours.max(theirs));
        Ok(Self { send_ms: both(offer.send_ms, number(wants)?), expect_ms: both(offer.expect_ms, number(can)?) })
    }
}

// STOMP 1.2, "Protocol Negotiation": the highest in common; a client that does not say speaks 1.0.
fn agree(accept: Option<&str>, versions: &[Version]) -> Result<Version, StompFault> {
    let accepted = accept.unwrap_or("1.0").split(',').filter_map(|text| Version::parse(text.trim()));
    accepted.filter(|version| versions.contains(version)).max().ok_or_else(|| StompFault::VersionNotSupported {
        supported: versions.iter().map(|version| version.as_str()).collect::<Vec<_>>().join(","),
    })
}
