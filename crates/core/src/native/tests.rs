use super::*;
use crate::position::{Epoch, Position};
use crate::publication::ContentType;
use bytes::BytesMut;
use proptest::prelude::*;

fn limits() -> NativeLimits {
    NativeLimits { payload_bytes_max: 64, key_bytes_max: 8, headers_max: 2, header_bytes_max: 16, depth_max: 4 }
}

fn command(text: &str) -> Command {
    decode(text.as_bytes(), &limits()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

/// The answer to a command that is wrong.
fn answer(text: &str) -> String {
    let fault = decode(text.as_bytes(), &limits()).expect_err(text);
    said(|out| write_fault(&fault, out))
}

fn said(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    let text = String::from_utf8(out.into()).expect("UTF-8");
    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    text
}

fn lobby() -> ChannelName {
    ChannelName::parse("chat/lobby").expect("a name")
}

fn id(json: &str) -> Option<Id> {
    Some(Id::parse(json).expect("an id"))
}

/// Payload and type of a publish.
fn payload(members: &str) -> (Vec<u8>, ContentType) {
    match command(&format!("{{\"publish\":\"a\",{members}}}")) {
        Command::Publish { draft, .. } => (draft.data.to_vec(), draft.content_type),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pings_are_asked_for_and_answered() {
    let asked = |text| match command(text) {
        Command::Heartbeat { ping, every_ms } => said(|out| write_agreed(&ping, every_ms, out)),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(r#"{"ping":1,"every_ms":10000}"#), r#"{"pong":1,"every_ms":10000}"#);
    assert_eq!(asked(r#"{"every_ms":0,"ping":"p"}"#), r#"{"pong":"p","every_ms":0}"#);
    assert!(matches!(command(r#"{"ping":1,"every_ms":null}"#), Command::Ping(_)));
    assert_eq!(said(|out| write_ping(7, out)), r#"{"ping":7}"#);
    assert_eq!(command(r#"{"pong":7}"#), Command::Pong);
    for every in ["-1", "1.5", "\"1s\"", "86400001", "true"] {
        let told = answer(&format!("{{\"ping\":1,\"every_ms\":{every}}}"));
        assert!(told.contains("invalid-ping") && told.contains("milliseconds"), "{told}");
    }
}

#[test]
fn subscribes_from_anywhere() {
    let cursor = Cursor::parse("e-42").expect("a cursor");
    for (members, start) in [
        ("", Start::Live),
        (r#","live":true"#, Start::Live),
        (r#","after":null,"earliest":false"#, Start::Live),
        (r#","after":"e-42""#, Start::After(cursor)),
        (r#","earliest":true"#, Start::Earliest),
        (r#","last":20"#, Start::Last(20)),
    ] {
        let text = format!("{{\"subscribe\":\"chat/lobby\"{members},\"id\":1}}");
        assert_eq!(command(&text), Command::Subscribe { channel: lobby(), start, id: id("1") });
    }
}

#[test]
fn unsubscribes_and_pings() {
    assert_eq!(command(r#"{"unsubscribe":"chat/lobby","id":"x"}"#), Command::Unsubscribe { channel: lobby(), id: id("\"x\"") });
    for value in ["1", "null", r#"{"at":[1,2]}"#, r#""봉""#] {
        let Command::Ping(ping) = command(&format!("{{\"ping\": {value} }}")) else { panic!("no ping") };
        assert_eq!(said(|out| write_pong(&ping, out)), format!("{{\"pong\":{value}}}"));
    }
}

#[test]
fn publishes_text_json_and_bytes() {
    for (members, data, content_type) in [
        (r#""data":"hi\n봉""#, "hi\n봉", ContentType::Text),
        (r#""data":"""#, "", ContentType::Text),
        (r#""data":"<p>","type":"text/html""#, "<p>", ContentType::Other("text/html".into())),
        (r#""data":{"a": [1]}"#, r#"{"a": [1]}"#, ContentType::Json),
        (r#""data":null"#, "null", ContentType::Json),
        (r#""data":[1],"type":"application/json""#, "[1]", ContentType::Json),
        (r#""data":"hi","type":"application/json""#, "\"hi\"", ContentType::Json),
        (r#""data":{"@id":"x"},"type":"application/ld+json""#, r#"{"@id":"x"}"#, ContentType::Other("application/ld+json".into())),
        (r#""data":"AAEC","base64":true"#, "\0\x01\x02", ContentType::Octets),
        (r#""data":"AAE","base64":true"#, "\0\x01", ContentType::Octets),
        (r#""data":"aGk=","base64":true,"type":"text/plain""#, "hi", ContentType::Text),
        (r#""data":"WzFd","base64":true,"type":"application/json""#, "[1]", ContentType::Json),
    ] {
        assert_eq!(payload(members), (data.as_bytes().to_vec(), content_type), "{members}");
    }
}

#[test]
fn publishes_with_key_headers_and_idempotency_key() {
    let text = r#"{"id":2,"publish":"chat/lobby","data":"hi","key":"k","headers":{"b":"1","a":"2"},"idempotency_key":"once"}"#;
    let draft = Draft { key: Some("k".into()), headers: [("b".into(), "1".into()), ("a".into(), "2".into())].into(), ..Draft::text("hi") };
    let idempotency_key = Some("once".into());
    assert_eq!(command(text), Command::Publish { channel: lobby(), draft, idempotency_key, id: id("2") });
}

#[test]
fn an_id_is_repeated_as_it_was_written() {
    for json in ["1", "-0.50e3", r#""a\u00e9\"b""#, "123456789012345678901234567890"] {
        let Command::Unsubscribe { id, .. } = command(&format!("{{\"unsubscribe\":\"a\",\"id\":{json}}}")) else { panic!("{json}") };
        assert_eq!(said(|out| write_done(id.as_ref(), out)), format!("{{\"id\":{json}}}"));
    }
}

#[test]
fn answers_are_objects_on_one_line() {
    let position = Position::new(Epoch::from_bits(1), 43);
    assert_eq!(
        said(|out| write_subscribed(id("1").as_ref(), &lobby(), &position.into(), out)),
        r#"{"id":1,"channel":"chat/lobby","cursor":"00000000001-43"}"#
    );
    assert_eq!(
        said(|out| write_subscribed(None, &lobby(), &position.into(), out)),
        r#"{"channel":"chat/lobby","cursor":"00000000001-43"}"#
    );
    assert_eq!(said(|out| write_published(id("2").as_ref(), position, out)), r#"{"id":2,"position":"00000000001-43"}"#);
    assert_eq!(said(|out| write_done(None, out)), "{}");
    assert_eq!(said(|out| write_error(None, "a", "b\n", out)), r#"{"error":{"code":"a","message":"b\n"}}"#);
}

#[test]
fn who_types_a_bare_line_is_shown_an_example() {
    assert_eq!(
        answer("hello"),
        concat!(
            r#"{"error":{"code":"not-json","message":"not JSON (expected value at line 1 column 1); "#,
            r#"send an object a line, such as {\"publish\":\"chat/lobby\",\"data\":\"hi\"}"}}"#
        )
    );
}

#[test]
fn the_nearest_known_word_is_named() {
    assert!(
        answer(r#"{"subscirbe":"a","id":1}"#)
            .starts_with(r#"{"id":1,"error":{"code":"unknown-command","message":"no known command; did you mean subscribe?"#)
    );
    assert_eq!(
        answer(r#"{"id":1,"publish":"a","data":1,"idempotencykey":"k"}"#),
        r#"{"id":1,"error":{"code":"unknown-field","message":"publish has no member \"idempotencykey\"; did you mean idempotency_key?"}}"#
    );
    assert_eq!(
        answer(r#"{"subscribe":"a","data":1}"#),
        r#"{"error":{"code":"unknown-field","message":"subscribe has no member \"data\""}}"#
    );
}

#[test]
fn each_fault_has_its_name_and_the_id() {
    for (code, members) in [
        ("unknown-command", r#""go":1"#),
        ("unknown-command", ""),
        ("ambiguous-command", r#""subscribe":"a","publish":"a""#),
        ("unknown-field", r#""subscribe":"a","from":1"#),
        ("repeated-field", r#""subscribe":"a","last":1,"last":2"#),
        ("invalid-channel", r#""subscribe":7"#),
        ("invalid-channel", r#""subscribe":"""#),
        ("invalid-channel", r#""unsubscribe":"a//b""#),
        ("invalid-channel", r#""publish":"a/..","data":1"#),
        ("invalid-channel", r#""publish":null,"data":1"#),
        ("invalid-cursor", r#""subscribe":"a","after":"nonsense""#),
        ("invalid-cursor", r#""subscribe":"a","after":7"#),
        ("invalid-start", r#""subscribe":"a","earliest":1"#),
        ("invalid-start", r#""subscribe":"a","last":-1"#),
        ("invalid-start", r#""subscribe":"a","last":1.5"#),
        ("invalid-start", r#""subscribe":"a","last":1,"earliest":true"#),
        ("invalid-start", r#""subscribe":"a","after":"e-1","live":true"#),
        ("invalid-data", r#""publish":"a""#),
        ("invalid-data", r#""publish":"a","data":1,"base64":true"#),
        ("invalid-data", r#""publish":"a","data":"!","base64":true"#),
        ("invalid-data", r#""publish":"a","data":"a","base64":1"#),
        ("invalid-data", r#""publish":"a","data":"\ud800""#),
        ("invalid-data", r#""publish":"a","data":["\ud800"]"#),
        ("invalid-data", r#""publish":"a","data":1e999"#),
        ("invalid-data", r#""publish":"a","data":1,"type":"image/png""#),
        ("invalid-data", r#""publish":"a","data":"e30x","base64":true,"type":"application/json""#),
        ("invalid-type", r#""publish":"a","data":"","type":"png""#),
        ("invalid-type", r#""publish":"a","data":"","type":"a/b\r\nc: d""#),
        ("invalid-type", r#""publish":"a","data":"","type":7"#),
        ("invalid-key", r#""publish":"a","data":"","key":"""#),
        ("invalid-key", r#""publish":"a","data":"","key":"123456789""#),
        ("invalid-key", r#""publish":"a","data":"","idempotency_key":7"#),
        ("invalid-headers", r#""publish":"a","data":"","headers":[]"#),
        ("invalid-headers", r#""publish":"a","data":"","headers":{"a":1}"#),
        ("invalid-headers", r#""publish":"a","data":"","headers":{"a":"1","a":"2"}"#),
        ("invalid-headers", r#""publish":"a","data":"","headers":{"":"1"}"#),
        ("headers-too-large", r#""publish":"a","data":"","headers":{"a":"","b":"","c":""}"#),
        ("headers-too-large", r#""publish":"a","data":"","headers":{"a":"0123456789abcdef"}"#),
        ("payload-too-large", r#""publish":"a","data":"0123456789012345678901234567890123456789012345678901234567890123456789""#),
    ] {
        let comma = if members.is_empty() { "" } else { "," };
        let answer = answer(&format!("{{{members}{comma}\"id\":\"me\"}}"));
        assert!(answer.starts_with(&format!(r#"{{"id":"me","error":{{"code":"{code}""#)), "{members}: {answer}");
    }
}

#[test]
fn faults_that_leave_no_id_to_answer_under() {
    let long = format!("{{\"ping\":1,\"id\":\"{}\"}}", "x".repeat(ECHO_BYTES_MAX));
    for (code, text) in [
        ("not-json", ""),
        ("not-json", "{\"ping\":1"),
        ("not-json", "{\"ping\":1} x"),
        ("not-json", "{ping:1}"),
        ("not-an-object", "[1]"),
        ("not-an-object", "\"subscribe\""),
        ("too-deep", "{\"ping\":[[[[1]]]]}"),
        ("invalid-id", "{\"ping\":1,\"id\":{}}"),
        ("invalid-id", "{\"ping\":1,\"id\":true}"),
        ("invalid-id", &long),
    ] {
        let answer = answer(text);
        assert!(answer.starts_with(&format!(r#"{{"error":{{"code":"{code}""#)), "{text}: {answer}");
    }
    assert_eq!(decode(b"{\"ping\":\"\xff\"}", &limits()).expect_err("not UTF-8").code(), "not-json");
    let ping = format!("{{\"ping\":\"{}\"}}", "x".repeat(ECHO_BYTES_MAX));
    assert_eq!(decode(ping.as_bytes(), &limits()).expect_err("too long").code(), "invalid-ping");
}

#[test]
fn a_line_of_publishes_takes_nothing_else() {
    let publish = decode_publish(br#"{"publish":"chat/lobby","data":"hi"}"#, &limits()).expect("a publish");
    assert_eq!((publish.channel, publish.draft), (lobby(), Draft::text("hi")));
    let fault = decode_publish(br#"{"subscribe":"a","id":1}"#, &limits()).expect_err("no publish");
    assert_eq!((fault.id.clone(), fault.code()), (id("1"), "not-a-publish"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Err(fault) = decode(&bytes, &limits()) {
            said(|out| write_fault(&fault, out));
        }
    }

    #[test]
    fn no_object_makes_it_panic(text in r#"\{("(publish|ping|subscribe|id|data|after|last)":("a"|1|\[\]|null|"e-1"|\{"x":1\}),?){0,4}\}"#) {
        if let Err(fault) = decode(text.as_bytes(), &limits()) {
            said(|out| write_fault(&fault, out));
        }
    }

    #[test]
    fn any_text_is_published_as_it_is(data in "(?s).{0,20}") {
        let text = serde_json::json!({ "publish": "a", "data": data }).to_string();
        let publish = decode_publish(text.as_bytes(), &NativeLimits::default()).expect("a publish");
        prop_assert_eq!(publish.draft, Draft::text(data));
    }
}
