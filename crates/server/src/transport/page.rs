//! Pages: what a poll is answered with, and how it says where to go on.

use std::fmt::Write as _;
use std::sync::Arc;

use bongsu_core::limits::PageLimits;
use bongsu_core::page::{PAGE_OPENING, PageGaps, page_item_len, write_page_ending, write_page_item};
use bongsu_core::{ChannelName, Composite, Gap, Position, Publication, Start};
use bytes::{Bytes, BytesMut};

use crate::http::coding::{Coding, GZIP};
use crate::http::negotiate;
use crate::http::target::{encode_path, encode_query};
use crate::http::{Request, Response, Unsent, Validator, none_match};
use crate::worker::Worker;

/// What a poll is answered with.
pub(super) struct Page {
    pub(super) publications: Vec<(ChannelName, Arc<Publication>)>,
    pub(super) gaps: Vec<(ChannelName, Gap)>,
    pub(super) cursors: Vec<Position>,
    pub(super) more: bool,
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
pub(super) enum For {
    /// One who polls.
    One,
    /// One who waited for it.
    OneWhoWaited,
    /// All who waited for it in the same way.
    Many,
}

/// What an answer says beside its page.
pub(super) struct Framing<'a> {
    pub(super) channels: &'a [ChannelName],
    pub(super) composite: bool,
    pub(super) wait_query: Option<u64>,
}

impl Worker {
    /// Reads a page of several channels, each from its start, within the bounds on a page.
    pub(super) fn page_from(&self, channels: &[ChannelName], starts: &[Start]) -> Page {
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
    pub(super) fn page_of(&self, channel: &ChannelName, from: Position, publications: &[Arc<Publication>]) -> Page {
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

    pub(super) fn page_response(
        &mut self,
        page: &Page,
        framing: &Framing<'_>,
        request: Option<&Request>,
        whom: For,
        coding: Coding,
    ) -> Response {
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

impl Page {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
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

    /// Its body, given how it ends. One that is longer than `bytes_max` is only measured here, from where that is certain.
    fn body(&self, ending: BytesMut, bytes_max: usize) -> PageBody {
        let mut body = BytesMut::from(PAGE_OPENING);
        let mut measured = 0;
        for (index, (channel, publication)) in self.publications.iter().enumerate() {
            match body.len() > bytes_max {
                true => measured += page_item_len(index == 0, channel, publication),
                false => write_page_item(index == 0, channel, publication, &mut body),
            }
        }
        let len = body.len() + measured + ending.len();
        if len <= bytes_max {
            body.unsplit(ending);
            return PageBody::Whole(body.freeze());
        }
        let publications = self.publications.iter().map(|(channel, publication)| (channel.clone(), Arc::clone(publication)));
        PageBody::Long(Unsent::page(publications, ending.freeze(), len))
    }
}

pub(super) fn nothing(framing: &Framing<'_>, cursors: &[Position]) -> Response {
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
fn composite_of(channels: &[ChannelName], cursors: &[Position]) -> Composite {
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
