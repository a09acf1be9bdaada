//! Tokens of the suite's own issuer, and what it takes to check one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use shop_identity::{Identity, IdentitySettings, Internal, Mode, Role, Signer};

/// Longer than any measurement takes.
const LIFETIME: Duration = Duration::from_hours(24);

/// The key that tokens are signed with.
pub(crate) fn key_file(dir: &Path) -> PathBuf {
    dir.join("key.pem")
}

/// A token that is good by a new key in `dir`.
pub(crate) fn make(dir: &Path) -> anyhow::Result<String> {
    Ok(signer(dir)?.person("ada", &[Role::Support], LIFETIME))
}

fn signer(dir: &Path) -> anyhow::Result<Signer> {
    std::fs::write(key_file(dir), Signer::generate()?)?;
    Signer::read(&key_file(dir))
}

/// Prints how long it takes to check a token that is new, and one that is known.
#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
pub(crate) async fn measure(count: usize) -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("shop-bench-tokens-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let signer = signer(&dir)?;
    let internal = Internal { key_file: Some(key_file(&dir)), ..Internal::default() };
    let identity =
        Identity::open(&IdentitySettings { mode: Mode::Required, internal, ..IdentitySettings::default() }, "gateway")?;
    std::fs::remove_dir_all(&dir)?;
    let authenticator = identity.authenticator().context("identity is on")?;
    let tokens: Vec<_> = (0..count).map(|number| signer.person(&format!("user{number}"), &[], LIFETIME)).collect();
    let first = tokens.first().context("none")?;

    let began = Instant::now();
    for token in &tokens {
        authenticator.check(token).await?;
    }
    let fresh = each(began, count);
    let began = Instant::now();
    let known = tokens.iter().filter(|token| authenticator.known(token).is_some()).count();
    let among = each(began, count);
    ensure!(known > count / 2, "{known} of {count} are remembered");
    authenticator.check(first).await?;
    let began = Instant::now();
    ensure!((0..count).all(|_| authenticator.known(first).is_some()), "it is known");
    let size = first.len();
    println!(
        "ES256, {size} bytes, us a token: new {fresh:.1}, known among {known} {among:.2}, always the same {:.2}",
        each(began, count)
    );
    Ok(())
}

/// Microseconds.
fn each(began: Instant, count: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / count as f64
}
