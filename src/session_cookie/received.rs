//! What a request's cookies hold: the candidates for the session's token, of which the latest that opens counts.

use std::ops::Range;

use crate::chunk::{self, Piece};
use crate::cookie::{Carried, Role};
use crate::error::Reason;
use crate::payload::{self, Body, State};
use crate::seen::Seen;
use crate::session::{Metadata, SessionId};
use crate::token::{self, Plain, Tokens};

/// Everything that a request carried under a session's names.
pub(super) struct Received<'h> {
    pub(super) carried: Carried,
    /// The token, or why there is none: `None` if nothing came.
    pub(super) found: Result<Found, Option<Reason>>,
    pub(super) seen: SeenCookies<'h>,
}

/// An authentic token.
pub(super) struct Found {
    pub(super) plain: Plain,
    pub(super) metadata: Metadata,
    pub(super) body: Body<Range<usize>>,
    /// How many cookies it came in.
    pub(super) cookies: u8,
}

impl<'h> Received<'h> {
    /// Sorts the cookies and opens the candidates.
    pub(super) fn read(
        cookies: impl Iterator<Item = (Role, &'h [u8])>,
        tokens: &Tokens,
        may_open: impl Fn(usize) -> bool,
    ) -> Self {
        let mut carried = Carried::default();
        let mut seen = Vec::new();
        let mut pieces = Vec::new();
        let mut trial = Trial { tokens, may_open, left: MAX_TRIED, found: Err(None) };
        cookies.for_each(|(role, value)| {
            carried.insert(role);
            match role {
                Role::Seen => seen.push(value),
                Role::Affinity => carried.insert_affinity(value),
                Role::State(number) => match Piece::parse(number, value) {
                    Some(piece) => pieces.push(piece),
                    None if number == 0 => trial.consider(value, 1),
                    None => trial.fail(Reason::Malformed),
                },
            }
        });
        if !pieces.is_empty() {
            trial.fail(Reason::Malformed);
            for (text, count) in chunk::join(&pieces) {
                trial.consider(&text, count);
            }
        }
        Self { carried, found: trial.found, seen: SeenCookies(seen) }
    }
}

/// The seen cookies of a request, read only where they matter.
pub(super) struct SeenCookies<'h>(Vec<&'h [u8]>);

impl SeenCookies<'_> {
    /// The latest time that any of them proves for this session.
    pub(super) fn last(&self, seen: &Seen, id: &SessionId, may_open: impl Fn(usize) -> bool) -> Option<u64> {
        self.0.iter().take(MAX_TRIED).filter_map(|text| seen.open(id, text, &may_open)).max()
    }
}

/// Opens candidates, a bounded number of them, and keeps the latest sealed.
struct Trial<'t, F> {
    tokens: &'t Tokens,
    may_open: F,
    left: usize,
    found: Result<Found, Option<Reason>>,
}

impl<F: Fn(usize) -> bool> Trial<'_, F> {
    fn consider(&mut self, text: &[u8], cookies: u8) {
        let candidate = self.tokens.peek(text).and_then(|()| token::from_text(text));
        let opened = match candidate {
            // What is not a token under a key of ours does not count against the bound.
            Err(reason) => Err(reason),
            Ok(_) if self.left == 0 => return,
            Ok(token) => {
                self.left -= 1;
                self.open(token, cookies)
            }
        };
        match opened {
            Err(reason) => self.fail(reason),
            Ok(new) => {
                let age = |found: &Found| (found.metadata.sealed, found.metadata.sequence);
                if self.found.as_ref().ok().is_none_or(|found| age(found) < age(&new)) {
                    self.found = Ok(new);
                }
            }
        }
    }

    fn open(&self, token: Vec<u8>, cookies: u8) -> Result<Found, Reason> {
        let plain = self.tokens.open(&[], token, &self.may_open)?;
        let (metadata, body) = payload::read(plain.payload()).ok_or(Reason::Payload)?;
        if matches!(body, Body::State(State { record: true, .. })) {
            return Err(Reason::Payload);
        }
        Ok(Found { plain, metadata, body, cookies })
    }

    /// Keeps the reason of the candidate that came furthest.
    fn fail(&mut self, reason: Reason) {
        if let Err(kept) = &mut self.found {
            *kept = (*kept).max(Some(reason));
        }
    }
}

/// How many candidates of a request are tried: more than any browser sends, and few enough to cost nothing.
const MAX_TRIED: usize = 16;
