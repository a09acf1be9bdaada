//! Secrets at rest: sealed with AES-256-GCM by the first key of a file, opened by any key in it.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;

use crate::config::SecretsSettings;

/// How everything begins that is sealed in this way. No secret does that is not.
const VERSION: &str = "v1.";

/// A key, and the name by which what it sealed asks for it.
struct Key {
    name: String,
    key: LessSafeKey,
}

/// The keys of the file, the present one first; without any, secrets are kept as they are.
///
/// What is sealed reads `v1.NAME.BASE64`: the name of the key, then nonce, text and tag. The nonce is random, which is safe for
/// some 2^32 texts a key (NIST SP 800-38D, 8.3). The endpoint's id is authenticated with it: a secret moved to another row is
/// none.
pub(super) struct Seals {
    keys: Vec<Key>,
    chance: SystemRandom,
}

impl Seals {
    /// The keys that the settings name.
    pub(super) fn given(secrets: &SecretsSettings) -> anyhow::Result<Self> {
        let read = |file: &Path| Self::read(file).context("secrets.key_file (SECRETS_KEY_FILE)");
        secrets.key_file.as_deref().map_or_else(|| Ok(Self { keys: Vec::new(), chance: SystemRandom::new() }), read)
    }

    /// The keys that the settings name; else one beside the store in the file `database`, made when it is not there.
    pub(super) fn given_or_made(secrets: &SecretsSettings, database: &Path) -> anyhow::Result<Self> {
        if secrets.key_file.is_some() {
            return Self::given(secrets);
        }
        let file = database.with_file_name("secrets.key");
        shop_identity::make_once(&file, || Ok(format!("{}\n", STANDARD.encode(random::<32>()?))))?;
        Self::read(&file)
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = shop_config::read_text(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} has no good keys", file.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(Key::parse).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!keys.is_empty(), "there is no key in it: write one with `openssl rand -base64 32`");
        Ok(Self { keys, chance: SystemRandom::new() })
    }

    /// How everything begins that the present key sealed; none where nothing is sealed.
    pub(super) fn begin(&self) -> Option<String> {
        self.keys.first().map(|key| format!("{VERSION}{}.", key.name))
    }

    /// `text`, a secret of the endpoint `id`, as it is kept.
    pub(super) fn seal(&self, id: Uuid, text: &str) -> anyhow::Result<String> {
        let (Some(begin), Some(key)) = (self.begin(), self.keys.first()) else { return Ok(text.to_owned()) };
        let mut nonce = [0; NONCE_LEN];
        self.chance.fill(&mut nonce).map_err(|_| anyhow::anyhow!("there is no chance to be had"))?;
        let mut sealed = text.as_bytes().to_vec();
        let nonced = Nonce::assume_unique_for_key(nonce);
        let done = key.key.seal_in_place_append_tag(nonced, Aad::from(id.as_bytes()), &mut sealed);
        done.map_err(|_| anyhow::anyhow!("the secret cannot be sealed"))?;
        Ok(begin + &URL_SAFE_NO_PAD.encode([&nonce, sealed.as_slice()].concat()))
    }

    /// The secret of the endpoint `id` that is kept as `kept`; one that was never sealed is itself.
    pub(super) fn open(&self, id: Uuid, kept: &str) -> anyhow::Result<String> {
        let Some(sealed) = kept.strip_prefix(VERSION) else { return Ok(kept.to_owned()) };
        let (name, sealed) = sealed.split_once('.').context("a sealed secret is cut short")?;
        let Some(key) = self.keys.iter().find(|key| key.name == name) else {
            bail!(
                "the secret of webhook endpoint {id} is sealed with key {name}, which is not among the keys of \
                 secrets.key_file (SECRETS_KEY_FILE): put its line back"
            );
        };
        let broken = || format!("the sealed secret of webhook endpoint {id} was changed by others");
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).with_context(broken)?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>().with_context(broken)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.key.open_in_place(nonce, Aad::from(id.as_bytes()), sealed);
        let opened = opened.ok().with_context(broken)?;
        String::from_utf8(opened.to_vec()).with_context(broken)
    }

    /// Says in the log how secrets lie now, after `stale` endpoints had some that were sealed otherwise or not at all.
    pub(super) fn tell(&self, stale: usize) {
        let Some(key) = self.keys.first() else {
            tracing::warn!(
                "secrets of webhooks lie in the store as they are: name a file with a key in secrets.key_file \
                 (SECRETS_KEY_FILE), made with `openssl rand -base64 32`"
            );
            return;
        };
        if stale > 0 || self.keys.len() > 1 {
            tracing::info!(
                sealed = stale,
                "every webhook secret is sealed with key {}: other lines of secrets.key_file may go once every replica \
                 has this one first",
                key.name
            );
        }
    }
}

impl Key {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let help = "a line is not the base64 of 32 bytes, as `openssl rand -base64 32` makes them";
        let bytes = STANDARD.decode(line).ok().filter(|bytes| bytes.len() == AES_256_GCM.key_len()).context(help)?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| anyhow::anyhow!(help))?;
        let hash = digest(&SHA256, &[b"shop key name\0".as_slice(), &bytes].concat());
        let name = hash.as_ref().iter().take(4).fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
        Ok(Self { name, key: LessSafeKey::new(key) })
    }
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("there is no chance to be had"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seals(keys: &[u8]) -> Seals {
        let lines: Vec<_> = keys.iter().map(|key| STANDARD.encode([*key; 32])).collect();
        Seals::parse(&format!("# ours\n\n{}\n", lines.join("\n"))).expect("keys")
    }

    #[test]
    fn what_one_key_sealed_is_opened_while_its_line_is_there() {
        let id = Uuid::from_u128(7);
        let sealed = seals(&[1]).seal(id, "whsec_x").expect("is sealed");
        assert!(!sealed.contains("whsec_"));
        assert_ne!(sealed, seals(&[1]).seal(id, "whsec_x").expect("is sealed"), "no nonce twice");
        assert_eq!(seals(&[2, 1]).open(id, &sealed).expect("is opened"), "whsec_x");
        assert!(sealed.starts_with(&seals(&[1, 2]).begin().expect("a key")));
        let gone = seals(&[2]).open(id, &sealed).expect_err("its line is gone").to_string();
        assert!(gone.contains("secrets.key_file") && gone.contains("put its line back"), "{gone}");
    }

    #[test]
    fn a_secret_of_another_row_or_one_that_was_changed_is_refused() {
        let (id, seals) = (Uuid::from_u128(7), seals(&[1]));
        let sealed = seals.seal(id, "whsec_x").expect("is sealed");
        assert!(seals.open(Uuid::from_u128(8), &sealed).is_err(), "it is another endpoint's");
        let (begin, end) = sealed.split_at(sealed.len() - 2);
        for changed in [format!("{begin}{}", if end == "AA" { "BA" } else { "AA" }), begin.to_owned(), "v1.".to_owned()]
        {
            assert!(seals.open(id, &changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn what_was_never_sealed_is_read_as_it_is() {
        assert_eq!(seals(&[1]).open(Uuid::nil(), "whsec_x").expect("is read"), "whsec_x");
    }

    #[test]
    fn a_file_without_good_keys_is_refused_in_words() {
        for text in ["", "# none\n", "hunter2", &STANDARD.encode([1; 16])] {
            let refused = Seals::parse(text).err().expect("is refused");
            assert!(format!("{refused:#}").contains("openssl rand -base64 32"), "{refused:#}");
        }
    }
}
