//! Channel names and cursors: what is accepted obeys the grammar and is given back as it came.

use bongsu_core::name::CHANNEL_NAME_BYTES_MAX;
use bongsu_core::{ChannelName, Cursor};

/// An accepted name is the bytes given, and obeys the rules of names.
pub(crate) fn channel_name(data: &[u8]) {
    let Ok(name) = ChannelName::from_bytes(data) else { return };
    assert_eq!(name.as_str().as_bytes(), data);
    assert!((1..=CHANNEL_NAME_BYTES_MAX).contains(&data.len()));
    assert!(!name.as_str().chars().any(char::is_control));
    assert!(name.as_str().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
    assert_eq!(name.is_reserved(), data[0] == b'$');
}

/// An accepted cursor is the text given; one that names a position of ours is written the same way again.
pub(crate) fn cursor_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(cursor) = Cursor::parse(text) else { return };
    assert_eq!(cursor.as_str(), text);
    assert!(text.len() <= 32 + 1 + 20);
    let Some(position) = cursor.position() else { return };
    let again = Cursor::from(position);
    assert_eq!(Cursor::parse(again.as_str()), Ok(again.clone()));
    assert_eq!(again.position(), Some(position));
}
