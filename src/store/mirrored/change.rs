//! What a change makes of what the mirrors hold: pure decisions, no calls.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::cell::{Accepted, Ballot, Cell, Value};
use crate::store::Expect;

/// What shall happen to the record of an id.
pub(super) enum Change {
    /// Nothing, but what the mirrors disagree about is settled.
    Settle,
    Save {
        value: Value,
        expect: Expect,
    },
    Touch {
        version: u64,
        expires_at: OffsetDateTime,
    },
    End {
        author: u64,
        expected: Option<u64>,
    },
}

pub(super) enum Decision {
    /// The mirrors hold what they should.
    Done,
    Conflict,
    /// Enough mirrors must accept this value.
    Propose(Arc<Value>),
}

impl Change {
    /// What to do about `view`.
    pub(super) fn decide(&self, view: &View) -> Decision {
        let current = view.current().map(|accepted| &accepted.value);
        let as_it_is = || match current {
            Some(value) if !view.is_settled() => Decision::Propose(value.clone()),
            _ => Decision::Done,
        };
        let live = current.filter(|value| value.sealed.is_some());
        let next = |value: Value| {
            let position = Value::position_after(current.map(Arc::as_ref));
            Decision::Propose(Arc::new(Value { position, ..value }))
        };
        match self {
            Self::Settle => as_it_is(),
            // An earlier attempt of this very change, whose answers were lost.
            Self::Save { value: Value { author, .. }, .. } | Self::End { author, .. }
                if current.is_some_and(|value| value.author == *author) =>
            {
                as_it_is()
            }
            Self::Save { value, expect } => {
                let expected = match *expect {
                    Expect::Absent => None,
                    Expect::Version(version) => Some(version),
                };
                if live.map(|value| value.version) == expected {
                    next(value.clone())
                } else {
                    Decision::Conflict
                }
            }
            Self::Touch { version, expires_at } => match live {
                Some(value) if value.version == *version => {
                    let moved = value.expires_at.unix_timestamp() != expires_at.unix_timestamp();
                    // The same value in another attempt, so that it does not compete with a save: whoever writes
                    // the next version sets its expiry.
                    let touched = || Value { expires_at: *expires_at, ..Value::clone(value) };
                    if moved { Decision::Propose(Arc::new(touched())) } else { as_it_is() }
                }
                _ => Decision::Done,
            },
            Self::End { author, expected } => match live {
                Some(value) if expected.is_none_or(|expected| expected == value.version) => next(Value {
                    author: *author,
                    position: 0,
                    version: value.version,
                    expires_at: view.latest_expiry(value.expires_at).saturating_add(WITNESS),
                    sealed: None,
                }),
                None if expected.is_none() => as_it_is(),
                _ => Decision::Conflict,
            },
        }
    }
}

/// What those mirrors hold that have answered.
pub(super) struct View {
    /// How many must hold a value of one ballot, so that no other will ever take its place unseen.
    quorum: usize,
    cells: Vec<(usize, Cell)>,
}

impl View {
    pub(super) fn new(quorum: usize) -> Self {
        Self { quorum, cells: Vec::new() }
    }

    pub(super) fn add(&mut self, mirror: usize, cell: Cell) {
        self.cells.push((mirror, cell));
    }

    /// How many mirrors have answered.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn cells(&self) -> &[(usize, Cell)] {
        &self.cells
    }

    pub(super) fn into_cells(self) -> Vec<(usize, Cell)> {
        self.cells
    }

    /// The value of the highest ballot.
    pub(super) fn current(&self) -> Option<&Accepted> {
        let accepted = self.cells.iter().filter_map(|(_, cell)| cell.accepted.as_ref());
        accepted.max_by_key(|accepted| accepted.ballot)
    }

    /// Whether enough mirrors hold the current value; where there is none, whether enough have answered.
    pub(super) fn is_settled(&self) -> bool {
        let held = match self.current() {
            Some(current) => self.cells.iter().filter(|(_, cell)| cell.holds(current)).count(),
            None => self.len(),
        };
        held >= self.quorum
    }

    /// Whether there is a record of this version or a newer one.
    pub(super) fn proves(&self, at_least: u64) -> bool {
        let current = self.current().map(|accepted| &accepted.value);
        current.is_some_and(|value| value.sealed.is_some() && value.version >= at_least)
    }

    /// A ballot above all that these mirrors have promised, for a value at `position`.
    pub(super) fn ballot(&self, position: u64, proposer: u64) -> Ballot {
        let promised = self.cells.iter().filter_map(|(_, cell)| cell.promised).max();
        let (highest, round) = promised.map_or((0, 0), |ballot| (ballot.position, ballot.round));
        Ballot { position: position.max(highest), round: round.saturating_add(1), proposer }
    }

    fn latest_expiry(&self, known: OffsetDateTime) -> OffsetDateTime {
        let accepted = self.cells.iter().filter_map(|(_, cell)| cell.accepted.as_ref());
        accepted.map(|accepted| accepted.value.expires_at).fold(known, OffsetDateTime::max)
    }
}

/// How long an end is kept beyond the expiry of every copy that was seen, for mirrors that were not: their clocks may be
/// behind, and they may hold a copy of an unacknowledged, later expiry.
const WITNESS: Duration = Duration::DAY;
