//! Polls and long polls: a page now, or as soon as there is something. Nothing is held between requests.

use std::sync::Arc;

use bongsu_core::hub::{ChannelKey, SubscriberKey};
use bongsu_core::{ChannelName, Position, Publication, Start};
use bytes::Bytes;
use smallvec::SmallVec;

use super::answer::{Exchange, with_origin};
use super::page::{For, Framing, Page, nothing};
use super::start::Query;
use crate::connection::{Connection, Phase, Waiting, WaitingChannel};
use crate::http::coding::Coding;
use crate::http::negotiate::{self, Wanted};
use crate::http::{Problem, Request, Response, Version};
use crate::metrics::{Route, TransportKind};
use crate::worker::Worker;

/// An answer to all who waited on a channel in the same way.
struct SharedAnswer {
    wait_query: Option<u64>,
    coding: Coding,
    response: Response,
    /// The answer as it leaves over HTTP/1.1.
    bytes: Bytes,
    count: u64,
}

impl SharedAnswer {
    fn new(wait_query: Option<u64>, coding: Coding, response: Response, publications: usize, vary_origin: &Option<&'static str>) -> Self {
        let bytes = with_origin(response.clone(), &Exchange::usual(), vary_origin).into_bytes(false, true);
        Self { wait_query, coding, response, bytes, count: publications as u64 }
    }
}

impl Worker {
    /// `GET /channels/{name}`: reads it in the form that the request asks for.
    pub(crate) fn read_one(&mut self, key: SubscriberKey, exchange: &Exchange, request: &Request, channel: ChannelName) {
        let read = Query::read(request).and_then(|query| self.read_channels(key, exchange, request, &query, &[channel], false));
        if let Err(problem) = read {
            self.refuse(key, exchange, problem);
        }
    }

    /// `GET /subscribe`: several channels.
    pub(crate) fn read_several(&mut self, key: SubscriberKey, exchange: &Exchange, request: &Request) {
        let read = Query::read(request).and_then(|mut query| match std::mem::take(&mut query.channels) {
            none if none.is_empty() => Err(Problem::new(400, "no-channel", "name the channels: /subscribe?channel=a&channel=b")),
            channels => self.read_channels(key, exchange, request, &query, &channels, true),
        });
        if let Err(problem) = read {
            self.refuse(key, exchange, problem);
        }
    }

    fn read_channels(
        &mut self,
        key: SubscriberKey,
        exchange: &Exchange,
        request: &Request,
        query: &Query<'_>,
        channels: &[ChannelName],
        several: bool,
    ) -> Result<(), Problem> {
        let max = self.shared.config.http.channels_per_request_max;
        if channels.len() > max {
            return Err(Problem::new(400, "too-many-channels-asked", format!("a request may name {max} channels")));
        }
        if let Some(reserved) = channels.iter().find(|channel| channel.is_reserved()) {
            return Err(Problem::new(
                403,
                "reserved-channel",
                format!("{reserved} is the server's own, and there is nothing to read in it yet"),
            ));
        }
        // One channel is read by its own plain cursor, however it was named.
        let composite = several && channels.len() > 1;
        if request.asks_websocket() {
            let starts = query.starts(channels, composite, &Start::Live)?;
            return self.upgrade_channel(key, exchange, request, channels, &starts);
        }
        match negotiate::accept(request)? {
            Wanted::Page => self.poll(key, exchange, request, query, channels, composite),
            wanted => {
                let starts = query.starts(channels, composite, &Start::Live)?;
                self.stream(key, exchange, wanted, query.json_events, channels, &starts, composite);
                Ok(())
            }
        }
    }

    fn poll(
        &mut self,
        key: SubscriberKey,
        exchange: &Exchange,
        request: &Request,
        query: &Query<'_>,
        channels: &[ChannelName],
        composite: bool,
    ) -> Result<(), Problem> {
        let preferred = negotiate::prefer_wait(request);
        let wait_s = query.wait.as_deref().or(preferred).map(|text| self.parse_wait(text)).transpose()?;
        let default = if wait_s.is_some() { Start::Live } else { Start::Earliest };
        let starts = query.starts(channels, composite, &default)?;
        let wait_query = wait_s.filter(|_| query.wait.is_some());
        let framing = Framing { channels, composite, wait_query };
        match wait_s {
            Some(wait_s) => self.wait(key, exchange, &framing, &starts, wait_s),
            None => {
                let page = self.page_from(channels, &starts);
                self.answer_page(key, exchange, &framing, &page, Some(request), TransportKind::Poll);
            }
        }
        Ok(())
    }

    fn parse_wait(&self, text: &str) -> Result<u64, Problem> {
        let max_s = self.shared.config.http.wait_max.as_millis() / 1000;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>().ok().filter(|_| digits) {
            Some(wait_s) if wait_s <= max_s => Ok(wait_s),
            _ if digits => Err(Problem::new(400, "wait-too-long", format!("wait may be at most {max_s} seconds"))),
            _ => Err(Problem::new(400, "invalid-wait", "wait must be a whole number of seconds, as in wait=25")),
        }
    }

    /// Answers with what there is; if there is nothing, waits for the next publication of any of the channels.
    fn wait(&mut self, key: SubscriberKey, exchange: &Exchange, framing: &Framing<'_>, starts: &[Start], wait_s: u64) {
        self.become_kind(key, TransportKind::LongPoll);
        let keys: SmallVec<[_; 1]> = framing.channels.iter().map(|channel| self.watch(channel)).collect();
        if wait_s > 0
            && let Some(heads) = self.heads_if_asked(&keys, starts)
        {
            return self.begin_wait(key, exchange, framing, &keys, &heads, wait_s);
        }
        let mut page = self.page_from(framing.channels, starts);
        if page.is_empty() && wait_s > 0 {
            // What was published before the page was read is announced by now, and is told to nobody who waits from here on.
            self.turn();
            let is_at_head = |(&key, &cursor): (&ChannelKey, &Position)| self.hub.head(key) == Some(cursor);
            if !keys.iter().zip(&page.cursors).all(is_at_head) {
                let starts: Vec<_> = page.cursors.iter().map(|&cursor| Start::After(cursor.into())).collect();
                page = self.page_from(framing.channels, &starts);
            }
        }
        if !page.is_empty() || wait_s == 0 {
            return self.answer_page(key, exchange, framing, &page, None, TransportKind::LongPoll);
        }
        self.begin_wait(key, exchange, framing, &keys, &page.cursors, wait_s);
    }

    /// The heads of channels, if each is just what was asked to start after: whatever else was published is still to be announced here, so
    /// that history has nothing to add.
    fn heads_if_asked(&self, keys: &[ChannelKey], starts: &[Start]) -> Option<SmallVec<[Position; 1]>> {
        let if_asked = |(&key, start): (&ChannelKey, &Start)| match start {
            Start::After(cursor) => self.hub.head(key).filter(|&head| cursor.position() == Some(head)),
            _ => None,
        };
        keys.iter().zip(starts).map(if_asked).collect()
    }

    /// Has a request wait that is at the head of all its channels, as this worker knows them.
    fn begin_wait(
        &mut self,
        key: SubscriberKey,
        exchange: &Exchange,
        framing: &Framing<'_>,
        keys: &[ChannelKey],
        cursors: &[Position],
        wait_s: u64,
    ) {
        let channels = framing.channels.iter().zip(cursors).zip(keys);
        let channels: SmallVec<_> = channels.map(|((name, &cursor), &key)| WaitingChannel { name: name.clone(), key, cursor }).collect();
        keys.iter().for_each(|&channel| self.hub.wait(key, channel));
        let waiting = Waiting { exchange: exchange.clone(), channels, wait_query: framing.wait_query, composite: framing.composite };
        self.set_phase(key, Phase::Waiting(Box::new(waiting)));
        self.arm(key, self.now_ms() + wait_s * 1000);
    }

    /// Something came for those who waited on a channel: they had the same cursor, so mostly they get the same bytes.
    pub(crate) fn arrived(&mut self, channel: &ChannelName, from: Position, publications: &[Arc<Publication>], waiters: &[SubscriberKey]) {
        let mut shared_answers: Vec<SharedAnswer> = Vec::new();
        let now_ms = self.now_ms();
        for &key in waiters {
            let Some(Connection { phase: Phase::Waiting(waiting), .. }) = self.hub.sink(key) else { continue };
            let usual = waiting.channels.len() == 1 && waiting.exchange.is_usual() && self.leaving.is_none();
            if !usual {
                self.answer_waiting(key, channel, publications);
                continue;
            }
            let (wait_query, coding) = (waiting.wait_query, waiting.exchange.coding);
            let known = shared_answers.iter().position(|answer| answer.wait_query == wait_query && answer.coding == coding);
            let place = known.unwrap_or_else(|| {
                let page = self.page_of(channel, from, publications);
                let framing = Framing { channels: std::slice::from_ref(channel), composite: false, wait_query };
                let response = self.page_response(&page, &framing, None, For::Many, coding);
                shared_answers.push(SharedAnswer::new(wait_query, coding, response, page.publications.len(), &self.shared.vary_origin));
                shared_answers.len() - 1
            });
            self.answer_shared(key, &shared_answers[place], now_ms);
        }
    }

    fn answer_shared(&mut self, key: SubscriberKey, answer: &SharedAnswer, now_ms: u64) {
        let SharedAnswer { response, bytes, count, .. } = answer;
        let (bytes, count) = (bytes.clone(), *count);
        if let Some(Connection { phase: Phase::Waiting(waiting), .. }) = self.hub.sink(key)
            && waiting.exchange.version == Version::Http2
        {
            let exchange = waiting.exchange.clone();
            self.metrics.deliveries(TransportKind::LongPoll, count);
            self.metrics.delivery_bytes(TransportKind::LongPoll, bytes.len() as u64);
            return self.answer(key, &exchange, response.clone());
        }
        self.metrics.request(Route::Channel, 200);
        self.metrics.deliveries(TransportKind::LongPoll, count);
        self.metrics.delivery_bytes(TransportKind::LongPoll, bytes.len() as u64);
        let idle_ms = self.shared.config.http.idle_timeout.as_millis();
        self.set_phase(key, Phase::Head);
        self.become_kind(key, TransportKind::Http);
        self.arm(key, now_ms + idle_ms);
        self.send_at(key, bytes, now_ms);
        self.resume(key);
    }

    /// Answers one who waited in a way of its own, such as on several channels: from history, as if it asked again.
    fn answer_waiting(&mut self, key: SubscriberKey, arrived: &ChannelName, publications: &[Arc<Publication>]) {
        let Some(waiting) = self.take_waiting(key) else { return };
        let channels: Vec<_> = waiting.channels.iter().map(|channel| channel.name.clone()).collect();
        let page = match &*waiting.channels {
            [only] => self.page_of(arrived, only.cursor, publications),
            several => {
                let starts: Vec<_> = several.iter().map(|channel| Start::After(channel.cursor.into())).collect();
                self.page_from(&channels, &starts)
            }
        };
        let framing = Framing { channels: &channels, composite: waiting.composite, wait_query: waiting.wait_query };
        self.answer_page(key, &waiting.exchange, &framing, &page, None, TransportKind::LongPoll);
        self.resume(key);
    }

    /// The wait is over and nothing came.
    pub(crate) fn on_wait_over(&mut self, key: SubscriberKey) {
        let Some(waiting) = self.take_waiting(key) else { return };
        let channels: Vec<_> = waiting.channels.iter().map(|channel| channel.name.clone()).collect();
        let cursors: Vec<_> = waiting.channels.iter().map(|channel| channel.cursor).collect();
        let framing = Framing { channels: &channels, composite: waiting.composite, wait_query: waiting.wait_query };
        let response = nothing(&framing, &cursors);
        self.answer(key, &waiting.exchange, response);
        self.resume(key);
    }

    /// What a long poll is told when the server goes away: nothing came, and its cursor.
    pub(crate) fn waiting_farewell(&mut self, key: SubscriberKey) -> Bytes {
        let retry_after_s = self.reconnect_ms().div_ceil(1000).to_string();
        let Some(waiting) = self.take_waiting(key) else { return Bytes::new() };
        let channels: Vec<_> = waiting.channels.iter().map(|channel| channel.name.clone()).collect();
        let cursors: Vec<_> = waiting.channels.iter().map(|channel| channel.cursor).collect();
        let framing = Framing { channels: &channels, composite: waiting.composite, wait_query: waiting.wait_query };
        let response = nothing(&framing, &cursors).header("retry-after", &retry_after_s);
        let response = with_origin(response, &waiting.exchange, &self.shared.vary_origin);
        self.whole(key, response, waiting.exchange.head_only, false)
    }

    /// Ends a wait, if there is one, without an answer.
    pub(crate) fn stop_waiting(&mut self, key: SubscriberKey) {
        let Some(Connection { phase: Phase::Waiting(waiting), .. }) = self.hub.sink(key) else { return };
        let channels: Vec<_> = waiting.channels.iter().map(|channel| channel.key).collect();
        channels.into_iter().for_each(|channel| self.hub.stop_waiting(key, channel));
    }

    fn take_waiting(&mut self, key: SubscriberKey) -> Option<Box<Waiting>> {
        self.stop_waiting(key);
        let connection = self.hub.sink(key)?;
        match std::mem::replace(&mut connection.phase, Phase::Head) {
            Phase::Waiting(waiting) => Some(waiting),
            other => {
                connection.phase = other;
                None
            }
        }
    }

    fn answer_page(
        &mut self,
        key: SubscriberKey,
        exchange: &Exchange,
        framing: &Framing<'_>,
        page: &Page,
        request: Option<&Request>,
        kind: TransportKind,
    ) {
        page.gaps.iter().for_each(|(_, gap)| self.metrics.gap(gap.reason));
        let waited = kind == TransportKind::LongPoll;
        let response = match waited && page.is_empty() {
            true => nothing(framing, &page.cursors),
            false if waited => self.page_response(page, framing, request, For::OneWhoWaited, exchange.coding),
            false => self.page_response(page, framing, request, For::One, exchange.coding),
        };
        if response.status == 200 && !exchange.head_only {
            self.metrics.deliveries(kind, page.publications.len() as u64);
        }
        self.answer(key, exchange, response);
    }
}

impl Exchange {
    /// That of most requests.
    fn usual() -> Self {
        Self { route: Route::Channel, head_only: false, keep_alive: true, version: Version::Http11, coding: Coding::Identity, origin: None }
    }

    /// Whether its answer is the same as that of most others.
    fn is_usual(&self) -> bool {
        let goes_on = self.keep_alive && self.version == Version::Http11;
        (goes_on || self.version == Version::Http2) && !self.head_only && self.origin.is_none()
    }
}
