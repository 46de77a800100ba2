//! Texts that are taken apart at an ASCII character, as all of HTTP is. Faster on short texts than the patterns of `str`.

use memchr::memchr;

/// Splits at the first such byte, which is ASCII.
pub fn split_once(text: &str, at: u8) -> Option<(&str, &str)> {
    memchr(at, text.as_bytes()).map(|at| (&text[..at], &text[at + 1..]))
}

/// What stands between such bytes, which are ASCII.
pub fn split(text: &str, at: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (piece, others) = split_once(text, at).map_or((text, None), |(piece, others)| (piece, Some(others)));
        rest = others;
        Some(piece)
    })
}

/// What a list has, without what surrounds it (RFC 9110, 5.6.1).
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    split(list, b',').map(str::trim_ascii).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_the_standard_library_does() {
        for text in ["", ",", "a", "a,b", ",a,,봉수,"] {
            assert_eq!(split(text, b',').collect::<Vec<_>>(), text.split(',').collect::<Vec<_>>(), "{text:?}");
            assert_eq!(split_once(text, b','), text.split_once(','), "{text:?}");
        }
    }
}
