//! Whose tokens are trusted, and what their roles mean here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems, Secret, Var};
use url::{Host, Url};

use crate::signer::{ISSUER, Signer};
use crate::{Role, keys, revoked};

/// Whether callers have to say who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They have to, for all that is not for everybody.
    #[default]
    Required,
    /// Anybody may do anything: for one's own machine.
    Off,
}

/// Who may call, and how that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentitySettings {
    /// Whether callers have to say who they are.
    pub mode: Mode,
    /// Takes the blame for `mode = off` on addresses that others can reach.
    pub allow_anonymous: bool,
    /// Who issues people's tokens: `iss`, to the letter. Where neither `jwks_url` nor `jwks_file` is set, its discovery document
    /// says where its keys are (`OpenID` Connect Discovery 1.0).
    pub issuer: String,
    /// What its tokens have to have in `aud`: the name that this shop has there.
    pub audience: String,
    /// Where its keys are (RFC 7517).
    pub jwks_url: String,
    /// A file with its keys instead, read again when it changes.
    pub jwks_file: Option<PathBuf>,
    /// The secret that it signs with instead (HS256), of 32 bytes at least.
    pub secret: Secret,
    /// Certificates of the authorities that its server's certificate may be from, in PEM, beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// A file with a token that its server wants to see before it shows its keys, as Kubernetes' does.
    pub jwks_token_file: Option<PathBuf>,
    /// Where its tokens have roles: a path such as `realm_access.roles` to an array, or to a text with spaces between them.
    pub roles_claim: String,
    /// What its roles are called here: `{ "shop-admins" = "operator" }`. A role of one of our names is that role.
    pub roles: BTreeMap<String, Role>,
    /// Which claim has the name that baskets and payments belong to.
    pub user_claim: String,
    /// Put before that name. Issuers beside the first need one each, for two of them may call two people the same.
    pub user_prefix: String,
    /// Which of its subjects are services of the suite: `{ "system:serviceaccount:shop:payment" = "payment" }`.
    pub services: BTreeMap<String, String>,
    /// The longest time between `iat` and `exp`; tokens that live longer are refused. Any when it is not set.
    pub max_lifetime: Option<Duration>,
    /// More issuers, each with the keys above from `issuer` to `max_lifetime`.
    pub others: Vec<Provider>,
    /// How far clocks may differ; a minute is what most allow.
    pub leeway: Duration,
    /// The shortest time between two looks at an issuer's keys, however many unknown ones tokens name.
    pub cooldown: Duration,
    /// How long keys are good while their issuer cannot be asked for new ones.
    pub max_stale: Duration,
    /// A JSON file with tokens that are not good any more, read again when it changes:
    /// `{"tokens": ["jti"], "subjects": {"ada": "2026-01-31T12:00:00Z"}}`. Of a subject all are meant that were issued before.
    pub revoked_file: Option<PathBuf>,
    /// The suite's own tokens, for guests and between services.
    pub internal: Internal,
    /// Hands out tokens to whoever asks on this machine (`/dev/token`). Only on loopback.
    pub development: bool,
}

/// The suite's own tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Internal {
    /// The private key that this process signs with: P-256, PEM. Its public half is trusted, and those of further keys in the
    /// file, which signed before.
    pub key_file: Option<PathBuf>,
    /// Public keys that the suite's own tokens may be signed with, too: a JWK set, or certificates or public keys in PEM.
    pub trusted_file: Option<PathBuf>,
    /// A file with a token that this process shows to other services instead of signing one, read again when it changes:
    /// Kubernetes' projected service account token. They have to trust its issuer.
    pub token_file: Option<PathBuf>,
}

/// One issuer; see [`IdentitySettings`] for what each means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is described where the first issuer's is")]
pub struct Provider {
    pub issuer: String,
    pub audience: String,
    pub jwks_url: String,
    pub jwks_file: Option<PathBuf>,
    pub secret: Secret,
    pub ca_file: Option<PathBuf>,
    pub jwks_token_file: Option<PathBuf>,
    pub roles_claim: String,
    pub roles: BTreeMap<String, Role>,
    pub user_claim: String,
    pub user_prefix: String,
    pub services: BTreeMap<String, String>,
    pub max_lifetime: Option<Duration>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            jwks_file: None,
            secret: Secret::default(),
            ca_file: None,
            jwks_token_file: None,
            roles_claim: "roles".to_owned(),
            roles: BTreeMap::new(),
            user_claim: "sub".to_owned(),
            user_prefix: String::new(),
            services: BTreeMap::new(),
            max_lifetime: None,
        }
    }
}

impl Default for IdentitySettings {
    fn default() -> Self {
        let one = Provider::default();
        Self {
            mode: Mode::Required,
            allow_anonymous: false,
            issuer: one.issuer,
            audience: one.audience,
            jwks_url: one.jwks_url,
            jwks_file: one.jwks_file,
            secret: one.secret,
            ca_file: one.ca_file,
            jwks_token_file: one.jwks_token_file,
            roles_claim: one.roles_claim,
            roles: one.roles,
            user_claim: one.user_claim,
            user_prefix: one.user_prefix,
            services: one.services,
            max_lifetime: one.max_lifetime,
            others: Vec::new(),
            leeway: Duration::secs(60),
            cooldown: Duration::secs(30),
            max_stale: Duration::secs(24 * 60 * 60),
            revoked_file: None,
            internal: Internal::default(),
            development: false,
        }
    }
}

impl IdentitySettings {
    /// For one's own machine: anybody may do anything.
    pub fn off() -> Self {
        Self { mode: Mode::Off, ..Self::default() }
    }

    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 9] {
        [
            Var::new("IDENTITY_MODE", "identity.mode", "required, or off: anybody may do anything, on loopback"),
            Var::new("IDENTITY_ISSUER", "identity.issuer", "who issues people's tokens (iss), to the letter"),
            Var::new("IDENTITY_AUDIENCE", "identity.audience", "what its tokens have to have in aud"),
            Var::new(
                "IDENTITY_JWKS_URL",
                "identity.jwks_url",
                "where its keys are; its discovery says when it is not set",
            ),
            Var::new("IDENTITY_JWKS_FILE", "identity.jwks_file", "a file with its keys instead"),
            Var::new("IDENTITY_ROLES_CLAIM", "identity.roles_claim", "where its tokens have roles: realm_access.roles"),
            Var::new("IDENTITY_KEY_FILE", "identity.internal.key_file", "the suite's own private key, P-256 in PEM"),
            Var::new(
                "IDENTITY_TRUSTED_FILE",
                "identity.internal.trusted_file",
                "public keys of the suite's other services",
            ),
            Var::new(
                "IDENTITY_TOKEN_FILE",
                "identity.internal.token_file",
                "a token to show to the suite's other services",
            ),
        ]
    }

    /// The issuers beside the suite itself.
    pub fn providers(&self) -> Vec<Provider> {
        let first = Provider {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            jwks_url: self.jwks_url.clone(),
            jwks_file: self.jwks_file.clone(),
            secret: self.secret.clone(),
            ca_file: self.ca_file.clone(),
            jwks_token_file: self.jwks_token_file.clone(),
            roles_claim: self.roles_claim.clone(),
            roles: self.roles.clone(),
            user_claim: self.user_claim.clone(),
            user_prefix: self.user_prefix.clone(),
            services: self.services.clone(),
            max_lifetime: self.max_lifetime,
        };
        let is_set = first.has_keys() || !first.audience.is_empty();
        is_set.then_some(first).into_iter().chain(self.others.iter().cloned()).collect()
    }

    /// Whether somebody said whose tokens are trusted.
    pub fn is_given(&self) -> bool {
        let Internal { key_file, trusted_file, token_file: _ } = &self.internal;
        !self.providers().is_empty() || key_file.is_some() || trusted_file.is_some()
    }

    /// Whether they are those of one's own machine: nobody said whose tokens are trusted, and nobody else reaches `listeners`.
    pub fn is_at_home(&self, listeners: &[(&str, SocketAddr)]) -> bool {
        self.mode == Mode::Required && !self.is_given() && open(listeners).is_none()
    }

    /// These, for one's own machine: the suite's own key is in `key_file`, and whoever asks gets tokens signed with it.
    #[must_use]
    pub fn at_home(&self, key_file: PathBuf) -> Self {
        let mut settings = Self { development: true, ..self.clone() };
        settings.internal.key_file = Some(key_file);
        settings
    }

    /// Finds wrong values. `listeners` are all that the process has, each by the key of its address.
    pub fn check(&self, listeners: &[(&str, SocketAddr)], problems: &mut Problems) {
        if let Some((key, addr)) = open(listeners) {
            let ip = addr.ip();
            problems.ensure(
                self.mode == Mode::Required || self.allow_anonymous,
                "identity.mode",
                format!(
                    "with off, anybody who reaches {ip} ({key}) may do anything: set identity.mode = required and say whose \
                     tokens are trusted, listen on 127.0.0.1, or set identity.allow_anonymous = true if that is meant"
                ),
            );
            problems.ensure(
                !self.development,
                "identity.development",
                format!(
                    "hands out any token to anybody who reaches {ip} ({key}): listen on 127.0.0.1, or leave it out"
                ),
            );
        }
        if self.mode == Mode::Off {
            return;
        }
        problems.ensure(
            self.is_given(),
            "identity.issuer",
            "say whose tokens are trusted: identity.issuer and identity.audience (IDENTITY_ISSUER, IDENTITY_AUDIENCE), or the \
             suite's own key in identity.internal.key_file (IDENTITY_KEY_FILE); or, on 127.0.0.1, identity.mode = off \
             (IDENTITY_MODE=off)",
        );
        self.check_values(problems);
    }

    /// Finds values that are wrong wherever the process listens.
    pub fn check_values(&self, problems: &mut Problems) {
        problems.within("identity", |p| self.check_inside(p));
    }

    fn check_inside(&self, p: &mut Problems) {
        let providers = self.providers();
        let first = usize::from(providers.len() > self.others.len());
        for (index, provider) in providers.iter().enumerate() {
            let at = |key: &str| match index.checked_sub(first) {
                None => key.to_owned(),
                Some(index) => format!("others.{index}.{key}"),
            };
            for (key, message) in provider.problems() {
                p.add(&at(key), message);
            }
            let twin = providers[..index].iter().find(|other| other.user_prefix == provider.user_prefix);
            p.ensure(
                twin.is_none(),
                &at("user_prefix"),
                "set one that no other issuer has: two of them may call two people the same",
            );
            let same = providers[..index].iter().any(|other| other.issuer == provider.issuer);
            p.ensure(!same, &at("issuer"), "is there twice");
        }
        let leeway = self.leeway.get().as_secs();
        p.ensure(leeway <= 600, "leeway", "use at most 10m: tokens that expired are good for so long");
        p.ensure(
            !self.development || self.internal.key_file.is_some(),
            "internal.key_file",
            "name the key that tokens handed out by identity.development are signed with",
        );
        p.ensure(!self.cooldown.is_zero(), "cooldown", "must be more than 0");
        let least = self.cooldown.get().saturating_mul(2).max(std::time::Duration::from_secs(2));
        p.ensure(
            self.max_stale.get() >= least,
            "max_stale",
            "use two cooldowns at least, and 2s: keys are asked for meanwhile",
        );
        if let Some(Err(error)) = self.revoked_file.as_deref().map(revoked::read) {
            p.add("revoked_file", error);
        }
        if let Some(Err(error)) = self.internal.key_file.as_deref().map(Signer::read) {
            p.add("internal.key_file", format!("{error:#}"));
        }
        if let Some(file) = self.internal.trusted_file.as_deref() {
            let read = shop_config::read_text(file).map_err(|error| format!("cannot be read: {error}"));
            if let Err(error) = read.and_then(|text| keys::of_file(&text)) {
                p.add("internal.trusted_file", error);
            }
        }
    }
}

impl Provider {
    fn has_keys(&self) -> bool {
        let named = [&self.issuer, &self.jwks_url].iter().any(|text| !text.is_empty());
        named || self.jwks_file.is_some() || !self.secret.is_empty()
    }

    /// What is wrong, and with which of the keys.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut ensure = |fine: bool, key, message: &str| {
            if !fine {
                found.push((key, message.to_owned()));
            }
        };
        ensure(
            !self.issuer.is_empty(),
            "issuer",
            "name it as its tokens do in iss (IDENTITY_ISSUER): others' tokens must not be taken for its own",
        );
        ensure(self.issuer != ISSUER, "issuer", "is what the suite calls itself; the issuer needs another name");
        ensure(
            !self.audience.is_empty(),
            "audience",
            "name what its tokens have in aud for this shop (IDENTITY_AUDIENCE): tokens for others must not be good here",
        );
        ensure(!self.roles_claim.is_empty(), "roles_claim", "name a claim, such as roles");
        ensure(!self.user_claim.is_empty(), "user_claim", "name a claim, such as sub");
        let kinds = [!self.jwks_url.is_empty(), self.jwks_file.is_some(), !self.secret.is_empty()];
        let many = kinds.into_iter().filter(|set| *set).count() > 1;
        ensure(!many, "jwks_url", "use one of jwks_url, jwks_file and secret");
        let short = !self.secret.is_empty() && self.secret.expose().len() < 32;
        ensure(!short, "secret", "use at least 32 bytes: shorter ones can be guessed from a token");
        if !self.jwks_url.is_empty() {
            ensure(is_safe(&self.jwks_url), "jwks_url", "use https://…; http:// only on loopback");
        } else if !self.issuer.is_empty() && self.jwks_file.is_none() && self.secret.is_empty() {
            let message = "is not an https:// address (http:// only on loopback) whose discovery document could be read; \
                           set jwks_url or jwks_file";
            ensure(is_safe(&self.issuer), "issuer", message);
        }
        if let Some(file) = &self.jwks_file {
            let read = shop_config::read_text(file).map_err(|error| format!("cannot be read: {error}"));
            if let Err(error) = read.and_then(|text| keys::of_set(text.as_bytes())) {
                ensure(false, "jwks_file", &error);
            }
        }
        found
    }
}

/// One of the listeners that others can reach.
fn open<'a>(listeners: &[(&'a str, SocketAddr)]) -> Option<(&'a str, SocketAddr)> {
    listeners.iter().copied().find(|(_, addr)| !addr.ip().to_canonical().is_loopback())
}

/// Whether what comes from there can be believed: nobody stands between, or nobody can change it.
pub(crate) fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return false,
    };
    url.username().is_empty()
        && url.password().is_none()
        && (url.scheme() == "https" || url.scheme() == "http" && is_here)
}
