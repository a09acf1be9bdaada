//! What releases had of the services' migrations, and that what comes after only adds.
//!
//! `tests/released.txt` lists every file of the last release with the beginning of its checksum. `SHOP_TEST_UPDATE=1`
//! writes it anew, which is a step of making a release.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::migrate::{Migration, Migrator};

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released.txt");

/// The migrations of one service on one engine.
pub(crate) struct Folder {
    /// `payment/mariadb`.
    pub(crate) name: String,
    pub(crate) engine: String,
    pub(crate) path: PathBuf,
    /// The numbers that the last release had.
    pub(crate) released: Vec<i64>,
}

/// All of them.
pub(crate) fn folders() -> Vec<Folder> {
    let list = list();
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
    let mut folders = Vec::new();
    for service in children(&services) {
        for path in children(&service.join("migrations")) {
            let engine = name(&path);
            let name = format!("{}/{engine}", name(&service));
            let released = list.keys().filter_map(|file| file.strip_prefix(&format!("{name}/"))).map(number).collect();
            folders.push(Folder { name, engine, path, released });
        }
    }
    assert!(folders.len() >= 7, "four services have stores on one or two engines");
    folders
}

/// Checksums by `service/engine/file`.
fn list() -> BTreeMap<String, String> {
    let text = fs::read_to_string(LIST).expect("is there");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').expect("a file and its checksum"))
        .map(|(a, b)| (a.into(), b.into()))
        .collect()
}

fn number(file: &str) -> i64 {
    file.split('_').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
}

/// The files there are, by `service/engine/file`.
async fn present() -> BTreeMap<String, Migration> {
    let mut present = BTreeMap::new();
    for folder in folders() {
        let files = Migrator::new(folder.path.as_path()).await.expect("reads the files");
        for path in children(&folder.path) {
            let file = name(&path);
            let read = files.iter().find(|one| one.version == number(&file)).expect("is a migration");
            present.insert(format!("{}/{file}", folder.name), read.clone());
        }
    }
    present
}

fn checksum(file: &Migration) -> String {
    file.checksum.iter().take(8).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writes");
        text
    })
}

/// Whether the list is to be written anew.
fn is_release() -> bool {
    shop_testing::variable("SHOP_TEST_UPDATE").is_some_and(|value| value == "1")
}

#[tokio::test]
async fn what_was_released_stays_as_it_was() {
    let present = present().await;
    if is_release() {
        let lines = present.iter().map(|(file, read)| format!("{file} {}\n", checksum(read)));
        let head = "# The migrations of the last release, with the beginnings of their checksums.\n";
        fs::write(LIST, head.to_owned() + &lines.collect::<String>()).expect("writes the list");
        return;
    }
    for (file, sum) in list() {
        let read = present.get(&file).unwrap_or_else(|| panic!("{file} was released and is gone"));
        assert_eq!(checksum(read), sum, "{file} was released, and every store that ran it would refuse another text");
    }
}

#[tokio::test]
async fn a_new_migration_only_adds_so_that_an_older_release_runs_on_its_schema() {
    if is_release() {
        return;
    }
    let list = list();
    for (file, read) in present().await.iter().filter(|(file, _)| !list.contains_key(*file)) {
        let folder = file.rsplit_once('/').expect("is in a folder").0;
        let newest = list.keys().filter_map(|file| file.strip_prefix(folder)?.strip_prefix('/')).map(number).max();
        assert!(newest < Some(read.version), "{file}: a number behind those that were released");
        assert!(!read.no_tx, "{file}: what runs outside of a transaction stays half done when it is killed");
        let refused = refused(read.sql.as_str());
        assert!(refused.is_empty(), "{file}: {refused:?} (docs/operations.md, \"Migrations\")");
    }
}

/// What of a migration an older release would stumble over.
fn refused(file: &str) -> Vec<String> {
    let text: String =
        file.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let words = text.to_uppercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let statements: Vec<_> = words.split(';').map(str::trim).filter(|statement| !statement.is_empty()).collect();
    let made: Vec<_> = statements.iter().filter_map(|statement| table_made(statement)).collect();
    let is_old = |table: Option<&str>| table.is_some_and(|table| !made.contains(&table));
    let mut refused = Vec::new();
    for statement in &statements {
        let takes =
            ["DROP TABLE", "DROP COLUMN", "RENAME ", "TRUNCATE ", "ALTER COLUMN", "MODIFY ", "CHANGE ", "SET NOT NULL"];
        refused.extend(
            takes.iter().filter(|taken| statement.contains(**taken)).map(|taken| format!("{taken} in {statement}")),
        );
        let altered = is_old(behind(statement, "ALTER TABLE"));
        let demands = ["ADD CONSTRAINT", "ADD CHECK", "ADD FOREIGN", "ADD PRIMARY"];
        if altered && demands.iter().any(|demanded| statement.contains(demanded)) {
            refused.push(format!("a condition that an older release does not know in {statement}"));
        }
        if altered && statement.split("ADD UNIQUE").skip(1).any(|unique| !are_new(&columns(unique), &words)) {
            refused.push(format!("a unique key on what an older release writes in {statement}"));
        }
        if altered && statement.split(", ADD ").any(|part| part.contains("NOT NULL") && !part.contains("DEFAULT")) {
            refused.push(format!("NOT NULL without DEFAULT in {statement}"));
        }
        if statement.starts_with("CREATE UNIQUE INDEX")
            && is_old(behind(statement, " ON"))
            && !are_new(&columns(statement), &words)
        {
            refused.push(format!("a unique index on what an older release writes in {statement}"));
        }
    }
    refused
}

/// The columns that a key names.
fn columns(key: &str) -> Vec<&str> {
    let list = key.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(list, _)| list);
    list.split(',').map(str::trim).collect()
}

/// Whether a file adds one of these columns, which an older release leaves null: then no two of its rows are alike.
fn are_new(columns: &[&str], file: &str) -> bool {
    columns.iter().any(|column| {
        file.split("ADD COLUMN").skip(1).any(|added| {
            let added = added.split([',', ';']).next().unwrap_or_default().trim().trim_start_matches("IF NOT EXISTS ");
            added.split(' ').next() == Some(*column) && !added.contains("DEFAULT")
        })
    })
}

fn table_made(statement: &str) -> Option<&str> {
    behind(statement, "CREATE TABLE").or_else(|| behind(statement, "CREATE VIRTUAL TABLE"))
}

/// The name behind `words`.
fn behind<'a>(statement: &'a str, words: &str) -> Option<&'a str> {
    let rest = statement.split_once(words)?.1.trim_start();
    let rest = ["IF NOT EXISTS", "IF EXISTS", "ONLY"]
        .iter()
        .fold(rest, |rest, word| rest.strip_prefix(word).map_or(rest, str::trim_start));
    rest.split([' ', '(']).next().filter(|name| !name.is_empty())
}

#[test]
fn what_an_older_release_would_stumble_over_is_seen() {
    for file in [
        "DROP TABLE a;",
        "ALTER TABLE a DROP COLUMN b;",
        "ALTER TABLE a RENAME COLUMN b TO c;",
        "ALTER TABLE a ADD COLUMN b INT NOT NULL;",
        "ALTER TABLE a ADD COLUMN c INT NULL,\n    ADD COLUMN b INT NOT NULL;",
        "alter table a modify b varchar(3);",
        "ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0);",
        "CREATE UNIQUE INDEX b ON a (c);",
        "ALTER TABLE a ADD UNIQUE KEY b (c);",
        "ALTER TABLE a ADD COLUMN d INT NOT NULL DEFAULT 0, ADD UNIQUE KEY b (d);",
        "CREATE TABLE d (id INT); -- one\nCREATE UNIQUE INDEX IF NOT EXISTS b ON a (c);",
    ] {
        assert!(!refused(file).is_empty(), "{file}");
    }
    for file in [
        "-- DROP TABLE a;\nCREATE TABLE IF NOT EXISTS a (id INT NOT NULL);\nCREATE UNIQUE INDEX b ON a (id);",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS b INT NOT NULL DEFAULT 0, ADD COLUMN c INT;",
        "CREATE INDEX b ON a (c); INSERT INTO a (c) VALUES (1); UPDATE a SET c = 2;",
        "ALTER TABLE a ADD INDEX b (c);",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS d INT NULL, ADD UNIQUE KEY IF NOT EXISTS b (d);",
        "ALTER TABLE a ADD COLUMN d INT; CREATE UNIQUE INDEX b ON a (d);",
    ] {
        assert_eq!(refused(file), Vec::<String>::new());
    }
}
