use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::session::{Receipt, SubscriptionNumber};
use super::*;
use crate::disconnect::Disconnect;
use crate::name::ChannelName;
use crate::position::{Cursor, Epoch, Position};
use crate::publication::{ContentType, Draft, Publication};
use crate::start::{Gap, GapReason, Start};

const OFFER: HeartBeatOffer = HeartBeatOffer { send_ms: 10_000, expect_ms: 20_000 };

fn limits() -> StompLimits {
    StompLimits {
        subscriptions_max: 2,
        transactions_max: 2,
        transaction_frames_max: 3,
        transaction_bytes_max: 2_000,
        prefetch_default: 2,
        prefetch_max: 3,
        prefetch_total_max: 4,
        id_bytes_max: 16,
        body_bytes_max: 1_024,
        ..StompLimits::default()
    }
}

fn at(offset: u64) -> Position {
    Position::new(Epoch::from_bits(1), offset)
}

/// A client and its session, written down line by line: `<` what the client sends, `=` what the caller does, `>` what the client
/// gets, `!` what the caller is to do. A frame is its command, `name:value` pairs without spaces, and `body:text`.
struct Script {
    session: StompSession,
    buffer: BytesMut,
    version: Version,
}

fn check(transcript: &str) {
    let session = StompSession::new(limits(), &Version::ALL, OFFER);
    let mut script = Script { session, buffer: BytesMut::new(), version: Version::V1_2 };
    let mut said: Vec<String> = Vec::new();
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_at(2) {
            ("< ", frame) => said.extend(script.receive(frame)),
            ("= ", call) => said.extend(script.call(call)),
            _ if said.is_empty() => panic!("expected {line:?}, but nothing more was said, in {transcript}"),
            _ => assert_eq!(said.remove(0), line, "in {transcript}"),
        }
    }
    assert_eq!(said, Vec::<String>::new(), "more was said in {transcript}");
}

/// The same after a client of this version has connected.
fn check_connected(version: &str, transcript: &str) {
    check(&format!(
        "< CONNECT accept-version:{version} host:h
         ! connect {version}
         = accept
         > CONNECTED version:{version}
         {transcript}"
    ));
}

impl Script {
    fn receive(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split(' ');
        let command = words.next().and_then(|word| FrameCommand::parse(word.as_bytes())).expect("a known command");
        let mut frame = Frame::new(command);
        for (name, value) in words.map(|word| word.split_once(':').expect("name:value")) {
            match name {
                "body" => frame.body = Bytes::copy_from_slice(value.as_bytes()),
                _ => frame = frame.with(name, value),
            }
        }
        write_frame(self.version, &frame, &mut self.buffer);
        self.poll()
    }

    fn call(&mut self, line: &str) -> Vec<String> {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let subscription = |text| SubscriptionNumber(number(text));
        let receipt = |text: &str| Receipt(text.into());
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["accept"] => {
                self.version = self.session.version().expect("agreed");
                self.session.accept("bongsu/0.1.0", "s1");
            }
            ["refuse", code] => self.session.refuse(None, Box::leak(code.to_owned().into_boxed_str()), "no"),
            ["published", id, offset] => self.session.published(Some(&receipt(id)), Some(at(number(offset)))),
            ["subscribed", id, offset] => self.session.subscribed(Some(&receipt(id)), &at(number(offset)).into()),
            ["sent", id, offset] => self.session.message_sent(subscription(id), at(number(offset))),
            ["gap", id, offset] => self.session.gap_sent(subscription(id), at(number(offset))),
            ["window", id, left] => assert_eq!(self.session.window(subscription(id)), number(left) as usize),
            ["nacked", count] => assert_eq!(self.session.nacked(), number(count)),
            ["silence"] => self.session.handle_silence(20_000),
            _ => panic!("no such call: {line}"),
        }
        self.poll()
    }

    fn poll(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(action) = self.session.poll(&mut self.buffer) {
            said.push(match action {
                Action::Reply(bytes) => self.show_reply(&bytes),
                action => show(&action),
            });
        }
        said
    }

    /// A reply by what matters in it: an ERROR by its code.
    fn show_reply(&self, bytes: &Bytes) -> String {
        let mut decoder = Decoder::new(&StompLimits::default());
        decoder.set_version(self.version);
        let frame = decoder.decode(&mut BytesMut::from(&bytes[..])).expect("well formed").expect("whole");
        let shown = ["code", "receipt-id", "version", "position", "cursor"];
        let headers = shown.iter().filter_map(|name| frame.get(name).map(|value| format!(" {name}:{}", value.trim_start_matches('0'))));
        format!("> {}{}", frame.command.as_str(), headers.collect::<String>())
    }
}

fn show(action: &Action) -> String {
    let mark = |receipt: &Option<Receipt>| receipt.as_ref().map(|receipt| format!(" receipt:{receipt}")).unwrap_or_default();
    match action {
        Action::Connect(connect) => format!("! connect {}", connect.version.as_str()),
        Action::Publish { publishes, receipt } => {
            let each = publishes.iter().map(|publish| format!(" {}={}", publish.channel, String::from_utf8_lossy(&publish.draft.data)));
            format!("! publish{}{}", each.collect::<String>(), mark(receipt))
        }
        Action::Subscribe { subscription, channel, start, receipt, .. } => {
            format!("! subscribe {subscription} {channel} {}{}", show_start(start), mark(receipt))
        }
        Action::Unsubscribe { subscription, channel } => format!("! unsubscribe {subscription} {channel}"),
        Action::WindowOpened { subscription } => format!("! window {subscription}"),
        Action::Close { .. } => "! close".to_owned(),
        Action::Reply(_) => String::new(),
    }
}

fn show_start(start: &Start) -> String {
    match start {
        Start::Live => "live".to_owned(),
        Start::After(cursor) => format!("after={cursor}"),
        Start::Earliest => "earliest".to_owned(),
        Start::Last(count) => format!("last={count}"),
    }
}

fn id(offset: u64) -> String {
    at(offset).to_string()
}

#[test]
fn the_highest_version_in_common_is_spoken() {
    for (accept, version) in [("1.0,1.1,2.0", "1.1"), ("1.2", "1.2"), ("1.2,1.1", "1.2"), ("1.0", "1.0")] {
        check(&format!(
            "< CONNECT accept-version:{accept} host:h
             ! connect {version}
             = accept
             > CONNECTED version:{version}"
        ));
    }
    check(
        "< STOMP accept-version:1.2 host:h
         ! connect 1.2",
    );
    check(
        "< CONNECT login:me passcode:secret
         ! connect 1.0",
    );
    check(
        "< CONNECT accept-version:2.0
         > ERROR code:version-not-supported version:1.0,1.1,1.2
         ! close",
    );
}

#[test]
fn nothing_is_read_before_connecting_is_decided() {
    check(
        "< CONNECT accept-version:1.2
         ! connect 1.2
         < SEND destination:/a body:hi
         = accept
         > CONNECTED version:1.2
         ! publish a=hi",
    );
    check(
        "< CONNECT accept-version:1.2
         ! connect 1.2
         = refuse forbidden
         > ERROR code:forbidden
         ! close",
    );
    check(
        "< SEND destination:/a
         > ERROR code:not-connected
         ! close",
    );
}

#[test]
fn heart_beats_are_agreed_both_ways() {
    let agreed = |header: &str, version: &str| {
        let frame = Frame::new(FrameCommand::Connect).with("accept-version", version).with("heart-beat", header);
        Connect::read(&frame, &Version::ALL, OFFER).map(|connect| (connect.heart_beat.send_ms, connect.heart_beat.expect_ms))
    };
    assert_eq!(agreed("0,0", "1.2"), Ok((None, None)));
    assert_eq!(agreed("5000,30000", "1.2"), Ok((Some(30_000), Some(20_000))));
    assert_eq!(agreed("30000,5000", "1.1"), Ok((Some(10_000), Some(30_000))));
    assert_eq!(agreed("0,1", "1.2"), Ok((Some(10_000), None)));
    assert_eq!(agreed("1,1", "1.0"), Ok((None, None)), "1.0 has none");
    for header in ["", "1", "1,", "a,b", "-1,1", "1,2,3", "1,99999999999"] {
        assert_eq!(agreed(header, "1.2"), Err(StompFault::InvalidHeartBeat), "{header}");
    }
    check_connected(
        "1.2",
        "= silence
         > ERROR code:heart-beat-missed
         ! close",
    );
}

#[test]
fn sends_to_topics_and_bare_names() {
    check_connected(
        "1.2",
        "< SEND destination:/topic/chat/lobby body:hi
         ! publish chat/lobby=hi
         < SEND destination:/chat/lobby receipt:r1 body:ho
         ! publish chat/lobby=ho receipt:r1
         = published r1 43
         > RECEIPT receipt-id:r1 position:1-43",
    );
    for (destination, code) in [
        ("/queue/a", "queues-not-served"),
        ("chat", "invalid-destination"),
        ("/", "invalid-destination"),
        ("/topic/", "invalid-destination"),
        ("/topic/a//b", "invalid-destination"),
    ] {
        check_connected(
            "1.2",
            &format!(
                "< SEND destination:{destination} receipt:r
                 > ERROR code:{code} receipt-id:r
                 ! close
                 < SEND destination:/a"
            ),
        );
    }
}

#[test]
fn subscribes_from_anywhere_and_tells_the_cursor() {
    check_connected(
        "1.2",
        "< SUBSCRIBE id:a destination:/topic/news receipt:r
         ! subscribe 0 news live receipt:r
         = subscribed r 42
         > RECEIPT receipt-id:r cursor:1-42
         < SUBSCRIBE id:b destination:/news after:e-1
         ! subscribe 1 news after=e-1
         < UNSUBSCRIBE id:a receipt:u
         ! unsubscribe 0 news
         > RECEIPT receipt-id:u
         < SUBSCRIBE id:a destination:/news last:20
         ! subscribe 2 news last=20
         < UNSUBSCRIBE id:a
         ! unsubscribe 2 news
         < SUBSCRIBE id:c destination:/news earliest:true
         ! subscribe 3 news earliest",
    );
    check_connected(
        "1.0",
        "< SUBSCRIBE destination:/news
         ! subscribe 0 news live
         < UNSUBSCRIBE destination:/news
         ! unsubscribe 0 news",
    );
}

#[test]
fn a_client_acknowledges_all_before() {
    let (two, three) = (id(2), id(3));
    check_connected(
        "1.2",
        &format!(
            "< SUBSCRIBE id:a destination:/n ack:client
             ! subscribe 0 n live
             = window 0 2
             = sent 0 1
             = sent 0 2
             = window 0 0
             < ACK id:{two}@a
             ! window 0
             = window 0 2
             = sent 0 3
             < NACK id:{three}@a receipt:r
             > RECEIPT receipt-id:r
             = nacked 1
             < ACK id:{three}@a receipt:r
             > ERROR code:not-in-flight receipt-id:r
             ! close"
        ),
    );
}

#[test]
fn an_individual_ack_is_of_one_message_and_gaps_wait_too() {
    let two = id(2);
    check_connected(
        "1.1",
        &format!(
            "< SUBSCRIBE id:a destination:/n ack:client-individual prefetch-count:3
             ! subscribe 0 n live
             = sent 0 1
             = gap 0 2
             = sent 0 2
             = window 0 0
             < ACK subscription:a message-id:{two}
             ! window 0
             < NACK subscription:a message-id:{two}-gap
             = window 0 2
             = nacked 1
             < UNSUBSCRIBE id:a
             ! unsubscribe 0 n
             = window 0 0
             = sent 0 9
             < ACK subscription:a message-id:{two}
             > ERROR code:not-in-flight
             ! close"
        ),
    );
    check_connected(
        "1.0",
        &format!(
            "< SUBSCRIBE destination:/n ack:client
             ! subscribe 0 n live
             = sent 0 2
             < ACK message-id:{two}
             = window 0 2"
        ),
    );
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let one = id(1);
    check_connected(
        "1.2",
        &format!(
            "< SUBSCRIBE id:a destination:/n ack:client prefetch-count:1
             ! subscribe 0 n live
             = sent 0 1
             < BEGIN transaction:t receipt:b
             > RECEIPT receipt-id:b
             < SEND destination:/x transaction:t receipt:s body:1
             > RECEIPT receipt-id:s
             < SEND destination:/y transaction:t body:2
             < ACK id:{one}@a transaction:t
             = window 0 0
             < COMMIT transaction:t receipt:c
             ! window 0
             ! publish x=1 y=2 receipt:c
             = published c 9
             > RECEIPT receipt-id:c position:1-9
             < BEGIN transaction:t
             < SEND destination:/x transaction:t body:3
             < ABORT transaction:t
             < COMMIT transaction:t
             > ERROR code:unknown-transaction
             ! close"
        ),
    );
    check_connected(
        "1.2",
        "< BEGIN transaction:t
         < COMMIT transaction:t receipt:c
         > RECEIPT receipt-id:c
         < BEGIN transaction:t
         < SEND destination:/x transaction:t body:lost
         < DISCONNECT receipt:d
         > RECEIPT receipt-id:d
         ! close
         < COMMIT transaction:t",
    );
}

#[test]
fn each_fault_has_its_name_and_ends_the_connection() {
    let long = "x".repeat(17);
    let big = "y".repeat(900);
    for (version, before, frame, code) in [
        ("1.2", "", "CONNECT accept-version:1.2", "already-connected"),
        ("1.2", "", "MESSAGE", "unexpected-command"),
        ("1.0", "", "NACK message-id:x", "unexpected-command"),
        ("1.2", "", "SEND", "missing-header"),
        ("1.2", "", "SEND destination:/a content-type:nonsense", "invalid-type"),
        ("1.2", "", "SEND destination:/a content-type:application/json body:{", "invalid-data"),
        ("1.2", "", "SEND destination:/a key:", "empty-header"),
        ("1.2", "", &format!("SEND destination:/a idempotency-key:{long}"), "id-too-long"),
        ("1.2", "", &format!("SEND destination:/a receipt:{long}"), "id-too-long"),
        ("1.2", "", "SEND destination:/a transaction:t", "unknown-transaction"),
        ("1.2", "", "SUBSCRIBE destination:/a", "missing-header"),
        ("1.2", "", "SUBSCRIBE id:a", "missing-header"),
        ("1.2", "", "SUBSCRIBE id:a destination:/a ack:maybe", "invalid-ack"),
        ("1.0", "", "SUBSCRIBE destination:/a ack:client-individual", "invalid-ack"),
        ("1.2", "", "SUBSCRIBE id:a destination:/a prefetch-count:0", "invalid-prefetch-count"),
        ("1.2", "", "SUBSCRIBE id:a destination:/a prefetch-count:4", "invalid-prefetch-count"),
        ("1.2", "", "SUBSCRIBE id:a destination:/a after:nonsense", "invalid-cursor"),
        ("1.2", "", "SUBSCRIBE id:a destination:/a last:all", "invalid-start"),
        ("1.2", "", "SUBSCRIBE id:a destination:/a last:1 earliest:true", "invalid-start"),
        ("1.2", "", &format!("SUBSCRIBE id:{long} destination:/a"), "id-too-long"),
        ("1.2", "< SUBSCRIBE id:a destination:/a\n! subscribe 0 a live", "SUBSCRIBE id:a destination:/b", "already-subscribed"),
        (
            "1.2",
            "< SUBSCRIBE id:a destination:/a\n! subscribe 0 a live\n< SUBSCRIBE id:b destination:/a\n! subscribe 1 a live",
            "SUBSCRIBE id:c destination:/a",
            "too-many-subscriptions",
        ),
        (
            "1.2",
            "< SUBSCRIBE id:a destination:/a ack:client prefetch-count:3\n! subscribe 0 a live",
            "SUBSCRIBE id:b destination:/a ack:client prefetch-count:2",
            "prefetch-total-too-large",
        ),
        ("1.2", "", "SUBSCRIBE id:a destination:/$own", "reserved-channel"),
        ("1.2", "< BEGIN transaction:t", "SEND destination:/$own transaction:t", "reserved-channel"),
        ("1.2", "", "UNSUBSCRIBE id:a", "not-subscribed"),
        ("1.2", "", "ACK id:nonsense", "not-in-flight"),
        ("1.2", "", "ACK id:e-1@a", "not-in-flight"),
        ("1.1", "", "ACK message-id:e-1", "missing-header"),
        ("1.2", "", "BEGIN", "missing-header"),
        ("1.2", "< BEGIN transaction:t", "BEGIN transaction:t", "transaction-exists"),
        ("1.2", "< BEGIN transaction:t\n< BEGIN transaction:u", "BEGIN transaction:v", "too-many-transactions"),
        ("1.2", "", "ABORT transaction:t", "unknown-transaction"),
        (
            "1.2",
            &format!("< BEGIN transaction:t\n< SEND destination:/a transaction:t body:{big}"),
            &format!("SEND destination:/a transaction:t body:{big}"),
            "transaction-too-large",
        ),
    ] {
        let receipt = if frame.contains(" receipt:") { "" } else { " receipt:r" };
        let answer = if receipt.is_empty() { "" } else { " receipt-id:r" };
        check_connected(version, &format!("{before}\n< {frame}{receipt}\n> ERROR code:{code}{answer}\n! close\n< SEND destination:/a"));
    }
}

#[test]
fn an_error_quotes_the_frame_without_the_passcode() {
    let mut session = StompSession::new(limits(), &[Version::V1_2], OFFER);
    let mut buffer = BytesMut::from(&b"CONNECT\naccept-version:1.1\nlogin:me\npasscode:secret\n\n\0"[..]);
    let Some(Action::Reply(error)) = session.poll(&mut buffer) else { panic!("no reply") };
    assert_eq!(
        String::from_utf8_lossy(&error),
        "ERROR\nmessage:supported protocol versions are 1.2\ncode:version-not-supported\nversion:1.2\n\
         content-type:text/plain\ncontent-length:109\n\n\
         supported protocol versions are 1.2\n\nThe frame:\n-----\nCONNECT\naccept-version:1.1\nlogin:me\npasscode:…\n-----\n\0"
    );
    assert_eq!(session.poll(&mut buffer), Some(Action::Close { fault: Some("version-not-supported") }));
    assert_eq!(session.poll(&mut buffer), None);
}

#[test]
fn a_goodbye_is_an_error_that_says_when_to_come_back() {
    let mut session = StompSession::new(limits(), &Version::ALL, OFFER);
    session.goodbye(&Disconnect::Slow { cursor: Some(at(7)) }, 250);
    let Some(Action::Reply(error)) = session.poll(&mut BytesMut::new()) else { panic!("no reply") };
    assert_eq!(
        String::from_utf8_lossy(&error),
        "ERROR\nmessage:messages are taken too slowly; come back from your cursor\ncode:slow\ncursor:00000000001-7\nreconnect-ms:250\n\n\0"
    );
    assert_eq!(session.poll(&mut BytesMut::new()), Some(Action::Close { fault: None }));
}

#[test]
fn a_send_keeps_type_key_and_own_headers() {
    let read = |headers: &[(&str, &str)], body: &'static [u8]| {
        let mut frame = Frame::new(FrameCommand::Send).with("destination", "/a");
        headers.iter().for_each(|(name, value)| frame.headers.push(((*name).into(), (*value).into())));
        frame.body = Bytes::from_static(body);
        StompPublish::read(&frame, &limits()).expect("a publish")
    };
    assert_eq!(read(&[("receipt", "r"), ("content-length", "2")], b"hi").draft, Draft::text("hi"));
    assert_eq!(read(&[], b"\xff").draft.content_type, ContentType::Octets);
    let publish = read(&[("content-type", "application/json"), ("key", "k"), ("mine", "1:2\n"), ("idempotency-key", "once")], b"[1]");
    assert_eq!(publish.idempotency_key.as_deref(), Some("once"));
    let headers = [("mine".into(), "1:2\n".into())].into();
    let draft = Draft { data: Bytes::from_static(b"[1]"), content_type: ContentType::Json, key: Some("k".into()), headers };
    assert_eq!(publish.draft, draft);
}

fn form(version: Version, acknowledged: bool) -> MessageForm {
    let prefix = destination::Prefix::Topic;
    MessageForm { version, subscription: Some("s:0".into()), prefix, acknowledged }
}

fn lobby() -> ChannelName {
    ChannelName::parse("chat/lobby").expect("a name")
}

#[test]
fn a_message_tells_its_position_and_the_publishers_headers() {
    let headers = [("mine".into(), "a\nb".into()), ("subscription".into(), "forged".into())].into();
    let draft = Draft { key: Some("k".into()), headers, ..Draft::text("hi") };
    let publication = Publication { position: at(43), time_ms: 0, bytes_before: 0, draft };
    let mut out = BytesMut::new();
    form(Version::V1_2, true).write_message(&lobby(), &publication, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "MESSAGE\nsubscription:s\\c0\nmessage-id:00000000001-43\nack:00000000001-43@s\\c0\ndestination:/topic/chat/lobby\n\
         position:00000000001-43\ncontent-type:text/plain; charset=utf-8\ncontent-length:2\ntime:1970-01-01T00\\c00\\c00.000Z\nkey:k\n\
         mine:a\\nb\n\nhi\0"
    );
}

#[test]
fn a_gap_is_a_message_that_any_client_sees() {
    let gap = Gap { asked: Cursor::parse("e-1").expect("a cursor"), resumed: at(42), reason: GapReason::Epoch };
    let mut out = BytesMut::new();
    form(Version::V1_1, true).write_gap(&lobby(), &gap, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "MESSAGE\nsubscription:s\\c0\nmessage-id:00000000001-42-gap\ndestination:/topic/chat/lobby\nposition:00000000001-42\n\
         gap:epoch\ncontent-type:application/json\ncontent-length:59\n\n\
         {\"asked\":\"e-1\",\"resumed\":\"00000000001-42\",\"reason\":\"epoch\"}\0"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_go_on_after_the_end(
        pieces in proptest::collection::vec(prop_oneof![
            Just("CONNECT\naccept-version:1.2\n\n\0"), Just("SEND\ndestination:/a\n\nx\0"), Just("SUBSCRIBE\nid:0\ndestination:/a\n\n\0"),
            Just("BEGIN\ntransaction:t\n\n\0"), Just("COMMIT\ntransaction:t\n\n\0"), Just("SEND\ndestination:/a\ntransaction:t\n\n\0"),
            Just("ACK\nid:e-1@0\n\n\0"), Just("UNSUBSCRIBE\nid:0\n\n\0"), Just("DISCONNECT\nreceipt:1\n\n\0"), Just("\n"), Just("x\0"),
        ], 0..20),
    ) {
        let mut session = StompSession::new(limits(), &Version::ALL, OFFER);
        let mut ended = false;
        for piece in pieces {
            let mut buffer = BytesMut::from(piece);
            while let Some(action) = session.poll(&mut buffer) {
                prop_assert!(!ended, "{:?} after the end", action);
                match action {
                    Action::Connect(_) => session.accept("bongsu", "1"),
                    Action::Close { .. } => ended = true,
                    _ => (),
                }
            }
        }
    }
}
