//! Guests: who did not sign in, and is known by a token of the suite's own.

use crate::signer::{GUEST, GUEST_LIFETIME, Guest, guest_name};
use crate::{Identity, Kind, Refusal};

/// Whether this is the name of a guest, which nobody else can have.
pub fn is_guest(name: &str) -> bool {
    name.starts_with(GUEST)
}

impl Identity {
    /// A new guest; none where the key is not that signs for one. Where nobody asks who calls, the token is the name.
    pub fn new_guest(&self) -> Option<Guest> {
        if self.authenticator.is_some() {
            return self.signer.as_ref().map(|signer| signer.guest());
        }
        let user = guest_name();
        Some(Guest { token: user.clone(), user, lifetime: GUEST_LIFETIME })
    }

    /// The name of the guest whose token this is. What is no guest's is [`Refusal::Invalid`].
    pub async fn guest(&self, token: &str) -> Result<String, Refusal> {
        let Some(authenticator) = &self.authenticator else {
            return is_guest(token).then(|| token.to_owned()).ok_or(Refusal::Invalid);
        };
        let principal = authenticator.whose(token).await?;
        if principal.kind == Kind::Guest { Ok(principal.user.to_string()) } else { Err(Refusal::Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{IdentitySettings, Mode, Signer};

    #[tokio::test]
    async fn a_guest_is_known_by_his_token_and_by_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key.pem");
        std::fs::write(&key, Signer::generate().expect("a key")).expect("written");
        let mut settings = IdentitySettings { mode: Mode::Required, ..IdentitySettings::off() };
        settings.internal.key_file = Some(key);
        let identity = Identity::open(&settings, "basket").expect("opens");
        let guest = identity.new_guest().expect("a guest");
        assert_eq!(identity.guest(&guest.token).await, Ok(guest.user.clone()));
        let person = identity.signer().expect("a key").person("ada", &[], Duration::from_mins(1));
        let long = format!("{}.{}", guest.token, "x".repeat(9000));
        for other in [person.as_str(), &guest.user, "", "a.b.c", &format!(" {}", guest.token), &long] {
            assert_eq!(identity.guest(other).await, Err(Refusal::Invalid), "{other}");
        }
    }

    #[tokio::test]
    async fn where_nobody_asks_a_name_is_a_token_and_without_a_key_there_are_no_guests() {
        let off = Identity::open(&IdentitySettings::off(), "basket").expect("opens");
        let guest = off.new_guest().expect("a guest");
        assert_eq!(off.guest(&guest.token).await, Ok(guest.user));
        assert_eq!(off.guest("ada").await, Err(Refusal::Invalid));
        let secret = shop_config::Secret::from("0123456789abcdef0123456789abcdef".to_owned());
        let provider = IdentitySettings { secret, issuer: "i".to_owned(), ..IdentitySettings::off() };
        let settings = IdentitySettings { mode: Mode::Required, audience: "a".to_owned(), ..provider };
        assert!(Identity::open(&settings, "basket").expect("opens").new_guest().is_none());
    }
}
