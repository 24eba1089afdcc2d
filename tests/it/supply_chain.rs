//! Why each direct dependency is there, and what the build is told, is written down in `deploy/supply-chain.md`; the
//! page is held against the manifest and the settings of the build.

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

#[test]
fn each_setting_of_the_build_has_its_reason() {
    let settings: toml::Table = toml::from_str(&read(".cargo/config.toml")).unwrap();
    let names: Vec<&String> = settings["env"].as_table().unwrap().keys().collect();
    assert!(names.len() > 1, "{names:?}");
    let page = read("deploy/supply-chain.md");
    for name in names {
        assert!(page.contains(&format!("`{name}`: ")), "{name}");
    }
}
