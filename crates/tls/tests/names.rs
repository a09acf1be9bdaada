//! Whom certificates are for.

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use shop_tls::Name;

fn certificate(hosts: &[&str], uris: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("hosts");
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII"))));
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").into()
}

#[test]
fn a_workload_is_the_one_uri_to_the_letter() {
    let name: Name = "spiffe://shop/ns/default/sa/gateway".parse().expect("a name");
    for (uris, is_it) in [
        (&["spiffe://shop/ns/default/sa/gateway"][..], true),
        (&["spiffe://shop/ns/default/sa/gateway2"], false),
        (&["spiffe://shop/ns/default/sa"], false),
        (&["spiffe://other/ns/default/sa/gateway"], false),
        // Who has two is nobody (X509-SVID, section 2).
        (&["spiffe://shop/ns/default/sa/gateway", "spiffe://shop/x"], false),
        (&[], false),
    ] {
        assert_eq!(name.is_of(&certificate(&["spiffe"], uris)), is_it, "{uris:?}");
    }
    assert!(!name.is_of(&CertificateDer::from(vec![1, 2, 3])), "no certificate at all");
}

#[test]
fn a_host_is_what_servers_are_checked_by() {
    let of = |name: &str, hosts: &[&str]| name.parse::<Name>().expect(name).is_of(&certificate(hosts, &[]));
    assert!(of("gateway.shop", &["a", "gateway.shop"]) && of("gateway.shop.example", &["*.shop.example"]));
    assert!(of("127.0.0.1", &["127.0.0.1"]));
    assert!(!of("gateway.shop", &["shop"]) && !of("127.0.0.1", &["localhost"]));
}

#[test]
fn what_no_certificate_could_be_for_is_no_name() {
    for text in [
        "",
        "a b",
        "spiffe://",
        "spiffe://shop",
        "spiffe://shop/",
        "spiffe://Shop/a",
        "spiffe://shop/a/",
        "spiffe://shop//a",
        "spiffe://shop/../a",
        "spiffe://shop/a?b",
        "spiffe://shop:1/a",
        &format!("spiffe://shop/{}", "a".repeat(2048)),
    ] {
        assert!(text.parse::<Name>().is_err(), "{text}");
    }
    assert_eq!("Product.shop".parse::<Name>().expect("a name").to_string(), "Product.shop");
}
