//! Notices that a certificate's file has changed, by looking at it from time to time: it works on every file system, and sees what a
//! renaming or a changed link brings as well.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch::Receiver;

use super::Tls;

/// What some files look like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen(Vec<Option<(u64, u64, Option<SystemTime>)>>);

impl Seen {
    pub(super) fn of(files: &[PathBuf]) -> Self {
        use std::os::unix::fs::MetadataExt;
        let look = |file: &PathBuf| std::fs::metadata(file).ok().map(|found| (found.ino(), found.len(), found.modified().ok()));
        Self(files.iter().map(look).collect())
    }
}

/// Looks every so often, on a thread of its own, until the server stops or is gone.
pub(crate) fn watch(tls: &Arc<Tls>, every: Duration, mut stop: Receiver<bool>) -> std::io::Result<()> {
    let tls = Arc::downgrade(tls);
    let work = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
        runtime.block_on(async {
            while tokio::time::timeout(every, stop.wait_for(|stop| *stop)).await.is_err() {
                let Some(tls) = tls.upgrade() else { return };
                tls.reload_if_changed();
            }
        });
    };
    std::thread::Builder::new().name("certificates".to_owned()).spawn(work).map(drop)
}
