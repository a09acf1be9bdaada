//! Servers and clients of this crate shake hands with each other, by good files and by bad ones.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use shop_testing::certificates::{Authority, Folder, Pair};
use shop_tls::{Certificate, Client, ClientTls, Clients, H2, Peer, Server, TlsSettings, Trouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const GATEWAY: &str = "spiffe://shop/ns/default/sa/gateway";
const PRODUCT: &str = "spiffe://shop/ns/default/sa/product";

/// A server that says what it hears.
async fn serve(server: Arc<Server>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = server.accept(stream).await else { return };
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
            });
        }
    });
    addr
}

fn server(folder: &Folder, pair: &Pair, clients: Option<(&Authority, &[&str])>) -> Arc<Server> {
    let (cert_file, key_file) = folder.put_pair("server", pair);
    let clients = clients.map(|(authority, names)| Clients {
        authorities: folder.put("clients.crt", authority.pem()),
        is_required: true,
        names: names.iter().map(|name| name.parse().expect("a name")).collect(),
    });
    Arc::new(Server::new(vec![Certificate { cert_file, key_file }], clients, |_, _| {}).expect("good files"))
}

fn client(folder: &Folder, authority: &Authority, name: Option<&str>, pair: Option<&Pair>) -> Client {
    let (cert_file, key_file) = pair.map(|pair| folder.put_pair("client", pair)).unzip();
    let ca_file = Some(folder.put("ca.crt", authority.pem()));
    let server_name = name.map(str::to_owned);
    Client::open(ClientTls { ca_file, server_name, cert_file, key_file }, H2).expect("good files")
}

/// A byte there and back.
async fn talk<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.write_all(b"x").await?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await.map(drop)
}

async fn call(client: &Client, addr: SocketAddr) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let mut stream = TlsConnector::from(client.config()).connect(name, stream).await?;
    talk(&mut stream).await?;
    Ok(stream)
}

fn trouble(result: io::Result<tokio_rustls::client::TlsStream<TcpStream>>) -> Trouble {
    let error = result.expect_err("nothing comes of it");
    Trouble::find(&error).unwrap_or_else(|| panic!("it has a remedy: {error}"))
}

#[tokio::test]
async fn a_workload_is_taken_by_its_name_whatever_its_address() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let addr = serve(server(&folder, &authority.good(&[PRODUCT]), None)).await;
    call(&client(&folder, &authority, Some(PRODUCT), None), addr).await.expect("it is product");
    let other = trouble(call(&client(&folder, &authority, Some(GATEWAY), None), addr).await);
    assert_eq!(other, Trouble::OtherName(vec![PRODUCT.to_owned()]));
    let stranger = Authority::new();
    assert_eq!(
        trouble(call(&client(&folder, &stranger, Some(PRODUCT), None), addr).await),
        Trouble::Untrusted,
        "a name alone is nothing"
    );
    let expired = serve(server(&folder, &authority.expired(&[PRODUCT]), None)).await;
    assert_eq!(trouble(call(&client(&folder, &authority, Some(PRODUCT), None), expired).await), Trouble::Expired);
}

#[tokio::test]
async fn a_host_is_taken_by_its_name_or_address() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let addr = serve(server(&folder, &authority.good(&["127.0.0.1", "product.shop"]), None)).await;
    call(&client(&folder, &authority, None, None), addr).await.expect("it is the one at that address");
    let early = serve(server(&folder, &authority.pair(&["127.0.0.1"], (2090, 2100)), None)).await;
    assert_eq!(trouble(call(&client(&folder, &authority, None, None), early).await), Trouble::NotValidYet);
    let elsewhere = serve(server(&folder, &authority.good(&["basket.shop"]), None)).await;
    let other = trouble(call(&client(&folder, &authority, None, None), elsewhere).await);
    let Trouble::OtherName(presented) = &other else { panic!("{other:?}") };
    assert!(presented.iter().any(|name| name.contains("basket.shop")), "{presented:?}");
}

#[tokio::test]
async fn clients_are_let_in_by_name() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let pair = authority.good(&["127.0.0.1"]);
    let addr = serve(server(&folder, &pair, Some((&authority, &[GATEWAY, "basket.shop"])))).await;
    for name in [GATEWAY, "basket.shop"] {
        let shown = authority.good(&[name]);
        call(&client(&folder, &authority, None, Some(&shown)), addr).await.expect(name);
    }
    for (shown, refused) in [
        (authority.good(&[PRODUCT]), "AccessDenied"),
        (authority.expired(&[GATEWAY]), "CertificateExpired"),
        (Authority::new().good(&[GATEWAY]), "DecryptError"),
    ] {
        let told = trouble(call(&client(&folder, &authority, None, Some(&shown)), addr).await);
        assert!(matches!(&told, Trouble::RefusesOurs(why) if why == refused), "{refused}: {told:?}");
    }
    assert_eq!(trouble(call(&client(&folder, &authority, None, None), addr).await), Trouble::WantsOurs);
}

#[tokio::test]
async fn files_are_taken_over_when_they_are_good_and_connections_go_on() {
    let (old, new, folder) = (Authority::new(), Authority::new(), Folder::new());
    let server = server(&folder, &old.good(&["127.0.0.1"]), Some((&old, &[])));
    let addr = serve(server.clone()).await;
    let client = client(&folder, &old, None, Some(&old.good(&[GATEWAY])));
    let mut kept = call(&client, addr).await.expect("both are of the old one");

    folder.put_pair("server", &Pair { cert: "nothing".to_owned(), ..new.good(&["127.0.0.1"]) });
    folder.put("clients.crt", "nothing");
    server.reload();
    call(&client, addr).await.expect("what is not good is not used");

    folder.put_pair("server", &new.good(&["127.0.0.1"]));
    folder.put("clients.crt", new.pem());
    server.reload();
    assert_eq!(trouble(call(&client, addr).await), Trouble::Untrusted);
    folder.put("ca.crt", new.pem());
    assert!(matches!(trouble(call(&client, addr).await), Trouble::RefusesOurs(_)), "the client has the old pair");
    folder.put_pair("client", &new.good(&[GATEWAY]));
    call(&client, addr).await.expect("both are of the new one, by the files as they are now");
    folder.put("ca.crt", "nothing");
    call(&client, addr).await.expect("what is not good is not used here either");
    talk(&mut kept).await.expect("who is connected stays so");
}

#[test]
fn what_is_wrong_is_told_with_its_remedy() {
    let peer = Peer {
        place: "product:50050".to_owned(),
        name: "product".to_owned(),
        rename: "say in server_name whom it is for",
        section: "tls",
    };
    for (trouble, words) in [
        (Trouble::Expired, "the certificate of product:50050 has expired: renew it there"),
        (
            Trouble::OtherName(vec!["basket".to_owned()]),
            "the certificate of product:50050 is not for product, but for basket: say in server_name whom it is for",
        ),
        (
            Trouble::Untrusted,
            "the certificate of product:50050 is of no authority that is trusted here: name its file in tls.ca_file",
        ),
        (
            Trouble::WantsOurs,
            "product:50050 wants a certificate of ours: name one in tls.cert_file and its key in tls.key_file",
        ),
    ] {
        assert_eq!(trouble.sentence(&peer), words);
    }
}

#[test]
fn settings_that_cannot_work_are_told_by_their_keys() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (cert, key) = folder.put_pair("a", &authority.good(&["a"]));
    let (_, other) = folder.put_pair("b", &authority.good(&["b"]));
    let ca = folder.put("ca.crt", authority.pem());
    let (cert, key, other, ca) = (Some(cert), Some(key), Some(other), Some(ca));
    let none = TlsSettings::default;
    let good = TlsSettings { cert_file: cert.clone(), key_file: key.clone(), ..none() };
    let nowhere = Some(PathBuf::from("/nowhere.pem"));
    let names = vec![GATEWAY.to_owned()];
    for (settings, keys) in [
        (none(), &[][..]),
        (TlsSettings { ca_file: ca.clone(), client_ca_file: ca.clone(), client_names: names, ..good.clone() }, &[]),
        (TlsSettings { cert_file: cert, ..none() }, &["tls.cert_file"]),
        (TlsSettings { key_file: key, ..none() }, &["tls.key_file"]),
        (TlsSettings { key_file: other, ..good.clone() }, &["tls.cert_file"]),
        (TlsSettings { key_file: ca.clone(), ..good.clone() }, &["tls.key_file"]),
        (TlsSettings { cert_file: nowhere.clone(), ..good.clone() }, &["tls.cert_file"]),
        (TlsSettings { ca_file: nowhere, ..none() }, &["tls.ca_file"]),
        (TlsSettings { client_ca_file: ca.clone(), ..none() }, &["tls.client_ca_file"]),
        (TlsSettings { client_names: vec!["a".to_owned()], ..good.clone() }, &["tls.client_names"]),
        (
            TlsSettings { client_ca_file: ca, client_names: vec!["spiffe://shop".to_owned()], ..good },
            &["tls.client_names"],
        ),
    ] {
        let mut problems = shop_config::Problems::default();
        settings.check("tls", &mut problems);
        let found: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(found, keys, "{problems}");
    }
}
