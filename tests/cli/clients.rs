//! `bongsu publish` and `bongsu subscribe` against a running `bongsu serve`.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::command::{Running, Serving, bongsu, folder, run, run_with_input};
use crate::proxy;

#[test]
fn what_is_published_is_printed_as_text_and_as_json() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    let url = server.url();
    let publish = |arguments: &[&str]| {
        let (code, stdout, stderr) = run(folder.path(), &[&["publish", "--url", &url], arguments].concat());
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout.trim_end().to_owned()
    };
    std::fs::write(folder.path().join("beacon.bin"), b"\xff\x00").expect("written");
    let text = publish(&["chat/lobby", "hello, 봉수"]);
    let number = publish(&["chat/lobby", "-1.50", "--type", "json", "--key", "EUR", "--header", "from=me"]);
    let file = publish(&["chat/lobby", "@beacon.bin"]);
    assert_eq!(publish(&["chat/lobby", "once", "--idempotency-key", "k"]), publish(&["chat/lobby", "twice", "--idempotency-key", "k"]));

    let subscribe = ["subscribe", "--url", &url, "chat/lobby", "--earliest"];
    let (code, stdout, _) = run(folder.path(), &[&subscribe[..], &["--count", "2"]].concat());
    assert_eq!((code, stdout.as_str()), (Some(0), "hello, 봉수\n-1.50\n"));

    let (code, stdout, _) = run(folder.path(), &[&subscribe[..], &["--count", "4", "--format", "json"]].concat());
    let records: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    assert_eq!((code, records.len()), (Some(0), 4));
    let shown = |record: &Value, names: &[&str]| names.iter().map(|name| record[name].clone()).collect::<Vec<_>>();
    assert_eq!(shown(&records[0], &["channel", "position", "data"]), [json!("chat/lobby"), json!(text), json!("hello, 봉수")]);
    let all = ["position", "data", "type", "key", "headers"];
    assert_eq!(shown(&records[1], &all), [json!(number), json!(-1.5), json!("application/json"), json!("EUR"), json!({"from": "me"})]);
    assert_eq!(shown(&records[2], &["position", "data", "base64"]), [json!(file), json!("/wA="), json!(true)]);
    assert_eq!(records[3]["data"], "once");

    let (_, stdout, _) = run(folder.path(), &["subscribe", "--url", &url, "chat/lobby", "--after", &text, "--count", "1"]);
    assert_eq!(stdout, "-1.50\n");
    server.stop();
}

#[test]
fn lines_arrive_in_order_over_every_transport() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    let url = server.url();
    let lines: Vec<_> = (1..=600).map(|number| format!("line {number}")).collect();
    let transports = ["auto", "websocket", "sse", "stream", "multipart", "long-poll", "poll"];
    // They begin with what is there or with the first line, whichever comes first: the lines are the same.
    let subscribers = transports.map(|transport| {
        let arguments =
            ["subscribe", "--url", &url, "logs/web", "--earliest", "--count", "600", "--transport", transport, "--interval", "5ms"];
        Running::start(&mut bongsu(folder.path(), &arguments))
    });
    let input = lines.join("\n");
    let (code, positions, stderr) = run_with_input(folder.path(), &["publish", "--url", &url, "logs/web", "--lines"], &input);
    assert_eq!((code, positions.lines().count()), (Some(0), 600), "{stderr}");
    for (subscriber, transport) in subscribers.into_iter().zip(transports) {
        let (code, stdout, stderr) = subscriber.finish();
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{transport}");
        assert!(stdout.lines().eq(lines.iter()), "{transport}: {stdout}");
    }
    server.stop();
}

#[test]
fn a_gap_is_told_on_standard_error() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &["--set", "history.publications_max=5"]);
    let url = server.url();
    let input = (1..=20).map(|number| format!("{number}\n")).collect::<String>();
    let (_, positions, _) = run_with_input(folder.path(), &["publish", "--url", &url, "a", "--lines"], &input);
    let first = positions.lines().next().expect("a position");
    for transport in ["websocket", "sse", "stream", "multipart", "long-poll", "poll"] {
        let (code, stdout, stderr) =
            run(folder.path(), &["subscribe", "--url", &url, "a", "--after", first, "--count", "5", "--transport", transport]);
        assert_eq!((code, stdout.as_str()), (Some(0), "16\n17\n18\n19\n20\n"), "{transport}");
        assert!(stderr.contains("gap in a (trimmed)") && stderr.contains(first), "{transport}: {stderr}");
    }
    server.stop();
}

#[test]
fn exit_codes_tell_whose_fault_it_was() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    let url = server.url();
    // Bound and let go: nobody listens there.
    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let nowhere = format!("http://{nowhere}");
    for (expected, arguments) in [
        (2, &["publish", "--url", &url, "no//name", "x"][..]),
        (2, &["publish", "--url", "gopher://a", "a", "x"]),
        (2, &["publish", "--url", &url, "a", "@not-there"]),
        (2, &["subscribe", "--url", &url, "a", "--after", "nonsense"]),
        (2, &["subscribe", "--url", &url, "a", "--transport", "pigeon"]),
        (2, &["subscribe", "--url", &url]),
        (4, &["publish", "--url", &url, "a", "{", "--type", "json"]),
        (4, &["publish", "--url", &url, "$own/a", "x"]),
        (4, &["publish", "--url", &url, "$own/a", "x", "--lines"]),
        (4, &["subscribe", "--url", &url, "$own/a"]),
        (4, &["subscribe", "--url", &url, "$own/a", "--transport", "sse"]),
        (5, &["publish", "--url", &nowhere, "a", "x", "--retry", "0"]),
        (5, &["subscribe", "--url", &nowhere, "a", "--no-reconnect"]),
    ] {
        let (code, stdout, stderr) = run(folder.path(), arguments);
        assert_eq!((code, stdout.as_str()), (Some(expected), ""), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments:?} says why");
    }
    server.stop();
}

#[test]
fn a_subscriber_comes_back_to_a_server_that_was_restarted() {
    let folder = folder();
    let at_once = ["--set", "shutdown.reconnect_min=0ms", "--set", "shutdown.reconnect_max=0ms"];
    let server = Serving::start(folder.path(), "127.0.0.1:0", &at_once);
    let (address, url) = (server.address.clone(), server.url());
    let publish = |text: &str| assert_eq!(run(folder.path(), &["publish", "--url", &url, "a", text]).0, Some(0));
    publish("before");
    let mut subscriber = Running::start(&mut bongsu(folder.path(), &["subscribe", "--url", &url, "a", "--earliest", "--count", "3"]));
    let mut printed = subscriber.stdout().map_while(Result::ok);
    assert_eq!(printed.next().as_deref(), Some("before"));
    server.stop();

    let server = Serving::start(folder.path(), &address, &at_once);
    publish("after");
    assert_eq!(printed.next().as_deref(), Some("after"));
    publish("the end");
    assert_eq!(printed.next().as_deref(), Some("the end"));
    let (code, _, stderr) = subscriber.finish();
    assert_eq!(code, Some(0), "{stderr}");
    let told = ["said goodbye", "lost the connection", "connected over websocket again", "gap in a (epoch)"];
    told.iter().for_each(|words| assert!(stderr.contains(words), "{words}: {stderr}"));
    server.stop();
}

#[test]
fn auto_falls_back_where_no_websocket_gets_through() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    let url = format!("http://{}", proxy::without_websockets(server.address.clone()));
    assert_eq!(run(folder.path(), &["publish", "--url", &url, "a", "one"]).0, Some(0));
    let (code, stdout, stderr) = run(folder.path(), &["subscribe", "--url", &url, "a", "--earliest", "--count", "1"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "one\n"));
    assert!(stderr.contains("websocket does not get through") && stderr.contains("trying sse"), "{stderr}");
    server.stop();
}

#[test]
fn an_interrupted_subscriber_tells_how_to_go_on() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    let url = server.url();
    let (_, position, _) = run(folder.path(), &["publish", "--url", &url, "a", "one"]);
    let mut subscriber = Running::start(&mut bongsu(folder.path(), &["subscribe", "--url", &url, "a", "--earliest"]));
    assert_eq!(subscriber.stdout().map_while(Result::ok).next().as_deref(), Some("one"));
    subscriber.terminate();
    let (code, _, stderr) = subscriber.finish();
    assert_eq!(code, Some(0));
    assert!(stderr.contains(&format!("go on from here with --after {}", position.trim_end())), "{stderr}");
    server.stop();
}
