//! `token`: a token for a person, where the suite's own key is at hand.

use anyhow::{Context as _, ensure};
use shop_config::Duration;

use crate::settings::IdentitySettings;
use crate::{Role, Signer};

/// Prints a token for somebody, signed with the suite's own key.
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
}

/// Longer ones cannot be taken back by waiting.
const LONGEST: Duration = Duration::secs(7 * 24 * 60 * 60);

fn lifetime(text: &str) -> Result<Duration, String> {
    let time: Duration = text.parse().map_err(|error| format!("{error}"))?;
    if time.is_zero() || time.get() > LONGEST.get() { Err("use 1s to 7d".to_owned()) } else { Ok(time) }
}

impl TokenFlags {
    /// The token. Each use leaves a line for the audit on standard error.
    pub fn token(&self, settings: &IdentitySettings) -> anyhow::Result<String> {
        let file = settings.internal.key_file.as_deref().context(
            "there is no key to sign with: name the suite's own in identity.internal.key_file (IDENTITY_KEY_FILE), and run \
             this where that file is",
        )?;
        let signer = Signer::read(file)?;
        ensure!(!self.user.is_empty(), "name whose token it shall be: --user NAME");
        let is_taken = self.user.starts_with(crate::signer::GUEST) || self.user.starts_with(crate::signer::SERVICE);
        ensure!(!is_taken && self.user != crate::ME, "{} is no name for a person", self.user);
        let roles: Vec<_> = self.role.iter().map(|role| role.word()).collect();
        let (user, lifetime) = (&self.user, self.lifetime);
        tracing::info!(target: "audit", operation = "token", object = user, ?roles, "token for {user} {roles:?} for {lifetime}");
        Ok(signer.person(user, &self.role, lifetime.get()))
    }
}
