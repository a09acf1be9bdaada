//! `token`: a token for a person, where the suite's own key is at hand.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;
use shop_clock::{Clock as _, SystemClock};
use shop_config::Duration;
use time::format_description::well_known::Rfc3339;

use crate::settings::IdentitySettings;
use crate::{Role, Signer};

/// What a program that may have the suite's key does instead of serving.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Prints a token for somebody, signed with the suite's own key
    Token(TokenFlags),
}

impl Command {
    /// Does it.
    pub fn run(&self, settings: &IdentitySettings) -> anyhow::Result<()> {
        let Self::Token(flags) = self;
        flags.print(settings)
    }
}

/// Prints a token for somebody, signed with the suite's own key
#[derive(Debug, Clone, clap::Args)]
pub struct TokenFlags {
    /// Whose: the name that baskets and payments belong to
    #[arg(long, value_name = "NAME")]
    pub user: String,

    /// What he is trusted to do beyond what is his own; may be given several times
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<Role>,

    /// How long the token is good, such as 15m or 8h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    pub lifetime: Duration,

    /// A file to write it to, readable for its owner alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Longer ones cannot be taken back by waiting.
const LONGEST: Duration = Duration::secs(7 * 24 * 60 * 60);

fn lifetime(text: &str) -> Result<Duration, String> {
    let time: Duration = text.parse().map_err(|error| format!("{error}"))?;
    if time.is_zero() || time.get() > LONGEST.get() { Err("use 1s to 7d".to_owned()) } else { Ok(time) }
}

impl TokenFlags {
    /// Prints the token and nothing else, so that a variable of a shell can take it. Each use leaves a line for the audit on
    /// standard error.
    pub fn print(&self, settings: &IdentitySettings) -> anyhow::Result<()> {
        let token = self.token(settings)?;
        // With standard error closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{}", self.line());
        if let Some(file) = &self.out {
            return write(file, &token).with_context(|| format!("{} cannot be written", file.display()));
        }
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{token}").and_then(|()| stdout.flush()).context("standard output cannot be written")
    }

    /// As the log has the lines of the audit.
    fn line(&self) -> serde_json::Value {
        let Self { user, role, lifetime, out: _ } = self;
        // A clock beyond the year 9999 is no time for tokens.
        let timestamp = SystemClock.now().format(&Rfc3339).unwrap_or_default();
        json!({
            "timestamp": timestamp, "level": "INFO", "target": "audit", "operation": "token", "object": user,
            "roles": role, "lifetime": lifetime.to_string(), "message": format!("token for {user}"),
        })
    }

    /// For this user: without roles, for an hour.
    pub fn of(user: impl Into<String>) -> Self {
        Self { user: user.into(), role: Vec::new(), lifetime: Duration::secs(60 * 60), out: None }
    }

    /// The same, good for as long as the text says, such as 15m.
    pub fn lasting(self, text: &str) -> Result<Self, String> {
        Ok(Self { lifetime: lifetime(text)?, ..self })
    }

    /// The token, by the key that the settings name.
    fn token(&self, settings: &IdentitySettings) -> anyhow::Result<String> {
        let file = settings.internal.key_file.as_deref().context(
            "there is no key to sign with: name the suite's own in identity.internal.key_file (IDENTITY_KEY_FILE), and run \
             this where that file is",
        )?;
        self.sign(&Signer::read(file)?)
    }

    /// The token, signed. Each leaves a line for the audit.
    pub fn sign(&self, signer: &Signer) -> anyhow::Result<String> {
        ensure!(!self.user.is_empty(), "name whose token it shall be");
        let is_taken = self.user.starts_with(crate::signer::GUEST) || self.user.starts_with(crate::signer::SERVICE);
        ensure!(!is_taken && self.user != crate::ME, "{} is no name for a person", self.user);
        let roles: Vec<_> = self.role.iter().map(|role| role.word()).collect();
        let (user, lifetime) = (&self.user, self.lifetime);
        tracing::info!(target: "audit", operation = "token", object = user, ?roles, "token for {user} {roles:?} for {lifetime}");
        Ok(signer.person(user, &self.role, lifetime.get()))
    }
}

/// Writes the token to a file, whole or not at all.
fn write(file: &Path, token: &str) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut made = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(made, "{token}")?;
    made.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_written_where_nobody_else_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = IdentitySettings::default();
        settings.internal.key_file = Some(folder.path().join("key.pem"));
        Signer::make(&folder.path().join("key.pem")).expect("a key");
        let out = folder.path().join("token");
        for user in ["ada", "grace"] {
            TokenFlags { out: Some(out.clone()), ..TokenFlags::of(user) }.print(&settings).expect("a token");
        }
        let token = std::fs::read_to_string(&out).expect("a file");
        assert_eq!(token.trim().split('.').count(), 3);
        assert_eq!(std::fs::metadata(&out).expect("a file").permissions().mode() & 0o777, 0o600);
        assert!(
            TokenFlags { out: Some(folder.path().join("no/token")), ..TokenFlags::of("ada") }.print(&settings).is_err()
        );
    }
}
