//! A real Postgres for the tests: started once a process, in a folder of its own, on a port of its own.
//!
//! `initdb` refuses to run as root, so a test run as root starts it as the user `postgres`. Without a
//! Postgres on the machine the tests that need one say so and do nothing else.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one server of this process.
pub(crate) struct Server {
    port: u16,
    binaries: PathBuf,
    databases: AtomicU32,
    _watch: Mutex<Child>,
}

/// The URL of a fresh, empty database; none if this machine has no Postgres.
pub(crate) fn database() -> Option<String> {
    let Some(server) = server() else {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: no Postgres on this machine (apt-get install postgresql)");
        return None;
    };
    Some(server.create())
}

/// The server, started by whoever asks first.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| binaries().map(|folder| Server::start(&folder))).as_ref()
}

impl Server {
    fn start(binaries: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("countersign-postgres-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for Postgres");
        let as_other = rustix::process::geteuid().is_root();
        if as_other {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("rights for Postgres");
        }
        let data = folder.join("data");
        let run = |program: &str| {
            let program = binaries.join(program);
            if as_other {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
                command
            } else {
                Command::new(program)
            }
        };
        let made = run("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
            .arg(&data)
            .current_dir(&folder)
            .output()
            .expect("initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let log = fs::File::create(folder.join("log")).expect("a log for Postgres");
        let mut server = run("postgres");
        server
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "max_connections=300"]);
        let watch = guard(&server, &folder).stdout(Stdio::null()).stderr(log).spawn().expect("postgres");
        let server = Self {
            port,
            binaries: binaries.to_owned(),
            databases: AtomicU32::new(0),
            _watch: Mutex::new(watch),
        };
        server.wait(&folder);
        server
    }

    fn wait(&self, folder: &Path) {
        for _ in 0..PATIENCE.as_millis() / 50 {
            let ready = Command::new(self.binaries.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("Postgres did not start: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    }

    fn create(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
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

/// A shell that runs the server and ends it, and its folder, when the test process goes, however it goes:
/// its standard input is a pipe that closes with us.
fn guard(server: &Command, folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(
            "folder=$1; shift; \"$@\" </dev/null & server=$!; \
             cat >/dev/null; kill -INT $server; wait $server; rm -rf \"$folder\"",
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
