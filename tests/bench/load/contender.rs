//! A process under measurement: started on a core of its own, asked of the kernel what it used.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

/// The core of the contender.
pub(crate) const CORE: &str = "0";
/// The core of everything else.
pub(crate) const OTHER_CORE: &str = "1";
/// Kernel ticks a second, as `/proc` counts them on Linux (USER_HZ).
const TICKS: f64 = 100.0;

/// A running process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// The first line that it printed.
    pub(crate) said: String,
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts a program on the contender's core and waits for its first line of output.
    pub(crate) fn contender(program: &Path, arguments: &[&str], folder: &Path, set: &[(&str, &str)]) -> Self {
        Self::start(CORE, program, arguments, folder, set, true)
    }

    /// The same on the other core.
    pub(crate) fn beside(program: &Path, arguments: &[&str], folder: &Path) -> Self {
        Self::start(OTHER_CORE, program, arguments, folder, &[], true)
    }

    /// Starts a program on these cores without waiting for anything.
    pub(crate) fn silent(cores: &str, program: &Path, arguments: &[&str], folder: &Path) -> Self {
        Self::start(cores, program, arguments, folder, &[], false)
    }

    fn start(
        cores: &str,
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        set: &[(&str, &str)],
        speaks: bool,
    ) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", cores]).arg(program).args(arguments).current_dir(folder);
        command.envs(set.iter().copied());
        command.stdin(Stdio::piped()).stdout(if speaks { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().expect("taskset (util-linux) and the program are there");
        let mut said = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut said).expect("it says where it listens");
        }
        let stdin = child.stdin.take();
        Self { child, said: said.trim().to_owned(), _stdin: stdin }
    }

    /// CPU seconds used so far, user and system, by all threads, and by what it has started.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id()) + self.started().into_iter().map(cpu_seconds).sum::<f64>()
    }

    /// Resident memory, in MiB; of what it has started, what is not of its own binary.
    pub(crate) fn resident_mib(&self) -> f64 {
        memory_mib(self.child.id(), "VmRSS:")
            + self.started().into_iter().map(|pid| memory_mib(pid, "RssAnon:")).sum::<f64>()
    }

    /// The most that was resident so far, in MiB, of the process itself.
    pub(crate) fn peak_mib(&self) -> f64 {
        memory_mib(self.child.id(), "VmHWM:")
    }

    /// The processes that it has started, and that live.
    fn started(&self) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let lists: String =
            threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok()).collect();
        lists.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Ends it as a service manager does, and waits for that.
    pub(crate) fn end(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let _ = self.child.wait();
    }
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold blanks; the times, and those of children that have ended, are the 14th to 17th fields
    // of all.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<f64> = after.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    // Of what has ended since it was listed, its parent tells.
    fields.get(11..15).map_or(0.0, |times| times.iter().sum::<f64>() / TICKS)
}

fn memory_mib(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1_024.0
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port, with as much room for a burst of connections as countersign's own listeners have.
pub(crate) fn listen() -> tokio::net::TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    socket.listen(4_096).expect("it listens")
}

/// Waits until standard input ends, which is when the parent does.
pub(crate) async fn until_parent_ends() {
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut nothing = String::new();
        while std::io::stdin().read_line(&mut nothing).is_ok_and(|read| read > 0) {}
        let _ = end.send(());
    });
    let _ = ended.await;
}

/// Waits until a file is there, and reads it.
pub(crate) fn wait_for_file(path: &Path) -> String {
    for _ in 0..6_000 {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{} did not come", path.display());
}
