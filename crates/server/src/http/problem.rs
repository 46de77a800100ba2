//! What a client did wrong, as a problem document (RFC 9457). Every refusal over HTTP takes this form.

use bytes::Bytes;

use super::response::Response;

/// A refusal: a name for programs, a sentence for people that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status code.
    pub status: u16,
    /// The fault's name, kebab-case and stable.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub detail: String,
    /// The methods that the resource allows, where that was the fault.
    pub allow: Option<&'static str>,
    /// In how many seconds to try again, where that helps.
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A refusal.
    pub fn new(status: u16, code: &'static str, detail: impl ToString) -> Self {
        Self { status, code, detail: detail.to_string(), allow: None, retry_after_s: None }
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
        let retry_after = self.retry_after_s.map(|seconds| seconds.to_string());
        Response::new(self.status)
            .header_opt("allow", self.allow)
            .header_opt("retry-after", retry_after.as_deref())
            .header("cache-control", "no-store")
            .body("application/problem+json", Bytes::from(document.to_string()))
    }
}
