//! Sealed records in memcached.

mod item;
mod pool;
mod protocol;
mod server;
mod uniques;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use self::item::Held;
use self::pool::Pool;
use self::protocol::Failure;
use self::server::{Change, Name, Server};
use super::deadline::Deadline;
use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};

/// A [`Store`] in memcached, on one server or spread over several.
///
/// **memcached is a cache.** Nothing on the client's side can change that a server forgets every session when it is
/// started again, and that one which is full drops live sessions to make room, unless it was started with `-M`; then
/// a save that finds no memory is an error, and what was there stays. [`evicts`](Self::evicts) says which of the two
/// it is. Nothing is copied to another server. Take it where losing sessions now and then is acceptable, or as one of
/// several behind a store that mirrors.
///
/// - It needs memcached 1.6.18 or a later one, with CAS (that is, without `-C`) and spoken to directly: not through a
///   proxy that spreads keys over servers.
/// - A record counts with 16 octets more than its sealed bytes, and its key. Above the largest item of the server
///   (`-I`, by default 1 MiB) a save is an error.
/// - A load, an insert and a deletion are one round trip. So are a save and a deletion at a version that this value
///   has loaded lately; at one that it has not, they are two. A touch is two, for memcached cannot change a part of
///   an item.
/// - A record that expires after January 2038 stays in the server's memory until it is deleted or evicted, because
///   memcached cannot count that far; it is absent from its expiry on all the same.
/// - memcached has neither encryption nor, usually, passwords: whoever reaches the port can delete every session.
///   What is stored is sealed, so nobody can read or forge one.
///
/// ```no_run
/// # use hardtack::store::MemcachedStore;
/// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemcachedStore::connect("cache.internal:11211").await?.with_prefix("shop:")?;
/// if store.evicts() {
///     eprintln!("sessions may be dropped: start memcached with -M");
/// }
/// # Ok(())
/// # }
/// ```
pub struct MemcachedStore {
    servers: Vec<Server>,
    prefix: String,
    deadline: Deadline,
}

impl MemcachedStore {
    /// The store on one server, given as `host:port`. Call it, and every method of the store, within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the server does not answer within 500 ms, or is none that the store can work with. The source names it.
    pub async fn connect(server: &str) -> Result<Self, StoreError> {
        Self::cluster([server]).await
    }

    /// The store on several servers. Each record is on one of them, which follows from its id and from the text of
    /// the addresses (rendezvous hashing): every process must be given the same addresses, in any order. Where one is
    /// added or taken away, only the sessions that move to it or were on it are lost. While a server does not answer,
    /// the calls for its records are errors; they do not go to another one, which would have older records or none.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and if there are no addresses.
    pub async fn cluster<S: AsRef<str>>(servers: impl IntoIterator<Item = S>) -> Result<Self, StoreError> {
        let deadline = Deadline::default();
        let mut connected = Vec::new();
        for address in servers {
            let address = address.as_ref();
            let connecting = Server::connect(address, CONNECTIONS);
            let named = async { connecting.await.map_err(|cause| at(address, CONNECT, cause)) };
            connected.push(deadline.hold(CONNECT, named).await?);
        }
        if connected.is_empty() {
            return Err(StoreError::unavailable(CONNECT, "no server was given"));
        }
        Ok(Self { servers: connected, prefix: "hardtack:".to_owned(), deadline })
    }

    /// Begins each key with `prefix` instead of `hardtack:`, so that several applications may share a server. The key
    /// ends with the 22 characters of the record's id.
    ///
    /// # Errors
    ///
    /// If it is longer than 228 octets, or has others than the visible ones of ASCII: memcached takes no such keys.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, StoreError> {
        if prefix.len() > LONGEST_KEY - ID_LENGTH || !prefix.bytes().all(|octet| octet.is_ascii_graphic()) {
            let rule = format!("{prefix:?} is not at most 228 visible characters of ASCII");
            return Err(StoreError::unavailable("take a prefix for memcached's keys", rule));
        }
        prefix.clone_into(&mut self.prefix);
        Ok(self)
    }

    /// Gives each call so much time instead of 500 ms, connecting and waiting for a connection included. Then it is
    /// an error.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Deadline(deadline);
        self
    }

    /// Opens up to so many connections to each server instead of 16, and at least one. Calls that find all in use
    /// wait for their turn.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        for server in &mut self.servers {
            server.pool = Pool::new(server.pool.address(), connections.max(1));
        }
        self
    }

    /// Whether a server that is full drops live sessions to make room for others, as at least one has said when the
    /// store connected to it. memcached does so unless it is started with `-M`.
    pub fn evicts(&self) -> bool {
        self.servers.iter().any(|server| server.evicts)
    }

    /// Where the record is, if anywhere: the server for which its id weighs most, and the key.
    fn place(&self, id: &RecordId) -> (&Server, String) {
        let heaviest = self.servers.iter().max_by_key(|server| weight(server.pool.address(), id));
        let mut key = self.prefix.clone();
        URL_SAFE_NO_PAD.encode_string(id.as_bytes(), &mut key);
        (heaviest.expect("there is at least one"), key)
    }

    /// Runs a call to a server within the deadline.
    async fn call<R>(
        &self,
        server: &Server,
        what: &'static str,
        call: impl Future<Output = Result<R, Failure>>,
    ) -> Result<R, StoreError> {
        let outcome = self.deadline.hold(what, async { Ok(call.await) }).await;
        // Where one connection has failed, or does not answer, the server has gone, and the others are of no use.
        if matches!(outcome, Err(_) | Ok(Err(Failure::Io(_)))) {
            server.pool.close_idle();
        }
        outcome?.map_err(|cause| at(server.pool.address(), what, cause))
    }
}

impl fmt::Debug for MemcachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(|server| server.pool.address()).collect();
        f.debug_struct("MemcachedStore")
            .field("servers", &servers)
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline.0)
            .finish()
    }
}

impl Store for MemcachedStore {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        _at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let (server, key) = self.place(id);
            let loading = server.load(Name { id, key: &key });
            let Some(held) = self.call(server, "load a record", loading).await? else { return Ok(None) };
            let Held { version, expires_at, sealed, .. } = held;
            Ok(Some(Record { id: *id, version, expires_at, sealed }))
        })
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            i64::try_from(record.version).map_err(|cause| StoreError::unavailable(SAVE, cause))?;
            let (server, key) = self.place(&record.id);
            let name = Name { id: &record.id, key: &key };
            let saved = match expect {
                Expect::Absent => self.call(server, SAVE, server.insert(name, record)).await?,
                Expect::Version(version) => {
                    let update = server.change(name, version, Change::Update(record));
                    self.call(server, SAVE, update).await?
                }
            };
            if saved { Ok(()) } else { Err(StoreError::conflict()) }
        })
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (server, key) = self.place(id);
            let touch = server.touch(Name { id, key: &key }, version, expires_at);
            self.call(server, "touch a record", touch).await
        })
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (server, key) = self.place(id);
            let name = Name { id, key: &key };
            let Some(version) = expected else {
                return self.call(server, DELETE, server.delete(name)).await;
            };
            let gone = self.call(server, DELETE, server.change(name, version, Change::Delete)).await?;
            if gone { Ok(()) } else { Err(StoreError::conflict()) }
        })
    }
}

/// What an id weighs on a server: FNV-1a of both, mixed until any octet of either reaches any bit. It must never
/// change, or the sessions that a fleet has would be looked for elsewhere.
fn weight(address: &str, id: &RecordId) -> u64 {
    let octets = address.bytes().chain(*id.as_bytes());
    let hash = octets.fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn at(server: &str, what: &'static str, cause: Failure) -> StoreError {
    StoreError::unavailable(what, AtServer { server: server.to_owned(), cause })
}

#[derive(Debug, thiserror::Error)]
#[error("at the memcached server {server}")]
struct AtServer {
    server: String,
    #[source]
    cause: Failure,
}

const CONNECT: &str = "connect to memcached";
const SAVE: &str = "save a record";
const DELETE: &str = "delete a record";

/// How many connections a server gets at most, unless it is told otherwise.
const CONNECTIONS: usize = 16;

/// What memcached takes for a key, in octets.
const LONGEST_KEY: usize = 250;

/// The characters of an id in base64.
const ID_LENGTH: usize = 22;
