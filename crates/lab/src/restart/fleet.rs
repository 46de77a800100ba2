//! The clients of a restart: what each of them does, and what it remembers.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bongsu_core::{ChannelName, Draft};

use super::CHANNEL;
use crate::client::{BackoffLimits, Client, ClientFault, Event, Notice, Outgoing, Published, Subscriber, Transport};

/// What all clients share.
pub(super) struct Common {
    began: Instant,
    pub(super) connected: AtomicUsize,
    pub(super) fresh_again: AtomicUsize,
    /// When the old server had ended, and when the new one was ready; 0 before that.
    pub(super) ended_us: AtomicU64,
    pub(super) ready_us: AtomicU64,
    /// Publishers end.
    pub(super) stop: AtomicBool,
    /// The last number that each publisher was given a position for.
    acknowledged: Vec<AtomicU64>,
    /// When subscribers end, even if they have not seen everything.
    until: Mutex<Option<Instant>>,
}

/// What one subscriber lived through.
pub(super) struct Story {
    pub(super) transport: Transport,
    pub(super) told: bool,
    pub(super) back: bool,
    pub(super) gaps: u64,
    pub(super) twice: u64,
    pub(super) silent: bool,
    pub(super) whole_after: Option<Duration>,
    pub(super) fault: Option<String>,
    /// The next number expected of each publisher; none until its first, and after a gap.
    next: Vec<Option<u64>>,
    missed: u64,
    lost_us: Option<u64>,
}

impl Common {
    pub(super) fn new(publishers: usize) -> Self {
        Self {
            began: Instant::now(),
            connected: AtomicUsize::new(0),
            fresh_again: AtomicUsize::new(0),
            ended_us: AtomicU64::new(0),
            ready_us: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            acknowledged: (0..publishers).map(|_| AtomicU64::new(0)).collect(),
            until: Mutex::new(None),
        }
    }

    /// Subscribers end once they have seen everything, or after so long.
    pub(super) fn end_subscribers(&self, patience: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + patience);
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }
}

/// Publishes numbers until told to stop; each is tried until it has its position. Gives the last one.
pub(super) async fn publish(client: Client, number: usize, pause: Duration, common: std::sync::Arc<Common>) -> Result<u64, ClientFault> {
    let limits = BackoffLimits { first_max: Duration::from_millis(50), max: Duration::from_millis(500) };
    let publisher = client.publisher().with_retries(1_000, limits);
    let mut publisher = if number.is_multiple_of(2) { publisher } else { publisher.over_websocket() };
    let channel = ChannelName::parse(CHANNEL)?;
    let mut count = 0;
    while !common.stop.load(Ordering::Relaxed) {
        count += 1;
        let draft = Draft::text(format!("{number} {count} {}", common.now_us()));
        publisher.publish(&Outgoing { channel: channel.clone(), draft, idempotency_key: None }).await?;
        common.acknowledged[number].store(count, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
    Ok(count)
}

/// Follows the channel until everything has come, through whatever happens.
pub(super) async fn subscribe(mut subscriber: Subscriber, transport: Transport, common: std::sync::Arc<Common>) -> Story {
    let mut story = Story::new(transport, common.acknowledged.len());
    loop {
        let looked = tokio::time::timeout(Duration::from_millis(200), subscriber.next()).await;
        match looked {
            Ok(Ok(notice)) => story.note(notice, &common),
            Ok(Err(fault)) => {
                story.fault = Some(fault.to_string());
                return story;
            }
            Err(_) => (),
        }
        if let Some(until) = common.until()
            && (story.is_at_the_end(&common) || Instant::now() > until)
        {
            subscriber.close().await;
            return story;
        }
    }
}

impl Story {
    fn new(transport: Transport, publishers: usize) -> Self {
        Self {
            transport,
            told: false,
            back: false,
            gaps: 0,
            twice: 0,
            silent: false,
            whole_after: None,
            fault: None,
            next: vec![Some(1); publishers],
            missed: 0,
            lost_us: None,
        }
    }

    fn note(&mut self, notice: Notice, common: &Common) {
        match notice {
            Notice::Connected { .. } => _ = common.connected.fetch_add(1, Ordering::Relaxed),
            Notice::Lost { .. } => _ = self.lost_us.get_or_insert(common.now_us()),
            Notice::FellBack { .. } => (),
            Notice::Event(Event::Bye(_)) => {
                self.told = true;
                self.lost_us.get_or_insert(common.now_us());
            }
            Notice::Event(Event::Gap(_)) => {
                self.gaps += 1;
                self.next.fill(None);
            }
            Notice::Event(Event::Publication(published)) => self.see(&published, common),
            Notice::Event(_) => (),
        }
    }

    fn see(&mut self, published: &Published, common: &Common) {
        let text = published.text();
        let mut words = text.split(' ').map(str::parse::<u64>);
        let (Some(Ok(publisher)), Some(Ok(number)), Some(Ok(sent_us))) = (words.next(), words.next(), words.next()) else {
            self.fault = Some(format!("a payload that nobody sent: {text:?}"));
            return;
        };
        let next = &mut self.next[publisher as usize];
        match *next {
            Some(expected) if number < expected => return self.twice += 1,
            Some(expected) if number > expected => {
                self.missed += number - expected;
                self.silent = true;
            }
            _ => (),
        }
        *next = Some(number + 1);
        let ready_us = common.ready_us.load(Ordering::Relaxed);
        // What was sent since the new server was ready can only have come from it.
        if !self.back && ready_us > 0 && sent_us > ready_us {
            self.back = true;
            // Who polls may not have noticed that nobody was there for a moment.
            let lost_us = self.lost_us.unwrap_or(common.ended_us.load(Ordering::Relaxed));
            self.whole_after = Some(Duration::from_micros(common.now_us().saturating_sub(lost_us)));
            common.fresh_again.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was acknowledged and has not come, but for what a gap was told about.
    pub(super) fn missing(&self, common: &Common) -> u64 {
        let behind = |(next, last): (&Option<u64>, &AtomicU64)| match next {
            Some(next) => (last.load(Ordering::Relaxed) + 1).saturating_sub(*next),
            None => 0,
        };
        self.missed + self.next.iter().zip(&common.acknowledged).map(behind).sum::<u64>()
    }

    /// Whether the last number of every publisher has come.
    pub(super) fn is_at_the_end(&self, common: &Common) -> bool {
        let has = |(next, last): (&Option<u64>, &AtomicU64)| next.is_some_and(|next| next > last.load(Ordering::Relaxed));
        self.next.iter().zip(&common.acknowledged).all(has)
    }
}
