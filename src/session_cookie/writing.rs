//! The last steps of a seal: the token for its place, cut into chunks, set as cookies; and what leaves nothing stale.

use super::outgoing::{Outgoing, StoreOp};
use super::{Home, RecordAt, SessionCookie};
use crate::aead::NONCE_LEN;
use crate::budget::Placement;
use crate::chunk;
use crate::cookie::{AFFINITY_LEN, FIELD, Role};
use crate::error::SealError;
use crate::lifetime::time;
use crate::payload::{self, Body, State};
use crate::random::{self, Ahead, Random};
use crate::session::{Metadata, Origin, Session, Settled};
use crate::store::{Expect, Record, RecordId};
use crate::token::{self, Tokens};

/// A state on its way out.
pub(super) struct Writing<'a, T> {
    pub(super) cookie: &'a SessionCookie<T>,
    pub(super) session: &'a Session<T>,
    /// The sealing key, by its index in the ring.
    pub(super) key: usize,
    pub(super) metadata: &'a Metadata,
    pub(super) state: State<&'a [u8]>,
    pub(super) now: u64,
    /// When the session ends at the latest.
    pub(super) expires: u64,
    /// The tag for load balancers, where the browser does not have it yet.
    pub(super) affinity: Option<[u8; AFFINITY_LEN]>,
}

impl<T> Writing<'_, T> {
    /// Where the state lives from now on, what the store must do for it first, and the `Set-Cookie` values, which
    /// expire these cookies too.
    pub(super) fn write(
        &self,
        placement: Placement,
        expired: impl Iterator<Item = Role>,
        random: &mut Ahead<impl Random>,
    ) -> Result<(Home, Vec<StoreOp>, Vec<String>), SealError> {
        if placement == Placement::Stored {
            random.draw(RecordId::LEN + 2 * NONCE_LEN)?;
        }
        let (home, mut ops) = match placement {
            Placement::Cookies(count) => (Home::Cookies(count), self.leave_store(random)?),
            Placement::Stored => self.enter_store(random)?,
        };
        if let Origin::Ended(Some(record)) = self.session.origin {
            ops.push(StoreOp::End(record.id, record.version));
        }
        let body = match home {
            Home::Cookies(_) => Body::State(self.state),
            Home::Record(at) => reference(at),
        };
        let token = self.seal(&self.cookie.keys.cookie, &[], &body, random)?;
        let count = if let Home::Cookies(count) = home { count } else { 1 };
        Ok((home, ops, self.set_cookies(&token::to_text(&token), count, expired)))
    }

    /// Saves the state as a record: the same one at its next version, or a new one.
    fn enter_store(&self, random: &mut impl Random) -> Result<(Home, Vec<StoreOp>), SealError> {
        let version = self.metadata.sequence;
        let expires = self.cookie.limits.record_expires(self.now, self.expires);
        let state = Body::State(State { record: true, ..self.state });
        match self.record() {
            Some(old) if !self.session.change.rotate => {
                let save = self.update(old, expires, &state, random)?;
                Ok((Home::Record(RecordAt { id: old.id, version }), vec![save]))
            }
            old => {
                let new = RecordAt { id: RecordId::from_bytes(random::array(random)?), version };
                let record = self.seal_record(new.id, expires, &state, random)?;
                let mut ops = vec![StoreOp::Save(record, Expect::Absent)];
                // The old record ends once the new one is safe, and only if nobody has changed it since.
                if let Some(old) = old {
                    ops.push(self.bury(old, new, random)?);
                }
                Ok((Home::Record(new), ops))
            }
        }
    }

    /// What becomes of the record of a state that goes back into cookies.
    fn leave_store(&self, random: &mut impl Random) -> Result<Vec<StoreOp>, SealError> {
        let Some(old) = self.record() else { return Ok(Vec::new()) };
        let last = if self.session.change.rotate {
            self.bury(old, old, random)?
        } else {
            // It goes on for a little while, so that a parallel request which still holds the reference finds the
            // newest state there.
            let state = Body::State(State { record: true, ..self.state });
            self.update(old, self.expires.min(self.now + GRACE), &state, random)?
        };
        Ok(vec![last])
    }

    /// Ends a record that the session leaves for `new`. What stays in its place for a little while opens nothing, but
    /// a request that still holds the old reference can end the session by it, and a repeated save can tell that it
    /// was carried out before.
    fn bury(&self, old: RecordAt, new: RecordAt, random: &mut impl Random) -> Result<StoreOp, SealError> {
        self.update(old, self.expires.min(self.now + GRACE), &reference(new), random)
    }

    /// The record that the session came from.
    fn record(&self) -> Option<RecordAt> {
        match self.session.as_arrived()?.home {
            Home::Record(at) => Some(at),
            Home::Cookies(_) => None,
        }
    }

    fn update(
        &self,
        old: RecordAt,
        expires: u64,
        body: &Body<&[u8]>,
        random: &mut impl Random,
    ) -> Result<StoreOp, SealError> {
        Ok(StoreOp::Save(self.seal_record(old.id, expires, body, random)?, Expect::Version(old.version)))
    }

    fn seal_record(
        &self,
        id: RecordId,
        expires: u64,
        body: &Body<&[u8]>,
        random: &mut impl Random,
    ) -> Result<Record, SealError> {
        let sealed = self.seal(&self.cookie.keys.record, id.as_bytes(), body, random)?;
        Ok(Record { id, version: self.metadata.sequence, expires_at: time(expires), sealed })
    }

    fn seal(
        &self,
        tokens: &Tokens,
        bound: &[u8],
        body: &Body<&[u8]>,
        random: &mut impl Random,
    ) -> Result<Vec<u8>, SealError> {
        let nonce = random::array::<NONCE_LEN>(random)?;
        let len = payload::len(self.metadata, body);
        Ok(tokens.seal(self.key, bound, &nonce, len, |out| payload::write(self.metadata, body, out)))
    }

    /// The fields that leave the browser with this token and nothing stale beside it.
    fn set_cookies(&self, text: &str, count: u8, expired: impl Iterator<Item = Role>) -> Vec<String> {
        let spec = &self.cookie.cookie;
        let max_age = self.expires.saturating_sub(self.now);
        let mut fields = Vec::with_capacity(usize::from(count));
        if count == 1 {
            fields.push(spec.set(Role::State(0), text, max_age));
        } else {
            let values = (0..).zip(chunk::split(text, count));
            fields.extend(values.map(|(index, value)| spec.set(Role::State(index), &value, max_age)));
        }
        fields.extend(expired.map(|role| spec.expire(role)));
        if self.session.carried.seen() {
            fields.push(if self.cookie.limits.idle.is_some() {
                let value = self.cookie.keys.seen.seal(self.key, &self.metadata.id, self.now);
                spec.set(Role::Seen, &value, max_age)
            } else {
                spec.expire(Role::Seen)
            });
        }
        fields.extend(self.affinity.map(|tag| spec.set_affinity(tag, max_age)));
        fields
    }
}

impl<T> SessionCookie<T> {
    /// What a session that is not written leaves behind: its end, the note that it was used, or nothing.
    pub(super) fn unchanged(
        &self,
        session: &Session<T>,
        key: Option<usize>,
        now: u64,
        spent: usize,
    ) -> Outgoing {
        match (&session.origin, key) {
            (Origin::Ended(record), _) => {
                let ops = record.map(|at| StoreOp::End(at.id, at.version)).into_iter().collect();
                let seen = session.carried.seen().then_some(Role::Seen);
                let beside = seen.into_iter().chain(session.carried.affinity().map(|_| Role::Affinity));
                let must = self.expired_len(self.stale(session.carried, 0, 0).chain(beside.clone()));
                let room = self.budget.total().saturating_sub(spent + must);
                let ended = self.stale(session.carried, 0, room).chain(beside);
                Outgoing::new(ops, ended.map(|role| self.cookie.expire(role)).collect(), Settled::Ended)
            }
            (Origin::Arrived(arrived), Some(key)) if self.limits.due(now, arrived.last_seen) => {
                let expires = self.limits.expires(arrived.metadata.created, arrived.metadata.expires);
                let max_age = expires.saturating_sub(now);
                let value = self.keys.seen.seal(key, &arrived.metadata.id, now);
                let mut fields = vec![self.cookie.set(Role::Seen, &value, max_age)];
                let affinity = self.affinity(session.carried, &arrived.metadata.id);
                fields.extend(affinity.map(|tag| self.cookie.set_affinity(tag, max_age)));
                // Where the budget is spent, a later response notes it.
                let len: usize = fields.iter().map(|field| FIELD + field.len()).sum();
                if spent + len > self.budget.total() {
                    return Outgoing::Unchanged;
                }
                let ops = match arrived.home {
                    Home::Cookies(_) => Vec::new(),
                    Home::Record(RecordAt { id, version }) => {
                        let expires = self.limits.record_expires(now, expires);
                        vec![StoreOp::Touch(id, version, time(expires))]
                    }
                };
                Outgoing::new(ops, fields, Settled::Seen(now))
            }
            _ => Outgoing::Unchanged,
        }
    }
}

fn reference<S>(at: RecordAt) -> Body<S> {
    Body::Reference { record: at.id, version: at.version }
}

/// How long a record goes on after its session has left it, in seconds: longer than a request takes.
const GRACE: u64 = 60;
