//! Sealed records in Redis or Valkey, for any number of processes on any number of machines.

mod cluster;
mod connection;
mod request;
mod sentinel;
mod servers;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo, Value};
use time::OffsetDateTime;

use self::cluster::Cluster;
use self::connection::{Failure, Shared, address};
use self::request::{Request, Step};
use self::sentinel::Sentinel;
use self::servers::{Answer, Servers};
use super::deadline::Deadline;
use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};

/// A [`Store`] in Redis 6.2 or later, or Valkey: one server, a master that Sentinels watch, or a Cluster.
///
/// Each call is one round trip. A conditional save, a touch and a deletion at a version are a script each, which the
/// server runs whole and alone. Records expire by the server's clock, so a server whose clock is late by a minute
/// keeps sessions a minute longer.
///
/// ```no_run
/// # use hardtack::store::RedisStore;
/// # async fn open() -> Result<(), hardtack::store::StoreError> {
/// let store = RedisStore::connect("redis://:password@10.0.0.5:6379/0").await?.with_prefix("shop:");
/// # Ok(())
/// # }
/// ```
///
/// For TLS, write `rediss://`, and enable a TLS feature of the `redis` crate beside this one:
///
/// ```toml
/// redis = { version = "1", default-features = false, features = ["tokio-rustls-comp", "tls-rustls-webpki-roots"] }
/// ```
///
/// # Connections
///
/// All calls of a process, and all clones of the store, share one connection to each server. It comes back without
/// help: a call that finds it broken makes a new one and asks again within its [deadline](Self::with_deadline). After
/// a call that got no answer in time, the next one makes a new connection, because a connection that stalls for one
/// call stalls for all. A save that is sent twice recognizes what it did the first time. Where that cannot be
/// known, as for a deletion at a version, the answer is an error and not a conflict, which would say that nothing was
/// done.
///
/// # What the server must be set to
///
/// - `maxmemory-policy noeviction`, where it has a `maxmemory`. With any other policy a full server drops live
///   sessions and tells nobody, so this store refuses to start with it. A full server then refuses saves and touches
///   with an error that says so; loads and deletions go on.
/// - `appendonly yes` and `appendfsync always`, if an acknowledged save shall outlive a crash. With `everysec` (the
///   default of the former) a crash of the machine may lose the last second or two, and so bring back a session that
///   had just ended; without `appendonly`, a crash of the server loses everything since the last snapshot.
///
/// # What it keeps
///
/// | | one server | Sentinel, Cluster |
/// | --- | --- | --- |
/// | crash and restart | everything, with `appendfsync always` | the same |
/// | failover | there is none: errors until it is back | acknowledged saves that had not reached a replica are lost, and so are deletions |
/// | partition | errors until it has healed | a master on the smaller side accepts writes that are lost when it heals |
///
/// Replication is asynchronous. `min-replicas-to-write 1` with `min-replicas-max-lag 10` (seconds, the default) bounds
/// what a failover or partition can lose to what was written in that time, and makes saves an error while no replica
/// follows. The `WAIT` command is not used: it holds up everything else on its connection, and does not keep what it
/// confirmed from being lost either. A session whose loss would cost money belongs in a database that replicates
/// synchronously.
#[derive(Clone)]
pub struct RedisStore {
    servers: Arc<Servers>,
    prefix: Arc<str>,
    deadline: Deadline,
}

impl RedisStore {
    /// Connects to one server, at `redis://[user][:password@]host[:port][/database]` or `unix:///path`. Waits at most
    /// five seconds. Call it, and every method of the store, within a Tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    ///
    /// If the URL cannot be read; if the server cannot be reached, wants another password or runs no scripts; if it is
    /// a replica, or drops live data when it is full. The source names the server and has its words.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(Servers::One(read(url)?, Shared::default())).await
    }

    /// Connects to the master that Sentinels watch under a name, and finds the new one after each failover.
    ///
    /// `master` is its name (`mymaster`), or, where it wants a password, has TLS or holds the sessions in another
    /// database than 0, a URL with the name in place of the host: `redis://user:password@mymaster/2`. The URLs of
    /// the Sentinels have their own passwords.
    ///
    /// ```no_run
    /// # use hardtack::store::RedisStore;
    /// # async fn open() -> Result<(), hardtack::store::StoreError> {
    /// let sentinels = ["redis://10.0.0.5:26379", "redis://10.0.0.6:26379", "redis://10.0.0.7:26379"];
    /// let store = RedisStore::sentinel(&sentinels, "redis://:password@mymaster").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), and if no Sentinel knows the master.
    pub async fn sentinel(sentinel_urls: &[impl AsRef<str>], master: &str) -> Result<Self, StoreError> {
        let sentinels = read_all(sentinel_urls)?;
        let url = if master.contains("://") { master.to_owned() } else { format!("redis://{master}") };
        let login = read(&url)?;
        let (name, _) = address(&login).ok_or_else(|| unreadable("it names no master"))?;
        Self::open(Servers::Sentinel(Sentinel::new(sentinels, name, login), Shared::default())).await
    }

    /// Connects to a Cluster, of which `node_urls` are some nodes. The first one's password and TLS are used for those
    /// that they lead to.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), for any of the masters.
    pub async fn cluster(node_urls: &[impl AsRef<str>]) -> Result<Self, StoreError> {
        Self::open(Servers::Cluster(Cluster::new(read_all(node_urls)?))).await
    }

    /// What the key of each record begins with, `hardtack:` if nothing else is said. Its id follows, in hexadecimal.
    /// Applications that share a server need a prefix each.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Within what time every call is answered, by the server or with an error: 500 ms if nothing else is said.
    /// Connecting is part of it.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Deadline(deadline);
        self
    }

    async fn open(servers: Servers) -> Result<Self, StoreError> {
        let checked = tokio::time::timeout(START, servers.check()).await;
        let checked = checked.unwrap_or_else(|_| Err(Failure::new(&servers.to_string(), Silent)));
        checked.map_err(failed(CONNECT))?;
        Ok(Self { servers: Arc::new(servers), prefix: "hardtack:".into(), deadline: Deadline::default() })
    }

    async fn call(&self, what: &'static str, id: &RecordId, step: Step) -> Result<Answer, StoreError> {
        let request = Request { key: self.key(id), step };
        let mut waiting = None;
        let asked = async { self.servers.ask(&request, &mut waiting).await.map_err(failed(what)) };
        let answer = self.deadline.hold(what, asked).await;
        if answer.is_err() {
            self.servers.suspect(waiting.as_ref());
        }
        answer
    }

    fn key(&self, id: &RecordId) -> String {
        let mut key = self.prefix.to_string();
        for byte in id.as_bytes() {
            key.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
        key
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("servers", &format_args!("{}", self.servers))
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline.0)
            .finish()
    }
}

impl Store for RedisStore {
    /// Masters alone are asked, so there is nothing further to look at for `at_least`.
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        _at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            match self.call(LOAD, id, Step::Load).await?.value {
                Value::Nil => Ok(None),
                Value::BulkString(value) => unpack(*id, value).map(Some).map_err(failed(LOAD)),
                _ => Err(failed(LOAD)(Foreign)),
            }
        })
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let expected = match expect {
                Expect::Absent => Vec::new(),
                Expect::Version(version) => version.to_be_bytes().to_vec(),
            };
            let value = pack(record).map_err(failed(SAVE))?;
            let expires = milliseconds(record.expires_at);
            decided(SAVE, self.call(SAVE, &record.id, Step::Save { expected, value, expires }).await?)
        })
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let seconds = expires_at.unix_timestamp().to_be_bytes();
            let expires = milliseconds(expires_at);
            let step = Step::Touch { version: version.to_be_bytes(), seconds, expires };
            self.call("touch a record", id, step).await?;
            Ok(())
        })
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(version) = expected else {
                self.call(DELETE, id, Step::Delete).await?;
                return Ok(());
            };
            let version = version.to_be_bytes();
            decided(DELETE, self.call(DELETE, id, Step::DeleteAt { version }).await?)
        })
    }
}

/// Whether a script did its work. If it was sent twice and the second time found the record not as expected, that may
/// be because of the first: then nobody knows, and a conflict would tell the caller that nothing had happened.
fn decided(what: &'static str, answer: Answer) -> Result<(), StoreError> {
    match (answer.value, answer.repeated) {
        (Value::Int(1) | Value::Okay, _) => Ok(()),
        (Value::Int(0) | Value::Nil, None) => Err(StoreError::conflict()),
        (Value::Int(0), Some(lost)) => Err(failed(what)(lost)),
        _ => Err(failed(what)(Foreign)),
    }
}

// The value of a key:
//
//     version      8   the most significant octet first
//     expires at   8   seconds since 1970, likewise
//     sealed       n

fn pack(record: &Record) -> Result<Vec<u8>, std::num::TryFromIntError> {
    let version = i64::try_from(record.version)?;
    let mut value = Vec::with_capacity(HEADER + record.sealed.len());
    value.extend(version.to_be_bytes());
    value.extend(record.expires_at.unix_timestamp().to_be_bytes());
    value.extend(&record.sealed);
    Ok(value)
}

fn unpack(id: RecordId, mut value: Vec<u8>) -> Result<Record, Foreign> {
    let (version, rest) = value.split_first_chunk().ok_or(Foreign)?;
    let (seconds, _) = rest.split_first_chunk().ok_or(Foreign)?;
    let version = u64::try_from(i64::from_be_bytes(*version)).map_err(|_| Foreign)?;
    let expires_at =
        OffsetDateTime::from_unix_timestamp(i64::from_be_bytes(*seconds)).map_err(|_| Foreign)?;
    value.drain(..HEADER);
    Ok(Record { id, version, expires_at, sealed: value })
}

/// When the server drops the record: a key lives through the millisecond that it is given, and the record must be
/// absent from its second on. The server knows no time before 1970.
fn milliseconds(expires_at: OffsetDateTime) -> i64 {
    (expires_at.unix_timestamp() * 1000 - 1).max(1)
}

fn read(url: &str) -> Result<ConnectionInfo, StoreError> {
    url.into_connection_info().map_err(unreadable)
}

fn read_all(urls: &[impl AsRef<str>]) -> Result<Vec<ConnectionInfo>, StoreError> {
    if urls.is_empty() {
        return Err(unreadable("there is none"));
    }
    urls.iter().map(|url| read(url.as_ref())).collect()
}

fn unreadable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::unavailable("read the URL of a Redis server", cause)
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl Fn(E) -> StoreError {
    move |cause| StoreError::unavailable(what, cause)
}

#[derive(Debug, thiserror::Error)]
#[error("the key holds what no session store wrote")]
struct Foreign;

#[derive(Debug, thiserror::Error)]
#[error("no answer within {START:?}")]
struct Silent;

const HEADER: usize = 16;

/// For the checks at start, which happen once and may include looking up names.
const START: Duration = Duration::from_secs(5);

const CONNECT: &str = "connect to Redis";
const LOAD: &str = "load a record";
const SAVE: &str = "save a record";
const DELETE: &str = "delete a record";
