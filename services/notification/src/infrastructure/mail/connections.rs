//! Connections to the mail server. One is used again only after it did what it should: an attempt that was cut off leaves
//! answers behind, which the next e-mail would take for its own.

use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::response::Response;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::fault::{Fault, Stage};
use super::server::{Security, Server};
use super::trust::Trust;

/// Idle connections that are kept: as many as a burst needs, few enough for a server that counts them.
const MAX_IDLE: usize = 8;
/// How long they are kept: shorter than any server waits (RFC 5321, section 4.5.3.2.7, asks for five minutes).
const IDLE: Duration = Duration::from_secs(30);
/// The longest wait for a connection to be good again after a refusal.
const RESET: Duration = Duration::from_secs(1);

/// Opens connections, and keeps those that are good for another e-mail.
pub(super) struct Connections {
    server: Server,
    trust: Trust,
    timeout: Duration,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connections {
    /// Connections to `server`; nothing is connected yet.
    pub(super) fn new(server: Server, trust: Trust, timeout: Duration) -> Self {
        Self { server, trust, timeout, idle: Mutex::default() }
    }

    /// Hands one e-mail to the server. Whoever drops this before its end drops the connection too.
    pub(super) async fn send(&self, from: &Address, to: &Address, message: &[u8]) -> Result<(), Fault> {
        let mut connection = self.begun(from).await?;
        let sent = deliver(&mut connection, to, message).await;
        let usable = match &sent {
            Ok(()) => true,
            // What was refused is known by now: a server that hangs over tidying up loses its connection, not the verdict.
            Err(fault) if fault.is_refusal() => {
                let reset = timeout(RESET, connection.command(Rset)).await;
                reset.is_ok_and(|answer| is(answer, Stage::Message, &[250]).is_ok())
            }
            Err(_) => false,
        };
        if usable {
            self.keep(connection);
        }
        sent
    }

    /// A connection that has taken `from`: an idle one, or else a new one. Idle ones may be dead by now.
    async fn begun(&self, from: &Address) -> Result<AsyncSmtpConnection, Fault> {
        while let Some(mut connection) = self.idle() {
            if sender(&mut connection, from).await.is_ok() {
                return Ok(connection);
            }
        }
        let mut connection = self.connect().await?;
        sender(&mut connection, from).await?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Fault> {
        let Server { host, port, security, login, hello } = &self.server;
        let trust = self.trust.now().await;
        let wrapped = (*security == Security::Wrapped).then(|| trust.clone());
        let place = (host.as_str(), *port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(place, Some(self.timeout), hello, wrapped, None)
            .await
            .map_err(|error| Fault::Smtp(Stage::Connect, error))?;
        let encrypt = match security {
            Security::Plain | Security::Wrapped => false,
            Security::Offered => connection.can_starttls(),
            Security::Required => true,
        };
        if encrypt {
            connection.starttls(trust, hello).await.map_err(|error| Fault::Smtp(Stage::Encrypt, error))?;
        }
        if let Some(login) = login {
            let answer = connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await;
            is(answer, Stage::Login, &[235])?;
        }
        Ok(connection)
    }

    fn idle(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push((connection, Instant::now()));
        }
    }
}

async fn sender(connection: &mut AsyncSmtpConnection, from: &Address) -> Result<(), Fault> {
    is(connection.command(Mail::new(Some(from.clone()), Vec::new())).await, Stage::Sender, &[250])
}

async fn deliver(connection: &mut AsyncSmtpConnection, to: &Address, message: &[u8]) -> Result<(), Fault> {
    let recipient = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
    is(recipient, Stage::Recipient, &[250, 251, 252])?;
    is(connection.command(Data).await, Stage::Message, &[354])?;
    is(connection.message(message).await, Stage::Message, &[250])
}

/// Whether the answer is one of those that agree. Each is checked, so that an answer to something else, left behind or
/// slipped in, is never taken for the one that counts.
fn is(answer: Result<Response, Error>, stage: Stage, codes: &[u16]) -> Result<(), Fault> {
    let response = answer.map_err(|error| Fault::Smtp(stage, error))?;
    if codes.iter().any(|code| response.has_code(*code)) { Ok(()) } else { Err(Fault::Odd(stage)) }
}
