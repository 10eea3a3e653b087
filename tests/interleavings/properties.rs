//! What must hold in every run.

use hardtack::Placement;

use crate::event::{Event, EventKind};
use crate::history::{Cookie, End, History, Origin, Request};
use crate::visit::{Answer, Deed, Ledger, Opened, Visit};

/// The most calls that a request makes of the store.
pub(crate) const MAX_CALLS: usize = 12;

/// A sentence, and whether a run bears it out.
type Property = (&'static str, fn(&History) -> bool);

pub(crate) const PROPERTIES: &[Property] = &[
    (
        "whatever opens is a state that a request of this session has sealed, never a mix",
        only_what_was_sealed,
    ),
    ("a request opens what its cookie's response left, or a later state of the same record", never_back),
    ("of two writes to one version of a record one wins and the other conflicts", one_winner),
    (
        "every reference to a record opens what was last acknowledged, until someone ends or rotates it",
        none_lost,
    ),
    (
        "where all find and leave it in the store, what a browser was told is in what its cookie opens",
        told_is_kept,
    ),
    ("an inline cookie opens exactly the state that its response left", inline_as_left),
    (
        "a logout ends the record that its cookie refers to, whatever is written or rotated beside it",
        logout_stays,
    ),
    ("after a rotation the old reference opens nothing", rotation_ends),
    ("an update conflicts only with a logout or a rotation", updates_succeed),
    ("no request needs more than a dozen calls of the store", few_calls),
    ("each move into the store and each rotation mints a new record id", ids_are_new),
    (
        "after the grace only references to records that moved into cookies open nothing",
        grace_is_for_the_moved,
    ),
];

fn only_what_was_sealed(history: &History) -> bool {
    let written = history.requests.iter().filter(|request| request.deed.writes());
    let left = written.filter_map(|request| Some(&request.visit.left.as_ref()?.ledger));
    let fresh = Ledger::default();
    let sealed: Vec<_> = left.chain([&history.cookie(Origin::Start).sealed.ledger, &fresh]).collect();
    let by_requests = history.requests.iter().filter_map(|request| request.visit.opened.as_ref());
    let by_cookies = history.cookies.iter().flat_map(|cookie| [&cookie.opens, &cookie.opens_later]);
    by_requests.chain(by_cookies).all(|opened| sealed.contains(&&opened.ledger))
}

fn never_back(history: &History) -> bool {
    history.sessions().all(|(cookie, opened)| match opened.placement {
        None => history.is_ended(&cookie.sealed.ledger),
        Some(_) => opened.follows(&cookie.sealed),
    })
}

fn one_winner(history: &History) -> bool {
    let winners: Vec<_> = history
        .successes()
        .filter(|(request, opened, _)| request.deed.writes() && opened.is_stored())
        .map(|(_, opened, _)| &opened.ledger)
        .collect();
    winners.iter().enumerate().all(|(index, one)| !winners[index + 1..].contains(one))
}

fn none_lost(history: &History) -> bool {
    let opens = |cookie: &Cookie, at_least: &Ledger| match cookie.opens.placement {
        None => history.is_ended(at_least),
        Some(_) => cookie.opens.follows(&cookie.sealed) && cookie.opens.ledger.is_later_than(at_least),
    };
    let mut references = history.cookies.iter().filter(|cookie| cookie.sealed.is_stored());
    let mut sent_with = history.successes().filter(|(request, opened, _)| {
        request.deed.writes() && !request.deed.rotates() && opened.is_stored()
    });
    references.all(|cookie| opens(cookie, &cookie.sealed.ledger))
        && sent_with.all(|(request, _, left)| {
            let cookie = request.sent_with.expect("something was opened");
            opens(history.cookie(cookie), &left.ledger)
        })
}

fn told_is_kept(history: &History) -> bool {
    let in_store = |request: &Request| {
        let Visit { opened, left, answer, .. } = &request.visit;
        let left = left.as_ref().filter(|_| *answer == Answer::Success);
        request.deed != Deed::Destroy && [opened.as_ref(), left].into_iter().flatten().all(Opened::is_stored)
    };
    let kept = |end: &End| {
        let cookie = history.cookie(end.cookie.expect("nobody has ended the session"));
        match cookie.opens.placement {
            // A rotation whose response was lost, or one that a slower response has outrun.
            None => history.is_ended(&cookie.sealed.ledger),
            Some(_) => end.told(history).all(|request| cookie.opens.ledger.entries.contains(&request.entry)),
        }
    };
    !history.requests.iter().all(in_store) || history.ends.iter().all(kept)
}

fn inline_as_left(history: &History) -> bool {
    let mut inline = history.cookies.iter().filter(|cookie| cookie.sealed.is_inline());
    inline.all(|cookie| cookie.opens == cookie.sealed && cookie.opens_later == cookie.sealed)
}

fn logout_stays(history: &History) -> bool {
    let logouts = history
        .requests
        .iter()
        .filter(|request| request.deed == Deed::Destroy && request.visit.answer == Answer::Success);
    let mut ended = logouts.filter_map(|request| history.came_with(request));
    ended.all(|ended| {
        let survives = |cookie: &&Cookie| {
            ended.is_stored() && cookie.opens.is_stored() && cookie.opens.ledger.is_related_to(&ended.ledger)
        };
        // What another request moved into the store from an inline cookie is a record of which this one knew nothing.
        let elsewhere = |cookie: &Cookie| {
            history.successes().any(|(request, opened, left)| {
                opened.is_inline()
                    && left.is_stored()
                    && cookie.opens.ledger.entries.contains(&request.entry)
                    && !ended.ledger.entries.contains(&request.entry)
            })
        };
        history.cookies.iter().filter(survives).all(elsewhere)
    })
}

fn rotation_ends(history: &History) -> bool {
    let mut rotations =
        history.successes().filter(|(request, opened, _)| request.deed.rotates() && opened.is_stored());
    rotations.all(|(request, ..)| {
        let cookie = request.sent_with.expect("something was opened");
        history.cookie(cookie).opens.placement.is_none()
    })
}

fn updates_succeed(history: &History) -> bool {
    let conflicts =
        |request: &&Request| request.deed == Deed::Update && request.visit.answer == Answer::Conflict;
    let ends = |request: &Request| request.deed == Deed::Destroy || request.deed.rotates();
    !history.requests.iter().any(|request| conflicts(&request)) || history.requests.iter().any(ends)
}

fn few_calls(history: &History) -> bool {
    let calls = |request| {
        let by = |event: &&Event| event.request == request && matches!(event.kind, EventKind::Call(_));
        history.events.iter().filter(by).count()
    };
    (0..history.requests.len()).all(|request| calls(request) <= MAX_CALLS)
}

fn ids_are_new(history: &History) -> bool {
    !history.has_repeated_an_id
}

fn grace_is_for_the_moved(history: &History) -> bool {
    let mut found = history.cookies.iter().filter(|cookie| cookie.opens.is_stored());
    found.all(|cookie| {
        let last = cookie.opens.ledger.entries.last();
        // By the request that changed it, or by one that only read it and sent the cookies once more.
        let moved = history.successes().any(|(_, opened, left)| {
            left.ledger.entries.last() == last && opened.is_stored() && left.is_inline()
        });
        let failed = |request: &Request| {
            Some(&request.entry) == last && request.visit.answer == Answer::Failure && history.faults > 1
        };
        let goes = cookie.opens_later.placement.is_none();
        if moved {
            goes
        } else {
            cookie.opens_later == cookie.opens || goes && history.requests.iter().any(failed)
        }
    })
}

impl Opened {
    /// Whether it is what was sealed with the cookie, or, in a record, a later state of it.
    fn follows(&self, sealed: &Self) -> bool {
        match sealed.placement {
            Some(Placement::Cookies(_)) => self == sealed,
            _ => {
                self.is_stored()
                    && self.id == sealed.id
                    && self.sequence >= sealed.sequence
                    && self.ledger.is_later_than(&sealed.ledger)
            }
        }
    }
}
