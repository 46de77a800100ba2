//! What a peer can do wrong about TLS, by name. The link finds it, the worker counts it, and an alert has told the peer.

use rustls::{AlertDescription, Error, PeerIncompatible};

/// A fault of the peer, or of what it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// It speaks only versions of TLS that are not spoken here.
    #[error("no version of TLS in common; the client must speak TLS 1.2 or 1.3")]
    NoCommonVersion,
    /// It has no cipher suite, group or signature that is spoken here.
    #[error("no cipher suite, group or signature scheme in common; the client's are too old")]
    NoCommonCipher,
    /// It named none of the protocols that are spoken on this listener.
    #[error("no protocol in common (ALPN); offer h2 or http/1.1 to the http listener, and none to the others")]
    NoCommonProtocol,
    /// It should have shown a certificate.
    #[error("the client showed no certificate, which tls.client_auth = \"required\" asks for")]
    NoClientCertificate,
    /// The certificate that it showed is not good.
    #[error("the client's certificate is not signed by tls.client_ca, or is out of date")]
    BadClientCertificate,
    /// It does not trust our certificate.
    #[error("the client does not trust the certificate of this server; give it the certificate's issuer")]
    Distrusted,
    /// It ended the handshake for a reason of its own.
    #[error("the client ended the session with an alert")]
    Alert,
    /// It was gone in the midst of the handshake.
    #[error("the client was gone in the midst of the handshake")]
    CutOff,
    /// It took too long.
    #[error("the handshake took longer than tls.handshake_timeout")]
    Timeout,
    /// A message or record was larger than any may be.
    #[error("a TLS message larger than any may be")]
    TooLarge,
    /// Something did not decrypt to what it claimed to be.
    #[error("a TLS record that does not decrypt")]
    Decrypt,
    /// So much was sent under one key that no more may be.
    #[error("the session has sent all that its keys may carry")]
    Exhausted,
    /// No certificate is there to show yet.
    #[error("there is no certificate for the name that the client asked for yet")]
    NoCertificate,
    /// It broke the rules of TLS in another way.
    #[error("the client broke the rules of TLS")]
    Protocol,
}

impl TlsFault {
    /// The name under which it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCommonVersion => "tls-no-common-version",
            Self::NoCommonCipher => "tls-no-common-cipher",
            Self::NoCommonProtocol => "tls-no-common-protocol",
            Self::NoClientCertificate => "tls-no-client-certificate",
            Self::BadClientCertificate => "tls-bad-client-certificate",
            Self::Distrusted => "tls-distrusted",
            Self::Alert => "tls-alert",
            Self::CutOff => "tls-cut-off",
            Self::Timeout => "tls-handshake-timeout",
            Self::TooLarge => "tls-too-large",
            Self::Decrypt => "tls-decrypt",
            Self::Exhausted => "tls-exhausted",
            Self::NoCertificate => "tls-no-certificate",
            Self::Protocol => "tls-protocol",
        }
    }

    /// What an error of rustls says about the peer.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled) => {
                Self::NoCommonVersion
            }
            // RFC 5246, 7.4.1.4.1: who speaks nothing newer than TLS 1.1 does not send it.
            Error::PeerIncompatible(
                PeerIncompatible::SignatureAlgorithmsExtensionRequired | PeerIncompatible::SupportedVersionsExtensionRequired,
            ) => Self::NoCommonVersion,
            Error::PeerIncompatible(_) => Self::NoCommonCipher,
            Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::NoCertificatesPresented => Self::NoClientCertificate,
            Error::InvalidCertificate(_) => Self::BadClientCertificate,
            Error::AlertReceived(alert) if is_distrust(*alert) => Self::Distrusted,
            Error::AlertReceived(_) => Self::Alert,
            Error::DecryptError => Self::Decrypt,
            Error::PeerSentOversizedRecord => Self::TooLarge,
            Error::General(text) if text.contains("no server certificate chain resolved") => Self::NoCertificate,
            _ => Self::Protocol,
        }
    }
}

/// What a client says that cannot check our certificate (RFC 8446, 6.2).
fn is_distrust(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
    )
}
