//! `bongsu publish` and `bongsu subscribe` over transports that have addresses of their own.

use crate::command::{Running, Serving, bongsu, folder, run, run_with_input};

/// A server with all its listeners, and the words that lead to each of them.
fn serving(folder: &tempfile::TempDir) -> (Serving, Vec<Vec<String>>) {
    let server = Serving::start(folder.path(), "127.0.0.1:0", &["--tcp", "127.0.0.1:0", "--stomp", "127.0.0.1:0"]);
    let (tcp, stomp, http) = (server.url_of("tcp"), server.url_of("stomp"), server.url());
    let words = |url: &str, transport: &str| vec!["--url".to_owned(), url.to_owned(), "--transport".to_owned(), transport.to_owned()];
    let ways = vec![
        words(&tcp, "tcp"),
        words(&tcp, "auto"),
        words(&stomp, "stomp"),
        words(&stomp, "auto"),
        words(&http, "stomp+ws"),
        words(&format!("{}/stomp", http.replace("http://", "ws://")), "auto"),
    ];
    (server, ways)
}

fn with<'a>(command: &'a str, way: &'a [String], rest: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(command).chain(way.iter().map(String::as_str)).chain(rest.iter().copied()).collect()
}

#[test]
fn lines_go_in_and_out_over_each_of_them_in_one_order() {
    let folder = folder();
    let (server, ways) = serving(&folder);
    let lines: Vec<_> = (1..=300).map(|number| format!("line {number}")).collect();
    let input = lines.join("\n");
    for publishing in &ways {
        // Every way in is read by every way out.
        let channel = format!("logs/{}", publishing[1..].concat().replace([':', '/', '.', '+'], ""));
        let count = lines.len().to_string();
        let subscribers: Vec<_> = ways
            .iter()
            .map(|way| Running::start(&mut bongsu(folder.path(), &with("subscribe", way, &[&channel, "--earliest", "--count", &count]))))
            .collect();
        let (code, positions, stderr) = run_with_input(folder.path(), &with("publish", publishing, &[&channel, "--lines"]), &input);
        assert_eq!((code, positions.lines().count()), (Some(0), lines.len()), "{publishing:?}: {stderr}");
        for (subscriber, way) in subscribers.into_iter().zip(&ways) {
            let (code, stdout, stderr) = subscriber.finish();
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{way:?}");
            assert!(stdout.lines().eq(lines.iter()), "{publishing:?} to {way:?}: {stdout}");
        }
    }
    server.stop();
}

#[test]
fn files_keys_and_headers_arrive_as_they_were_and_a_cursor_goes_on_elsewhere() {
    let folder = folder();
    let (server, ways) = serving(&folder);
    std::fs::write(folder.path().join("beacon.bin"), b"\xff\x00\n\0").expect("written");
    for way in &ways {
        let publish = |arguments: &[&str]| {
            let (code, stdout, stderr) = run(folder.path(), &with("publish", way, arguments));
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{way:?}");
            stdout.trim_end().to_owned()
        };
        let channel = format!("files/{}", way[1..].concat().replace([':', '/', '.', '+'], ""));
        let first = publish(&[&channel, "@beacon.bin", "--key", "k", "--header", "from=me"]);
        let once = publish(&[&channel, "{\"n\":1.50}", "--type", "json", "--idempotency-key", "once"]);
        assert_eq!(publish(&[&channel, "again", "--idempotency-key", "once"]), once, "{way:?}");
        let shown = |arguments: &[&str]| {
            let (code, stdout, stderr) = run(folder.path(), &with("subscribe", way, arguments));
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{way:?}");
            stdout
        };
        let record: serde_json::Value =
            serde_json::from_str(&shown(&[&channel, "--earliest", "--count", "1", "--format", "json"])).expect("JSON");
        assert_eq!((record["data"].as_str(), record["key"].as_str()), (Some("/wAKAA=="), Some("k")), "{way:?}");
        assert_eq!((record["headers"]["from"].as_str(), record["position"].as_str()), (Some("me"), Some(first.as_str())), "{way:?}");
        // The cursor of one transport leads on over another.
        assert_eq!(shown(&[&channel, "--after", &first, "--count", "1"]), "{\"n\":1.50}\n", "{way:?}");
        let (_, over_http, _) = run(folder.path(), &["subscribe", "--url", &server.url(), &channel, "--after", &first, "--count", "1"]);
        assert_eq!(over_http, "{\"n\":1.50}\n", "{way:?}");
    }
    server.stop();
}

#[test]
fn wrong_words_and_refusals_have_their_exit_codes() {
    let folder = folder();
    let (server, ways) = serving(&folder);
    let (tcp, http) = (server.url_of("tcp"), server.url());
    for (arguments, hint) in [
        (&["subscribe", "--url", &http, "a", "--transport", "tcp"][..], "tcp://127.0.0.1:7070"),
        (&["publish", "--url", &http, "a", "x", "--transport", "stomp"], "stomp://127.0.0.1:61613"),
        (&["subscribe", "--url", &tcp, "a", "--transport", "sse"], "http://127.0.0.1:8080"),
        (&["publish", "--url", &tcp, "a", "x", "--transport", "http"], "http://127.0.0.1:8080"),
        (&["publish", "--url", "tcp://127.0.0.1:1/path", "a", "x"], "no path"),
        (&["publish", "--url", &http, "a", "x", "--transport", "pigeon"], "stomp+ws"),
    ] {
        let (code, stdout, stderr) = run(folder.path(), arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(hint), "{arguments:?}: {stderr}");
    }
    for way in &ways {
        let (code, _, stderr) = run(folder.path(), &with("publish", way, &["a", "{", "--type", "json"]));
        assert_eq!(code, Some(4), "{way:?}: {stderr}");
        let (code, _, stderr) = run(folder.path(), &with("publish", way, &["$own/a", "x"]));
        assert_eq!(code, Some(4), "{way:?}: {stderr}");
        let (code, _, stderr) = run(folder.path(), &with("subscribe", way, &["$own/a"]));
        assert_eq!(code, Some(4), "{way:?}: {stderr}");
        // One line of a batch is refused, and the others are published.
        let (code, positions, stderr) = run_with_input(
            folder.path(),
            &with("publish", way, &["refused/one", "--lines", "--type", "json"]),
            "{\"n\":1}\n{\n{\"n\":3}\n",
        );
        assert_eq!((code, positions.lines().count()), (Some(4), 2), "{way:?}: {stderr}");
        assert!(stderr.contains("line 2:"), "{way:?}: {stderr}");
    }
    server.stop();
}
