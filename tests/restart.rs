//! Restarts as their clients live through them: what is kept, what is said, and that nobody is refused meanwhile.

mod running;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bongsu_lab::restart::{self, Plan, Report};
use running::{Server, bongsu};

/// A restart under load, small enough for every day; `examples/restart.rs` of the lab does a thousand.
fn small_restart(crash: bool) -> Report {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let soon = ["--workers", "2", "--set", "shutdown.reconnect_min=50ms", "--set", "shutdown.reconnect_max=500ms"];
    let plan = Plan {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_bongsu")),
        arguments: soon.map(str::to_owned).to_vec(),
        data_dir: folder.path().join("data"),
        subscribers: 60,
        publishers: 4,
        pause: Duration::from_millis(50),
        before: Duration::from_millis(500),
        crash,
        patience: Duration::from_secs(30),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(restart::run(&plan)).expect("it can be carried out")
}

#[test]
fn a_clean_restart_loses_nothing_and_repeats_nothing() {
    let report = small_restart(false);
    let all = report.all();
    assert!(report.faults.is_empty(), "{report}");
    assert_eq!((all.back, all.whole, all.missing, all.twice, all.told_gap, all.silent), (60, 60, 0, 0, 0, 0), "{report}");
    for transport in ["websocket", "sse", "stream", "multipart"] {
        assert_eq!(report.rows[transport].told, 10, "{transport} has words for a goodbye\n{report}");
    }
}

#[test]
fn after_a_crash_everyone_is_told_a_gap() {
    let report = small_restart(true);
    let all = report.all();
    assert!(report.faults.is_empty(), "{report}");
    assert_eq!((all.back, all.whole, all.told_gap, all.silent), (60, 60, 60, 0), "{report}");
}

/// Publishes under a key, and gives the position.
fn publish(address: SocketAddr, key: &str) -> String {
    let head = format!("POST /channels/a HTTP/1.1\r\nhost: localhost\r\nidempotency-key: {key}\r\ncontent-length: 1\r\n\r\nx");
    let answer = ask(address, &head).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    answer.split('"').nth(3).expect("a position").to_owned()
}

/// One request on a connection of its own.
fn ask(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_key_that_was_given_a_position_keeps_it_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let serve = ["serve", "--http", "127.0.0.1:0", "--tcp", "off", "--data-dir", "data"];
    let mut first = Server::start(folder.path(), &serve);
    let position = publish(first.address(), "k");
    assert_eq!(first.end("-TERM"), Some(0));
    first.says("snapshot written");
    let mut second = Server::start(folder.path(), &serve);
    second.says("restored");
    assert_eq!(publish(second.address(), "k"), position, "a repetition across the restart");
    assert_eq!(publish(second.address(), "l").split_once('-').map(|(_, offset)| offset.to_owned()), Some("2".to_owned()));
    assert_eq!(second.end("-KILL"), None);
    let mut third = Server::start(folder.path(), &serve);
    third.says("did not end in good order");
    assert_ne!(publish(third.address(), "k"), position);
    assert_eq!(third.end("-INT"), Some(0));
}

#[test]
fn a_data_directory_has_one_server_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let serve = ["serve", "--http", "127.0.0.1:0", "--tcp", "off", "--data-dir", "data"];
    let mut server = Server::start(folder.path(), &serve);
    let second = bongsu(folder.path(), &serve).output().expect("the command starts");
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(6) && told.contains("data directory data is in use by another server"), "{told}");
    assert_eq!(server.end("-TERM"), Some(0));
}

#[test]
fn a_reload_says_what_changed_and_what_could_not() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let write = |text: &str| std::fs::write(folder.path().join("bongsu.toml"), text).expect("written");
    write("[listen]\nhttp = \"127.0.0.1:0\"\n");
    let mut server = Server::start(folder.path(), &["serve", "--tcp", "off", "--workers", "1"]);
    let is_admitted = |address| {
        let request = "GET /health HTTP/1.1\r\nhost: localhost\r\norigin: https://app.example\r\n\r\n";
        ask(address, request).expect("an answer").starts_with("HTTP/1.1 200")
    };
    assert!(!is_admitted(server.address()));
    write("[listen]\nhttp = \"127.0.0.1:1\"\n[http]\norigins = [\"https://app.example\"]\n[log]\nlevel = \"debug\"\n");
    server.signal("-HUP");
    server.says("needs a restart");
    server.says("http.origins");
    server.says("configuration read again");
    // The worker hears of it in its next turn.
    assert!((0..1000).any(|_| is_admitted(server.address())), "the origin is listed now");
    write("[http]\nheaders_max = 0\n");
    server.signal("-HUP");
    server.says("the configuration was not reloaded");
    assert!(is_admitted(server.address()), "a faulty file changes nothing");
    assert_eq!(server.end("-TERM"), Some(0));
}

/// Asks a server for its health, one connection after the other, until it is told to stop. Gives how many and what went wrong.
struct Asking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Asking {
    fn begin(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut count, mut faults) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                count += 1;
                match ask(address, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n") {
                    Ok(answer) if answer.starts_with("HTTP/1.1 ") => (),
                    Ok(answer) => faults.push(format!("{answer:?}")),
                    Err(error) => faults.push(error.to_string()),
                }
            }
            (count, faults)
        });
        Self { stop, thread }
    }

    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// A server at a socket that this test keeps open, as systemd does.
fn serve_at(socket: &TcpListener, folder: &Path) -> Server {
    let socket: OwnedFd = socket.try_clone().expect("a copy").into();
    let mut command = Command::new("sh");
    // The socket comes as standard input and becomes descriptor 3, and the variables name the process that the shell becomes.
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh", env!("CARGO_BIN_EXE_bongsu")]);
    command.args(["serve", "--tcp", "off", "--data-dir", "data", "--workers", "2"]).current_dir(folder).stdin(Stdio::from(socket));
    let mut server = Server::spawn(command);
    server.listens();
    server
}

#[test]
fn nobody_is_refused_while_a_socket_is_handed_over() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    let mut first = serve_at(&socket, folder.path());
    let position = publish(address, "k");
    let asking = Asking::begin(address);
    for _ in 0..3 {
        assert_eq!(first.end("-TERM"), Some(0));
        first = serve_at(&socket, folder.path());
    }
    assert_eq!(publish(address, "k"), position);
    let (count, faults) = asking.end();
    assert!(count > 3 && faults.is_empty(), "{count} asked: {faults:?}");
    assert_eq!(first.end("-TERM"), Some(0));
}

#[test]
fn nobody_is_refused_while_servers_overlap() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let port = restart::free_port().expect("a free port");
    let http = format!("127.0.0.1:{port}");
    let serve = ["serve", "--http", &http, "--overlap", "--tcp", "off", "--data-dir", "data", "--workers", "2"];
    let mut first = Server::start(folder.path(), &serve);
    let address: SocketAddr = http.parse().expect("an address");
    let position = publish(address, "k");
    let asking = Asking::begin(address);
    for _ in 0..3 {
        // The second listens at once, and waits for what the first writes down.
        let mut second = Server::spawn(bongsu(folder.path(), &serve));
        second.says("waiting for another server to leave");
        assert_eq!(first.end("-TERM"), Some(0));
        first = second;
        first.listens();
    }
    assert_eq!(publish(address, "k"), position);
    let (count, faults) = asking.end();
    let refused: Vec<_> = faults.iter().filter(|fault| fault.contains("refused")).collect();
    assert!(count > 3 && refused.is_empty(), "{count} asked: {faults:?}");
    assert_eq!(first.end("-TERM"), Some(0));
}
