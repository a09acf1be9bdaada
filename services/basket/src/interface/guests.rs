//! Guests: who has not signed in yet, and fills a basket all the same.

use shop_fault::{Fault, Kind};
use shop_identity::{Guest, Refusal, is_guest};

use super::Api;
use super::fields::Fields;
use crate::domain::UserId;

impl Api {
    /// A new guest, who has nothing yet.
    pub(super) fn new_guest(&self) -> Result<Guest, Fault> {
        self.identity.new_guest().ok_or_else(|| {
            let detail =
                "this process has no key to sign tokens of guests with: identity.internal.key_file (IDENTITY_KEY_FILE)";
            Fault::new(Kind::Unavailable, "guests_unavailable", detail)
        })
    }

    /// The guest who proves himself by this token, that his basket may be merged into the one of `user`, who is none.
    pub(super) async fn guest(&self, token: &str, user: &UserId) -> Result<UserId, Fault> {
        if is_guest(user.as_str()) {
            return Err(Refusal::Forbidden.into());
        }
        let mut fields = Fields::default();
        let found = match self.identity.guest(token.trim()).await {
            Ok(name) => fields.guest(&name),
            Err(unavailable @ Refusal::Unavailable(_)) => return Err(unavailable.into()),
            Err(refusal) => fields.no_guest(refusal),
        };
        found.ok_or_else(|| fields.fault())
    }
}
