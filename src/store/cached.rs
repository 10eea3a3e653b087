//! A node's own copies of records, in front of a store that it shares with other nodes.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use time::OffsetDateTime;

use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};

/// A [`Store`] that answers repeated loads from this process's memory, and everything else from a shared store.
///
/// A load is answered by the local copy if the copy is at the version that the request's cookie names or a newer one, has
/// not expired, and is younger than [`fresh_for`](Self::fresh_for). Otherwise the shared store is asked, and what it
/// answers is kept. A save is kept once the shared store has acknowledged it. That a record is absent is never kept.
///
/// # What holds on several nodes
///
/// - A browser never sees an older state than its cookie names, whichever node wrote it: a copy that is older than that is
///   passed over.
/// - **A session that was ended through another node is still served by this one for at most `fresh_for`**, and so is
///   what a second tab with an older cookie reads. Its writes are refused: they go to the shared store, with the version
///   that was read.
/// - What was ended through this node is gone on it at once; a slower load cannot bring it back.
///
/// Only news from the other nodes removes that limit. Where each deletion is announced to all of them, call
/// [`forget`](Self::forget) for each announcement, [`forget_all`](Self::forget_all) whenever some may have been missed,
/// and set `fresh_for` to [`Duration::MAX`].
///
/// ```
/// # use hardtack::store::{CachedStore, Expect, MemoryStore, Record, RecordId, Store};
/// # use std::sync::Arc;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shared = Arc::new(MemoryStore::default());
/// let store = CachedStore::new(shared.clone(), 64 << 20).fresh_for(std::time::Duration::from_secs(2));
/// # let id = RecordId::from_bytes([7; 16]);
/// # let expires_at = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
/// # let record = Record { id, version: 0, expires_at, sealed: vec![1, 2, 3] };
/// store.save(&record, Expect::Absent).await?;
///
/// shared.delete(&record.id, None).await?; // as if by another node
/// assert!(store.load(&record.id, 0).await?.is_some()); // for at most two seconds
/// assert!(store.load(&record.id, 1).await?.is_none()); // the copy is too old for this cookie
/// # Ok(())
/// # }
/// ```
pub struct CachedStore {
    inner: Box<dyn Store>,
    copies: Cache<RecordId, LocalCopy>,
    fresh_for: Duration,
    /// How many calls have ended, by the slot of their id. Copies change only under the lock of their slot.
    ended: Box<[Mutex<u64>]>,
    /// Copies of an earlier epoch are not served.
    epoch: AtomicU64,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

impl CachedStore {
    /// Copies of `inner`'s records that take about `capacity_bytes` in all, each with its sealed bytes and
    /// 400 more. Beyond that, those go that were not used for the longest time.
    ///
    /// A store that others use as well is handed in as an [`Arc`].
    pub fn new(inner: impl Store, capacity_bytes: u64) -> Self {
        let copies = Cache::builder()
            .max_capacity(capacity_bytes)
            .weigher(|_, copy: &LocalCopy| copy.weight())
            // Moka's own policy keeps what was asked for often, and may refuse a newcomer at once. Of sessions, the one
            // that was written last is the likeliest to be asked for next, and one that was popular is soon left.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            inner: Box::new(inner),
            copies,
            fresh_for: Duration::from_secs(5),
            ended: (0..SLOTS).map(|_| Mutex::default()).collect(),
            epoch: AtomicU64::new(0),
            clock: Box::new(Instant::now),
        }
    }

    /// How long a copy is served without asking the shared store: 5 seconds by default. Zero serves none, [`Duration::MAX`]
    /// serves them without limit, for where revocations are followed.
    ///
    /// The age counts from before the call that brought the copy, by the system's monotonic clock. On Linux that clock
    /// stands still while the machine is suspended.
    #[must_use]
    pub fn fresh_for(mut self, age: Duration) -> Self {
        self.fresh_for = age;
        self
    }

    /// Drops the copy of this record, because another node has ended or changed it. A load that is under way does not
    /// bring it back.
    pub fn forget(&self, id: &RecordId) {
        drop(Call::begin(self, id));
    }

    /// Drops all copies, because other nodes may have ended or changed any of them. Loads that are under way do not bring
    /// them back.
    pub fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.copies.invalidate_all();
    }

    /// The copy of this record, if it may be served.
    fn current(&self, id: &RecordId, at_least: u64) -> Option<LocalCopy> {
        let copy = self.copies.get(id)?;
        let age = (self.clock)().saturating_duration_since(copy.began);
        let served = copy.version >= at_least
            && age < self.fresh_for
            && copy.epoch == self.epoch.load(Ordering::SeqCst)
            && copy.is_live();
        served.then_some(copy)
    }

    /// How many calls have ended in the slot of `id`, and the right to change its copy.
    fn ended(&self, id: &RecordId) -> MutexGuard<'_, u64> {
        let [first, second, ..] = *id.as_bytes();
        let slot = usize::from(u16::from_le_bytes([first, second])) % SLOTS;
        // A number is whole whatever happened to those who held it.
        self.ended[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore")
            .field("capacity", &self.copies.policy().max_capacity().unwrap_or_default())
            .field("fresh_for", &self.fresh_for)
            .finish_non_exhaustive()
    }
}

impl Store for CachedStore {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            if let Some(copy) = self.current(id, at_least) {
                return Ok(Some(copy.into_record(*id)));
            }
            let mut call = Call::begin(self, id);
            let found = self.inner.load(id, at_least).await?;
            if let Some(record) = &found {
                call.learn(record);
            }
            Ok(found)
        })
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut call = Call::begin(self, &record.id);
            self.inner.save(record, expect).await?;
            call.learn(record);
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
            let mut call = Call::begin(self, id);
            self.inner.touch(id, version, expires_at).await?;
            call.learned = Learned::Expiry { version, expires_at };
            Ok(())
        })
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            // Once at the beginning and once at the end: whatever becomes of the deletion, who asks from now on asks the
            // shared store.
            self.forget(id);
            let _call = Call::begin(self, id);
            self.inner.delete(id, expected).await
        })
    }
}

/// What this node knows of a record beside its id.
#[derive(Clone)]
struct LocalCopy {
    version: u64,
    expires_at: OffsetDateTime,
    sealed: Arc<[u8]>,
    /// When the call began that brought it. It was the truth at some later moment.
    began: Instant,
    epoch: u64,
}

impl LocalCopy {
    /// From the second of its expiry on, a record is absent.
    fn is_live(&self) -> bool {
        self.expires_at.unix_timestamp() > OffsetDateTime::now_utc().unix_timestamp()
    }

    /// The version grows with each save, so one version has one content.
    fn says_the_same_as(&self, other: &Self) -> bool {
        self.version == other.version && self.expires_at == other.expires_at
    }

    fn into_record(self, id: RecordId) -> Record {
        let Self { version, expires_at, sealed, .. } = self;
        Record { id, version, expires_at, sealed: sealed.to_vec() }
    }

    /// What it counts against the capacity, in bytes.
    fn weight(&self) -> u32 {
        u32::try_from(self.sealed.len()).unwrap_or(u32::MAX).saturating_add(OVERHEAD)
    }
}

/// A call to the shared store. When it ends, in whatever way, it settles what becomes of the local copy:
///
/// - What was learned becomes the copy if no other call has ended since this one began. Otherwise nobody knows which of
///   the two is newer, and a copy stays only if it says the same.
/// - Of a call that failed, or whose future was dropped, nobody knows whether it took effect. It leaves no copy, and
///   neither does a deletion.
///
/// So a copy is never older than what an ended call of this node has seen or done. Versions alone would not tell: an
/// older one may be all that a store has left, and a deletion has none. A save that lost a conflict leaves no copy
/// either, and who tries again reads the state that won.
struct Call<'a> {
    store: &'a CachedStore,
    id: &'a RecordId,
    began: Instant,
    epoch: u64,
    ended_before: u64,
    learned: Learned,
}

/// What a call has learned of its record.
enum Learned {
    Nothing,
    Record(LocalCopy),
    /// Where the record is at this version, this is when it expires.
    Expiry {
        version: u64,
        expires_at: OffsetDateTime,
    },
}

impl<'a> Call<'a> {
    fn begin(store: &'a CachedStore, id: &'a RecordId) -> Self {
        let began = (store.clock)();
        let epoch = store.epoch.load(Ordering::SeqCst);
        let ended_before = *store.ended(id);
        Self { store, id, began, epoch, ended_before, learned: Learned::Nothing }
    }

    fn learn(&mut self, record: &Record) {
        self.learned = Learned::Record(LocalCopy {
            version: record.version,
            // Every store keeps whole seconds.
            expires_at: record.expires_at.truncate_to_second(),
            sealed: Arc::from(record.sealed.as_slice()),
            began: self.began,
            epoch: self.epoch,
        });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let copies = &self.store.copies;
        let mut ended = self.store.ended(self.id);
        let undisturbed = *ended == self.ended_before;
        *ended += 1;
        let kept = copies.get(self.id);
        let learned = match std::mem::replace(&mut self.learned, Learned::Nothing) {
            Learned::Nothing => None,
            Learned::Record(copy) => Some(copy),
            // A touch does not revive what has expired, and it does not make a copy younger: it says nothing of a version
            // that another node may have written.
            Learned::Expiry { version, expires_at } => {
                let touched = kept.clone().filter(|copy| copy.version == version && copy.is_live());
                touched.map(|copy| LocalCopy { expires_at: expires_at.truncate_to_second(), ..copy })
            }
        };
        match learned {
            Some(copy) if undisturbed => copies.insert(*self.id, copy),
            Some(copy) if kept.is_some_and(|kept| kept.says_the_same_as(&copy)) => {}
            _ => copies.invalidate(self.id),
        }
    }
}

/// Calls disturb each other only within a slot. Of 100 that are under way at once, one in forty meets a stranger, and
/// all that this costs is a copy that is not kept.
const SLOTS: usize = 4096;

/// What a copy takes beside its sealed bytes: 310 bytes by measurement, in several pieces, each of which the allocator
/// rounds up and gives a head of its own.
const OVERHEAD: u32 = 400;
