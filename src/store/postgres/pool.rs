//! Connections: opening them, bringing the schema up to date, and what to do when one is lost.

use std::{
    net::IpAddr,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection, PgConnection, PgPool, Row,
    error::DatabaseError,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode, Postgres},
};

use crate::{
    domain::Private,
    store::{
        Error, Found, Settings, Synchronous,
        migrations::{self, LATEST},
        postgres::schema,
        seal::SealKeys,
    },
};

/// Names our schema change to other daemons (`pg_advisory_xact_lock`): "cstr migr".
const MIGRATION_LOCK: i64 = 0x6373_7472_6d69_6772;

/// A connection that rested longer than this is asked whether it still lives before it is used. Busy
/// ones are not: the question would double their round trips.
const RESTED: Duration = Duration::from_secs(1);

/// Reads a URL, and what the environment says of what it leaves open (PGSSLMODE and others).
fn options(url: &Private<String>) -> Result<PgConnectOptions, Error> {
    // The parser's own error may quote the URL, and with it the password.
    let refused = |_| {
        let form = "store.url is not of the form postgres://user:password@host/database, or a parameter behind ? is wrong";
        Error::Unusable(form.into())
    };
    PgConnectOptions::from_str(url.reveal()).map_err(refused)
}

/// Whether it leads over a network to a server whose certificate is not checked.
pub(in crate::store) fn trusts_any_server(url: &Private<String>) -> bool {
    let Ok(options) = options(url) else { return false };
    let host = options.get_host();
    let is_here = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    !is_here && !matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull)
}

/// Connections, and how long to wait for them.
#[derive(Debug)]
pub(super) struct Pool {
    connections: PgPool,
    pub(super) patience: Duration,
    /// Dead connections that one operation throws away before it gives up: all there can be.
    pub(super) most_lost: u32,
    /// `synchronous_commit` for what must be durable.
    pub(super) durable: &'static str,
    /// What an operation has met last that [`trouble`](Self::trouble) tells of.
    met: Mutex<Option<String>>,
}

impl Pool {
    /// Connections are made when they are needed.
    pub(super) fn new(url: &Private<String>, settings: &Settings) -> Result<Self, Error> {
        let options = options(url)?;
        let durable = match settings.synchronous {
            Synchronous::Full => "on",
            Synchronous::Normal | Synchronous::Off => "off",
        };
        let limit = format!("{}ms", settings.patience.as_millis());
        let options = options.application_name("countersign").options([
            ("synchronous_commit", durable),
            ("statement_timeout", &limit),
            ("lock_timeout", &limit),
            ("idle_in_transaction_session_timeout", &limit),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections.max(1))
            .acquire_timeout(settings.patience)
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > RESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        let pool = Self {
            connections: pool,
            patience: settings.patience,
            most_lost: settings.connections.max(1),
            durable,
            met: Mutex::default(),
        };
        Ok(pool)
    }

    /// Brings the schema up to date, and finds out whether our keys open what is there.
    pub(super) async fn prepare(&self, keys: &SealKeys) -> Result<(), Error> {
        let mut connection = self.acquire().await?;
        migrate(&mut connection).await?;
        check_keys(&mut connection, keys).await
    }

    /// Looks whether [`prepare`](Self::prepare) would succeed, and changes nothing.
    pub(super) async fn examine(&self, keys: &SealKeys) -> Result<Found, Error> {
        let mut connection = self.acquire().await?;
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql("SET TRANSACTION READ ONLY").execute(&mut *transaction).await?;
        let at = schema::number(&mut transaction).await?;
        if at > LATEST {
            return Err(migrations::too_new(at));
        }
        if at == 0 {
            return Ok(Found::Nothing);
        }
        if at == LATEST {
            schema::check(&mut transaction).await?;
        }
        keys.check_probes(probes(&mut transaction).await?)?;
        Ok(Found::Ours { is_up_to_date: at == LATEST })
    }

    /// A connection, waited for as long as an operation itself may take.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.connections.acquire().await.map_err(|e| self.meaning(e))
    }

    /// What an error of an operation means; what only a person can mend, and what took too long, is kept for who asks.
    pub(super) fn meaning(&self, e: sqlx::Error) -> Error {
        let is_slow = took_too_long(&e);
        let error = Error::from(e);
        match &error {
            Error::Unusable(why) => *self.met() = Some(why.clone()),
            Error::Unavailable(why) if is_slow => *self.met() = Some(why.clone()),
            Error::Unavailable(_) | Error::Conflict => {}
        }
        error
    }

    /// That an operation was given up without an answer; kept for who asks, too.
    pub(super) fn no_answer(&self) -> Error {
        let why = format!("Postgres did not answer within {:?}", self.patience);
        *self.met() = Some(why.clone());
        Error::Unavailable(why)
    }

    /// What an operation has met since this was asked last: see `Store::trouble`.
    pub(super) fn trouble(&self) -> Option<String> {
        self.met().take()
    }

    fn met(&self) -> MutexGuard<'_, Option<String>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

/// Runs `$body` with a connection, within the store's patience; for the connection it waits as long once more.
///
/// A connection that turns out to be dead (the server restarted, or failed over) is thrown away and the
/// operation is tried again, because every one of ours may be repeated, whether it had arrived or not. A begin
/// finds its own row; a save that had arrived conflicts with itself and is decided again by its caller; what adds
/// rows under ids of its own adds none twice; what counts may count once too often, which errs on the side of the
/// limit.
macro_rules! with {
    ($pool:expr, $connection:ident => $body:expr) => {{
        let pool: &$crate::store::postgres::pool::Pool = $pool;
        let mut lost = 0;
        loop {
            let mut held = pool.acquire().await?;
            let outcome = tokio::time::timeout(pool.patience, async {
                let $connection: &mut sqlx::PgConnection = &mut held;
                $body.await
            });
            match outcome.await {
                Ok(Err(e)) if lost < pool.most_lost && is_lost(&e) => {
                    lost += 1;
                    held.close_on_drop();
                }
                Ok(outcome) => break outcome.map_err(|e| pool.meaning(e)),
                Err(_) => {
                    // Its answer may still come: nobody else must read it as theirs.
                    held.close_on_drop();
                    break Err(pool.no_answer());
                }
            }
        }
    }};
}
pub(super) use with;

/// Whether the connection, and not the operation, failed.
pub(super) fn is_lost(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // 57P01 admin_shutdown, 57P02 crash_shutdown: it is on its way down. 25006 read_only_sql_transaction:
        // a session may stay read-only after the server is not any more.
        sqlx::Error::Database(e) => matches!(e.code().as_deref(), Some("57P01" | "57P02" | "25006")),
        _ => false,
    }
}

/// Whether it ended for the time it took: there was no connection for it, or Postgres gave up, by 57014 query_canceled or
/// 55P03 lock_not_available. A server that is away leaves no connections either; of that the check tells at once.
fn took_too_long(e: &sqlx::Error) -> bool {
    let code = e.as_database_error().and_then(DatabaseError::code);
    matches!(e, sqlx::Error::PoolTimedOut) || matches!(code.as_deref(), Some("57014" | "55P03"))
}

/// Decides once what an error of Postgres means. Codes are SQLSTATE (PostgreSQL 15, Appendix A).
impl From<sqlx::Error> for Error {
    fn from(e: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &e else {
            return match e {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                    Self::Unusable(format!("a row has an unknown form: {e}"))
                }
                sqlx::Error::PoolTimedOut => Self::Unavailable(
                    "no connection to Postgres in time: start it, relieve it, or correct store.url".into(),
                ),
                _ => Self::Unavailable(format!(
                    "Postgres cannot be reached: {e}: start it, or correct store.url"
                )),
            };
        };
        let code = database.code();
        match code.as_deref().unwrap_or_default() {
            code if code.starts_with("23") => broken(&**database),
            "25006" => Self::Unavailable(
                "this Postgres is read-only, perhaps a standby: point store.url at the primary".into(),
            ),
            "28000" | "28P01" => Self::Unusable("Postgres refuses the user or password of store.url".into()),
            "3D000" => Self::Unusable("the database of store.url does not exist: create it".into()),
            "42501" => Self::Unusable("the user of store.url lacks rights: let it own its database".into()),
            "42P07" => schema::foreign(None),
            // The names of our prepared statements, met by those of another session on the same connection, or gone.
            "42P05" | "26000" => Self::Unusable(
                "a pooler that gives each transaction another session is between here and Postgres: let store.url lead to \
                 Postgres itself"
                    .into(),
            ),
            // Of a pooler at the start of a session, and at any call after it lost track of a prepared statement.
            "08P01" => Self::Unavailable(
                "what answers at store.url does not take our connection, or what is asked on it (08P01), as a pooler \
                 that knows not every parameter of a session, or not its prepared statements: let store.url lead to \
                 Postgres itself"
                    .into(),
            ),
            "53100" => Self::Unavailable("the disk of Postgres is full: make room".into()),
            "57014" | "55P03" => Self::Unavailable("Postgres took too long".into()),
            // 42 is a table or column that is not as we left it, XX is damage.
            code if code.starts_with("42") || code.starts_with("XX") => {
                Self::Unusable(format!("the database is not as this version knows it ({code})"))
            }
            code => Self::Unavailable(format!("Postgres refused a statement ({code})")),
        }
    }
}

/// The constraints that break where somebody else was faster: the signing is gone that a row would belong to, or the
/// token is another link's. Every other one is provided for by the statements themselves, by `ON CONFLICT` or by ids
/// that are made anew.
const RACES: [&str; 3] = ["links_signing_fkey", "links_token_key", "payloads_signing_fkey"];

/// What it means that a constraint does not hold. Its name is ours, or that of whoever changed the database; what else
/// Postgres says of it may quote the row.
fn broken(error: &dyn DatabaseError) -> Error {
    let name = error.constraint().or_else(|| error.table()).unwrap_or("one without a name");
    if RACES.contains(&name) {
        return Error::Conflict;
    }
    let code = error.code().unwrap_or_default();
    Error::Unusable(format!(
        "a constraint does not hold ({name}, {code}): rows or sequences are not as this program left them, as where \
         a logical replica took over: restore a backup, or a physical replica"
    ))
}

/// Brings the schema up to date, and makes sure that it is ours. What fails leaves all as it was.
async fn migrate(connection: &mut PgConnection) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    // An index on millions of rows takes longer than any call may, and other daemons wait for it here.
    sqlx::raw_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        .execute(&mut *transaction)
        .await?;
    // Daemons that start together change the schema once.
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *transaction).await?;
    let at = schema::number(&mut transaction).await?;
    if at > LATEST {
        return Err(migrations::too_new(at));
    }
    for (number, step) in migrations::missing(&migrations::POSTGRES, at) {
        sqlx::raw_sql(step).execute(&mut *transaction).await.map_err(schema::not_ours)?;
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('schema', $1) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(number.to_string().into_bytes())
        .execute(&mut *transaction)
        .await?;
    }
    schema::check(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// One for each key that the database is sealed with.
async fn probes(connection: &mut PgConnection) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let rows = sqlx::query("SELECT value FROM meta WHERE name LIKE 'seal.%'").fetch_all(connection).await?;
    rows.into_iter().map(|row| row.try_get(0)).collect()
}

/// Finds a lost seal key now, and not when it is needed; remembers a new one.
async fn check_keys(connection: &mut PgConnection, keys: &SealKeys) -> Result<(), Error> {
    if !keys.check_probes(probes(connection).await?)?.contains(&keys.current()) {
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(format!("seal.{}", keys.current()))
            .bind(keys.probe(keys.current()))
            .execute(connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, error::Error as StdError, fmt};

    use sqlx::error::ErrorKind;

    use super::*;
    use crate::store::Location;

    /// What a server says, by its SQLSTATE alone.
    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Said {}

    impl DatabaseError for Said {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn a_pooler_in_between_is_said_to_be_one() {
        for code in ["42P05", "26000", "08P01"] {
            let told = Error::from(sqlx::Error::Database(Box::new(Said(code)))).to_string();
            assert!(told.contains("pooler") && told.contains("store.url"), "{code}: {told}");
        }
        let call = Error::from(sqlx::Error::Database(Box::new(Said("08P01")))).to_string();
        assert!(call.contains("prepared statements"), "not of a session's begin alone: {call}");
        let other = Error::from(sqlx::Error::Database(Box::new(Said("42P01")))).to_string();
        assert!(!other.contains("pooler"), "{other}");
    }

    #[tokio::test]
    async fn what_took_too_long_is_kept_until_it_is_asked_for_and_what_heals_by_itself_is_not() {
        let url = Private::new("postgres://127.0.0.1:1/nothing".to_owned());
        let patience = Duration::from_millis(50);
        let settings = Settings { patience, ..Settings::new(Location::Postgres { url: url.clone() }) };
        let pool = Pool::new(&url, &settings).unwrap();
        // Nobody is there, so that there is no connection in time.
        assert!(matches!(pool.acquire().await, Err(Error::Unavailable(_))));
        assert!(pool.trouble().is_some_and(|why| why.contains("no connection")));
        let refused = |code| sqlx::Error::Database(Box::new(Said(code)));
        for slow in [refused("57014"), refused("55P03"), sqlx::Error::PoolTimedOut] {
            let said = slow.to_string();
            let Error::Unavailable(why) = pool.meaning(slow) else { panic!("{said}") };
            assert_eq!((pool.trouble(), pool.trouble()), (Some(why), None), "{said}");
        }
        for other in [refused("53100"), refused("57P01"), sqlx::Error::WorkerCrashed] {
            let said = other.to_string();
            assert!(matches!(pool.meaning(other), Error::Unavailable(_)), "{said}");
            assert_eq!(pool.trouble(), None, "{said}");
        }
    }

    #[test]
    fn who_crosses_a_network_unchecked_trusts_any_server() {
        let trusts = |rest: &str| trusts_any_server(&Private::new(format!("postgres://user:word@{rest}")));
        for unchecked in ["db.example.com/name", "10.0.0.7/name?sslmode=require", "db/name?sslmode=disable"] {
            assert!(trusts(unchecked), "{unchecked}");
        }
        let checked =
            ["db/name?sslmode=verify-full", "db/name?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem"];
        for proven in
            checked.into_iter().chain(["localhost/name", "127.0.0.1/name", "%2Frun%2Fpostgresql/name"])
        {
            assert!(!trusts(proven), "{proven}");
        }
    }
}
