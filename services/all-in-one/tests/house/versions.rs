//! One version, in `Cargo.toml`; where it is written once more it is the same.

use crate::file;

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn the_chart_has_the_version_of_the_programs() {
    let chart = file("k8s/obs-tools-usage/Chart.yaml");
    for key in ["version", "appVersion"] {
        let said =
            chart.lines().find_map(|line| line.strip_prefix(&format!("{key}: "))).map(|said| said.trim_matches('"'));
        assert_eq!(said, Some(VERSION), "{key} of Chart.yaml");
    }
}

#[test]
fn the_newest_release_of_the_changelog_is_this_version_below_what_is_not_released() {
    let log = file("CHANGELOG.md");
    let mut heads = log.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(heads.next(), Some("[Unreleased]"));
    let release = heads.next().and_then(|head| head.split_once(" — "));
    let (version, date) = release.expect("a release with its date");
    assert_eq!(version, VERSION);
    assert!(date.len() == 10 && date.split('-').all(|part| part.parse::<u16>().is_ok()), "{date} is no date");
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    for kind in log.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(kinds.contains(&kind), "{kind} is none of {kinds:?}");
    }
}
