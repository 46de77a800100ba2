//! TLS on the stream listeners: certificates by name, tickets that all workers share, and what of it can change while the server runs.

mod acme;
mod certificates;
mod fault;
mod link;
mod self_signed;
mod session;
mod stream;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};
use rustls_acme::ResolvesServerCertAcme;
use tokio::sync::watch as signal;
use tracing::{info, warn};

use crate::config::{ClientAuth, Config, TlsSection, TlsVersion};
use crate::worker::Door;
use certificates::{Certificates, read_chain};

pub use certificates::{CertificateFault, Served};
pub use fault::TlsFault;
pub use link::{News, TlsLink};
pub(crate) use stream::TlsStream;
pub(crate) use watch::watch;

/// The TLS of one server.
pub(crate) struct Tls {
    certificates: Arc<Certificates>,
    acme: Option<Arc<ResolvesServerCertAcme>>,
    self_signed: Option<self_signed::Files>,
    current: RwLock<Current>,
    /// What the files looked like that are in force.
    seen: Mutex<watch::Seen>,
}

/// What handshakes go by from now on.
#[derive(Clone)]
struct Current {
    section: TlsSection,
    http: Arc<ServerConfig>,
    lines: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
}

/// TLS cannot be spoken as the configuration asks.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// A folder or file of its own cannot be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no folder to keep something in.
    #[error("there is no folder to keep the certificate in: set data_dir (--data-dir DIR) or tls.state_dir")]
    NoFolder,
    /// The system refused something else.
    #[error("TLS cannot begin: {0}")]
    System(#[from] io::Error),
    /// Something else that is needed cannot be made.
    #[error("TLS cannot begin: {0}")]
    Other(String),
}

impl TlsError {
    fn cannot_make(error: impl ToString) -> Self {
        Self::Other(error.to_string())
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Io { doing, path, source }
}

/// What a person is told about the TLS of a server that has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsNotice {
    /// The SHA-256 of the certificate that is shown first, if one is there yet.
    pub fingerprint: Option<String>,
    /// The file of the self-signed certificate, which clients can be given to trust.
    pub self_signed: Option<PathBuf>,
    /// The names that certificates are obtained for by ACME.
    pub acme: Vec<String>,
}

impl Tls {
    /// Reads or makes what a configuration asks for; nothing if it asks for no TLS. Whatever goes on in the background ends when
    /// `stop` says so.
    pub(crate) fn start(config: &Config, addresses: &[IpAddr], stop: &signal::Sender<bool>) -> Result<Option<Arc<Self>>, TlsError> {
        let section = &config.tls;
        if !config.wants_tls() {
            return Ok(None);
        }
        let self_signed = match section.self_signed {
            true => {
                let names = self_signed::names_for(addresses.iter().copied(), &config.http.hosts);
                Some(self_signed::take_or_make(&folder(config)?, &names)?)
            }
            false => None,
        };
        let acme = match config.acme.domains.is_empty() {
            true => None,
            false => Some(acme::start(&config.acme, folder(config)?.join("acme"), stop.subscribe())?),
        };
        let served = read_all(section, self_signed.as_ref())?;
        tell_ends(&served);
        let certificates = Arc::new(Certificates::new(served, acme.clone()));
        let tickets = new_tickets()?;
        let current = Current::new(section, &certificates, tickets, acme.is_some())?;
        let seen = watch::Seen::of(&files(section, self_signed.as_ref()));
        Ok(Some(Arc::new(Self { certificates, acme, self_signed, current: RwLock::new(current), seen: Mutex::new(seen) })))
    }

    /// What a handshake at this door goes by; nothing if no TLS is spoken there.
    pub(crate) fn of_door(&self, door: Door) -> Option<Arc<ServerConfig>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let speaks = current.section.listeners.iter().any(|listener| listener == door.name());
        speaks.then(|| Arc::clone(if door == Door::Http { &current.http } else { &current.lines }))
    }

    /// For how many seconds browsers are told to come by TLS only; nothing while the certificate vouches for itself.
    pub(crate) fn hsts_seconds(&self) -> Option<u64> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let seconds = current.section.hsts.as_millis() / 1000;
        let is_real = self.certificates.served().first().map_or(self.acme.is_some(), |first| !first.is_self_signed);
        (is_real && seconds > 0).then_some(seconds)
    }

    /// What the authority of ACME is to find under a token (RFC 8555, 8.3).
    pub(crate) fn challenge_answer(&self, token: &str) -> Option<String> {
        self.acme.as_ref()?.get_http_01_key_auth(token)
    }

    /// What a person is told about it.
    pub(crate) fn notice(&self, config: &Config) -> TlsNotice {
        TlsNotice {
            fingerprint: self.certificates.served().first().map(Served::fingerprint),
            self_signed: self.self_signed.as_ref().map(|files| files.cert.clone()),
            acme: config.acme.domains.clone(),
        }
    }

    /// Reads everything again, under a configuration that may have changed. What cannot be used changes nothing. Connections that
    /// stand go on as they are.
    pub(crate) fn reload(&self, section: &TlsSection) -> Result<(), TlsError> {
        let seen = watch::Seen::of(&files(section, self.self_signed.as_ref()));
        // What was looked at is remembered even if it is of no use, so that it is told once.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        let served = read_all(section, self.self_signed.as_ref())?;
        let before = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Who was let in under one authority is not to come back under another by a ticket.
        let same_clients = before.section.client_ca == section.client_ca && before.section.client_auth == section.client_auth;
        let tickets = if same_clients && section.client_ca.is_empty() { before.tickets } else { new_tickets()? };
        let current = Current::new(section, &self.certificates, tickets, self.acme.is_some())?;
        tell_ends(&served);
        let fingerprint = served.first().map(Served::fingerprint);
        self.certificates.replace(served);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        info!(fingerprint, "certificates read again; connections that stand go on");
        Ok(())
    }

    /// Reads everything again if a file has changed.
    pub(crate) fn reload_if_changed(&self) {
        let section = self.current.read().unwrap_or_else(PoisonError::into_inner).section.clone();
        let now = watch::Seen::of(&files(&section, self.self_signed.as_ref()));
        let has_changed = *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != now;
        if has_changed && let Err(error) = self.reload(&section) {
            warn!("a certificate or key has changed and cannot be used, so the one before stays: {error}");
        }
    }
}

impl Current {
    fn new(
        section: &TlsSection,
        certificates: &Arc<Certificates>,
        tickets: Arc<dyn ProducesTickets>,
        with_acme: bool,
    ) -> Result<Self, TlsError> {
        let versions: &[_] = match section.min_version {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(TlsError::cannot_make)?;
        let builder = match section.client_auth {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Optional | ClientAuth::Required => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots(Path::new(&section.client_ca))?));
                let verifier = if section.client_auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(TlsError::cannot_make)?)
            }
        };
        let resolver: Arc<Certificates> = Arc::clone(certificates);
        let mut lines = builder.with_cert_resolver(resolver);
        // Sessions are resumed by tickets alone: no worker remembers a client.
        lines.session_storage = Arc::new(NoServerSessionStorage {});
        lines.ticketer = Arc::clone(&tickets);
        let mut http = lines.clone();
        http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if with_acme {
            http.alpn_protocols.push(rustls_acme::acme::ACME_TLS_ALPN_NAME.to_vec());
        }
        Ok(Self { section: section.clone(), http: Arc::new(http), lines: Arc::new(lines), tickets })
    }
}

/// Keys for tickets, which change every six hours and open those of the six hours before.
fn new_tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::cannot_make)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|error| TlsError::Other(format!("{}: {error}", path.display())))?;
    }
    Ok(roots)
}

/// The pairs of files that are shown, in the order of their weight.
fn pairs(section: &TlsSection, self_signed: Option<&self_signed::Files>) -> Vec<(PathBuf, PathBuf)> {
    let mut pairs = Vec::new();
    if !section.cert.is_empty() {
        pairs.push((PathBuf::from(&section.cert), PathBuf::from(&section.key)));
    }
    pairs.extend(section.certificates.iter().map(|pair| (PathBuf::from(&pair.cert), PathBuf::from(&pair.key))));
    pairs.extend(self_signed.map(|files| (files.cert.clone(), files.key.clone())));
    pairs
}

fn files(section: &TlsSection, self_signed: Option<&self_signed::Files>) -> Vec<PathBuf> {
    let pairs = pairs(section, self_signed).into_iter().flat_map(|(cert, key)| [cert, key]);
    pairs.chain((!section.client_ca.is_empty()).then(|| PathBuf::from(&section.client_ca))).collect()
}

fn read_all(section: &TlsSection, self_signed: Option<&self_signed::Files>) -> Result<Vec<Served>, TlsError> {
    Ok(pairs(section, self_signed).iter().map(|(cert, key)| Served::read(cert, key)).collect::<Result<_, _>>()?)
}

/// Says which certificates nobody will take any more, or soon.
fn tell_ends(served: &[Served]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    for one in served {
        let (names, days) = (one.names.join(", "), (one.ends_at - now).div_euclid(24 * 60 * 60));
        match days {
            ..0 => warn!(
                names,
                days_ago = -days,
                "a certificate has ended, and clients will refuse it: replace its file, which is read by itself"
            ),
            0..ENDS_SOON_DAYS => warn!(names, days, "a certificate ends soon: replace its file, which is read by itself"),
            _ => info!(names, days, "certificate"),
        }
    }
}

/// Where what TLS makes for itself is kept.
fn folder(config: &Config) -> Result<PathBuf, TlsError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match (config.tls.state_dir.as_str(), config.data_dir.as_str()) {
        ("", "") => {
            let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
            Ok(state.ok_or(TlsError::NoFolder)?.join("bongsu/tls"))
        }
        ("", data_dir) => Ok(Path::new(data_dir).join("tls")),
        (state_dir, _) => Ok(PathBuf::from(state_dir)),
    }
}

const ENDS_SOON_DAYS: i64 = 14;
