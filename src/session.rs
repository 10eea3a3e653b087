//! A session in the hands of a request: its value, what is known about it, and what is to become of it.

use std::fmt;
use std::ops::{Deref, DerefMut};

use time::OffsetDateTime;

use crate::budget::Placement;
use crate::codec::Encoded;
use crate::cookie::{Carried, Role};
use crate::error::OpenError;
use crate::key::KeyId;
use crate::lifetime;
use crate::store::RecordId;

/// A typed session.
///
/// It dereferences to its value. Changing the value is all it takes to save it: what was not changed, or was changed
/// back, is not written. Everything else is metadata that the server seals along with the value.
///
/// ```
/// use hardtack::{Key, KeyRing, OsRandom, SessionCookie};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Cart { items: Vec<String> }
///
/// let ring = KeyRing::new([Key::generate(&mut OsRandom)?])?;
/// let cookie = SessionCookie::<Cart>::builder("__Host-session", ring).build()?;
/// let mut session = cookie.open(["theme=dark"]).into_session();
/// assert!(session.is_fresh() && session.id().is_none());
/// session.items.push("tea".into());
/// session.rotate();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Session<T> {
    pub(crate) value: T,
    /// Whether the value was borrowed mutably since it was opened.
    pub(crate) touched: bool,
    pub(crate) origin: Origin,
    pub(crate) change: Change,
    /// Whether a save has failed, and may have been carried out.
    pub(crate) in_doubt: bool,
    pub(crate) carried: Carried,
    refusal: Option<OpenError>,
    fresh: Fresh<T>,
}

/// Makes the value of a session that nobody has used yet. A plain function: sharing a closure would have every request
/// of every core count the same references.
pub(crate) type Fresh<T> = fn() -> T;

/// What the session was when the request began.
pub(crate) enum Origin {
    /// Nothing that opened. `moved` is the record of a session that another request has rotated away from under this
    /// one: it cannot be read from here, but its end can be asked for.
    Fresh {
        moved: Option<RecordAt>,
    },
    Arrived(Arrived),
    /// Something that the handler has ended; its record is to be removed.
    Ended(Option<RecordAt>),
}

/// A record, and the version at which it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordAt {
    pub(crate) id: RecordId,
    pub(crate) version: u64,
}

/// What came out of the client's cookies, or out of the store.
pub(crate) struct Arrived {
    pub(crate) metadata: Metadata,
    pub(crate) last_seen: u64,
    pub(crate) key: KeyId,
    /// What the value was encoded as; `None` where it was upgraded from an older schema.
    pub(crate) encoded: Option<Encoded>,
    pub(crate) home: Home,
    /// Whether the state has moved into cookies, and the record stays only for a little while. The browser that still
    /// holds the reference has not got them.
    pub(crate) moving: bool,
}

/// Where the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Cookies(u8),
    Record(RecordAt),
}

/// What a response does with the session.
pub(crate) enum Settled {
    /// It carries this state now.
    Sealed(Box<Arrived>),
    /// It was noted as used at this time.
    Seen(u64),
    /// It is over.
    Ended,
}

/// What the handler asked for, beside a new value. It happens when the session is sealed.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) rotate: bool,
    pub(crate) subject: SubjectChange,
    pub(crate) expires: Option<u64>,
}

/// Whose session it is to be.
#[derive(Default, PartialEq, Eq)]
pub(crate) enum SubjectChange {
    #[default]
    Keep,
    Clear,
    /// This user's, by the id that the application knows.
    Set(Vec<u8>),
}

impl Change {
    pub(crate) fn is_none(&self) -> bool {
        !self.rotate && self.subject == SubjectChange::Keep && self.expires.is_none()
    }
}

/// What is sealed beside the value. Times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) id: SessionId,
    pub(crate) created: u64,
    pub(crate) authenticated: Option<u64>,
    pub(crate) sealed: u64,
    pub(crate) expires: u64,
    pub(crate) sequence: u64,
    pub(crate) schema: u32,
    pub(crate) subject: Option<Subject>,
}

impl<T> Session<T> {
    /// A session that starts with this request.
    pub(crate) fn fresh(
        fresh: Fresh<T>,
        carried: Carried,
        refusal: Option<OpenError>,
        moved: Option<RecordAt>,
    ) -> Self {
        let origin = Origin::Fresh { moved };
        let change = Change::default();
        Self { value: fresh(), touched: false, origin, change, in_doubt: false, carried, refusal, fresh }
    }

    pub(crate) fn opened(value: T, fresh: Fresh<T>, carried: Carried, arrived: Arrived) -> Self {
        let origin = Origin::Arrived(arrived);
        let change = Change::default();
        Self { value, touched: false, origin, change, in_doubt: false, carried, refusal: None, fresh }
    }

    /// Says that the record is about to go, because the state went into cookies.
    pub(crate) fn set_moving(&mut self, moving: bool) {
        if let Origin::Arrived(arrived) = &mut self.origin {
            arrived.moving = moving;
        }
    }

    /// Takes note of what was sent, so that what follows is measured against that.
    pub(crate) fn settle(&mut self, settled: Settled) {
        match (settled, &mut self.origin) {
            (Settled::Seen(time), Origin::Arrived(arrived)) => arrived.last_seen = time,
            (Settled::Seen(_), _) => {}
            (Settled::Sealed(arrived), origin) => {
                // From now on the browser has these, even if the request did not carry them.
                let count = if let Home::Cookies(count) = arrived.home { count } else { 1 };
                (0..count).for_each(|index| self.carried.insert(Role::State(index)));
                *origin = Origin::Arrived(*arrived);
            }
            (Settled::Ended, origin) => *origin = Origin::Fresh { moved: None },
        }
        self.touched = false;
        self.in_doubt = false;
        self.change = Change::default();
    }

    pub(crate) fn fresh_value(&self) -> T {
        (self.fresh)()
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.as_arrived().map(|arrived| &arrived.metadata)
    }

    pub(crate) fn as_arrived(&self) -> Option<&Arrived> {
        match &self.origin {
            Origin::Arrived(arrived) => Some(arrived),
            Origin::Fresh { .. } | Origin::Ended(_) => None,
        }
    }

    /// Whether another request has rotated the session away from under this one, which would begin another session in
    /// its place: whoever comes second, conflicts. A login begins one in any case.
    pub(crate) fn is_superseded(&self) -> bool {
        matches!(self.origin, Origin::Fresh { moved: Some(_) }) && !self.change.rotate
    }

    /// Whether it is sealed next under the id that it came with.
    pub(crate) fn keeps_id(&self) -> bool {
        self.as_arrived().is_some() && !self.change.rotate
    }

    /// Whether something is to be saved, as far as is known without encoding the value.
    pub(crate) fn is_pending(&self) -> bool {
        self.touched || !self.change.is_none() || matches!(self.origin, Origin::Ended(_))
    }

    /// Gives the session a new id and stamps the time of authentication: on login and on every change of privilege.
    ///
    /// The old id ends: a stored session's old record is removed once the new one is safe, and a cookie that was
    /// planted in the browser beforehand is worth nothing (session fixation, CWE-384). An *inline* session's old
    /// cookie, if somebody copied it, lives until it expires.
    pub fn rotate(&mut self) {
        self.change.rotate = true;
    }

    /// Ends the session. What is left is a fresh one, with a fresh value; change that and it will be saved as a new
    /// session under a new id.
    ///
    /// A stored session's record is removed, also where another request has changed or rotated it meanwhile. An *inline* session ends in this browser: a copy of its cookie, if
    /// somebody made one, lives until it expires.
    pub fn destroy(&mut self) {
        let record = match self.origin {
            Origin::Arrived(Arrived { home: Home::Record(record), .. }) => Some(record),
            Origin::Arrived(_) => None,
            Origin::Fresh { moved: record } | Origin::Ended(record) => record,
        };
        self.origin = Origin::Ended(record);
        self.value = (self.fresh)();
        self.touched = false;
        self.change = Change::default();
    }

    /// Says whose session it is, by whatever the application calls a user by. Only a keyed hash of it is sealed, so that
    /// no personal data is in the session.
    pub fn set_subject(&mut self, user: impl AsRef<[u8]>) {
        self.change.subject = SubjectChange::Set(user.as_ref().to_vec());
    }

    /// Says that it is nobody's any more.
    pub fn clear_subject(&mut self) {
        self.change.subject = SubjectChange::Clear;
    }

    /// Ends the session at `time`, or at the absolute limit if that is earlier.
    pub fn expire_at(&mut self, time: OffsetDateTime) {
        self.change.expires = Some(lifetime::seconds(time));
    }

    /// Whether the session starts with this request: nothing valid came, or what came was ended.
    pub fn is_fresh(&self) -> bool {
        self.metadata().is_none()
    }

    /// Why what the client sent did not open, if it sent something.
    pub fn refusal(&self) -> Option<OpenError> {
        self.refusal
    }

    /// Where the state came from. `None` for a fresh session.
    pub fn placement(&self) -> Option<Placement> {
        self.as_arrived().map(|arrived| match arrived.home {
            Home::Cookies(cookies) => Placement::Cookies(cookies),
            Home::Record(_) => Placement::Stored,
        })
    }

    /// The id under which the session came; `None` for a fresh one, which gets its id when it is sealed.
    pub fn id(&self) -> Option<SessionId> {
        self.metadata().map(|metadata| metadata.id)
    }

    /// When the session was first sealed.
    pub fn created_at(&self) -> Option<OffsetDateTime> {
        self.metadata().map(|metadata| lifetime::time(metadata.created))
    }

    /// When it was last [rotated](Self::rotate).
    pub fn authenticated_at(&self) -> Option<OffsetDateTime> {
        self.metadata()?.authenticated.map(lifetime::time)
    }

    /// When its state was last written.
    pub fn sealed_at(&self) -> Option<OffsetDateTime> {
        self.metadata().map(|metadata| lifetime::time(metadata.sealed))
    }

    /// When it was last used before this request, as far as that was noted (see [`Lifetime::renew_after`]).
    ///
    /// [`Lifetime::renew_after`]: crate::Lifetime::renew_after
    pub fn last_seen_at(&self) -> Option<OffsetDateTime> {
        self.as_arrived().map(|arrived| lifetime::time(arrived.last_seen))
    }

    /// When it ends at the latest.
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        self.metadata().map(|metadata| lifetime::time(metadata.expires))
    }

    /// How often it was sealed.
    pub fn sequence(&self) -> Option<u64> {
        self.metadata().map(|metadata| metadata.sequence)
    }

    /// The schema number that it was sealed with.
    pub fn schema(&self) -> Option<u32> {
        self.metadata().map(|metadata| metadata.schema)
    }

    /// Whose session it was when it came.
    pub fn subject(&self) -> Option<Subject> {
        self.metadata()?.subject
    }

    /// The key that sealed it.
    pub fn key_id(&self) -> Option<KeyId> {
        self.as_arrived().map(|arrived| arrived.key)
    }
}

impl<T> Deref for Session<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Session<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.touched = true;
        &mut self.value
    }
}

impl<T> fmt::Debug for Session<T> {
    /// Shows neither the value nor the id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("placement", &self.placement())
            .field("sequence", &self.sequence())
            .field("created_at", &self.created_at())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

impl SessionId {
    pub(crate) const LEN: usize = 16;
}

macro_rules! opaque_16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes. They do not belong in a log.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

opaque_16! {
    /// A session's id: 16 random bytes, minted only by the server.
    SessionId
}

opaque_16! {
    /// Whose session it is: a keyed hash of the user's id, 16 bytes. Equal for equal ids under one key.
    Subject
}
