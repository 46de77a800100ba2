//! What can be wrong with a configuration, and how each thing is told.

use super::Origin;

/// All that is wrong with a configuration. Printed a fault a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// At least one, in the order in which the sources were read.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("{name}: cannot read the configuration: {reason}")]
    Unreadable {
        /// The file as it was given.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{origin}: not TOML: {reason}")]
    NotToml {
        /// The line.
        origin: Origin,
        /// What the parser said.
        reason: String,
    },
    /// No such key.
    #[error("{origin}: unknown key {key}; the nearest known one is {nearest}")]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// As it was written.
        key: String,
        /// A key that may have been meant.
        nearest: String,
    },
    /// No key of this name in the environment.
    #[error("environment: unknown variable {name}; the nearest known one is {nearest}")]
    UnknownVariable {
        /// As it was written.
        name: String,
        /// A variable that may have been meant.
        nearest: String,
    },
    /// A value of the wrong type, or out of its range.
    #[error("{origin}: {key} = {value} is not allowed; allowed: {allowed}")]
    BadValue {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The value as it was written.
        value: String,
        /// What would have been right.
        allowed: String,
    },
    /// Two keys that must be in order are not.
    #[error("{low} = {low_value} must not be greater than {high} = {high_value}; change either")]
    Disagree {
        /// The key that should have the smaller value.
        low: &'static str,
        /// Its value.
        low_value: String,
        /// The key that should have the greater value.
        high: &'static str,
        /// Its value.
        high_value: String,
    },
    /// Datagrams would leave this machine unencrypted, and nobody said that they may.
    #[error(
        "listen.udp = {address}: over UDP nothing is encrypted, so that beyond this machine it must be asked for: \
         --udp-cleartext, or udp.cleartext = true; else listen at 127.0.0.1, or say off"
    )]
    UdpInTheClear {
        /// Where it would listen.
        address: std::net::SocketAddr,
    },
    /// The PROXY protocol is asked for, and nobody may speak it.
    #[error("proxy.{listener} asks for the PROXY protocol and proxy.trusted is empty, so nobody could speak it; list your proxies there")]
    NobodyTrusted {
        /// The listener.
        listener: &'static str,
    },
    /// Every listener is off.
    #[error("every listener is off, so nobody could connect; give listen.http an address such as 127.0.0.1:8080")]
    NobodyListens,
    /// A file is not named that another key makes necessary.
    #[error("{missing} = \"\" cannot be, since {because}; name the file")]
    NeedsFile {
        /// The key without a file.
        missing: &'static str,
        /// Why it needs one.
        because: &'static str,
    },
    /// ACME is to look at port 80, where nobody listens.
    #[error("acme.challenge = \"http-01\" needs somebody who answers; set listen.redirect to an address that port 80 leads to")]
    NobodyAnswersAcme,
    /// There is a listener that leads to TLS, and no TLS.
    #[error("listen.redirect leads to https://, which is not spoken; set tls.cert and tls.key, tls.self_signed or acme.domains")]
    NobodyIsLedTo,
}

impl std::fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFault {}

impl From<Fault> for ConfigFault {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }
}
