//! The page at `/` and the files it is made of, held in the binary. The worker serves them like any other resource.

use crate::http::negotiate::prefers_html;
use crate::http::{Request, Response, etag, none_match};

/// A file of the page.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its name within `console/`.
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// What stands at `/`: the page for a browser, and for everyone else, such as curl, what there is as plain text.
pub(crate) fn index(request: &Request, enabled: bool) -> Response {
    if enabled && prefers_html(request) {
        return answer(request, &PAGE).header("content-security-policy", POLICY).header("vary", "Accept");
    }
    Response::new(200).header("cache-control", "no-store").header("vary", "Accept").body("text/plain; charset=utf-8", INDEX)
}

/// The file of this name.
pub(crate) fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// A file, or the word that the browser's copy is still good.
pub(crate) fn answer(request: &Request, asset: &Asset) -> Response {
    let etag = etag(asset.text.as_bytes());
    let matched = none_match(request, &etag);
    let response = Response::new(if matched { 304 } else { 200 })
        .header("etag", &etag)
        // Names stay the same from version to version, so a copy is asked after before it is used.
        .header("cache-control", "no-cache")
        .header("referrer-policy", "no-referrer")
        .header("cross-origin-opener-policy", "same-origin")
        .header("cross-origin-resource-policy", "same-origin");
    if matched { response } else { response.body(asset.content_type, asset.text) }
}

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset { name: $name, content_type: $content_type, text: include_str!(concat!("../../../console/", $name)) }
    };
}

const PAGE: Asset = asset!("index.html", "text/html; charset=utf-8");

const ASSETS: &[Asset] = &[
    asset!("style.css", CSS),
    asset!("icon.svg", SVG),
    asset!("app.js", JAVASCRIPT),
    asset!("conversation.js", JAVASCRIPT),
    asset!("panel.js", JAVASCRIPT),
    asset!("words.js", JAVASCRIPT),
    asset!("client/index.js", JAVASCRIPT),
    asset!("client/address.js", JAVASCRIPT),
    asset!("client/backoff.js", JAVASCRIPT),
    asset!("client/channel.js", JAVASCRIPT),
    asset!("client/costs.js", JAVASCRIPT),
    asset!("client/faults.js", JAVASCRIPT),
    asset!("client/long-poll.js", JAVASCRIPT),
    asset!("client/page.js", JAVASCRIPT),
    asset!("client/poll.js", JAVASCRIPT),
    asset!("client/publish.js", JAVASCRIPT),
    asset!("client/request.js", JAVASCRIPT),
    asset!("client/sse.js", JAVASCRIPT),
    asset!("client/stream.js", JAVASCRIPT),
    asset!("client/websocket.js", JAVASCRIPT),
];

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page loads only its own files, talks only to this server, runs nothing that is made of text, and stands in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const INDEX: &str = "\
bongsu: one channel, every transport.

  POST /channels/{name}                                  publish the body
  GET  /channels/{name}                                  poll
  GET  /channels/{name}   Prefer: wait=25                long poll
  GET  /channels/{name}   Accept: application/x-ndjson   stream of JSON lines
  GET  /channels/{name}   Accept: multipart/mixed        stream of parts
  GET  /channels/{name}   Accept: text/event-stream      server-sent events
  GET  /channels/{name}   Upgrade: websocket             WebSocket
  GET  /subscribe?channel=a&channel=b                    several channels, in any of these forms
  GET  /stomp             Upgrade: websocket             STOMP, for any channels
  POST /publish                                          a JSON object a line: {\"publish\":\"a\",\"data\":\"hi\"}
  GET  /metrics, /health

Start with ?after=<cursor>, ?earliest, ?last=N or ?live. A browser sees a page here that shows all of it.
";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use bytes::BytesMut;

    use super::*;
    use crate::http::HeadLimits;

    fn request(headers: &str) -> Request {
        let mut head = BytesMut::from(format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_str());
        Request::parse(&mut head, HeadLimits { bytes_max: 1000, headers_max: 10 }).expect("well formed").expect("whole")
    }

    fn text(response: Response) -> String {
        String::from_utf8(response.into_bytes(false, true).to_vec()).expect("all of it is text")
    }

    #[test]
    fn every_file_of_the_page_is_in_the_binary() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../console");
        let mut found: Vec<_> = files(&folder).iter().map(|file| name_in(&folder, file)).collect();
        let mut known: Vec<_> = ASSETS.iter().chain([&PAGE]).map(|asset| asset.name.to_owned()).collect();
        found.sort();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn a_browser_gets_the_page_and_curl_the_index() {
        let browser = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
        for (headers, enabled, html) in
            [(browser, true, true), (browser, false, false), ("accept: */*\r\n", true, false), ("", true, false)]
        {
            let answer = text(index(&request(headers), enabled));
            assert_eq!(answer.contains("content-type: text/html"), html, "{headers}");
            assert_eq!(answer.contains("frame-ancestors 'none'"), html, "{headers}");
            assert!(answer.contains("vary: Accept\r\n"), "{headers}");
        }
    }

    #[test]
    fn a_good_copy_is_not_sent_again() {
        let asset = find("app.js").expect("it is there");
        let whole = text(answer(&request(""), asset));
        let etag = whole.lines().find_map(|line| line.strip_prefix("etag: ")).expect("it has a validator");
        assert!(whole.contains("content-type: text/javascript") && whole.contains("nosniff"), "{whole}");
        let again = text(answer(&request(&format!("if-none-match: {etag}\r\n")), asset));
        assert!(again.starts_with("HTTP/1.1 304") && again.ends_with("\r\n\r\n"), "{again}");
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("the folder is in the repository");
        let paths = entries.map(|entry| entry.expect("it can be read").path());
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    fn name_in(folder: &Path, file: &Path) -> String {
        file.strip_prefix(folder).expect("it lies within").to_str().expect("it is text").to_owned()
    }
}
