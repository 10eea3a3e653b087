//! One request: what its handler does, and what it and its browser learn.

use hardtack::{CommitError, Placement, Session, SessionId, SessionManager};
use http::HeaderMap;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

/// A session's value that tells its own history: each request that writes adds an entry with its number, so that no two
/// states are the same and a later state begins with an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<u8>,
    /// What makes it too large for cookies.
    ballast: String,
}

/// More than the budget of these tests.
const BALLAST: usize = 200;

impl Ledger {
    pub(crate) fn is_later_than(&self, earlier: &Self) -> bool {
        self.entries.starts_with(&earlier.entries)
    }

    /// Whether both are states of sessions that began with the same entry.
    pub(crate) fn is_related_to(&self, other: &Self) -> bool {
        !self.entries.is_empty() && self.entries.first() == other.entries.first()
    }

    pub(crate) fn grow(&mut self) {
        self.ballast = "x".repeat(BALLAST);
    }
}

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Read,
    Add,
    /// Adds, and again to the newer state if another request was faster.
    Update,
    /// Adds and rotates: a login.
    Rotate,
    /// A logout.
    Destroy,
    /// Adds so much that the state goes into the store.
    Grow,
    /// Adds, and leaves so little that the state goes back into cookies.
    Shrink,
    /// Both: a login that drops what the guest had.
    ShrinkAndRotate,
}

impl Deed {
    fn apply(self, session: &mut Session<Ledger>, entry: u8) {
        match self {
            Self::Read | Self::Add | Self::Update => {}
            Self::Rotate => session.rotate(),
            Self::Destroy => session.destroy(),
            Self::Grow => session.grow(),
            Self::Shrink => session.ballast.clear(),
            Self::ShrinkAndRotate => {
                session.ballast.clear();
                session.rotate();
            }
        }
        if self.writes() {
            session.entries.push(entry);
        }
    }

    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::Destroy)
    }

    pub(crate) fn rotates(self) -> bool {
        matches!(self, Self::Rotate | Self::ShrinkAndRotate)
    }
}

/// A session as it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) ledger: Ledger,
    /// `None` for a fresh session.
    pub(crate) placement: Option<Placement>,
    pub(crate) sequence: Option<u64>,
    pub(crate) id: Option<SessionId>,
}

impl From<&Session<Ledger>> for Opened {
    fn from(session: &Session<Ledger>) -> Self {
        Self {
            ledger: Ledger::clone(session),
            placement: session.placement(),
            sequence: session.sequence(),
            id: session.id(),
        }
    }
}

impl Opened {
    pub(crate) fn is_stored(&self) -> bool {
        self.placement == Some(Placement::Stored)
    }

    pub(crate) fn is_inline(&self) -> bool {
        matches!(self.placement, Some(Placement::Cookies(_)))
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Success,
    /// 409: another request was faster.
    Conflict,
    /// 503: the store failed, and whether it did what it was asked is not known.
    Failure,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// What the handler found, unless the store failed before.
    pub(crate) opened: Option<Opened>,
    /// What its last attempt to write was made upon: what it opened, unless another request was faster.
    pub(crate) base: Option<Opened>,
    /// What it left, whether or not that could be saved, and, if it could be, where it is.
    pub(crate) left: Option<Opened>,
    pub(crate) answer: Answer,
    /// The response's `Set-Cookie` fields.
    pub(crate) fields: Vec<String>,
}

/// Serves a request that writes under this number.
pub(crate) async fn serve(
    sessions: &SessionManager<Ledger>,
    request: HeaderMap,
    deed: Deed,
    entry: u8,
) -> Visit {
    let mut visit =
        Visit { opened: None, base: None, left: None, answer: Answer::Failure, fields: Vec::new() };
    let Ok(mut session) = sessions.load(&request).await else { return visit };
    visit.opened = Some(Opened::from(&session));
    let mut response = HeaderMap::new();
    let mut act = |session: &mut Session<Ledger>| {
        visit.base = Some(Opened::from(&*session));
        deed.apply(session, entry);
    };
    let committed = if deed == Deed::Update {
        sessions.update(&mut session, &mut response, act).await
    } else {
        act(&mut session);
        sessions.commit(&mut session, &mut response).await
    };
    visit.left = Some(Opened::from(&session));
    visit.answer = answer(&committed);
    let fields = response.get_all(SET_COOKIE).iter();
    visit.fields = fields.map(|field| field.to_str().expect("visible ASCII").to_owned()).collect();
    visit
}

fn answer(committed: &Result<(), CommitError>) -> Answer {
    match committed {
        Ok(()) => Answer::Success,
        Err(error) if error.is_conflict() => Answer::Conflict,
        Err(CommitError::Store(_)) => Answer::Failure,
        Err(error) => panic!("{error}"),
    }
}
