//! A record's life on one server.

use std::time::Instant;

use time::OffsetDateTime;

use super::item::{FLAGS, Held, exptime, header, is_live};
use super::pool::{Lease, Pool};
use super::protocol::{Failure, Only, Stored};
use super::uniques::{Seen, Uniques};
use crate::store::{Record, RecordId};

/// A server: the way to it, and what it was last seen to have.
pub(super) struct Server {
    pub(super) pool: Pool,
    uniques: Uniques,
    /// Whether it drops live items when it is full.
    pub(super) evicts: bool,
}

/// What a record is called, here and there.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) id: &'a RecordId,
    pub(super) key: &'a str,
}

/// What becomes of a record at a version.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    Update(&'a Record),
    Delete,
}

impl Server {
    /// Asks a server what it is: one that answers as it must, and keeps the CAS uniques on which all else rests.
    pub(super) async fn connect(address: &str, connections: usize) -> Result<Self, Failure> {
        let pool = Pool::new(address, connections);
        let mut lease = pool.lease().await?;
        let settings = lease.connection().settings().await?;
        let is = |name, value| settings.iter().any(|(n, v)| n == name && v == value);
        if is("cas_enabled", "no") {
            return Err(Failure::NoUniques);
        }
        let evicts = !is("evictions", "off");
        // Older servers do not know the command, or do not prove that there is nothing.
        lease.connection().get("hardtack").await?;
        drop(lease);
        Ok(Self { pool, uniques: Uniques::default(), evicts })
    }

    /// The record, if it lives.
    pub(super) async fn load(&self, name: Name<'_>) -> Result<Option<Held>, Failure> {
        let mut lease = self.pool.lease().await?;
        let loaded = match self.fetch(&mut lease, name).await {
            // The server may have been started again since this connection was last used, and to ask twice does no
            // harm.
            Err(Failure::Io(_)) if lease.was_kept() => {
                drop(lease);
                self.pool.close_idle();
                self.fetch(&mut self.pool.lease().await?, name).await
            }
            loaded => loaded,
        };
        Ok(loaded?.filter(|held| is_live(held.expires_at)))
    }

    /// Whether it was inserted.
    pub(super) async fn insert(&self, name: Name<'_>, record: &Record) -> Result<bool, Failure> {
        let mut lease = self.pool.lease().await?;
        let mut only = Only::Absent;
        loop {
            match self.put(&mut lease, name, only, record).await? {
                Stored::Done => return Ok(true),
                Stored::Absent => only = Only::Absent,
                Stored::Exists => {
                    only = match self.fetch(&mut lease, name).await? {
                        Some(held) if is_live(held.expires_at) => return Ok(false),
                        // The server does not drop it to the second.
                        Some(expired) => Only::Unique(expired.unique),
                        None => Only::Absent,
                    }
                }
            }
        }
    }

    /// Whether it was changed: whether it lived at this version.
    pub(super) async fn change(&self, name: Name<'_>, version: u64, to: Change<'_>) -> Result<bool, Failure> {
        let mut lease = self.pool.lease().await?;
        let seen = self.uniques.find(name.id, version, lease.connection().opened());
        let mut known = seen.filter(|seen| is_live(seen.expires_at)).map(|seen| seen.unique);
        loop {
            let unique = match known.take() {
                Some(unique) => unique,
                None => match self.fetch(&mut lease, name).await? {
                    Some(held) if held.version == version && is_live(held.expires_at) => held.unique,
                    _ => return Ok(false),
                },
            };
            let changed = match to {
                Change::Update(record) => self.put(&mut lease, name, Only::Unique(unique), record).await?,
                Change::Delete => lease.connection().delete(name.key, Some(unique)).await?,
            };
            match changed {
                Stored::Done => return Ok(true),
                Stored::Absent => return Ok(false),
                // Somebody has changed it since, or only its expiry.
                Stored::Exists => {}
            }
        }
    }

    /// Writes the record once more with another expiry, if it lives at this version.
    pub(super) async fn touch(
        &self,
        name: Name<'_>,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> Result<(), Failure> {
        let mut lease = self.pool.lease().await?;
        loop {
            let held = self.fetch(&mut lease, name).await?;
            let Some(held) = held.filter(|held| held.version == version && is_live(held.expires_at)) else {
                return Ok(());
            };
            let (id, only) = (*name.id, Only::Unique(held.unique));
            let moved = Record { id, version, expires_at, sealed: held.sealed };
            match self.put(&mut lease, name, only, &moved).await? {
                Stored::Done | Stored::Absent => return Ok(()),
                Stored::Exists => {}
            }
        }
    }

    pub(super) async fn delete(&self, name: Name<'_>) -> Result<(), Failure> {
        self.pool.lease().await?.connection().delete(name.key, None).await?;
        Ok(())
    }

    /// What there is, expired or not.
    async fn fetch(&self, lease: &mut Lease<'_>, name: Name<'_>) -> Result<Option<Held>, Failure> {
        let asked = Instant::now();
        let Some(item) = lease.connection().get(name.key).await? else { return Ok(None) };
        let held = Held::try_from(item)?;
        let Held { unique, version, expires_at, .. } = held;
        self.uniques.keep(Seen { id: *name.id, version, expires_at, unique, asked });
        Ok(Some(held))
    }

    async fn put(
        &self,
        lease: &mut Lease<'_>,
        name: Name<'_>,
        only: Only,
        record: &Record,
    ) -> Result<Stored, Failure> {
        let exptime = exptime(record.expires_at, OffsetDateTime::now_utc());
        let header = header(record.version, record.expires_at.unix_timestamp());
        let value = [&header[..], &record.sealed];
        lease.connection().store(name.key, only, (FLAGS, exptime), value).await
    }
}
