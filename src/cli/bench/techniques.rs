//! `bongsu bench techniques`: which technique when, as plots.

use std::path::PathBuf;

use bongsu_lab::bench::{Extent, Techniques, buffer_bytes};
use clap::Args;

use super::progress::Line;
use super::{failed, start};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{print, say};

/// Measure which technique suits which rate of updates, and write plots.
///
/// Polls every 1, 5 and 30 s, long polls, server-sent events and WebSockets at 0.01 to 1,000 updates a second: the server's CPU and
/// bytes for each subscriber, and the delay. Then 10,000 updates a second by POSTs on kept connections and by one WebSocket; and
/// cost by payload size and number of subscribers, beside the bare epoll server. What 0.01 updates a second cost is computed
/// from what none and the next rate cost. Takes about a quarter of an hour.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bongsu bench techniques --out docs/performance/
  bongsu bench techniques --quick --out /tmp/plots")]
pub(super) struct TechniquesArgs {
    /// The folder for the plots (SVG), the figures (techniques.json) and the tables (techniques.md).
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Less than three minutes: fewer subscribers and sizes, shorter runs, and no polls every 30 s.
    #[arg(long)]
    quick: bool,
}

impl TechniquesArgs {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        let start = start()?;
        let extent = Extent { quick: self.quick, buffer_bytes: buffer_bytes() };
        say(&format!("about {:.0} minutes", (Techniques::takes(extent) / 60.0).ceil()));
        let line = Line::new();
        let measured = Techniques::measure(extent, &start, &mut |what, share, progress| line.show(what, share, progress));
        drop(line);
        let written = measured.write(&self.out).map_err(failed)?;
        print(&measured.tables())?;
        say(&format!("written into {}: {}", self.out.display(), written.join(", ")));
        match measured.left_out.as_slice() {
            [] => Ok(()),
            left_out => Err(Failure::new(Exit::Failure, format!("not measured: {}", left_out.join("; ")))),
        }
    }
}
