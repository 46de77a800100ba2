//! What a client says in the native protocol: one JSON object a line or frame.

use bongsu_core::{ChannelName, ContentType, Draft, Start};
use serde_json::{Map, Value, json};

use super::event::data_form;

/// Asks for a channel.
pub fn subscribe(channel: &ChannelName, start: &Start, id: u64) -> String {
    let mut line = json!({ "subscribe": channel.as_str(), "id": id });
    match start {
        Start::Live => (),
        Start::After(cursor) => line["after"] = cursor.as_str().into(),
        Start::Earliest => line["earliest"] = true.into(),
        Start::Last(count) => line["last"] = (*count).into(),
    }
    line.to_string()
}

/// Publishes; also a line of `POST /publish`.
pub fn publish(channel: &ChannelName, draft: &Draft, idempotency_key: Option<&str>, id: u64) -> String {
    let mut line = Map::new();
    line.insert("publish".into(), channel.as_str().into());
    line.insert("id".into(), id.into());
    if draft.content_type != ContentType::Text {
        line.insert("type".into(), draft.content_type.as_str().into());
    }
    if let Some(key) = &draft.key {
        line.insert("key".into(), key.as_ref().into());
    }
    if let Some(key) = idempotency_key {
        line.insert("idempotency_key".into(), key.into());
    }
    if !draft.headers.is_empty() {
        let headers: Map<String, Value> = draft.headers.iter().map(|(name, value)| (name.to_string(), value.as_ref().into())).collect();
        line.insert("headers".into(), headers.into());
    }
    let data = data_form(&draft.data, &draft.content_type);
    if data.base64 {
        line.insert("base64".into(), true.into());
    }
    with_data(line, &data.text)
}

/// Adds `data` as the text of a JSON value: reading and writing it again would change the digits of its numbers.
pub(crate) fn with_data(form: Map<String, Value>, data: &str) -> String {
    let mut line = Value::from(form).to_string();
    line.truncate(line.len() - 1);
    line.push_str(",\"data\":");
    line.push_str(data);
    line.push('}');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use bongsu_core::Cursor;
    use bytes::Bytes;

    fn channel() -> ChannelName {
        ChannelName::parse("chat/lobby").expect("a name")
    }

    #[test]
    fn says_where_to_start() {
        let after = Start::After(Cursor::parse("e-1").expect("a cursor"));
        for (start, line) in [
            (Start::Live, r#"{"id":1,"subscribe":"chat/lobby"}"#),
            (after, r#"{"after":"e-1","id":1,"subscribe":"chat/lobby"}"#),
            (Start::Earliest, r#"{"earliest":true,"id":1,"subscribe":"chat/lobby"}"#),
            (Start::Last(20), r#"{"id":1,"last":20,"subscribe":"chat/lobby"}"#),
        ] {
            assert_eq!(subscribe(&channel(), &start, 1), line);
        }
    }

    #[test]
    fn publishes_any_payload_on_one_line() {
        let publish = |data: &'static [u8], content_type| {
            publish(&channel(), &Draft { data: Bytes::from_static(data), content_type, ..Draft::default() }, None, 2)
        };
        assert_eq!(publish(b"a\nb", ContentType::Text), r#"{"id":2,"publish":"chat/lobby","data":"a\nb"}"#);
        assert_eq!(publish(b"[1.0]", ContentType::Json), r#"{"id":2,"publish":"chat/lobby","type":"application/json","data":[1.0]}"#);
        assert_eq!(
            publish(b"[1,\n2]", ContentType::Json),
            r#"{"base64":true,"id":2,"publish":"chat/lobby","type":"application/json","data":"WzEsCjJd"}"#
        );
        assert_eq!(
            publish(b"\xff", ContentType::Octets),
            r#"{"base64":true,"id":2,"publish":"chat/lobby","type":"application/octet-stream","data":"/w=="}"#
        );
    }
}
