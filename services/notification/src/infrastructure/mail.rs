//! E-mail over SMTP.

mod connections;
mod fault;
mod samples;
mod server;
mod settings;
mod templates;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use tokio::time::timeout;
use uuid::Uuid;

use crate::config::EmailSettings;
use crate::domain::{Letter, Mail, Outcome};

use connections::Connections;
use fault::Fault;
use server::Server;
use templates::Templates;
use trust::Trust;

/// Sends e-mail by the server of the settings.
#[derive(Debug)]
pub(crate) struct SmtpMail {
    connections: Connections,
    templates: Templates,
    from: Mailbox,
    timeout: Duration,
    /// Whether the log says already that the settings are to blame.
    warned: AtomicBool,
}

impl SmtpMail {
    /// Gets ready to send; nothing is connected yet.
    pub(crate) fn open(settings: &EmailSettings) -> anyhow::Result<Self> {
        let url = settings.smtp_url.as_ref().context("email.smtp_url is not set")?;
        let server = Server::parse(url.expose()).map_err(|message| anyhow!("email.smtp_url: {message}"))?;
        let from = settings::from(&settings.from).map_err(|message| anyhow!("email.from: {message}"))?;
        let templates = Templates::load(settings.templates.as_deref())
            .map_err(|wrong| anyhow!("email.templates: {}", wrong.join("; ")))?;
        let trust = Trust::open(&server.host, settings.ca_file.as_ref())?;
        let timeout = settings.timeout.get();
        let connections = Connections::new(server, trust, timeout);
        Ok(Self { connections, templates, from, timeout, warned: AtomicBool::new(false) })
    }

    /// The e-mail, or why it cannot be written.
    fn write(&self, letter: &Letter<'_>) -> Result<(Address, Vec<u8>), Outcome> {
        let to: Address =
            letter.to.parse().map_err(|_| Outcome::give_up("mailbox_refused", "the address cannot be written to"))?;
        let unwritten = |message: String| Outcome::retry("not_written", message);
        let words =
            self.templates.write(letter.event).map_err(|error| unwritten(format!("the template failed: {error}")))?;
        let message = Message::builder()
            .message_id(Some(message_id(letter.id, &self.from)))
            // When it happened: the same on every attempt, like everything else.
            .date(letter.event.time.into())
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(words.subject)
            // RFC 3834, section 5: so that no out-of-office answer comes back.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(words.text, words.html))
            .map_err(|_| unwritten("the e-mail could not be put together".to_owned()))?;
        Ok((to, message.formatted()))
    }

    /// Says in the log that the settings are to blame, once until an e-mail goes through again.
    fn warn(&self, fault: &Fault) {
        if fault.is_lasting() && !self.warned.swap(true, Ordering::Relaxed) {
            let (code, message) = fault.verdict();
            tracing::warn!(code, "no e-mail goes out: {message}; check email.smtp_url and email.from");
        }
    }
}

/// `<id@domain of the sender>`.
fn message_id(id: Uuid, from: &Mailbox) -> String {
    format!("<{id}@{}>", from.email.domain())
}

#[async_trait]
impl Mail for SmtpMail {
    async fn send(&self, letter: Letter<'_>) -> Outcome {
        let (to, message) = match self.write(&letter) {
            Ok(written) => written,
            Err(outcome) => return outcome,
        };
        let sending = self.connections.send(&self.from.email, &to, &message);
        match timeout(self.timeout, sending).await.unwrap_or(Err(Fault::Slow)) {
            Ok(()) => {
                self.warned.store(false, Ordering::Relaxed);
                Outcome::Sent
            }
            Err(fault) => {
                self.warn(&fault);
                fault.outcome()
            }
        }
    }
}
