//! One of several stores, and asking all of them at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::cell::{Accepted, Ballot, Cell};
use crate::store::{Expect, Record, RecordId, Store, StoreError};

/// One of the stores, as an acceptor for each id.
pub(super) struct Mirror {
    store: Arc<dyn Store>,
    loads: Health,
    saves: Health,
}

impl Mirror {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, loads: Health::default(), saves: Health::default() }
    }

    /// Whether its last save failed or took too long.
    pub(super) fn lags_in_saving(&self) -> bool {
        self.saves.is_bad()
    }

    pub(super) async fn load(&self, id: RecordId) -> Result<Cell, StoreError> {
        let asked = Instant::now();
        let loaded = self.store.load(&id, 0).await;
        let read = loaded.and_then(|record| {
            Cell::read(record).ok_or_else(|| {
                StoreError::unavailable("load a record from a mirror", "it is none of a mirror's")
            })
        });
        self.loads.note(read.is_ok() && asked.elapsed() < PATIENCE);
        read
    }

    /// Whether it has promised to accept nothing below `ballot`, given that it was as `cell` says. Then its rank is the
    /// one that is returned.
    pub(super) async fn promise(
        &self,
        id: RecordId,
        cell: &Cell,
        ballot: Ballot,
        expires_at: OffsetDateTime,
    ) -> Result<Option<u64>, StoreError> {
        let promised = cell.promise(id, ballot, expires_at);
        Ok(self.replace(cell.rank, &promised).await?.then_some(promised.version))
    }

    /// Whether it holds `proposal` now. `rank` is where it is believed to be, with nothing higher promised; if it is
    /// elsewhere, it is read, and set again where it may be.
    pub(super) async fn accept(
        &self,
        id: RecordId,
        mut rank: Option<u64>,
        proposal: &Accepted,
    ) -> Result<bool, StoreError> {
        for _ in 0..ATTEMPTS {
            if self.replace(rank, &Cell::accept(id, rank, proposal)).await? {
                return Ok(true);
            }
            let cell = self.load(id).await?;
            if !cell.admits(proposal) {
                return Ok(cell.holds(proposal));
            }
            rank = cell.rank;
        }
        Ok(false)
    }

    /// Whether the cell was at `rank` and is `record` now.
    pub(super) async fn replace(&self, rank: Option<u64>, record: &Record) -> Result<bool, StoreError> {
        let asked = Instant::now();
        let saved = match self.store.save(record, rank.map_or(Expect::Absent, Expect::Version)).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        };
        self.saves.note(saved.is_ok() && asked.elapsed() < PATIENCE);
        saved
    }
}

/// Whether the last call of a kind was answered in time. What was not is still asked, and no longer waited for.
#[derive(Default)]
struct Health(AtomicBool);

impl Health {
    fn note(&self, good: bool) {
        self.0.store(!good, Ordering::Relaxed);
    }

    fn is_bad(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a call does at a mirror, to know whom not to wait for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Load,
    Save,
}

/// Whose answers are still waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Everybody's, until the deadline of the whole call.
    ForAll,
    /// Everybody's, but not for long.
    Briefly,
    /// Theirs who answered in time when they were asked last, and not for long.
    ForTheGood,
}

impl Wait {
    /// With enough answers nobody waits for those who are late.
    pub(super) fn unless(enough: bool) -> Self {
        if enough { Self::ForTheGood } else { Self::ForAll }
    }
}

/// The answers of several mirrors, each asked on a task of its own, so that none delays another and none is stopped
/// half way.
pub(super) struct Answers<R> {
    kind: Kind,
    receiver: UnboundedReceiver<(usize, Result<R, StoreError>)>,
    waiting: Vec<(usize, Arc<Mirror>)>,
    patience: Instant,
    failure: Option<StoreError>,
}

impl<R: Send + 'static> Answers<R> {
    /// Calls `asked` at once.
    pub(super) fn of<F>(
        kind: Kind,
        asked: Vec<(usize, Arc<Mirror>)>,
        mut call: impl FnMut(usize, Arc<Mirror>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<R, StoreError>> + Send + 'static,
    {
        let (sender, receiver) = unbounded_channel();
        for (index, mirror) in &asked {
            let (index, call, sender) = (*index, call(*index, mirror.clone()), sender.clone());
            // Nobody listens any more where the others' answers were enough.
            tokio::spawn(async move { sender.send((index, call.await)) });
        }
        Self { kind, receiver, waiting: asked, patience: Instant::now() + PATIENCE, failure: None }
    }

    /// The next answer that is not an error, and whose it is.
    pub(super) async fn next(&mut self, wait: Wait) -> Option<(usize, R)> {
        loop {
            let late = self.waiting.iter().all(|(_, mirror)| self.health(mirror).is_bad());
            let answer = if wait == Wait::ForAll {
                self.receiver.recv().await
            } else if wait == Wait::ForTheGood && late {
                self.receiver.try_recv().ok()
            } else if let Ok(answer) = timeout_at(self.patience, self.receiver.recv()).await {
                answer
            } else {
                self.waiting.iter().for_each(|(_, mirror)| self.health(mirror).note(false));
                None
            };
            let (index, answer) = answer?;
            self.waiting.retain(|(waiting, _)| *waiting != index);
            match answer {
                Ok(answer) => return Some((index, answer)),
                Err(error) => self.failure = Some(error),
            }
        }
    }

    /// Why the last of those failed that did.
    pub(super) fn failure(self) -> Option<StoreError> {
        self.failure
    }

    pub(super) fn are_all_in(&self) -> bool {
        self.waiting.is_empty()
    }

    fn health<'m>(&self, mirror: &'m Mirror) -> &'m Health {
        match self.kind {
            Kind::Load => &mirror.loads,
            Kind::Save => &mirror.saves,
        }
    }
}

/// How long a mirror is waited for when the others' answers are enough: many times what a healthy one takes.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often a mirror is read again because another writer came between.
const ATTEMPTS: usize = 8;
