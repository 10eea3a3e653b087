//! The contract by SQL statements, on a server that many nodes share.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{Connection, Database, Encode, Executor, FromRow, IntoArguments, Type};
use time::OffsetDateTime;

use super::connections::{Answer, Connections, Repeat, Statement};
use super::deadline::Deadline;
use super::sql::{self, Row};
use super::{Expect, Kind, Record, RecordId, StoreError};

/// The statements of one kind of server. Each takes its arguments in the order of the fields here, and tells the time
/// by the server's clock, so that all nodes agree.
pub(super) trait Dialect: Database {
    /// What the server is called.
    const SERVER: &'static str;
    /// What each connection is told first.
    const GREETING: &'static str;
    /// The table and its index, unless they are there.
    const SCHEMA: &'static str;
    /// The row of `id`.
    const LOAD: &'static str;
    /// A row of `id`, `version`, `expires_at`, `sealed`; it replaces an expired one.
    const INSERT: &'static str;
    /// `version`, `expires_at` and `sealed` of the row of `id` and `version`.
    const UPDATE: &'static str;
    /// `expires_at` of the row of `id` and `version`.
    const TOUCH: &'static str;
    /// The row of `id`.
    const DELETE: &'static str;
    /// The row of `id` and `version`.
    const DELETE_VERSION: &'static str;
    /// A batch of expired rows that nobody has locked.
    const SWEEP: &'static str;

    /// Whether the statement changed its row.
    fn changed(done: &Self::QueryResult) -> bool;
}

/// One table on one server.
pub(super) struct SqlServer<D: Database> {
    connections: Connections<D>,
    server: Arc<str>,
    deadline: Deadline,
    inserts: Arc<AtomicU32>,
}

/// Where the server is, as messages say it.
pub(super) struct Place<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
}

impl Place<'_> {
    pub(super) fn of<D: Dialect>(&self) -> Arc<str> {
        format!("{} at {}:{}, database {}", D::SERVER, self.host, self.port, self.database).into()
    }
}

impl<D: Dialect> SqlServer<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
    for<'r> Row: FromRow<'r, D::Row>,
    for<'q> i64: Encode<'q, D> + Type<D>,
    for<'q> Option<i64>: Encode<'q, D> + Type<D>,
    for<'q> &'q [u8]: Encode<'q, D> + Type<D>,
{
    pub(super) async fn connect(
        options: <D::Connection as Connection>::Options,
        place: Arc<str>,
    ) -> Result<Self, StoreError> {
        let server = Self {
            connections: Connections::new(options, D::GREETING),
            server: place,
            deadline: Deadline::default(),
            inserts: Arc::default(),
        };
        server.within(STARTING, CONNECT, server.connections.open()).await?;
        Ok(server)
    }

    pub(super) async fn create_schema(&self) -> Result<(), StoreError> {
        self.within(STARTING, CREATE, self.connections.run_script(D::SCHEMA)).await
    }

    pub(super) fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline: Deadline(deadline), ..self }
    }

    pub(super) fn with_connections(self, connections: u16) -> Self {
        Self { connections: self.connections.at_most(connections), ..self }
    }

    pub(super) async fn load(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let found: Found = self.call(LOAD, Repeat::Always, || sqlx::query(D::LOAD).bind(key(id))).await?;
        found.0.map(|row| sql::record(id, row)).transpose().map_err(|cause| self.failed(LOAD, cause))
    }

    pub(super) async fn save(&self, record: &Record, expect: Expect) -> Result<(), StoreError> {
        let version = i64::try_from(record.version).map_err(|cause| self.failed(SAVE, cause))?;
        let expires_at = record.expires_at.unix_timestamp();
        let Changed(saved) = match expect {
            Expect::Absent => {
                let insert = || {
                    let insert = sqlx::query(D::INSERT).bind(key(&record.id));
                    insert.bind(version).bind(expires_at).bind(record.sealed.as_slice())
                };
                self.call(SAVE, Repeat::IfRefused, insert).await?
            }
            Expect::Version(from) => {
                let update = || {
                    let update = sqlx::query(D::UPDATE).bind(version).bind(expires_at);
                    update.bind(record.sealed.as_slice()).bind(key(&record.id)).bind(sql::comparable(from))
                };
                self.call(SAVE, Repeat::IfRefused, update).await?
            }
        };
        if !saved {
            return Err(StoreError::conflict());
        }
        if expect == Expect::Absent {
            self.sweep_now_and_then();
        }
        Ok(())
    }

    pub(super) async fn touch(
        &self,
        id: &RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let touch = || {
            let touch = sqlx::query(D::TOUCH).bind(expires_at.unix_timestamp());
            touch.bind(key(id)).bind(sql::comparable(version))
        };
        let Changed(_) = self.call(TOUCH, Repeat::Always, touch).await?;
        Ok(())
    }

    pub(super) async fn delete(&self, id: &RecordId, expected: Option<u64>) -> Result<(), StoreError> {
        let Some(version) = expected else {
            let delete = || sqlx::query(D::DELETE).bind(key(id));
            let Changed(_) = self.call(DELETE, Repeat::Always, delete).await?;
            return Ok(());
        };
        let delete = || sqlx::query(D::DELETE_VERSION).bind(key(id)).bind(sql::comparable(version));
        match self.call(DELETE, Repeat::IfRefused, delete).await? {
            Changed(true) => Ok(()),
            Changed(false) => Err(StoreError::conflict()),
        }
    }

    /// Removes a batch of expired rows after the first insert of this process and every so many more, without keeping
    /// that insert waiting. A batch that fails is made up for by the next.
    fn sweep_now_and_then(&self) {
        if self.inserts.fetch_add(1, Ordering::Relaxed).is_multiple_of(INSERTS_PER_SWEEP) {
            let server = self.clone();
            tokio::spawn(async move {
                let _: Result<Changed, _> =
                    server.call(SWEEP, Repeat::Always, || sqlx::query(D::SWEEP)).await;
            });
        }
    }

    async fn call<A: Answer<D>>(
        &self,
        what: &'static str,
        repeat: Repeat,
        statement: impl Fn() -> Statement<D>,
    ) -> Result<A, StoreError> {
        self.within(self.deadline, what, self.connections.run(repeat, statement)).await
    }

    async fn within<R>(
        &self,
        deadline: Deadline,
        what: &'static str,
        call: impl Future<Output = Result<R, sqlx::Error>>,
    ) -> Result<R, StoreError> {
        let call = async { call.await.map_err(|cause| StoreError::unavailable(what, explained(cause))) };
        match deadline.hold(what, call).await.map_err(|error| error.kind) {
            Ok(answer) => Ok(answer),
            Err(Kind::Unavailable { what, source }) => Err(self.failed(what, source)),
            Err(Kind::Conflict) => Err(StoreError::conflict()),
        }
    }

    fn failed(&self, what: &'static str, cause: impl Into<Cause>) -> StoreError {
        StoreError::unavailable(what, AtServer { server: self.server.clone(), cause: cause.into() })
    }
}

impl<D: Database> Clone for SqlServer<D> {
    fn clone(&self) -> Self {
        Self {
            connections: self.connections.clone(),
            server: self.server.clone(),
            deadline: self.deadline,
            inserts: self.inserts.clone(),
        }
    }
}

impl<D: Database> fmt::Debug for SqlServer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)
    }
}

/// The row, where there is one.
struct Found(Option<Row>);

/// Whether a row was changed.
struct Changed(bool);

impl<D: Dialect> Answer<D> for Found
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
    for<'r> Row: FromRow<'r, D::Row>,
{
    async fn ask(connection: &mut D::Connection, query: Statement<D>) -> Result<Self, sqlx::Error> {
        // All of the answer is read, although it has one row at most: nothing of it is left for the next call.
        let rows = connection.fetch_all(query).await?;
        rows.first().map(Row::from_row).transpose().map(Self)
    }
}

impl<D: Dialect> Answer<D> for Changed
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
{
    async fn ask(connection: &mut D::Connection, query: Statement<D>) -> Result<Self, sqlx::Error> {
        connection.execute(query).await.map(|done| Self(D::changed(&done)))
    }
}

fn key(id: &RecordId) -> &[u8] {
    id.as_bytes()
}

/// The cause, with what to do about it where that is known.
fn explained(cause: sqlx::Error) -> Cause {
    let state = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if state.is_some_and(|state| NO_SUCH_TABLE.contains(&&*state)) {
        return NoTable(cause).into();
    }
    cause.into()
}

type Cause = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("{server}")]
struct AtServer {
    server: Arc<str>,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
#[error("the table hardtack_sessions is missing, which create_schema() makes")]
struct NoTable(#[source] sqlx::Error);

/// `SQLSTATE`, of `PostgreSQL` and of `MySQL`.
const NO_SUCH_TABLE: [&str; 2] = ["42P01", "42S02"];

/// For what is done once, when an application starts.
const STARTING: Deadline = Deadline(Duration::from_secs(10));

/// A batch is 64 rows, so the expired dwindle.
const INSERTS_PER_SWEEP: u32 = 16;

const CONNECT: &str = "connect";
const CREATE: &str = "create the schema";
const LOAD: &str = "load a record";
const SAVE: &str = "save a record";
const TOUCH: &str = "touch a record";
const DELETE: &str = "delete a record";
const SWEEP: &str = "remove expired records";
