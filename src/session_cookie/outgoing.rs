//! The answers of opening and sealing.

use std::fmt;

use time::OffsetDateTime;

use crate::cookie::{Carried, FIELD};
use crate::session::{Arrived, Home, Metadata, Session, Settled};
use crate::store::{Expect, Record, RecordId};

/// What a request's cookies turned out to be.
#[derive(Debug)]
#[must_use]
pub enum Opened<T> {
    /// Nothing valid came. [`Session::refusal`] tells why, if something came at all.
    Fresh(Session<T>),
    /// The session.
    Ready(Session<T>),
    /// The session is in the store: load the record that the lookup names, and call
    /// [`SessionCookie::open_record`](crate::SessionCookie::open_record) with both.
    Stored(Lookup),
}

impl<T> Opened<T> {
    /// The session where there is no store: fresh or ready.
    ///
    /// # Panics
    ///
    /// If the session is stored, which it is only where the builder said
    /// [`allow_store`](crate::Builder::allow_store).
    #[track_caller]
    pub fn into_session(self) -> Session<T> {
        match self {
            Self::Fresh(session) | Self::Ready(session) => session,
            Self::Stored(_) => panic!("a stored session must be loaded from its store"),
        }
    }
}

/// Which record of the store holds a session's state.
#[derive(Debug)]
pub struct Lookup {
    pub(super) record: RecordId,
    pub(super) version: u64,
    pub(super) metadata: Metadata,
    pub(super) last_seen: u64,
    pub(super) carried: Carried,
}

impl Lookup {
    /// Asks for a stored session's record once more. `None` if it is not stored.
    pub(crate) fn again<T>(session: &Session<T>) -> Option<Self> {
        let Arrived { metadata, last_seen, home: Home::Record(at), .. } = session.as_arrived()? else {
            return None;
        };
        Some(Self {
            record: at.id,
            version: at.version,
            metadata: metadata.clone(),
            last_seen: *last_seen,
            carried: session.carried,
        })
    }

    /// The record's name.
    pub fn record_id(&self) -> &RecordId {
        &self.record
    }

    /// The version that the cookie knows to have been saved; an older record is not accepted.
    pub fn at_least(&self) -> u64 {
        self.version
    }
}

/// What a response must do for a session.
#[derive(Debug)]
#[must_use]
pub enum Outgoing {
    /// Nothing: the session is as it came.
    Unchanged,
    /// Set these cookies.
    Cookies(SetCookies),
    /// Do this in the store, in this order, and then set these cookies. If the store fails, set none.
    Stored(Vec<StoreOp>, SetCookies),
}

impl Outgoing {
    pub(super) fn new(ops: Vec<StoreOp>, cookies: Vec<String>, settled: Settled) -> Self {
        match (ops.is_empty(), cookies.is_empty()) {
            (true, true) => Self::Unchanged,
            (true, false) => Self::Cookies(SetCookies { fields: cookies, settled }),
            (false, _) => Self::Stored(ops, SetCookies { fields: cookies, settled }),
        }
    }

    pub(super) fn sealed(ops: Vec<StoreOp>, cookies: Vec<String>, arrived: Arrived) -> Self {
        Self::new(ops, cookies, Settled::Sealed(Box::new(arrived)))
    }
}

/// A step in the store that a response depends on.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreOp {
    /// [`Store::save`](crate::Store::save).
    Save(Record, Expect),
    /// [`Store::touch`](crate::Store::touch).
    Touch(RecordId, u64, OffsetDateTime),
    /// Ends the session whose record had this version: [`Store::delete`](crate::Store::delete) at that version. On a
    /// conflict another request has saved a newer one, which ends as well, or has rotated the session: load the record,
    /// and end it at its own version, or what [`successor`](crate::SessionCookie::successor) says.
    End(RecordId, u64),
}

/// The values of a response's `Set-Cookie` fields, one a cookie.
pub struct SetCookies {
    fields: Vec<String>,
    settled: Settled,
}

impl fmt::Debug for SetCookies {
    /// Shows how many there are: a cookie is as good as the session.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetCookies({} fields, {} octets)", self.fields.len(), self.header_len())
    }
}

impl SetCookies {
    /// The values.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(String::as_str)
    }

    /// The octets that they take in the response's header, field names and line ends included.
    pub fn header_len(&self) -> usize {
        self.fields.iter().map(|field| FIELD + field.len()).sum()
    }

    /// The `Cookie` header of a browser that had no cookies before: for tests.
    pub fn cookie_header(&self) -> String {
        let pairs = self.iter().filter(|field| !field.ends_with("; Max-Age=0"));
        pairs.filter_map(|field| field.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    /// What becomes of the session once the cookies are on their way; to be taken once.
    pub(crate) fn take_settled(&mut self) -> Settled {
        std::mem::replace(&mut self.settled, Settled::Ended)
    }
}
