//! `bongsu bench ceiling`: the bare epoll server.

use std::net::SocketAddr;
use std::path::PathBuf;

use bongsu_lab::ceiling::{Ceiling, Writing};
use clap::Args;

use super::write;
use crate::cli::exit::{Exit, Failure};
use crate::cli::say;

/// Run the least that a server can be, until it is ended: what every ratio refers to.
///
/// One thread, one epoll loop, no history, no positions, no limits, no checks. It speaks plain WebSocket, server-sent events, lines,
/// polls and long polls as `bongsu serve` does, and believes every client: keep it on loopback.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bongsu bench ceiling --http 127.0.0.1:9000 &
  bongsu bench --url http://127.0.0.1:9000 --server-pid $! --window 64")]
pub(super) struct CeilingArgs {
    /// Where it listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    http: SocketAddr,
    /// Write its address to this file, as JSON, once it listens.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
    /// One write for each message, as most servers do, instead of one for all of a loop's turn.
    #[arg(long)]
    unbatched: bool,
}

impl CeilingArgs {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        bongsu_lab::bench::make_room();
        let writing = if self.unbatched { Writing::Unbatched } else { Writing::Batched };
        let cannot = |error: std::io::Error| Failure::new(Exit::CannotListen, format!("cannot listen at {}: {error}", self.http));
        let server = Ceiling::bind(self.http, writing).map_err(cannot)?;
        let address = server.local_addr().map_err(cannot)?;
        if let Some(file) = &self.ports_file {
            let beside = file.with_extension("unfinished");
            write(&beside, &format!("{{\"http\":\"{address}\"}}\n"))?;
            std::fs::rename(&beside, file).map_err(|error| Failure::new(Exit::Failure, error))?;
        }
        say(&format!("the bare server, at http://{address}; Ctrl-C stops it"));
        server.run().map_err(|error| Failure::new(Exit::Failure, error))
    }
}
