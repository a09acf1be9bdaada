//! What is wrong with a broker's certificate. The client library says only that it does not take it; so it is asked for once more
//! and looked at by a library that says why.

use std::fs::File;
use std::io::BufReader;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use shop_config::KafkaTls;

/// For each step of the look.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the certificate of the broker at `address`, and says in a sentence what is wrong with it.
pub(crate) fn certificate(address: &str, tls: &KafkaTls) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let authority = match &tls.ca_file {
        Some(file) => format!("an authority in kafka.tls.ca_file ({})", file.display()),
        None => "an authority that this machine knows: name your own in kafka.tls.ca_file".to_owned(),
    };
    match look(address, host, tls.ca_file.as_deref()) {
        Look::Refused(CertificateError::UnknownIssuer) => {
            format!("the certificate of the broker at {address} is not from {authority}")
        }
        Look::Refused(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => format!(
            "the certificate of the broker at {address} is not for {host}: name the broker in kafka.brokers, and in its \
             advertised.listeners, as its certificate does"
        ),
        Look::Refused(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of the broker at {address} has expired")
        }
        Look::Refused(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            format!("the certificate of the broker at {address} is not valid yet: look at the clocks")
        }
        Look::Refused(other) => format!("the certificate of the broker at {address} is not good: {other}"),
        Look::Taken | Look::Nothing => {
            format!("the certificate of the broker at {address} is not from {authority}, or not for {host}")
        }
    }
}

/// Whether the broker at `address` answers in TLS, whatever its certificate.
pub(crate) fn speaks_tls(address: &str) -> bool {
    match look(address, "localhost", None) {
        Look::Taken | Look::Refused(_) => true,
        Look::Nothing => false,
    }
}

/// What a look at a broker found.
enum Look {
    /// A certificate that nothing is wrong with.
    Taken,
    Refused(CertificateError),
    /// No certificate: nobody answers, or not in TLS.
    Nothing,
}

fn look(address: &str, host: &str, ca_file: Option<&Path>) -> Look {
    match shake_hands(address, host, ca_file) {
        Some(Ok(())) => Look::Taken,
        Some(Err(rustls::Error::InvalidCertificate(error))) => Look::Refused(error),
        Some(Err(_)) | None => Look::Nothing,
    }
}

/// None when it does not come to TLS's own mistakes.
fn shake_hands(address: &str, host: &str, ca_file: Option<&Path>) -> Option<Result<(), rustls::Error>> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let certificates = CertificateDer::pem_reader_iter(BufReader::new(File::open(file).ok()?));
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(client), name).ok()?;
    let mut stream = address.to_socket_addrs().ok()?.find_map(|at| TcpStream::connect_timeout(&at, PATIENCE).ok())?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    match connection.complete_io(&mut stream) {
        Ok(_) => Some(Ok(())),
        Err(error) => error.get_ref()?.downcast_ref::<rustls::Error>().cloned().map(Err),
    }
}
