//! Rule S1 when the process dies: a real daemon with secrets in its memory may write no core and shows its memory to
//! nobody, and is then aborted where cores are written. The emulator, which keeps nothing to itself, is the positive control.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use rustix::process::{Signal, kill_process};

use crate::{
    harness::{CALLER_KEY, TempDir, TestDaemon, http_client},
    process::{limit, without_privileges},
    waiting::read_ready,
};

/// Starts the binary in a directory where its core would be written.
fn start(directory: &Path, arguments: &[&str]) -> Child {
    let mut command = without_privileges("sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_countersign")]);
    command.args(arguments).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the binary starts")
}

/// Aborts it; answers the core, if there is one.
fn core_of(mut process: Child, directory: &Path) -> Option<Vec<u8>> {
    let pid = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    kill_process(pid, Signal::ABORT).unwrap();
    let status = process.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{status}");
    let mut entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let core =
        entries.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")));
    core.map(|path| std::fs::read(path).unwrap())
}

/// Whether another process of this user, without a privilege, may look into its memory (`PR_SET_DUMPABLE`).
fn shows_itself(process: &Child) -> bool {
    let mut look = without_privileges("cat");
    look.arg(format!("/proc/{}/environ", process.id())).stderr(Stdio::null());
    look.output().unwrap().status.success()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn s1_an_aborted_daemon_leaves_no_core() {
    let control = TempDir::new();
    let arguments =
        ["emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--ready-file", "ready.json"];
    let emulator = start(&control.0, &arguments);
    let emulated = read_ready(&control.0.join("ready.json")).await;
    assert!(shows_itself(&emulator), "the look is blind for memory");
    if let Some(core) = core_of(emulator, &control.0) {
        let planted = emulated["connect_hmac_key"].as_str().unwrap();
        assert!(holds(&core, planted), "the search is blind for cores");
    }

    let around = TestDaemon::start().await;
    let directory = TempDir::new();
    let store = format!("sqlite://{}", directory.0.join("store.db").display());
    std::fs::write(directory.0.join("settings.toml"), around.settings_for_a_process(&store)).unwrap();
    let daemon = start(&directory.0, &["serve", "--config", "settings.toml", "--ready-file", "ready.json"]);
    let serving = read_ready(&directory.0.join("ready.json")).await;
    let url = format!("{}/v1/signings", serving["api_url"].as_str().unwrap());
    let answer = http_client().get(url).bearer_auth(CALLER_KEY).send().await.unwrap();
    assert_eq!(answer.status(), 200, "the daemon has secrets in its memory");
    // The limit keeps it out of files. What the kernel hands to a program (`kernel.core_pattern`) heeds the other alone.
    assert_eq!(limit(daemon.id(), "Max core file size"), ["0", "0"]);
    assert!(!shows_itself(&daemon), "it can be looked into, and dumped");
    // Where the control's core went to such a program, this one would not be found, either.
    assert!(core_of(daemon, &directory.0).is_none(), "a core was written");
}
