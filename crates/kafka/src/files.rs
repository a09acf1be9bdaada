//! The files of `kafka.tls`. The library reads them when it makes a client, and never again; so clients are made anew when what
//! the files hold is another.

use std::path::PathBuf;

use parking_lot::Mutex;
use shop_config::Kafka;

use crate::availability::Producer;
use crate::client::{Link, in_our_words};

/// The files of one bus.
pub(crate) struct Files {
    /// The keys that name them, and where they are.
    named: Vec<(&'static str, PathBuf)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What they held when the clients that there are were made; nothing where they could not be read.
    used: Vec<Vec<u8>>,
    /// Why what they held at the last look is not used: the same is said once.
    unfit: Option<String>,
    /// The producer before the last: whoever was sending by it has it, too, and has been answered by the next look.
    retired: Option<Producer>,
}

impl Files {
    /// None when there are no files. They are read, so it may block.
    pub(crate) fn of(settings: &Kafka) -> Option<Self> {
        let tls = &settings.tls;
        let files = [
            ("kafka.tls.ca_file", &tls.ca_file),
            ("kafka.tls.cert_file", &tls.cert_file),
            ("kafka.tls.key_file", &tls.key_file),
        ];
        let named: Vec<_> = files.into_iter().filter_map(|(key, file)| Some((key, file.clone()?))).collect();
        if named.is_empty() || !settings.security_protocol.is_encrypted() {
            return None;
        }
        let files = Self { named, state: Mutex::default() };
        files.state.lock().used = files.read().unwrap_or_default();
        Some(files)
    }

    /// Has the clients of `link` made anew when the files are others than those in use, and can be used. Where that fails it is tried
    /// again with the next look: the library reads them itself, and what was in its way may be over. Reads files and waits for
    /// clients that end, so it blocks.
    pub(crate) fn look(&self, link: &Link) {
        let mut state = self.state.lock();
        state.retired = None;
        let unfit = match self.read() {
            Ok(found) if found == state.used => None,
            Ok(found) => match link.replace() {
                Ok(before) => {
                    tracing::info!("the files of kafka.tls have changed: brokers are spoken to with the new ones");
                    state.retired = Some(before);
                    state.used = found;
                    None
                }
                Err(error) => Some(in_our_words(&error)),
            },
            Err(error) => Some(error),
        };
        if let Some(error) = unfit.as_ref().filter(|_| unfit != state.unfit) {
            tracing::warn!(error, "the files of kafka.tls that were good are used on");
        }
        state.unfit = unfit;
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        let read = |(key, file): &(&str, PathBuf)| {
            std::fs::read(file).map_err(|error| format!("{key} {} cannot be read: {error}", file.display()))
        };
        self.named.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use shop_config::{KafkaTls, SecurityProtocol};
    use shop_events::RetryPolicy;
    use shop_telemetry::Metrics;
    use shop_testing::certificates::{Authority, Folder};

    use super::*;

    #[test]
    fn clients_are_made_anew_for_files_that_changed_and_can_be_used() {
        let (folder, authority) = (Folder::new(), Authority::new());
        let ca_file = Some(folder.put("ca.pem", authority.pem()));
        let (cert_file, key_file) = folder.put_pair("client", &authority.good(&["127.0.0.1"]));
        let (cert_file, key_file) = (Some(cert_file), Some(key_file));
        let settings = Kafka {
            brokers: vec!["127.0.0.1:1".to_owned()],
            security_protocol: SecurityProtocol::Ssl,
            tls: Box::new(KafkaTls { ca_file, cert_file, key_file, ..KafkaTls::default() }),
            ..Kafka::default()
        };
        let link = Link::open(&settings, "test", &Metrics::new("test"), RetryPolicy::default()).expect("a link");
        let files = Files::of(&settings).expect("there are some");
        let times = |expected: u64, why: &str| {
            files.look(&link);
            assert_eq!(*link.anew.borrow(), expected, "{why}");
        };
        times(0, "nothing changed");
        let next = Authority::new().good(&["127.0.0.1"]);
        folder.put("client.crt", &next.cert);
        times(0, "the key is not that of the certificate");
        times(0, "it is still not");
        folder.put("client.key", &next.key);
        times(1, "the pair is good");
        times(1, "it was taken");
        std::fs::remove_file(folder.path().join("ca.pem")).expect("was there");
        times(1, "a file is away");
        folder.put("ca.pem", authority.pem());
        times(1, "it is there again, as it was");
        folder.put("ca.pem", "nothing");
        times(1, "there is no authority in it");
        folder.put("ca.pem", Authority::new().pem());
        times(2, "there is another authority");
    }

    #[test]
    fn there_is_nothing_to_look_at_without_files_or_encryption() {
        assert!(Files::of(&Kafka { security_protocol: SecurityProtocol::Ssl, ..Kafka::default() }).is_none());
        let tls = Box::new(KafkaTls { ca_file: Some("ca.pem".into()), ..KafkaTls::default() });
        assert!(Files::of(&Kafka { tls, ..Kafka::default() }).is_none());
    }
}
