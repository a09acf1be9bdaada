//! The tables that services share are copied into the migrations of each: every copy is the canonical text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SHARED: [&str; 4] = ["outbox", "inbox", "idempotency_keys", "key_owners"];

fn children(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    listed.map(|entry| entry.expect("an entry").path()).collect()
}

fn name(path: &Path) -> &str {
    path.file_stem().and_then(|name| name.to_str()).expect("a name")
}

#[test]
fn every_copy_of_a_shared_table_is_the_canonical_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let services = children(&root.join("../../services")).into_iter().map(|service| service.join("migrations"));
    let engines: Vec<_> = services.filter(|folder| folder.is_dir()).flat_map(|folder| children(&folder)).collect();
    assert!(engines.len() >= 7, "four services have stores on one or two engines: {engines:?}");
    for engine in engines {
        let mut found = BTreeSet::new();
        for migration in children(&engine) {
            let Some((_, table)) = name(&migration).split_once('_').filter(|(_, table)| SHARED.contains(table)) else {
                continue;
            };
            let canonical = root.join("ddl").join(name(&engine)).join(format!("{table}.sql"));
            let texts = [&migration, &canonical].map(|path| fs::read_to_string(path).expect("is read"));
            assert_eq!(texts[0], texts[1], "{} is no copy of {}", migration.display(), canonical.display());
            found.insert(table.to_owned());
        }
        // Every service hears events and repeats answers; only some send events.
        let all = ["inbox", "idempotency_keys", "key_owners"].iter().all(|table| found.contains(*table));
        assert!(all, "{}: {found:?}", engine.display());
    }
}
