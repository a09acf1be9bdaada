//! Takes what the page needs of Swagger UI out of the archive in which its crate has it, compressed as it is there: an
//! entry of a ZIP archive and a gzip file hold the same stream (RFC 1951), with other words around it (RFC 1952). So
//! nothing is compressed at build time, and no library for archives is built.

use std::{env, error::Error, fs, path::PathBuf};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ARCHIVE;

/// Files of the archive, below its top folder, and the names they get.
const FILES: [(&str, &str); 2] =
    [("dist/swagger-ui-bundle.js", "swagger-ui.js.gz"), ("dist/swagger-ui.css", "swagger-ui.css.gz")];

/// The method of an entry that is compressed with DEFLATE.
const DEFLATE: u16 = 8;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write by environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for (wanted, name) in FILES {
        let found = entry(wanted).ok_or_else(|| format!("the archive of Swagger UI has no {wanted} in DEFLATE"))?;
        fs::write(out.join(name), found)?;
    }
    Ok(())
}

/// The entry with this path, as a gzip file.
fn entry(wanted: &str) -> Option<Vec<u8>> {
    // The directory is at the end, and its own end, of 22 bytes, says where it begins; the comment may follow.
    let end = (0..=ARCHIVE.len().checked_sub(22)?).rev().find(|at| ARCHIVE[*at..].starts_with(b"PK\x05\x06"))?;
    let mut at = word(end + 16)?;
    for _ in 0..half(end + 10)? {
        let name = ARCHIVE.get(at + 46..at + 46 + usize::from(half(at + 28)?))?;
        let below_top = name.splitn(2, |byte| *byte == b'/').nth(1);
        if below_top == Some(wanted.as_bytes()) && half(at + 10)? == DEFLATE {
            let (check, packed, size, head) = (at + 16, word(at + 20)?, at + 24, word(at + 42)?);
            let data = head + 30 + usize::from(half(head + 26)?) + usize::from(half(head + 28)?);
            // No name, no time, system unknown: the same bytes in every build.
            let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
            file.extend_from_slice(ARCHIVE.get(data..data + packed)?);
            file.extend_from_slice(ARCHIVE.get(check..check + 4)?);
            file.extend_from_slice(ARCHIVE.get(size..size + 4)?);
            return Some(file);
        }
        at += 46 + usize::from(half(at + 28)?) + usize::from(half(at + 30)?) + usize::from(half(at + 32)?);
    }
    None
}

fn half(at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(ARCHIVE.get(at..at + 2)?.try_into().ok()?))
}

fn word(at: usize) -> Option<usize> {
    let bytes = ARCHIVE.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}
