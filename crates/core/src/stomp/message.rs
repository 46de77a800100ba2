//! Publications and gaps as MESSAGE frames.

use bytes::{BufMut, BytesMut};

use super::Version;
use super::destination::Prefix;
use super::encode::HeadWriter;
use super::escape::Escapes;
use super::frame::FrameCommand;
use crate::format::json::write_gap;
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Publication;
use crate::start::Gap;
use crate::timestamp::timestamp;

/// All that a subscriber's MESSAGE frames have of its own. Subscribers of a channel whose forms are equal get the same bytes, so
/// they can share a tape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageForm {
    pub(super) version: Version,
    pub(super) subscription: Option<Box<str>>,
    pub(super) prefix: Prefix,
    /// Whether messages wait for an ACK.
    pub(super) acknowledged: bool,
}

impl MessageForm {
    /// Whether messages wait for an ACK, so that the session must be told of each and its window obeyed.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Writes a publication. Its `message-id` is its position.
    pub fn write_message(&self, channel: &ChannelName, publication: &Publication, out: &mut BytesMut) {
        let draft = &publication.draft;
        out.reserve(draft.data.len() + channel.as_str().len() + 256);
        let mut head = self.begin(channel, publication.position, "", out);
        head.header("content-type", draft.content_type.as_str());
        head.number("content-length", draft.data.len());
        let time = timestamp(publication.time_ms);
        head.header("time", std::str::from_utf8(&time).expect("a timestamp is ASCII"));
        if let Some(key) = &draft.key {
            head.header("key", key);
        }
        for (name, value) in draft.headers.iter().filter(|(name, _)| !is_ours(name)) {
            head.header(name, value);
        }
        head.body(&draft.data);
    }

    /// Writes a gap: a MESSAGE that any client sees, told apart by its `gap` header. Like others, it waits for an ACK.
    pub fn write_gap(&self, channel: &ChannelName, gap: &Gap, out: &mut BytesMut) {
        let mut body = BytesMut::new();
        write_gap(None, gap, &mut body);
        let mut head = self.begin(channel, gap.resumed, GAP_SUFFIX, out);
        head.header("gap", gap.reason.as_str());
        head.header("content-type", "application/json");
        head.number("content-length", body.len());
        head.body(&body);
    }

    /// The form of a subscription that answers for what it gets.
    #[cfg(test)]
    pub(crate) fn acknowledged_by(id: &str) -> Self {
        Self { version: Version::V1_2, subscription: Some(id.into()), prefix: Prefix::Topic, acknowledged: true }
    }

    fn begin<'a>(&self, channel: &ChannelName, position: Position, id_suffix: &str, out: &'a mut BytesMut) -> HeadWriter<'a> {
        let mut head = HeadWriter::new(self.version, FrameCommand::Message, out);
        if let Some(subscription) = &self.subscription {
            head.header("subscription", subscription);
        }
        let id = |out: &mut BytesMut| {
            position.write_to(out);
            out.put_slice(id_suffix.as_bytes());
        };
        head.plain("message-id", id);
        // STOMP 1.2: an ACK gives back the `ack` header, so it says of which subscription the message is.
        if self.acknowledged && self.version == Version::V1_2 {
            head.plain("ack", |out| {
                id(out);
                out.put_u8(b'@');
                Escapes::of(self.version).write_value(self.subscription.as_deref().unwrap_or_default(), out);
            });
        }
        head.header_in_two("destination", self.prefix.as_str(), channel.as_str());
        head.plain("position", |out| position.write_to(out));
        head
    }
}

/// Names what a MESSAGE says itself; a publication's own header of such a name would be taken for it.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 11] = [
        "subscription",
        "message-id",
        "ack",
        "destination",
        "position",
        "content-type",
        "content-length",
        "time",
        "key",
        "gap",
        "redelivered",
    ];
    OURS.contains(&name)
}

/// What tells the message-id of a gap from that of the publication at the same place.
pub(super) const GAP_SUFFIX: &str = "-gap";
