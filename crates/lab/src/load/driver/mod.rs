//! One run of a plan, from the first connection to the report.

mod account;
mod open;
mod receive;
mod slow;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use account::Mark;
use receive::receive;

use super::balance::Balance;
use super::check::check;
use super::inflate::Inflated;
use super::subscriber::{Peer, channels_of};
use super::tally::Tally;
use super::wire::Stamp;
use super::{PAYLOAD_BYTES_MIN, Pace, Plan, Progress, Report, RunFault, Transport, Usage};

/// Does what the plan says and reports what it showed.
pub fn run(plan: &Plan) -> Result<Report, RunFault> {
    run_watched(plan, &mut |_| ())
}

/// The same, and tells how far it has come, a few times a second.
pub fn run_watched(plan: &Plan, watch: &mut dyn FnMut(Progress)) -> Result<Report, RunFault> {
    check(plan)?;
    let mut driver = Driver::new(plan, watch)?;
    let before = plan.server_pid.and_then(Usage::of);
    driver.open_subscribers()?;
    driver.pass(SETTLE)?;
    let idle = plan.server_pid.and_then(Usage::of);
    if !plan.duration.is_zero() {
        if plan.pace != Pace::Nothing {
            driver.open_publishers()?;
        }
        driver.publish()?;
    }
    driver.settle_slow_subscribers()?;
    let after = plan.server_pid.and_then(Usage::of);
    let mut report = driver.finish();
    if let (Some(before), Some(idle), Some(after)) = (before, idle, after) {
        report.server_rss_bytes = Some([before.rss_bytes, idle.rss_bytes, after.rss_bytes]);
        report.rss_per_idle_connection = Some((idle.rss_bytes as f64 - before.rss_bytes as f64) / plan.subscribers as f64);
    }
    Ok(report)
}

struct Driver<'a> {
    plan: &'a Plan,
    watch: &'a mut dyn FnMut(Progress),
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    inflated: Inflated,
    /// Subscribers first, publishers behind.
    peers: Vec<Peer>,
    /// When those who poll ask again.
    polls: BinaryHeap<Reverse<(Duration, usize)>>,
    stamp: Stamp,
    filling: String,
    tally: Tally,
    began: Instant,
    started: Instant,
    slow_read_at: Duration,
    ready: usize,
    watched_at: Instant,
    sampled: Mark,
    report: Report,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan, watch: &'a mut dyn FnMut(Progress)) -> Result<Self, RunFault> {
        let lanes_of = |index| channels_of(plan, index).into_iter().flat_map(|channel| (channel..plan.lanes()).step_by(plan.channels));
        let mut receivers = vec![0; plan.lanes()];
        (plan.slow_subscribers..plan.subscribers).flat_map(lanes_of).for_each(|lane| receivers[lane] += 1);
        let mut tally = Tally::new(receivers)?;
        if plan.latency_apart {
            (0..plan.slow_subscribers).flat_map(lanes_of).for_each(|lane| tally.leave_out(lane));
        }
        Ok(Self {
            plan,
            watch,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BUFFER_BYTES],
            inflated: Inflated::default(),
            peers: Vec::with_capacity(plan.subscribers),
            polls: BinaryHeap::new(),
            stamp: Stamp::new(),
            filling: super::wire::filling(plan.filling, plan.payload_bytes - PAYLOAD_BYTES_MIN),
            tally,
            began: Instant::now(),
            started: Instant::now(),
            slow_read_at: Duration::ZERO,
            ready: 0,
            watched_at: Instant::now(),
            sampled: Mark::default(),
            report: Report { subscribers: plan.subscribers, slow_subscribers: plan.slow_subscribers, ..Report::default() },
        })
    }

    /// The report, with what the server itself has to say. It is asked while the connections still stand: what is pending is not abandoned yet.
    fn finish(&mut self) -> Report {
        let mut report = std::mem::take(&mut self.report);
        report.received = self.tally.deliveries + report.slow_deliveries + report.echoes;
        report.balance = self.plan.metrics.as_ref().and_then(|(address, path)| Balance::ask(*address, path, &report));
        report
    }

    /// Lets so much time pass, and answers what has to be answered.
    fn pass(&mut self, time: Duration) -> Result<(), RunFault> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), RunFault> {
        self.started = Instant::now();
        self.sampled = self.mark();
        let (begin, end) = (self.plan.warm_up, self.plan.warm_up + self.plan.duration);
        let sample_every = (end / SAMPLES).max(SAMPLE_MIN);
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
            if now >= self.sampled.at + sample_every {
                self.sample(end);
            }
            let wait = self.publish_due(now).min(end.saturating_sub(now)).min(sample_every);
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
        let from = self.tally.next();
        let wait = match self.plan.pace {
            Pace::Nothing => Duration::from_millis(100),
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
        for number in from..self.tally.next().min(from + self.plan.lanes() as u64) {
            let publisher = self.publisher_of(number);
            self.peers[publisher].flush();
        }
        wait
    }

    fn publisher_of(&self, number: u64) -> usize {
        self.plan.subscribers + self.plan.publisher_of((number % self.plan.lanes() as u64) as usize)
    }

    fn lay_next(&mut self, since: Duration) {
        let number = self.tally.next();
        let channel = (number % self.plan.channels as u64) as usize;
        let payload = self.stamp.payload(number, &self.filling);
        let publisher = self.publisher_of(number);
        self.peers[publisher].lay(&self.plan.target, channel, &payload);
        self.tally.published(since);
    }

    /// One turn of the event loop, no longer than until somebody is to poll.
    fn turn(&mut self, wait: Duration) -> Result<(), RunFault> {
        let until_poll = self.polls.peek().map(|Reverse((due, _))| due.saturating_sub(self.began.elapsed()));
        match self.poll.poll(&mut self.events, Some(until_poll.unwrap_or(wait).min(wait))) {
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
                peer.writable();
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
                if peer.is_to_poll() {
                    self.polls.push(Reverse((peer.poll_due, index)));
                }
            }
            match (was_open, peer.closed) {
                (false, true) => return Err(RunFault::ClosedEarly { ready: self.ready }),
                (false, false) if peer.is_open() => self.ready += 1,
                _ => (),
            }
        }
        self.send_polls();
        Ok(())
    }

    /// Has those ask whose time has come.
    fn send_polls(&mut self) {
        let now = self.began.elapsed();
        while let Some(&Reverse((due, index))) = self.polls.peek()
            && due <= now
        {
            self.polls.pop();
            let peer = &mut self.peers[index];
            peer.poll_due = (due + self.plan.poll_interval).max(now);
            peer.poll();
        }
    }

    /// Waits for what is still under way: those who poll have to ask for it.
    fn drain(&mut self) -> Result<(), RunFault> {
        let interval = if self.plan.target.transport == Transport::Poll { self.plan.poll_interval } else { Duration::ZERO };
        let end = Instant::now() + DRAIN_WAIT + interval;
        while self.tally.in_flight() > 0 && Instant::now() < end {
            self.turn(Duration::from_millis(50))?;
        }
        self.tally.finish();
        self.report.lost = self.tally.lost;
        self.report.repeated += self.tally.repeated;
        Ok(())
    }
}

const EVENTS_MAX: usize = 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
const SETTLE: Duration = Duration::from_millis(300);
const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// So many points has a run's timeline at most, and none lies nearer to the next than this.
const SAMPLES: u32 = 200;
const SAMPLE_MIN: Duration = Duration::from_millis(100);
