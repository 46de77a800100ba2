//! What a request costs in instructions before it is served: its head, its target, what it asks for. Counted by `cargo xtask bench`, as
//! the scenarios of the core are.
#![expect(clippy::print_stdout, reason = "a command's words are its output")]

use std::hint::black_box;

use bongsu_server::fuzzing::{HeadLimits, Request, subscription};
use bytes::BytesMut;

type Scenario = (&'static str, fn(usize));

/// The scenarios, by name.
const SCENARIOS: [Scenario; 3] = [
    ("read a long poll", |times| read(times, LONG_POLL)),
    ("read a browser's long poll", |times| read(times, FROM_A_BROWSER)),
    ("read several channels", |times| read(times, SEVERAL)),
];

/// `requests SCENARIO TIMES` runs one; without arguments their names are listed.
fn main() {
    // Cargo adds a flag of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [name, times] = arguments.as_slice() else { return SCENARIOS.iter().for_each(|(name, _)| println!("{name}")) };
    let (_, run) = SCENARIOS.iter().find(|(known, _)| known == name).expect("a scenario of the list");
    run(times.parse().expect("a number of repetitions"));
}

fn read(times: usize, head: &[u8]) {
    let limits = HeadLimits { bytes_max: 16 << 10, headers_max: 64 };
    let mut input = BytesMut::new();
    for _ in 0..times {
        input.extend_from_slice(black_box(head));
        let request = Request::parse(&mut input, limits).expect("well formed").expect("whole");
        assert!(black_box(subscription(&request)).is_ok());
    }
}

const LONG_POLL: &[u8] = b"GET /subscribe?channel=chat/lobby&after=8JqVu2mPw0x-42&wait=25 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    Accept: application/json\r\n\r\n";

const FROM_A_BROWSER: &[u8] = b"GET /subscribe?channel=chat%2Flobby&after=8JqVu2mPw0x-42&wait=25 HTTP/1.1\r\nHost: push.example\r\n\
    Connection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
    Accept: application/json, text/plain;q=0.5\r\nsec-ch-ua-mobile: ?0\r\nOrigin: https://push.example\r\nSec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://push.example/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: ko,en;q=0.9\r\n\r\n";

const SEVERAL: &[u8] = b"GET /subscribe?channel=a&channel=b&channel=c&channel=d&wait=25 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    Prefer: wait=25\r\nAccept: */*\r\n\r\n";
