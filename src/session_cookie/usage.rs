//! What a session takes of a response's header, known before it is sealed.

use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SessionCookie;
use crate::affinity;
use crate::budget::{Placement, Sizes, Stored};
use crate::chunk;
use crate::cookie::{AFFINITY_LEN, Carried, Role};
use crate::error::{Parts, SealError, TooLarge};
use crate::lifetime::seconds;
use crate::payload::{self, Body, State};
use crate::random::{NoRandom, Random};
use crate::seen;
use crate::session::{Home, Metadata, Session, SessionId};
use crate::store::RecordId;
use crate::token;

/// What a session takes, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Where the state is, or would go.
    pub placement: Placement,
    /// The encoded value, before compression.
    pub value: usize,
    /// What is encrypted: metadata and value, the latter as it is carried.
    pub payload: usize,
    /// The `Set-Cookie` fields.
    pub header: usize,
    /// What the fields may take.
    pub budget: usize,
    /// What `header` is made of.
    pub parts: Parts,
}

impl<T: Serialize + DeserializeOwned> SessionCookie<T> {
    /// What the session would take if it were written now.
    ///
    /// # Errors
    ///
    /// Those of [`seal`](Self::seal).
    pub fn usage(&self, session: &Session<T>) -> Result<Usage, SealError> {
        let now = seconds(SystemTime::now());
        let key = self.keys.ring.sealing_index(now).ok_or(SealError::NoSealingKey)?;
        let encoded = self.codec.encode(&session.value)?;
        let metadata = self.next(session, key, now, &mut Zeros)?;
        let deflated = self.deflate(&encoded);
        let state = self.state(&encoded, deflated.as_ref());
        let fields = Fields::new(self, session, &metadata, &state, now, 0);
        let placement = fields.place(encoded.len())?;
        let parts = fields.parts(placement);
        Ok(Usage {
            placement,
            value: encoded.len(),
            payload: fields.state,
            header: parts.total(),
            budget: self.budget.total(),
            parts,
        })
    }
}

/// The lengths of a session's fields.
pub(super) struct Fields<'a, T> {
    cookie: &'a SessionCookie<T>,
    session: &'a Session<T>,
    max_age: u64,
    /// What other sessions have taken of the budget.
    spent: usize,
    /// The tag for load balancers, where the browser does not have it yet.
    pub(super) affinity: Option<[u8; AFFINITY_LEN]>,
    /// The payload with the state in it.
    state: usize,
    /// The two segments of it.
    segments: usize,
    /// The payload with a reference in it.
    reference: usize,
}

impl<'a, T: Serialize + DeserializeOwned> Fields<'a, T> {
    pub(super) fn new(
        cookie: &'a SessionCookie<T>,
        session: &'a Session<T>,
        metadata: &Metadata,
        state: &State<&[u8]>,
        now: u64,
        spent: usize,
    ) -> Self {
        let record = RecordId::from_bytes([0; 16]);
        Self {
            cookie,
            session,
            max_age: cookie.expires(metadata).saturating_sub(now),
            spent,
            affinity: cookie.affinity(session.carried, &metadata.id),
            state: payload::len(metadata, &Body::State(*state)),
            segments: state.public.len() + state.secret.len(),
            reference: payload::len(metadata, &Body::Reference { record, version: metadata.sequence }),
        }
    }

    /// Where the state goes, if its encoded value is one that opening would accept.
    pub(super) fn place(&self, value: usize) -> Result<Placement, TooLarge> {
        let limit = self.cookie.max_value;
        if value > limit {
            return Err(TooLarge {
                needed: value,
                budget: limit,
                parts: Parts { value, ..Parts::default() },
            });
        }
        self.cookie.budget.place(self, self.spent)
    }

    /// The cookies of this placement: how many, and the characters of the token in them.
    fn token(&self, placement: Placement) -> (u8, usize) {
        match placement {
            Placement::Cookies(count) => (count, token::text_len(token::OVERHEAD + self.state)),
            Placement::Stored => (1, token::text_len(token::OVERHEAD + self.reference)),
        }
    }

    /// The characters of each cookie's value.
    fn values(&self, placement: Placement) -> impl Iterator<Item = (Role, usize)> {
        let (count, text) = self.token(placement);
        (0..count).map(move |index| {
            let value = if count == 1 { text } else { chunk::value_len(text, index, count) };
            (Role::State(index), value)
        })
    }

    /// The octets of what the response must set and expire.
    fn header(&self, placement: Placement) -> usize {
        let spec = &self.cookie.cookie;
        let set = self.values(placement).map(|(role, value)| spec.set_len(role, value, self.max_age));
        let seen = match (self.session.carried.seen(), self.cookie.limits.idle) {
            (false, _) => 0,
            (true, Some(_)) => spec.set_len(Role::Seen, seen::TEXT_LEN, self.max_age),
            (true, None) => spec.expire_len(Role::Seen),
        };
        let affinity = self.affinity.map_or(0, |tag| spec.set_len(Role::Affinity, tag.len(), self.max_age));
        set.sum::<usize>() + seen + affinity + self.cookie.expired_len(self.stale(placement, 0))
    }

    /// The cookies that the response expires.
    pub(super) fn expired(&self, placement: Placement) -> impl Iterator<Item = Role> {
        let taken = self.spent + self.header(placement);
        self.stale(placement, self.cookie.budget.total().saturating_sub(taken))
    }

    fn stale(&self, placement: Placement, room: usize) -> impl Iterator<Item = Role> {
        self.cookie.stale(self.session.carried, self.token(placement).0, room)
    }
}

impl<T> SessionCookie<T> {
    /// The tag for load balancers that a response sets: where there is to be one, and the request carried another.
    pub(super) fn affinity(&self, carried: Carried, id: &SessionId) -> Option<[u8; AFFINITY_LEN]> {
        let tag = self.cookie.has_affinity().then(|| affinity::tag(id));
        tag.filter(|_| tag != carried.affinity())
    }

    /// The carried cookies from number `first` on that a response expires: all that this budget can have set, and of
    /// others (planted, or of a larger budget of the past) as many as there is room for. The rest is harmless, and goes
    /// another time.
    pub(super) fn stale(&self, carried: Carried, first: u8, room: usize) -> impl Iterator<Item = Role> {
        let mut left = room;
        carried.states_from(first).filter(move |&role| {
            let len = self.cookie.expire_len(role);
            let must = matches!(role, Role::State(index) if index < self.budget.cookies().max(1));
            let may = must || len <= left;
            if !must && may {
                left -= len;
            }
            may
        })
    }

    pub(super) fn expired_len(&self, roles: impl Iterator<Item = Role>) -> usize {
        roles.map(|role| self.cookie.expire_len(role)).sum()
    }
}

impl<T: Serialize + DeserializeOwned> Sizes for Fields<'_, T> {
    fn header(&self, cookies: u8) -> usize {
        self.header(Placement::Cookies(cookies))
    }

    fn excess(&self, cookies: u8) -> usize {
        let spec = &self.cookie.cookie;
        self.values(Placement::Cookies(cookies)).map(|(role, value)| spec.excess(role, value)).sum()
    }

    fn store(&self) -> Option<Stored> {
        let already =
            self.session.as_arrived().is_some_and(|arrived| matches!(arrived.home, Home::Record(_)));
        self.cookie.spill.then(|| Stored { reference: self.header(Placement::Stored), already })
    }

    fn parts(&self, placement: Placement) -> Parts {
        let (payload, value) = match placement {
            Placement::Cookies(_) => (self.state, self.segments),
            Placement::Stored => (self.reference, 0),
        };
        let must = self.cookie.expired_len(self.stale(placement, 0));
        let header = self.header(placement) - must + self.cookie.expired_len(self.expired(placement));
        let values: usize = self.values(placement).map(|(_, value)| value).sum();
        Parts {
            value,
            metadata: payload - value,
            encryption: token::OVERHEAD,
            encoding: values - token::OVERHEAD - payload,
            cookies: header - values,
        }
    }
}

/// Ids of which only the length matters.
struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        bytes.fill(0);
        Ok(())
    }
}
