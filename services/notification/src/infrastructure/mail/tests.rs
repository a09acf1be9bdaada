//! E-mails to a real server that behaves, and to one that does not.

use std::fs;
use std::path::{Path, PathBuf};

use shop_config::{Problems, Secret};
use shop_events::Envelope;
use shop_testing::backend::{Smtp, smtp};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::domain::Next;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);
const TO: &str = "ada@shop.example";

fn settings(url: String) -> EmailSettings {
    EmailSettings {
        smtp_url: Some(Secret::from(url)),
        from: "Der Läden <orders@shop.example>".to_owned(),
        timeout: shop_config::Duration::secs(LONG.as_secs()),
        ..EmailSettings::default()
    }
}

fn sender(url: String) -> SmtpMail {
    SmtpMail::open(&settings(url)).expect("opens")
}

/// One that takes a server for good with a certificate of this authority only.
fn trusting(authority: &Path, url: String) -> SmtpMail {
    SmtpMail::open(&EmailSettings { ca_file: Some(authority.to_owned()), ..settings(url) }).expect("opens")
}

fn plain(server: &Smtp) -> SmtpMail {
    sender(format!("smtp://127.0.0.1:{}/here.example", server.port()))
}

/// A sender that soon gives up.
fn hasty(server: &Smtp) -> SmtpMail {
    SmtpMail { timeout: SHORT, ..plain(server) }
}

fn event() -> Envelope {
    samples::events()[0].clone()
}

/// Sends an e-mail; what comes back must not tell the address.
async fn send(mail: &SmtpMail) -> Outcome {
    let outcome = mail.send(Letter { id: Uuid::from_u128(9), to: TO, event: &event() }).await;
    assert!(!format!("{outcome:?}").contains("ada"), "{outcome:?}");
    outcome
}

/// The code and the message of a failure, and whether it is tried again.
fn failed(outcome: Outcome) -> (String, String, bool) {
    let Outcome::Failed { failure, next } = outcome else { panic!("was sent") };
    (failure.code, failure.message, next == Next::Retry(None))
}

fn retried(outcome: Outcome) -> String {
    let (code, _, again) = failed(outcome);
    assert!(again, "{code}");
    code
}

#[tokio::test]
async fn an_e_mail_arrives_and_is_the_same_on_every_attempt() {
    let Some(server) = smtp(&[]).await else { return };
    let mail = plain(&server);
    assert_eq!(send(&mail).await, Outcome::Sent);
    assert_eq!(send(&mail).await, Outcome::Sent);
    let [first, second] = server.mails().try_into().expect("two mails");
    assert_eq!((first.from.as_str(), first.to.as_slice()), ("orders@shop.example", &[TO.to_owned()][..]));
    assert_eq!((first.hello.as_str(), first.encrypted, first.user.as_deref()), ("here.example", false, None));
    assert_eq!(first.peer, second.peer, "the connection is used again");
    for (name, value) in [
        ("message-id", "<00000000-0000-0000-0000-000000000009@shop.example>"),
        ("date", "Fri, 02 Jan 2026 03:04:05 +0000"),
        ("to", TO),
        ("subject", "Your order of Laptop and 1 more: 2612.30 USD paid"),
        ("auto-submitted", "auto-generated"),
        ("mime-version", "1.0"),
    ] {
        assert_eq!(first.header(name).as_deref(), Some(value), "{name}");
        assert_eq!(second.header(name).as_deref(), Some(value), "{name}");
    }
    let from = first.header("from").expect("has one");
    assert!(from.ends_with("<orders@shop.example>") && from.contains("=?utf-8?"), "{from}");
    let kind = first.header("content-type").expect("has one");
    assert!(kind.starts_with("multipart/alternative"), "{kind}");
    let places = ["Content-Type: text/plain; charset=utf-8", "Content-Type: text/html; charset=utf-8"];
    let [text, html] = places.map(|part| first.text.find(part).expect(part));
    assert!(text < html, "the last one is what programs prefer");
    assert!(first.text.is_ascii() && first.text.lines().all(|line| line.len() < 998), "{}", first.text);
}

#[tokio::test]
async fn what_comes_from_outside_adds_no_header() {
    let Some(server) = smtp(&[]).await else { return };
    let mail = plain(&server);
    let [event, ..] = samples::events_of("Läptop\r\nBcc: eve@evil.example\r\n\r\n<script>");
    let id = Uuid::from_u128(9);
    assert_eq!(mail.send(Letter { id, to: TO, event: &event }).await, Outcome::Sent);
    let [kept] = server.mails().try_into().expect("one mail");
    assert_eq!((kept.header("bcc"), kept.to.len()), (None, 1));
    assert!(kept.header("subject").expect("has one").contains("=?utf-8?"));
    for to in ["ada@shop.example\r\nBcc: eve@evil.example", "ada@shop.example>\r\nRCPT TO:<eve@evil.example", "", "ada"]
    {
        let (code, _, again) = failed(mail.send(Letter { id, to, event: &event }).await);
        assert_eq!((code.as_str(), again), ("mailbox_refused", false), "{to:?}");
    }
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_final_only_when_it_is_about_the_mailbox_or_the_message() {
    for (options, code, again, said) in [
        (["--recipient", "550 5.1.1 <ADDRESS> is nobody"], "mailbox_refused", false, "answered 550 5.1.1 to the rec"),
        (["--recipient", "550 <ADDRESS> is nobody"], "mailbox_refused", false, "answered 550 to the rec"),
        (["--recipient", "554 5.7.1 <ADDRESS> relaying denied"], "sender_refused", true, "554 5.7.1"),
        (["--recipient", "530 5.7.0 log in first"], "smtp_login", true, "530 5.7.0"),
        (["--recipient", "452 4.2.2 <ADDRESS> is full"], "smtp_unavailable", true, "452 4.2.2"),
        (["--sender", "553 5.1.8 who are you"], "sender_refused", true, "553 5.1.8 to the sender"),
        (["--message", "554 5.6.0 we do not like it"], "message_refused", false, "554 5.6.0 to the message"),
        (["--message", "550 5.7.1 not from here"], "sender_refused", true, "550 5.7.1 to the message"),
        (["--message", "451 4.3.0 disk is full"], "smtp_unavailable", true, "451 4.3.0 to the message"),
        (["--message", "354 go on"], "smtp_unavailable", true, "makes no sense"),
        (["--greeting", "554 mail.test no service"], "smtp_login", true, "answered 554 to the connection"),
        (["--greeting", "421 mail.test busy"], "smtp_unavailable", true, "421"),
        (["--greeting", "HTTP/1.1 400 Bad Request"], "smtp_unavailable", true, "makes no sense"),
    ] {
        let Some(server) = smtp(&options).await else { return };
        let mail = plain(&server);
        let outcome = send(&mail).await;
        let (found, message, retry) = failed(outcome);
        assert_eq!((found.as_str(), retry), (code, again), "{options:?}: {message}");
        assert!(message.contains(said), "{options:?}: {message}");
        let to_blame = matches!(code, "smtp_login" | "sender_refused");
        assert_eq!(mail.warned.load(Ordering::Relaxed), to_blame, "{options:?}");
        assert_eq!(server.mails(), []);
    }
}

#[tokio::test]
async fn a_refusal_stands_though_the_server_falls_silent_behind_it() {
    let refusing = ["--recipient", "550 5.1.1 <ADDRESS> is nobody", "--stall", "reset"];
    let Some(server) = smtp(&refusing).await else { return };
    let mail = SmtpMail { timeout: LONG, ..plain(&server) };
    let (code, _, again) = failed(send(&mail).await);
    assert_eq!((code.as_str(), again), ("mailbox_refused", false));
}

#[tokio::test]
async fn who_was_put_off_is_taken_later_on_the_same_connection() {
    let Some(server) = smtp(&["--later", "1"]).await else { return };
    let mail = plain(&server);
    assert_eq!(retried(send(&mail).await), "smtp_unavailable");
    assert_eq!(send(&mail).await, Outcome::Sent);
    assert_eq!(send(&mail).await, Outcome::Sent);
    let [first, second] = server.mails().try_into().expect("two mails");
    assert_eq!(first.peer, second.peer);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_at_the_bound() {
    for place in ["greeting", "recipient", "message"] {
        let Some(server) = smtp(&["--stall", place, "--stalls", "1"]).await else { return };
        let mail = hasty(&server);
        let begun = Instant::now();
        assert_eq!(retried(send(&mail).await), "timeout", "{place}");
        assert!(begun.elapsed() < LONG / 2, "{place}");
        let mail = SmtpMail { timeout: LONG, ..mail };
        assert_eq!(send(&mail).await, Outcome::Sent, "{place}: what was cut off is not in the way");
        assert_eq!(server.mails().len(), 1, "{place}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_message_means_another_attempt_with_the_same_id() {
    let Some(server) = smtp(&["--die", "1"]).await else { return };
    let mail = plain(&server);
    assert_eq!(retried(send(&mail).await), "smtp_unavailable");
    assert_eq!(send(&mail).await, Outcome::Sent);
    let ids: Vec<_> = server.mails().iter().filter_map(|kept| kept.header("message-id")).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "so that the mailbox can tell");
}

#[tokio::test]
async fn a_dead_server_is_tried_again_and_a_dead_connection_is_not_noticed() {
    let Some(mut server) = smtp(&[]).await else { return };
    let mail = plain(&server);
    assert_eq!(send(&mail).await, Outcome::Sent);
    server.kill();
    assert_eq!(retried(send(&mail).await), "smtp_unavailable");
    server.resume().await;
    assert_eq!(send(&mail).await, Outcome::Sent);
    server.kill();
    server.resume().await;
    assert_eq!(send(&mail).await, Outcome::Sent, "the idle connection was dead, a new one was not");
    assert_eq!(server.mails().len(), 3);
}

#[tokio::test]
async fn several_are_sent_at_once() {
    let Some(server) = smtp(&[]).await else { return };
    let mail = plain(&server);
    let outcomes = futures_util::future::join_all((0..12).map(|_| send(&mail))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Sent), "{outcomes:?}");
    let again = futures_util::future::join_all((0..4).map(|_| send(&mail))).await;
    assert!(again.iter().all(|outcome| *outcome == Outcome::Sent), "{again:?}");
    let mails = server.mails();
    let connections: std::collections::BTreeSet<_> = mails.iter().map(|kept| kept.peer).collect();
    assert_eq!((mails.len(), connections.len()), (16, 12), "the last four found connections that were idle");
}

/// A certificate for 127.0.0.1 and `localhost`, with its key, in a file; and the certificate alone, in another.
fn certificate() -> (TempDir, String, PathBuf) {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("makes a certificate");
    let folder = tempfile::tempdir().expect("makes a folder");
    let path = folder.path().join("server.pem");
    fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem()).expect("is written");
    let root = folder.path().join("ca.pem");
    fs::write(&root, made.cert.pem()).expect("is written");
    (folder, path.to_str().expect("is text").to_owned(), root)
}

#[tokio::test]
async fn an_e_mail_is_encrypted_as_the_url_says() {
    let (_folder, pem, root) = certificate();
    for (tls, scheme, query) in [
        ("wrap", "smtps", ""),
        ("offer", "smtp", "?tls=required"),
        ("require", "smtp", "?tls=required"),
        ("offer", "smtp", "?tls=opportunistic"),
    ] {
        let options = ["--certificate", &pem, "--tls", tls, "--user", "shop:s3cr3t/@"];
        let Some(server) = smtp(&options).await else { return };
        let url = |login: &str| format!("{scheme}://{login}@127.0.0.1:{}{query}", server.port());
        let mail = trusting(&root, url("shop:s3cr3t%2F%40"));
        assert_eq!(send(&mail).await, Outcome::Sent, "{tls} {scheme}{query}");
        let [kept] = server.mails().try_into().expect("one mail");
        assert_eq!((kept.encrypted, kept.user.as_deref()), (true, Some("shop")), "{tls} {scheme}{query}");

        let wrong = trusting(&root, url("shop:s3cr3t"));
        let (code, message, again) = failed(send(&wrong).await);
        assert_eq!((code.as_str(), again), ("smtp_login", true), "{message}");
        assert!(message.starts_with("the mail server answered 535 5.7.8 to our login"), "{message}");

        let (code, message, again) = failed(send(&sender(url("shop:s3cr3t%2F%40"))).await);
        assert_eq!((code.as_str(), again), ("smtp_tls", true), "{message}");
        assert_eq!(message, "TLS failed: the certificate's issuer is not trusted");
        assert_eq!(server.mails().len(), 1);
    }
}

#[tokio::test]
async fn the_authorities_of_a_server_may_change_meanwhile() {
    let (_folder, pem, root) = certificate();
    let (_other_folder, other, other_root) = certificate();
    let Some(mut server) = smtp(&["--certificate", &pem, "--tls", "wrap"]).await else { return };
    let mail = trusting(&root, format!("smtps://127.0.0.1:{}", server.port()));
    assert_eq!(send(&mail).await, Outcome::Sent);
    server.kill();
    server.set_options(&["--certificate", &other, "--tls", "wrap"]);
    server.resume().await;
    assert_eq!(retried(send(&mail).await), "smtp_tls");
    for unusable in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&root, unusable).expect("is written");
        assert_eq!(retried(send(&mail).await), "smtp_tls", "what it held goes on");
    }
    fs::copy(&other_root, &root).expect("is copied");
    assert_eq!(send(&mail).await, Outcome::Sent);
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_that_must_not_be() {
    let Some(server) = smtp(&[]).await else { return };
    let port = server.port();
    let (code, message, again) = failed(send(&sender(format!("smtp://127.0.0.1:{port}?tls=required"))).await);
    assert_eq!((code.as_str(), again), ("smtp_login", true));
    assert_eq!(message, "the mail server does not offer STARTTLS");
    assert_eq!(retried(send(&sender(format!("smtps://127.0.0.1:{port}"))).await), "smtp_tls");
    assert_eq!(send(&sender(format!("smtp://127.0.0.1:{port}?tls=opportunistic"))).await, Outcome::Sent);
    let login = sender(format!("smtp://shop:s3cr3t@127.0.0.1:{port}"));
    let (code, message, _) = failed(send(&login).await);
    assert_eq!((code.as_str(), message.as_str()), ("smtp_login", "the mail server does not offer our login"));
}

#[tokio::test]
async fn the_log_is_told_once_until_it_works_again() {
    let Some(mut server) = smtp(&["--sender", "550 5.7.1 not you"]).await else { return };
    let mail = plain(&server);
    for _ in 0..2 {
        assert_eq!(retried(send(&mail).await), "sender_refused");
        assert!(mail.warned.load(Ordering::Relaxed));
    }
    server.kill();
    server.set_options(&[]);
    server.resume().await;
    assert_eq!(send(&mail).await, Outcome::Sent);
    assert!(!mail.warned.load(Ordering::Relaxed));
}

#[test]
fn what_would_not_work_is_named_before_the_start() {
    let problems = |settings: &EmailSettings| {
        let mut problems = Problems::default();
        problems.within("email", |problems| settings.check(problems));
        problems.to_string()
    };
    assert_eq!(problems(&EmailSettings::default()), "");
    assert_eq!(problems(&settings("smtps://u:p@mail.example".to_owned())), "");
    for from in [
        "",
        "Shop",
        "Shop <orders>",
        "a@b.example, c@d.example",
        "Shop <a@b.example>\r\nBcc: c@d.example",
        "a@ä.example",
    ] {
        let found = problems(&EmailSettings { from: from.to_owned(), ..EmailSettings::default() });
        assert!(found.starts_with("email.from: "), "{from:?}: {found}");
    }
    let found = problems(&EmailSettings {
        templates: Some("/nowhere/at/all".into()),
        timeout: shop_config::Duration::secs(0),
        ..settings("smtp://u:s3cr3t@mail.example".to_owned())
    });
    let keys: Vec<_> = found.lines().filter_map(|line| line.split_once(": ").map(|(key, _)| key)).collect();
    assert_eq!(keys, ["email.timeout", "email.smtp_url", "email.templates"], "{found}");
    assert!(!found.contains("s3cr3t"), "{found}");
}

#[test]
fn the_real_one_opens() {
    SmtpMail::open(&settings("smtps://u:p@mail.example".to_owned())).expect("opens");
    SmtpMail::open(&EmailSettings::default()).expect_err("there is no server");
}
