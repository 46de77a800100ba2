//! Where the newest publication of each key is. A log keeps it where its channel conflates, for those who are slow.
//!
//! It names only publications that history retains, so the bounds on history bound it too.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::position::Offset;
use crate::publication::Publication;

/// The newest offset of each key; publications without a key count as of one and the same.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    by_key: HashMap<Option<Arc<str>>, Offset>,
    offsets: BTreeSet<Offset>,
}

impl Latest {
    /// A publication was appended: it is now the newest of its key.
    pub(crate) fn add(&mut self, publication: &Publication) {
        let offset = publication.position.offset;
        if let Some(before) = self.by_key.insert(publication.draft.key.clone(), offset) {
            self.offsets.remove(&before);
        }
        self.offsets.insert(offset);
    }

    /// A publication is no longer retained.
    pub(crate) fn remove(&mut self, publication: &Publication) {
        // Most are not the newest of their key, and were forgotten long ago.
        if self.offsets.remove(&publication.position.offset) {
            self.by_key.remove(&publication.draft.key);
        }
    }

    /// The newest of each key that lie after an offset, as far as `through`, in order.
    pub(crate) fn between(&self, after: Offset, through: Offset) -> impl Iterator<Item = Offset> {
        let end = through.saturating_add(1);
        self.offsets.range(after.saturating_add(1).min(end)..end).copied()
    }

    /// What it holds in memory; the keys themselves belong to their publications.
    pub(crate) fn bytes(&self) -> usize {
        self.by_key.len() * ENTRY_BYTES
    }
}

/// An entry of the map and one of the set, with what is spare in both.
const ENTRY_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Epoch, Position};
    use crate::publication::Draft;

    fn publication(offset: Offset, key: Option<&str>) -> Publication {
        let draft = Draft { key: key.map(Into::into), ..Draft::text("x") };
        Publication { position: Position::new(Epoch::from_bits(1), offset), time_ms: 0, bytes_before: 0, draft }
    }

    #[test]
    fn the_newest_of_each_key_and_of_those_without() {
        let mut latest = Latest::default();
        let all = [Some("a"), Some("b"), None, Some("a"), None, Some("c")];
        let all: Vec<_> = (1..).zip(all).map(|(offset, key)| publication(offset, key)).collect();
        all.iter().for_each(|publication| latest.add(publication));
        assert_eq!(latest.between(0, 6).collect::<Vec<_>>(), [2, 4, 5, 6]);
        assert_eq!(latest.between(4, 5).collect::<Vec<_>>(), [5]);
        assert_eq!(latest.between(9, 6).count(), 0);
        all[..4].iter().for_each(|publication| latest.remove(publication));
        assert_eq!(latest.between(0, 6).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(latest.bytes(), 2 * ENTRY_BYTES);
    }
}
