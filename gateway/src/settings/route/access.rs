//! Who may use a route.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shop_config::Problems;
use shop_identity::Role;

use crate::message::client::Network;

/// Who may use a route: by the address a client has, and by the token it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// What a client has to show.
    pub require: Require,
    /// The bearer of the token has one of these; any bearer will do when it is empty.
    pub roles: Vec<Role>,
    /// Clients in one of these ranges, and no others; all when it is empty. Behind `trusted_proxies` the client's own address
    /// counts, not the proxy's.
    pub allow: Vec<Network>,
    /// Clients in none of these ranges, whatever `allow` says.
    pub deny: Vec<Network>,
}

/// What a client has to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Nothing; a token that it shows all the same has to be good.
    #[default]
    None,
    /// A token that is good by what `identity` says.
    Token,
}

impl Access {
    /// Whether everybody may.
    pub(crate) fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a client has to show a token.
    pub(crate) fn needs_token(&self) -> bool {
        self.require == Require::Token
    }

    /// Whether not every token will do.
    pub(crate) fn needs_role(&self) -> bool {
        !self.roles.is_empty()
    }

    /// Whether not every address will do.
    pub(crate) fn needs_address(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    /// Whether a client of this address may.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        let is_in = |ranges: &[Network]| ranges.iter().any(|range| range.contains(address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// Finds wrong values; `has_tokens` says whether tokens are looked at.
    pub(super) fn check(&self, has_tokens: bool, problems: &mut Problems) {
        problems.ensure(
            !self.needs_token() || has_tokens,
            "require",
            "a token needs identity.mode = required: else nobody looks whether it is good",
        );
        let is_asked = !self.needs_role() || self.needs_token();
        problems.ensure(is_asked, "roles", "set require = \"token\", too: who shows none has no role");
    }
}
