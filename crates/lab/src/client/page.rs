//! Pages of a channel: what polling and long polling share. Follows the cursor from answer to answer.

use std::collections::VecDeque;
use std::time::Duration;

use bongsu_core::Cursor;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;

use super::continuity::split;
use super::event::{Bye, Event, GapNotice, Published};
use super::fault::ClientFault;
use super::http::{Answer, Http, Limits, header_text, set};
use super::record::{Form, GapForm, unreadable};
use super::subject::Subject;
use super::target::Target;

/// A reader of pages. Dropping it while it asks loses nothing: the cursor moves only with an answer.
#[derive(Debug)]
pub(crate) struct Pager {
    http: Http,
    subject: Subject,
    started: bool,
    /// The address last asked and the tag of its answer: the same question again may be answered `304`.
    tag: Option<(String, String)>,
    ready: VecDeque<Event>,
    /// Whether the server asked to come back later.
    is_over: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageForm<'a> {
    #[serde(borrow)]
    publications: Vec<Form<'a>>,
    cursor: Option<String>,
    more: bool,
    #[serde(borrow)]
    gap: Option<GapForm<'a>>,
    #[serde(borrow)]
    gaps: Vec<GapForm<'a>>,
}

impl Pager {
    pub(crate) fn new(target: &Target, subject: Subject, limits: Limits) -> Self {
        Self { http: Http::new(target, limits), subject, started: false, tag: None, ready: VecDeque::new(), is_over: false }
    }

    /// The next event of the pages already here.
    pub(crate) fn take(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Whether the server said goodbye: the next question is for a connection of its own, later.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Asks for the next page, and says whether there is more behind it. With a wait the server holds its answer back.
    pub(crate) async fn fetch(&mut self, wait: Option<Duration>) -> Result<bool, ClientFault> {
        let path = self.subject.address();
        let mut request = self.http.get(&path)?;
        set(&mut request, header::ACCEPT, "application/json");
        match wait {
            Some(wait) => set(&mut request, header::HeaderName::from_static("prefer"), &format!("wait={}", wait.as_secs())),
            None => self.set_tag(&mut request, &path),
        }
        let answer = self.http.ask(request, wait.unwrap_or_default()).await?;
        self.tag = header_text(&answer.head.headers, "etag").map(|tag| (path, tag.to_owned()));
        self.accept(&answer)
    }

    fn set_tag(&self, request: &mut Request<Full<Bytes>>, path: &str) {
        if let Some((asked, tag)) = &self.tag
            && asked == path
        {
            set(request, header::IF_NONE_MATCH, tag);
        }
    }

    fn accept(&mut self, answer: &Answer) -> Result<bool, ClientFault> {
        let told = header_text(&answer.head.headers, CURSOR_HEADER).map(str::to_owned);
        let page = match answer.head.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => PageForm::default(),
            StatusCode::OK => serde_json::from_slice(&answer.body).map_err(|fault| unreadable(&answer.body, fault))?,
            other => return Err(ClientFault::contract(format!("a poll answered with {other}"))),
        };
        let cursor = page.cursor.clone().or(told).ok_or_else(|| ClientFault::contract("an answer to a poll without a cursor"))?;
        let more = self.lay_out(page, &cursor)?;
        // A server that goes away answers what it was asked, and says with it when to come back.
        if let Some(seconds) = header_text(&answer.head.headers, "retry-after").and_then(|text| text.trim().parse::<u64>().ok()) {
            self.is_over = true;
            let reason = "the server is going away; come back from your cursor".to_owned();
            self.ready.push_back(Event::Bye(Bye { code: GOING_AWAY, reason, reconnect_ms: Some(seconds * 1000), come_back: true }));
        }
        Ok(more)
    }

    fn lay_out(&mut self, page: PageForm<'_>, cursor: &str) -> Result<bool, ClientFault> {
        let more = page.more;
        let only = self.subject.only();
        let gaps: Vec<GapNotice> = page.gap.into_iter().chain(page.gaps).map(|gap| gap.into_notice(only)).collect::<Result<_, _>>()?;
        let publications: Vec<Published> =
            page.publications.into_iter().map(|form| form.into_publication(only)).collect::<Result<_, _>>()?;
        for channel in self.subject.channels() {
            let end = self.subject.cursor_of(channel, cursor)?;
            let asked = self.subject.asked(channel);
            let gap = gaps.iter().find(|gap| gap.channel == *channel);
            let mut own = publications.iter().filter(|published| published.channel == *channel);
            let first = own.next();
            let last = own.last().or(first);
            check_end(&end, last, gap, asked.as_ref())?;
            if !self.started {
                let cursor = first_cursor(asked, first, end)?;
                self.ready.push_back(Event::Started { channel: channel.clone(), cursor });
            }
        }
        self.started = true;
        self.ready.extend(gaps.into_iter().map(|gap| Event::Gap(Box::new(gap))));
        self.ready.extend(publications.into_iter().map(|published| Event::Publication(Box::new(published))));
        self.subject.go_on_after(cursor)?;
        Ok(more)
    }
}

/// The close code that other transports say goodbye with (RFC 6455, 7.4.1).
const GOING_AWAY: u16 = 1001;
/// The answer's cursor, in every status that has one.
const CURSOR_HEADER: &str = "bongsu-cursor";

/// A cursor past what the page holds would be a loss that nobody says.
fn check_end(end: &Cursor, last: Option<&Published>, gap: Option<&GapNotice>, asked: Option<&Cursor>) -> Result<(), ClientFault> {
    let reached = last.map(|last| &last.position).or(gap.map(|gap| &gap.resumed)).or(asked);
    match reached {
        Some(reached) if split(reached) != split(end) => {
            Err(ClientFault::contract(format!("a page reaches {reached} and gives the cursor {end}")))
        }
        _ => Ok(()),
    }
}

/// Where the first page began, so that polls too tell their cursor before anything else.
fn first_cursor(asked: Option<Cursor>, first: Option<&Published>, end: Cursor) -> Result<Cursor, ClientFault> {
    match (asked, first) {
        (Some(asked), _) => Ok(asked),
        (None, None) => Ok(end),
        (None, Some(first)) => {
            let (epoch, offset) = split(&first.position);
            Ok(Cursor::parse(&format!("{epoch}-{}", offset.saturating_sub(1)))?)
        }
    }
}
