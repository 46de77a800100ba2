//! What an operator writes: the configuration file, and the patterns in it.

use bongsu_core::{ChannelName, ChannelPattern};
use bongsu_server::config::{Config, SourceFile, Sources};

/// A file is a configuration, or what is wrong with it is told.
pub(crate) fn config_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = SourceFile { name: "a.toml".to_owned(), text: text.to_owned() };
    match Config::load_with_origins(&Sources { file: Some(file), ..Sources::default() }) {
        Ok(loaded) => loaded.changed().iter().for_each(|setting| assert!(!setting.key.is_empty())),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// A pattern and a name, a line each: they match as a plain recursive matcher says.
pub(crate) fn channel_pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "a/b"));
    let Ok(parsed) = ChannelPattern::parse(pattern) else { return };
    assert_eq!(parsed.as_str(), pattern);
    let Ok(channel) = ChannelName::parse(name) else { return };
    let own = pattern.starts_with('$') || !name.starts_with('$');
    // The plain matcher takes exponential time, so it judges what is short.
    if pattern.len() <= 24 && name.len() <= 24 {
        let (pattern, name): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), name.split('/').collect());
        assert_eq!(parsed.matches(&channel), own && slow(&pattern, &name, |part| *part == "**", segment));
    } else if !pattern.contains('*') {
        assert_eq!(parsed.matches(&channel), pattern == name);
    }
}

fn segment(pattern: &&str, text: &&str) -> bool {
    slow(pattern.as_bytes(), text.as_bytes(), |&byte| byte == b'*', |a, b| a == b)
}

fn slow<P, T>(pattern: &[P], items: &[T], is_star: fn(&P) -> bool, same: fn(&P, &T) -> bool) -> bool {
    match (pattern.split_first(), items.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((part, after)), rest) if is_star(part) => {
            slow(after, items, is_star, same) || rest.is_some_and(|(_, rest)| slow(pattern, rest, is_star, same))
        }
        (Some(_), None) => false,
        (Some((part, after)), Some((item, rest))) => same(part, item) && slow(after, rest, is_star, same),
    }
}
