//! Channel names and cursors, plain and composite: what is accepted obeys the grammar and is given back as it came.

use bongsu_core::name::CHANNEL_NAME_BYTES_MAX;
use bongsu_core::{ChannelName, Composite, CompositeCursor, CompositeFault, Cursor};

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

/// An accepted composite cursor has no more parts than allowed; what a channel of ours gets from it can be written and read again.
pub(crate) fn composite_cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(cursor) = CompositeCursor::parse(text, PARTS_MAX) else { return };
    let parts = text.split('.').count();
    assert!(parts <= PARTS_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    assert_eq!(CompositeCursor::parse(text, parts - 1), Err(CompositeFault::TooManyParts { max: parts - 1 }));
    let channels = ["a", "b", "chat/lobby"].map(|name| ChannelName::parse(name).expect("a name"));
    let mut composite = Composite::new(&channels);
    let positions = channels.each_ref().map(|channel| cursor.get(channel).and_then(|cursor| cursor.position()));
    positions.iter().enumerate().for_each(|(index, position)| position.iter().for_each(|&position| composite.advance(index, position)));
    if let Ok(again) = CompositeCursor::parse(composite.as_str(), PARTS_MAX) {
        let read = channels.each_ref().map(|channel| again.get(channel).and_then(|cursor| cursor.position()));
        assert_eq!(read, positions);
    }
}

const PARTS_MAX: usize = 8;
