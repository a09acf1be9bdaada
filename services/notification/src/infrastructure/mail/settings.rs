//! What is checked about the settings before the service starts.

use lettre::message::Mailbox;
use shop_config::Problems;
use shop_tls::AuthoritiesFile;

use super::server::{Security, Server};
use super::templates::Templates;
use crate::config::EmailSettings;

impl EmailSettings {
    /// Names everything that would keep e-mails from going out and can be known beforehand.
    pub(crate) fn check(&self, problems: &mut Problems) {
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
        if let Err(message) = from(&self.from) {
            problems.add("from", message);
        }
        if let Some(Err(message)) = self.smtp_url.as_ref().map(|url| Server::parse(url.expose())) {
            problems.add("smtp_url", message);
        }
        if let Some(file) = &self.ca_file {
            let is_encrypted = self.smtp_url.as_ref().and_then(|url| Server::parse(url.expose()).ok());
            let is_encrypted = is_encrypted.is_none_or(|server| server.security != Security::Plain);
            let unused = "has no effect without TLS: begin smtp_url with smtps://, or end it with ?tls=required";
            problems.ensure(is_encrypted, "ca_file", unused);
            if let Err(error) = AuthoritiesFile::read(file).and_then(|found| found.parse(file)) {
                problems.add("ca_file", error.to_string());
            }
        }
        for message in Templates::load(self.templates.as_deref()).err().into_iter().flatten() {
            problems.add("templates", message);
        }
    }
}

/// The sender; the error says what to write instead.
pub(super) fn from(text: &str) -> Result<Mailbox, &'static str> {
    let help = "write it like Shop <orders@shop.example>";
    let mailbox: Mailbox = text.trim().parse().map_err(|_| help)?;
    if text.contains(char::is_control) {
        return Err(help);
    }
    // Not every server on the way would take it.
    if !(mailbox.email.user().is_ascii() && mailbox.email.domain().is_ascii()) {
        return Err("the address must be of ASCII; write its domain as xn--…");
    }
    Ok(mailbox)
}
