//! The database file: opening it, keeping others out, and telling ours from any other, also while it is open.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig,
    ffi::SQLITE_CONSTRAINT_FOREIGNKEY,
};
use rustix::{fs, io::Errno};

use crate::store::{
    Error, Found,
    migrations::{self, LATEST},
    rows::SenderRow,
    seal::SealKeys,
    sqlite::{
        links::followed,
        locks::{Locks, says_begun},
        senders,
    },
};

/// Marks a file as ours (`PRAGMA application_id`): "cstr".
const APPLICATION_ID: i64 = 0x6373_7472;

/// The first SQLite without the WAL-reset corruption bug (sqlite.org, "The WAL-reset bug", 3.7.0–3.51.2).
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a statement waits for a lock. Only a person's own `sqlite3` could hold one.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The page cache of a connection. The writer's holds the ends of the indexes; reads are mostly of one row.
const CACHE_KIB: i64 = 2_048;

/// What the log file shrinks to after a burst.
const WAL_LIMIT_BYTES: u32 = 64 << 20;

/// Prepared statements kept: more than we have.
const STATEMENTS: usize = 128;

/// A path, and the lock that keeps other daemons off it for as long as this lives.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    open_path: Arc<OpenPath>,
    /// For syncing. Must be closed after every connection of this process: closing any handle drops SQLite's locks.
    data: File,
    _locks: Locks,
}

impl DatabaseFile {
    /// Locks the path, makes the file if there was none, and brings its schema up to date.
    pub(super) fn open(path: &Path, keys: &SealKeys) -> Result<(Arc<Self>, Connection), Error> {
        refuse_folder(path)?;
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(Error::Unusable(format!(
                "this program was built with SQLite {}, which can corrupt its log: build with 3.51.3 or later",
                rusqlite::version()
            )));
        }
        at_its_place(path, |at| Self::open_at(at, path, keys))
    }

    /// The same for the file `at` the end of links, if the `path` of the settings is one.
    fn open_at(at: &Path, path: &Path, keys: &SealKeys) -> Result<(Arc<Self>, Connection), Error> {
        refuse_others(at)?;
        let mut locks = Locks::take(path, at)?;
        if let Some(begun) = locks.begun()?
            && is_gone(at)?
        {
            return Err(lost(begun, "lock"));
        }
        create(at)?;
        let mut writer = connect(at, Access::Write).map_err(|e| name(at, e))?;
        migrate(&mut writer).and_then(|()| check_keys(&mut writer, keys)).map_err(|e| name(at, e))?;
        locks.begin()?;
        let data = File::open(at).map_err(|e| unopened(at, &e))?;
        let open_path = Arc::new(OpenPath::of(path, at, &data)?);
        Ok((Arc::new(Self { open_path, data, _locks: locks }), writer))
    }

    /// Where it is.
    pub(super) fn open_path(&self) -> &Arc<OpenPath> {
        &self.open_path
    }

    /// Makes what was written to the file itself reach the disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.data
            .sync_data()
            .map_err(|e| name(&self.open_path.path, Error::Unavailable(format!("the disk fails: {e}"))))
    }

    /// One more connection. It never makes a file, nor takes another one that lies there now: one that vanished is not
    /// silently begun anew.
    pub(super) fn connect(&self, access: Access) -> Result<Connection, Error> {
        self.open_path.look()?;
        connect(&self.open_path.at, access).map_err(|e| name(&self.open_path.path, e))
    }
}

/// The path of an open file, and whether it still leads there.
///
/// A file that is removed, or replaced by another one, stays open for whoever has it: all goes on as before, and what is
/// written is gone with the process. And one that was restored there is from another time than what the daemon has in
/// hand. So nothing more is written, until a person has stopped the daemon and seen to it.
#[derive(Debug)]
pub(super) struct OpenPath {
    /// As the settings have it.
    path: PathBuf,
    /// The file itself, if that is a link.
    at: PathBuf,
    /// Device and number of the file. No other one gets these as long as it is open.
    file: (u64, u64),
    /// Whether the last check has not found it there.
    is_lost: AtomicBool,
}

impl OpenPath {
    fn of(path: &Path, at: &Path, data: &File) -> Result<Self, Error> {
        let about = data.metadata().map_err(|e| unopened(at, &e))?;
        let file = (about.dev(), about.ino());
        Ok(Self { path: path.to_owned(), at: at.to_owned(), file, is_lost: AtomicBool::new(false) })
    }

    /// Fails if the file is not there: until it is again, [`confirm`](Self::confirm) fails, too.
    pub(super) fn check(&self) -> Result<(), Error> {
        let found = self.look();
        let was_lost = self.is_lost.swap(found.is_err(), Ordering::SeqCst);
        if let (Err(error), false) = (&found, was_lost) {
            tracing::error!(%error, "the store is lost");
        }
        found
    }

    /// Fails as the last [`check`](Self::check) did, unless the file is back. Costs nothing while all is well.
    pub(super) fn confirm(&self) -> Result<(), Error> {
        if self.is_lost.load(Ordering::SeqCst) { self.check() } else { Ok(()) }
    }

    fn look(&self) -> Result<(), Error> {
        let is_there = match std::fs::metadata(&self.path) {
            Ok(about) => (about.dev(), about.ino()) == self.file,
            // Who may not look does not know.
            Err(e) => !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        if is_there {
            return Ok(());
        }
        // A link may lead elsewhere by now.
        let at = followed(&self.path).unwrap_or_else(|_| self.at.clone());
        let (path, at) = (self.path.display(), at.display());
        Err(Error::Unavailable(format!(
            "{path}: the file was removed or replaced under the daemon, and nothing more is written: stop the daemon, \
             put the right file there, remove {at}-wal and {at}-shm if they are another file's, and start it again"
        )))
    }
}

/// Looks at a file as [`DatabaseFile::open`] would, without making or changing anything.
pub(in crate::store) fn examine(path: &Path, keys: &SealKeys) -> Result<Found, Error> {
    refuse_folder(path)?;
    at_its_place(path, |at| examine_at(at, path, keys))
}

fn examine_at(at: &Path, path: &Path, keys: &SealKeys) -> Result<Found, Error> {
    let has_log = beside(at, "wal").exists();
    if is_gone(at)? {
        if let Some(begun) = [path, at].into_iter().find(|path| says_begun(path)) {
            return Err(lost(begun, "lock"));
        }
        return if has_log { Err(lost(at, "wal")) } else { Ok(Found::Nothing) };
    }
    if is_in_log(at) {
        return Ok(Found::InLog);
    }
    read_only(at, !has_log).and_then(|file| known(&file, keys)).map_err(|e| name(at, e))
}

/// What a file holds of senders that [`examine`] has found to be up to date. Changes nothing, either.
pub(in crate::store) fn kept_of_senders(path: &Path) -> Result<Vec<SenderRow>, Error> {
    at_its_place(path, |at| {
        if is_in_log(at) {
            let why = "a crash or a copy has left something in its log: start the daemon, which takes it up";
            return Err(name(at, Error::Unavailable(why.into())));
        }
        let file = read_only(at, !beside(at, "wal").exists());
        file.and_then(|file| senders::all(&file)).map_err(|e| name(at, e))
    })
}

/// Whether a log lies there without the file that its readers share. To read it would make that file, which then belongs to
/// whoever looked.
fn is_in_log(at: &Path) -> bool {
    beside(at, "wal").exists() && !beside(at, "shm").exists()
}

/// Does something with the file that a path leads to. If the path is a link, what is wrong is told of both.
fn at_its_place<T>(path: &Path, work: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
    let at = followed(path)?;
    let is_named = |e: &Error| at == path || e.to_string().contains(&*path.to_string_lossy());
    work(&at).map_err(|e| if is_named(&e) { e } else { name(path, e) })
}

/// A file without a log is one that nobody uses: SQLite is told that it does not change, and makes none.
fn read_only(path: &Path, is_at_rest: bool) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if is_at_rest {
        let mut uri = url::Url::from_file_path(std::path::absolute(path).map_err(|e| unopened(path, &e))?)
            .map_err(|()| Error::Unusable("it has no absolute path".into()))?;
        uri.set_query(Some("immutable=1"));
        Connection::open_with_flags(uri.as_str(), flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// What a readable file holds.
fn known(file: &Connection, keys: &SealKeys) -> Result<Found, Error> {
    refuse_foreign(file)?;
    let at = schema(file)?;
    if at == 0 {
        return Ok(Found::Nothing);
    }
    if at > LATEST {
        return Err(migrations::too_new(at));
    }
    keys.check_probes(probes(file)?)?;
    Ok(Found::Ours { is_up_to_date: at == LATEST })
}

fn refuse_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::Unusable(format!(
            "{}: this is a folder: write the path of a file into store.url, such as {}",
            path.display(),
            path.join("countersign.db").display()
        )));
    }
    Ok(())
}

/// Refuses what this user may not write, such as files that root's hand has made: SQLite would say no more than that it
/// cannot open the database, and that does not heal by itself.
fn refuse_others(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::access(folder, fs::Access::WRITE_OK | fs::Access::EXEC_OK) == Err(Errno::ACCESS) {
        return Err(unopened(path, &Errno::ACCESS.into()));
    }
    let is_shut =
        |file: &PathBuf| fs::access(file, fs::Access::READ_OK | fs::Access::WRITE_OK) == Err(Errno::ACCESS);
    let mut all = vec![path.to_owned()];
    all.extend(BESIDE.map(|what| beside(path, what)));
    let Some(shut) = all.into_iter().find(is_shut) else { return Ok(()) };
    let (shut, path) = (shut.display(), path.display());
    Err(Error::Unusable(format!(
        "{shut}: this user may not read and write it: give {path} and, where they are, {path}-lock, {path}-wal and \
         {path}-shm to the user that the daemon runs as"
    )))
}

/// What lies beside the database: our lock, and SQLite's log with its index.
const BESIDE: [&str; 3] = ["lock", "wal", "shm"];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

fn connect(path: &Path, access: Access) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Else some statements are compiled anew each time they run, to look at the values bound to them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    refuse_foreign(&connection)?;
    // Not applied to a foreign file: WAL is a property of the file, and stays.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT_BYTES, |_| Ok(()))?;
    // See `checkpoint`.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    match access {
        Access::Read => connection.pragma_update(None, "query_only", true)?,
        Access::Write => {
            // Overwrites what is deleted, freed pages too (a document fills some). A create frees none.
            connection.pragma_update_and_check(None, "secure_delete", "on", |_| Ok(()))?;
        }
    }
    Ok(connection)
}

/// Refuses a file with another program's mark, or without one and with tables.
fn refuse_foreign(connection: &Connection) -> Result<(), Error> {
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID && (id != 0 || tables > 0) {
        return Err(Error::Unusable(
            "it is a database of another program: set store.url to a file of our own".into(),
        ));
    }
    Ok(())
}

/// Makes the file, readable by nobody else. SQLite gives its log the same mode.
fn create(path: &Path) -> Result<(), Error> {
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(_) if beside(path, "wal").exists() => {
            // Its log is still here, so the database was lost: leave everything as it was found.
            std::fs::remove_file(path).map_err(|e| unopened(path, &e))?;
            Err(lost(path, "wal"))
        }
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(unopened(path, &e)),
    }
}

/// SQLite's way of naming files beside the database.
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(what);
    name.into()
}

pub(super) fn unopened(path: &Path, e: &io::Error) -> Error {
    let (fix, may_heal) = match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ("make its folder, or correct store.url", false)
        }
        io::ErrorKind::PermissionDenied => ("let this user write to its folder, or correct store.url", false),
        io::ErrorKind::ReadOnlyFilesystem => ("mount it for writing, or point store.url elsewhere", false),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ("make room", true),
        _ => ("see that its folder is there and can be written, or correct store.url", true),
    };
    let text = format!("{}: {e}: {fix}", path.display());
    if may_heal { Error::Unavailable(text) } else { Error::Unusable(text) }
}

/// Whether the file is not there, or empty; ours never is.
fn is_gone(path: &Path) -> Result<bool, Error> {
    match std::fs::metadata(path) {
        Ok(about) => Ok(about.len() == 0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(unopened(path, &e)),
    }
}

/// What lies beside the file shows that there was one. To begin anew would forget every signing.
fn lost(path: &Path, left: &str) -> Error {
    let (path, left) = (path.display(), beside(path, left));
    let left = left.display();
    Error::Unusable(format!(
        "{path}: the file is gone or empty, but {left} shows that it held data: restore the file, or remove \
         {left} to begin anew"
    ))
}

/// Puts the file's path before what is wrong with it.
fn name(path: &Path, e: Error) -> Error {
    match e {
        Error::Conflict => Error::Conflict,
        Error::Unavailable(why) => Error::Unavailable(format!("{}: {why}", path.display())),
        Error::Unusable(why) => Error::Unusable(format!("{}: {why}", path.display())),
    }
}

fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let at = schema(&transaction)?;
    if at > LATEST {
        return Err(migrations::too_new(at));
    }
    if at == LATEST {
        return Ok(());
    }
    for (number, step) in migrations::missing(&migrations::SQLITE, at) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()?;
    Ok(())
}

/// The number of the last step that was taken.
fn schema(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// One for each key that the database is sealed with.
fn probes(connection: &Connection) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = connection.prepare("SELECT value FROM meta WHERE name LIKE 'seal.%'")?;
    Ok(found.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Finds a lost seal key now, and not when it is needed; remembers a new one.
fn check_keys(connection: &mut Connection, keys: &SealKeys) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !keys.check_probes(probes(&transaction)?)?.contains(&keys.current()) {
        transaction.execute(
            "INSERT INTO meta (name, value) VALUES (?1, ?2)",
            (format!("seal.{}", keys.current()), keys.probe(keys.current())),
        )?;
    }
    transaction.commit()?;
    Ok(())
}

/// Decides once what an error of SQLite means: whether it may heal, and what the operator should do.
impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            // The signing is gone that a row would belong to.
            Some(ErrorCode::ConstraintViolation) if is_reference(&e) => Self::Conflict,
            // It names the constraint, and no value.
            Some(ErrorCode::ConstraintViolation) => Self::Unusable(format!(
                "a constraint does not hold ({e}): rows are not as this program left them: restore a backup"
            )),
            Some(ErrorCode::DatabaseCorrupt) => {
                Self::Unusable("the database file is damaged: restore a backup".into())
            }
            Some(ErrorCode::NotADatabase) => Self::Unusable(
                "it is not a database, or damaged: restore a backup, or set store.url to another file".into(),
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Unavailable("another program holds a lock on the database: let it go".into())
            }
            Some(ErrorCode::SystemIoFailure) => Self::Unavailable(format!(
                "the disk fails ({e}): see the log of the kernel, and make room or move the file"
            )),
            Some(ErrorCode::DiskFull) => Self::Unavailable("the disk is full: make room".into()),
            Some(ErrorCode::ReadOnly) => {
                Self::Unavailable("the database is read-only: make the file and its folder writable".into())
            }
            Some(ErrorCode::CannotOpen) => Self::Unavailable(
                "the database cannot be opened: see that the file is there and may be read and written"
                    .into(),
            ),
            // What it has no other code for: a table or column is not as we left it.
            Some(ErrorCode::Unknown) => Self::Unusable(format!(
                "the database is not as this version knows it ({e}): restore a backup"
            )),
            Some(_) => Self::Unavailable(e.to_string()),
            // Not SQLite but a row that does not have the form we wrote.
            None => Self::Unusable(format!("a row has an unknown form: {e}")),
        }
    }
}

fn is_reference(e: &rusqlite::Error) -> bool {
    e.sqlite_error().is_some_and(|e| e.extended_code == SQLITE_CONSTRAINT_FOREIGNKEY)
}
