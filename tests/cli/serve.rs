//! `bongsu serve` and `bongsu config`: exit codes, the ports file, and signals.

use crate::command::{Serving, folder, run};

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
    let server = Serving::start(folder.path(), "127.0.0.1:0", &[]);
    std::net::TcpStream::connect(&server.address).expect("it listens there");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["ports.json"], "no temporary file is left");
    server.stop();
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
