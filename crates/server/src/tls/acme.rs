//! Certificates by ACME (RFC 8555), obtained and renewed on a thread of their own. `rustls-acme` speaks the protocol.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::caches::DirCache;
use rustls_acme::{AcmeConfig, AcmeState, ResolvesServerCertAcme, UseChallenge};
use tokio::sync::watch;
use tracing::{error, info};

use super::certificates::read_chain;
use super::{TlsError, io_error};
use crate::config::{Acme, AcmeChallenge};

/// Begins to look after the certificates, and returns what shows them. It ends with the process, or when `stop` is dropped.
pub(super) fn start(config: &Acme, folder: PathBuf, mut stop: watch::Receiver<bool>) -> Result<Arc<ResolvesServerCertAcme>, TlsError> {
    // What is kept there are keys, and the cache leaves it to the folder who may read them.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io_error("make", &folder))?;
    let challenge = match config.challenge {
        AcmeChallenge::TlsAlpn01 => UseChallenge::TlsAlpn01,
        AcmeChallenge::Http01 => UseChallenge::Http01,
    };
    let contact = config.contact.iter().map(|one| if one.contains(':') { one.clone() } else { format!("mailto:{one}") });
    let acme = match config.ca.as_str() {
        "" => AcmeConfig::new(&config.domains),
        ca => AcmeConfig::new_with_client_config(&config.domains, trusting(Path::new(ca))?),
    };
    let state = acme.contact(contact).directory(&config.directory).challenge_type(challenge).cache(DirCache::new(folder)).state();
    let resolver = state.resolver();
    let domains = config.domains.join(", ");
    let work = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            tokio::select! {
                () = look_after(state, &domains) => (),
                _ = stop.wait_for(|stop| *stop) => (),
            }
        });
    };
    std::thread::Builder::new().name("acme".to_owned()).spawn(work)?;
    Ok(resolver)
}

/// Tells what becomes of each order. What fails is tried again, after longer and longer pauses.
async fn look_after<EC: std::fmt::Debug + 'static, EA: std::fmt::Debug + 'static>(mut state: AcmeState<EC, EA>, domains: &str) {
    while let Some(event) = state.next().await {
        match event {
            Ok(event) => info!(domains, ?event, "acme"),
            Err(fault) => error!(domains, "acme: {fault:?}; it is tried again"),
        }
    }
}

/// A client that trusts the certificates of a file, for a directory that no public authority vouches for.
fn trusting(ca: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(read_chain(ca)?);
    if added == 0 {
        return Err(TlsError::cannot_make(format!("{}: holds no certificate that can be trusted", ca.display())));
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
