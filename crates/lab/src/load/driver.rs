//! One run of a plan, from the first connection to the report.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::inflate::Inflated;
use super::subscriber::{Peer, channels_of};
use super::tally::Tally;
use super::wire::Stamp;
use super::{PAYLOAD_BYTES_MIN, Pace, Plan, Report, RunFault, Usage};

/// Does what the plan says and reports what it showed.
pub fn run(plan: &Plan) -> Result<Report, RunFault> {
    check(plan)?;
    let mut driver = Driver::new(plan)?;
    let before = plan.server_pid.and_then(Usage::of);
    driver.open_subscribers()?;
    driver.pass(SETTLE)?;
    let idle = plan.server_pid.and_then(Usage::of);
    if !plan.duration.is_zero() {
        driver.open_publishers()?;
        driver.publish()?;
    }
    let after = plan.server_pid.and_then(Usage::of);
    let mut report = driver.report;
    if let (Some(before), Some(idle), Some(after)) = (before, idle, after) {
        report.server_rss_bytes = Some([before.rss_bytes, idle.rss_bytes, after.rss_bytes]);
        report.rss_per_idle_connection = Some((idle.rss_bytes as f64 - before.rss_bytes as f64) / plan.subscribers as f64);
    }
    Ok(report)
}

fn check(plan: &Plan) -> Result<(), RunFault> {
    let refused = match plan {
        Plan { subscribers: 0, .. } => "no subscribers",
        Plan { slow_subscribers, subscribers, .. } if slow_subscribers > subscribers => "more slow subscribers than subscribers",
        Plan { subscriptions_per_connection: 0, .. } => "no subscriptions",
        Plan { channels, subscriptions_per_connection, .. } if channels < subscriptions_per_connection => {
            "a connection cannot subscribe to a channel twice: more channels, or fewer subscriptions"
        }
        Plan { pace: Pace::InFlight(0), .. } => "a window of nothing",
        Plan { pace: Pace::PerSecond(rate), .. } if rate.is_nan() || *rate <= 0.0 => "a rate of nothing",
        Plan { payload_bytes, .. } if *payload_bytes < PAYLOAD_BYTES_MIN => "a payload too short for its stamp",
        _ => return Ok(()),
    };
    Err(RunFault::Plan(refused))
}

struct Driver<'a> {
    plan: &'a Plan,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    inflated: Inflated,
    /// Subscribers first, publishers behind.
    peers: Vec<Peer>,
    stamp: Stamp,
    filling: String,
    tally: Tally,
    started: Instant,
    slow_read_at: Duration,
    ready: usize,
    report: Report,
}

/// What was counted at one moment.
#[derive(Clone, Copy)]
struct Mark {
    at: Duration,
    deliveries: u64,
    echoes: u64,
    published: u64,
    bytes: u64,
    server: Option<Usage>,
    driver: Option<Usage>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan) -> Result<Self, RunFault> {
        let mut receivers = vec![0; plan.channels];
        for index in plan.slow_subscribers..plan.subscribers {
            channels_of(plan, index).into_iter().for_each(|channel| receivers[channel] += 1);
        }
        Ok(Self {
            plan,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BUFFER_BYTES],
            inflated: Inflated::default(),
            peers: Vec::with_capacity(plan.subscribers),
            stamp: Stamp::new(),
            filling: super::wire::filling(plan.filling, plan.payload_bytes - PAYLOAD_BYTES_MIN),
            tally: Tally::new(receivers)?,
            started: Instant::now(),
            slow_read_at: Duration::ZERO,
            ready: 0,
            report: Report { subscribers: plan.subscribers, ..Report::default() },
        })
    }

    /// Opens them with so many under way at once, and times it.
    fn open_subscribers(&mut self) -> Result<(), RunFault> {
        let began = Instant::now();
        while self.ready < self.plan.subscribers {
            while self.peers.len() < self.plan.subscribers.min(self.ready + OPENING_MAX) {
                let peer = Peer::subscriber(self.plan, self.peers.len(), self.poll.registry())?;
                self.peers.push(peer);
            }
            self.opening_turn(began, self.plan.subscribers)?;
        }
        self.report.opened_per_second = self.plan.subscribers as f64 / began.elapsed().as_secs_f64();
        Ok(())
    }

    fn open_publishers(&mut self) -> Result<(), RunFault> {
        let publishers = if self.plan.target.publish_path.contains("{channel}") { self.plan.channels } else { 1 };
        let began = Instant::now();
        for channel in 0..publishers {
            let peer = Peer::publisher(self.plan, channel, self.peers.len(), self.poll.registry())?;
            self.peers.push(peer);
            while self.peers.len() >= self.ready + OPENING_MAX {
                self.opening_turn(began, self.plan.subscribers + publishers)?;
            }
        }
        while self.ready < self.peers.len() {
            self.opening_turn(began, self.plan.subscribers + publishers)?;
        }
        Ok(())
    }

    fn opening_turn(&mut self, began: Instant, wanted: usize) -> Result<(), RunFault> {
        self.turn(Duration::from_millis(100))?;
        if began.elapsed() > OPENING_WAIT {
            return Err(RunFault::Opening { ready: self.ready, wanted, seconds: OPENING_WAIT.as_secs() });
        }
        Ok(())
    }

    /// Lets so much time pass, and answers what has to be answered.
    fn pass(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), RunFault> {
        self.started = Instant::now();
        let (begin, end) = (self.plan.warm_up, self.plan.warm_up + self.plan.duration);
        let mut mark = None;
        loop {
            let now = self.started.elapsed();
            if mark.is_none() && now >= begin {
                self.tally.restart();
                mark = Some(self.mark());
            }
            if now >= end {
                break;
            }
            let wait = self.publish_due(now).min(end.saturating_sub(now));
            // The loop's own clock ticks in milliseconds: what is due within one is waited for awake.
            self.turn(if wait < Duration::from_millis(2) { Duration::ZERO } else { wait - Duration::from_millis(1) })?;
            self.read_slow_subscribers();
        }
        let last = self.mark();
        self.account(mark.unwrap_or(last), last);
        self.drain()
    }

    /// Publishes what is due; how long until the next is.
    fn publish_due(&mut self, now: Duration) -> Duration {
        let first = self.plan.subscribers;
        let publishers = self.peers.len() - first;
        let from = self.tally.next();
        let wait = match self.plan.pace {
            Pace::InFlight(window) => {
                (self.tally.in_flight()..window).for_each(|_| self.lay_next(now));
                Duration::from_millis(100)
            }
            Pace::PerSecond(rate) => loop {
                let due = Duration::from_secs_f64(self.tally.next() as f64 / rate);
                if due > now {
                    break due - now;
                }
                self.lay_next(due);
            },
        };
        let laid = (self.tally.next() - from).min(publishers as u64);
        for publisher in from..from + laid {
            self.peers[first + (publisher % publishers as u64) as usize].flush();
        }
        wait
    }

    fn lay_next(&mut self, since: Duration) {
        let number = self.tally.next();
        let channel = (number % self.plan.channels as u64) as usize;
        let publishers = (self.peers.len() - self.plan.subscribers) as u64;
        let payload = self.stamp.payload(number, &self.filling);
        let frame = &self.plan.target.publish_frame;
        let peer = &mut self.peers[self.plan.subscribers + (number % publishers) as usize];
        match frame.as_str() {
            "{payload}" => peer.lay(&payload),
            frame => peer.lay(&super::wire::fill(frame, &[channel]).replace("{payload}", &payload)),
        }
        self.tally.published(since);
    }

    /// One turn of the event loop.
    fn turn(&mut self, wait: Duration) -> Result<(), RunFault> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in self.events.iter() {
            let index = event.token().0;
            let peer = &mut self.peers[index];
            if peer.closed {
                continue;
            }
            let was_open = peer.is_open();
            if event.is_writable() {
                peer.flush();
            }
            let paused = index < self.plan.slow_subscribers && was_open;
            if event.is_readable() && !paused {
                receive(
                    peer,
                    index,
                    self.plan,
                    &mut self.buffer,
                    &mut self.inflated,
                    &self.stamp,
                    &mut self.tally,
                    &mut self.report,
                    self.started,
                )?;
            }
            match (was_open, peer.closed) {
                (false, true) => return Err(RunFault::ClosedEarly { ready: self.ready }),
                (false, false) if peer.is_open() => self.ready += 1,
                _ => (),
            }
        }
        Ok(())
    }

    fn read_slow_subscribers(&mut self) {
        let now = self.started.elapsed();
        if self.plan.slow_pause.is_zero() || now < self.slow_read_at {
            return;
        }
        self.slow_read_at = now + self.plan.slow_pause;
        for index in 0..self.plan.slow_subscribers {
            let peer = &mut self.peers[index];
            let stamp = &self.stamp;
            let report = &mut self.report;
            let channels = self.plan.channels as u64;
            let read = peer.read(&mut self.buffer, &mut self.inflated, |subscriptions, data| {
                stamp.each(data, |number| {
                    let Some(subscription) = subscription(subscriptions, number, channels) else { return };
                    report.slow_deliveries += 1;
                    report.slow_lost += number.saturating_sub(subscription.1) / channels;
                    report.repeated += u64::from(number < subscription.1);
                    subscription.1 = number + channels;
                });
            });
            peer.closed |= read.is_err();
        }
    }

    /// Waits for what is still under way.
    fn drain(&mut self) -> Result<(), RunFault> {
        let end = Instant::now() + DRAIN_WAIT;
        while self.tally.in_flight() > 0 && Instant::now() < end {
            self.turn(Duration::from_millis(50))?;
        }
        self.tally.finish();
        self.report.lost = self.tally.lost;
        self.report.repeated += self.tally.repeated;
        Ok(())
    }

    fn mark(&self) -> Mark {
        Mark {
            at: self.started.elapsed(),
            deliveries: self.tally.deliveries + self.report.slow_deliveries,
            echoes: self.report.echoes,
            published: self.tally.next(),
            bytes: self.peers.iter().take(self.plan.subscribers).map(|peer| peer.bytes_read).sum(),
            server: self.plan.server_pid.and_then(Usage::of),
            driver: Usage::of(std::process::id()),
        }
    }

    fn account(&mut self, begin: Mark, end: Mark) {
        let report = &mut self.report;
        report.publications = end.published - begin.published;
        report.deliveries = end.deliveries - begin.deliveries;
        report.echoes = end.echoes - begin.echoes;
        report.seconds = (end.at - begin.at).as_secs_f64();
        report.deliveries_per_second = report.deliveries as f64 / report.seconds;
        report.bytes_per_delivery = (end.bytes - begin.bytes) as f64 / report.deliveries.max(1) as f64;
        report.latency_us = self.tally.latency();
        let sent = (report.deliveries + report.echoes).max(1) as f64;
        let spent = |(begin, end): (Usage, Usage)| (end.cpu_seconds - begin.cpu_seconds) * 1e6 / sent;
        report.server_cpu_us_per_delivery = begin.server.zip(end.server).map(spent);
        report.driver_cpu_us_per_delivery = begin.driver.zip(end.driver).map(spent);
        report.server_system_share = begin.server.zip(end.server).map(|(begin, end)| end.system_share_since(&begin));
    }
}

/// Reads one peer and tallies what it got.
#[expect(clippy::too_many_arguments, reason = "the driver's fields, borrowed apart while its events are walked")]
fn receive(
    peer: &mut Peer,
    index: usize,
    plan: &Plan,
    buffer: &mut [u8],
    inflated: &mut Inflated,
    stamp: &Stamp,
    tally: &mut Tally,
    report: &mut Report,
    started: Instant,
) -> Result<(), RunFault> {
    let publisher = index >= plan.subscribers;
    let channels = plan.channels as u64;
    let mut now = None;
    let read = peer.read(buffer, inflated, |subscriptions, data| {
        let now = *now.get_or_insert_with(|| started.elapsed());
        stamp.each(data, |number| {
            if publisher {
                report.echoes += 1;
            } else if let Some(subscription) = subscription(subscriptions, number, channels) {
                subscription.1 = tally.delivered(subscription.1, number, now);
            }
        });
    });
    if peer.closed {
        report.closed += 1;
        if index >= plan.slow_subscribers {
            peer.subscriptions.iter().for_each(|&(_, expected)| tally.ended(expected));
        }
    }
    Ok(read?)
}

fn subscription(subscriptions: &mut [(u64, u64)], number: u64, channels: u64) -> Option<&mut (u64, u64)> {
    match subscriptions {
        [only] => Some(only),
        several => several.iter_mut().find(|(channel, _)| *channel == number % channels),
    }
}

const EVENTS_MAX: usize = 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
const OPENING_MAX: usize = 256;
const OPENING_WAIT: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_millis(300);
const DRAIN_WAIT: Duration = Duration::from_secs(5);
