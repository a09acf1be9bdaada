//! Who shoppers are to the shop, and who fills its shelves: tokens, from the suite's own key or from the gateway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use parking_lot::Mutex;
use serde::Deserialize;
use shop_clock::{Clock as _, SystemClock};
use shop_identity::{IdentitySettings, Mode, Role, Signer};

use super::calls::Http;

/// How long tokens are good that are made here, and how old one is that is asked for anew.
const LIFETIME: Duration = Duration::from_hours(1);
const OLD: Duration = Duration::from_mins(30);
/// Nobody waits longer for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who fills shelves and pays back.
const STAFF: (&str, [Role; 2]) = ("demo-staff", [Role::Catalogue, Role::Support]);

/// What somebody shows of himself; nothing where nobody asks.
#[derive(Clone, Default)]
pub(super) struct Pass(pub(super) Option<Arc<str>>);

/// Where tokens come from.
pub struct Tokens {
    source: Source,
    staff: Mutex<Option<(Instant, Pass)>>,
}

enum Source {
    /// Nobody asks for any.
    None,
    Key(Signer),
    /// The shop's guests have one each; staff have some only where the gateway hands them out.
    Gateway(Http, String),
}

#[derive(Deserialize)]
struct Guest {
    user_id: String,
    access_token: String,
}

impl Tokens {
    /// Those that a suite with these settings takes.
    pub fn of(settings: &IdentitySettings) -> anyhow::Result<Self> {
        Ok(Self::from(match (&settings.internal.key_file, settings.mode) {
            (_, Mode::Off) => Source::None,
            (Some(file), Mode::Required) => Source::Key(Signer::read(file)?),
            (None, Mode::Required) => anyhow::bail!(
                "the demo signs its shoppers' tokens with the suite's own key: set identity.internal.key_file \
                 (IDENTITY_KEY_FILE) or identity.mode = off (IDENTITY_MODE=off)"
            ),
        }))
    }

    /// Those that the gateway there hands out; none where nobody is asked for one.
    pub(super) async fn at(gateway: &str) -> Self {
        let http = Http::new(PATIENCE);
        let guest = guest(&http, gateway).await;
        // Where nobody is asked, the token is the name.
        let is_asked = guest.is_some_and(|guest| guest.access_token != guest.user_id);
        Self::from(if is_asked { Source::Gateway(http, gateway.to_owned()) } else { Source::None })
    }

    fn from(source: Source) -> Self {
        Self { source, staff: Mutex::default() }
    }

    /// Somebody new: his name, and what proves it. None when the shop takes nobody in at the moment.
    pub(super) async fn shopper(&self) -> Option<(String, Pass)> {
        let name = || format!("demo-{}", SystemClock.new_id().simple());
        match &self.source {
            Source::None => Some((name(), Pass::default())),
            Source::Key(signer) => {
                let name = name();
                let token = signer.person(&name, &[], LIFETIME);
                Some((name, Pass(Some(token.into()))))
            }
            Source::Gateway(http, gateway) => {
                let guest = guest(http, gateway).await?;
                Some((guest.user_id, Pass(Some(guest.access_token.into()))))
            }
        }
    }

    /// What staff show. None where there is none to be had: shelves stay as they are, and nothing is paid back.
    pub(super) async fn staff(&self) -> Option<Pass> {
        if let Some((at, pass)) = &*self.staff.lock()
            && at.elapsed() < OLD
        {
            return Some(pass.clone());
        }
        let (name, roles) = STAFF;
        let pass = Pass(match &self.source {
            Source::None => None,
            Source::Key(signer) => Some(signer.person(name, &roles, LIFETIME).into()),
            Source::Gateway(http, gateway) => {
                let roles = roles.map(|role| format!("&role={role}")).concat();
                let url = format!("{gateway}/dev/token?user={name}{roles}");
                let token = call(http, Method::GET, url).await?;
                Some(String::from_utf8_lossy(&token).trim().into())
            }
        });
        *self.staff.lock() = Some((Instant::now(), pass.clone()));
        Some(pass)
    }

    /// Whether what was shown since `at` should be shown no longer.
    pub(super) fn is_old(at: Instant) -> bool {
        at.elapsed() > OLD
    }
}

async fn guest(http: &Http, gateway: &str) -> Option<Guest> {
    serde_json::from_slice(&call(http, Method::POST, format!("{gateway}/api/guests")).await?).ok()
}

/// The body of a good answer.
async fn call(http: &Http, method: Method, url: String) -> Option<Bytes> {
    let answer = http.send(Request::builder().method(method).uri(url), "").await.ok()?;
    answer.status().is_success().then(|| answer.into_body())
}
