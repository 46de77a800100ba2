//! Polls and long polls: a page now, or as soon as there is something. Nothing is held between requests.

use std::fmt::Write as _;
use std::sync::Arc;

use bongsu_core::hub::{ChannelKey, SubscriberKey};
use bongsu_core::limits::PageLimits;
use bongsu_core::page::{PAGE_OPENING, PageGaps, write_page_ending, write_page_item};
use bongsu_core::{ChannelName, Composite, Gap, Position, Publication, Start};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::answer::{Exchange, with_origin};
use super::start::Query;
use crate::connection::{Connection, Phase, Waiting, WaitingChannel};
use crate::http::coding::{Coding, GZIP};
use crate::http::negotiate::{self, Wanted};
use crate::http::target::{encode_path, encode_query};
use crate::http::{Problem, Request, Response, Unsent, Validator, Version, none_match};
use crate::metrics::{Route, TransportKind};
use crate::worker::Worker;

/// What a poll is answered with.
struct Page {
    publications: Vec<(ChannelName, Arc<Publication>)>,
    gaps: Vec<(ChannelName, Gap)>,
    cursors: Vec<Position>,
    more: bool,
}

/// A page as the body of an answer.
enum PageBody {
    /// All of it.
    Whole(Bytes),
    /// What it is written from, as it is taken.
    Long(Unsent),
}

impl PageBody {
    fn len(&self) -> usize {
        match self {
            Self::Whole(body) => body.len(),
            Self::Long(unsent) => unsent.body_bytes(),
        }
    }
}

/// Whom a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// One who polls.
    One,
    /// One who waited for it.
    OneWhoWaited,
    /// All who waited for it in the same way.
    Many,
}

/// What an answer says beside its page.
struct Framing<'a> {
    channels: &'a [ChannelName],
    composite: bool,
    wait_query: Option<u64>,
}

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
            Some(_) => Err(Problem::new(400, "wait-too-long", format!("wait may be at most {max_s} seconds"))),
            None if digits => Err(Problem::new(400, "wait-too-long", format!("wait may be at most {max_s} seconds"))),
            None => Err(Problem::new(400, "invalid-wait", "wait must be a whole number of seconds, as in wait=25")),
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

    /// Reads a page of several channels, each from its start, within the bounds on a page.
    fn page_from(&self, channels: &[ChannelName], starts: &[Start]) -> Page {
        let http = &self.shared.config.http;
        let mut left = PageLimits { publications_max: http.page_publications_max, bytes_max: http.page_bytes_max.as_usize() };
        let mut page = Page { publications: Vec::new(), gaps: Vec::new(), cursors: Vec::new(), more: false };
        for (channel, start) in channels.iter().zip(starts) {
            let (located, read) = self.engine().read(channel, start, left);
            let cursor = read.publications.last().map_or(located.cursor, |last| last.position);
            let gap = located.gap;
            let bytes: usize = read.publications.iter().map(|publication| publication.draft.data.len()).sum();
            left.publications_max -= read.publications.len();
            left.bytes_max = left.bytes_max.saturating_sub(bytes);
            if left.bytes_max == 0 {
                left.publications_max = 0;
            }
            page.more |= cursor.offset < read.head.offset;
            page.gaps.extend(gap.map(|gap| (channel.clone(), gap)));
            page.publications.extend(read.publications.into_iter().map(|publication| (channel.clone(), publication)));
            page.cursors.push(cursor);
        }
        page
    }

    /// A page of what was just announced, within the bounds on a page.
    fn page_of(&self, channel: &ChannelName, from: Position, publications: &[Arc<Publication>]) -> Page {
        let http = &self.shared.config.http;
        let mut bytes = 0;
        let taken: Vec<_> = publications
            .iter()
            .filter(|publication| publication.position.offset > from.offset)
            .take(http.page_publications_max)
            .take_while(|publication| {
                let fits = bytes == 0 || bytes + publication.draft.data.len() <= http.page_bytes_max.as_usize();
                bytes += publication.draft.data.len();
                fits
            })
            .map(|publication| (channel.clone(), Arc::clone(publication)))
            .collect();
        let cursor = taken.last().map_or(from, |(_, publication)| publication.position);
        let more = publications.last().is_some_and(|last| last.position.offset > cursor.offset);
        Page { publications: taken, gaps: Vec::new(), cursors: vec![cursor], more }
    }
}

impl Page {
    /// Whether there is nothing to tell.
    fn is_empty(&self) -> bool {
        self.publications.is_empty() && self.gaps.is_empty()
    }

    /// A validator of its body: publications never change, so that their places tell what is in them.
    fn validator(&self, ending: &[u8]) -> Validator {
        let mut validator = Validator::new();
        for (channel, publication) in &self.publications {
            validator.tell(channel.as_str().as_bytes());
            validator.tell(&publication.position.epoch.bits().to_le_bytes());
            validator.tell(&publication.position.offset.to_le_bytes());
        }
        validator.tell(ending);
        validator
    }

    /// Its body, given how it ends. One that is longer than `bytes_max` is only measured here.
    fn body(&self, ending: BytesMut, bytes_max: usize) -> PageBody {
        let mut body = BytesMut::from(PAGE_OPENING);
        let mut measured = 0;
        for (index, (channel, publication)) in self.publications.iter().enumerate() {
            if body.len() > bytes_max {
                measured += body.len();
                body.clear();
            }
            write_page_item(index == 0, channel, publication, &mut body);
        }
        if measured + body.len() + ending.len() <= bytes_max {
            body.unsplit(ending);
            return PageBody::Whole(body.freeze());
        }
        let len = measured + body.len() + ending.len();
        let publications = self.publications.iter().map(|(channel, publication)| (channel.clone(), Arc::clone(publication)));
        PageBody::Long(Unsent::page(publications, ending.freeze(), len))
    }
}

impl Worker {
    fn page_response(&mut self, page: &Page, framing: &Framing<'_>, request: Option<&Request>, whom: For, coding: Coding) -> Response {
        let cursor = cursor_text(framing, &page.cursors);
        let gaps =
            if framing.composite { PageGaps::Channels(&page.gaps) } else { PageGaps::Channel(page.gaps.first().map(|(_, gap)| gap)) };
        let mut ending = BytesMut::new();
        write_page_ending(&cursor, page.more, gaps, &mut ending);
        // What is coded is needed whole, and so is what many share; and one publication is the least that waits in any case.
        let in_parts = coding == Coding::Identity && whom != For::Many && page.publications.len() > 1;
        let bytes_max = if in_parts { WHOLE_BYTES_MAX } else { usize::MAX };
        // What is not stored is never asked after.
        let validator = (whom == For::One).then(|| page.validator(&ending));
        let body = page.body(ending, bytes_max);
        let coded = self.coder.applies(coding, body.len());
        let etag = validator.map(|validator| validator.etag(coded.then_some(GZIP)));
        let matched = request.zip(etag.as_deref()).is_some_and(|(request, etag)| none_match(request, etag));
        let caching = match () {
            () if whom != For::One => "no-store",
            // A full page after a cursor never changes; one that is still open is worth a moment to a cache that folds equal polls.
            () if page.more && page.gaps.is_empty() && request.is_some_and(is_after) => "public, max-age=3600, immutable",
            () => "public, max-age=1",
        };
        let response = Response::new(if matched { 304 } else { 200 })
            .header("bongsu-cursor", &cursor)
            .header("link", &next_link(framing, &cursor))
            .header_opt("etag", etag.as_deref())
            .header("vary", negotiate::VARY)
            .header("cache-control", caching);
        match body {
            _ if matched => response,
            PageBody::Whole(body) => self.coded_body(response, coding, "application/json", body),
            PageBody::Long(unsent) => response.page("application/json", unsent),
        }
    }
}

fn nothing(framing: &Framing<'_>, cursors: &[Position]) -> Response {
    let cursor = cursor_text(framing, cursors);
    Response::new(204)
        .header("bongsu-cursor", &cursor)
        .header("link", &next_link(framing, &cursor))
        .header("vary", negotiate::VARY)
        .header("cache-control", "no-store")
}

fn cursor_text(framing: &Framing<'_>, cursors: &[Position]) -> String {
    match cursors {
        [only] if !framing.composite => only.to_string(),
        several => composite_of(framing.channels, several).to_string(),
    }
}

/// The composite cursor of several channels.
pub(crate) fn composite_of(channels: &[ChannelName], cursors: &[Position]) -> Composite {
    let mut composite = Composite::new(channels);
    cursors.iter().enumerate().for_each(|(index, cursor)| composite.advance(index, *cursor));
    composite
}

/// Where to ask next (RFC 8288).
fn next_link(framing: &Framing<'_>, cursor: &str) -> String {
    let mut link = match framing.channels {
        [only] => format!("</channels/{}?", encode_path(only.as_str())),
        several => several.iter().fold("</subscribe?".to_owned(), |mut link, channel| {
            _ = write!(link, "channel={}&", encode_query(channel.as_str()));
            link
        }),
    };
    _ = write!(link, "after={cursor}");
    if let Some(wait_s) = framing.wait_query {
        _ = write!(link, "&wait={wait_s}");
    }
    link + ">; rel=\"next\""
}

fn is_after(request: &Request) -> bool {
    request.target().contains("after=") && request.header("last-event-id").is_none()
}

/// Up to here a page is written whole, and waits so if it must.
const WHOLE_BYTES_MAX: usize = 16 << 10;

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
