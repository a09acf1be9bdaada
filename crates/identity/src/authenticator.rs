//! From a token to whoever bears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use jsonwebtoken::{Algorithm, get_current_timestamp};
use shop_config::WatchedFile;
use tokio::time::sleep;

use crate::bearer::{bearer, is_compact_jws};
use crate::claims::Claims;
use crate::issuer::{Checked, Issuer};
use crate::memory::{Memory, Verified};
use crate::revoked::{self, Revoked};
use crate::settings::IdentitySettings;
use crate::signer::Signer;
use crate::{Principal, Refusal};

/// The longest name of a key.
const LONGEST_ID: usize = 256;
/// How often the list of revoked tokens is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Checks tokens, and remembers those that are good.
pub struct Authenticator {
    issuers: Vec<Issuer>,
    memory: Memory,
    /// Counts changes of keys: what was found good with others is checked again.
    generation: AtomicU64,
    revoked: ArcSwap<Revoked>,
    revoked_file: WatchedFile,
    settings: IdentitySettings,
}

/// What a token says of how it is signed.
struct Head {
    algorithm: Algorithm,
    id: Option<String>,
}

impl Head {
    /// Nothing for what is no access token or cannot be understood: what is there and of the wrong type is not absent.
    fn of(token: &str) -> Option<Self> {
        let (head, _) = token.split_once('.')?;
        let head: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
        let is_access_token = head.text("typ").ok()?.is_none_or(|typ| {
            let typ = typ.to_ascii_lowercase();
            matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
        });
        let id = head.text("kid").ok()?;
        let is_short = id.is_none_or(|id| (1..=LONGEST_ID).contains(&id.len()));
        let is_plain = ["crit", "enc", "zip"].iter().all(|name| !head.has(name));
        let algorithm = head.text("alg").ok()??.parse().ok()?;
        (is_access_token && is_short && is_plain).then(|| Self { algorithm, id: id.map(str::to_owned) })
    }
}

impl Authenticator {
    /// For the service `name`. Files are read; issuers are asked only by [`Authenticator::keep`].
    pub(crate) fn open(settings: &IdentitySettings, signer: Option<&Signer>, name: &str) -> anyhow::Result<Self> {
        crate::ring::install();
        let mut issuers = vec![Issuer::own(settings, signer, name)];
        for provider in settings.providers() {
            issuers.push(Issuer::other(&provider, settings)?);
        }
        let authenticator = Self {
            issuers,
            memory: Memory::default(),
            generation: AtomicU64::new(0),
            revoked: ArcSwap::default(),
            revoked_file: WatchedFile::new(settings.revoked_file.clone()),
            settings: settings.clone(),
        };
        authenticator.look();
        Ok(authenticator)
    }

    /// Whose token comes with a call; nobody's when there is none.
    pub async fn of(&self, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, Refusal> {
        match bearer(headers)? {
            None => Ok(None),
            Some(token) => self.found(token).await.map(Some),
        }
    }

    /// Whose a token is that came by another way than the header for it.
    pub async fn whose(&self, token: &str) -> Result<Arc<Principal>, Refusal> {
        if is_compact_jws(token) { self.found(token).await } else { Err(Refusal::Invalid) }
    }

    async fn found(&self, token: &str) -> Result<Arc<Principal>, Refusal> {
        match self.known(token) {
            Some(principal) => Ok(principal),
            None => self.check(token).await,
        }
    }

    /// Whose token this is, if that was found out before and still holds.
    pub fn known(&self, token: &str) -> Option<Arc<Principal>> {
        let hash = self.memory.hash(token);
        let verified = self.memory.get(hash)?;
        if self.holds(&verified) {
            return Some(verified.principal.clone());
        }
        self.memory.forget(hash);
        None
    }

    /// Whose token this is. Waits, for at most five seconds, when its issuer has to be asked for the key.
    pub async fn check(&self, token: &str) -> Result<Arc<Principal>, Refusal> {
        // Read before the keys are: what changes meanwhile makes this one check for nothing, and no more.
        let generation = self.generation.load(Ordering::Acquire);
        let head = Head::of(token).ok_or(Refusal::Invalid)?;
        // Only to know whose keys to check it with.
        let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(token).map_err(|_| Refusal::Invalid)?;
        let name = claims.text("iss")?.ok_or(Refusal::Invalid)?;
        let (index, issuer) =
            self.issuers.iter().enumerate().find(|(_, issuer)| issuer.name() == name).ok_or(Refusal::Invalid)?;
        let Checked { principal, id, issued, expires } =
            issuer.check(token, head.algorithm, head.id.as_deref()).await?;
        let principal = Arc::new(principal);
        let verified = Verified { principal: principal.clone(), id, issued, expires, generation, issuer: index };
        if self.is_revoked(&verified) {
            return Err(Refusal::Invalid);
        }
        self.memory.put(self.memory.hash(token), Arc::new(verified));
        Ok(principal)
    }

    fn holds(&self, verified: &Verified) -> bool {
        verified.generation == self.generation.load(Ordering::Acquire)
            && get_current_timestamp() < verified.expires
            && self.issuers[verified.issuer].has_keys()
            && !self.is_revoked(verified)
    }

    fn is_revoked(&self, verified: &Verified) -> bool {
        let revoked = self.revoked.load();
        !revoked.is_empty() && revoked.has(verified.id.as_deref(), &verified.principal.subject, verified.issued)
    }

    /// Whether tokens of every issuer can be checked.
    pub fn is_ready(&self) -> bool {
        self.issuers.iter().all(Issuer::has_keys)
    }

    /// The name of an issuer whose tokens cannot be checked.
    pub fn missing(&self) -> Option<&str> {
        self.issuers.iter().find(|issuer| !issuer.has_keys()).map(Issuer::name)
    }

    /// Reads the list of revoked tokens again if it changed. One that cannot be read changes nothing, and is said once.
    fn look(&self) {
        if let Some(file) = self.settings.revoked_file.as_deref().filter(|_| self.revoked_file.look()) {
            match revoked::read(file) {
                Ok(revoked) => self.revoked.store(revoked.into()),
                Err(error) => {
                    tracing::error!(error, "the revoked tokens stay as they were: identity.revoked_file {error}");
                }
            }
        }
    }

    /// Keeps keys and lists as issuers and files have them, for ever.
    pub async fn keep(&self) {
        let changed = || {
            self.generation.fetch_add(1, Ordering::AcqRel);
        };
        let issuers = self.issuers.iter().map(|issuer| Box::pin(issuer.keep(changed)));
        let list = async {
            loop {
                sleep(LOOK).await;
                self.look();
            }
        };
        tokio::join!(futures_util::future::join_all(issuers), list);
    }
}
