//! A real mail server (aiosmtpd) of one test alone.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Program, eventually, program::Child};

/// A mail server that keeps what it gets, or misbehaves as it is told. Killed with this value.
#[derive(Debug)]
pub struct Smtp {
    python: String,
    options: Vec<String>,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

/// An e-mail that the server took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// Who had logged in.
    pub user: Option<String>,
    /// What the client called itself.
    pub hello: String,
    /// The client's port: the same for the same connection.
    pub peer: u64,
    /// Headers and body as they came.
    pub text: String,
}

impl Mail {
    /// The value of a header, its lines joined by a space as they were folded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.text.replace("\r\n", "\n");
        let head = head.split("\n\n").next()?.replace("\n ", " ");
        let found =
            head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    }
}

/// A mail server with these options; `smtp.py` next door knows them. `None`, said loudly, when this run does not use
/// real servers.
pub async fn smtp(options: &[&str]) -> Option<Smtp> {
    let python = super::server("SHOP_TEST_SMTP_PYTHON", "mail server (aiosmtpd)")?;
    let folder = tempfile::Builder::new().prefix("shop-smtp-").tempdir().expect("makes a folder");
    let options = options.iter().map(|&option| option.to_owned()).collect();
    let mut server = Smtp { python, options, folder, port: 0, child: None };
    server.resume().await;
    Some(server)
}

impl Smtp {
    /// Where it listens, on 127.0.0.1; stays the same over [`resume`](Self::resume).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it took, in order.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        let entries = fs::read_dir(self.folder.path()).expect("is our folder").flatten();
        let mut files: Vec<_> =
            entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "mail")).collect();
        files.sort_by_key(|file| (file.metadata().and_then(|data| data.modified()).ok(), file.path()));
        files.iter().map(|file| read(&fs::read(file.path()).expect("is our file"))).collect()
    }

    /// Kills it, as a power cut would. What it took stays.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Gives it other options for its next start.
    pub fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
    }

    /// Starts it again on the same port.
    pub async fn resume(&mut self) {
        let told = self.folder.path().join("port");
        fs::remove_file(&told).ok();
        let program = Program::new(&self.python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/smtp.py"))
            .arg("--folder")
            .arg(self.folder.path())
            .args(["--port", &self.port.to_string()])
            .args(&self.options)
            .stdout(Stdio::null());
        let child = self.child.insert(program.spawn());
        self.port = eventually!({
            let ended = child.exited();
            assert!(ended.is_none(), "the mail server ended while starting: {ended:?}");
            fs::read_to_string(&told).ok().and_then(|text| text.parse().ok())
        });
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(json: &[u8]) -> Mail {
    let mail: Value = serde_json::from_slice(json).expect("is JSON");
    let text = |key: &str| mail[key].as_str().unwrap_or_default().to_owned();
    Mail {
        from: text("from"),
        to: mail["to"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        encrypted: mail["encrypted"].as_bool().unwrap_or_default(),
        user: mail["user"].as_str().map(str::to_owned),
        hello: text("hello"),
        peer: mail["peer"].as_u64().unwrap_or_default(),
        text: text("text"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpStream;

    use super::*;

    /// Talks as a client of 1982 would; the last answer.
    fn talk(port: u16, lines: &[&str]) -> String {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        let mut answers = BufReader::new(stream.try_clone().expect("is shared")).lines();
        let mut answer = answers.next().expect("greets").expect("reads");
        for line in lines {
            (&stream).write_all(format!("{line}\r\n").as_bytes()).expect("writes");
            answer = answers.next().expect("answers").expect("reads");
        }
        answer
    }

    #[tokio::test]
    async fn what_was_sent_is_kept_over_a_power_cut() {
        let Some(mut server) = smtp(&[]).await else { return };
        let mail = ["HELO here", "MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "DATA", "Subject: one\r\n two\r\n\r\nhi\r\n."];
        assert!(talk(server.port(), &mail).starts_with("250 "));
        let port = server.port();
        server.kill();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "is down");
        server.set_options(&["--recipient", "550 5.1.1 <ADDRESS> is nobody"]);
        server.resume().await;
        assert_eq!(server.port(), port);
        assert_eq!(talk(port, &mail[..3]), "550 5.1.1 <d@e.f> is nobody");
        let [kept] = server.mails().try_into().expect("one mail");
        assert_eq!((kept.from.as_str(), kept.to.as_slice()), ("a@b.c", &["d@e.f".to_owned()][..]));
        assert_eq!(kept.header("subject").as_deref(), Some("one two"));
    }
}
