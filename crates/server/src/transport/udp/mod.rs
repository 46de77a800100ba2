//! The native protocol over UDP: a worker has one socket, clients known by their address once a cookie has validated it, subscriptions
//! that are leases. What a datagram means is decided in `bongsu_core::udp`; the exchange is specified in `docs/udp.md`.

mod client;
mod commands;
mod leases;
mod peer;
mod socket;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bongsu_core::hub::SubscriberKey;
use bongsu_core::udp::{self, Cookie, CookieKeys, HELLO_BYTES_MIN, Opening, Pace, Terms, UdpFault};
use bytes::BytesMut;
use rand::RngExt;
use tokio::net::UdpSocket;

pub(crate) use client::Client;
pub(crate) use leases::Leased;
pub use peer::Peer;
pub(crate) use socket::{UdpDoor, adopt, bind, receive};

use crate::worker::Worker;

/// What a worker has of UDP.
pub(crate) struct Udp {
    socket: Rc<UdpSocket>,
    secret: [u8; 32],
    clients: HashMap<SocketAddr, Rc<Client>>,
    /// How many addresses that are not validated are answered.
    strangers: Pace,
    stirred: Stirred,
}

/// Those that something was sent to since their heads were told: the sink adds to it, the worker takes from it.
pub(crate) type Stirred = Rc<RefCell<Vec<(SubscriberKey, u32)>>>;

impl Worker {
    /// Acts on one datagram.
    pub(crate) fn on_datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        let now_ms = self.now_ms();
        if datagram.len() > self.shared.config.udp.datagram_bytes_max.as_usize() {
            return self.answer_stranger(Some(UdpFault::TooLarge), datagram.len(), from);
        }
        match udp::open(datagram) {
            Ok((Opening::Hello, _)) => {
                let short = (datagram.len() < HELLO_BYTES_MIN).then_some(UdpFault::ShortHello);
                self.answer_stranger(short, datagram.len(), from);
            }
            Ok((Opening::Cookie(cookie), rest)) => match self.check_cookie(&cookie, from, now_ms) {
                Ok(age_ms) => self.on_commands(&cookie, age_ms, rest, from),
                Err(fault) => self.answer_stranger(Some(fault), datagram.len(), from),
            },
            Err(fault) => self.answer_stranger(Some(fault), datagram.len(), from),
        }
    }

    fn check_cookie(&self, cookie: &Cookie, from: SocketAddr, now_ms: u64) -> Result<u64, UdpFault> {
        let keys = self.cookie_keys().ok_or(UdpFault::ForgedCookie)?;
        keys.check(cookie, from, now_ms).map(|checked| checked.age_ms)
    }

    /// The only way in which an address is answered that no cookie has validated: with no more than it sent (`room`), and nothing at
    /// all once too many ask.
    fn answer_stranger(&mut self, fault: Option<UdpFault>, room: usize, to: SocketAddr) {
        let now_ms = self.now_ms();
        if let Some(fault) = fault {
            self.metrics.fault(fault.code());
        }
        let (Some(cookie), Some(udp)) = (self.new_cookie(to), &mut self.udp) else { return };
        if !udp.strangers.take(1, now_ms) {
            return self.metrics.fault(UdpFault::Flood.code());
        }
        let config = &self.shared.config.udp;
        let terms = Terms {
            cookie_ms: config.cookie_lifetime.as_millis(),
            lease_ms: config.lease.as_millis(),
            datagram_bytes_max: config.datagram_bytes_max.as_usize(),
        };
        let mut answer = BytesMut::new();
        udp::write_stranger_answer(fault, cookie, &terms, room, &mut answer);
        if !answer.is_empty() {
            // One that is lost is asked for again.
            _ = udp.socket.try_send_to(&answer, to);
        }
    }

    /// Sends whole lines to an address that is validated.
    fn say_to(&mut self, to: SocketAddr, lines: &mut BytesMut) {
        let max = self.shared.config.udp.datagram_bytes_max.as_usize();
        let now_ms = self.now_ms();
        let Some(udp) = &self.udp else { return };
        while !lines.is_empty() {
            let datagram = lines.split_to(udp::split_datagram(lines, max));
            if let Some(client) = udp.clients.get(&to) {
                client.pace.borrow_mut().spend(datagram.len() as u64, now_ms);
            }
            // What the kernel has no room for is lost like what the network loses.
            _ = udp.socket.try_send_to(&datagram, to);
        }
    }

    fn cookie_keys(&self) -> Option<CookieKeys> {
        let lifetime_ms = self.shared.config.udp.cookie_lifetime.as_millis();
        self.udp.as_ref().map(|udp| CookieKeys::new(udp.secret, lifetime_ms))
    }

    fn new_cookie(&mut self, of: SocketAddr) -> Option<Cookie> {
        let (now_ms, chance) = (self.now_ms(), self.rng.random());
        self.cookie_keys().map(|keys| keys.give(of, now_ms, chance))
    }

    /// Takes UDP up.
    pub(crate) fn open_udp(&mut self, socket: Rc<UdpSocket>, secret: [u8; 32]) {
        let per_second = self.shared.config.udp.strangers_per_second_max.div_ceil(self.shared.workers) as u64;
        self.udp = Some(Box::new(Udp {
            socket,
            secret,
            clients: HashMap::new(),
            strangers: Pace::new(per_second, per_second, self.now_ms()),
            stirred: Stirred::default(),
        }));
    }

    /// Lets go of what is known of a client, once the last connection of its address has ended.
    pub(crate) fn forget_client(&mut self, client: &Client, key: SubscriberKey) {
        client.drop_key(key);
        if let Some(udp) = &mut self.udp
            && client.is_gone()
        {
            udp.clients.remove(&client.address);
        }
    }
}
