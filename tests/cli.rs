//! The command as a user runs it: exit codes, the ports file, and signals.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The command, in a folder of its own and without our variables.
fn bongsu(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bongsu"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BONGSU_")) {
        command.env_remove(name);
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = bongsu(folder, arguments).output().expect("the command starts");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// A server that is ended with the test, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn the_default_configuration_is_printed_and_found_sound() {
    let folder = folder();
    let (code, text, _) = run(folder.path(), &["config", "default"]);
    assert_eq!(code, Some(0));
    std::fs::write(folder.path().join("bongsu.toml"), text).expect("written");
    let (code, said, _) = run(folder.path(), &["config", "check"]);
    assert_eq!((code, said.as_str()), (Some(0), "ok: bongsu.toml, everything at its default\n"));
}

#[test]
fn a_faulty_configuration_is_told_whole_and_starts_nothing() {
    let folder = folder();
    std::fs::write(folder.path().join("my.toml"), "worker = 1\n[http]\nheaders_max = 0\n").expect("written");
    let told = "my.toml:1: unknown key worker; the nearest known one is workers\n\
                my.toml:3: http.headers_max = 0 is not allowed; allowed: 1 to 1000\n";
    for arguments in [&["config", "check", "my.toml"][..], &["serve", "--config", "my.toml"]] {
        let (code, stdout, stderr) = run(folder.path(), arguments);
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(2), "", told), "{arguments:?}");
    }
    let (code, _, stderr) = run(folder.path(), &["serve", "--http", "nowhere"]);
    assert!(code == Some(2) && stderr.starts_with("--http: listen.http = \"nowhere\" is not allowed"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["serve", "--set", "workers"]);
    assert!(code == Some(2) && stderr.contains("write KEY=VALUE"), "{stderr}");
}

#[test]
fn an_address_that_is_taken_has_an_exit_code_of_its_own() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, _, stderr) = run(folder().path(), &["serve", "--http", &address]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen for http at {address}")), "{stderr}");
}

#[test]
fn a_server_tells_its_port_and_ends_at_a_signal() {
    let folder = folder();
    let mut command = bongsu(folder.path(), &["serve", "--http", "127.0.0.1:0", "--ports-file", "ports.json", "--workers", "1"]);
    let mut server = Running(command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command starts"));
    let mut lines = BufReader::new(server.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    lines.find(|line| line.contains("listening")).expect("it says when it listens");

    let ports = std::fs::read_to_string(folder.path().join("ports.json")).expect("written before it says so");
    let ports: serde_json::Value = serde_json::from_str(&ports).expect("JSON");
    let address = ports["http"].as_str().expect("an address");
    std::net::TcpStream::connect(address).expect("it listens there");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["ports.json"], "no temporary file is left");

    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    lines.find(|line| line.contains("stopping")).expect("it says that it stops");
    assert_eq!(server.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn completions_and_manual_pages_are_made_from_the_command_line_itself() {
    let folder = folder();
    let (code, text, _) = run(folder.path(), &["completions", "bash"]);
    assert!(code == Some(0) && text.contains("--data-dir"), "{text}");
    let (code, page, _) = run(folder.path(), &["man"]);
    assert!(code == Some(0) && page.contains(".TH bongsu 1"), "{page}");
    let (code, _, told) = run(folder.path(), &["man", "--into", "."]);
    assert_eq!((code, told.as_str()), (Some(0), ""));
    assert!(std::fs::read_to_string(folder.path().join("bongsu-serve.1")).expect("written").contains("\\-\\-data\\-dir"));
}
