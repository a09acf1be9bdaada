//! What an attempt to send an e-mail ran into. Mail servers repeat addresses in their answers, so of those only the
//! codes are kept.

use std::error::Error as _;
use std::io;

use lettre::transport::smtp;

use super::super::error::{find, tls};
use crate::domain::Outcome;

/// What was being said when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connecting, the greeting, EHLO.
    Connect,
    /// STARTTLS.
    Encrypt,
    /// AUTH.
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA and the message.
    Message,
}

/// Why an e-mail was not taken.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server refused, the connection broke, or there was none.
    Smtp(Stage, smtp::Error),
    /// The server agreed, but to something else.
    Odd(Stage),
    /// It took too long.
    Slow,
}

impl Fault {
    /// Whether the server can go on with another e-mail on the same connection.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Smtp(_, error) if error.status().is_some())
    }

    /// Whether it will be the same for every e-mail until somebody changes the settings, here or there.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self.verdict().0, "smtp_login" | "smtp_tls" | "sender_refused")
    }

    /// What follows.
    pub(super) fn outcome(&self) -> Outcome {
        let (code, message) = self.verdict();
        match code {
            "mailbox_refused" | "message_refused" => Outcome::give_up(code, message),
            _ => Outcome::retry(code, message),
        }
    }

    /// The code and the message.
    pub(super) fn verdict(&self) -> (&'static str, String) {
        let (stage, error) = match self {
            Self::Slow => return ("timeout", "the mail server took too long".to_owned()),
            Self::Odd(stage) => {
                return ("smtp_unavailable", format!("the mail server's answer to {} makes no sense", stage.what()));
            }
            Self::Smtp(stage, error) => (*stage, error),
        };
        if let Some(status) = error.status() {
            let enhanced = enhanced(error).unwrap_or_default();
            let said = format!("the mail server answered {}", format!("{status} {enhanced}").trim_end());
            return (refusal(stage, error, &enhanced), format!("{said} to {}", stage.what()));
        }
        if let Some(error) = find::<rustls::Error>(error) {
            return ("smtp_tls", format!("TLS failed: {}", tls(error)));
        }
        match find::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::TimedOut) => ("timeout", "the mail server took too long".to_owned()),
            Some(kind) => ("smtp_unavailable", format!("no connection to the mail server: {kind}")),
            None if error.is_client() => ("smtp_login", format!("the mail server does not offer {}", stage.what())),
            None => ("smtp_unavailable", format!("the mail server's answer to {} makes no sense", stage.what())),
        }
    }
}

impl Stage {
    const fn what(self) -> &'static str {
        match self {
            Self::Connect => "the connection",
            Self::Encrypt => "STARTTLS",
            Self::Login => "our login",
            Self::Sender => "the sender",
            Self::Recipient => "the recipient",
            Self::Message => "the message",
        }
    }
}

/// What a refusal with a code means, which depends on what was refused.
fn refusal(stage: Stage, error: &smtp::Error, enhanced: &str) -> &'static str {
    // RFC 4954, section 6: login wanted, too weak, or wrong.
    let login = matches!(error.status().map(u16::from), Some(530 | 534 | 535 | 538));
    match stage {
        _ if !error.is_permanent() => "smtp_unavailable",
        Stage::Connect | Stage::Encrypt | Stage::Login => "smtp_login",
        Stage::Sender | Stage::Recipient if login => "smtp_login",
        Stage::Sender => "sender_refused",
        // RFC 3463, section 3.8: a matter of policy, such as a server that does not relay for us, not of the mailbox.
        Stage::Recipient | Stage::Message if enhanced.starts_with("5.7.") => "sender_refused",
        Stage::Recipient => "mailbox_refused",
        Stage::Message => "message_refused",
    }
}

/// The enhanced status code (RFC 3463) that an answer begins with.
fn enhanced(error: &smtp::Error) -> Option<String> {
    let said = error.source()?.to_string();
    let word = said.split_whitespace().next()?;
    let fine = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    (word.split('.').count() == 3 && word.split('.').all(fine)).then(|| word.to_owned())
}
