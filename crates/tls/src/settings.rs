//! How a service and its callers and neighbours know each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems, Var};

use crate::certificate::Certificate;
use crate::client::{ClientTls, Unfit};
use crate::name::Name;
use crate::server::{Clients, NoServer, Server};

/// TLS of a service: what it shows to those that call it and to those that it calls, and whom it believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// PEM file with the certificate and those between it and the authority, in this order. With it HTTP and gRPC are served
    /// over TLS, and nothing is in cleartext but the listener `operations`. Neighbours that ask for one are shown it too.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key_file: Option<PathBuf>,
    /// PEM file with the authorities whose certificates neighbours may show that are called with `https://`. Without it those
    /// are that the system trusts, and the public ones.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the authorities whose certificates callers have to show (mTLS). Without it callers need none.
    pub client_ca_file: Option<PathBuf>,
    /// Whom callers' certificates have to be for: hosts' names, or URIs such as `spiffe://shop/ns/default/sa/gateway`. Anybody
    /// whom those authorities vouch for when there are none.
    pub client_names: Vec<String>,
    /// How often the files of the listeners are read to see whether they changed, besides on SIGHUP. Certificates are replaced
    /// days before they expire, so ten seconds are soon, and reading small files costs nothing. Those for neighbours are read
    /// with each connection.
    pub reload_interval: Duration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            ca_file: None,
            client_ca_file: None,
            client_names: Vec::new(),
            reload_interval: Duration::secs(10),
        }
    }
}

impl TlsSettings {
    /// The variables of this section, when it is at the top level as `tls`.
    pub fn vars() -> [Var; 5] {
        [
            Var::new("TLS_CERT_FILE", "tls.cert_file", "PEM file with the certificate; no TLS when unset"),
            Var::new("TLS_KEY_FILE", "tls.key_file", "PEM file with its key"),
            Var::new("TLS_CA_FILE", "tls.ca_file", "PEM file with the authorities of neighbours' certificates"),
            Var::new("TLS_CLIENT_CA_FILE", "tls.client_ca_file", "PEM file with those of callers' certificates (mTLS)"),
            Var::new(
                "TLS_CLIENT_NAMES",
                "tls.client_names",
                "whom callers' certificates have to be for, comma between",
            ),
        ]
    }

    /// Whether the service's listeners speak TLS.
    pub const fn is_on(&self) -> bool {
        self.cert_file.is_some()
    }

    /// Refuses what makes no sense and files that cannot be used. `section` is the dotted key of this section.
    pub fn check(&self, section: &str, problems: &mut Problems) {
        problems.within(section, |p| {
            self.client(None).check(p);
            p.ensure(!self.reload_interval.is_zero(), "reload_interval", "must be more than 0");
            let alone = "has no effect without TLS: name cert_file and key_file of that section too";
            p.ensure(self.client_ca_file.is_none() || self.is_on(), "client_ca_file", alone);
            let nobody = "has no effect: callers show certificates when client_ca_file of that section is set";
            p.ensure(self.client_names.is_empty() || self.client_ca_file.is_some(), "client_names", nobody);
            for name in &self.client_names {
                if let Err(error) = name.parse::<Name>() {
                    p.add("client_names", error.to_string());
                }
            }
            if let Some(certificate) = self.certificate() {
                certificate.check_files(p);
            }
            for (key, file) in [("ca_file", &self.ca_file), ("client_ca_file", &self.client_ca_file)] {
                let Some(file) = file else { continue };
                if let Err(error) = crate::AuthoritiesFile::read(file).and_then(|found| found.parse(file)) {
                    p.add(key, error.to_string());
                }
            }
        });
    }

    fn certificate(&self) -> Option<Certificate> {
        let (cert_file, key_file) = self.cert_file.clone().zip(self.key_file.clone())?;
        Some(Certificate { cert_file, key_file })
    }

    /// How a neighbour is called. Its certificate has to be for `server_name`, or else for the host that is called.
    pub fn client(&self, server_name: Option<&str>) -> ClientTls {
        ClientTls {
            ca_file: self.ca_file.clone(),
            server_name: server_name.map(ToOwned::to_owned),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    /// The TLS of the listeners, if there is any, with the files as they are now. `expires` is told until when the
    /// certificate in use is valid, in Unix seconds.
    pub fn server(&self, expires: impl Fn(i64) + Send + Sync + 'static) -> Result<Option<Server>, Unfit> {
        let Some(certificate) = self.certificate() else { return Ok(None) };
        let names = self.client_names.iter().map(|name| name.parse()).collect::<Result<_, _>>();
        let names = names.map_err(|error: crate::InvalidName| Unfit { key: "client_names", why: error.to_string() })?;
        let clients = self.client_ca_file.clone();
        let clients = clients.map(|authorities| Clients { authorities, is_required: true, names });
        Server::new(vec![certificate], clients, move |_, at| expires(at)).map(Some).map_err(|error| {
            let key = match &error {
                NoServer::Certificate(error) => error.key(),
                NoServer::Authorities(_) => "client_ca_file",
                NoServer::Empty | NoServer::Rest(_) => "cert_file",
            };
            Unfit { key, why: error.to_string() }
        })
    }
}
