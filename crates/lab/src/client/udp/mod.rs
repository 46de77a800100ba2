//! A subscriber over UDP: leases that are renewed, losses that are seen and asked for again.

mod assembly;
mod link;
mod publish;
mod told;

use std::collections::VecDeque;
use std::time::Duration;

use bongsu_core::{ChannelName, Start};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use self::link::UdpLink;
use super::event::Event;
use super::fault::ClientFault;
use super::http::Limits;
use super::native;
use super::record::{self, Record};
use super::target::Target;

pub use self::assembly::{Assembly, Hole};
pub(crate) use self::publish::UdpPublisher;
pub use self::told::Told;

/// Channels over UDP, any number from one socket.
#[derive(Debug)]
pub struct Udp {
    link: UdpLink,
    channels: Vec<Following>,
    ready: VecDeque<Event>,
    limits: Limits,
    said_goodbye: bool,
}

/// One channel: what came of it, and when to speak next.
#[derive(Debug)]
struct Following {
    assembly: Assembly,
    subscribe_at: Instant,
    retry: Duration,
    repair_at: Option<Instant>,
    repair_retry: Duration,
    lease: Duration,
}

impl Udp {
    /// Has its address validated. What is followed is asked for as soon as the next event is.
    pub async fn open(target: &Target, starts: &[(ChannelName, Start)], newest_only: bool, limits: Limits) -> Result<Self, ClientFault> {
        let link = UdpLink::open(target, limits.answer_max).await?;
        let now = Instant::now();
        let following = |(channel, start): &(ChannelName, Start)| Following {
            assembly: Assembly::new(channel.clone(), start.clone(), !newest_only),
            subscribe_at: now,
            retry: RETRY,
            repair_at: None,
            repair_retry: RETRY,
            lease: link.lease,
        };
        let channels = starts.iter().map(following).collect();
        Ok(Self { link, channels, ready: VecDeque::new(), limits, said_goodbye: false })
    }

    /// The next event, or nothing once the server has said goodbye. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.said_goodbye {
                return Ok(None);
            }
            let due = self.speak()?;
            let silent_at = self.link.heard_at + self.limits.silence_max;
            match timeout_at(due.min(silent_at), self.link.receive()).await {
                Ok(datagram) => self.hear(&datagram?)?,
                Err(_) if Instant::now() >= silent_at => {
                    return Err(ClientFault::Silent { what: "a sign of life", waited: self.limits.silence_max });
                }
                Err(_) => (),
            }
        }
    }

    /// Leaves in good order.
    pub async fn close(self) {
        let lines = self.channels.iter().map(|channel| json!({ "unsubscribe": channel.assembly.channel().as_str() }).to_string());
        let lines = lines.collect::<Vec<_>>();
        self.link.say(&lines);
    }

    /// How many datagrams came, and how many repairs were asked for.
    pub fn counts(&self) -> (u64, u64) {
        (self.link.datagrams, self.channels.iter().map(|channel| channel.assembly.repairs).sum())
    }

    /// Says what is due, and returns when something is due next.
    fn speak(&mut self) -> Result<Instant, ClientFault> {
        let (now, mut lines) = (Instant::now(), Vec::new());
        for channel in &mut self.channels {
            if now >= channel.subscribe_at {
                lines.push(channel.subscribe());
                channel.subscribe_at = now + channel.pause();
            }
            if channel.repair_at.is_some_and(|at| now >= at) {
                lines.extend(channel.repair(now));
            }
        }
        self.link.say(&lines);
        let due = self.channels.iter().flat_map(|channel| [Some(channel.subscribe_at), channel.repair_at]).flatten().min();
        due.ok_or_else(|| ClientFault::contract("no channel to subscribe to"))
    }

    fn hear(&mut self, datagram: &[u8]) -> Result<(), ClientFault> {
        for line in datagram.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            let told = Told::read(line)?;
            if let Some(cookie) = &told.cookie {
                self.link.set_cookie(cookie);
            }
            if let Some(code) = told.error() {
                self.refused(code, line)?;
            } else if told.is_bye {
                self.said_goodbye = true;
                self.ready.extend(record::read(line, None)?.into_events()?);
            } else if let Some(channel) = self.channels.iter_mut().find(|channel| told.is_of(channel.assembly.channel())) {
                channel.take(&told, line, &mut self.ready)?;
            }
        }
        let now = Instant::now();
        let patience = self.link.patience;
        self.channels.iter_mut().for_each(|channel| channel.settle(now, patience, &mut self.ready));
        Ok(())
    }

    fn refused(&mut self, code: &str, line: &[u8]) -> Result<(), ClientFault> {
        let now = Instant::now();
        match code {
            "stale-cookie" | "forged-cookie" | "address-changed" | "malformed-cookie" | "no-cookie" | "not-subscribed" => {
                self.channels.iter_mut().for_each(|channel| channel.subscribe_at = now);
                Ok(())
            }
            // It is asked for again anyway, after longer and longer waits.
            "too-many-repairs" => Ok(()),
            "too-many-clients" => Err(ClientFault::broken("the server follows for as many addresses as it may")),
            _ => match record::read(line, None)? {
                Record::Error { code, message, .. } => Err(ClientFault::Told { code, message }),
                _ => Err(record::unreadable(line, "an error without its code")),
            },
        }
    }
}

impl Following {
    fn subscribe(&self) -> String {
        let mut line = native::subscribe(self.assembly.channel(), &self.assembly.start(), 1);
        if !self.assembly.is_complete() {
            line.truncate(line.len() - 1);
            line.push_str(",\"repair\":false}");
        }
        line
    }

    /// How long to wait until the subscription is asked for again, or renewed.
    fn pause(&mut self) -> Duration {
        if self.assembly.has_begun() {
            return self.lease / 3;
        }
        let pause = self.retry;
        self.retry = (pause * 2).min(RETRY_MAX);
        pause
    }

    fn repair(&mut self, now: Instant) -> Vec<String> {
        let holes = self.assembly.holes(HOLES_MAX);
        self.assembly.repairs += holes.len() as u64;
        self.repair_at = Some(now + self.repair_retry);
        self.repair_retry = (self.repair_retry * 2).min(RETRY_MAX);
        let line = |Hole { after, through }: &Hole| {
            let mut line = json!({ "repair": self.assembly.channel().as_str(), "after": after.as_str(), "id": 2 });
            if let Some(through) = through {
                line["through"] = through.as_str().into();
            }
            line.to_string()
        };
        holes.iter().map(line).collect()
    }

    fn take(&mut self, told: &Told<'_>, line: &[u8], ready: &mut VecDeque<Event>) -> Result<(), ClientFault> {
        if let Some(lease_ms) = told.lease_ms {
            self.lease = Duration::from_millis(lease_ms);
            if !self.assembly.has_begun() {
                self.subscribe_at = Instant::now() + self.lease / 3;
            }
        }
        if told.ended.is_some() {
            self.subscribe_at = Instant::now();
        }
        self.assembly.take(told, line, ready)
    }

    /// Hands on what follows, and has the hole asked for, if there is one: at first after the time that what is overtaken may take.
    fn settle(&mut self, now: Instant, patience: Duration, ready: &mut VecDeque<Event>) {
        let went_on = self.assembly.settle(ready);
        if !self.assembly.is_missing() {
            (self.repair_at, self.repair_retry) = (None, patience);
        } else if went_on || self.repair_at.is_none() {
            (self.repair_at, self.repair_retry) = (Some(now + OVERTAKEN), patience);
        }
    }
}

/// How long a datagram may be overtaken by others before it counts as lost.
const OVERTAKEN: Duration = Duration::from_millis(10);
/// How many holes are asked for at once.
const HOLES_MAX: usize = 16;
/// How long an answer may take at first, and in the end.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The shortest that an answer is waited for, once the round trip is known.
const RETRY_MIN: Duration = Duration::from_millis(30);
