//! Connections to a database server, kept open between calls.
//!
//! sqlx has a pool, but it asks the server for a sign of life after each call, a second round trip; it reports a
//! refused connection as a timeout; and it cannot tell a caller which failures leave a statement undone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Database, Error, Executor};
use tokio::sync::Semaphore;

/// Up to so many connections as there are permits. Clones share them.
pub(super) struct Connections<D: Database> {
    options: Arc<<D::Connection as Connection>::Options>,
    /// What each connection is told first.
    greeting: &'static str,
    permits: Arc<Semaphore>,
    /// The one used last is at the back, and is the next to be used.
    idle: Arc<Mutex<VecDeque<Idle<D>>>>,
}

struct Idle<D: Database> {
    connection: D::Connection,
    since: Instant,
}

/// What a statement answers: its rows, or how many it changed.
pub(super) trait Answer<D: Database>: Sized {
    fn ask(
        connection: &mut D::Connection,
        query: Statement<D>,
    ) -> impl Future<Output = Result<Self, Error>> + Send;
}

/// A statement with its arguments.
pub(super) type Statement<D> = Query<'static, D, <D as Database>::Arguments>;

/// When a statement that failed on a kept connection is tried again on a new one. Once, since a kept connection may
/// have outlived its server, and a new one has not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Always: having run twice, it has the effect of running once.
    Always,
    /// Only if the server itself said that it did not run it. When the connection broke, nobody knows; so one that has
    /// been quiet for a while is asked for a sign of life before it gets such a statement.
    IfRefused,
}

impl<D: Database> Connections<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    pub(super) fn new(options: <D::Connection as Connection>::Options, greeting: &'static str) -> Self {
        Self {
            options: Arc::new(options),
            greeting,
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Arc::default(),
        }
    }

    pub(super) fn at_most(self, connections: u16) -> Self {
        let permits = Semaphore::new(usize::from(connections.max(1)));
        Self { permits: Arc::new(permits), ..self }
    }

    /// Runs a statement on a connection that is free, or on a new one.
    ///
    /// A connection is kept after an answer only: what was dropped half way, or met an error, is closed.
    pub(super) async fn run<A: Answer<D>>(
        &self,
        repeat: Repeat,
        statement: impl Fn() -> Statement<D>,
    ) -> Result<A, Error> {
        let _permit = self.permits.acquire().await.expect("nothing closes it");
        if let Some(mut connection) = self.kept(repeat).await {
            match A::ask(&mut connection, statement()).await {
                Ok(answer) => {
                    self.keep(connection);
                    return Ok(answer);
                }
                Err(refused @ Error::Database(_)) => drop(refused),
                Err(lost) => {
                    self.close_all();
                    if repeat == Repeat::IfRefused {
                        return Err(lost);
                    }
                }
            }
        }
        let mut connection = self.connect().await?;
        let answer = A::ask(&mut connection, statement()).await?;
        self.keep(connection);
        Ok(answer)
    }

    /// Makes the first connection.
    pub(super) async fn open(&self) -> Result<(), Error> {
        let connection = self.connect().await?;
        self.keep(connection);
        Ok(())
    }

    /// Runs statements that take no arguments, in one round trip.
    pub(super) async fn run_script(&self, script: &'static str) -> Result<(), Error> {
        let _permit = self.permits.acquire().await.expect("nothing closes it");
        let mut connection = match self.kept(Repeat::IfRefused).await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        connection.execute(sqlx::raw_sql(script)).await?;
        self.keep(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<D::Connection, Error> {
        let mut connection = self.options.connect().await?;
        if !self.greeting.is_empty() {
            connection.execute(sqlx::raw_sql(self.greeting)).await?;
        }
        Ok(connection)
    }

    async fn kept(&self, repeat: Repeat) -> Option<D::Connection> {
        let Idle { mut connection, since } = self.idle().pop_back()?;
        if repeat == Repeat::IfRefused && since.elapsed() > QUIET && connection.ping().await.is_err() {
            self.close_all();
            return None;
        }
        Some(connection)
    }

    fn keep(&self, connection: D::Connection) {
        let mut idle = self.idle();
        idle.push_back(Idle { connection, since: Instant::now() });
        while idle.front().is_some_and(|oldest| oldest.since.elapsed() > UNUSED) {
            idle.pop_front();
        }
    }

    /// Closes those that nobody uses: what broke one connection has most likely broken them all.
    fn close_all(&self) {
        let broken = std::mem::take(&mut *self.idle());
        drop(broken);
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle<D>>> {
        // Each change of the list is a single step.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Database> Clone for Connections<D> {
    fn clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            greeting: self.greeting,
            permits: self.permits.clone(),
            idle: self.idle.clone(),
        }
    }
}

/// How many connections there are at most, unless the application says otherwise.
const CONNECTIONS: usize = 10;

/// How long a connection may have been quiet to be trusted with what must not be repeated. A request that saves has
/// loaded before, mostly on the same connection.
const QUIET: Duration = Duration::from_millis(100);

/// After what time without use a connection is closed: sooner than the firewalls and balancers between here and there
/// forget it, of which the hastiest take four minutes.
const UNUSED: Duration = Duration::from_mins(3);
