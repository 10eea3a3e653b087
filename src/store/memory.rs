//! Sealed records in the memory of this process: for an application on one node, and for tests.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};

/// A [`Store`] in the memory of this process, bounded by bytes.
///
/// Its sessions end with the process, and no other process sees them. When it is full it drops expired
/// records first; if that is not enough, the save is an error. It never drops a live session to make room for
/// another.
///
/// ```
/// # use hardtack::store::{Expect, MemoryStore, Record, RecordId, Store};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::with_capacity(8 << 20);
/// let record = Record {
///     id: RecordId::from_bytes([7; 16]),
///     version: 0,
///     expires_at: time::OffsetDateTime::now_utc() + time::Duration::HOUR,
///     sealed: vec![1, 2, 3],
/// };
/// store.save(&record, Expect::Absent).await?;
/// assert!(store.save(&record, Expect::Absent).await.unwrap_err().is_conflict());
/// # Ok(())
/// # }
/// ```
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// A store whose records take at most `bytes` in all. A record counts with its sealed bytes and 200 more,
    /// about what its places in the two indexes take.
    pub fn with_capacity(bytes: usize) -> Self {
        let state = State { capacity: bytes, used: 0, records: HashMap::new(), by_expiry: BTreeSet::new() };
        Self { state: Mutex::new(state) }
    }

    /// The state, and the time in seconds. The clock is read under the lock, so that calls see times in the
    /// order in which they take effect.
    fn lock(&self) -> (MutexGuard<'_, State>, i64) {
        // No step between the first and the last change of a method can panic, so a poisoned state is a whole
        // one.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state, OffsetDateTime::now_utc().unix_timestamp())
    }
}

impl Default for MemoryStore {
    /// A store of 64 MiB.
    fn default() -> Self {
        Self::with_capacity(64 << 20)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, _) = self.lock();
        f.debug_struct("MemoryStore")
            .field("capacity", &state.capacity)
            .field("used", &state.used)
            .field("records", &state.records.len())
            .finish()
    }
}

impl Store for MemoryStore {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        _at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let (state, now) = self.lock();
            let live = state.live(id, now).cloned();
            // The sealed bytes are copied out without holding up anyone else.
            drop(state);
            live.map(|entry| entry.into_record(*id)).transpose()
        })
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let entry = Entry::try_from(record)?;
            let (mut state, now) = self.lock();
            let version = state.live(&record.id, now).map(|live| live.version);
            let expected = match expect {
                Expect::Absent => None,
                Expect::Version(version) => Some(version),
            };
            if version != expected {
                return Err(StoreError::conflict());
            }
            state.make_room(&record.id, entry.cost(), now)?;
            state.put(record.id, entry);
            Ok(())
        })
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (mut state, now) = self.lock();
            if let Some(live) = state.live(id, now).filter(|live| live.version == version) {
                let moved = Entry { expires_at: expires_at.unix_timestamp(), ..live.clone() };
                state.put(*id, moved);
            }
            Ok(())
        })
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (mut state, now) = self.lock();
            if let Some(expected) = expected
                && state.live(id, now).is_none_or(|live| live.version != expected)
            {
                return Err(StoreError::conflict());
            }
            state.remove(id);
            Ok(())
        })
    }
}

/// What is kept of a record beside its id. Times are whole seconds since 1970.
#[derive(Clone)]
struct Entry {
    version: u64,
    expires_at: i64,
    sealed: Arc<[u8]>,
}

impl TryFrom<&Record> for Entry {
    type Error = StoreError;

    /// Refuses a version that the databases behind the other stores cannot hold: a program must not find that
    /// out when it moves from this store to one of them.
    fn try_from(record: &Record) -> Result<Self, StoreError> {
        i64::try_from(record.version).map_err(|cause| StoreError::unavailable(SAVE, cause))?;
        Ok(Self {
            version: record.version,
            expires_at: record.expires_at.unix_timestamp(),
            sealed: Arc::from(record.sealed.as_slice()),
        })
    }
}

impl Entry {
    fn into_record(self, id: RecordId) -> Result<Record, StoreError> {
        let expires_at = OffsetDateTime::from_unix_timestamp(self.expires_at)
            .map_err(|cause| StoreError::unavailable(LOAD, cause))?;
        Ok(Record { id, version: self.version, expires_at, sealed: self.sealed.to_vec() })
    }

    /// What it counts against the capacity, in bytes.
    fn cost(&self) -> usize {
        self.sealed.len().saturating_add(OVERHEAD)
    }
}

/// Every record is in both indexes, and `used` is the sum of their costs.
struct State {
    capacity: usize,
    used: usize,
    records: HashMap<RecordId, Entry>,
    by_expiry: BTreeSet<(i64, [u8; 16])>,
}

impl State {
    fn live(&self, id: &RecordId, now: i64) -> Option<&Entry> {
        self.records.get(id).filter(|entry| entry.expires_at > now)
    }

    /// Drops expired records: a few at each call, so that their memory comes back early, and as many as it
    /// takes if what shall be put under `id` would not fit otherwise.
    fn make_room(&mut self, id: &RecordId, cost: usize, now: i64) -> Result<(), StoreError> {
        let mut dropped = 0;
        while let Some(&(expires_at, earliest)) = self.by_expiry.first()
            && expires_at <= now
            && (dropped < SWEEP || !self.has_room(id, cost))
        {
            self.remove(&RecordId::from_bytes(earliest));
            dropped += 1;
        }
        if self.has_room(id, cost) {
            return Ok(());
        }
        let figures =
            format!("{} of {} bytes are taken, and the record takes {cost}", self.used, self.capacity);
        Err(StoreError::unavailable(SAVE_FULL, figures))
    }

    fn has_room(&self, id: &RecordId, cost: usize) -> bool {
        let replaced = self.records.get(id).map_or(0, Entry::cost);
        cost <= self.capacity - (self.used - replaced)
    }

    fn put(&mut self, id: RecordId, entry: Entry) {
        self.remove(&id);
        self.used += entry.cost();
        self.by_expiry.insert((entry.expires_at, *id.as_bytes()));
        self.records.insert(id, entry);
    }

    fn remove(&mut self, id: &RecordId) {
        if let Some(entry) = self.records.remove(id) {
            self.by_expiry.remove(&(entry.expires_at, *id.as_bytes()));
            self.used -= entry.cost();
        }
    }
}

/// How many expired records a save drops although there is room.
const SWEEP: usize = 16;

/// What a record takes beside its sealed bytes: its id twice, its entry, the counters of the shared bytes,
/// and the slack of two indexes that grow by doubling and splitting.
const OVERHEAD: usize = 200;

const LOAD: &str = "load a record";
const SAVE: &str = "save a record";
const SAVE_FULL: &str = "save a record, because the memory store is full";
