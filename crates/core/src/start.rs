//! Where a subscription starts, and what is said when it cannot start there.

use crate::position::{Cursor, Position};

/// Where a subscriber asks to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the next publication.
    Live,
    /// Right after this cursor.
    After(Cursor),
    /// With the oldest publication retained.
    Earliest,
    /// With the last so many.
    Last(u64),
}

/// A loss, or the possibility of one, told to the subscriber in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The cursor the subscriber had.
    pub asked: Cursor,
    /// The cursor right before the first publication that it gets now.
    pub resumed: Position,
    /// Why what lies between is not certain to have been delivered.
    pub reason: GapReason,
}

/// Why there is a gap. Clients accept reasons that they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The cursor's epoch is not the channel's: its continuity was lost in between.
    Epoch,
    /// History no longer reaches back to the cursor.
    Trimmed,
    /// The cursor lies past the channel's head.
    Future,
    /// The subscriber was too slow, and its channel's policy passed publications over.
    Dropped,
    /// The subscriber was too slow, and gets only the newest publication of each key.
    Conflated,
}

impl GapReason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Trimmed => "trimmed",
            Self::Future => "future",
            Self::Dropped => "dropped",
            Self::Conflated => "conflated",
        }
    }
}
