//! Pages of a channel: what polling and long polling share. Follows the cursor from answer to answer.

use std::collections::VecDeque;
use std::time::Duration;

use bongsu_core::{ChannelName, Cursor, Start};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;

use super::continuity::split;
use super::event::{Event, Published};
use super::fault::ClientFault;
use super::http::{Answer, Http, Limits, header_text, set};
use super::record::{Form, GapForm, unreadable};
use super::target::{Target, add_start};

/// A reader of pages. Dropping it while it asks loses nothing: the cursor moves only with an answer.
#[derive(Debug)]
pub(crate) struct Pager {
    http: Http,
    channel: ChannelName,
    path: String,
    start: Start,
    started: bool,
    /// The address last asked and the tag of its answer: the same question again may be answered `304`.
    tag: Option<(String, String)>,
    ready: VecDeque<Event>,
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
}

impl Pager {
    pub(crate) fn new(target: &Target, channel: &ChannelName, start: &Start, limits: Limits) -> Self {
        Self {
            http: Http::new(target, limits),
            channel: channel.clone(),
            path: target.channel_path(channel),
            start: start.clone(),
            started: false,
            tag: None,
            ready: VecDeque::new(),
        }
    }

    /// The next event of the pages already here.
    pub(crate) fn take(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Asks for the next page, and says whether there is more behind it. With a wait the server holds its answer back.
    pub(crate) async fn fetch(&mut self, wait: Option<Duration>) -> Result<bool, ClientFault> {
        let mut path = self.path.clone();
        add_start(&mut path, &self.start);
        let mut request = self.http.get(&path);
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
        let told = header_text(&answer.head.headers, CURSOR_HEADER).map(Cursor::parse).transpose()?;
        let page = match answer.head.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => PageForm::default(),
            StatusCode::OK => serde_json::from_slice(&answer.body).map_err(|fault| unreadable(&answer.body, fault))?,
            other => return Err(ClientFault::contract(format!("a poll answered with {other}"))),
        };
        let written = page.cursor.as_deref().map(Cursor::parse).transpose()?;
        let cursor = written.or(told).ok_or_else(|| ClientFault::contract("an answer to a poll without a cursor"))?;
        self.lay_out(page, cursor)
    }

    fn lay_out(&mut self, page: PageForm<'_>, cursor: Cursor) -> Result<bool, ClientFault> {
        let more = page.more;
        let gap = page.gap.map(|gap| gap.into_event(Some(&self.channel))).transpose()?;
        let publications: Vec<Published> =
            page.publications.into_iter().map(|form| form.into_publication(Some(&self.channel))).collect::<Result<_, _>>()?;
        let reached = match (publications.last(), &gap, &self.start) {
            (Some(last), _, _) => Some(&last.position),
            (None, Some(Event::Gap(gap)), _) => Some(&gap.resumed),
            (None, _, Start::After(asked)) => Some(asked),
            _ => None,
        };
        if let Some(reached) = reached
            && split(reached) != split(&cursor)
        {
            return Err(ClientFault::contract(format!("a page reaches {reached} and gives the cursor {cursor}")));
        }
        if !self.started {
            self.started = true;
            let at = first_cursor(&self.start, publications.first(), &cursor)?;
            self.ready.push_back(Event::Started { channel: self.channel.clone(), cursor: at });
        }
        self.ready.extend(gap);
        self.ready.extend(publications.into_iter().map(|published| Event::Publication(Box::new(published))));
        self.start = Start::After(cursor);
        Ok(more)
    }
}

/// The answer's cursor, in every status that has one.
const CURSOR_HEADER: &str = "bongsu-cursor";

/// Where the first page began, so that polls too tell their cursor before anything else.
fn first_cursor(start: &Start, first: Option<&Published>, end: &Cursor) -> Result<Cursor, ClientFault> {
    match (start, first) {
        (Start::After(asked), _) => Ok(asked.clone()),
        (_, None) => Ok(end.clone()),
        (_, Some(first)) => {
            let (epoch, offset) = split(&first.position);
            Ok(Cursor::parse(&format!("{epoch}-{}", offset.saturating_sub(1)))?)
        }
    }
}
