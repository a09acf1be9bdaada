//! The codes of docs/api.md are those of the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect("the page")
}

/// The production text of the services and of what they share, without their tests.
fn sources() -> String {
    let mut text = String::new();
    let folders = ["crates", "services"].map(|folder| root().join(folder));
    for package in folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("packages")) {
        let package = package.expect("a package").path();
        // The crate of tests makes up codes, and these ones are the gateway's, which has a page of its own.
        let is_foreign =
            ["testing", "balance", "browser", "discovery", "http1", "limit"].iter().any(|name| package.ends_with(name));
        if !is_foreign {
            read(&package.join("src"), &mut text);
        }
    }
    text
}

fn read(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("sources") {
        let path = entry.expect("a file").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !["tests", "contract"].contains(&name) {
            read(&path, text);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !["tests", "contract", "samples"].contains(&name)
        {
            let source = std::fs::read_to_string(&path).expect("a file");
            // Tests stand at the end of their file.
            text.push_str(source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
        }
    }
}

/// The text that follows each `begin` and is in quotes, when it is the argument after `skip` others.
fn arguments<'a>(sources: &'a str, begin: &'a str, skip: usize) -> impl Iterator<Item = &'a str> {
    sources.split(begin).skip(1).filter_map(move |call| {
        let argument = call.splitn(skip + 2, ',').nth(skip)?.trim();
        argument.strip_prefix('"')?.split('"').next().filter(|code| is_code(code))
    })
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The names in the first column of the table below `heading`.
fn first_column(page: &str, heading: &str) -> BTreeSet<String> {
    let table = page.split(&format!("\n{heading}\n")).nth(1).expect(heading);
    let table = table.split("\n#").next().unwrap_or_default();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_code_is_on_the_page_and_every_code_on_the_page_is_one() {
    let (sources, page) = (sources(), page("docs/api.md"));
    let known = first_column(&page, "## Codes");
    let made = arguments(&sources, "Fault::new(", 1).collect::<BTreeSet<_>>();
    let missing: Vec<_> = made.iter().filter(|code| !known.contains(**code)).collect();
    assert!(missing.is_empty(), "these have no row in docs/api.md: {missing:?}");

    let composed = ["_service_unavailable", "_failed"];
    let is_made = |code: &&String| {
        made.contains(code.as_str())
            || sources.contains(&format!("\"{code}\""))
            || composed.iter().any(|end| code.ends_with(end) && sources.contains(&format!("{{name}}{end}")))
    };
    let gone: Vec<_> = known.iter().filter(|code| !is_made(code)).collect();
    assert!(gone.is_empty(), "nothing makes these: {gone:?}");
}

#[test]
fn every_code_of_a_domains_error_is_on_the_page() {
    let page = page("docs/api.md");
    let known = first_column(&page, "## Codes");
    for service in ["product", "basket", "payment", "notification"] {
        let path = root().join("services").join(service).join("src/domain/error.rs");
        let source = std::fs::read_to_string(path).expect("the errors");
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        let arms = source.lines().filter_map(|line| line.split_once("=>"));
        let quoted = arms.flat_map(|(_, code)| code.split('"').skip(1).step_by(2));
        let codes = quoted.filter(|text| is_code(text) && text.contains('_'));
        let missing: Vec<_> = codes.filter(|code| !known.contains(*code)).collect();
        assert!(missing.is_empty(), "{service}: these have no row in docs/api.md: {missing:?}");
    }
}

#[test]
fn every_code_of_a_field_is_on_the_page() {
    let (sources, page) = (sources(), page("docs/api.md"));
    let known = first_column(&page, "### Fields");
    let made: BTreeSet<_> =
        arguments(&sources, "FieldError::new(", 1).chain(arguments(&sources, ".refuse(", 1)).collect();
    let own = first_column(&page, "## Codes");
    let missing: Vec<_> = made.iter().filter(|code| !known.contains(**code) && !own.contains(**code)).collect();
    assert!(missing.is_empty(), "these have no row in docs/api.md: {missing:?}");
    let gone: Vec<_> = known.iter().filter(|code| !sources.contains(&format!("\"{code}\""))).collect();
    assert!(gone.is_empty(), "nothing makes these: {gone:?}");
}
