//! A subscription that outlives its connections: resumes from its cursors, backs off, falls back, and checks what it is given.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bongsu_core::{ChannelName, Cursor, Start};
use rand::rngs::SmallRng;
use tokio::time::{Instant, timeout};

use super::auto::{Choice, NextTry};
use super::backoff::{Backoff, BackoffLimits};
use super::connection::{Connection, Options, Transport};
use super::continuity::Continuity;
use super::event::{Event, Published};
use super::fault::{ClientFault, Verdict};
use super::target::Target;

/// Follows channels over whatever transport, for as long as it is asked to.
#[derive(Debug)]
pub struct Subscriber {
    target: Target,
    options: Options,
    channels: Vec<Continuity>,
    choice: Choice,
    backoff: Backoff,
    chance: SmallRng,
    state: State,
    /// Seconds of peace that the server asked for when it said goodbye.
    advice: Option<Duration>,
    ready: VecDeque<Notice>,
    stays_away: bool,
}

/// What a subscriber tells its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The server said something.
    Event(Event),
    /// A transport carries the subscription, which its first record proves.
    Connected {
        /// Which one.
        transport: Transport,
    },
    /// The connection is lost; it will be tried again from the cursors.
    Lost {
        /// Over which transport.
        transport: Transport,
        /// Why, in words.
        why: String,
        /// When.
        again_in: Duration,
    },
    /// A transport does not get through, and another is tried.
    FellBack {
        /// What was tried.
        from: Transport,
        /// What is tried next.
        to: Transport,
        /// Why, in words.
        why: String,
    },
}

#[derive(Debug)]
enum State {
    Idle,
    Waiting { until: Instant },
    Open { connection: Box<Connection>, proven: bool },
}

impl Subscriber {
    /// Follows channels of a server. Nothing is sent until [`Subscriber::next`].
    pub fn new(target: Target, choice: Choice, starts: Vec<(ChannelName, Start)>, options: Options, chance: SmallRng) -> Self {
        Self {
            target,
            options,
            channels: starts.into_iter().map(|(channel, start)| Continuity::new(channel, start)).collect(),
            choice,
            backoff: Backoff::new(BackoffLimits::default()),
            chance,
            state: State::Idle,
            advice: None,
            ready: VecDeque::new(),
            stays_away: false,
        }
    }

    /// With other waits between its attempts.
    pub fn with_backoff(mut self, limits: BackoffLimits) -> Self {
        self.backoff = Backoff::new(limits);
        self
    }

    /// Ends with the fault when its connection is lost, instead of coming back.
    pub fn without_reconnect(mut self) -> Self {
        self.stays_away = true;
        self
    }

    /// Goes on over another transport, from where it is.
    pub fn switch(&mut self, transport: Transport) {
        self.choice = Choice::fixed(transport);
        self.advice = None;
        self.backoff.reset();
        self.disconnect();
    }

    /// The transport in use, or the one that will be tried next.
    pub fn transport(&self) -> Transport {
        self.choice.transport()
    }

    /// Where each channel is, as far as its cursor is known: give it as `after`, and nothing is missed.
    pub fn cursors(&self) -> impl Iterator<Item = (&ChannelName, Option<&Cursor>)> {
        self.channels.iter().map(|channel| (channel.channel(), channel.cursor()))
    }

    /// What happens next. A fault is final. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<Notice, ClientFault> {
        loop {
            if let Some(notice) = self.ready.pop_front() {
                return Ok(notice);
            }
            match &mut self.state {
                State::Idle => self.open().await?,
                State::Waiting { until } => {
                    tokio::time::sleep_until(*until).await;
                    self.state = State::Idle;
                }
                State::Open { connection, proven } => {
                    let event = next_event(connection, *proven, self.options.limits.answer_max).await;
                    let retry = connection.retry();
                    self.accept(event, retry)?;
                }
            }
        }
    }

    /// The next thing that the server said, but for signs of life.
    pub async fn next_event(&mut self) -> Result<Event, ClientFault> {
        loop {
            if let Notice::Event(event) = self.next().await? {
                return Ok(event);
            }
        }
    }

    /// The next publication. What else is said on the way is passed over, but not faults.
    pub async fn next_publication(&mut self) -> Result<Published, ClientFault> {
        loop {
            if let Event::Publication(published) = self.next_event().await? {
                return Ok(*published);
            }
        }
    }

    /// The next so many publications.
    pub async fn take(&mut self, count: usize) -> Result<Vec<Published>, ClientFault> {
        let mut publications = Vec::with_capacity(count);
        while publications.len() < count {
            publications.push(self.next_publication().await?);
        }
        Ok(publications)
    }

    async fn open(&mut self) -> Result<(), ClientFault> {
        let starts: Vec<_> = self.channels.iter().map(|channel| (channel.channel().clone(), channel.start().clone())).collect();
        match Connection::open(&self.target, self.choice.transport(), &starts, self.options).await {
            Ok(connection) => {
                self.state = State::Open { connection: Box::new(connection), proven: false };
                Ok(())
            }
            Err(fault) => self.broken(fault),
        }
    }

    fn accept(&mut self, event: Result<Option<Event>, ClientFault>, retry: Option<Duration>) -> Result<(), ClientFault> {
        match event {
            Ok(Some(Event::Heartbeat)) => Ok(()),
            Ok(Some(event)) => self.accept_event(event),
            Ok(None) => {
                self.advice = self.advice.or(retry);
                self.broken(ClientFault::broken("the server ended the stream"))
            }
            Err(fault) => self.broken(fault),
        }
    }

    fn accept_event(&mut self, event: Event) -> Result<(), ClientFault> {
        match &event {
            Event::Bye(bye) if !bye.come_back => return Err(ClientFault::SentAway(bye.clone())),
            Event::Bye(bye) => self.advice = bye.reconnect_ms.map(Duration::from_millis),
            Event::Started { channel, .. } | Event::CaughtUp { channel, .. } => self.followed(channel)?.accept(&event)?,
            Event::Publication(published) => self.followed(&published.channel)?.accept(&event)?,
            Event::Gap(gap) => self.followed(&gap.channel)?.accept(&event)?,
            Event::Heartbeat => (),
        }
        if event.is_record() {
            self.prove();
        }
        self.ready.push_back(Notice::Event(event));
        Ok(())
    }

    fn followed(&mut self, channel: &ChannelName) -> Result<&mut Continuity, ClientFault> {
        let unasked = || ClientFault::Contract(format!("something about {channel}, which was not asked for"));
        self.channels.iter_mut().find(|followed| followed.channel() == channel).ok_or_else(unasked)
    }

    fn prove(&mut self) {
        if let State::Open { proven, .. } = &mut self.state
            && !std::mem::replace(proven, true)
        {
            self.advice = None;
            self.backoff.reset();
            self.choice.carried();
            self.ready.push_back(Notice::Connected { transport: self.choice.transport() });
        }
    }

    /// The connection is gone: end, wait, or fall back.
    fn broken(&mut self, fault: ClientFault) -> Result<(), ClientFault> {
        let was_proven = matches!(self.state, State::Open { proven: true, .. });
        self.disconnect();
        if fault.verdict() == Verdict::Final {
            return Err(fault);
        }
        let from = self.choice.transport();
        if !was_proven && fault.verdict() == Verdict::Transport {
            let gateway_trouble = matches!(&fault, ClientFault::Refused(problem) if problem.is_gateway_trouble());
            if let NextTry::Other(to) = self.choice.failed(gateway_trouble) {
                self.ready.push_back(Notice::FellBack { from, to, why: fault.to_string() });
                return Ok(());
            }
        }
        if self.stays_away {
            return Err(fault);
        }
        self.wait(from, &fault);
        Ok(())
    }

    fn wait(&mut self, transport: Transport, fault: &ClientFault) {
        let advice = fault.retry_after().or(self.advice.take());
        let again_in = self.backoff.next_after(advice, &mut self.chance);
        self.state = State::Waiting { until: Instant::now() + again_in };
        self.ready.push_back(Notice::Lost { transport, why: fault.to_string(), again_in });
    }

    fn disconnect(&mut self) {
        self.state = State::Idle;
        self.channels.iter_mut().for_each(Continuity::reconnect);
    }
}

/// Until the first record, a transport has to hurry: a proxy that holds answers back looks like silence.
async fn next_event(connection: &mut Connection, proven: bool, answer_max: Duration) -> Result<Option<Event>, ClientFault> {
    if proven {
        return connection.next().await;
    }
    let silent = |_| ClientFault::Silent { what: "the first record", waited: answer_max };
    timeout(answer_max, connection.next()).await.map_err(silent)?
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(Event::Gap(gap)) => gap.fmt(f),
            Self::Event(Event::Bye(bye)) => bye.fmt(f),
            Self::Event(event) => write!(f, "{event:?}"),
            Self::Connected { transport } => write!(f, "connected over {transport}"),
            Self::Lost { transport, why, again_in } => {
                write!(f, "lost the connection over {transport}: {why}; again in {:.1} s", again_in.as_secs_f32())
            }
            Self::FellBack { from, to, why } => write!(f, "{from} does not get through ({why}); trying {to}"),
        }
    }
}
