//! `bongsu bench`: tiny runs, whose figures nobody looks at; only that every message is accounted for and every report is written.

use std::path::Path;

use serde_json::Value;

use crate::command::{PATIENCE, Running, Serving, bongsu, folder, run};

/// A run that is over at once.
const TINY: [&str; 6] = ["--subscribers", "10", "--duration", "100ms", "--warm-up", "20ms"];

fn bench(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    run(folder, &[&["bench"], arguments].concat())
}

fn report(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("report.json")).expect("written");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    json["report"].clone()
}

#[test]
fn every_transport_is_measured_and_every_message_checked() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    let url = server.url();
    for transport in ["poll", "long-poll", "ndjson", "multipart", "sse", "ws", "native"] {
        let own = ["--url", &url, "--transport", transport, "--poll-interval", "10ms", "--window", "4", "--json", "report.json"];
        let (code, stdout, stderr) = bench(folder.path(), &[&own[..], &TINY].concat());
        assert_eq!(code, Some(0), "{transport}: {stdout}{stderr}");
        let report = report(folder.path());
        assert!(report["deliveries"].as_u64() > Some(0) && report["lost"] == 0 && report["repeated"] == 0, "{transport}: {report}");
        // What the server says of it was held against that, or the exit code would tell.
        let accounts = report["balance"]["transports"].as_object().expect("the server's own counters");
        assert!(accounts.values().any(|account| account["delivered"].as_u64() > Some(0)), "{transport}: {report}");
    }
    server.stop();
}

#[test]
fn what_a_silent_subscriber_misses_is_what_the_server_says_it_passed_over() {
    let folder = folder();
    let serve = "--workers 1 --set delivery.slow=drop --set delivery.lag_bytes_max=16KiB --set delivery.send_buffer_bytes=16KiB";
    let load =
        ["--transport", "native", "--publish", "native", "--slow", "1", "--rate", "400", "--payload", "4096", "--json", "report.json"];
    let times = ["--subscribers", "10", "--duration", "1s", "--warm-up", "20ms", "--serve", serve];
    let (code, stdout, stderr) = bench(folder.path(), &[&load[..], &times].concat());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let report = report(folder.path());
    let account = &report["balance"]["transports"]["native"];
    assert!(report["slow_lost"].as_u64() > Some(0) && account["dropped"] == report["slow_lost"], "{report}");
    assert!(stdout.contains("offered = "), "{stdout}");
}

#[test]
fn publications_get_in_by_every_way_and_in_the_order_of_their_publishers() {
    let folder = folder();
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    let url = server.url();
    for publish in ["ws", "native", "http"] {
        let own = ["--url", &url, "--publish", publish, "--publishers", "3", "--channels", "2", "--rate", "500", "--filling", "json"];
        let (code, stdout, stderr) = bench(folder.path(), &[&own[..], &TINY].concat());
        assert_eq!(code, Some(0), "{publish}: {stdout}{stderr}");
        assert!(stdout.contains("p99.9 µs"), "{stdout}");
    }
    let several = ["--url", &url, "--transport", "native", "--channels", "8", "--subscriptions", "4", "--payload", "16"];
    assert_eq!(bench(folder.path(), &[&several[..], &TINY].concat()).0, Some(0));
    server.stop();
}

#[test]
fn a_server_is_started_for_the_run_and_the_report_needs_nothing_else() {
    let folder = folder();
    let (code, stdout, stderr) = bench(folder.path(), &[&["--html", "report.html", "--json", "report.json"][..], &TINY].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("10 ws subscribers") && stdout.contains("CPU µs/delivery"), "{stdout}");
    assert!(report(folder.path())["server_cpu_us_per_delivery"].as_f64() > Some(0.0));
    let page = std::fs::read_to_string(folder.path().join("report.html")).expect("written");
    assert!(page.contains("<svg") && page.contains("polyline"), "{page}");
    for foreign in ["<script", "<link", "<img", " src=", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn idle_connections_are_only_looked_at() {
    let folder = folder();
    let (code, stdout, stderr) =
        bench(folder.path(), &["run", "--idle", "--subscribers", "50", "--ramp", "1000", "--transport", "sse", "--json", "report.json"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("RSS B/idle connection") && !stdout.contains("p99"), "{stdout}");
    assert_eq!(report(folder.path())["publications"], 0);
}

#[test]
fn a_measurement_that_is_ended_ends_its_server() {
    let folder = folder();
    // The server tells its process in a file before it becomes a bare one.
    let start = "start = 'sh {dir}/start.sh'\nports_file = 'ports.json'\n[files]\n";
    let script = format!(
        "\"start.sh\" = '''\necho $$ > {}/pid\nexec {} bench ceiling --ports-file {{dir}}/ports.json\n'''\n",
        folder.path().display(),
        env!("CARGO_BIN_EXE_bongsu")
    );
    std::fs::write(folder.path().join("it.toml"), format!("{start}{script}")).expect("written");
    let mut measuring =
        Running::start(&mut bongsu(folder.path(), &["bench", "--target", "it.toml", "--subscribers", "5", "--duration", "5m"]));
    let pid = folder.path().join("pid");
    let deadline = std::time::Instant::now() + PATIENCE;
    let alive = |pid: &str| {
        std::process::Command::new("kill")
            .args(["-0", pid])
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    while !pid.exists() || std::fs::read_to_string(&pid).is_ok_and(|text| text.trim().is_empty()) {
        assert!(std::time::Instant::now() < deadline, "the server was started");
        std::thread::yield_now();
    }
    let pid = std::fs::read_to_string(pid).expect("written");
    measuring.terminate();
    assert_eq!(measuring.finish().0, Some(1));
    while alive(pid.trim()) {
        assert!(std::time::Instant::now() < deadline, "the server is gone");
        std::thread::yield_now();
    }
}

#[test]
fn two_bare_servers_are_compared() {
    let folder = folder();
    let file = "rounds = 2\nseconds = 0.05
        [[target]]\nname = 'batched'\nfile = 'ceiling.toml'
        [[target]]\nname = 'unbatched'\nfile = 'ceiling.toml'\narguments = '--unbatched'
        [[target]]\nname = 'nowhere'\nfile = 'nowhere.toml'
        [[scenario]]\nname = 'ws'\nsubscribers = 10\nwindow = 4
        [[scenario]]\nname = 'size'\nsubscribers = 5\nvary = { payload_bytes = [16, 4096] }
        [[goal]]\nwhat = 'it delivers'\nfigure = 'rate'\nscenario = 'ws'\ntarget = 'batched'\nat_least = 0.001
        [[goal]]\nwhat = 'for nothing'\nfigure = 'bytes'\nscenario = 'ws'\ntarget = 'batched'\nat_most = 1
        [[goal]]\nwhat = 'elsewhere'\nfigure = 'rate'\nscenario = 'ws'\ntarget = 'batched'\nto = 'nowhere'\nat_least = 1";
    let ceiling = "start = 'bongsu bench ceiling --ports-file {dir}/ports.json'\nports_file = 'ports.json'";
    let nowhere = "start = 'no-such-server {port}'\nneeds = ['no-such-server']\ninstall = 'apt-get install it'";
    for (name, text) in [("compare.toml", file), ("ceiling.toml", ceiling), ("nowhere.toml", nowhere)] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let (code, stdout, stderr) = bench(folder.path(), &["compare", "compare.toml", "--json", "all.json", "--html", "all.html"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stderr.contains("SKIPPED nowhere: no-such-server not found; install: apt-get install it"), "{stderr}");
    for words in ["batched again", "unbatched", "size-4096", "1 met, 1 not met, 1 not measured", "NOT MET"] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let all: Value = serde_json::from_str(&std::fs::read_to_string(folder.path().join("all.json")).expect("written")).expect("JSON");
    assert_eq!(all["scenarios"][0]["measured"][0]["reports"].as_array().map(Vec::len), Some(2));
    assert!(std::fs::read_to_string(folder.path().join("all.html")).expect("written").contains("<h2>Goals</h2>"));
}

#[test]
fn what_cannot_be_measured_is_told() {
    let folder = folder();
    std::fs::write(folder.path().join("wrong.toml"), "start = 'x {port}'\nstrat = 1\n").expect("written");
    std::fs::write(folder.path().join("ends.toml"), "start = 'sh -c false {port}'\n").expect("written");
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port that was free");
    let nowhere = format!("http://{nowhere}");
    for (expected, words, arguments) in [
        (2, "unknown field `strat`", &["--target", "wrong.toml"][..]),
        (1, "it ended with", &["--target", "ends.toml"]),
        (5, "does the server listen there?", &["--url", &nowhere]),
        (2, "only http:// and ws://", &["--url", "gopher://a"]),
        (2, "one of ws, native, http", &["--publish", "pigeon"]),
        (2, "poll, long-poll, ndjson", &["--transport", "pigeon"]),
        (2, "cannot be used with", &["--rate", "1", "--window", "1"]),
        (2, "stamp", &["--url", &nowhere, "--payload", "3"]),
        (1, "No such file", &["compare", "not-there.toml"]),
    ] {
        let (code, _, stderr) = bench(folder.path(), arguments);
        assert!(code == Some(expected) && stderr.contains(words), "{arguments:?}: {code:?} {stderr}");
    }
}

#[test]
fn the_files_in_the_repository_are_read() {
    let goals = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    for name in ["goals.toml", "ceilings.toml"] {
        let (code, stdout, stderr) = bench(&goals, &["compare", name, "--dry-run"]);
        assert!(code == Some(0) && stdout.contains("ws-64") && stderr.contains("minutes"), "{stdout}{stderr}");
    }
}
