//! What a client did wrong, as a problem document (RFC 9457). Every refusal over HTTP takes this form.

use bytes::Bytes;

use super::response::Response;

/// A refusal shown in a window or a frame loads nothing and is part of no other page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// A refusal: a name for programs, a sentence for people that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status code.
    pub status: u16,
    /// The fault's name, kebab-case and stable.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Headers that go with it, such as `Allow`.
    pub headers: Vec<(&'static str, String)>,
}

impl Problem {
    /// A refusal.
    pub fn new(status: u16, code: &'static str, detail: impl ToString) -> Self {
        Self { status, code, detail: detail.to_string(), headers: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// The answer that tells it.
    pub fn into_response(self) -> Response {
        let title = http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Refused");
        let document = serde_json::json!({
            "type": format!("urn:bongsu:problem:{}", self.code),
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        });
        let response = Response::new(self.status).header("cache-control", "no-store").header("content-security-policy", NOTHING);
        let response = self.headers.iter().fold(response, |response, (name, value)| response.header(name, value));
        response.body("application/problem+json", Bytes::from(document.to_string()))
    }
}
