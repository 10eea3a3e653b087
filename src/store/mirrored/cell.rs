//! What a mirror keeps under one id: the state of one acceptor, as the bytes of one record.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::store::{Record, RecordId};

/// The number of an attempt to set a value. No two attempts have the same, so equal ballots mean equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ballot {
    /// At least that of the value. A record's successor is always at a higher one.
    pub(super) position: u64,
    /// 0 for the writer whom the first mirror let through; such a writer has asked nobody for a promise.
    pub(super) round: u32,
    /// Drawn at random for each attempt.
    pub(super) proposer: u64,
}

/// A record, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Drawn at random for each change: by it a writer that heard no answer knows its own value again.
    pub(super) author: u64,
    /// Its place in the history of the id. All values that would replace the same one have the same.
    pub(super) position: u64,
    pub(super) version: u64,
    pub(super) expires_at: OffsetDateTime,
    /// `None`: the record was deleted.
    pub(super) sealed: Option<Vec<u8>>,
}

impl Value {
    /// The record, unless it was deleted.
    pub(super) fn record(&self, id: RecordId) -> Option<Record> {
        let sealed = self.sealed.clone()?;
        Some(Record { id, version: self.version, expires_at: self.expires_at, sealed })
    }

    /// The position of whatever replaces `current`.
    pub(super) fn position_after(current: Option<&Self>) -> u64 {
        current.map_or(0, |value| value.level() + 1)
    }

    /// A record's version, so that its writer knows the successor's position without having read its own. Where
    /// versions do not grow, or are larger than a rank holds, the position.
    fn level(&self) -> u64 {
        if self.is_plain(self.position) { self.version } else { self.position }
    }

    fn is_plain(&self, position: u64) -> bool {
        self.sealed.is_some() && position <= self.version && self.version < PLAIN_VERSIONS
    }
}

/// A value that an acceptor has accepted, and in which attempt.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) ballot: Ballot,
    pub(super) value: Arc<Value>,
}

/// The state of an acceptor.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    /// The version at the mirror, which grows with each change of the cell. `None`: the mirror has nothing.
    pub(super) rank: Option<u64>,
    /// Nothing of a lower ballot is accepted any more.
    pub(super) promised: Option<Ballot>,
    pub(super) accepted: Option<Accepted>,
}

impl Cell {
    /// This cell after it has promised `ballot`. Where it has no value yet, the promise is kept until `expires_at`.
    pub(super) fn promise(&self, id: RecordId, ballot: Ballot, expires_at: OffsetDateTime) -> Record {
        let rank = self.rank.map_or(1, |rank| rank + 1);
        write(id, rank, ballot, self.accepted.as_ref(), expires_at)
    }

    /// The cell that has accepted `proposal` when it was at `rank` before.
    pub(super) fn accept(id: RecordId, rank: Option<u64>, proposal: &Accepted) -> Record {
        let Accepted { ballot, value } = proposal;
        let first = value.level() << CHANGES;
        let rank = match rank {
            Some(rank) if rank >= first => rank + 1,
            _ if value.is_plain(ballot.position) => first,
            _ => first + 1,
        };
        write(id, rank, *ballot, Some(proposal), value.expires_at)
    }

    /// Whether `proposal` may be set here: nothing higher was promised, and it is not here already.
    pub(super) fn admits(&self, proposal: &Accepted) -> bool {
        self.promised <= Some(proposal.ballot) && !self.holds(proposal)
    }

    pub(super) fn holds(&self, proposal: &Accepted) -> bool {
        self.accepted.as_ref().is_some_and(|accepted| accepted.ballot == proposal.ballot)
    }

    /// `None` if the record is not one of a cell.
    pub(super) fn read(record: Option<Record>) -> Option<Self> {
        let Some(Record { version: rank, expires_at, sealed, .. }) = record else {
            return Some(Self::default());
        };
        let mut bytes = sealed.as_slice();
        let [kind] = take(&mut bytes)?;
        let promised = read_ballot(&mut bytes)?;
        let accepted = match kind {
            PROMISE => None,
            RECORD | END => {
                let ballot = read_ballot(&mut bytes)?;
                let author = u64::from_le_bytes(take(&mut bytes)?);
                let position = u64::from_le_bytes(take(&mut bytes)?);
                let version = u64::from_le_bytes(take(&mut bytes)?);
                let sealed = (kind == RECORD).then(|| std::mem::take(&mut bytes).to_vec());
                Some(Accepted {
                    ballot,
                    value: Arc::new(Value { author, position, version, expires_at, sealed }),
                })
            }
            _ => return None,
        };
        bytes.is_empty().then_some(Self { rank: Some(rank), promised: Some(promised), accepted })
    }
}

/// The rank of a record of this version that no attempt but its own has touched: what an update may expect at a mirror
/// without having read it. `None` for versions that a rank does not hold.
pub(super) fn plain_rank(version: u64) -> Option<u64> {
    (version < PLAIN_VERSIONS).then_some(version << CHANGES)
}

/// ```text
/// kind       1   0 a promise alone, 1 a record, 2 an end
/// promised  20   ballot: position, 8; round, 4; proposer, 8
/// accepted  20   ballot             from here on only with kinds 1 and 2
/// author     8
/// position   8
/// version    8
/// sealed     n   with kind 1
/// ```
///
/// Numbers are little-endian.
fn write(
    id: RecordId,
    rank: u64,
    promised: Ballot,
    accepted: Option<&Accepted>,
    expires_at: OffsetDateTime,
) -> Record {
    let mut bytes = vec![PROMISE];
    write_ballot(promised, &mut bytes);
    let mut until = expires_at;
    if let Some(Accepted { ballot, value }) = accepted {
        let sealed = value.sealed.as_deref();
        bytes[0] = if sealed.is_some() { RECORD } else { END };
        bytes.reserve_exact(HEADER + sealed.map_or(0, <[u8]>::len));
        write_ballot(*ballot, &mut bytes);
        bytes.extend_from_slice(&value.author.to_le_bytes());
        bytes.extend_from_slice(&value.position.to_le_bytes());
        bytes.extend_from_slice(&value.version.to_le_bytes());
        bytes.extend_from_slice(sealed.unwrap_or_default());
        until = value.expires_at;
    }
    Record { id, version: rank, expires_at: until, sealed: bytes }
}

fn write_ballot(ballot: Ballot, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&ballot.position.to_le_bytes());
    bytes.extend_from_slice(&ballot.round.to_le_bytes());
    bytes.extend_from_slice(&ballot.proposer.to_le_bytes());
}

fn read_ballot(bytes: &mut &[u8]) -> Option<Ballot> {
    Some(Ballot {
        position: u64::from_le_bytes(take(bytes)?),
        round: u32::from_le_bytes(take(bytes)?),
        proposer: u64::from_le_bytes(take(bytes)?),
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

const PROMISE: u8 = 0;
const RECORD: u8 = 1;
const END: u8 = 2;

/// What stands behind `promised` and before the sealed bytes.
const HEADER: usize = 44;

/// The low bits of a rank, which count the changes of a cell at one level: a million of them.
const CHANGES: u32 = 20;

/// Versions below this one are a rank's high bits, so that ranks stay below `i64::MAX`.
const PLAIN_VERSIONS: u64 = 1 << 43;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RecordId = RecordId::from_bytes([7; 16]);

    #[test]
    fn a_cell_comes_back_from_its_record() {
        for sealed in [None, Some(Vec::new()), Some(vec![0, 1, 2])] {
            let proposal = accepted(3, (4, 5), 9, sealed);
            let cell = read(Cell::accept(ID, Some(6), &proposal));
            assert_eq!(cell.promised, Some(proposal.ballot));
            assert!(cell.holds(&proposal));

            let above = Ballot { round: 6, ..proposal.ballot };
            let promised = read(cell.promise(ID, above, OffsetDateTime::UNIX_EPOCH));
            assert_eq!((promised.rank, promised.promised), (cell.rank.map(|rank| rank + 1), Some(above)));
            let kept = promised.accepted.expect("a promise keeps the value");
            assert_eq!((kept.ballot, kept.value), (proposal.ballot, proposal.value));
        }
    }

    #[test]
    fn a_promise_where_nothing_was_is_kept_without_a_value() {
        let ballot = Ballot { position: 1, round: 2, proposer: 3 };
        let cell = read(Cell::default().promise(ID, ballot, OffsetDateTime::UNIX_EPOCH));
        assert_eq!((cell.rank, cell.promised), (Some(1), Some(ballot)));
        assert!(cell.accepted.is_none());
    }

    #[test]
    fn bytes_of_another_form_are_no_cell() {
        let whole = Cell::accept(ID, None, &accepted(0, (0, 0), 0, None)).sealed;
        let longer = [&whole[..], &[0]].concat();
        let unknown = [&[3], &whole[1..]].concat();
        let shorter = whole[..whole.len() - 1].to_vec();
        for sealed in [Vec::new(), longer, unknown, shorter] {
            let record = Record { id: ID, version: 1, expires_at: OffsetDateTime::UNIX_EPOCH, sealed };
            assert!(Cell::read(Some(record)).is_none());
        }
    }

    /// Only then may a writer that has not read it replace it.
    #[test]
    fn a_rank_is_plain_where_no_ballot_is_promised_that_the_next_writer_would_not_exceed() {
        let rank = |before, value| Cell::accept(ID, before, &value).version;
        let plain = |version| plain_rank(version).expect("a small version");
        let live = Some(vec![1]);
        assert_eq!(rank(None, accepted(0, (0, 0), 0, live.clone())), plain(0));
        assert_eq!(rank(None, accepted(0, (0, 0), 7, live.clone())), plain(7));
        assert_eq!(rank(Some(plain(7)), accepted(8, (8, 2), 8, live.clone())), plain(8));
        // A second attempt at the same value, a ballot above the version, versions that do not grow, an end.
        assert_eq!(rank(Some(plain(8)), accepted(8, (8, 3), 8, live.clone())), plain(8) + 1);
        assert_eq!(rank(Some(plain(7)), accepted(8, (9, 1), 8, live.clone())), plain(8) + 1);
        assert_eq!(rank(Some(plain(8)), accepted(9, (9, 1), 2, live.clone())), plain(9) + 1);
        assert_eq!(rank(Some(plain(8)), accepted(9, (9, 1), 8, None)), plain(9) + 1);
        // What lost against a lower version was further already.
        assert_eq!(rank(Some(plain(50)), accepted(9, (9, 1), 9, live)), plain(50) + 1);
    }

    #[test]
    fn a_rank_holds_every_version() {
        let live = Some(vec![1]);
        let largest = u64::try_from(i64::MAX).expect("it is positive");
        for version in [PLAIN_VERSIONS - 1, PLAIN_VERSIONS, largest] {
            let value = accepted(4, (4, 1), version, live.clone());
            assert!(Cell::accept(ID, None, &value).version <= largest);
            assert!(Value::position_after(Some(&value.value)) <= PLAIN_VERSIONS);
        }
    }

    #[test]
    fn nothing_is_admitted_below_a_promise() {
        let (low, high) = (accepted(1, (1, 1), 1, None), accepted(1, (1, 2), 1, None));
        let cell = read(Cell::accept(ID, None, &low));
        assert!(Cell::default().admits(&low) && cell.admits(&high) && !cell.admits(&low));
        let cell = read(cell.promise(ID, high.ballot, OffsetDateTime::UNIX_EPOCH));
        assert!(cell.admits(&high) && !cell.admits(&low));
    }

    fn read(record: Record) -> Cell {
        Cell::read(Some(record)).expect("it was written by a cell")
    }

    fn accepted(position: u64, ballot: (u64, u32), version: u64, sealed: Option<Vec<u8>>) -> Accepted {
        let ballot = Ballot { position: ballot.0, round: ballot.1, proposer: 5 };
        let expires_at = OffsetDateTime::UNIX_EPOCH;
        Accepted { ballot, value: Arc::new(Value { author: 6, position, version, expires_at, sealed }) }
    }
}
