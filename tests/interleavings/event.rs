//! What happens in a run, one after the other.

use std::fmt;

use crate::explorer::Step;
use crate::stepping::{Access, Call};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) request: usize,
    pub(crate) kind: EventKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The browser sends the request, with the cookies that it has now.
    Send,
    /// One of its calls takes effect in the store.
    Call(Access),
    /// Its response reaches the browser.
    Receive,
}

impl Step for Event {
    /// A browser's sending and receiving depend on each other, and calls of one record, unless both only read it. A request
    /// does not see what is in the store before it asks.
    fn depends_on(&self, other: &Self) -> bool {
        use EventKind::{Call, Receive, Send};
        self.request == other.request
            || match (self.kind, other.kind) {
                (Call(one), Call(other)) => one.conflicts_with(other),
                (Send | Receive, Receive) | (Receive, Send) => true,
                (Send, Send) | (Call(_), _) | (_, Call(_)) => false,
            }
    }
}

impl Access {
    fn conflicts_with(self, other: Self) -> bool {
        self.name == other.name && (self.call != Call::Load || other.call != Call::Load)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request + 1;
        match self.kind {
            EventKind::Send => write!(f, "{request} is sent"),
            EventKind::Call(Access { call, name }) => match name.maker {
                None => write!(f, "{request} {call:?} of the first record"),
                Some(maker) => write!(f, "{request} {call:?} of record {}/{}", maker + 1, name.nth),
            },
            EventKind::Receive => write!(f, "{request} is received"),
        }
    }
}

/// These events, for people.
pub(crate) fn told(events: &[Event]) -> String {
    events.iter().map(Event::to_string).collect::<Vec<_>>().join("; ")
}
