//! What a service shows to another to be known.

use std::sync::Arc;

use http::HeaderValue;
use jsonwebtoken::get_current_timestamp;
use parking_lot::Mutex;
use shop_config::WatchedFile;

use crate::signer::{SERVICE_LIFETIME, Signer};

/// Seconds before its end at which a token is made anew: it has to outlive the call that it goes with.
const MARGIN: u64 = 20;
/// Seconds between two looks at a file.
const LOOK: u64 = 2;

/// What one service shows to one other. Clones share it.
#[derive(Clone, Default)]
pub struct Credential(Option<Arc<Shown>>);

struct Shown {
    source: Source,
    /// The value of `Authorization`, and until when it is good.
    last: Mutex<(Option<HeaderValue>, u64)>,
}

enum Source {
    Signer { signer: Arc<Signer>, name: &'static str, callee: &'static str },
    File { file: std::path::PathBuf, watched: WatchedFile },
}

impl Credential {
    /// Tokens signed by `signer` for the service `name` to show to `callee`.
    pub(crate) fn signed(signer: Arc<Signer>, name: &'static str, callee: &'static str) -> Self {
        Self::of(Source::Signer { signer, name, callee })
    }

    /// The token in a file.
    pub(crate) fn in_file(file: std::path::PathBuf) -> Self {
        let watched = WatchedFile::new(Some(file.clone()));
        Self::of(Source::File { file, watched })
    }

    /// Nothing to show.
    pub const fn none() -> Self {
        Self(None)
    }

    fn of(source: Source) -> Self {
        Self(Some(Arc::new(Shown { source, last: Mutex::new((None, 0)) })))
    }

    /// The value of `Authorization` now, if there is one to show.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let shown = self.0.as_ref()?;
        let now = get_current_timestamp();
        let mut last = shown.last.lock();
        // Clocks are also put back.
        if now >= last.1 || last.1 - now > SERVICE_LIFETIME.as_secs() {
            match &shown.source {
                Source::Signer { signer, name, callee } => {
                    *last = (bearer(&signer.service(name, callee)), now + SERVICE_LIFETIME.as_secs() - MARGIN);
                }
                Source::File { file, watched } => {
                    last.1 = now + LOOK;
                    if watched.look() {
                        match shop_config::read_text(file) {
                            Ok(token) => last.0 = bearer(token.trim()),
                            Err(error) => {
                                let file = file.display();
                                tracing::error!(%file, "the token to show stays as it was: {file} cannot be read: {error}");
                            }
                        }
                    }
                }
            }
        }
        last.0.clone()
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
