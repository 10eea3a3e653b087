//! What may happen: in the browser between two requests, and in a handler.

use hardtack::Session;
use time::{Duration, OffsetDateTime};

use crate::shop::{Shop, noise};

/// One request and its response.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// Seconds since the one before.
    pub(crate) wait: i64,
    pub(crate) before: Vec<Event>,
    /// Which key the server seals with.
    pub(crate) key: usize,
    /// The octets that other sessions of the response have taken.
    pub(crate) spent: usize,
    /// The order of the cookies, and over how many header fields they go.
    pub(crate) order: u64,
    pub(crate) fields: usize,
    pub(crate) deed: Deed,
}

/// What happens in the browser between two requests.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Another application sets cookies of its own.
    Junk(u8),
    /// A cookie of ours with nonsense in it, as if a budget of the past had set it, or under another path or domain.
    Stray { role: usize, value: String, elsewhere: bool },
    /// The session's cookies as they are now are kept under another path too, and grow old there.
    Copy,
}

/// What a handler does.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Look,
    BorrowMutably,
    Put(Shop),
    Resize(usize),
    Rotate,
    RotateAndPut(Shop),
    Destroy,
    DestroyAndPut(Shop),
    Subject(&'static str),
    ClearSubject,
    ExpireIn(i64),
}

impl Deed {
    pub(crate) fn apply(&self, session: &mut Session<Shop>, now: OffsetDateTime) {
        match self {
            Self::Look => {}
            Self::BorrowMutably => session.note.push_str(""),
            Self::Put(shop) => **session = shop.clone(),
            Self::Resize(octets) => session.note = noise(*octets),
            Self::Rotate => session.rotate(),
            Self::RotateAndPut(shop) => {
                session.rotate();
                **session = shop.clone();
            }
            Self::Destroy => session.destroy(),
            Self::DestroyAndPut(shop) => {
                session.destroy();
                **session = shop.clone();
            }
            Self::Subject(user) => session.set_subject(*user),
            Self::ClearSubject => session.clear_subject(),
            Self::ExpireIn(seconds) => session.expire_at(now + Duration::seconds(*seconds)),
        }
    }

    pub(crate) fn rotates(&self) -> bool {
        matches!(self, Self::Rotate | Self::RotateAndPut(_))
    }

    pub(crate) fn destroys(&self) -> bool {
        matches!(self, Self::Destroy | Self::DestroyAndPut(_))
    }
}
