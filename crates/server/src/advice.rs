//! What an operator can do about an error of the system: a half-sentence to stand behind it. Used wherever such an error ends a start.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// About an address that cannot be listened at.
pub fn on_listening(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "; another program has it, or another listener of this one: give another (port 0 picks a free one), stop the other, or say \
             --overlap if it is a server of yours that this one is to replace"
        }
        ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: 127.0.0.1 is for this machine alone, 0.0.0.0 and [::] are all addresses that it has"
        }
        ErrorKind::PermissionDenied => {
            "; ports below 1024 need a right of their own: take a higher one, give the program CAP_NET_BIND_SERVICE, or have systemd hand \
             the socket over (LISTEN_FDS)"
        }
        _ => on_anything(error),
    }
}

/// About a file or folder that is to be written.
pub fn on_writing(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room on that disk, or name a place on another",
        ErrorKind::ReadOnlyFilesystem => "; name a place on a disk that can be written to",
        ErrorKind::PermissionDenied => "; let this user read and write there, or name another place",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "; a file is in the way of a folder: name another place",
        ErrorKind::IsADirectory => "; a folder is in the way of a file: name another place",
        ErrorKind::NotFound => "; name a place in a folder that is there",
        _ => on_anything(error),
    }
}

/// About a file that is to be read.
pub fn on_reading(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "; check the path",
        ErrorKind::IsADirectory => "; name a file in it",
        ErrorKind::PermissionDenied => "; let this user read it",
        ErrorKind::InvalidData => "; write it in UTF-8",
        _ => on_anything(error),
    }
}

/// About what can be lacking whatever is done.
pub fn on_anything(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; raise the limit on open files (ulimit -n, or LimitNOFILE= of a systemd unit)",
        Some(Errno::NFILE) => "; raise the system's limit on open files (sysctl fs.file-max)",
        Some(Errno::NOMEM | Errno::NOBUFS) => "; the system has no memory left for it",
        Some(Errno::AGAIN) => "; raise the limit on threads (ulimit -u, or TasksMax= of a systemd unit)",
        _ => "",
    }
}
