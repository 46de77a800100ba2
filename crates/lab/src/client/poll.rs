//! Polling: a page, then a pause, then the next.

use std::time::Duration;

use tokio::time::Instant;

use super::event::Event;
use super::fault::ClientFault;
use super::http::Limits;
use super::page::Pager;
use super::subject::Subject;
use super::target::Target;

/// A subscriber that asks at an interval, and at once while there is more.
#[derive(Debug)]
pub struct Poll {
    pager: Pager,
    interval: Duration,
    due: Instant,
}

impl Poll {
    /// Begins; the first question goes out with the first [`Poll::next`].
    pub fn new(target: &Target, subject: Subject, interval: Duration, limits: Limits) -> Self {
        Self { pager: Pager::new(target, subject, limits), interval, due: Instant::now() }
    }

    /// The next event.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(event) = self.pager.take() {
                return Ok(Some(event));
            }
            if self.pager.is_over() {
                return Ok(None);
            }
            tokio::time::sleep_until(self.due).await;
            let asked = Instant::now();
            let more = self.pager.fetch(None).await?;
            self.due = if more { asked } else { asked + self.interval };
        }
    }
}
