//! The same sealed records on several independent stores.

mod cell;
mod change;
mod mirror;
mod register;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use self::cell::Value;
use self::change::Change;
use self::mirror::Mirror;
use self::register::{Reading, Register};
use super::deadline::Deadline;
use super::{BoxFuture, Expect, Record, RecordId, Store, StoreError};
use crate::error::BuildError;
use crate::random::OsRandom;

/// A [`Store`] that keeps each record on several stores which know nothing of each other: the mirrors.
///
/// A save is acknowledged when a *write quorum* of mirrors holds it, a majority unless
/// [`write_quorum`](Self::write_quorum) says otherwise. A load asks all mirrors at once and answers what that many agree
/// on. A mirror that is found behind, or empty, is brought up to date in the background. Of `n` mirrors with a write
/// quorum of `w`:
///
/// | n | w | one mirror is down | the network is parted |
/// | --- | --- | --- | --- |
/// | 2 | 2 | everything is an error, or with [`lone_reads`](Self::lone_reads) all but loads | the same, on both sides |
/// | 2 | 1 | everything goes on | both sides save: of two states one is lost when they meet, acknowledged or not |
/// | 3 | 2 | everything goes on | everything goes on where two mirrors are reached |
/// | 3 | 3 | as 2 of 2 | as 2 of 2 |
/// | 5 | 3 | everything goes on, also with two down | everything goes on where three are reached |
///
/// With `w` above half of `n`, whatever crashes and however messages are lost or late: of two saves that conflict at
/// most one is acknowledged, what was acknowledged is what every later load answers, and a deleted record stays deleted.
/// This counts on the mirrors to keep what they acknowledged. One that lost it all counts as down until loads have
/// filled it again, record by record; while it fills, no other should be taken down. An acknowledged state is on at
/// least `w` mirrors, so it survives the loss of `w - 1`.
///
/// **Fewer than `w` mirrors in reach.** Every call is an error then, which may still have taken effect, as with any
/// store; it is never an older state, or none. [`lone_reads`](Self::lone_reads) lets loads go on, at a price.
///
/// **What it costs.** A load is one round trip to all mirrors at once, and waits for as many as must agree. A save is
/// one call to the first mirror, which keeps writers apart, and then one to each of the others at once. Where the first
/// does not answer within 50 ms, or somebody else interferes, a save takes three round trips, as deletions and touches
/// always do; so does the first save after a touch. A mirror that failed or was slow is still asked and no longer waited
/// for, until it answers in time.
///
/// A deletion leaves 65 bytes at each mirror, which go a day after the record would have. Records are 65 bytes larger
/// than elsewhere, and each mirror must be used through `MirroredStore` alone, by all processes with the mirrors in the
/// same order. A mirror must not lag behind itself: put a cache in front of the mirrors, not behind. The id of a deleted
/// record must not be used again while a mirror is down.
///
/// Call every method within a Tokio runtime.
///
/// ```
/// # use std::sync::Arc;
/// # use hardtack::store::{Expect, MemoryStore, MirroredStore, Record, RecordId, Store};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mirrors = (0..3).map(|_| Arc::new(MemoryStore::default()) as Arc<dyn Store>);
/// let store = MirroredStore::new(mirrors)?;
/// let record = Record {
///     id: RecordId::from_bytes([7; 16]),
///     version: 0,
///     expires_at: time::OffsetDateTime::now_utc() + time::Duration::HOUR,
///     sealed: vec![1, 2, 3],
/// };
/// store.save(&record, Expect::Absent).await?;
/// assert_eq!(store.load(&record.id, 0).await?.map(|loaded| loaded.sealed), Some(vec![1, 2, 3]));
/// # Ok(())
/// # }
/// ```
pub struct MirroredStore {
    register: Register,
    deadline: Deadline,
    lone_reads: bool,
}

impl MirroredStore {
    /// Keeps records on these mirrors, with a majority of them as the write quorum. Every process must give them in the
    /// same order.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn new(mirrors: impl IntoIterator<Item = Arc<dyn Store>>) -> Result<Self, BuildError> {
        let mirrors: Vec<_> = mirrors.into_iter().map(|store| Arc::new(Mirror::new(store))).collect();
        if mirrors.is_empty() {
            return Err(BuildError::new("mirrors", "there must be at least one"));
        }
        let majority = mirrors.len() / 2 + 1;
        let register = Register::new(mirrors, majority, Box::new(OsRandom));
        Ok(Self { register, deadline: Deadline::default(), lone_reads: false })
    }

    /// How many mirrors must hold a save before it is acknowledged. Half of them or fewer keep on saving in more cases
    /// and lose acknowledged states when the network is parted: see the table [above](Self).
    ///
    /// # Errors
    ///
    /// If it is none, or more than there are mirrors.
    pub fn write_quorum(mut self, mirrors: usize) -> Result<Self, BuildError> {
        let most = self.register.mirrors();
        if !(1..=most).contains(&mirrors) {
            return Err(BuildError::new("write quorum", format!("{mirrors} is not within 1 and {most}")));
        }
        self.register.write_quorum = mirrors;
        Ok(self)
    }

    /// How long a call may take, with all that it asks of the mirrors: 500 ms unless it is set.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Deadline(deadline);
        self
    }

    /// Lets a load answer with what fewer mirrors hold than a write quorum, if its version is at least the one that the
    /// session's own cookie proves. With a write quorum of half of the mirrors or less that is always so.
    ///
    /// Without it a load is an error there, because a version does not tell all: such a copy may have lost against
    /// another save of the same version, and then a change that is made to it and saved when the others are back
    /// replaces what was acknowledged; or the session has ended, and this mirror has not heard of it.
    #[must_use]
    pub fn lone_reads(mut self) -> Self {
        self.lone_reads = true;
        self
    }
}

impl fmt::Debug for MirroredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirroredStore")
            .field("mirrors", &self.register.mirrors())
            .field("write_quorum", &self.register.write_quorum)
            .finish_non_exhaustive()
    }
}

impl Store for MirroredStore {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.deadline.hold(LOAD, async move {
            match self.register.read(*id, at_least).await? {
                Reading::Settled(record) => Ok(record),
                Reading::Proven(record) if self.lone_reads || !self.register.has_majority() => {
                    Ok(Some(record))
                }
                Reading::Proven(_) => {
                    Err(StoreError::unavailable(LOAD, "only a copy was found that may be outdated"))
                }
            }
        }))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.deadline.hold(SAVE, async move {
            i64::try_from(record.version).map_err(|cause| StoreError::unavailable(SAVE, cause))?;
            let value = Value {
                author: self.register.draw()?,
                position: 0,
                version: record.version,
                expires_at: record.expires_at,
                sealed: Some(record.sealed.clone()),
            };
            self.register.save(record.id, value, expect).await
        }))
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.deadline.hold(TOUCH, async move {
            // A record that is over leaves no trace, and a mirror that missed the touch would bring it back.
            if expires_at.unix_timestamp() <= OffsetDateTime::now_utc().unix_timestamp() {
                let end = Change::End { author: self.register.draw()?, expected: Some(version) };
                let ended = self.register.change(*id, &end, None, None).await;
                return ended
                    .map(|_| ())
                    .or_else(|error| if error.is_conflict() { Ok(()) } else { Err(error) });
            }
            let touch = Change::Touch { version, expires_at };
            self.register.change(*id, &touch, None, None).await.map(|_| ())
        }))
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.deadline.hold(DELETE, async move {
            let end = Change::End { author: self.register.draw()?, expected };
            self.register.change(*id, &end, None, None).await.map(|_| ())
        }))
    }
}

const LOAD: &str = "load a record from the mirrors";
const SAVE: &str = "save a record to the mirrors";
const TOUCH: &str = "touch a record at the mirrors";
const DELETE: &str = "delete a record from the mirrors";
