//! All that there is to know of a run when it is over.

use std::fmt::Write;

use crate::event::Event;
use crate::visit::{Answer, Deed, Ledger, Opened, Visit};

/// A run.
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    pub(crate) requests: Vec<Request>,
    /// What the browser's cookie was when the last request was sent, and after each response that came later. Any of them
    /// is the end if the responses that follow are lost.
    pub(crate) ends: Vec<End>,
    /// What each cookie opens once all requests are answered, and when a record's grace is over too.
    pub(crate) cookies: Vec<Cookie>,
    /// How often the store failed.
    pub(crate) faults: usize,
    pub(crate) has_repeated_an_id: bool,
}

pub(crate) struct Request {
    pub(crate) deed: Deed,
    pub(crate) entry: u8,
    /// The cookie that it was sent with, if there was one.
    pub(crate) sent_with: Option<Origin>,
    pub(crate) visit: Visit,
}

#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) cookie: Option<Origin>,
    /// The requests whose responses have come.
    pub(crate) received: Vec<usize>,
}

/// A cookie that the server has set.
pub(crate) struct Cookie {
    pub(crate) origin: Origin,
    /// The state that was sealed with it.
    pub(crate) sealed: Opened,
    pub(crate) opens: Opened,
    pub(crate) opens_later: Opened,
}

/// Which cookie it is: the one before the first request, or the one of the response to that request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Start,
    Response(usize),
}

impl History {
    pub(crate) fn cookie(&self, origin: Origin) -> &Cookie {
        self.cookies.iter().find(|cookie| cookie.origin == origin).expect("every cookie was tried")
    }

    /// The cookies that requests came with, each with what it opened.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&Cookie, &Opened)> {
        let sessions = self.requests.iter();
        sessions.filter_map(|request| Some((self.cookie(request.sent_with?), request.visit.opened.as_ref()?)))
    }

    /// The requests that were answered with success, each with what it changed and what it left.
    pub(crate) fn successes(&self) -> impl Iterator<Item = (&Request, &Opened, &Opened)> {
        let successes = self.requests.iter().filter(|request| request.visit.answer == Answer::Success);
        successes
            .filter_map(|request| Some((request, request.visit.base.as_ref()?, request.visit.left.as_ref()?)))
    }

    /// The state that was sealed with the cookie that a request came with.
    pub(crate) fn came_with(&self, request: &Request) -> Option<&Opened> {
        request.sent_with.map(|origin| &self.cookie(origin).sealed)
    }

    /// Whether somebody ended or rotated the stored session that had come to this state. A logout that the store failed
    /// may have ended it. A rotation that failed may not, unless the store failed twice.
    pub(crate) fn is_ended(&self, ledger: &Ledger) -> bool {
        let ended = |request: &Request| {
            request.deed == Deed::Destroy
                && request.visit.answer != Answer::Conflict
                && self
                    .came_with(request)
                    .is_some_and(|sealed| sealed.is_stored() && sealed.ledger.is_related_to(ledger))
        };
        let rotated = |request: &Request| {
            let left = request.visit.left.as_ref().map(|left| &left.ledger);
            let answer = request.visit.answer;
            request.deed.rotates()
                && (answer == Answer::Success || answer == Answer::Failure && self.faults > 1)
                && left.is_some_and(|left| left != ledger && left.is_later_than(ledger))
        };
        self.requests.iter().any(|request| ended(request) || rotated(request))
    }

    /// What each request found and left, what each cookie opens, and what the browser may end with. For people, and the
    /// same for runs that differ in nothing else.
    pub(crate) fn outcome(&self) -> String {
        let mut outcome = String::new();
        let shown = |opened: &Opened| format!("{:?} {:?}", opened.ledger.entries, opened.placement);
        for (number, Request { deed, sent_with, visit, .. }) in self.requests.iter().enumerate() {
            let [opened, left] = [&visit.opened, &visit.left].map(|opened| opened.as_ref().map(shown));
            let number = number + 1;
            let _ = writeln!(
                outcome,
                "  {number} {deed:?}: with {sent_with:?}, found {opened:?}, left {left:?}, {:?}",
                visit.answer
            );
        }
        for Cookie { origin, opens, opens_later, .. } in &self.cookies {
            let _ = writeln!(outcome, "  {origin:?} opens {}, later {}", shown(opens), shown(opens_later));
        }
        let ends: Vec<_> = self.ends.iter().map(|end| (end.cookie, &end.received)).collect();
        let _ = writeln!(outcome, "  the browser ends with {ends:?}");
        outcome
    }
}

impl End {
    /// The requests that write and whose success the browser has heard of.
    pub(crate) fn told<'h>(&self, history: &'h History) -> impl Iterator<Item = &'h Request> {
        let received = self.received.iter().map(|number| &history.requests[*number]);
        received.filter(|request| request.deed.writes())
    }
}
