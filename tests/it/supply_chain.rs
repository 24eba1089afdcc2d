//! Why each direct dependency is there is written down, in `deploy/supply-chain.md`; the page is held against
//! the manifest.

use std::{collections::BTreeSet, path::Path};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The first cells of the tables of a page.
fn rows(page: &str) -> BTreeSet<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let names = cells.filter(|cell| cell.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    names.filter(|name| *name != "Crate").map(str::to_owned).collect()
}

#[test]
fn each_direct_dependency_has_its_reason() {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let mut direct = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        direct.extend(
            manifest
                .get(section)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone()),
        );
    }
    assert_eq!(rows(&read("deploy/supply-chain.md")), direct, "deploy/supply-chain.md and Cargo.toml");
}
