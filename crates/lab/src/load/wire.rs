//! What the driver sends: request heads, publications in masked frames, and the stamp by which a message is known again.

use memchr::memmem::Finder;

use super::Filling;

/// Makes the stamped payloads and finds the stamps again.
#[derive(Debug)]
pub(super) struct Stamp {
    finder: Finder<'static>,
}

impl Stamp {
    pub(super) fn new() -> Self {
        Self { finder: Finder::new(MARK) }
    }

    /// The payload of publication `number`: mark, number in hexadecimal, filling.
    pub(super) fn payload(&self, number: u64, filling: &str) -> String {
        format!("{MARK_TEXT}{number:012x}{filling}")
    }

    /// Calls for the number of every message in a record.
    pub(super) fn each(&self, record: &[u8], mut found: impl FnMut(u64)) {
        if record.starts_with(MARK) {
            return number(&record[MARK.len()..]).into_iter().for_each(found);
        }
        for at in self.finder.find_iter(record) {
            number(&record[at + MARK.len()..]).into_iter().for_each(&mut found);
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.get(..NUMBER_LEN)?.iter().try_fold(0, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// Lays a masked frame behind what is there.
pub(super) fn lay_masked(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// What payloads are filled up with. The JSON has few names and many values, drawn without chance.
pub(super) fn filling(filling: Filling, bytes: usize) -> String {
    if filling == Filling::Same {
        return "x".repeat(bytes);
    }
    let mut text = String::with_capacity(bytes + 128);
    let mut drawn = 1u64;
    while text.len() < bytes {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (id, price, size) = (drawn >> 32, (drawn >> 20) % 100_000, (drawn >> 11) % 500);
        let side = if drawn >> 63 == 0 { "buy" } else { "sell" };
        text += &format!(r#"{{"id":{id},"side":"{side}","price":{}.{:02},"size":{size},"maker":true}},"#, price / 100, price % 100);
    }
    text.truncate(bytes);
    text
}

/// Fills the names of a connection's channels into a template.
pub(super) fn fill(template: &str, channels: &[usize]) -> String {
    if !template.contains("{channel") {
        return template.to_owned();
    }
    let names: Vec<String> = channels.iter().map(|&channel| format!("channel={}", name(channel))).collect();
    let first = channels.first().map(|&channel| name(channel)).unwrap_or_default();
    template.replace("{channels}", &names.join("&")).replace("{channel}", &first)
}

/// Fills a publication's frame or body.
pub(super) fn fill_payload(template: &str, channel: usize, payload: &str) -> String {
    let mut text = fill(template, &[channel]).replace("{bytes}", &payload.len().to_string());
    if text.contains("{payload:json}") {
        text = text.replace("{payload:json}", &serde_json::Value::from(payload).to_string());
    }
    text.replace("{payload}", payload)
}

/// The name of a channel of the run.
pub fn name(channel: usize) -> String {
    format!("bench-{channel}")
}

/// Short, so that a message of 16 bytes has room for it.
const MARK_TEXT: &str = "@b:";
const MARK: &[u8] = MARK_TEXT.as_bytes();
const NUMBER_LEN: usize = 12;
/// The mark and the number.
pub(super) const STAMP_LEN: usize = MARK.len() + NUMBER_LEN;
/// Any key will do: its secrecy guards proxies, and there is none between.
const MASK: [u8; 4] = [0x5a, 0x1c, 0x93, 0x27];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_wherever_it_stands() {
        let stamp = Stamp::new();
        let payload = stamp.payload(0xabc, &"x".repeat(113));
        assert_eq!(payload.len(), 128);
        let record = format!("{{\"data\":\"{payload}\"}},{{\"data\":\"{}\"}}", stamp.payload(7, ""));
        let mut found = Vec::new();
        stamp.each(record.as_bytes(), |number| found.push(number));
        stamp.each(payload.as_bytes(), |number| found.push(number));
        stamp.each(b"@b:00", |number| found.push(number));
        assert_eq!(found, [0xabc, 7, 0xabc]);
    }

    #[test]
    fn templates_name_the_channels() {
        assert_eq!(fill("/c/{channel}", &[3]), "/c/bench-3");
        assert_eq!(fill("/s?{channels}", &[1, 2]), "/s?channel=bench-1&channel=bench-2");
    }
}
