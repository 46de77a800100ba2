//! JSON from outside: the check, native commands, and lines of a batch. What is accepted can be said again and means the same.

use bongsu_core::Draft;
use bongsu_core::json::{check_json, write_on_one_line};
use bongsu_core::native::{self, Command, NativeFault, NativeLimits, Publish};
use bongsu_lab::client::native as client;
use bytes::BytesMut;
use serde_json::Value;

/// The first byte is the depth that is allowed; what passes is JSON to another reader too, and stays the same on one line.
pub(crate) fn json_check(data: &[u8]) {
    let Some((&depth, text)) = data.split_first() else { return };
    if check_json(text, depth.into()).is_err() {
        return;
    }
    let value: Value = serde_json::from_slice(text).expect("what passed the check is JSON");
    assert!(depth_of(&value) <= usize::from(depth));
    let mut line = BytesMut::new();
    write_on_one_line(text, &mut line);
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    assert_eq!(serde_json::from_slice::<Value>(&line).expect("still JSON"), value);
}

/// A command obeys the limits; a fault can be told on one line of JSON, under the command's id.
pub(crate) fn native_decode(data: &[u8]) {
    match native::decode(data, &limits()) {
        Ok(Command::Publish { draft, idempotency_key, .. }) => {
            assert!(draft.data.len() <= limits().payload_bytes_max);
            assert!(idempotency_key.is_none_or(|key| (1..=limits().key_bytes_max).contains(&key.len())));
        }
        Ok(Command::Subscribe { id, .. } | Command::Unsubscribe { id, .. }) => {
            id.iter().for_each(|id| assert!(is_json(id.as_json())));
        }
        Ok(Command::Ping(value)) => {
            let mut pong = BytesMut::new();
            native::write_pong(&value, &mut pong);
            assert!(serde_json::from_slice::<Value>(&pong).is_ok());
        }
        Ok(Command::Heartbeat { ping, every_ms }) => {
            assert!(every_ms <= native::PING_EVERY_MS_MAX);
            let mut agreed = BytesMut::new();
            native::write_agreed(&ping, every_ms, &mut agreed);
            assert_eq!(serde_json::from_slice::<Value>(&agreed).expect("JSON")["every_ms"], every_ms);
        }
        Ok(Command::Pong) => (),
        Err(fault) => check_told(&fault),
    }
}

/// What a line publishes, the client says in its own words, and the server understands the same.
pub(crate) fn publish_line(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        let Publish { channel, draft, idempotency_key, .. } = match native::decode_publish(line, &limits()) {
            Ok(publish) => publish,
            Err(fault) => {
                check_told(&fault);
                continue;
            }
        };
        let said = client::publish(&channel, &draft, idempotency_key.as_deref(), 1);
        assert!(!said.contains('\n'), "a line is one line: {said}");
        let wide = NativeLimits { payload_bytes_max: 1 << 20, ..limits() };
        let again = native::decode_publish(said.as_bytes(), &wide).expect("what was understood can be said again");
        assert_eq!((again.channel, sorted(again.draft), again.idempotency_key), (channel, sorted(draft), idempotency_key));
    }
}

/// The members of an object have no order that the client would keep.
fn sorted(mut draft: Draft) -> Draft {
    draft.headers.sort();
    draft
}

fn check_told(fault: &NativeFault) {
    let mut told = BytesMut::new();
    native::write_fault(fault, &mut told);
    assert!(!told.contains(&b'\n'));
    let told: Value = serde_json::from_slice(&told).expect("a fault is told in JSON");
    assert_eq!(told["error"]["code"], fault.code());
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

fn limits() -> NativeLimits {
    NativeLimits { depth_max: 8, payload_bytes_max: 500, key_bytes_max: 20, headers_max: 4, header_bytes_max: 100 }
}
