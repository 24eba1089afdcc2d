//! Start: earlier schemas are brought up to date, newer ones and foreign files are refused, one daemon a
//! file, and a database that comes back is used again without a restart.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use countersign::store::{self, Daemons, Error, Found, Location, Settings};

use sqlx::Connection as _;

use crate::store::{Fixture, key, on_both, samples, sealing::sender, signings::begin};

on_both!(
    a_newer_schema_is_refused,
    every_earlier_schema_is_brought_up_to_date,
    looking_says_what_opening_would_and_changes_nothing,
    two_daemons_may_start_at_once
);

async fn looking_says_what_opening_would_and_changes_nothing(fixture: Fixture) {
    let settings = Settings::new(fixture.location.clone());
    let look = async |number| store::examine(&settings, &key(number)).await;
    for _ in 0..2 {
        assert_eq!(look(1).await.unwrap(), Found::Nothing);
    }
    let ours = fixture.open().await;
    ours.put_sender_record(sender(0)).await.unwrap();
    // While a daemon uses it, and after.
    for _ in 0..2 {
        assert_eq!(look(1).await.unwrap(), Found::Ours { is_up_to_date: true });
        let kept = store::kept_of_senders(&settings, &key(1)).await.unwrap();
        let [one] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!((&one.sender, &one.sealed), (&sender(0).sender, &sender(0).sealed));
        let other_key = look(2).await.unwrap_err();
        assert!(matches!(other_key, Error::Unusable(_)), "{other_key}");
        ours.close().await.unwrap();
    }
    let opened = fixture.try_open(key(2)).await.map(drop).unwrap_err();
    assert_eq!(look(2).await.unwrap_err().to_string(), opened.to_string());
    assert_eq!(look(1).await.unwrap(), Found::Ours { is_up_to_date: true }, "the other key was not noted");
}

/// As a crash leaves it, or a copy that was made while a daemon wrote: to read it would make the file that is missing.
#[tokio::test]
async fn what_lies_in_a_log_is_not_read_before_a_start_has_taken_it_up() {
    let (fixture, copy) = (Fixture::sqlite(), Fixture::sqlite());
    let ours = fixture.open().await;
    ours.put_sender_record(sender(0)).await.unwrap();
    for end in ["db", "db-wal"] {
        fs::copy(fixture.path().with_extension(end), copy.path().with_extension(end)).unwrap();
    }
    let settings = Settings::new(copy.location.clone());
    assert_eq!(store::examine(&settings, &key(1)).await.unwrap(), Found::InLog);
    let error = store::kept_of_senders(&settings, &key(1)).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("in its log")), "{error}");
    let mut left: Vec<_> = fs::read_dir(copy.path().parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["store.db", "store.db-wal"], "it leaves no trace");
    ours.close().await.unwrap();
}

async fn refused(fixture: &Fixture) -> String {
    match fixture.try_open(key(1)).await {
        Err(Error::Unusable(line)) => {
            assert_eq!(line.lines().count(), 1, "{line}");
            line
        }
        other => panic!("it should be unusable: {other:?}"),
    }
}

/// The steps of the schema, in their order, as they lie in the source.
fn steps(backend: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations").join(backend);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

async fn a_newer_schema_is_refused(fixture: Fixture) {
    fixture.open().await.close().await.unwrap();
    match fixture.location {
        Location::Postgres { .. } => {
            fixture.sql("UPDATE meta SET value = '9999' WHERE name = 'schema'");
        }
        Location::Sqlite { .. } => {
            fixture.sql("PRAGMA user_version = 9999");
        }
    }
    let line = refused(&fixture).await;
    assert!(line.contains("9999"), "{line}");
    let looked = store::examine(&Settings::new(fixture.location.clone()), &key(1)).await.unwrap_err();
    assert!(looked.to_string().ends_with(&line), "{looked}");
}

async fn every_earlier_schema_is_brought_up_to_date(first: Fixture) {
    let is_file = matches!(first.location, Location::Sqlite { .. });
    let steps = steps(if is_file { "sqlite" } else { "postgres" });
    for earlier in 0..=steps.len() {
        let fixture = if is_file { Fixture::sqlite() } else { Fixture::postgres().unwrap() };
        for (number, step) in (1..).zip(&steps[..earlier]) {
            fixture.sql(step);
            fixture.sql(&if is_file {
                format!("PRAGMA user_version = {number}; PRAGMA application_id = 1668510834")
            } else {
                format!(
                    "INSERT INTO meta VALUES ('schema', '{number}') \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value"
                )
            });
        }
        let store = fixture.open().await;
        let intent = samples::intent(1);
        let signing = intent.signing.clone();
        begin(&store, intent).await;
        assert_eq!(store.signing(signing.id).await.unwrap().unwrap().signing, signing, "from {earlier}");
    }
}

/// What earlier versions have written is still there, and reads as before.
#[tokio::test]
async fn rows_of_every_earlier_schema_are_carried_over() {
    let steps = steps("sqlite");
    let full = Fixture::sqlite();
    let store = full.open().await;
    let mut intent = samples::intent(1);
    let signing = intent.signing.clone();
    let link = samples::link(&signing, 1);
    intent.links = vec![link.clone()];
    begin(&store, intent).await;
    store.put_endpoint(samples::endpoint("hook")).await.unwrap();
    store.close().await.unwrap();
    for earlier in 1..=steps.len() {
        let fixture = Fixture::sqlite();
        for step in &steps[..earlier] {
            fixture.sql(step);
        }
        fixture.sql(&format!("PRAGMA user_version = {earlier}; PRAGMA application_id = 1668510834"));
        let db = rusqlite::Connection::open(fixture.path()).unwrap();
        db.execute("ATTACH ? AS later", [full.path().to_str().unwrap()]).unwrap();
        for table in ["meta", "signings", "links", "endpoints"] {
            let columns = columns(&db, table).join(", ");
            db.execute(
                &format!(
                    "INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM later.{table}"
                ),
                [],
            )
            .unwrap();
        }
        drop(db);
        let store = fixture.open().await;
        assert_eq!(store.signing(signing.id).await.unwrap().unwrap().signing, signing, "from {earlier}");
        assert_eq!(store.link(link.id).await.unwrap().unwrap().token, link.token, "from {earlier}");
        assert_eq!(store.endpoints(Some(&signing.caller)).await.unwrap().len(), 1, "from {earlier}");
    }
}

fn columns(db: &rusqlite::Connection, table: &str) -> Vec<String> {
    let mut names = db.prepare("SELECT name FROM pragma_table_info(?)").unwrap();
    names.query_map([table], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

async fn two_daemons_may_start_at_once(fixture: Fixture) {
    let (one, two) = tokio::join!(fixture.try_open(key(1)), fixture.try_open(key(1)));
    let daemons: Vec<_> = [&one, &two].into_iter().flatten().map(|store| store.daemons()).collect();
    match fixture.location {
        Location::Postgres { .. } => {
            assert!(one.is_ok() && two.is_ok());
            assert_eq!(daemons, [Daemons::Several; 2]);
        }
        Location::Sqlite { .. } => {
            assert_eq!(daemons, [Daemons::One]);
            assert_ne!(one.is_ok(), two.is_ok(), "one file, one daemon");
            let refused = one.err().or(two.err());
            assert!(
                matches!(&refused, Some(Error::Unusable(line)) if line.contains("another")),
                "{refused:?}"
            );
        }
    }
}

/// A daemon whose settings name a link to the file of this fixture, and the link.
async fn by_link(fixture: &Fixture) -> (PathBuf, Result<store::SharedStore, Error>) {
    let link = fixture.path().with_file_name("link.db");
    std::os::unix::fs::symlink("store.db", &link).unwrap();
    let settings = Settings::new(Location::Sqlite { path: link.clone() });
    let looked = store::examine(&settings, &key(1)).await.unwrap();
    let is_there = fixture.path().exists();
    assert_eq!(looked, if is_there { Found::Ours { is_up_to_date: true } } else { Found::Nothing });
    (link, store::open(&settings, key(1), Arc::new(fixture.clock.clone())).await)
}

#[tokio::test]
async fn a_link_to_a_file_is_another_name_of_it_and_no_way_around_its_lock() {
    let fixture = Fixture::sqlite();
    let (link, first) = by_link(&fixture).await;
    let store = first.unwrap();
    begin(&store, samples::intent(1)).await;
    assert!(refused(&fixture).await.contains("another countersign uses this file"));
    let files = fs::read_dir(fixture.path().parent().unwrap()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let beside: Vec<_> = names.filter(|name| name.starts_with("link.db-")).collect();
    assert!(beside == ["link.db-lock"] && link.is_symlink(), "its log lies where the link leads: {beside:?}");
    store.check().await.unwrap();
    // It leads elsewhere now, and the next start would not have what is written here.
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("other.db", &link).unwrap();
    let lost = store.check().await.unwrap_err().to_string();
    assert!(lost.contains("link.db: the file was removed or replaced"), "{lost}");
    assert!(lost.contains("other.db-wal"), "{lost}");

    let fixture = Fixture::sqlite();
    let _store = fixture.open().await;
    let (link, second) = by_link(&fixture).await;
    let told = second.map(drop).unwrap_err().to_string();
    assert!(told.contains("another countersign uses this file"), "{told}");
    assert!(
        [link.as_path(), fixture.path()].iter().all(|path| told.contains(&*path.to_string_lossy())),
        "{told}"
    );
}

/// As of a disk that is not mounted.
#[tokio::test]
async fn a_link_that_leads_to_nothing_any_more_begins_nothing_anew() {
    let fixture = Fixture::sqlite();
    let (link, first) = by_link(&fixture).await;
    begin(&first.unwrap(), samples::intent(1)).await;
    let folder = fixture.path().parent().unwrap().to_owned();
    for file in fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("store.db") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    let settings = Settings::new(Location::Sqlite { path: link.clone() });
    let looked = store::examine(&settings, &key(1)).await.unwrap_err().to_string();
    let opened = store::open(&settings, key(1), Arc::new(fixture.clock.clone())).await;
    for told in [looked, opened.map(drop).unwrap_err().to_string()] {
        assert!(told.contains("the file is gone or empty") && told.contains("link.db-lock"), "{told}");
    }
    assert!(!fixture.path().exists(), "nothing was made");
}

#[tokio::test]
async fn links_that_lead_in_a_circle_are_refused() {
    let fixture = Fixture::sqlite();
    std::os::unix::fs::symlink("store.db", fixture.path()).unwrap();
    let line = refused(&fixture).await;
    assert!(line.contains("a link that leads to no file") && line.contains("store.url"), "{line}");
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_only() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    begin(&store, samples::intent(1)).await;
    let mut names = Vec::new();
    for file in fs::read_dir(fixture.path().parent().unwrap()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        names.push(file.file_name().into_string().unwrap());
    }
    assert!(["store.db", "store.db-wal"].iter().all(|name| names.iter().any(|it| it == name)), "{names:?}");
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_as_it_is() {
    let fixture = Fixture::sqlite();
    fixture.sql("CREATE TABLE theirs (a)");
    let before = fs::read(fixture.path()).unwrap();
    assert!(refused(&fixture).await.contains("another program"));
    fixture.sql("SELECT 1");
    assert_eq!(fs::read(fixture.path()).unwrap(), before);
}

/// All that a Postgres holds: relations with their columns, and how many rows each table has.
fn contents(fixture: &Fixture) -> String {
    let columns = fixture.sql(
        "SELECT c.oid, n.nspname, c.relname, a.attname, a.atttypid, a.attisdropped FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, a.attnum",
    );
    let rows = fixture.sql(
        "SELECT relname, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n, \
         md5(string_agg(t::text, chr(10))) AS m FROM %s AS t', oid::regclass), true, true, '')))[1] \
         FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1",
    );
    format!("{columns}\n{rows}")
}

#[tokio::test]
async fn a_postgres_of_another_program_is_refused_with_the_fix_and_left_as_it_is() {
    for theirs in [
        "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)",
        "CREATE VIEW report AS SELECT 1 AS one",
        // Our names, and nothing else of ours.
        "CREATE TABLE meta (key text, val text)",
        "CREATE TABLE meta (name text, value bytea)",
        "CREATE TABLE meta (name text, value text); INSERT INTO meta VALUES ('schema', '3')",
        "CREATE TABLE meta (name text PRIMARY KEY, value bytea); INSERT INTO meta VALUES ('schema', '1')",
        "CREATE TABLE meta (name text PRIMARY KEY, value bytea); INSERT INTO meta VALUES ('schema', '7'); \
         CREATE TABLE signings (id int, owner text)",
        "CREATE TABLE signings (id int); INSERT INTO signings VALUES (1)",
    ] {
        let Some(fixture) = Fixture::postgres() else { return };
        fixture.sql(theirs);
        let before = contents(&fixture);
        let line = refused(&fixture).await;
        assert!(line.contains("another program") && line.contains("store.url"), "{theirs}: {line}");
        assert_eq!(contents(&fixture), before, "{theirs}");
    }
}

#[tokio::test]
async fn a_postgres_that_others_use_in_schemas_of_their_own_is_taken() {
    let Some(fixture) = Fixture::postgres() else { return };
    fixture.sql("CREATE SCHEMA theirs; CREATE TABLE theirs.orders (id int)");
    fixture.open().await.close().await.unwrap();
    // What somebody adds beside our tables later is no reason not to start.
    fixture.sql("CREATE TABLE notes (id int)");
    fixture.open().await.close().await.unwrap();
}

/// Every column that there is, taken away: none is missed only when it is needed.
#[tokio::test]
async fn a_column_that_is_gone_is_found_at_the_start() {
    let Some(fixture) = Fixture::postgres() else { return };
    fixture.open().await.close().await.unwrap();
    let columns = fixture.sql(
        "SELECT table_name || '.' || column_name FROM information_schema.columns \
         WHERE table_schema = 'public' ORDER BY 1",
    );
    assert!(columns.lines().count() > 60, "{columns}");
    for (table, column) in columns.lines().map(|line| line.split_once('.').unwrap()) {
        fixture.sql(&format!("ALTER TABLE {table} RENAME COLUMN {column} TO gone"));
        let before = contents(&fixture);
        let line = refused(&fixture).await;
        let names = table == "meta" || line.contains(&format!("{table}.{column}"));
        assert!(names && line.contains("store.url"), "{table}.{column}: {line}");
        assert_eq!(contents(&fixture), before, "{table}.{column}");
        fixture.sql(&format!("ALTER TABLE {table} RENAME COLUMN gone TO {column}"));
    }
    fixture.open().await.close().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let fixture = Fixture::sqlite();
    fs::write(fixture.path(), "this is a letter, and has been one for longer than a page ".repeat(200))
        .unwrap();
    assert!(refused(&fixture).await.contains("store.url"));
}

#[tokio::test]
async fn a_lost_file_whose_log_is_left_is_not_begun_anew() {
    let fixture = Fixture::sqlite();
    fs::write(fixture.path().with_file_name("store.db-wal"), "log").unwrap();
    assert!(refused(&fixture).await.contains("store.db-wal"));
    assert!(!fixture.path().exists());
}

#[tokio::test]
async fn a_damaged_page_is_said_to_be_one() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    for number in 0..200 {
        begin(&store, samples::intent(number)).await;
    }
    drop(store);
    let mut bytes = fs::read(fixture.path()).unwrap();
    let length = bytes.len();
    bytes[8_192..length].fill(0xa5);
    fs::write(fixture.path(), bytes).unwrap();
    let failed = match fixture.try_open(key(1)).await {
        Err(e) => e,
        Ok(store) => store.claim(samples::START, samples::START, 500).await.unwrap_err(),
    };
    assert!(matches!(&failed, Error::Unusable(line) if line.contains("damaged")), "{failed:?}");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let mut fixture = Fixture::sqlite();
    fixture.location = Location::Sqlite { path: "/nonexistent/folder/store.db".into() };
    let failed = fixture.try_open(key(1)).await.unwrap_err();
    assert!(failed.to_string().contains("/nonexistent/folder"), "{failed}");
}

/// The server restarts under the store: connections die, and the next operation finds new ones.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_died_are_replaced() {
    let Some(fixture) = Fixture::postgres() else { return };
    let store = fixture.open().await;
    let intent = samples::intent(1);
    let signing = intent.signing.clone();
    begin(&store, intent).await;
    // As many live connections as there are, all of them killed.
    let reads = (0..8).map(|_| store.signing(signing.id));
    futures_util::future::join_all(reads).await;
    for _ in 0..3 {
        fixture.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let reads = (0..8).map(|_| store.signing(signing.id));
        for read in futures_util::future::join_all(reads).await {
            assert_eq!(read.unwrap().unwrap().signing, signing);
        }
    }
}

#[tokio::test]
async fn what_waits_behind_a_lock_too_long_is_told_though_the_database_answers() {
    let Some(fixture) = Fixture::postgres() else { return };
    let Location::Postgres { url } = &fixture.location else { unreachable!() };
    // It covers the opening, too.
    let patience = std::time::Duration::from_secs(2);
    let settings = Settings { patience, ..Settings::new(fixture.location.clone()) };
    let clock = std::sync::Arc::new(fixture.clock.clone());
    let store = store::open(&settings, key(1), clock).await.unwrap();
    let mut person = sqlx::PgConnection::connect(url.reveal()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE signings IN ACCESS EXCLUSIVE MODE").execute(&mut person).await.unwrap();
    let id = samples::intent(1).signing.id;
    let failed = store.signing(id).await.unwrap_err();
    assert!(matches!(failed, Error::Unavailable(_)), "{failed}");
    store.check().await.unwrap();
    let told = store.trouble().expect("it is told");
    assert!(failed.to_string().ends_with(&told), "{failed}, {told}");
    assert_eq!(store.trouble(), None, "once");
    sqlx::raw_sql("ROLLBACK").execute(&mut person).await.unwrap();
    assert!(store.signing(id).await.unwrap().is_none());
    assert_eq!(store.trouble(), None);
}

#[tokio::test]
async fn an_absent_postgres_is_unavailable_and_its_password_not_told() {
    let mut fixture = Fixture::sqlite();
    let url = "postgres://user:planted-password@127.0.0.1:1/nothing".to_owned();
    fixture.location = Location::Postgres { url: countersign::domain::Private::new(url) };
    let settings = countersign::store::Settings {
        patience: std::time::Duration::from_secs(1),
        ..countersign::store::Settings::new(fixture.location.clone())
    };
    let clock = std::sync::Arc::new(fixture.clock.clone());
    let failed = countersign::store::open(&settings, key(1), clock).await.unwrap_err();
    assert!(matches!(failed, Error::Unavailable(_)));
    assert!(!format!("{failed} {failed:?} {settings:?}").contains("planted-password"));
}
