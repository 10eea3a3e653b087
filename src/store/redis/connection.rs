//! One connection to a server, and how all calls come to share it.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, RedisError};
use redis::{Pipeline, RedisConnectionInfo, Value};

/// A connection on which any number of calls wait for their answers at once.
#[derive(Clone)]
pub(super) struct Connection {
    link: MultiplexedConnection,
    server: Arc<str>,
    number: u64,
}

impl Connection {
    /// Connects and logs in. Nothing here limits the time: whoever calls has a deadline.
    pub(super) async fn open(info: &ConnectionInfo) -> Result<Self, Failure> {
        let server = info.addr().to_string();
        let link = open(info).await.map_err(|cause| Failure::new(&server, cause))?;
        Ok(Self { link, server: server.into(), number: NUMBERS.fetch_add(1, Ordering::Relaxed) })
    }

    pub(super) async fn ask<V: FromRedisValue>(&self, command: &Cmd) -> Result<V, RedisError> {
        command.query_async(&mut self.link.clone()).await
    }

    /// Sends commands together, for their effect.
    pub(super) async fn run(&self, commands: &Pipeline) -> Result<(), RedisError> {
        commands.exec_async(&mut self.link.clone()).await
    }

    /// [`ask`](Self::ask) a server that is about to take over the key's slot from another one.
    pub(super) async fn ask_successor(&self, command: &Cmd) -> Result<Value, RedisError> {
        // They go together: what other calls send on this connection must not come between them.
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let answers = self.link.clone().send_packed_commands(&both, 1, 1).await?;
        answers.into_iter().next().unwrap_or(Value::Nil).extract_error()
    }

    /// The server's host and port.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn failed(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::new(&self.server, cause)
    }
}

/// The connection to one place that all calls share. The first call makes it, and the first one after it was put away.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<State>);

#[derive(Default)]
struct State {
    current: Mutex<Option<Connection>>,
    turn: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) async fn get<Opening>(&self, open: impl FnOnce() -> Opening) -> Result<Connection, Failure>
    where
        Opening: Future<Output = Result<Connection, Failure>>,
    {
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        // In a box, so that calls which find a connection do not move about what it would take to make one.
        Box::pin(self.make(open())).await
    }

    async fn make(
        &self,
        open: impl Future<Output = Result<Connection, Failure>>,
    ) -> Result<Connection, Failure> {
        // Calls that come together wait for one connection instead of making one each.
        let _turn = self.0.turn.lock().await;
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        let connection = open.await?;
        *self.current() = Some(connection.clone());
        Ok(connection)
    }

    /// Lets the next call make a new connection, unless another one has replaced `used` already. Calls that still wait
    /// on it may go on waiting: it closes when the last of them has gone.
    pub(super) fn put_away(&self, used: &Connection) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|connection| connection.number == used.number) {
            *current = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Connection>> {
        // It is only ever replaced whole.
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What went wrong, and at which server. The server's own words are in the source.
#[derive(Debug, thiserror::Error)]
#[error("at the Redis server {server}")]
pub(super) struct Failure {
    server: String,
    source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    pub(super) fn new(server: &str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { server: server.to_owned(), source: cause.into() }
    }
}

/// The host and port of a server that is reached by TCP.
pub(super) fn address(info: &ConnectionInfo) -> Option<(String, u16)> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    }
}

/// The same settings (login, database, TLS) for the server at another address.
pub(super) fn elsewhere(info: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match info.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(address)
}

async fn open(info: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    // The crate could log in by itself, but it would drop what the server says when it refuses.
    let login = info.redis_settings();
    let anonymous = RedisConnectionInfo::default().set_skip_set_lib_name();
    // Without `nodelay`, the end of a large record waits for the acknowledgement of its beginning.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let client = Client::open(info.clone().set_redis_settings(anonymous).set_tcp_settings(tcp))?;
    let unlimited = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let mut link = client.get_multiplexed_async_connection_with_config(&unlimited).await?;
    if let Some(password) = login.password() {
        redis::cmd("AUTH").arg(login.username()).arg(password).exec_async(&mut link).await?;
    }
    if login.db() != 0 {
        redis::cmd("SELECT").arg(login.db()).exec_async(&mut link).await?;
    }
    Ok(link)
}

/// Tells connections apart, also those to one server.
static NUMBERS: AtomicU64 = AtomicU64::new(0);
