//! A real Postgres for the tests: started once a process, in a folder of its own, on a port of its own.
//!
//! `initdb` refuses to run as root, so a test run as root starts it as the user `postgres`. Without a
//! Postgres on the machine the tests that need one say so and do nothing else.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::left_out::leave_out;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server: the one of this process, or one that a test stops and starts.
pub(crate) struct Server {
    port: u16,
    binaries: PathBuf,
    folder: PathBuf,
    databases: AtomicU32,
    watch: Mutex<Child>,
}

/// The URL of a fresh, empty database; none if this machine has no Postgres.
pub(crate) fn database() -> Option<String> {
    server().map(Server::create)
}

/// The server, started by whoever asks first.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| binaries().map(|folder| Server::start(&folder, ""))).as_ref();
    if server.is_none() {
        leave_out("there is no Postgres");
    }
    server
}

/// A server that nobody else uses, for a test that stops it.
pub(crate) fn own_server(name: &str) -> Option<Server> {
    server().map(|shared| Server::start(&shared.binaries, name))
}

impl Server {
    fn start(binaries: &Path, name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("countersign-postgres-{}{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for Postgres");
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("rights for Postgres");
        }
        let made = run(&binaries.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
            .arg(folder.join("data"))
            .current_dir(&folder)
            .output()
            .expect("initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = crate::ports::free_port();
        let watch = Mutex::new(launch(binaries, &folder, port));
        let server =
            Self { port, binaries: binaries.to_owned(), folder, databases: AtomicU32::new(0), watch };
        server.wait();
        server
    }

    /// Stops it at once, as a fail-over does: clients lose their connections.
    pub(crate) fn stop(&self) {
        fs::write(self.folder.join(KEEP), "").expect("a mark");
        let mut watch = self.watch.lock().expect("one stop at a time");
        drop(watch.stdin.take());
        watch.wait().expect("the server ends");
    }

    /// Starts it again after a stop, on the same port and data.
    pub(crate) fn start_again(&self) {
        fs::remove_file(self.folder.join(KEEP)).expect("the mark of the stop");
        *self.watch.lock().expect("one start at a time") = launch(&self.binaries, &self.folder, self.port);
        self.wait();
    }

    fn wait(&self) {
        for _ in 0..PATIENCE.as_millis() / 50 {
            let ready = Command::new(self.binaries.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("Postgres did not start: {}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    /// The URL of a fresh, empty database.
    pub(crate) fn create(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        // Half a day ahead of the test's own: what depended on a time zone would show.
        self.sql("postgres", &format!("ALTER DATABASE {name} SET timezone TO 'Pacific/Kiritimati'"));
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL as a person would, and gives what `psql` printed.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let done = Command::new(self.binaries.join("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database])
            .args(["-v", "ON_ERROR_STOP=1", "-Atqc", sql])
            .output()
            .expect("psql");
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

/// A file that says that the folder of a server that ends is still wanted.
const KEEP: &str = "keep";

fn run(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

fn launch(binaries: &Path, folder: &Path, port: u16) -> Child {
    let log = fs::File::create(folder.join("log")).expect("a log for Postgres");
    let mut server = run(&binaries.join("postgres"));
    server
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories=", "-c", "max_connections=300"]);
    guard(&server, folder).stdout(Stdio::null()).stderr(log).spawn().expect("postgres")
}

/// A shell that runs the server and ends it, and its folder, when the test process goes, however it goes:
/// its standard input is a pipe that closes with us.
fn guard(server: &Command, folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(
            "folder=$1; shift; \"$@\" </dev/null & server=$!; \
             cat >/dev/null; kill -INT $server; wait $server; [ -e \"$folder/keep\" ] || rm -rf \"$folder\"",
        )
        .arg("sh")
        .arg(folder)
        .arg(server.get_program())
        .args(server.get_args())
        .current_dir(folder)
        .stdin(Stdio::piped());
    shell
}

/// Where the newest Postgres keeps its programs.
fn binaries() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}
