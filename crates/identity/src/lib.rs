//! Who calls, and what he may do.
//!
//! A bearer token (RFC 6750) in the form of a JWT (RFC 7519, RFC 9068) says who calls. [`Authenticator`] checks it with the
//! keys of the issuers that [`IdentitySettings`] trust, the suite's own among them, and tells the [`Principal`]. A service
//! has a table of [`Rule`]s, one for each operation over HTTP and gRPC; [`Guard`] finds the row and decides, and the handler
//! gets a [`Caller`], who reaches everything, his own, or nothing. No other header says anything of who calls.
//!
//! Between services a [`Credential`] is shown: a short token that the [`Signer`] of the process signs, or one from a file.
//!
//! ```
//! use shop_identity::{Access, Identity, IdentitySettings, Mode, Rule, Signer};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! const RULES: &[Rule] = &[Rule::new("GET /baskets/{user_id}", "", Access::Owner(&[]))];
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("key.pem");
//! std::fs::write(&file, Signer::generate()?)?;
//! let mut settings = IdentitySettings { mode: Mode::Required, ..IdentitySettings::default() };
//! settings.internal.key_file = Some(file);
//!
//! let identity = Identity::open(&settings, "basket")?;
//! let guard = identity.guard(RULES);
//! let token = identity.signer().expect("a key").person("ada", &[], std::time::Duration::from_secs(60));
//! let headers = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {token}").parse()?)]);
//! let caller = guard.admit(guard.http("GET", "/baskets/{user_id}"), &headers).await?;
//! assert!(caller.reaches("ada") && !caller.reaches("grace"));
//! # anyhow::Ok(()) })?;
//! # Ok::<_, anyhow::Error>(())
//! ```

mod access;
mod audit;
mod authenticator;
mod bearer;
mod claims;
mod command;
mod credential;
mod fetch;
mod guard;
mod guest;
mod issuer;
mod keys;
mod memory;
mod principal;
mod refusal;
mod revoked;
mod ring;
mod settings;
mod signer;

pub use access::{Access, Caller, ME, Rule, Who, decide};
pub use audit::Audit;
pub use authenticator::Authenticator;
pub use bearer::{bearer, bearer_of};
pub use command::{Command, TokenFlags};
pub use credential::Credential;
pub use guard::Guard;
pub use guest::is_guest;
pub use principal::{Kind, Principal, Role, Roles};
pub use refusal::Refusal;
pub use settings::{IdentitySettings, Internal, Mode, Provider};
pub use signer::{AUDIENCE, GUEST_LIFETIME, Guest, ISSUER, Signer, make_once};

use std::sync::Arc;

use shop_runtime::{CancellationToken, Health};

/// Who calls a process and how it is known to others. Clones share it.
#[derive(Clone)]
pub struct Identity {
    /// None where anybody may do anything.
    authenticator: Option<Arc<Authenticator>>,
    signer: Option<Arc<Signer>>,
    token_file: Option<std::path::PathBuf>,
    name: &'static str,
}

impl Identity {
    /// Of the service `name`, such as `basket`. Reads keys from files; issuers are asked for theirs by [`Identity::run`].
    pub fn open(settings: &IdentitySettings, name: &'static str) -> anyhow::Result<Self> {
        if settings.mode == Mode::Off {
            return Ok(Self { authenticator: None, signer: None, token_file: None, name });
        }
        let signer = settings.internal.key_file.as_deref().map(Signer::read).transpose()?.map(Arc::new);
        let authenticator = Authenticator::open(settings, signer.as_deref(), name)?;
        let token_file = settings.internal.token_file.clone();
        Ok(Self { authenticator: Some(Arc::new(authenticator)), signer, token_file, name })
    }

    /// What lets callers in by these rules.
    pub fn guard(&self, rules: &'static [Rule]) -> Guard {
        Guard::new(self.authenticator.clone(), rules)
    }

    /// What checks tokens; none where anybody may do anything.
    pub fn authenticator(&self) -> Option<&Arc<Authenticator>> {
        self.authenticator.as_ref()
    }

    /// What signs the suite's own tokens, where the key is.
    pub fn signer(&self) -> Option<&Arc<Signer>> {
        self.signer.as_ref()
    }

    /// What this process shows to the service `callee`.
    pub fn credential(&self, callee: &'static str) -> Credential {
        match (&self.token_file, &self.signer) {
            (Some(file), _) => Credential::in_file(file.clone()),
            (None, Some(signer)) => Credential::signed(signer.clone(), self.name, callee),
            (None, None) => Credential::none(),
        }
    }

    /// Tells probes which issuer's keys cannot be had. Work is taken all the same: what asks for no token goes on.
    pub fn watch(&self, health: &Health) {
        let Some(authenticator) = self.authenticator.clone() else { return };
        health.check_optional("identity", move || {
            let missing = authenticator.missing().map(|issuer| format!("the keys of {issuer} cannot be had"));
            async move { missing.map_or(Ok(()), Err) }
        });
    }

    /// Keeps keys and lists as issuers and files have them, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if let Some(authenticator) = self.authenticator {
            stop.run_until_cancelled(authenticator.keep()).await;
        }
    }
}
