//! Who may depend on whom: the allowed arrows between modules, each row with its reason. A new arrow is
//! added here in the commit that needs it, so that it is seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Module, what it may name, why.
const ARROWS: &[(&str, &[&str], &str)] = &[
    (
        "api",
        &[
            "audit",
            "auth",
            "bucket",
            "clock",
            "config",
            "digest",
            "domain",
            "esign",
            "events",
            "evidence",
            "http_client",
            "listener",
            "objects",
            "oidc",
            "pairing",
            "places",
            "signing",
            "spool",
            "store",
            "telemetry",
            "tls",
        ],
        "translates HTTP to use cases and errors to problems; reads its callers' section of the settings; \
         hands bodies that stream through to the way out",
    ),
    ("app", &["*"], "the composition root names everything; what it does by itself looks at several parts"),
    ("audit", &["clock", "digest"], "writes lines; decides nothing"),
    (
        "auth",
        &["clock", "digest", "http_client", "lifecycle", "own_process", "secret_text"],
        "knows account servers, not envelopes; its tasks outlive callers",
    ),
    ("bucket", &[], "a leaf"),
    (
        "budget",
        &["clock", "domain", "http_client", "store"],
        "shares its counts through the store; reads dates of answers",
    ),
    ("cli", &["*"], "one file a subcommand, over the whole"),
    ("clock", &[], "a leaf"),
    ("config", &[], "a leaf: nothing else reads the environment or a settings file"),
    (
        "connect",
        &["clock", "config", "domain", "lifecycle", "oidc", "signing", "store", "telemetry", "tls"],
        "asks for what its section of the settings says, stores the delivery, then lets signing observe the fact",
    ),
    (
        "demo",
        &["clock", "http_client", "lifecycle", "listener"],
        "a website: it knows the daemon by its HTTP API alone",
    ),
    ("digest", &[], "a leaf"),
    (
        "doctor",
        &[
            "app",
            "audit",
            "auth",
            "budget",
            "clock",
            "config",
            "domain",
            "esign",
            "http_client",
            "ops",
            "pairing",
            "store",
            "telemetry",
        ],
        "walks the chain with the daemon's own parts; reads what health calls them, and what pairing keeps",
    ),
    ("domain", &[], "pure values and rules"),
    (
        "emulator",
        &["clock", "lifecycle", "listener"],
        "shares no type with the client: one misreading must not cancel itself out",
    ),
    (
        "esign",
        &["auth", "budget", "clock", "domain", "http_client", "places"],
        "the vendor's JSON stops here",
    ),
    (
        "events",
        &["clock", "domain", "http_client", "lifecycle", "objects", "places", "store", "telemetry"],
        "reads the outbox, sends it on",
    ),
    ("evidence", &["audit", "digest"], "packs and checks files; fetches none"),
    ("hostile", &["*"], "runs every parser that meets the outside; not in the library that is built"),
    ("http_client", &[], "the one way out"),
    ("lifecycle", &["telemetry"], "work goes on in the trace that it was started in"),
    ("listener", &["tls"], "the one accept loop; knows nothing of what is served"),
    (
        "objects",
        &["domain", "store"],
        "our JSON, for answers and events alike; shows links as they are stored",
    ),
    ("oidc", &["clock", "http_client"], "believes tokens of others; knows nothing of callers"),
    (
        "ops",
        &[
            "audit",
            "auth",
            "bucket",
            "budget",
            "clock",
            "config",
            "digest",
            "domain",
            "esign",
            "pairing",
            "secret_text",
            "signing",
            "store",
            "telemetry",
            "theme",
        ],
        "shows how we are: senders, what is left of the budget, what waits; asks for a check and makes senders that the \
         settings allow, and writes down that an operator did; knows what may be a name from config",
    ),
    (
        "pairing",
        &["audit", "auth", "clock", "digest", "domain", "lifecycle", "secret_text", "store", "telemetry"],
        "lets customers connect accounts; stores whom and where, and hands senders to auth; what works once goes on in a stop",
    ),
    ("own_process", &[], "a leaf"),
    ("pdf", &["clock", "own_process"], "reads in processes of its own, and waits so long for them"),
    ("places", &[], "a leaf"),
    (
        "public",
        &[
            "audit",
            "auth",
            "bucket",
            "clock",
            "config",
            "connect",
            "digest",
            "domain",
            "lifecycle",
            "listener",
            "pairing",
            "secret_text",
            "signing",
            "telemetry",
            "theme",
        ],
        "translates browsers' requests to use cases and outcomes to pages; reads which proxies are trusted",
    ),
    ("secret_text", &[], "a leaf"),
    (
        "signing",
        &[
            "audit",
            "bucket",
            "budget",
            "clock",
            "digest",
            "domain",
            "esign",
            "events",
            "lifecycle",
            "objects",
            "pdf",
            "places",
            "secret_text",
            "spool",
            "store",
            "telemetry",
        ],
        "the use cases; counts how often a link is used",
    ),
    ("spool", &["digest"], "a leaf but for the names of its files"),
    ("store", &["clock", "digest", "domain"], "keeps what it is given"),
    ("telemetry", &[], "a leaf"),
    ("theme", &[], "a leaf: colours, drawings and the sheet of visitors' and operators' pages"),
    ("tls", &["clock"], "reads certificates; compares their dates with our clock"),
];

#[test]
fn every_arrow_between_modules_is_in_the_table() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().map(|(module, to, _)| (*module, *to)).collect();
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for file in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let Some(module) = module_of(&file) else { continue };
        let to =
            *allowed.get(module.as_str()).unwrap_or_else(|| panic!("module {module} has no row in ARROWS"));
        for named in named_modules(&std::fs::read_to_string(&file).unwrap()) {
            if named != module && !to.contains(&"*") && !to.contains(&named.as_str()) {
                wrong.push(format!("{}: {module} -> {named}", file.display()));
            }
            used.insert((module.clone(), named));
        }
    }
    assert!(wrong.is_empty(), "arrows that are not in the table:\n{}", wrong.join("\n"));
    let arrows = ARROWS.iter().flat_map(|(module, to, _)| to.iter().map(|to| (*module, *to)));
    let idle = arrows.filter(|(_, to)| *to != "*");
    let idle: Vec<_> = idle.filter(|(from, to)| !used.contains(&((*from).into(), (*to).into()))).collect();
    assert!(idle.is_empty(), "arrows that nothing follows any more: {idle:?}");
}

#[test]
fn the_check_can_fail() {
    let text = "use crate::{\n    auth::{Auth, Error},\n    domain,\n};\nfn f() { crate::esign::x() }\n\
                #[cfg(test)]\nmod tests {\n    use crate::emulator::X;\n}\n";
    let expected = ["auth", "domain", "esign"].map(str::to_owned);
    assert_eq!(named_modules(text), BTreeSet::from(expected), "tests at the end do not count");

    let text = "\non_both!(\n    e1_both,\n    e2_too\n);\nfn helper() {}\n#[tokio::test(flavor = \"x\")]\n\
                #[expect(clippy::x)]\nasync fn t1_one() {}\n    #[test]\n    fn two() {}\nfn t3_none() {}\n";
    assert_eq!(tests_in(text), ["t1_one", "two", "e1_both", "e2_too"]);
}

/// Each situation of the page of what goes wrong ends with the tests that show it.
#[test]
fn every_test_that_the_page_of_failures_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("src/failures.md")).unwrap();
    let situations: Vec<_> = page.split("\n- **").skip(1).collect();
    assert!(situations.len() > 15, "{situations:?}");
    let mut all = String::new();
    for folder in ["src", "tests"] {
        for file in every_source(&root.join(folder)) {
            all += &std::fs::read_to_string(file).unwrap();
        }
    }
    for situation in situations {
        for field in ["a caller", "an operator", "healing"] {
            assert!(situation.contains(&format!("\n  - {field}: ")), "{field}: {situation}");
        }
        let (_, tests) =
            situation.split_once("\n  - tests: ").unwrap_or_else(|| panic!("no tests: {situation}"));
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{situation}");
        for name in names {
            let test = format!("fn {name}()");
            let (before, _) = all.split_once(&test).unwrap_or_else(|| panic!("no test {name}: {situation}"));
            let above = before.trim_end().trim_end_matches("async").trim_end();
            assert!(above.ends_with("test]") || above.ends_with(")]"), "{name} is no test");
        }
    }
}

/// A rule is a promise when a test of its name shows that it is kept: `t5_…`, `e4_…`.
#[test]
fn every_rule_has_a_test_of_its_name() {
    let rules = include_str!("../../src/rules.md");
    let ids = rules.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let ids = ids.map(|(id, _)| id).filter(|id| id.ends_with(|last: char| last.is_ascii_digit()));
    let tests = all_tests();
    let (mut count, mut bare) = (0, Vec::new());
    for id in ids {
        count += 1;
        let name = format!("{}_", id.to_lowercase());
        if !tests.iter().any(|test| test.starts_with(&name)) {
            bare.push(id);
        }
    }
    assert!(count > 35, "{count}");
    assert!(bare.is_empty(), "rules that no test is named after: {bare:?}");
}

/// The names of all tests.
fn all_tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "tests"].into_iter().flat_map(|folder| every_source(&root.join(folder)));
    files.flat_map(|file| tests_in(&std::fs::read_to_string(file).unwrap())).collect()
}

/// The names of the tests in a source: functions that are marked as one, and what `on_both!` runs.
pub(crate) fn tests_in(text: &str) -> Vec<String> {
    let (mut tests, mut is_marked) = (Vec::new(), false);
    for line in text.lines().map(str::trim_start) {
        is_marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let bare = line.strip_prefix("pub(crate) ").unwrap_or(line);
        let Some(rest) = bare.strip_prefix("async ").unwrap_or(bare).strip_prefix("fn ") else { continue };
        if std::mem::take(&mut is_marked) {
            tests.extend(rest.split(['(', '<']).next().map(str::to_owned));
        }
    }
    for list in text.split("\non_both!(").skip(1) {
        let names = list.split(')').next().unwrap_or_default().split(',');
        tests.extend(names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    tests
}

/// A test that passes without a look is one that CI must know of.
#[test]
fn a_test_is_left_out_by_leave_out_alone() {
    let says_so = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap().to_lowercase();
        text.contains(concat!("skipped", ": "))
    };
    let found: Vec<_> = every_source(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")))
        .into_iter()
        .filter(says_so)
        .filter_map(|path| path.file_stem().map(|stem| stem.display().to_string()))
        .collect();
    assert_eq!(found, ["left_out"]);
}

/// Support and tests are told apart by where they are.
#[test]
fn no_test_is_among_what_the_tests_stand_on() {
    for file in every_source(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support"))) {
        let tests = tests_in(&std::fs::read_to_string(&file).unwrap());
        assert!(tests.is_empty(), "{}: {tests:?}", file.display());
    }
}

pub(crate) fn every_source(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                return every_source(&path);
            }
            let is_source = path.extension().is_some_and(|kind| kind == "rs");
            if is_source { vec![path] } else { Vec::new() }
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") && !is_test(&path) {
            found.push(path);
        }
    }
    found
}

/// Files of tests may name what they test against.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        let stem = part.trim_end_matches(".rs");
        stem == "tests" || stem == "testing" || stem == "permutations" || stem == "sample"
    })
}

/// The top module of a file; none for `lib.rs` and `main.rs`.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    let module = first.trim_end_matches(".rs").to_owned();
    (module != "lib" && module != "main").then_some(module)
}

/// The modules that a file names as `crate::x` or inside `use crate::{x, y::z}`, outside its tests and comments.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |all, line| all + line + "\n");
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            named.extend(top_names(list));
        } else {
            named.extend(word(rest));
        }
    }
    named
}

fn top_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut is_start) = (0_i32, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            c if is_start && depth == 0 && c.is_alphabetic() => {
                names.extend(word(&list[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    names
}

/// The lower-case word at the start: a module, and not a type or a macro.
fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}
