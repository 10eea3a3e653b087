//! Sealed records in one `SQLite` file, for the processes of one machine.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use time::OffsetDateTime;

use super::sql::{Row, comparable, record};
use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};

/// A [`Store`] in a `SQLite` file, which any number of processes of one machine may share.
///
/// The file must be on a local disk: `SQLite`'s locks are not dependable on network file systems. Readers
/// never wait for writers. Writers take turns; one that has waited five seconds for this process's turn, or
/// five for another process's, is an error. Expired records are removed by later inserts, a few by each, so
/// nothing has to run in the background; the file does not shrink, its pages are used again.
///
/// ```
/// # use hardtack::store::{RecordId, SqliteStore, Store};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let store = SqliteStore::open(directory.path().join("sessions.db")).await?;
/// assert_eq!(store.load(&RecordId::from_bytes([7; 16]), 0).await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    path: PathBuf,
    // SQLite lets one connection write at a time and makes the others poll. Through a pool of one, the
    // writers of this process queue in order instead.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, and creates it and its table `hardtack_sessions` where they are missing. The directory
    /// must exist. A relative path is taken from the current directory once, now; `:memory:` and `file:` have
    /// no special meaning. Call it, and every method of the store, within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, read or written, or is not a `SQLite` database. The source names the
    /// file.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let given = path.as_ref();
        // SQLite would take a relative `:memory:` for a database of each connection's own, and one that
        // starts with `file:` for a URI. An absolute path is neither, and it outlives a change of the current
        // directory.
        let path = std::path::absolute(given).map_err(|cause| unavailable(OPEN, given, cause))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(PATIENCE)
            // NORMAL, the usual companion of write-ahead logging, may lose the last commits when the power
            // fails. A lost deletion would bring back a session whose end was already confirmed, so each
            // commit is flushed.
            .synchronous(SqliteSynchronous::Full);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options.clone().create_if_missing(true));
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options);
        set_up(&writer).await.map_err(|cause| unavailable(OPEN, &path, cause))?;
        Ok(Self { path, writer, readers })
    }

    /// Whether it was inserted.
    async fn insert(&self, record: &Record, version: i64) -> Result<bool, sqlx::Error> {
        // One transaction, so that the sweep costs no second flush.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let now = now();
        sqlx::query(SWEEP).bind(now).execute(&mut *transaction).await?;
        let done = sqlx::query(INSERT)
            .bind(record.id.as_bytes().as_slice())
            .bind(version)
            .bind(record.expires_at.unix_timestamp())
            .bind(record.sealed.as_slice())
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether it was updated.
    async fn update(&self, record: &Record, version: i64, from: u64) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(UPDATE)
            .bind(record.id.as_bytes().as_slice())
            .bind(version)
            .bind(record.expires_at.unix_timestamp())
            .bind(record.sealed.as_slice())
            .bind(now())
            .bind(comparable(from))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether it was there at this version.
    async fn delete_version(&self, id: &RecordId, version: u64) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(DELETE_VERSION)
            .bind(id.as_bytes().as_slice())
            .bind(comparable(version))
            .bind(now())
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    fn failed<E: Into<Cause>>(&self, what: &'static str) -> impl FnOnce(E) -> StoreError {
        move |cause| unavailable(what, &self.path, cause)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        _at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let found: Option<Row> = sqlx::query_as(LOAD)
                .bind(id.as_bytes().as_slice())
                .bind(now())
                .fetch_optional(&self.readers)
                .await
                .map_err(self.failed("load a record"))?;
            found.map(|row| record(id, row)).transpose().map_err(self.failed("load a record"))
        })
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let version = i64::try_from(record.version).map_err(self.failed("save a record"))?;
            let saved = match expect {
                Expect::Absent => self.insert(record, version).await,
                Expect::Version(from) => self.update(record, version, from).await,
            };
            if saved.map_err(self.failed("save a record"))? { Ok(()) } else { Err(StoreError::conflict()) }
        })
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            sqlx::query(TOUCH)
                .bind(id.as_bytes().as_slice())
                .bind(comparable(version))
                .bind(expires_at.unix_timestamp())
                .bind(now())
                .execute(&self.writer)
                .await
                .map_err(self.failed("touch a record"))?;
            Ok(())
        })
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let gone = match expected {
                Some(version) => self.delete_version(id, version).await,
                None => sqlx::query(DELETE)
                    .bind(id.as_bytes().as_slice())
                    .execute(&self.writer)
                    .await
                    .map(|_| true),
            };
            if gone.map_err(self.failed("delete a record"))? { Ok(()) } else { Err(StoreError::conflict()) }
        })
    }
}

/// Creates the table and switches the file to write-ahead logging, which it then remembers.
async fn set_up(writer: &SqlitePool) -> Result<(), Cause> {
    let mut attempts = 0;
    loop {
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        // SQLite opens what it may not write for reading. This write finds that out now.
        sqlx::query(SWEEP).bind(now()).execute(&mut *transaction).await?;
        transaction.commit().await?;

        attempts += 1;
        match sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(writer).await {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(format!("write-ahead logging is not possible, only {mode:?}").into()),
            // The busy timeout does not cover this switch, so processes that open a new file together are in
            // each other's way. The transaction above waits for the others' turns.
            Err(_) if attempts < SET_UP_ATTEMPTS => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn unavailable(what: &'static str, path: &Path, cause: impl Into<Cause>) -> StoreError {
    StoreError::unavailable(what, InFile { path: path.to_owned(), cause: cause.into() })
}

type Cause = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("in the SQLite file {}", path.display())]
struct InFile {
    path: PathBuf,
    #[source]
    cause: Cause,
}

/// How long a call waits for a connection, and how long a connection waits for another process.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that read at once. Each is a thread; loads are short.
const READERS: u32 = 4;

/// How often processes that open one new file together may be in each other's way.
const SET_UP_ATTEMPTS: u32 = 100;

const OPEN: &str = "open the SQLite file";

const SCHEMA: &str = "\
    CREATE TABLE IF NOT EXISTS hardtack_sessions (
        id BLOB PRIMARY KEY,
        version INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, -- seconds since 1970
        sealed BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS hardtack_sessions_by_expiry ON hardtack_sessions (expires_at);";

const LOAD: &str = "\
    SELECT version, expires_at, sealed FROM hardtack_sessions WHERE id = ?1 AND expires_at > ?2";

const INSERT: &str = "\
    INSERT INTO hardtack_sessions (id, version, expires_at, sealed) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (id) DO UPDATE
    SET version = excluded.version, expires_at = excluded.expires_at, sealed = excluded.sealed
    WHERE hardtack_sessions.expires_at <= ?5";

const UPDATE: &str = "\
    UPDATE hardtack_sessions SET version = ?2, expires_at = ?3, sealed = ?4
    WHERE id = ?1 AND expires_at > ?5 AND version = ?6";

const TOUCH: &str = "\
    UPDATE hardtack_sessions SET expires_at = ?3 WHERE id = ?1 AND version = ?2 AND expires_at > ?4";

const DELETE: &str = "DELETE FROM hardtack_sessions WHERE id = ?1";

const DELETE_VERSION: &str =
    "DELETE FROM hardtack_sessions WHERE id = ?1 AND version = ?2 AND expires_at > ?3";

/// Few enough that no insert is slow, and more than one, so that the expired dwindle.
const SWEEP: &str = "\
    DELETE FROM hardtack_sessions WHERE id IN (
        SELECT id FROM hardtack_sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 16
    )";
