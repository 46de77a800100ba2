//! Certificates and their keys: read from files, checked, and chosen by the name that a client asks for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_acme::{ResolvesServerCertAcme, is_tls_alpn_challenge};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate that can be shown, and what is known of it.
#[derive(Debug, Clone)]
pub struct Served {
    /// What is shown, and what signs for it.
    pub key: Arc<CertifiedKey>,
    /// The names that it is for, in lower case; some begin with `*.`.
    pub names: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub ends_at: i64,
    /// Whether it vouches for itself, so that no stranger's client trusts it.
    pub is_self_signed: bool,
}

/// The files of a certificate or key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}; check tls.cert, tls.key and tls.certificates, and who may read the file", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// The file holds nothing of what it should.
    #[error("{}: holds no {what} in PEM form", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// What should be there.
        what: &'static str,
    },
    /// The file holds something else.
    #[error("{}: is not what it should be: {error}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// The key belongs to another certificate.
    #[error("{}: is not the key of {}; give the key that the certificate was made with", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl Served {
    /// Reads a chain, the server's own certificate first, and its key.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, CertificateFault> {
        let chain = read_chain(cert)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem_fault(key, "private key", &error))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateFault::KeyMismatch { cert: cert.to_owned(), key: key.to_owned() },
            rustls::Error::InvalidCertificate(_) => malformed(cert, &error),
            _ => malformed(key, &error),
        })?;
        Self::of(certified).map_err(|error| CertificateFault::Malformed { path: cert.to_owned(), error })
    }

    /// What a chain says of itself.
    pub(super) fn of(key: CertifiedKey) -> Result<Self, String> {
        let first = key.cert.first().ok_or("an empty chain")?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|error| error.to_string())?;
        let names = names_of(&parsed);
        let ends_at = parsed.validity().not_after.timestamp();
        let is_self_signed = parsed.issuer() == parsed.subject();
        Ok(Self { names, ends_at, is_self_signed, key: Arc::new(key) })
    }

    /// The SHA-256 of the certificate, as clients show it: `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let Some(first) = self.key.cert.first() else { return String::new() };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, first);
        let mut text = String::with_capacity(95);
        for (index, byte) in digest.as_ref().iter().enumerate() {
            // Writing to a string cannot fail.
            _ = write!(text, "{}{byte:02X}", if index == 0 { "" } else { ":" });
        }
        text
    }
}

/// Reads all certificates of a file.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let fault = |error: pem::Error| pem_fault(path, "certificate", &error);
    let chain = CertificateDer::pem_file_iter(path).map_err(fault)?.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    if chain.is_empty() {
        return Err(CertificateFault::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

fn pem_fault(path: &Path, what: &'static str, error: &pem::Error) -> CertificateFault {
    match error {
        pem::Error::Io(error) => CertificateFault::Unreadable { path: path.to_owned(), error: error.to_string() },
        pem::Error::NoItemsFound => CertificateFault::Empty { path: path.to_owned(), what },
        _ => malformed(path, error),
    }
}

fn malformed(path: &Path, error: &impl ToString) -> CertificateFault {
    CertificateFault::Malformed { path: path.to_owned(), error: error.to_string() }
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// Chooses what to show. All workers and listeners share it; its contents are replaced when the files change.
#[derive(Debug)]
pub(super) struct Certificates {
    /// The first is for whoever asks for no name, or for one that none is for.
    served: RwLock<Arc<Vec<Served>>>,
    acme: Option<Arc<ResolvesServerCertAcme>>,
}

impl Certificates {
    pub(super) fn new(served: Vec<Served>, acme: Option<Arc<ResolvesServerCertAcme>>) -> Self {
        Self { served: RwLock::new(Arc::new(served)), acme }
    }

    /// Shows these from the next handshake on.
    pub(super) fn replace(&self, served: Vec<Served>) {
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }

    /// What is shown now.
    pub(super) fn served(&self) -> Arc<Vec<Served>> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.served();
        if is_tls_alpn_challenge(&hello) {
            return self.acme.as_ref()?.resolve(hello);
        }
        let found = hello.server_name().and_then(|name| {
            let matching = || served.iter().filter(|one| one.names.iter().any(|known| covers(known, name)));
            // A name may have two certificates, of which an old client can only check one.
            let suits = |one: &&Served| one.key.key.choose_scheme(hello.signature_schemes()).is_some();
            matching().find(suits).or_else(|| matching().next())
        });
        match (found, &self.acme) {
            (Some(found), _) => Some(Arc::clone(&found.key)),
            (None, Some(acme)) => acme.resolve(hello).or_else(|| served.first().map(|first| Arc::clone(&first.key))),
            (None, None) => served.first().map(|first| Arc::clone(&first.key)),
        }
    }
}

/// Whether a certificate's name is for the one asked for: a `*` stands for exactly one label (RFC 9525, 6.3).
fn covers(known: &str, name: &str) -> bool {
    match known.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => known.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(covers("*.chat.example", "a.chat.example") && covers("*.chat.example", "A.CHAT.example"));
        assert!(!covers("*.chat.example", "chat.example") && !covers("*.chat.example", "a.b.chat.example"));
        assert!(covers("chat.example", "Chat.Example") && !covers("chat.example", "a.chat.example"));
        assert!(!covers("*.chat.example", ".chat.example"));
    }

    #[test]
    fn what_is_wrong_with_files_is_told() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = |name: &str| folder.path().join(name);
        let make = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
            std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).expect("written");
            std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).expect("written");
        };
        make("a.example");
        make("b.example");
        let served = Served::read(&path("a.example.pem"), &path("a.example.key")).expect("a pair");
        assert_eq!(served.names, ["a.example"]);
        assert_eq!(served.fingerprint().len(), 95);
        let told = |cert: &str, key: &str| Served::read(&path(cert), &path(key)).expect_err("no pair").to_string();
        assert!(told("a.example.pem", "b.example.key").contains("is not the key of"));
        assert!(told("none.pem", "a.example.key").contains("none.pem: cannot be read"));
        assert!(told("a.example.key", "a.example.key").contains("holds no certificate"));
        assert!(told("a.example.pem", "a.example.pem").contains("holds no private key"));
    }
}
