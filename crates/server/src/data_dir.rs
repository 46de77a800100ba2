//! The folder for what outlives the process: one server's at a time, with a snapshot in it only while no server runs.
//!
//! `snapshot` is there exactly if the last server ended in good order and nobody has served since: it is the clean mark itself. It
//! is renamed into place when it is whole, and removed, durably, before the next server serves. `running` is there while one
//! serves, so that the next can tell a crash from a folder that is new.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bongsu_core::snapshot::{Item, Reader, SnapshotFault, Totals};
use bytes::BytesMut;
use tracing::{error, info, warn};

use crate::advice;
use crate::engine::Engine;

/// A data directory that is ours, for as long as this lives.
pub(crate) struct DataDir {
    path: PathBuf,
    /// Locked until it is closed, which a crash does too.
    _lock: File,
}

/// Why a data directory cannot be used. The server does not start.
#[derive(Debug, thiserror::Error)]
pub enum DataDirFault {
    /// Another server has it.
    #[error("the data directory {path} is in use by another server; give each its own, or stop the other first")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The system does not let us read or write it.
    #[error("cannot use the data directory: {doing} {path}: {source}{}", advice::on_writing(source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A signal ended the start while it waited for the other server.
    #[error("stopped while another server still had the data directory {path}")]
    Cancelled {
        /// The folder.
        path: PathBuf,
    },
}

/// Why a snapshot is not gone on from.
#[derive(Debug, thiserror::Error)]
enum ReadFault {
    #[error(transparent)]
    Snapshot(#[from] SnapshotFault),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl DataDir {
    /// Takes the folder, and makes it if it is not there. One that another server has is waited for so long.
    pub(crate) fn open(path: &Path, patience: Duration, cancelled: &AtomicBool) -> Result<Self, DataDirFault> {
        let path = path.to_owned();
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(io_fault("make", &path))?;
        let lock_path = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io_fault("open", &lock_path))?;
        let (began, mut told) = (Instant::now(), patience.is_zero());
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(TryLockError::Error(source)) => return Err(io_fault("lock", &lock_path)(source)),
                Err(TryLockError::WouldBlock) if cancelled.load(Ordering::Relaxed) => return Err(DataDirFault::Cancelled { path }),
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => return Err(DataDirFault::InUse { path }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
            if !std::mem::replace(&mut told, true) {
                info!(data_dir = %path.display(), "waiting for another server to leave the data directory; stop it now");
            }
        }
    }

    /// Goes on from the snapshot, if there is one that is whole, and else from nothing, with new epochs. Whatever it was, it is
    /// gone when this returns: a crash from here on is recognised.
    pub(crate) fn resume(&self, build: impl Fn([u8; 16]) -> Engine) -> Result<Engine, DataDirFault> {
        let snapshot = self.path.join(SNAPSHOT);
        let engine = match File::open(&snapshot) {
            Ok(file) => match read(file, &build) {
                Ok(engine) => Some(engine),
                Err(fault) => {
                    let aside = self.path.join(REFUSED);
                    std::fs::rename(&snapshot, &aside).map_err(io_fault("set aside", &snapshot))?;
                    error!(
                        snapshot = %aside.display(),
                        "the snapshot is not to be trusted: {fault}; nothing of it is used, every channel begins a new epoch, and \
                         whoever comes back is told a gap"
                    );
                    None
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.tell_why_there_is_none();
                None
            }
            Err(source) => return Err(io_fault("open", &snapshot)(source)),
        };
        self.mark_running()?;
        Ok(engine.unwrap_or_else(|| build(rand::random())))
    }

    /// Writes the snapshot that the next server goes on from. Nothing may be published any more.
    pub(crate) fn save(&self, engine: &Engine) -> Result<(), DataDirFault> {
        self.try_save(engine).inspect_err(|_| {
            error!("no snapshot is written, so what the server had is lost: the next one begins new epochs, and whoever comes back is told a gap");
        })
    }

    fn try_save(&self, engine: &Engine) -> Result<(), DataDirFault> {
        let began = Instant::now();
        let (temporary, snapshot) = (self.path.join(TEMPORARY), self.path.join(SNAPSHOT));
        let totals =
            write(engine, &temporary).inspect_err(|_| _ = std::fs::remove_file(&temporary)).map_err(io_fault("write", &temporary))?;
        std::fs::rename(&temporary, &snapshot).map_err(io_fault("rename", &temporary))?;
        remove(&self.path.join(RUNNING))?;
        self.sync()?;
        let Totals { channels, dormant, publications, payload_bytes, keys, queues, messages, .. } = totals;
        let took_ms = began.elapsed().as_millis() as u64;
        info!(channels, dormant, publications, payload_bytes, keys, queues, messages, took_ms, "snapshot written");
        Ok(())
    }

    fn tell_why_there_is_none(&self) {
        if self.path.join(RUNNING).exists() {
            warn!(
                data_dir = %self.path.display(),
                "the last server did not end in good order, so what it had is lost: every channel begins a new epoch, and whoever \
                 comes back is told a gap"
            );
        } else {
            info!(data_dir = %self.path.display(), "no snapshot: a new beginning");
        }
    }

    /// From here on there is no snapshot, whatever happens.
    fn mark_running(&self) -> Result<(), DataDirFault> {
        let running = self.path.join(RUNNING);
        let mark = || -> io::Result<()> {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&running)?;
            writeln!(file, "{}", std::process::id())?;
            file.sync_all()
        };
        mark().map_err(io_fault("write", &running))?;
        remove(&self.path.join(SNAPSHOT))?;
        remove(&self.path.join(TEMPORARY))?;
        self.sync()
    }

    /// Has the folder's entries on the disk.
    fn sync(&self) -> Result<(), DataDirFault> {
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(io_fault("sync", &self.path))
    }
}

fn read(file: File, build: &impl Fn([u8; 16]) -> Engine) -> Result<Engine, ReadFault> {
    let began = Instant::now();
    let (mut reader, mut input) = (Reader::new(), BytesMut::new());
    let mut file = Pieces { file, piece: vec![0; PIECE_BYTES] };
    let server = loop {
        match reader.read(&mut input)? {
            Some(Item::Server(server)) => break server,
            Some(_) => return Err(SnapshotFault::Misplaced { what: "the server comes first" }.into()),
            None if file.read_into(&mut input)? => (),
            None => return Err(SnapshotFault::CutShort.into()),
        }
    };
    let engine = build(server.secret);
    let mut restoring = engine.restoring(server);
    loop {
        match reader.read(&mut input)? {
            Some(item) => restoring.take(item)?,
            None if file.read_into(&mut input)? => (),
            None => break,
        }
    }
    let Totals { channels, dormant, publications, payload_bytes, keys, queues, messages, .. } = reader.finish(&input)?;
    engine.shed_all();
    let away_ms = engine.clock().now_ms().saturating_sub(server.taken_ms);
    let took_ms = began.elapsed().as_millis() as u64;
    info!(
        channels,
        dormant, publications, payload_bytes, keys, queues, messages, took_ms, away_ms, "restored: every channel goes on where it was"
    );
    Ok(engine)
}

fn write(engine: &Engine, path: &Path) -> io::Result<Totals> {
    // What is published is not everybody's to read, and who knows the secret can guess epochs.
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    let (out, totals) = engine.save(BufWriter::with_capacity(PIECE_BYTES, file))?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(totals)
}

/// A file that is read piece by piece.
struct Pieces {
    file: File,
    piece: Vec<u8>,
}

impl Pieces {
    /// Adds the next piece; false at the end.
    fn read_into(&mut self, input: &mut BytesMut) -> io::Result<bool> {
        let len = self.file.read(&mut self.piece)?;
        input.extend_from_slice(&self.piece[..len]);
        Ok(len > 0)
    }
}

fn remove(path: &Path) -> Result<(), DataDirFault> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_fault("remove", path)(source)),
        _ => Ok(()),
    }
}

fn io_fault(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirFault {
    let path = path.to_owned();
    move |source| DataDirFault::Io { doing, path, source }
}

const LOCK: &str = "lock";
const SNAPSHOT: &str = "snapshot";
const TEMPORARY: &str = "snapshot.tmp";
const REFUSED: &str = "snapshot.refused";
const RUNNING: &str = "running";
const PIECE_BYTES: usize = 1 << 20;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use bongsu_core::snapshot::SNAPSHOT_MAGIC;
    use bongsu_core::{ChannelName, Cursor, Draft, Position, Start};

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::shared::engine_of;

    fn build(secret: [u8; 16]) -> Engine {
        engine_of(&Config::default(), secret, 1, Clock::start())
    }

    fn open(folder: &tempfile::TempDir) -> DataDir {
        DataDir::open(folder.path(), Duration::ZERO, &AtomicBool::new(false)).expect("ours")
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder for the test")
    }

    fn name() -> ChannelName {
        ChannelName::parse("a").expect("a name")
    }

    fn publish(engine: &Engine) -> Position {
        engine.publish(&name(), Draft::text("x"), None).expect("room")
    }

    fn resumes(engine: &Engine, cursor: Position) -> bool {
        engine.locate(&name(), &Start::After(Cursor::from(cursor))).gap.is_none()
    }

    /// A folder in which a server ended well, and its last cursor.
    fn ended_well() -> (tempfile::TempDir, Position) {
        let folder = folder();
        let data = open(&folder);
        let engine = data.resume(build).expect("usable");
        let cursor = publish(&engine);
        engine.close();
        data.save(&engine).expect("room on the disk");
        (folder, cursor)
    }

    #[test]
    fn goes_on_after_a_good_end_and_not_after_a_crash() {
        let (folder, cursor) = ended_well();
        let data = open(&folder);
        let engine = data.resume(build).expect("usable");
        assert!(resumes(&engine, cursor));
        assert_eq!(publish(&engine), Position::new(cursor.epoch, 2));
        drop((data, engine));
        let after_a_crash = open(&folder).resume(build).expect("usable");
        assert!(!resumes(&after_a_crash, cursor), "the clean mark went before anyone was served");
    }

    #[test]
    fn a_snapshot_that_was_harmed_is_set_aside_and_never_used() {
        for harm in [
            |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1),
            |bytes: &mut Vec<u8>| bytes.clear(),
            |bytes: &mut Vec<u8>| bytes[SNAPSHOT_MAGIC.len() + 20] ^= 1,
            |bytes: &mut Vec<u8>| bytes[15] = b'9',
            |bytes: &mut Vec<u8>| bytes.push(0),
        ] {
            let (folder, cursor) = ended_well();
            let path = folder.path().join(SNAPSHOT);
            let mut bytes = std::fs::read(&path).expect("it is there");
            harm(&mut bytes);
            std::fs::write(&path, bytes).expect("written");
            let engine = open(&folder).resume(build).expect("it starts all the same");
            assert!(!resumes(&engine, cursor));
            assert!(folder.path().join(REFUSED).exists() && !path.exists());
        }
    }

    #[test]
    fn half_a_snapshot_is_none() {
        let (folder, cursor) = ended_well();
        std::fs::rename(folder.path().join(SNAPSHOT), folder.path().join(TEMPORARY)).expect("renamed");
        std::fs::write(folder.path().join(RUNNING), "1").expect("written");
        let engine = open(&folder).resume(build).expect("usable");
        assert!(!resumes(&engine, cursor));
        assert!(!folder.path().join(TEMPORARY).exists());
    }

    #[test]
    fn a_folder_has_one_server_at_a_time() {
        let folder = folder();
        let first = open(&folder);
        let second = |cancelled| DataDir::open(folder.path(), Duration::ZERO, &AtomicBool::new(cancelled)).err();
        assert!(matches!(second(false), Some(DataDirFault::InUse { .. })));
        assert!(matches!(second(true), Some(DataDirFault::Cancelled { .. })));
        let path = folder.path().to_owned();
        let waiting = std::thread::spawn(move || DataDir::open(&path, Duration::from_secs(60), &AtomicBool::new(false)).is_ok());
        drop(first);
        assert!(waiting.join().expect("no panic"));
    }

    #[test]
    fn what_is_written_is_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, _) = ended_well();
        let mode = std::fs::metadata(folder.path().join(SNAPSHOT)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
