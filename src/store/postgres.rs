//! Sealed records in a `PostgreSQL` server, for any number of nodes.

use std::fmt;
use std::time::Duration;

use sqlx::Postgres;
use sqlx::postgres::{PgConnectOptions, PgQueryResult};
use time::OffsetDateTime;

use super::sql_server::{Dialect, Place, SqlServer};
use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};

/// A [`Store`] in a `PostgreSQL` server (9.6 or later), which any number of nodes may share.
///
/// Each call is one statement and one round trip on a connection that has been used before. What is expired is decided
/// by the server's clock, to the second, so the nodes' clocks do not matter. Expired records are removed by batches of
/// 64, one for each 16 inserts of a process and one for its first; no request waits for that, and nothing has to be
/// scheduled.
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
/// `synchronous_commit = off`, or a failover to an asynchronous standby, the last commits may be lost.
///
/// # TLS
///
/// Enable one of sqlx's features for it, such as `tls-rustls-ring-webpki`, beside this crate, and ask for it by
/// `?sslmode=verify-full` in the URL:
///
/// ```toml
/// sqlx = { version = "0.9", default-features = false, features = ["tls-rustls-ring-webpki"] }
/// ```
///
/// # `PgBouncer`
///
/// Statements are prepared by name, once for each connection. In transaction mode this needs `PgBouncer` 1.21 or later
/// with `max_prepared_statements` above zero; in session mode any does.
///
/// # Examples
///
/// ```no_run
/// # use hardtack::store::PostgresStore;
/// # async fn start() -> Result<PostgresStore, hardtack::store::StoreError> {
/// let store = PostgresStore::connect("postgres://shop:password@db.example:5432/shop").await?;
/// store.create_schema().await?;
/// # Ok(store)
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore(SqlServer<Postgres>);

impl PostgresStore {
    /// Connects to the server of a URL `postgres://user:password@host:port/database`, which may name a socket's folder
    /// (`?host=/run/postgresql`) and all else that sqlx reads. Call it, and every method of the store, within a Tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// If the URL cannot be read, or the server cannot be reached within ten seconds or lets nobody in. The sources name
    /// the server and what it said, never the password.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions =
            url.parse().map_err(|cause: sqlx::Error| StoreError::unavailable("read the URL", cause))?;
        let socket = options.get_socket().map(|path| path.display().to_string());
        let place = Place {
            host: socket.as_deref().unwrap_or(options.get_host()),
            port: options.get_port(),
            database: options.get_database().unwrap_or(options.get_username()),
        }
        .of::<Postgres>();
        SqlServer::connect(options, place).await.map(Self)
    }

    /// Creates the table `hardtack_sessions` and its index, where they are missing, in the first schema of the search
    /// path. Any number of nodes may do so at once. Where the table is there, no right to create one is needed.
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

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore").field(&self.0).finish()
    }
}

impl Store for PostgresStore {
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

/// The second that it is, by the server's clock. It stands still during a statement, so an index may be asked for it.
macro_rules! now {
    () => {
        "floor(extract(epoch FROM now()))::bigint"
    };
}

impl Dialect for Postgres {
    const SERVER: &'static str = "PostgreSQL";

    const GREETING: &'static str = "";

    /// One transaction, so where the table is, its index is. The lock is for those who find no table at once: of them,
    /// `IF NOT EXISTS` alone would let two create it. Sealed bytes do not compress, so nobody shall try.
    const SCHEMA: &'static str = "\
        DO $$ BEGIN
            IF to_regclass('hardtack_sessions') IS NULL THEN
                PERFORM pg_advisory_xact_lock(hashtext('hardtack_sessions'));
                CREATE TABLE IF NOT EXISTS hardtack_sessions (
                    id bytea PRIMARY KEY,
                    version bigint NOT NULL,
                    expires_at bigint NOT NULL, -- seconds since 1970
                    sealed bytea NOT NULL
                );
                ALTER TABLE hardtack_sessions ALTER COLUMN sealed SET STORAGE EXTERNAL;
                CREATE INDEX IF NOT EXISTS hardtack_sessions_by_expiry ON hardtack_sessions (expires_at);
            END IF;
        END $$";

    const LOAD: &'static str = concat!(
        "SELECT version, expires_at, sealed FROM hardtack_sessions WHERE id = $1 AND expires_at > ",
        now!()
    );

    const INSERT: &'static str = concat!(
        "INSERT INTO hardtack_sessions (id, version, expires_at, sealed) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE
        SET version = excluded.version, expires_at = excluded.expires_at, sealed = excluded.sealed
        WHERE hardtack_sessions.expires_at <= ",
        now!()
    );

    const UPDATE: &'static str = concat!(
        "UPDATE hardtack_sessions SET version = $1, expires_at = $2, sealed = $3
        WHERE id = $4 AND version = $5 AND expires_at > ",
        now!()
    );

    const TOUCH: &'static str = concat!(
        "UPDATE hardtack_sessions SET expires_at = $1 WHERE id = $2 AND version = $3 AND expires_at > ",
        now!()
    );

    const DELETE: &'static str = "DELETE FROM hardtack_sessions WHERE id = $1";

    const DELETE_VERSION: &'static str =
        concat!("DELETE FROM hardtack_sessions WHERE id = $1 AND version = $2 AND expires_at > ", now!());

    /// An array is made once. A subquery with a limit may be run again for each row, and then has none.
    const SWEEP: &'static str = concat!(
        "DELETE FROM hardtack_sessions WHERE id = ANY (ARRAY(
            SELECT id FROM hardtack_sessions WHERE expires_at <= ",
        now!(),
        " ORDER BY expires_at LIMIT 64 FOR UPDATE SKIP LOCKED
        ))"
    );

    fn changed(done: &PgQueryResult) -> bool {
        done.rows_affected() == 1
    }
}
