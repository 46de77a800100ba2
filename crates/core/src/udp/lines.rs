//! Whole lines into datagrams: as many as fit, and never a part of one.

/// How many bytes of `lines` the next datagram takes: whole lines, as many as fit into `max`; at least one, whatever its length.
pub fn split_datagram(lines: &[u8], max: usize) -> usize {
    if lines.len() <= max {
        return lines.len();
    }
    match memchr::memrchr(b'\n', &lines[..max]) {
        Some(end) => end + 1,
        None => memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1),
    }
}

/// The last of whole lines, and where it begins.
pub fn last_line(lines: &[u8]) -> usize {
    let before = lines.len().saturating_sub(1);
    memchr::memrchr(b'\n', &lines[..before]).map_or(0, |end| end + 1)
}
