//! The contract between sessions and the places that keep their sealed records.

#[cfg(feature = "cached")]
mod cached;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod connections;
#[cfg(any(
    feature = "postgres",
    feature = "mysql",
    feature = "redis",
    feature = "memcached",
    feature = "mirrored"
))]
mod deadline;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(feature = "mirrored")]
mod mirrored;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod sql_server;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use time::OffsetDateTime;

#[cfg(feature = "cached")]
pub use cached::CachedStore;
#[cfg(feature = "memcached")]
pub use memcached::MemcachedStore;
pub use memory::MemoryStore;
#[cfg(feature = "mirrored")]
pub use mirrored::MirroredStore;
#[cfg(feature = "mysql")]
pub use mysql::MySqlStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

/// A future that a [`Store`] hands out: boxed, so that a manager can hold any store.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The random name of a record: 16 bytes, minted by the server, never chosen by a client.
///
/// Whoever knows it and can reach the store can read sealed bytes and nothing else. `Debug` shows none of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId([u8; 16]);

impl RecordId {
    pub(crate) const LEN: usize = 16;

    /// Wraps 16 bytes. They must come from a cryptographic random source.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, for a backend's key column.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordId(..)")
    }
}

/// What a store keeps under one id. The bytes are sealed: a store never sees plaintext.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The record's name.
    pub id: RecordId,
    /// Grows with each save. A copy of the sealed sequence number, which is checked against it after opening.
    pub version: u64,
    /// When the record may be dropped, to the second. From then on it counts as absent.
    pub expires_at: OffsetDateTime,
    /// A token of kind `record`, bound to `id`.
    pub sealed: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("expires_at", &self.expires_at)
            .field("sealed", &format_args!("{} bytes", self.sealed.len()))
            .finish()
    }
}

/// What must be true of the stored record for a save to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no record of this id, or an expired one.
    Absent,
    /// There is one of exactly this version.
    Version(u64),
}

/// A place that keeps sealed records. This documentation is the contract; `tests/store_contract` holds every
/// backend to it.
///
/// - An expired record is absent, for every method, from the second named by `expires_at` on.
/// - An error means that the system failed (it is unreachable, or full) or that a condition did not hold.
/// - Versions above `i64::MAX` are refused by a save, and no record is at one. `expires_at` counts in whole seconds.
/// - A call whose future is dropped may still take effect.
/// - Each method is atomic: two calls at once have the effect of one after the other.
/// - What `save` acknowledged, every later `load` of any process sees.
pub trait Store: Send + Sync + 'static {
    /// The record of this id, or `None` where there is none.
    ///
    /// `at_least` is a version that is known to have been saved. A store that may lag (a replica, a local copy)
    /// must look further when what it finds is older; what it answers then is taken as the truth.
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;

    /// Writes the record whole, if `expect` holds.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreError::is_conflict) if it does not hold: an insert never overwrites a live record, an
    /// update happens only at the very version that was read, and a record that was deleted in between is not
    /// brought back.
    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Moves the expiry of the record to `expires_at`, if it is still at `version`; otherwise does nothing,
    /// because whoever wrote the newer version has set its expiry.
    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes the record; removing what is absent succeeds.
    ///
    /// With `expected`, removes it only at that version.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreError::is_conflict) if `expected` is given and there is no record at that version, be it at
    /// another one or absent: whoever moves a state to a new record must learn that the old one was ended meanwhile.
    fn delete<'a>(&'a self, id: &'a RecordId, expected: Option<u64>)
    -> BoxFuture<'a, Result<(), StoreError>>;
}

/// A store that several hold is a store for each of them.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        (**self).load(id, at_least)
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).save(record, expect)
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).touch(id, version, expires_at)
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).delete(id, expected)
    }
}

/// The store of those who have none: it is never asked, since nothing is placed in it.
pub(crate) struct NoStore;

impl Store for NoStore {
    fn load<'a>(&'a self, _: &'a RecordId, _: u64) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Self::fail()
    }

    fn save<'a>(&'a self, _: &'a Record, _: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Self::fail()
    }

    fn touch<'a>(
        &'a self,
        _: &'a RecordId,
        _: u64,
        _: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Self::fail()
    }

    fn delete<'a>(&'a self, _: &'a RecordId, _: Option<u64>) -> BoxFuture<'a, Result<(), StoreError>> {
        Self::fail()
    }
}

impl NoStore {
    fn fail<'a, R: Send + 'a>() -> BoxFuture<'a, Result<R, StoreError>> {
        Box::pin(std::future::ready(Err(StoreError::unavailable("there is none", "no store was configured"))))
    }
}

/// A store could not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Conflict,
    Unavailable { what: &'static str, source: Box<dyn Error + Send + Sync> },
}

impl StoreError {
    /// The record was not as expected: another writer came first.
    pub fn conflict() -> Self {
        Self { kind: Kind::Conflict }
    }

    /// The system failed while doing `what` ("load", "open sessions.db" ..).
    pub fn unavailable(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Unavailable { what, source: source.into() } }
    }

    /// Whether another writer came first. Reading again and applying the change once more may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self.kind, Kind::Conflict)
    }
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store(..)")
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Conflict => f.write_str("the session's record was changed by another request"),
            Kind::Unavailable { what, .. } => write!(f, "the session store failed: {what}"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Conflict => None,
            Kind::Unavailable { source, .. } => Some(source.as_ref()),
        }
    }
}
