//! Who calls, and what may be read of that.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What somebody is trusted to do beyond what is his own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Keeps the catalogue: products and their stock.
    Catalogue,
    /// Helps shoppers: reads anybody's basket, payments and notifications, and pays back.
    Support,
    /// Runs the suite: webhook endpoints, dead letters, exports and erasures, the gateway's admin API.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Catalogue, Self::Support, Self::Operator];

    /// As tokens and settings have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Support => "support",
            Self::Operator => "operator",
        }
    }

    /// The role of this name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Some roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Whether `role` is one of them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |all, role| all | 1 << role as u8))
    }
}

/// What kind of caller it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody who did not sign in: has a basket and payments of his own, as long as his token lasts.
    Guest,
    /// Somebody whom an issuer knows.
    Person,
    /// A service of the suite.
    Service,
}

/// A caller whose token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who says so (`iss`).
    pub issuer: Arc<str>,
    /// Whom the issuer means (`sub`).
    pub subject: Arc<str>,
    /// By what name baskets, payments and notifications are his; of a service, its name, such as `payment`.
    pub user: Arc<str>,
    /// What kind of caller it is.
    pub kind: Kind,
    /// What it is trusted to do.
    pub roles: Roles,
}

impl fmt::Display for Principal {
    /// For logs: `service:payment`, a guest's name or the subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kind == Kind::Service { &self.subject } else { &self.user })
    }
}

impl Principal {
    /// Whether it is the service of this name.
    pub fn is_service(&self, name: &str) -> bool {
        self.kind == Kind::Service && &*self.user == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_apart() {
        let some: Roles = [Role::Support, Role::Operator].into_iter().collect();
        assert_eq!(Role::ALL.map(|role| some.has(role)), [false, true, true]);
        assert_eq!(Role::ALL.map(|role| Role::parse(role.word())), Role::ALL.map(Some));
        assert_eq!(Role::parse("Support"), None);
    }
}
