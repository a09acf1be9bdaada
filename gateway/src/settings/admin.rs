//! Settings of the admin API.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::Secret;

/// The admin API.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// What callers must show as `Authorization: Bearer …`; at least 16 characters are advised. None by default: then only
    /// this machine itself may call.
    pub token: Secret,
    /// Where changes made through the admin API are kept, so that they outlive a restart. Nowhere by default: a restart
    /// then begins with the settings alone.
    pub state_file: Option<PathBuf>,
}

/// Shorter tokens can be guessed: sixteen random characters are out of reach at any rate.
pub(crate) const SHORT_TOKEN: usize = 16;

impl Admin {
    /// Whether there is a token that can be found by trying.
    pub(crate) fn has_short_token(&self) -> bool {
        (1..SHORT_TOKEN).contains(&self.token.expose().len())
    }
}
