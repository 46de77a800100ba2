//! A server as a process, for tests: what it says, where it is, how it ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

/// The command, in a folder of its own and without our variables.
pub fn bongsu(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bongsu"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BONGSU_")) {
        command.env_remove(name);
    }
    command
}

/// A server that is ended with the test, whatever happens.
pub struct Server {
    child: Child,
    lines: BufReader<ChildStderr>,
    /// What it has said so far.
    said: String,
    address: Option<SocketAddr>,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut server = Self::spawn(bongsu(folder, arguments));
        server.listens();
        server
    }

    /// Starts a server.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the command starts");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, lines, said: String::new(), address: None }
    }

    /// Waits until it listens.
    pub fn listens(&mut self) {
        let line = self.says("listening http=");
        let address = line.split("http=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
        self.address = Some(address.parse().expect("an address"));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("it listens")
    }

    /// Waits for a line with these words, which it may have said already, and gives it.
    pub fn says(&mut self, words: &str) -> String {
        if let Some(line) = self.said.lines().find(|line| line.contains(words)) {
            return line.to_owned();
        }
        loop {
            let before = self.said.len();
            let read = self.lines.read_line(&mut self.said).expect("text");
            assert!(read > 0, "it ended without saying {words:?}:\n{}", self.said);
            if self.said[before..].contains(words) {
                return self.said[before..].to_owned();
            }
        }
    }

    /// Sends it a signal such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Sends it a signal and waits for its end. Gives its exit code, if it was not the signal that ended it.
    pub fn end(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        // What it still says must not fill the pipe.
        std::io::Read::read_to_string(&mut self.lines, &mut self.said).expect("text");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
