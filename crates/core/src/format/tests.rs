use super::*;
use crate::disconnect::Disconnect;
use crate::position::Cursor;
use crate::publication::{ContentType, Draft};
use crate::start::GapReason;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

fn forms() -> Forms {
    Forms::new(0)
}

const B: &str = "bongsu-0000000000000000000000";
const E1: &str = "00000000001";

fn lobby() -> ChannelName {
    ChannelName::parse("chat/lobby").expect("a name")
}

fn at(offset: u64) -> Position {
    Position::new(Epoch::from_bits(1), offset)
}

fn publication(data: &[u8], content_type: ContentType) -> Publication {
    let draft = Draft { data: data.to_vec().into(), content_type, ..Draft::default() };
    Publication { position: at(43), time_ms: 1_795_197_600_123, bytes_before: 0, draft }
}

fn full() -> Publication {
    let mut publication = publication(br#"{"a":1}"#, ContentType::Json);
    publication.draft.key = Some("k\"1".into());
    publication.draft.headers = [("From You".into(), "50%\r\nX: y".into()), ("b".into(), "봉".into())].into();
    publication
}

fn gap() -> Gap {
    Gap { asked: Cursor::parse("e-1").expect("a cursor"), resumed: at(42), reason: GapReason::Trimmed }
}

fn written(write: impl FnOnce(&Forms, &mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&forms(), &mut out);
    String::from_utf8(out.into()).expect("UTF-8")
}

fn text_of(format: Format, data: &[u8], content_type: ContentType) -> String {
    written(|forms, out| forms.publication(format, &lobby(), &publication(data, content_type), None, out))
}

#[test]
fn json_tells_what_is_set_in_a_fixed_order() {
    assert_eq!(
        text_of(Format::Json, b"hi", ContentType::Text),
        format!("{{\"channel\":\"chat/lobby\",\"position\":\"{E1}-43\",\"data\":\"hi\",\"time\":\"2026-11-20T18:00:00.123Z\"}}\n")
    );
    assert_eq!(
        written(|forms, out| forms.publication(Format::Json, &lobby(), &full(), Some("x_e-1"), out)),
        format!(
            "{{\"channel\":\"chat/lobby\",\"position\":\"{E1}-43\",\"data\":{{\"a\":1}},\"type\":\"application/json\",\
             \"time\":\"2026-11-20T18:00:00.123Z\",\"key\":\"k\\\"1\",\
             \"headers\":{{\"From You\":\"50%\\r\\nX: y\",\"b\":\"봉\"}},\"cursor\":\"x_e-1\"}}\n"
        )
    );
    assert_eq!(
        text_of(Format::Json, b"\xff\x00", ContentType::Octets),
        format!(
            "{{\"channel\":\"chat/lobby\",\"position\":\"{E1}-43\",\"data\":\"/wA=\",\"base64\":true,\
             \"type\":\"application/octet-stream\",\"time\":\"2026-11-20T18:00:00.123Z\"}}\n"
        )
    );
}

#[test]
fn json_over_several_lines_stays_on_one() {
    let line = text_of(Format::Json, b"{\r\n \"a\": 1\n}", ContentType::Json);
    assert!(line.contains("\"data\":{   \"a\": 1 }") && line.matches('\n').count() == 1, "{line}");
}

#[test]
fn json_says_starts_gaps_heartbeats_and_goodbyes() {
    let says = |write: fn(&Forms, &mut BytesMut)| written(write);
    assert_eq!(
        says(|forms, out| forms.start(Format::Json, &lobby(), at(42), None, out)),
        format!("{{\"channel\":\"chat/lobby\",\"cursor\":\"{E1}-42\"}}\n")
    );
    assert_eq!(
        says(|forms, out| forms.start(Format::Json, &lobby(), at(42), Some("x_e-1"), out)),
        "{\"channel\":\"chat/lobby\",\"cursor\":\"x_e-1\"}\n"
    );
    assert_eq!(
        says(|forms, out| assert!(forms.gap(Format::Json, &lobby(), &gap(), None, out))),
        format!("{{\"channel\":\"chat/lobby\",\"gap\":{{\"asked\":\"e-1\",\"resumed\":\"{E1}-42\",\"reason\":\"trimmed\"}}}}\n")
    );
    assert_eq!(
        says(|forms, out| forms.heartbeat(Format::Json, &lobby(), at(42), None, out)),
        format!("{{\"channel\":\"chat/lobby\",\"cursor\":\"{E1}-42\"}}\n")
    );
    assert_eq!(says(|forms, out| forms.heartbeat(Format::Json, &lobby(), at(42), Some("x_e-1"), out)), "{\"cursor\":\"x_e-1\"}\n");
    assert_eq!(
        says(|forms, out| forms.goodbye(Format::Json, &Disconnect::Slow { cursor: Some(at(7)) }.goodbye(), 1500, out)),
        format!(
            "{{\"bye\":{{\"code\":4008,\"reason\":\"{{\\\"cursor\\\":\\\"{E1}-7\\\",\\\"reason\\\":\\\"slow\\\"}}\",\
             \"reconnect_ms\":1500}}}}\n"
        )
    );
    assert_eq!(
        says(|forms, out| forms.goodbye(Format::Json, &Disconnect::TooLarge { max: 9 }.goodbye(), 1500, out)),
        "{\"bye\":{\"code\":1009,\"reason\":\"a message over the limit of 9 bytes\",\"reconnect_ms\":null}}\n"
    );
}

#[test]
fn events_carry_payloads_line_by_line() {
    for (data, block) in [
        (&b"hi"[..], "data: hi\n"),
        (b"", "data:\n"),
        (b" a\n\nb\n", "data:  a\ndata:\ndata: b\ndata:\n"),
        (b"\n\n", "data:\ndata:\ndata:\n"),
        (b"a\r\n", "event: base64\ndata: YQ0K\n"),
        (b"\xff\x00", "event: base64\ndata: /wA=\n"),
    ] {
        assert_eq!(text_of(Format::Sse, data, ContentType::Text), format!("id: {E1}-43\n{block}\n"), "{data:?}");
    }
    assert_eq!(text_of(Format::Sse, b"{\n\"a\":1}", ContentType::Json), format!("id: {E1}-43\ndata: {{\ndata: \"a\":1}}\n\n"));
}

#[test]
fn events_say_starts_gaps_heartbeats_and_goodbyes() {
    for format in [Format::Sse, Format::SseJson] {
        assert_eq!(written(|forms, out| forms.start(format, &lobby(), at(42), None, out)), format!("id: {E1}-42\n\n"));
        assert_eq!(written(|forms, out| forms.start(format, &lobby(), at(42), Some("x_e-1"), out)), "id: x_e-1\n\n");
        assert_eq!(written(|forms, out| forms.heartbeat(format, &lobby(), at(42), None, out)), ":\n\n");
        assert_eq!(
            written(|forms, out| forms.goodbye(format, &Goodbye::new(1001, "going", true), 250, out)),
            "retry: 250\nevent: bye\ndata: {\"code\":1001,\"reason\":\"going\",\"reconnect_ms\":250}\n\n"
        );
    }
    let inner = format!("\"asked\":\"e-1\",\"resumed\":\"{E1}-42\",\"reason\":\"trimmed\"");
    let said = |format, composite| written(|forms, out| assert!(forms.gap(format, &lobby(), &gap(), composite, out)));
    assert_eq!(said(Format::Sse, None), format!("id: {E1}-42\nevent: gap\ndata: {{{inner}}}\n\n"));
    assert_eq!(said(Format::Sse, Some("x_e-1")), format!("id: x_e-1\nevent: gap\ndata: {{\"channel\":\"chat/lobby\",{inner}}}\n\n"));
    assert_eq!(
        said(Format::SseJson, None),
        format!("id: {E1}-42\nevent: gap\ndata: {{\"channel\":\"chat/lobby\",\"gap\":{{{inner}}}}}\n\n")
    );
}

#[test]
fn a_plain_payload_has_room_for_nothing_else() {
    assert_eq!(text_of(Format::Payload, b"hi", ContentType::Text), "hi");
    assert_eq!(
        written(|forms, out| {
            forms.preamble(Format::Payload, out);
            forms.start(Format::Payload, &lobby(), at(42), None, out);
            forms.heartbeat(Format::Payload, &lobby(), at(42), None, out);
            forms.goodbye(Format::Payload, &Goodbye::new(1001, "going", true), 250, out);
            assert!(!forms.gap(Format::Payload, &lobby(), &gap(), None, out));
        }),
        ""
    );
}

#[test]
fn parts_have_their_own_type_and_length() {
    let stream = written(|forms, out| {
        forms.preamble(Format::Multipart, out);
        forms.start(Format::Multipart, &lobby(), at(42), None, out);
        forms.publication(Format::Multipart, &lobby(), &full(), None, out);
        assert!(forms.gap(Format::Multipart, &ChannelName::parse("봉 수").expect("a name"), &gap(), Some("x_e-1"), out));
        forms.goodbye(Format::Multipart, &Goodbye::new(1001, "going", true), 250, out);
    });
    let expected = format!(
        "--{B}\n\
         Bongsu-Channel: chat/lobby\nBongsu-Cursor: {E1}-42\nContent-Type: application/json\nContent-Length: 50\n\n\
         {{\"channel\":\"chat/lobby\",\"cursor\":\"{E1}-42\"}}\n\
         --{B}\n\
         Bongsu-Channel: chat/lobby\nBongsu-Position: {E1}-43\nBongsu-Cursor: {E1}-43\nBongsu-Time: 2026-11-20T18:00:00.123Z\n\
         Bongsu-Key: k\"1\nBongsu-Header-From%20You: 50%25%0D%0AX:%20y\nBongsu-Header-b: %EB%B4%89\n\
         Content-Type: application/json\nContent-Length: 7\n\n\
         {{\"a\":1}}\n\
         --{B}\n\
         Bongsu-Channel: %EB%B4%89%20%EC%88%98\nBongsu-Gap: trimmed\nBongsu-Cursor: x_e-1\n\
         Content-Type: application/json\nContent-Length: 106\n\n\
         {{\"channel\":\"봉 수\",\"gap\":{{\"asked\":\"e-1\",\"resumed\":\"{E1}-42\",\"reason\":\"trimmed\"}},\"cursor\":\"x_e-1\"}}\n\
         --{B}\n\
         Content-Type: application/json\nContent-Length: 57\n\n\
         {{\"bye\":{{\"code\":1001,\"reason\":\"going\",\"reconnect_ms\":250}}}}\n\
         --{B}--\n"
    );
    assert_eq!(stream, expected.replace('\n', "\r\n"));
}

#[test]
fn a_publisher_cannot_end_a_line_through_the_type() {
    let part = text_of(Format::Multipart, b"x", ContentType::Other("a/b\r\nBongsu-Key: forged".into()));
    assert!(part.contains("Content-Type: a/b%0D%0ABongsu-Key: forged\r\n"), "{part}");
}

#[test]
fn a_stream_names_its_type() {
    assert_eq!(forms().content_type(Format::Multipart), format!("multipart/mixed; boundary={B}"));
    assert_eq!(forms().content_type(Format::Sse), "text/event-stream");
    assert!(B.len() <= 70, "RFC 2046 allows 70 characters");
}

/// The events that a browser would dispatch: last id, type and data (HTML, "Interpreting an event stream").
fn parse_events(stream: &str) -> Vec<(String, String, String)> {
    let (mut events, mut id, mut kind, mut data) = (Vec::new(), String::new(), String::new(), String::new());
    for line in stream.replace("\r\n", "\n").replace('\r', "\n").split_terminator('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                if !data.is_empty() {
                    data.pop();
                    let name = if kind.is_empty() { "message".to_owned() } else { kind.clone() };
                    events.push((id.clone(), name, std::mem::take(&mut data)));
                }
                kind.clear();
            }
            "id" => id = value.to_owned(),
            "event" => kind = value.to_owned(),
            "data" => data.push_str(&format!("{value}\n")),
            _ => (),
        }
    }
    events
}

type PartHeaders = Vec<(String, String)>;

/// The parts of a multipart body: headers and bytes, read by the delimiter and checked against the length.
fn parse_parts(stream: &[u8]) -> Vec<(PartHeaders, Vec<u8>)> {
    let opening = format!("--{B}\r\n").into_bytes();
    let delimiter = format!("\r\n--{B}\r\n").into_bytes();
    let mut rest = stream.strip_prefix(opening.as_slice()).expect("a stream begins with its delimiter");
    let mut parts = Vec::new();
    while let Some(end) = memchr::memmem::find(rest, &delimiter) {
        let part = &rest[..end];
        rest = &rest[end + delimiter.len()..];
        let head_end = memchr::memmem::find(part, b"\r\n\r\n").expect("headers end");
        let head = std::str::from_utf8(&part[..head_end]).expect("headers are ASCII");
        let headers: PartHeaders = head
            .split("\r\n")
            .map(|line| line.split_once(": ").expect("a header has a colon"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut body = part[head_end + 4..].to_vec();
        assert_eq!(header("Content-Length"), Some(body.len().to_string().as_str()));
        if header("Content-Transfer-Encoding") == Some("base64") {
            body.retain(|byte| !b"\r\n".contains(byte));
            body = STANDARD.decode(&body).expect("base64");
        }
        parts.push((headers, body));
    }
    assert!(rest.is_empty(), "a part is complete at once");
    parts
}

#[test]
fn a_payload_that_holds_the_boundary_arrives_whole() {
    let hostile = format!("a\r\n--{B}--\r\n{}", "x".repeat(200));
    let mut out = BytesMut::new();
    forms().preamble(Format::Multipart, &mut out);
    forms().publication(Format::Multipart, &lobby(), &publication(hostile.as_bytes(), ContentType::Text), None, &mut out);
    assert!(out.as_ref().split(|&byte| byte == b'\n').all(|line| line.len() <= 80));
    let parts = parse_parts(&out);
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].1, hostile.as_bytes());
}

fn any_publication() -> impl Strategy<Value = Publication> {
    let data = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        "(?s).{0,40}".prop_map(String::into_bytes),
        "[a\r\n: -]{0,40}".prop_map(String::into_bytes),
    ];
    let content_type = prop_oneof![Just(ContentType::Text), Just(ContentType::Octets), Just(ContentType::Other("image/png".into()))];
    let headers = proptest::collection::btree_map("(?s).{1,8}", "(?s).{0,8}", 0..3);
    (data, content_type, proptest::option::of("(?s).{1,8}"), headers, any::<u64>(), any::<u64>()).prop_map(
        |(data, content_type, key, headers, offset, time_ms)| Publication {
            position: at(offset),
            time_ms,
            bytes_before: 0,
            draft: Draft {
                data: data.into(),
                content_type,
                key: key.map(Into::into),
                headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            },
        },
    )
}

proptest! {
    #[test]
    fn a_line_reads_back_as_what_was_published(publication in any_publication()) {
        let line = written(|forms, out| forms.publication(Format::Json, &lobby(), &publication, None, out));
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let data = read["data"].as_str().expect("a string");
        let data = if read["base64"] == true { STANDARD.decode(data).expect("base64") } else { data.as_bytes().to_vec() };
        prop_assert_eq!(&data, &publication.draft.data);
        prop_assert_eq!(&read["position"], &publication.position.to_string());
        prop_assert_eq!(read["key"].as_str(), publication.draft.key.as_deref());
        prop_assert_eq!(read["type"].is_null(), publication.draft.content_type == ContentType::Text);
        for (name, value) in &publication.draft.headers {
            prop_assert_eq!(read["headers"][&**name].as_str(), Some(&**value));
        }
    }

    #[test]
    fn a_browser_sees_each_publication_once(publications in proptest::collection::vec(any_publication(), 1..4)) {
        for format in [Format::Sse, Format::SseJson] {
            let stream = written(|forms, out| {
                forms.start(format, &lobby(), at(0), None, out);
                publications.iter().for_each(|publication| forms.publication(format, &lobby(), publication, None, out));
                forms.heartbeat(format, &lobby(), at(0), None, out);
            });
            let events = parse_events(&stream);
            prop_assert_eq!(events.len(), publications.len());
            for ((id, kind, data), publication) in events.iter().zip(&publications) {
                prop_assert_eq!(id, &publication.position.to_string());
                match (format, std::str::from_utf8(&publication.draft.data)) {
                    (Format::Sse, Ok(text)) if !text.contains('\r') => {
                        prop_assert_eq!(kind, "message");
                        prop_assert_eq!(data, text);
                    }
                    (Format::Sse, _) => {
                        prop_assert_eq!(kind, "base64");
                        prop_assert_eq!(STANDARD.decode(data).expect("base64"), publication.draft.data.to_vec());
                    }
                    _ => {
                        let line = written(|forms, out| forms.publication(Format::Json, &lobby(), publication, None, out));
                        prop_assert_eq!(format!("{data}\n"), line);
                    }
                }
            }
        }
    }

    #[test]
    fn parts_read_back_as_what_was_published(publications in proptest::collection::vec(any_publication(), 1..4)) {
        let mut out = BytesMut::new();
        forms().preamble(Format::Multipart, &mut out);
        for publication in &publications {
            forms().publication(Format::Multipart, &lobby(), publication, None, &mut out);
        }
        let parts = parse_parts(&out);
        prop_assert_eq!(parts.len(), publications.len());
        for ((headers, body), publication) in parts.iter().zip(&publications) {
            prop_assert_eq!(body, &publication.draft.data);
            prop_assert_eq!(headers.iter().filter(|(name, _)| name.starts_with("Bongsu-Header-")).count(), publication.draft.headers.len());
            prop_assert!(headers.iter().all(|(name, value)| name.is_ascii() && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))));
        }
    }
}
