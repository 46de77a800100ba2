//! What can go wrong between a client and its server, named, and what follows from it.

use std::time::Duration;

use bongsu_core::{ChannelName, CursorFault, NameFault};
use http::StatusCode;
use serde_json::Value;

use super::connection::Transport;
use super::event::Bye;

/// Why a client cannot go on as it was.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// The address is none that this client can speak to.
    #[error("{url:?} is no address to connect to: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The address is for another transport.
    #[error("{address} is no address for {transport}: give one such as {example}")]
    WrongAddress {
        /// The transport that was asked for.
        transport: Transport,
        /// What was given.
        address: String,
        /// What would do.
        example: &'static str,
    },
    /// The transport has no way to say it.
    #[error("cannot be said over this transport: {what}")]
    Unsayable {
        /// What cannot.
        what: &'static str,
    },
    /// The name of a channel breaks the grammar.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// The text is no cursor.
    #[error(transparent)]
    Cursor(#[from] CursorFault),
    /// Nobody answers at the address.
    #[error("cannot connect to {address}: {why}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// The server answered that it will not.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server refused one thing on a connection that lives on.
    #[error("the server answered {code}: {message}")]
    Told {
        /// The fault's name.
        code: String,
        /// What to do about it.
        message: String,
    },
    /// The server said goodbye, and that there is no use in coming back.
    #[error("{0}")]
    SentAway(Bye),
    /// The connection broke without a goodbye.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing came for longer than the client is willing to wait.
    #[error("{what} did not come within {} s", waited.as_secs_f32())]
    Silent {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// The server said something that is not in the contract.
    #[error("not what the contract says: {0}")]
    Contract(String),
    /// A publication is missing and no gap was said.
    #[error("a hole in {channel}: after {after} came {got} without a gap between them")]
    Hole {
        /// The channel.
        channel: ChannelName,
        /// The last position seen, or the cursor asked for.
        after: String,
        /// The position that came.
        got: String,
    },
    /// A publication came a second time, or one from before.
    #[error("a duplicate in {channel}: {got} came after {after}")]
    Duplicate {
        /// The channel.
        channel: ChannelName,
        /// The last position seen.
        after: String,
        /// The position that came.
        got: String,
    },
}

/// What a fault means for what is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Asking again, over whatever transport, would be answered the same.
    Final,
    /// The server cannot be reached or asks for time: wait and try the same.
    Outage,
    /// The transport does not get through: another one may.
    Transport,
}

impl ClientFault {
    /// What is worth trying after this fault.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::WrongAddress { .. } | Self::Unsayable { .. } => Verdict::Final,
            Self::Url { .. } | Self::Name(_) | Self::Cursor(_) | Self::Told { .. } | Self::SentAway(_) => Verdict::Final,
            Self::Hole { .. } | Self::Duplicate { .. } => Verdict::Final,
            Self::Connect { .. } => Verdict::Outage,
            Self::Refused(problem) => problem.verdict(),
            Self::Broken(_) | Self::Silent { .. } | Self::Contract(_) => Verdict::Transport,
        }
    }

    /// How long the server asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }

    pub(crate) fn broken(why: impl ToString) -> Self {
        Self::Broken(why.to_string())
    }

    pub(crate) fn contract(why: impl Into<String>) -> Self {
        Self::Contract(why.into())
    }
}

/// A refusal, made readable: a problem document (RFC 9457), or what little another server's error says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The fault's name: the last segment of the document's `type`, or `code`.
    pub code: Option<String>,
    /// The fault in a few words.
    pub title: Option<String>,
    /// What to do about it.
    pub detail: Option<String>,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether it was a problem document, and so the words of a bongsu server rather than of a proxy before it.
    pub is_document: bool,
}

impl Problem {
    /// Reads a refusal's answer.
    pub fn read(status: StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Self {
        let header = |name: http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let is_document = header(http::header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/problem+json"));
        let document = if is_document { serde_json::from_slice(body).unwrap_or_default() } else { Value::Null };
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = text("type").filter(|kind| kind != "about:blank");
        let last_segment = |kind: String| kind.rsplit(['/', ':', '#']).next().map(str::to_owned);
        Self {
            status,
            code: text("code").or_else(|| kind.and_then(last_segment)),
            title: text("title"),
            detail: text("detail").or_else(|| first_line(body).filter(|_| !is_document)),
            retry_after: header(http::header::RETRY_AFTER).and_then(|value| value.trim().parse().ok()).map(Duration::from_secs),
            is_document,
        }
    }

    fn verdict(&self) -> Verdict {
        match self.status.as_u16() {
            429 => Verdict::Outage,
            503 if self.is_document || self.retry_after.is_some() => Verdict::Outage,
            405 | 406 | 426 | 500..=599 => Verdict::Transport,
            _ if self.is_document => Verdict::Final,
            // A proxy that does not know the transport answers in its own words.
            _ => Verdict::Transport,
        }
    }

    /// Whether a gateway says that what is behind it is away.
    pub fn is_gateway_trouble(&self) -> bool {
        matches!(self.status.as_u16(), 502..=504)
    }

    fn sentence(&self) -> String {
        let mut sentence = format!("the server refused ({})", self.status);
        for part in [&self.title, &self.detail].into_iter().flatten() {
            sentence.push_str(": ");
            sentence.push_str(part);
        }
        if let Some(wait) = self.retry_after {
            sentence.push_str(&format!("; come back in {} s", wait.as_secs()));
        }
        sentence
    }
}

fn first_line(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let line = text.lines().find(|line| !line.trim().is_empty())?.trim();
    Some(line.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn problem(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Problem {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect();
        Problem::read(StatusCode::from_u16(status).expect("a status"), &headers, body.as_bytes())
    }

    #[test]
    fn a_problem_document_becomes_a_sentence_with_its_advice() {
        let body = r#"{"type":"urn:bongsu:problem:bad-cursor","title":"not a cursor","detail":"write <epoch>-<offset>"}"#;
        let problem = problem(400, &[("content-type", "application/problem+json")], body);
        assert_eq!(problem.to_string(), "the server refused (400 Bad Request): not a cursor: write <epoch>-<offset>");
        assert_eq!(problem.code.as_deref(), Some("bad-cursor"));
        assert_eq!(problem.verdict(), Verdict::Final);
    }

    #[test]
    fn a_proxys_own_words_are_no_final_answer() {
        let foreign = problem(400, &[("content-type", "text/html")], "<h1>No upgrades here</h1>\nmore");
        assert_eq!(foreign.detail.as_deref(), Some("<h1>No upgrades here</h1>"));
        assert_eq!(foreign.verdict(), Verdict::Transport);
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it() {
        let busy = problem(503, &[("retry-after", "3"), ("content-type", "application/problem+json")], "{}");
        assert_eq!(busy.verdict(), Verdict::Outage);
        assert_eq!(busy.retry_after, Some(Duration::from_secs(3)));
    }
}
