//! Long polling: the server holds its answer back until there is something.

use std::time::Duration;

use super::event::Event;
use super::fault::ClientFault;
use super::http::Limits;
use super::page::Pager;
use super::subject::Subject;
use super::target::Target;

/// A subscriber that asks, waits for the answer, and asks again.
#[derive(Debug)]
pub struct LongPoll {
    pager: Pager,
    wait: Duration,
    /// The first question does not wait: its answer is the cursor, which a client needs before its first publication.
    waits: bool,
}

impl LongPoll {
    /// Begins; the first question goes out with the first [`LongPoll::next`].
    pub fn new(target: &Target, subject: Subject, limits: Limits) -> Self {
        Self { pager: Pager::new(target, subject, limits), wait: limits.wait, waits: false }
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
            let more = self.pager.fetch(self.waits.then_some(self.wait)).await?;
            self.waits = !more;
        }
    }
}
