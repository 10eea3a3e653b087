//! A store in a map, for requests that come one after the other: whatever conflicts is a fault.

use std::collections::HashMap;

use hardtack::StoreOp;
use hardtack::store::{Expect, Record, RecordId};
use time::OffsetDateTime;

#[derive(Default)]
pub(crate) struct Records {
    records: HashMap<RecordId, Record>,
    /// Every id that was ever inserted.
    used: Vec<RecordId>,
}

impl Records {
    pub(crate) fn load(&self, id: &RecordId, at_least: u64, now: OffsetDateTime) -> Option<Record> {
        let record = self.records.get(id).filter(|record| now < record.expires_at)?;
        assert!(record.version >= at_least, "nothing lags here");
        Some(record.clone())
    }

    pub(crate) fn run(&mut self, op: StoreOp, now: OffsetDateTime) {
        let version = |id| self.load(id, 0, now).map(|record| record.version);
        match op {
            StoreOp::Save(record, Expect::Absent) => {
                assert!(!self.used.contains(&record.id), "an id for a second time");
                self.used.push(record.id);
                self.records.insert(record.id, record);
            }
            StoreOp::Save(record, Expect::Version(expected)) => {
                assert_eq!(version(&record.id), Some(expected));
                assert!(record.version > expected);
                self.records.insert(record.id, record);
            }
            StoreOp::Touch(id, expected, expires_at) => {
                assert_eq!(version(&id), Some(expected));
                let record = self.records.get_mut(&id).expect("it has a version");
                assert!(record.expires_at <= expires_at, "a touch must not shorten a life");
                record.expires_at = expires_at;
            }
            StoreOp::End(id, expected) => {
                assert_eq!(version(&id), Some(expected));
                self.records.remove(&id);
            }
            other => unreachable!("{other:?} is new"),
        }
    }

    /// What is still there, but for what the store may drop.
    pub(crate) fn live(&self, now: OffsetDateTime) -> impl Iterator<Item = &Record> {
        self.records.values().filter(move |record| now < record.expires_at)
    }
}
