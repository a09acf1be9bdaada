//! Certificates that are replaced while events are under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shop_events::Bus as _;
use shop_testing::backend::{Cluster, Listener};
use shop_testing::certificates::Folder;
use shop_testing::eventually;

use crate::load::{Group, Ledger, Publishing};
use crate::place::TURN;
use crate::secure::good;

const LONG: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_shown_as_soon_as_its_file_has_it() {
    let _turn = TURN.lock().await;
    let Some(cluster) = Cluster::start(1).await else { return };
    let folder = Folder::new();
    // The key first: until the certificate is there, too, the two do not go together.
    let put = |name: &str| {
        for end in ["key", "pem"] {
            let text = std::fs::read_to_string(cluster.file(&format!("{name}.{end}"))).expect("is there");
            folder.put(&format!("shop.{end}"), &text);
        }
    };
    put("client");
    let mut settings = good(&cluster, Listener::Mutual, "files.");
    settings.tls.cert_file = Some(folder.path().join("shop.pem"));
    settings.tls.key_file = Some(folder.path().join("shop.key"));
    let ledger = Arc::new(Ledger::default());
    let group = Group::of(&settings, &ledger, 2);
    let publishing = Publishing::start(group.first(), &BTreeMap::new());
    group.goes_on().await;
    put("stranger");
    eventually!(within LONG, {
        let said = group.first().check().await.err().map(|error| error.to_string());
        let told = said.as_ref().is_some_and(|said| said.contains("does not take the certificate of kafka.tls.cert_file"));
        if told { Ok(()) } else { Err(format!("{said:?}")) }
    });
    put("other");
    group.goes_on().await;
    eventually!(within LONG, group.first().check().await);
    put("client");
    group.goes_on().await;
    let last = publishing.stop().await;
    group.has_all(&last).await;
    group.stop().await;
}
