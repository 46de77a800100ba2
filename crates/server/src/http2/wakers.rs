//! Two tasks that wait on one stream. `h2` remembers a single waker for "may send" and "was reset"; this one wakes both.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Who waits on a stream. All of them live on one thread; the locks are there because a waker must be able to cross threads.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Wakers {
    /// The next wake-up is for this reader too.
    pub(super) fn reader(&self, waker: &Waker) {
        remember(&self.reader, waker);
    }

    /// The next wake-up is for this writer too.
    pub(super) fn writer(&self, waker: &Waker) {
        remember(&self.writer, waker);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        for place in [&self.reader, &self.writer] {
            let waker = place.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

fn remember(place: &Mutex<Option<Waker>>, waker: &Waker) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
}
