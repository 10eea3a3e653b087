//! One register an id, kept by acceptors that know nothing of each other: Paxos without a log.
//!
//! It is `CASPaxos` (Rystsov, "`CASPaxos`: Replicated State Machines without logs", 2018) on compare-and-set cells (Chockler
//! and Malkhi, "Active Disk Paxos", 2002). Why it is safe, with a write quorum above half:
//! It is `CASPaxos` (Rystsov, arXiv 1802.07000, 2018) on compare-and-set cells (Chockler and Malkhi, "Active Disk Paxos
//! with infinitely many processes", 2002). Why it is safe, with a write quorum above half:
//!
//! 1. A value is *settled* once a quorum of mirrors has accepted it in one ballot. Only then is a save acknowledged.
//! 2. Whoever proposes a value has the promises of a quorum for its ballot, and what these mirrors held at that moment.
//!    It proposes what follows from the value of the highest ballot among them. Two quorums share a mirror, so that is a
//!    settled value or a descendant of one, and no lower ballot can be settled behind its back.
//! 3. The one proposal without promises is of round 0, which is the lowest at its position. Only the first mirror admits
//!    to it, by a compare-and-set on the very version that is replaced, so each position has at most one. Its writer
//!    has read the version that it replaces, which therefore was settled, and descendants of that version are at this
//!    position or above.
//! 4. Any mirror may be brought to an accepted value of a higher ballot at any time, by anyone: that repeats a proposal.
//!
//! With a write quorum of half or less, 2 holds for those who reach the same mirrors, and in a partition no more.

use std::sync::{Arc, Mutex, PoisonError};

use super::cell::{Accepted, Ballot, Cell, Value, plain_rank};
use super::change::{Change, Decision, View};
use super::mirror::{Answers, Kind, Mirror, Wait};
use crate::random::Random;
use crate::store::{Expect, Record, RecordId, StoreError};

pub(super) struct Register {
    mirrors: Vec<Arc<Mirror>>,
    pub(super) write_quorum: usize,
    random: Mutex<Box<dyn Random + Send>>,
}

/// What a read found.
#[derive(Debug)]
pub(super) enum Reading {
    /// What a quorum holds.
    Settled(Option<Record>),
    /// A copy at a version that the reader knows to have been saved, while too few mirrors answered to know if a newer
    /// one was, or if the record was deleted.
    Proven(Record),
}

impl Register {
    pub(super) fn new(
        mirrors: Vec<Arc<Mirror>>,
        write_quorum: usize,
        random: Box<dyn Random + Send>,
    ) -> Self {
        Self { mirrors, write_quorum, random: Mutex::new(random) }
    }

    pub(super) fn mirrors(&self) -> usize {
        self.mirrors.len()
    }

    /// Whether any two write quorums share a mirror.
    pub(super) fn has_majority(&self) -> bool {
        2 * self.write_quorum > self.mirrors()
    }

    /// How many mirrors cannot all have missed an acknowledged write.
    pub(super) fn read_quorum(&self) -> usize {
        self.mirrors.len() - self.write_quorum + 1
    }

    /// How many mirrors show the newest settled value, and that it is settled.
    fn sees_all(&self) -> usize {
        self.write_quorum.max(self.read_quorum())
    }

    /// What the mirrors hold; of a record, no older version than `at_least`, unless all of them have answered.
    pub(super) async fn read(&self, id: RecordId, at_least: u64) -> Result<Reading, StoreError> {
        let sees_all = self.sees_all();
        let mut answers = self.load_all(id);
        let mut view = View::new(self.write_quorum);
        while let Some((mirror, cell)) = answers.next(self.wait_to_read(&view, at_least)).await {
            view.add(mirror, cell);
            if view.len() >= sees_all && view.is_settled() && view.proves(at_least) {
                break;
            }
        }
        let answered = view.len();
        let is_recent = |record: &Record| record.version >= at_least || answered == self.mirrors();
        let settled = match view.current().cloned() {
            None if answered >= self.read_quorum() => return Ok(Reading::Settled(None)),
            None => None,
            Some(current)
                if view.is_settled() && (answered >= sees_all || current.value.sealed.is_none()) =>
            {
                self.repair(id, current.clone(), view, answers);
                Some(current)
            }
            Some(_) if answered >= sees_all => self.change(id, &Change::Settle, Some(view), None).await?,
            Some(current) => {
                let copy = current.value.record(id).filter(|record| record.version >= at_least);
                return match copy {
                    Some(copy) => Ok(Reading::Proven(copy)),
                    None => Err(self.too_few(answered, answers.failure())),
                };
            }
        };
        match settled {
            None => Err(self.too_few(answered, None)),
            Some(settled) => match settled.value.record(id) {
                Some(record) if !is_recent(&record) => Err(self.too_few(answered, None)),
                record => Ok(Reading::Settled(record)),
            },
        }
    }

    /// Whom a read waits for that knows `view`.
    fn wait_to_read(&self, view: &View, at_least: u64) -> Wait {
        let (answered, proven) = (view.len(), view.proves(at_least));
        let enough = answered >= self.sees_all()
            || answered >= self.read_quorum() && view.current().is_none()
            || answered >= self.read_quorum().min(self.write_quorum) && proven;
        // What may have been changed or deleted is served only after everybody had the time to say so.
        if proven && !enough { Wait::Briefly } else { Wait::unless(enough) }
    }

    /// Saves `value`. With all mirrors well, that is one call to the first mirror and then one to each other.
    pub(super) async fn save(&self, id: RecordId, value: Value, expect: Expect) -> Result<(), StoreError> {
        let replaced = match expect {
            Expect::Absent => Some((None, 0)),
            Expect::Version(version) => plain_rank(version).map(|rank| (Some(rank), version + 1)),
        };
        let mut sent = None;
        if let Some((rank, position)) = replaced
            && !self.mirrors[0].lags_in_saving()
        {
            let ballot = Ballot { position, round: 0, proposer: value.author };
            let proposal = Accepted { ballot, value: Arc::new(Value { position, ..value.clone() }) };
            let first = vec![(0, self.mirrors[0].clone())];
            let record = Arc::new(Cell::accept(id, rank, &proposal));
            let mut answer = Answers::of(Kind::Save, first, |_, mirror| {
                let record = record.clone();
                async move { mirror.replace(rank, &record).await }
            });
            match answer.next(Wait::ForTheGood).await {
                Some((_, true)) => {
                    let others = (1..self.mirrors()).map(|index| (index, rank)).collect();
                    if self.spread(id, &proposal, others, 1).await {
                        return Ok(());
                    }
                    sent = Some(position);
                }
                Some((_, false)) => {}
                None => sent = Some(position),
            }
        }
        let change = Change::Save { value, expect };
        self.change(id, &change, None, sent).await.map(|_| ())
    }

    /// Carries out `change` on what a quorum holds, which is settled then. `seen` is what the mirrors were just seen to
    /// hold; `sent` is the position at which some of them may have the change already.
    pub(super) async fn change(
        &self,
        id: RecordId,
        change: &Change,
        mut seen: Option<View>,
        mut sent: Option<u64>,
    ) -> Result<Option<Accepted>, StoreError> {
        for attempt in 0..ATTEMPTS {
            let view = match seen.take() {
                Some(view) => view,
                None => self.look(id).await?,
            };
            let value = match change.decide(&view) {
                Decision::Done => return Ok(view.current().cloned()),
                Decision::Conflict => return Err(conflict(&view, sent)),
                Decision::Propose(value) => value,
            };
            let ballot = view.ballot(value.position, self.draw()?);
            let proposal = Accepted { ballot, value };
            // With a write quorum of half or less, everyone's promise is asked for who is there to give it.
            let needed = self.sees_all().min(view.len());
            let promised = self.promises(id, &proposal, view).await;
            if promised.len() >= needed {
                sent = Some(proposal.value.position);
                if self.spread(id, &proposal, promised, 0).await {
                    return Ok(Some(proposal));
                }
            }
            // Another writer is at it. One of the two shall be through before the other comes back.
            let most = 1 << attempt.min(5);
            tokio::time::sleep(std::time::Duration::from_millis(self.draw()? % most)).await;
        }
        Err(StoreError::unavailable("settle a record among the mirrors", Contended))
    }

    /// What at least a write quorum of mirrors holds, and the others as far as they answer in time.
    async fn look(&self, id: RecordId) -> Result<View, StoreError> {
        let mut answers = self.load_all(id);
        let mut view = View::new(self.write_quorum);
        while let Some((mirror, cell)) = answers.next(Wait::unless(view.len() >= self.write_quorum)).await {
            view.add(mirror, cell);
        }
        if view.len() < self.write_quorum {
            return Err(self.too_few(view.len(), answers.failure()));
        }
        Ok(view)
    }

    fn load_all(&self, id: RecordId) -> Answers<Cell> {
        Answers::of(Kind::Load, self.indexed(), |_, mirror| async move { mirror.load(id).await })
    }

    /// The mirrors that have promised the proposal's ballot, and their ranks since.
    async fn promises(&self, id: RecordId, proposal: &Accepted, view: View) -> Vec<(usize, Option<u64>)> {
        let (ballot, expires_at) = (proposal.ballot, proposal.value.expires_at);
        let asked = view.cells().iter().map(|(index, _)| (*index, self.mirrors[*index].clone())).collect();
        let mut cells = view.into_cells().into_iter();
        let mut answers = Answers::of(Kind::Save, asked, |_, mirror| {
            let (_, cell) = cells.next().expect("one is asked for each cell");
            async move { mirror.promise(id, &cell, ballot, expires_at).await }
        });
        let (mut promised, mut answered) = (Vec::new(), 0);
        while let Some((index, rank)) = answers.next(Wait::unless(answered >= self.write_quorum)).await {
            answered += 1;
            promised.extend(rank.map(|rank| (index, Some(rank))));
        }
        promised
    }

    /// Whether a quorum has accepted `proposal`, with those who `held` it before. The last are left to themselves.
    async fn spread(
        &self,
        id: RecordId,
        proposal: &Accepted,
        to: Vec<(usize, Option<u64>)>,
        mut held: usize,
    ) -> bool {
        let mut answered = held;
        let asked = to.iter().map(|(index, _)| (*index, self.mirrors[*index].clone())).collect();
        let mut ranks = to.into_iter();
        let mut answers = Answers::of(Kind::Save, asked, |_, mirror| {
            let (_, rank) = ranks.next().expect("one is asked for each rank");
            let proposal = proposal.clone();
            async move { mirror.accept(id, rank, &proposal).await }
        });
        while held < self.write_quorum {
            let Some((_, accepted)) = answers.next(Wait::unless(answered >= self.write_quorum)).await else {
                return false;
            };
            answered += 1;
            held += usize::from(accepted);
        }
        true
    }

    /// Brings mirrors that are behind to the settled value, those too whose answers are still to come.
    fn repair(&self, id: RecordId, settled: Accepted, view: View, mut answers: Answers<Cell>) {
        let behind: Vec<_> =
            view.into_cells().into_iter().filter(|(_, cell)| cell.admits(&settled)).collect();
        if behind.is_empty() && answers.are_all_in() {
            return;
        }
        let mirrors = self.mirrors.clone();
        tokio::spawn(async move {
            for (index, cell) in behind {
                // The next read tries again.
                let _ = mirrors[index].accept(id, cell.rank, &settled).await;
            }
            while let Some((index, cell)) = answers.next(Wait::ForAll).await {
                if cell.admits(&settled) {
                    let _ = mirrors[index].accept(id, cell.rank, &settled).await;
                }
            }
        });
    }

    fn indexed(&self) -> Vec<(usize, Arc<Mirror>)> {
        self.mirrors.iter().cloned().enumerate().collect()
    }

    /// A number that nobody else has drawn.
    pub(super) fn draw(&self) -> Result<u64, StoreError> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = [0; 8];
        random.fill(&mut bytes).map_err(|cause| StoreError::unavailable("draw a number", cause))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn too_few(&self, answered: usize, cause: Option<StoreError>) -> StoreError {
        let of = self.mirrors();
        StoreError::unavailable("reach enough mirrors", TooFew { answered, of, cause })
    }
}

/// A conflict, unless the change may have taken effect before what is there now.
fn conflict(view: &View, sent: Option<u64>) -> StoreError {
    let settled = view.current().filter(|_| view.is_settled()).map(|current| current.value.position);
    // What settles at the position of the change does so instead of it.
    if sent.is_none() || sent == settled {
        return StoreError::conflict();
    }
    StoreError::unavailable("learn if a change took effect", Contended)
}

#[derive(Debug, thiserror::Error)]
#[error("of {of} mirrors {answered} answered with what is needed")]
struct TooFew {
    answered: usize,
    of: usize,
    #[source]
    cause: Option<StoreError>,
}

#[derive(Debug, thiserror::Error)]
#[error("other writers came between")]
struct Contended;

/// How often a change is tried anew when others come between.
const ATTEMPTS: u32 = 16;
