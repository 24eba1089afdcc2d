//! The log stays short while commits go on, whoever reads in it and whatever its disk does.

use std::{io::Write as _, os::unix::process::ExitStatusExt as _, path::Path};

use super::*;
use crate::store::{
    Store as _,
    sqlite::{
        SqliteStore,
        tests::{count, event, open, open_at},
    },
};

/// Writes about so many pages of events without a pause, a few at a time.
async fn write(store: &SqliteStore, pages: i32) -> usize {
    let operations = usize::try_from(pages).unwrap() / 8;
    for _ in 0..operations {
        store.add_events((0..8).map(|_| event(3_500)).collect()).await.unwrap();
    }
    operations * 8
}

/// The pages in the log, as another program sees them.
fn pages_in_log(folder: &Path) -> i32 {
    let other = Connection::open(folder.join("store.db")).unwrap();
    other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_begins_anew_while_commits_go_on() {
    for synchronous in [Synchronous::Full, Synchronous::Normal, Synchronous::Off] {
        let (store, folder) = open(&format!("anew-{synchronous:?}"), synchronous).await;
        let written = write(&store, 8 * MOST_PAGES).await;
        let longest = std::fs::metadata(folder.0.join("store.db-wal")).unwrap().len() / 4_120;
        let bound = u64::try_from(MOST_PAGES + MANY_PAGES).unwrap();
        assert!(longest < bound, "{longest} pages in a log of at most {bound}");
        assert_eq!(count(&store).await, written);
        store.close().await.unwrap();
        assert!(!folder.0.join("store.db-wal").exists(), "one file is left behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_for_long_makes_the_log_longer_and_nothing_else() {
    let (store, folder) = open("reader", Synchronous::Full).await;
    let mut written = write(&store, 8).await;
    let reader = Connection::open(folder.0.join("store.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events;").unwrap();
    let seen = |db: &Connection| db.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    assert_eq!(seen(&reader), Ok(written));
    let before = written;
    written += write(&store, 2 * MOST_PAGES).await;
    assert!(pages_in_log(&folder.0) > MOST_PAGES);
    assert_eq!(seen(&reader), Ok(before), "it reads on what it began with");
    reader.execute_batch("COMMIT").unwrap();
    written += write(&store, 64).await;
    assert!(pages_in_log(&folder.0) < MOST_PAGES);
    assert_eq!(seen(&reader), Ok(written));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_fails_is_tried_again() {
    let (store, folder) = open("fails", Synchronous::Full).await;
    let beside = folder.0.join("elsewhere.db");
    // Its thread cannot connect as long as the file is not where it was; the writer's connection goes on.
    std::fs::rename(folder.0.join("store.db"), &beside).unwrap();
    let mut written = write(&store, MANY_PAGES + 64).await;
    std::fs::rename(&beside, folder.0.join("store.db")).unwrap();
    written += write(&store, 2 * MOST_PAGES).await;
    assert!(pages_in_log(&folder.0) < MOST_PAGES + MANY_PAGES);
    assert_eq!(count(&store).await, written);
}

#[tokio::test]
async fn whoever_waits_for_an_empty_log_is_told_when_the_thread_is_gone() {
    let log = Arc::new(Log::default());
    let wait = || {
        let (told, emptied) = oneshot::channel();
        log.waiting().push(told);
        emptied
    };
    let emptied = wait();
    drop(LastWord(Arc::clone(&log)));
    assert!(emptied.await.is_err(), "as it ends");
    // Whoever comes to wait after that is told by the writer.
    let (wake, woken) = sync_channel(1);
    drop(woken);
    let checkpoints = Checkpoints { log: Arc::clone(&log), wake, thread: std::thread::spawn(|| ()) };
    log.written(FEW_PAGES + 1);
    let emptied = wait();
    checkpoints.between(&Connection::open_in_memory().unwrap());
    assert!(emptied.await.is_err(), "later");
}

#[test]
fn a_thread_that_ended_by_a_panic_over_a_checkpoint_keeps_nobody_from_an_empty_log() {
    let log = Arc::new(Log::default());
    let panics = {
        let log = Arc::clone(&log);
        move || {
            let _turn = log.turn();
            panic!("as if by a mistake of ours");
        }
    };
    assert!(std::thread::spawn(panics).join().is_err());
    let (wake, woken) = sync_channel(1);
    drop(woken);
    let checkpoints = Checkpoints { log: Arc::clone(&log), wake, thread: std::thread::spawn(|| ()) };
    log.written(FEW_PAGES);
    let (told, mut emptied) = oneshot::channel();
    log.waiting().push(told);
    checkpoints.between(&Connection::open_in_memory().unwrap());
    assert_eq!(emptied.try_recv(), Ok(Emptied::Wholly), "by the writer alone");
    // It is one at a time all the same.
    let turn = log.turn();
    assert!(log.try_turn().is_none());
    drop(turn);
}

/// Makes syncs of the file `store.db` fail while the file that `SYNCS_FAIL_IF` names is there.
const FAILING_DISK: &str = r#"
    #define _GNU_SOURCE
    #include <errno.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static int fails(int fd) {
        char link[64], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length < 9 || access(getenv("SYNCS_FAIL_IF"), F_OK)) return 0;
        path[length] = 0;
        return !strcmp(path + length - 9, "/store.db");
    }
    int fsync(int fd) { return fails(fd) ? (errno = EIO, -1) : syscall(SYS_fsync, fd); }
    int fdatasync(int fd) { return fails(fd) ? (errno = EIO, -1) : syscall(SYS_fdatasync, fd); }
"#;

/// Runs in a process of its own, which it is meant to end.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the next test starts it"]
async fn a_process_whose_disk_fails() {
    let path = std::env::temp_dir().join("store.db");
    let store = open_at(&path, Synchronous::Full).await;
    std::fs::write(path.with_file_name("fails"), "").unwrap();
    // A byte for each: a file that is written anew is empty in between, and the end comes at any moment.
    let mut written = std::fs::File::create(path.with_file_name("written")).unwrap();
    loop {
        store.add_events(vec![event(3_500)]).await.unwrap();
        written.write_all(b".").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_keep_a_checkpoint_ends_the_process_and_loses_nothing() {
    let (store, folder) = open("unsynced", Synchronous::Full).await;
    store.close().await.unwrap();
    drop(store);
    std::fs::write(folder.0.join("disk.c"), FAILING_DISK).unwrap();
    let mut compiler = std::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o", "disk.so", "disk.c"]).current_dir(&folder.0);
    assert!(compiler.status().unwrap().success());
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "store::sqlite::checkpoint::tests::a_process_whose_disk_fails"])
        .env("LD_PRELOAD", folder.0.join("disk.so"))
        .env("SYNCS_FAIL_IF", folder.0.join("fails"))
        .env("TMPDIR", &folder.0)
        .output()
        .unwrap();
    assert_eq!(ended.status.signal(), Some(6), "{}", String::from_utf8_lossy(&ended.stderr));
    let written = std::fs::read(folder.0.join("written")).unwrap().len();
    assert!(written > 10, "{written}: the log had to fill first");
    let path = folder.0.join("store.db");
    let store = open_at(&path, Synchronous::Full).await;
    assert!(count(&store).await >= written, "what was answered is there");
}
