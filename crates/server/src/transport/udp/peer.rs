//! The way to one client: whole lines, as many in a datagram as fit, at the client's pace.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bongsu_core::hub::{SubscriberKey, Written};
use bongsu_core::udp::{last_line, split_datagram};
use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;

use super::{Client, Stirred};
use crate::clock::Clock;

/// The sending side of a client.
pub struct Peer {
    pub(super) socket: Rc<UdpSocket>,
    pub(crate) client: Rc<Client>,
    pub(super) clock: Clock,
    pub(super) datagram_bytes_max: usize,
    /// Whether of several publications of a channel that are due at once all leave, or the newest.
    pub(super) complete: bool,
    pub(super) own: Cell<(SubscriberKey, u32)>,
    pub(super) is_stirred: Cell<bool>,
    pub(super) stirred: Stirred,
}

impl Peer {
    /// Sends whole lines. What the pace or the kernel does not take now is left, never a part of a line.
    pub fn try_write(&self, lines: &Bytes) -> Written {
        if self.complete { self.send(lines) } else { self.send_newest(std::iter::once(lines)) }
    }

    /// Sends the lines of several channels, which share datagrams.
    pub fn try_write_vectored(&self, slices: &[Bytes]) -> Written {
        match (self.complete, slices) {
            (true, [lines]) => self.send(lines),
            (true, slices) => self.send(&slices.concat()),
            (false, slices) => self.send_newest(slices.iter()),
        }
    }

    /// Waits until there is room for a datagram.
    pub async fn writable(&self) {
        loop {
            let wait_ms = self.client.pace.borrow_mut().wait_ms(self.datagram_bytes_max as u64, self.clock.now_ms());
            if wait_ms == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        // An error shows again when something is sent.
        _ = self.socket.writable().await;
    }

    /// The newest line of each channel, since older ones are of no use to who takes these.
    fn send_newest<'a>(&self, slices: impl Iterator<Item = &'a Bytes>) -> Written {
        let mut newest = BytesMut::new();
        slices.for_each(|lines| newest.extend_from_slice(&lines[last_line(lines)..]));
        match self.send(&newest) {
            // What was not taken is found again as the newest of what is due then.
            Written::Part(_) => Written::Part(0),
            written => written,
        }
    }

    fn send(&self, lines: &[u8]) -> Written {
        let now_ms = self.clock.now_ms();
        let mut sent = 0;
        while sent < lines.len() {
            let len = split_datagram(&lines[sent..], self.datagram_bytes_max);
            let datagram = &lines[sent..sent + len];
            if !self.client.pace.borrow_mut().take(len as u64, now_ms) {
                break;
            }
            match self.socket.try_send_to(datagram, self.client.address) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // A datagram that cannot be sent is lost like one that the network loses.
                Ok(_) | Err(_) => sent += len,
            }
        }
        if sent > 0 && !self.is_stirred.replace(true) {
            self.stirred.borrow_mut().push(self.own.get());
        }
        if sent == lines.len() { Written::All } else { Written::Part(sent) }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("address", &self.client.address).field("complete", &self.complete).finish_non_exhaustive()
    }
}
