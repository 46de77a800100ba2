//! The sections about TLS: `[tls]` and `[acme]`.

use serde::{Deserialize, Serialize};

use super::section::{self, section};
use super::{Config, Fault, Period};

section! {
    /// Encryption, on every stream listener at its own address, once there is a certificate.
    Tls {
        /// The file with the certificate chain in PEM form. Empty: none.
        cert: String = String::new();
        /// The file with its private key in PEM form.
        key: String = String::new();
        /// Further certificates, chosen by the name that a client asks for.
        certificates: Vec<CertificateFiles> = Vec::new();
        /// Whether to make a certificate that vouches for itself.
        self_signed: bool = false;
        /// The listeners that speak TLS.
        listeners: Vec<String> = LISTENERS.map(str::to_owned).to_vec();
        /// The oldest version that is spoken.
        min_version: TlsVersion = TlsVersion::Tls12;
        /// How long a handshake may take.
        handshake_timeout: Period = Period::secs(10), in Period::millis(10)..=Period::hours(1);
        /// Whether clients have to show a certificate.
        client_auth: ClientAuth = ClientAuth::Off;
        /// The file with the certificates that sign those of clients. Empty: none.
        client_ca: String = String::new();
        /// For how long browsers are told to come by TLS only.
        hsts: Period = Period::days(365), in Period::millis(0)..=Period::days(36_525);
        /// How often the files are looked at.
        reload_interval: Period = Period::secs(5), in Period::millis(10)..=Period::days(1);
        /// Where what TLS makes for itself is kept. Empty: in the data directory, or the user's state directory.
        state_dir: String = String::new();
    }
}

section! {
    /// Certificates that are obtained and renewed by ACME (RFC 8555), as Let's Encrypt gives them.
    Acme {
        /// The names to obtain a certificate for. Empty: ACME is off.
        domains: Vec<String> = Vec::new();
        /// The mail addresses that the authority may write to.
        contact: Vec<String> = Vec::new();
        /// The authority's directory.
        directory: String = "https://acme-v02.api.letsencrypt.org/directory".to_owned();
        /// How the authority sees that the names are ours.
        challenge: AcmeChallenge = AcmeChallenge::TlsAlpn01;
        /// The file with the certificate that vouches for the directory itself. Empty: the usual authorities do.
        ca: String = String::new();
    }
}

/// A certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The file with the chain in PEM form.
    pub cert: String,
    /// The file with the private key in PEM form.
    pub key: String,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// Who shows one must show a good one.
    Optional,
    /// Nobody comes in without.
    Required,
}

/// How an authority sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcmeChallenge {
    /// By a handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a request on port 80 (RFC 8555, 8.3).
    #[serde(rename = "http-01")]
    Http01,
}

impl Config {
    /// Whether TLS is spoken at all.
    pub fn wants_tls(&self) -> bool {
        let tls = &self.tls;
        tls.self_signed || !tls.cert.is_empty() || !tls.certificates.is_empty() || !self.acme.domains.is_empty()
    }

    /// What is wrong with a value of `[tls]`: key, value and what is allowed.
    pub(super) fn check_tls(&self, report: &mut dyn FnMut(&str, String, String)) {
        for listener in self.tls.listeners.iter().filter(|listener| !LISTENERS.contains(&listener.as_str())) {
            report("listeners", format!("{listener:?}"), format!("names of listeners: {}", LISTENERS.join(", ")));
        }
    }

    /// What is wrong between these keys, and with others.
    pub(super) fn check_tls_together(&self) -> Vec<Fault> {
        let (tls, acme) = (&self.tls, &self.acme);
        let mut faults = Vec::new();
        match (tls.cert.is_empty(), tls.key.is_empty()) {
            (true, false) => faults.push(Fault::NeedsFile { missing: "tls.cert", because: "tls.key is set" }),
            (false, true) => faults.push(Fault::NeedsFile { missing: "tls.key", because: "tls.cert is set" }),
            _ => (),
        }
        if tls.client_auth != ClientAuth::Off && tls.client_ca.is_empty() {
            faults.push(Fault::NeedsFile { missing: "tls.client_ca", because: "tls.client_auth asks for certificates of clients" });
        }
        if acme.challenge == AcmeChallenge::Http01 && !acme.domains.is_empty() && self.listen.redirect.address().is_none() {
            faults.push(Fault::NobodyAnswersAcme);
        }
        if self.listen.redirect.address().is_some() && !self.wants_tls() {
            faults.push(Fault::NobodyIsLedTo);
        }
        faults
    }
}

/// The listeners that can speak TLS.
const LISTENERS: [&str; 3] = ["http", "tcp", "stomp"];
