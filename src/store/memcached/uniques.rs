//! Which CAS unique a record had when it was loaded, so that its save needs no second look.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use time::OffsetDateTime;

use crate::store::RecordId;

/// The CAS uniques that were last seen, in a table of fixed size. What it has lost costs a round trip and nothing
/// else.
pub(super) struct Uniques {
    slots: Mutex<Box<[Option<Seen>]>>,
}

/// A record as a server had it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) id: RecordId,
    pub(super) version: u64,
    pub(super) expires_at: OffsetDateTime,
    pub(super) unique: u64,
    /// When the server was asked.
    pub(super) asked: Instant,
}

impl Uniques {
    pub(super) fn keep(&self, seen: Seen) {
        self.slots()[slot(&seen.id)] = Some(seen);
    }

    /// What the record had at this version, for use on a connection that was opened then.
    ///
    /// A server that is started again counts from one again, so a CAS unique of the old one may be that of anything
    /// on the new one. But a connection that was open before the server was asked, and still is, leads to the very
    /// process that answered.
    pub(super) fn find(&self, id: &RecordId, version: u64, opened: Instant) -> Option<Seen> {
        self.slots()[slot(id)]
            .filter(|seen| seen.id == *id && seen.version == version && opened <= seen.asked)
    }

    fn slots(&self) -> MutexGuard<'_, Box<[Option<Seen>]>> {
        // Each change is one assignment.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Uniques {
    fn default() -> Self {
        Self { slots: Mutex::new(vec![None; SLOTS].into_boxed_slice()) }
    }
}

/// Ids are random, so any of their bits will do.
fn slot(id: &RecordId) -> usize {
    let bytes = id.as_bytes();
    usize::from(u16::from_le_bytes([bytes[6], bytes[7]])) % SLOTS
}

/// One for each request that may be between its load and its save, and enough more that they rarely meet in one. They
/// take about 300 KiB.
const SLOTS: usize = 4096;
