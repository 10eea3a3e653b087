//! Sealed records in a `MySQL` or `MariaDB` server, for any number of nodes.

use std::fmt;
use std::time::Duration;

use sqlx::MySql;
use sqlx::mysql::{MySqlConnectOptions, MySqlQueryResult};
use time::OffsetDateTime;

use super::sql_server::{Dialect, Place, SqlServer};
use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};

/// A [`Store`] in a server of `MariaDB` 10.6 or `MySQL` 8.0, or later, which any number of nodes may share.
///
/// Each call is one statement and one round trip on a connection that has been used before. What is expired is decided
/// by the server's clock, to the second, so the nodes' clocks do not matter. Expired records are removed by batches of
/// 64, one for each 16 inserts of a process and one for its first; no request waits for that, and nothing has to be
/// scheduled.
///
/// Whatever the server's defaults are, the connections run in strict mode (it refuses what it cannot store whole), commit
/// each statement, and read what is committed. The last needs `binlog_format` to be `MIXED` or `ROW`, as it is by
/// default.
///
/// # Failures
///
/// A call is answered within its deadline, 500 ms unless [`with_deadline`](Self::with_deadline) says otherwise: waiting
/// for a connection, connecting, the statement and its repetition included.
///
/// A kept connection may have outlived its server. Loads, touches and deletions without a version, which may run twice,
/// are then repeated on a new connection. Saves and deletions at a version are repeated only if the server answered
/// that it refused them; to find a dead connection before such a statement is sent, one that has been quiet for 100 ms
/// is asked first, a second round trip. So an application rides through a restart of its server between two requests,
/// while a call that was under way when the server died is an error, and may have taken effect.
///
/// What was acknowledged survives a crash of the server as far as the server promises it: with
/// `innodb_flush_log_at_trx_commit` other than 1, or a failover to an asynchronous replica, the last commits may be lost.
///
/// # TLS
///
/// Enable one of sqlx's features for it, such as `tls-rustls-ring-webpki`, beside this crate, and ask for it by
/// `?ssl-mode=VERIFY_IDENTITY` in the URL:
///
/// ```toml
/// sqlx = { version = "0.9", default-features = false, features = ["tls-rustls-ring-webpki"] }
/// ```
///
/// # Examples
///
/// ```no_run
/// # use hardtack::store::MySqlStore;
/// # async fn start() -> Result<MySqlStore, hardtack::store::StoreError> {
/// let store = MySqlStore::connect("mysql://shop:password@db.example:3306/shop").await?;
/// store.create_schema().await?;
/// # Ok(store)
/// # }
/// ```
#[derive(Clone)]
pub struct MySqlStore(SqlServer<MySql>);

impl MySqlStore {
    /// Connects to the server of a URL `mysql://user:password@host:port/database`, which may name a socket
    /// (`?socket=/run/mysqld/mysqld.sock`) and all else that sqlx reads. Call it, and every method of the store, within a
    /// Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the URL cannot be read or names no database, or the server cannot be reached within ten seconds or lets nobody
    /// in. The sources name the server and what it said, never the password.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options: MySqlConnectOptions =
            url.parse().map_err(|cause: sqlx::Error| StoreError::unavailable("read the URL", cause))?;
        let Some(database) = options.get_database() else {
            return Err(StoreError::unavailable("read the URL", "it names no database"));
        };
        let socket = options.get_socket().map(|path| path.display().to_string());
        let host = socket.as_deref().unwrap_or(options.get_host());
        let place = Place { host, port: options.get_port(), database }.of::<MySql>();
        // What sqlx would set is set by the greeting, where it matters.
        let options =
            options.pipes_as_concat(false).no_engine_substitution(false).timezone(None).set_names(false);
        SqlServer::connect(options, place).await.map(Self)
    }

    /// Creates the table `hardtack_sessions` and its index, where they are missing. Any number of nodes may do so at
    /// once.
    ///
    /// # Errors
    ///
    /// If the server fails, refuses, or takes more than ten seconds.
    pub async fn create_schema(&self) -> Result<(), StoreError> {
        self.0.create_schema().await
    }

    /// How long a call may take, 500 ms by default. Connecting at the start and creating the schema have ten seconds.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self(self.0.with_deadline(deadline))
    }

    /// How many connections this process opens at most: 10 by default, and at least one.
    #[must_use]
    pub fn with_connections(self, connections: u16) -> Self {
        Self(self.0.with_connections(connections))
    }
}

impl fmt::Debug for MySqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MySqlStore").field(&self.0).finish()
    }
}

impl Store for MySqlStore {
    fn load<'a>(&'a self, id: &'a RecordId, _: u64) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.0.load(id))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.0.save(record, expect))
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.0.touch(id, version, expires_at))
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.0.delete(id, expected))
    }
}

impl Dialect for MySql {
    const SERVER: &'static str = "MySQL";

    /// Under `REPEATABLE READ`, statements also lock the gaps between rows, where others insert.
    const GREETING: &'static str = "\
        SET autocommit = 1, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';
        SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

    const SCHEMA: &'static str = "\
        CREATE TABLE IF NOT EXISTS hardtack_sessions (
            id BINARY(16) NOT NULL PRIMARY KEY,
            version BIGINT NOT NULL,
            expires_at BIGINT NOT NULL COMMENT 'seconds since 1970',
            sealed LONGBLOB NOT NULL,
            KEY hardtack_sessions_by_expiry (expires_at)
        ) ENGINE = InnoDB";

    const LOAD: &'static str = "\
        SELECT version, expires_at, sealed FROM hardtack_sessions WHERE id = ? AND expires_at > UNIX_TIMESTAMP()";

    /// A row that is found live keeps its values, and counts as one row, as does a new one. So that the two can be told
    /// apart, the answer then carries 1 as the last id, where it carries 0 otherwise. `expires_at` is set last, since
    /// the assignments before it see the old one.
    const INSERT: &'static str = "\
        INSERT INTO hardtack_sessions (id, version, expires_at, sealed) VALUES (?, ?, ?, ?)
        ON DUPLICATE KEY UPDATE
            sealed = IF(expires_at <= UNIX_TIMESTAMP(), VALUES(sealed), sealed),
            version = IF(expires_at <= UNIX_TIMESTAMP(), VALUES(version), version + LAST_INSERT_ID(1) - 1),
            expires_at = IF(expires_at <= UNIX_TIMESTAMP(), VALUES(expires_at), expires_at)";

    const UPDATE: &'static str = "\
        UPDATE hardtack_sessions SET version = ?, expires_at = ?, sealed = ?
        WHERE id = ? AND version = ? AND expires_at > UNIX_TIMESTAMP()";

    const TOUCH: &'static str = "\
        UPDATE hardtack_sessions SET expires_at = ? WHERE id = ? AND version = ? AND expires_at > UNIX_TIMESTAMP()";

    const DELETE: &'static str = "DELETE FROM hardtack_sessions WHERE id = ?";

    const DELETE_VERSION: &'static str =
        "DELETE FROM hardtack_sessions WHERE id = ? AND version = ? AND expires_at > UNIX_TIMESTAMP()";

    /// A join, because of `IN` the servers make a scan of the table.
    const SWEEP: &'static str = "\
        DELETE swept FROM hardtack_sessions AS swept JOIN (
            SELECT id FROM hardtack_sessions WHERE expires_at <= UNIX_TIMESTAMP()
            ORDER BY expires_at LIMIT 64 FOR UPDATE SKIP LOCKED
        ) AS expired ON swept.id = expired.id";

    /// Rows count as affected when they are found, be their values new or not: sqlx asks for that when it connects.
    fn changed(done: &MySqlQueryResult) -> bool {
        done.rows_affected() > 0 && done.last_insert_id() == 0
    }
}
