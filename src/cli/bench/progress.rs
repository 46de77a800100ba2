//! How far a measurement has come, for a person at a terminal; nothing where nobody looks.

use bongsu_lab::load::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line at the bottom of the terminal.
pub(super) struct Line {
    bar: ProgressBar,
}

impl Line {
    /// Shows nothing unless standard error is a terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// What is under way, and which share of all is done.
    pub(super) fn show(&self, what: &str, share: f64, progress: Option<Progress>) {
        let doing = match progress {
            None => "starting the server".to_owned(),
            Some(Progress::Opening { ready, wanted }) => format!("{ready} of {wanted} connections open"),
            Some(Progress::Publishing { seconds, of, deliveries_per_second }) => {
                format!("{seconds:.1} of {of:.1} s, {deliveries_per_second:.0} deliveries/s")
            }
        };
        self.bar.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
        self.bar.set_message(format!("{what}: {doing}"));
    }

    /// Lets something be printed above it.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
