//! What browsers are left with, counted, where it depends on the order of the responses and on their loss.

use crate::history::{End, History, Origin, Request};
use crate::visit::{Answer, Deed};

/// Counts of ends: of each run there are as many as there are numbers of last responses that may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) runs: usize,
    pub(crate) ends: usize,
    /// The browser's cookie opens the session without a write that the browser was told of.
    pub(crate) overwritten: usize,
    /// The browser's cookie opens another session: a request that did not find its own any more has begun it.
    pub(crate) displaced: usize,
    /// The browser was told of a rotation, and a slower response has put the old reference back, which opens nothing.
    pub(crate) outrun: usize,
    /// The browser's cookie opens nothing for another reason, though nobody has logged out: the response of the rotation
    /// was lost.
    pub(crate) gone: usize,
    /// The browser was told of a logout, and its cookie opens the session.
    pub(crate) undone: usize,
    /// The browser's cookie opens the session, and when the grace is over nothing.
    pub(crate) vanished: usize,
}

impl Tally {
    pub(crate) fn count(&mut self, history: &History) {
        self.runs += 1;
        for end in &history.ends {
            self.count_end(history, end);
        }
    }

    fn count_end(&mut self, history: &History, end: &End) {
        self.ends += 1;
        let start = &history.cookie(Origin::Start).sealed.ledger;
        let is_logout = |request: &Request| request.deed == Deed::Destroy;
        let may_be_over = history
            .requests
            .iter()
            .any(|request| is_logout(request) && request.visit.answer != Answer::Conflict);
        let cookie = end.cookie.map(|origin| history.cookie(origin));
        let Some(cookie) = cookie.filter(|cookie| cookie.opens.placement.is_some()) else {
            let outrun = end.told(history).any(|request| request.deed.rotates());
            self.outrun += usize::from(!may_be_over && outrun);
            self.gone += usize::from(!may_be_over && !outrun);
            return;
        };
        let ledger = &cookie.opens.ledger;
        if ledger.is_related_to(start) {
            let lost = end.told(history).any(|request| !ledger.entries.contains(&request.entry));
            let mut received = end.received.iter().map(|number| &history.requests[*number]);
            // Not the logout from another session, which the browser had in between.
            let of_it =
                |request| history.came_with(request).is_some_and(|sealed| sealed.ledger.is_related_to(start));
            let ended = received.any(|request| is_logout(request) && of_it(request));
            self.overwritten += usize::from(lost && !may_be_over);
            self.undone += usize::from(ended);
        } else {
            self.displaced += usize::from(!may_be_over);
        }
        self.vanished += usize::from(cookie.opens_later.placement.is_none());
    }
}
