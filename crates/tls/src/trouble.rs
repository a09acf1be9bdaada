//! Why there is no TLS with somebody, in plain words.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Whom a sentence is about, and the settings that mend what it says.
#[derive(Debug, Clone)]
pub struct Peer {
    /// How it is called in the sentence: `the backend`, `db:5432`.
    pub place: String,
    /// Whom its certificate has to be for.
    pub name: String,
    /// What to do when it is for others: `connect by a name that it is for`.
    pub rename: &'static str,
    /// The section of the settings `ca_file`, `cert_file` and `key_file`.
    pub section: &'static str,
}

/// What TLS ran into, as far as who runs the programs can mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The other's certificate is over.
    Expired,
    /// The other's certificate is not yet good, by our clock.
    NotValidYet,
    /// The other's certificate is for these names, as far as they are known.
    OtherName(Vec<String>),
    /// The other's certificate is of nobody that is believed.
    Untrusted,
    /// The other's certificate has another fault.
    Invalid(String),
    /// The other wants a certificate of ours.
    WantsOurs,
    /// The other does not take ours.
    RefusesOurs(String),
    /// The other has no protocol that we speak (ALPN).
    OtherProtocol,
    /// The other does not speak TLS.
    Cleartext,
}

impl Trouble {
    /// What `error` says; nothing when it is of no kind that has a remedy.
    pub fn of(error: &Error) -> Option<Self> {
        Some(match error {
            Error::InvalidCertificate(why) => Self::of_certificate(why),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::Cleartext,
            Error::NoApplicationProtocol => Self::OtherProtocol,
            Error::AlertReceived(alert) => Self::of_alert(*alert)?,
            _ => return None,
        })
    }

    /// What is wrong with a certificate that was shown to us.
    pub fn of_certificate(why: &CertificateError) -> Self {
        use CertificateError as Bad;
        match why {
            Bad::Expired | Bad::ExpiredContext { .. } => Self::Expired,
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => Self::NotValidYet,
            Bad::NotValidForName => Self::OtherName(Vec::new()),
            Bad::NotValidForNameContext { presented, .. } => Self::OtherName(presented.clone()),
            // Another authority of the same name has signed it.
            Bad::UnknownIssuer | Bad::BadSignature => Self::Untrusted,
            other => Self::Invalid(other.to_string()),
        }
    }

    fn of_alert(alert: AlertDescription) -> Option<Self> {
        use AlertDescription as Alert;
        match alert {
            Alert::CertificateRequired | Alert::NoCertificate => Some(Self::WantsOurs),
            Alert::NoApplicationProtocol => Some(Self::OtherProtocol),
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            // Another authority of the same name has signed it.
            | Alert::DecryptError
            | Alert::AccessDenied => Some(Self::RefusesOurs(format!("{alert:?}"))),
            _ => None,
        }
    }

    /// Finds it in an error and what that came from.
    pub fn find(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<Error>() {
                return Self::of(error);
            }
            // The source of one that wraps another is that one's source.
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            next = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    /// What is wrong, and where to mend it.
    pub fn sentence(&self, peer: &Peer) -> String {
        let Peer { place, name, rename, section } = peer;
        match self {
            Self::Expired => format!("the certificate of {place} has expired: renew it there"),
            Self::NotValidYet => {
                format!("the certificate of {place} is not valid yet: look at the clocks here and there")
            }
            Self::OtherName(presented) if presented.is_empty() => {
                format!("the certificate of {place} is not for {name}: {rename}")
            }
            Self::OtherName(presented) => {
                format!("the certificate of {place} is not for {name}, but for {}: {rename}", presented.join(", "))
            }
            Self::Untrusted => format!(
                "the certificate of {place} is of no authority that is trusted here: name its file in {section}.ca_file"
            ),
            Self::Invalid(why) => format!("the certificate of {place} is not valid: {why}"),
            Self::WantsOurs => {
                format!(
                    "{place} wants a certificate of ours: name one in {section}.cert_file and its key in {section}.key_file"
                )
            }
            Self::RefusesOurs(why) => format!("{place} does not take the certificate in {section}.cert_file: {why}"),
            Self::OtherProtocol => format!("{place} does not offer the protocol that is needed (ALPN)"),
            Self::Cleartext => format!("{place} does not speak TLS"),
        }
    }
}
