//! Datagrams from outside: a client's at the server, where an address that is not validated is sent no more than it sent, and a
//! server's at the client, which hands on what it is told once and in order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bongsu_core::native::NativeLimits;
use bongsu_core::udp::{self, CookieKeys, Opening, Request, Terms, UdpFault};
use bongsu_core::{ChannelName, Start};
use bongsu_lab::client::Event;
use bongsu_lab::client::udp::{Assembly, Told};
use bytes::BytesMut;

/// Whatever comes is an opening with commands, or a fault whose answer is no longer than the datagram.
pub(crate) fn udp_datagram(data: &[u8]) {
    let (keys, address) = (CookieKeys::new([7; 32], 60_000), SocketAddr::from(([192, 0, 2, 1], 4000)));
    let fault = match udp::open(data) {
        Ok((Opening::Cookie(cookie), rest)) => {
            assert_eq!(udp::Cookie::parse(&cookie.to_text()), Ok(cookie));
            for request in udp::commands(rest, &NativeLimits::default()) {
                if let Ok(Request::Repair { after, .. }) = request {
                    assert!(after.as_str().contains('-'));
                }
            }
            keys.check(&cookie, address, 1_000_000).expect_err("no input holds a cookie of this key")
        }
        Ok((Opening::Hello, _)) => UdpFault::ShortHello,
        Err(fault) => fault,
    };
    let terms = Terms { cookie_ms: 60_000, lease_ms: 30_000, datagram_bytes_max: 1200 };
    let mut answer = BytesMut::new();
    udp::write_stranger_answer(Some(fault), keys.give(address, 1_000_000, 1), &terms, data.len(), &mut answer);
    assert!(answer.len() <= data.len());
    assert!(answer.is_empty() || serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
}

/// Each line is an object of the server; what is handed on of a channel goes forward, but for gaps.
pub(crate) fn udp_told(data: &[u8]) {
    let Ok(channel) = ChannelName::parse("a") else { return };
    let (mut assembly, mut ready) = (Assembly::new(channel.clone(), Start::Live, !data.starts_with(b"n")), VecDeque::new());
    for line in data.split(|&byte| byte == b'\n') {
        let Ok(told) = Told::read(line) else { continue };
        if told.is_of(&channel) && assembly.take(&told, line, &mut ready).is_err() {
            return;
        }
        assembly.settle(&mut ready);
        assert!(assembly.holes(4).len() <= 4);
    }
    let mut last: Option<(String, u128)> = None;
    for event in ready {
        match event {
            Event::Publication(published) => {
                let at = parts(published.position.as_str());
                assert!(last.is_none_or(|last| last.0 == at.0 && last.1 < at.1), "forward, within an epoch");
                last = Some(at);
            }
            Event::Gap(gap) => last = Some(parts(gap.resumed.as_str())),
            _ => (),
        }
    }
}

fn parts(cursor: &str) -> (String, u128) {
    let (epoch, offset) = cursor.split_once('-').expect("a cursor has its dash");
    (epoch.to_owned(), offset.parse().expect("a cursor ends in digits"))
}
