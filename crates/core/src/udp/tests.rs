//! UDP without a socket: cookies, leases, paces, datagrams.

use std::net::SocketAddr;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::native::{Command, NativeLimits};
use crate::start::Start;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn keys() -> CookieKeys {
    CookieKeys::new([7; 32], 1000)
}

#[test]
fn a_cookie_holds_for_its_address_and_its_time() {
    let (keys, ours) = (keys(), address("192.0.2.1:4000"));
    let cookie = keys.give(ours, 5_900, 1);
    assert_eq!(Cookie::parse(&cookie.to_text()), Ok(cookie));
    assert_eq!(cookie.to_text().len(), COOKIE_CHARS);
    for (now_ms, expected) in [(5_900, Ok(0)), (6_500, Ok(600)), (6_900, Ok(1000)), (6_901, Err(UdpFault::StaleCookie))] {
        assert_eq!(keys.check(&cookie, ours, now_ms).map(|checked| checked.age_ms), expected, "at {now_ms}");
    }
    assert_eq!(keys.check(&cookie, ours, 5_899), Err(UdpFault::ForgedCookie), "of the future");
    for other in ["192.0.2.1:4001", "192.0.2.2:4000", "[2001:db8::1]:4000"] {
        assert_eq!(keys.check(&cookie, address(other), 6_000), Err(UdpFault::AddressChanged), "{other}");
    }
    assert!(keys.check(&cookie, address("[::ffff:192.0.2.1]:4000"), 6_000).is_ok(), "the same address in another form");
    assert_eq!(CookieKeys::new([8; 32], 1000).check(&cookie, ours, 6_000), Err(UdpFault::ForgedCookie), "of another server");
    assert_ne!(keys.give(ours, 5_900, 2), cookie, "chance tells two apart");
}

#[test]
fn a_stranger_is_told_as_much_as_it_sent() {
    let terms = Terms { cookie_ms: 86_400_000, lease_ms: 3_600_000, datagram_bytes_max: 65_507 };
    let cookie = keys().give(address("192.0.2.1:4000"), 1, 1);
    for fault in UdpFault::ALL.map(Some).into_iter().chain([None]) {
        for room in 0..=HELLO_BYTES_MIN {
            let mut out = BytesMut::new();
            write_stranger_answer(fault, cookie, &terms, room, &mut out);
            assert!(out.len() <= room, "{} bytes for {room}", out.len());
            if room == HELLO_BYTES_MIN {
                assert!(out.ends_with(b"}") && out.starts_with(b"{\"cookie\":") && out.windows(8).any(|part| part == b"lease_ms"));
            }
        }
    }
    let mut out = BytesMut::new();
    write_stranger_answer(None, cookie, &terms, 11, &mut out);
    assert_eq!(&out[..], b"{\"pad\":256}");
}

#[test]
fn a_datagram_opens_with_a_hello_or_a_cookie() {
    let cookie = keys().give(address("192.0.2.1:4000"), 1, 1);
    let shown = format!("{{\"cookie\":\"{}\"}}\n{{\"ping\":1}}", cookie.to_text());
    assert_eq!(open(shown.as_bytes()), Ok((Opening::Cookie(cookie), &b"\n{\"ping\":1}"[..])));
    assert_eq!(open(b" {\"hello\":1, \"pad\":\"...\"}   "), Ok((Opening::Hello, &b""[..])));
    assert_eq!(open(b""), Err(UdpFault::Empty));
    assert_eq!(open(b" \n\n"), Err(UdpFault::Empty));
    assert_eq!(open(b"{\"cookie\":\"short\"}"), Err(UdpFault::MalformedCookie));
    for stranger in [&b"GET / HTTP/1.1\r\n"[..], b"{\"hello\":1", b"[\"x\",1]", b"{}", b"{\"ping\":1}", b"\xff\xff", b"{\"hello\":null}"] {
        assert_eq!(open(stranger), Err(UdpFault::NoCookie), "{}", stranger.escape_ascii());
    }
}

#[test]
fn commands_are_those_of_the_native_protocol_and_repair() {
    let limits = NativeLimits::default();
    let read = |text: &str| {
        let mut requests: Vec<_> = commands(text.as_bytes(), &limits).collect();
        assert_eq!(requests.len(), 1, "{text}");
        requests.pop().expect("one")
    };
    let complete = |text: &str| match read(text).expect("a subscribe") {
        Request::Command { command: Command::Subscribe { start, .. }, complete } => (start == Start::Live, complete),
        other => panic!("a subscribe is due, not {other:?}"),
    };
    assert_eq!(complete("\n\n{\"subscribe\":\"a\"}\n   \n"), (true, true));
    assert_eq!(complete(r#"{"subscribe":"a","repair":true}"#), (true, true));
    assert_eq!(complete(r#"{"subscribe":"a","repair":false,"last":1}"#), (false, false));
    assert!(matches!(read(r#"{"repair":"a","after":"e-1","through":"e-4","id":7}"#), Ok(Request::Repair { through: Some(_), .. })));
    assert!(matches!(read(r#"{"repair":"a","after":"e-1"}"#), Ok(Request::Repair { through: None, .. })));
    for (text, code) in [
        (r#"{"repair":"a","id":1}"#, "invalid-repair"),
        (r#"{"repair":"a","after":"no cursor"}"#, "invalid-cursor"),
        (r#"{"repair":"a","after":"e-1","last":1}"#, "unknown-field"),
        (r#"{"repair":7,"after":"e-1"}"#, "invalid-channel"),
        (r#"{"subscribe":"a","repair":1}"#, "invalid-repair"),
        (r#"{"publish":"a","data":1,"repair":true}"#, "unknown-field"),
        (r#"{"subscribe":"a","ping":1}"#, "ambiguous-command"),
        ("nonsense", "not-json"),
        (r#"{"subscribe":"a"#, "not-json"),
    ] {
        assert_eq!(read(text).expect_err("refused").code(), code, "{text}");
    }
}

#[test]
fn repair_is_no_command_elsewhere() {
    for text in [r#"{"repair":"a","after":"e-1"}"#, r#"{"subscribe":"a","repair":false}"#] {
        assert!(crate::native::decode(text.as_bytes(), &NativeLimits::default()).is_err(), "{text}");
    }
}

#[test]
fn a_head_is_told_when_a_channel_falls_silent_and_then_ever_more_rarely() {
    let times = HeadTimes { after_ms: 100, interval_max_ms: 400 };
    let mut lease = Lease::new(5, 10_000, times, 0);
    assert_eq!(lease.look(6, times, 50), Look::Nothing, "something was sent");
    assert_eq!(lease.due_ms(), 150);
    let told: Vec<_> = (51..2_000).filter(|&now_ms| lease.look(6, times, now_ms) == Look::Head).collect();
    assert_eq!(told, [150, 350, 750, 1150, 1550, 1950]);
    assert_eq!(lease.look(7, times, 2_000), Look::Nothing);
    assert_eq!((lease.due_ms(), lease.look(7, times, 2_100)), (2_100, Look::Head), "from the beginning");
    lease.renew(10_000, 5_000);
    assert_ne!(lease.look(7, times, 14_999), Look::Ended);
    assert_eq!(lease.look(7, times, 15_000), Look::Ended);
}

#[test]
fn a_pace_gives_a_burst_and_then_so_much_a_second() {
    let mut pace = Pace::new(1000, 100, 0);
    assert!(pace.take(100, 0) && !pace.take(1, 0));
    assert_eq!(pace.wait_ms(50, 0), 50);
    assert!(!pace.take(50, 49) && pace.take(50, 50));
    assert_eq!(pace.available(10_000), 100, "never more than the burst");
    let mut slow = Pace::new(1, 10, 0);
    slow.spend(u64::MAX, 0);
    (1..1000).for_each(|now_ms| assert_eq!(slow.available(now_ms), 0));
    assert_eq!((slow.available(1000), slow.wait_ms(u64::MAX, 1000)), (1, 9000), "slow paces fill too");
}

proptest! {
    #[test]
    fn no_line_is_cut_and_none_is_lost(lines in prop::collection::vec("[a-z]{0,40}", 1..60), max in 10usize..100) {
        let all: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (mut rest, mut seen) = (all.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let (datagram, behind) = rest.split_at(split_datagram(rest, max));
            prop_assert!(datagram.ends_with(b"\n"));
            let several = datagram.iter().filter(|&&byte| byte == b'\n').count() > 1;
            prop_assert!(datagram.len() <= max || !several, "only a line too long by itself passes the bound");
            seen.extend_from_slice(datagram);
            rest = behind;
        }
        prop_assert_eq!(&seen, all.as_bytes());
        let last = lines.last().expect("at least one");
        prop_assert_eq!(&all[last_line(all.as_bytes())..], format!("{}\n", last));
    }

    #[test]
    fn a_forged_cookie_never_holds(bytes in prop::array::uniform24(any::<u8>()), now_ms in any::<u32>(), flip in 0usize..192) {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let (keys, ours) = (keys(), address("192.0.2.1:4000"));
        let forged = Cookie::parse(&text).expect("of the right form");
        prop_assert!(keys.check(&forged, ours, now_ms.into()).is_err());
        let given = keys.give(ours, now_ms.into(), 9);
        let mut flipped = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(given.to_text()).expect("base64");
        flipped[flip / 8] ^= 1 << (flip % 8);
        let flipped = Cookie::parse(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(flipped)).expect("of the right form");
        // The four bytes that only tell two faults apart protect nothing.
        if !(64..96).contains(&flip) {
            prop_assert!(keys.check(&flipped, ours, now_ms.into()).is_err());
        }
    }
}
