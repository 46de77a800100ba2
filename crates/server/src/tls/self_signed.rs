//! A certificate that vouches for itself, for development: made once, kept between runs, and trusted by whoever is given its file.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use tracing::{info, warn};

use super::certificates::Served;
use super::{TlsError, io_error};

/// Where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// Takes the certificate of an earlier run, if it is still good for these names, or makes one.
pub(super) fn take_or_make(folder: &Path, names: &[String]) -> Result<Files, TlsError> {
    let files = Files { cert: folder.join("self-signed.pem"), key: folder.join("self-signed.key") };
    if files.cert.exists() {
        match Served::read(&files.cert, &files.key) {
            Ok(served) if !is_good(&served, names, &folder.join(NAMES)) => {
                info!("the self-signed certificate ends soon, or is for other names: making a new one")
            }
            Ok(_) => return Ok(files),
            Err(fault) => warn!("the self-signed certificate is made anew: {fault}"),
        }
    }
    make(folder, &files, names)?;
    Ok(files)
}

/// The names that one for a server at these addresses is for.
pub(super) fn names_for(addresses: impl Iterator<Item = IpAddr>, hosts: &[String]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(addresses.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.extend(hosts.iter().map(|host| host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).to_owned()));
    names.sort();
    names.dedup();
    names
}

fn is_good(served: &Served, names: &[String], listed: &Path) -> bool {
    let ends_soon = SystemTime::now() + RENEW_BEFORE > UNIX_EPOCH + Duration::from_secs(served.ends_at.max(0).cast_unsigned());
    !ends_soon && fs::read_to_string(listed).is_ok_and(|listed| listed.lines().eq(names.iter().map(String::as_str)))
}

fn make(folder: &Path, files: &Files, names: &[String]) -> Result<(), TlsError> {
    let mut params = CertificateParams::new(names).map_err(TlsError::cannot_make)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "bongsu, self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // The clocks of two machines may differ by as much.
    params.not_before = (SystemTime::now() - Duration::from_secs(24 * 60 * 60)).into();
    params.not_after = (SystemTime::now() + LIFETIME).into();
    let key = KeyPair::generate().map_err(TlsError::cannot_make)?;
    let certificate = params.self_signed(&key).map_err(TlsError::cannot_make)?;
    let private = |path: &Path, text: &str| -> io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error("make", folder))?;
    private(&files.key, &key.serialize_pem()).map_err(io_error("write", &files.key))?;
    fs::write(&files.cert, certificate.pem()).map_err(io_error("write", &files.cert))?;
    let listed = folder.join(NAMES);
    fs::write(&listed, names.join("\n")).map_err(io_error("write", &listed))
}

/// The names that the certificate was made for, a line each: cheaper to compare than what is in it.
const NAMES: &str = "self-signed.names";
/// Longer ones are refused by some clients.
const LIFETIME: Duration = Duration::from_secs(397 * 24 * 60 * 60);
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_between_runs_until_the_names_change() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let names = names_for(std::iter::empty(), &["chat.example:8443".to_owned()]);
        assert_eq!(names, ["127.0.0.1", "::1", "chat.example", "localhost"]);
        let fingerprint = |names: &[String]| {
            let files = take_or_make(folder.path(), names).expect("room on the disk");
            Served::read(&files.cert, &files.key).expect("a pair").fingerprint()
        };
        let first = fingerprint(&names);
        assert_eq!(fingerprint(&names), first);
        assert_ne!(fingerprint(&names[1..]), first);
    }
}
