//! TLS to a server: its files, and what its failures mean.

use std::path::Path;

use anyhow::{Context, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shop_config::Database;
use shop_tls::{Peer, Trouble};

/// Refuses files that no connection could be made with. Each connection reads them again, so that renewed ones are used.
pub(crate) fn check_files(settings: &Database) -> anyhow::Result<()> {
    for (key, file) in [("ca_file", &settings.ca_file), ("cert_file", &settings.cert_file)] {
        if let Some(file) = file {
            let pem = read(key, file)?;
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let certificates = certificates.with_context(|| format!("database.{key} {}", file.display()))?;
            ensure!(!certificates.is_empty(), "database.{key} {} has no certificate in PEM", file.display());
        }
    }
    if let Some(file) = &settings.key_file {
        let key = PrivateKeyDer::from_pem_slice(&read("key_file", file)?);
        key.with_context(|| format!("database.key_file {} has no private key in PEM", file.display()))?;
    }
    Ok(())
}

fn read(key: &str, file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("could not read database.{key} {}", file.display()))
}

/// Why there is no TLS to the server at `place`, if that is what an error says: no later attempt would be better.
pub(crate) fn failure(error: &sqlx::Error, place: &str) -> Option<String> {
    match error {
        sqlx::Error::Tls(error) if error.downcast_ref::<rustls::Error>().is_none() => Some(format!(
            "there is no TLS to {place} ({error}): turn it on there, or say with database.ssl_mode (sslmode in the url) that it is not wanted"
        )),
        sqlx::Error::Tls(error) => error.downcast_ref().and_then(|error| in_words(error, place)),
        sqlx::Error::Io(error) => in_words(error.get_ref()?.downcast_ref()?, place),
        _ => None,
    }
}

fn in_words(error: &rustls::Error, place: &str) -> Option<String> {
    // `PostgreSQL at host:port`.
    let server = place.rsplit(' ').next().unwrap_or(place);
    let name = server.rsplit_once(':').map_or(server, |(host, _)| host).to_owned();
    let peer = Peer { place: place.to_owned(), name, rename: "connect by a name that it is for", section: "database" };
    Some(Trouble::of(error)?.sentence(&peer))
}
