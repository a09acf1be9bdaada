//! What pages name is there: files, headings, parts, types.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{file, root};

/// Folders whose pages are read.
const FOLDERS: [&str; 5] = [".", "bench", "docs", "docs/decisions", "k8s/obs-tools-usage"];

/// From where the recipes of CONTRIBUTING.md name files.
const BELOW: [&str; 6] =
    ["", "gateway", "gateway/src", "k8s/obs-tools-usage", "services/basket", "services/basket/src"];

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn pages() -> Vec<(String, String)> {
    let files = FOLDERS.iter().flat_map(|folder| entries(&root().join(folder)));
    let pages = files.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let named = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("in the checkout").display().to_string();
        (name.clone(), file(&name))
    };
    pages.map(named).collect()
}

/// The page without its examples.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect::<Vec<_>>().concat()
}

/// What stands between backticks.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn has_anchor(page: &str, wanted: &str) -> bool {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    headings.map(anchor).any(|found| found == wanted)
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (name, page) in pages() {
        let folder = root().join(&name).parent().expect("a folder").to_owned();
        let prose = prose(&page);
        let links = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        let sources =
            ["src=\"", "srcset=\""].map(|attribute| prose.split(attribute).skip(1).collect::<Vec<_>>()).concat();
        let pictures = sources.iter().filter_map(|rest| rest.split('"').next());
        for link in links.chain(pictures).filter(|link| !link.contains("://") && !link.contains(' ')) {
            let (path, wanted) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(&name) } else { folder.join(path) };
            let found =
                wanted.is_empty() || std::fs::read_to_string(&target).is_ok_and(|page| has_anchor(&page, wanted));
            if !target.exists() || !found {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn files_of_the_recipes_are_there() {
    let page = prose(&file("CONTRIBUTING.md"));
    let kinds = ["rs", "proto", "md", "tpl", "nix", "yaml", "toml", "sh", "json", "txt", "lua", "sql"];
    let is_path = |word: &&str| {
        let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
        let kind = Path::new(word).extension().and_then(|kind| kind.to_str());
        plain
            && !word.starts_with(['.', '/'])
            && (word.ends_with('/') || kind.is_some_and(|kind| kinds.contains(&kind)))
    };
    let is_there = |word: &&str| BELOW.iter().any(|folder| root().join(folder).join(word).exists());
    // What is to be made, and what a name stands for.
    let missing: Vec<_> = quoted(&page)
        .filter(is_path)
        .filter(|word| !["domain/note.rs", "note.rs", "foo.rs", "foo/", "mod.rs"].contains(word))
        .filter(|word| !is_there(word))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// The names of all crates but those of benchmarks and fuzzing.
fn crates() -> BTreeSet<String> {
    let folders = ["crates", "gateway", "services"].map(|folder| root().join(folder));
    let inner =
        folders.iter().flat_map(|folder| entries(folder)).chain(["gateway", "proto"].map(|one| root().join(one)));
    let manifests = inner.filter(|folder| !folder.ends_with("fuzz")).map(|folder| folder.join("Cargo.toml"));
    let texts = manifests.filter_map(|manifest| std::fs::read_to_string(manifest).ok());
    let name = |text: String| {
        text.lines().find_map(|line| line.strip_prefix("name = ").map(|name| name.trim_matches('"').to_owned()))
    };
    texts.map(|text| name(text).expect("a name")).collect()
}

#[test]
fn every_crate_has_its_sentence_and_no_other() {
    let page = file("docs/architecture.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let told: BTreeSet<_> = rows
        .filter(|(name, _)| *name == "shop" || name.starts_with("shop-"))
        .map(|(name, _)| name.to_owned())
        .collect();
    let crates = crates();
    assert_eq!(crates.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "not in docs/architecture.md");
    assert_eq!(
        told.difference(&crates).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "in docs/architecture.md, but not there"
    );
}

/// All Rust of the workspace, but for what is built.
fn sources() -> String {
    fn read(folder: &Path, all: &mut String) {
        for path in entries(folder) {
            if path.is_dir() && !path.ends_with("target") {
                read(&path, all);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                all.push_str(&std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    let mut all = String::new();
    for folder in ["crates", "gateway", "proto", "services"] {
        read(&root().join(folder), &mut all);
    }
    all
}

#[test]
fn words_name_what_there_is() {
    let page = file("docs/words.md");
    let words: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| **")?.split_once("**")).collect();
    assert!((20..=40).contains(&words.len()), "{} words", words.len());
    let mut sorted: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    sorted.sort_by_key(|word| word.to_lowercase());
    assert_eq!(sorted, words.iter().map(|(word, _)| *word).collect::<Vec<_>>(), "in order");

    let sources = sources();
    let mut missing = BTreeSet::new();
    for (word, row) in words {
        let (_, where_) = row.rsplit_once(" | ").expect("a column of where");
        for name in quoted(where_) {
            let found = if name.contains('/') {
                root().join(name).exists()
            } else {
                let name = name.rsplit("::").next().unwrap_or(name);
                ["struct", "enum", "trait", "type", "fn", "const"].iter().any(|kind| {
                    sources.match_indices(&format!("{kind} {name}")).any(|(at, text)| {
                        let next = sources[at + text.len()..].chars().next();
                        next.is_some_and(|next| !next.is_alphanumeric() && next != '_')
                    })
                })
            };
            if !found {
                missing.insert(format!("{word}: {name}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn a_decision_has_a_number_of_its_own() {
    let mut numbers = BTreeSet::new();
    for path in entries(&root().join("docs/decisions")) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let (number, _) = name.split_once('-').unwrap_or_else(|| panic!("{name} has no number"));
        assert!(number.len() == 4 && number.parse::<u16>().is_ok(), "{name}");
        assert!(numbers.insert(number.to_owned()), "{number} is there twice");
    }
}
