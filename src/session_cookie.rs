//! From a typed session to cookies and back, without I/O, clock or randomness of its own.
//!
//! The way there: `value -> codec -> compress -> budget.place -> token.seal -> chunk.split -> Set-Cookie`.
//! The way back is its mirror: `Cookie headers -> chunk.join -> token.open -> lifetime -> decompress -> decode`.

mod builder;
mod outgoing;
mod received;
mod schema;
mod usage;
mod writing;

use std::fmt;
use std::ops::Range;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aead::{Kind, Mac, NONCE_LEN, Root};
use crate::budget::Budget;
use crate::codec::{Codec, Encoded};
use crate::compress;
use crate::cookie::{Carried, CookieSpec};
use crate::error::{Reason, SealError};
use crate::format::Format;
use crate::lifetime::{Limits, seconds, time};
use crate::payload::{self, Body, Compression, State};
use crate::random::{self, Ahead, OsRandom, Random};
use crate::ring::KeyRing;
use crate::seen::Seen;
use crate::session::{Arrived, Fresh, Home, Metadata, RecordAt, Session, SessionId, Subject, SubjectChange};
use crate::store::{Record, RecordId};
use crate::token::{Plain, Tokens};
use crate::wiped::Wiped;

pub use builder::Builder;
pub use outgoing::{Lookup, Opened, Outgoing, SetCookies, StoreOp};
use received::{Found, Received};
use schema::Schema;
use usage::Fields;
pub use usage::Usage;
use writing::Writing;

/// Seals sessions of type `T` into cookies and opens them again. Build it once, share it, call it per request.
///
/// ```
/// use hardtack::{Key, KeyRing, Opened, OsRandom, Outgoing, SessionCookie};
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Shop { cart: Vec<String> }
///
/// let ring = KeyRing::new([Key::generate(&mut OsRandom)?])?;
/// let cookie = SessionCookie::<Shop>::builder("__Host-session", ring).app("shop").build()?;
///
/// let mut session = cookie.open(["theme=dark"]).into_session();    // the request's Cookie headers
/// session.cart.push("tea".into());
/// let Outgoing::Cookies(cookies) = cookie.seal(&session)? else { panic!("it was changed") };
///
/// let header = cookies.cookie_header();                            // what the browser sends next time
/// let Opened::Ready(session) = cookie.open([header.as_str()]) else { panic!("it is valid") };
/// assert_eq!(session.cart, ["tea"]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct SessionCookie<T> {
    cookie: CookieSpec,
    keys: Keys,
    codec: Codec,
    compress: bool,
    max_value: usize,
    budget: Budget,
    limits: Limits,
    schema: Schema<T>,
    fresh: Fresh<T>,
    spill: bool,
}

impl<T: Serialize + DeserializeOwned> SessionCookie<T> {
    /// Turns a session into what the response must carry, at this moment.
    ///
    /// # Errors
    ///
    /// See [`SealError`]. Nothing was sent or stored then.
    pub fn seal(&self, session: &Session<T>) -> Result<Outgoing, SealError> {
        self.seal_at(session, SystemTime::now(), &mut OsRandom, 0)
    }

    /// [`seal`](Self::seal) at a given time, with given randomness, when other sessions of the same response have
    /// taken `spent` octets of the budget.
    ///
    /// # Errors
    ///
    /// See [`SealError`]. Nothing was sent or stored then.
    pub fn seal_at(
        &self,
        session: &Session<T>,
        now: impl Into<SystemTime>,
        random: &mut impl Random,
        spent: usize,
    ) -> Result<Outgoing, SealError> {
        let now = seconds(now);
        let key = self.keys.ring.sealing_index(now);
        // 1. The value as bytes, if it is to be written at all.
        let Some(encoded) = self.changed(session, key)? else {
            return Ok(self.unchanged(session, key, now, spent));
        };
        let key = key.ok_or(SealError::NoSealingKey)?;
        let mut random = Ahead::of(random);
        random.draw(if session.keeps_id() { NONCE_LEN } else { NONCE_LEN + SessionId::LEN })?;
        let metadata = self.next(session, key, now, &mut random)?;
        // 2. Compressed, where that pays.
        let deflated = self.deflate(&encoded);
        let state = self.state(&encoded, deflated.as_ref());
        // 3. Its place in the budget.
        let fields = Fields::new(self, session, &metadata, &state, now, spent);
        let placement = fields.place(encoded.len())?;
        // 4. Sealed for that place, 5. cut into chunks, 6. set as cookies.
        let expires = self.expires(&metadata);
        let writing = Writing {
            cookie: self,
            session,
            key,
            metadata: &metadata,
            state,
            now,
            expires,
            affinity: fields.affinity,
        };
        let (home, ops, cookies) = writing.write(placement, fields.expired(placement), &mut random)?;
        let key = self.keys.cookie.key_id(key);
        let arrived = Arrived { metadata, last_seen: now, key, encoded: Some(encoded), home, moving: false };
        Ok(Outgoing::sealed(ops, cookies, arrived))
    }

    /// The session of a request's `Cookie` headers, at this moment. Accepts any bytes at all.
    pub fn open<'h, H>(&self, headers: impl IntoIterator<Item = &'h H>) -> Opened<T>
    where
        H: AsRef<[u8]> + ?Sized + 'h,
    {
        self.open_at(headers, SystemTime::now())
    }

    /// [`open`](Self::open) at a given time.
    pub fn open_at<'h, H>(
        &self,
        headers: impl IntoIterator<Item = &'h H>,
        now: impl Into<SystemTime>,
    ) -> Opened<T>
    where
        H: AsRef<[u8]> + ?Sized + 'h,
    {
        let now = seconds(now);
        let may_open = |index| self.keys.ring.may_open(index, now);
        // 6. and 5. Cookies to tokens, of which 4. the latest that opens counts.
        let received = Received::read(self.cookie.read(headers), &self.keys.cookie, may_open);
        let carried = received.carried;
        let found = match received.found {
            Ok(found) => found,
            Err(reason) => return Opened::Fresh(self.start(carried, reason, None)),
        };
        let id = found.metadata.id;
        let seen = || received.seen.last(&self.keys.seen, &id, may_open);
        self.admit(found, seen, carried, now)
            .unwrap_or_else(|reason| Opened::Fresh(self.start(carried, Some(reason), None)))
    }

    /// The session of a record that [`open`](Self::open) asked for, at this moment.
    pub fn open_record(&self, lookup: Lookup, record: Option<Record>) -> Session<T> {
        self.open_record_at(lookup, record, SystemTime::now())
    }

    /// [`open_record`](Self::open_record) at a given time. A record that is missing or does not open gives a fresh
    /// session, whose [`refusal`](Session::refusal) says why.
    #[expect(clippy::needless_pass_by_value, reason = "a lookup is answered once")]
    pub fn open_record_at(
        &self,
        lookup: Lookup,
        record: Option<Record>,
        now: impl Into<SystemTime>,
    ) -> Session<T> {
        let carried = lookup.carried;
        self.admit_record(&lookup, record, seconds(now))
            .unwrap_or_else(|Refused { reason, moved }| self.start(carried, Some(reason), moved))
    }

    /// Where the session of this record went, and at which version it arrived there, if another request has rotated
    /// it. Nothing opens through it: it is for ending that session (see [`StoreOp::End`]).
    pub fn successor(&self, record: &Record) -> Option<(RecordId, u64)> {
        match self.read_record(&record.id, record.clone(), seconds(SystemTime::now())) {
            Ok((_, _, Body::Reference { record, version })) => Some((record, version)),
            _ => None,
        }
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        self.cookie.name()
    }

    /// An authentic token's session, 3. if it still lives: nothing is inflated before that is known.
    fn admit(
        &self,
        found: Found,
        seen: impl FnOnce() -> Option<u64>,
        carried: Carried,
        now: u64,
    ) -> Result<Opened<T>, Reason> {
        let Found { plain, metadata, body, cookies } = found;
        let last_seen = self.limits.check(now, metadata.sealed, self.expires(&metadata), seen)?;
        match body {
            Body::State(state) => {
                let home = Home::Cookies(cookies);
                Ok(Opened::Ready(self.unpack(plain, &state, metadata, last_seen, home, carried)?))
            }
            Body::Reference { record, version } if self.spill => {
                Ok(Opened::Stored(Lookup { record, version, metadata, last_seen, carried }))
            }
            // A reference, and no store was configured to look it up in.
            Body::Reference { .. } => Err(Reason::NoRecord),
        }
    }

    /// The same for a record, which in addition must be the one that the cookie meant.
    fn admit_record(&self, lookup: &Lookup, record: Option<Record>, now: u64) -> Result<Session<T>, Refused> {
        let record = record.ok_or(Reason::NoRecord)?;
        let Record { version, expires_at, .. } = record;
        let (plain, metadata, body) = self.read_record(&lookup.record, record, now)?;
        let state = match body {
            Body::State(state) => state,
            Body::Reference { record: id, version } => {
                return Err(Refused { reason: Reason::Moved, moved: Some(RecordAt { id, version }) });
            }
        };
        if metadata.id != lookup.metadata.id {
            return Err(Reason::OtherSession.into());
        }
        if version < lookup.version {
            return Err(Reason::RolledBack.into());
        }
        let used = metadata.sealed.max(lookup.last_seen);
        let last_seen = self.limits.check(now, used, self.expires(&metadata), || None)?;
        let home = Home::Record(RecordAt { id: lookup.record, version });
        let kept_until = time(self.limits.record_expires(metadata.sealed, self.expires(&metadata)));
        let mut session = self.unpack(plain, &state, metadata, last_seen, home, lookup.carried)?;
        session.set_moving(expires_at < kept_until);
        Ok(session)
    }

    /// What an authentic record of this id holds.
    fn read_record(
        &self,
        id: &RecordId,
        record: Record,
        now: u64,
    ) -> Result<(Plain, Metadata, Body<Range<usize>>), Reason> {
        let may_open = |index| self.keys.ring.may_open(index, now);
        let plain = self.keys.record.open(id.as_bytes(), record.sealed, may_open)?;
        let (metadata, body) = payload::read(plain.payload()).ok_or(Reason::Payload)?;
        let is_record = !matches!(body, Body::State(State { record: false, .. }));
        if is_record && metadata.sequence == record.version {
            Ok((plain, metadata, body))
        } else {
            Err(Reason::Payload)
        }
    }

    /// 2. Inflates and 1. decodes a state that is authentic and alive.
    fn unpack(
        &self,
        plain: Plain,
        state: &State<Range<usize>>,
        metadata: Metadata,
        last_seen: u64,
        home: Home,
        carried: Carried,
    ) -> Result<Session<T>, Reason> {
        let format = Format::from_code(state.codec).ok_or(Reason::Payload)?;
        let Plain { bytes, range, key } = plain;
        let within = |segment: &Range<usize>| range.start + segment.start..range.start + segment.end;
        let (public, secret) = (within(&state.public), within(&state.secret));
        let encoded = match state.compression {
            Compression::None => Encoded::within(bytes, public, secret),
            Compression::Zstd => {
                Encoded::joined(compress::inflate(&bytes[public], self.max_value)?, &bytes[secret])
            }
            Compression::Dictionary(_) => return Err(Reason::Payload),
        };
        if encoded.len() > self.max_value {
            return Err(Reason::TooLarge);
        }
        let value = self.schema.decode(metadata.schema, format, &encoded)?;
        let encoded = (metadata.schema == self.schema.number()).then_some(encoded);
        let arrived = Arrived { metadata, last_seen, key, encoded, home, moving: false };
        Ok(Session::opened(value, self.fresh, carried, arrived))
    }

    fn start(&self, carried: Carried, reason: Option<Reason>, moved: Option<RecordAt>) -> Session<T> {
        Session::fresh(self.fresh, carried, reason.map(Into::into), moved)
    }

    /// The encoded value, if the session is to be written.
    fn changed(&self, session: &Session<T>, key: Option<usize>) -> Result<Option<Encoded>, SealError> {
        let moving = session.as_arrived().is_some_and(|arrived| arrived.moving);
        if !session.touched && session.change.is_none() && !moving {
            return Ok(None);
        }
        let encoded = self.codec.encode(&session.value)?;
        let same = match session.as_arrived() {
            Some(Arrived { metadata, encoded: before, .. }) => {
                !session.change.rotate
                    && !moving
                    && before.as_ref() == Some(&encoded)
                    && self.subject(session, key) == metadata.subject
                    && self.next_expires(session, metadata.created) == metadata.expires
            }
            None => {
                !session.change.rotate
                    && !matches!(session.change.subject, SubjectChange::Set(_))
                    && encoded == self.codec.encode(&session.fresh_value())?
            }
        };
        Ok((!same).then_some(encoded))
    }

    /// The metadata that the session is sealed with next.
    fn next(
        &self,
        session: &Session<T>,
        key: usize,
        now: u64,
        random: &mut impl Random,
    ) -> Result<Metadata, SealError> {
        let before = session.as_arrived().map(|arrived| &arrived.metadata);
        let created = before.map_or(now, |before| before.created);
        let rotate = session.change.rotate;
        let id = match before {
            Some(before) if session.keeps_id() => before.id,
            _ => SessionId::from_bytes(random::array(random)?),
        };
        Ok(Metadata {
            id,
            created,
            authenticated: if rotate { Some(now) } else { before.and_then(|before| before.authenticated) },
            sealed: now,
            expires: self.next_expires(session, created),
            sequence: before.map_or(0, |before| before.sequence).saturating_add(1),
            schema: self.schema.number(),
            subject: self.subject(session, Some(key)),
        })
    }

    fn next_expires(&self, session: &Session<T>, created: u64) -> u64 {
        let before = session.as_arrived().map(|arrived| arrived.metadata.expires);
        let wanted = session.change.expires.or(before).unwrap_or(u64::MAX);
        self.limits.expires(created, wanted)
    }

    /// When a session of this metadata ends at the latest.
    fn expires(&self, metadata: &Metadata) -> u64 {
        self.limits.expires(metadata.created, metadata.expires)
    }

    fn subject(&self, session: &Session<T>, key: Option<usize>) -> Option<Subject> {
        match &session.change.subject {
            SubjectChange::Keep => session.subject(),
            SubjectChange::Clear => None,
            SubjectChange::Set(user) => {
                key.map(|key| Subject::from_bytes(self.keys.subjects[key].compute(user)))
            }
        }
    }

    fn deflate(&self, encoded: &Encoded) -> Option<Wiped> {
        let worth = self.compress && encoded.public().len() >= compress::WORTH_TRYING;
        if worth { compress::deflate(encoded.public()) } else { None }
    }

    /// The segments as they are to be carried.
    fn state<'a>(&self, encoded: &'a Encoded, deflated: Option<&'a Wiped>) -> State<&'a [u8]> {
        State {
            record: false,
            codec: self.codec.format() as u8,
            compression: if deflated.is_some() { Compression::Zstd } else { Compression::None },
            public: deflated.map_or(encoded.public(), |deflated| deflated.as_slice()),
            secret: encoded.secret(),
        }
    }
}

/// Why a record gives no session, and where the session went, if another request has rotated it.
struct Refused {
    reason: Reason,
    moved: Option<RecordAt>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, moved: None }
    }
}

/// A ring's keys, derived once for each of a session's purposes.
struct Keys {
    ring: KeyRing,
    cookie: Tokens,
    record: Tokens,
    seen: Seen,
    subjects: Vec<Mac>,
}

impl Keys {
    fn bind(ring: KeyRing, app: &str, name: &str) -> Self {
        Self {
            cookie: Tokens::bind(&ring, app, name, Kind::Cookie),
            record: Tokens::bind(&ring, app, name, Kind::Record),
            seen: Seen::bind(&ring, app, name),
            subjects: ring.keys().map(|(_, key)| Root::new(key).subjects(app)).collect(),
            ring,
        }
    }
}

impl<T> fmt::Debug for SessionCookie<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCookie")
            .field("name", &self.cookie.name())
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
