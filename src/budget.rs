//! How much of a response's header sessions may take, and where a state goes. Pure arithmetic.

use crate::cookie::MAX_PARTS;
use crate::error::{BuildError, Parts, TooLarge};

/// What the sessions of one response may add to its header, in octets: all their `Set-Cookie` fields as sent, with
/// names, attributes and line ends.
///
/// The default is what every reverse proxy lets pass in its default configuration. Larger ones are for those who know
/// what stands in front of their servers. The profiles' figures are the documented limit, less 2 KiB for the other
/// headers.
///
/// ```
/// use hardtack::Budget;
///
/// assert_eq!(Budget::default().total(), 3_000);
/// assert_eq!(Budget::chunked(2).total(), 6_144);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    cookies: u8,
    total: usize,
}

impl Budget {
    /// HAProxy: 16,384 octets of request or response head, less 1,024 that it keeps for rewriting.
    pub const HAPROXY: Self = Self::behind(15 * 1024);
    /// Node.js in front: 16 KiB for all headers.
    pub const NODE: Self = Self::behind(16 * 1024);
    /// hyper's HTTP/2 default: a header list of 16 KiB.
    pub const HYPER_HTTP2: Self = Self::behind(16 * 1024);
    /// AWS Application Load Balancer: 16 K a header line, and a request's cookies are one line.
    pub const ALB: Self = Self::behind(16 * 1024);
    /// Amazon CloudFront: 20,480 octets for a request's line and headers.
    pub const CLOUDFRONT: Self = Self::behind(20_480);
    /// Envoy: 60 KiB of headers.
    pub const ENVOY: Self = Self::behind(60 * 1024);

    /// At most `cookies` cookies for the state and `total` octets of header.
    pub const fn new(cookies: u8, total: usize) -> Self {
        Self { cookies, total }
    }

    /// Up to `cookies` cookies, as far as 8 KiB request lines leave 2 KiB to others: at most 6,144 octets.
    ///
    /// Behind nginx this needs a larger `proxy_buffer_size`, whose default is one page for the whole response header.
    pub const fn chunked(cookies: u8) -> Self {
        let total = cookies as usize * 4_050;
        Self { cookies, total: if total < 6_144 { total } else { 6_144 } }
    }

    /// No state in cookies: everything goes to the store, where it can be ended at once, and the cookie is a reference.
    pub const fn stored() -> Self {
        Self::new(0, 3_000)
    }

    /// How many cookies the state may take.
    pub const fn cookies(&self) -> u8 {
        self.cookies
    }

    /// How many octets of header all fields may take.
    pub const fn total(&self) -> usize {
        self.total
    }

    const fn behind(limit: usize) -> Self {
        let total = limit - 2048;
        #[expect(clippy::cast_possible_truncation, reason = "60 KiB are 14 cookies")]
        Self { cookies: (total / 4_050) as u8, total }
    }

    /// Checks that the budget carries at least what every session needs.
    pub(crate) fn checked(self, least: usize, store: bool) -> Result<Self, BuildError> {
        if self.cookies > MAX_PARTS {
            return Err(BuildError::new("budget.cookies", format!("{} are more than 63", self.cookies)));
        }
        if self.cookies == 0 && !store {
            let why = "without a store, a state needs at least one cookie";
            return Err(BuildError::new("budget.cookies", why));
        }
        if self.total < least {
            let why =
                format!("{} octets do not carry even an empty session, which takes {least}", self.total);
            return Err(BuildError::new("budget.total", why));
        }
        Ok(self)
    }

    /// Where a state of these sizes goes, when other sessions of the response have taken `spent`.
    pub(crate) fn place(&self, sizes: &impl Sizes, spent: usize) -> Result<Placement, TooLarge> {
        let available = self.total.saturating_sub(spent);
        let inline = match sizes.store() {
            Some(Stored { already: true, .. }) => available.min(self.total / 4 * 3),
            _ => available,
        };
        let fits = |&cookies: &u8| sizes.excess(cookies) == 0 && sizes.header(cookies) <= inline;
        if let Some(cookies) = (1..=self.cookies).find(fits) {
            return Ok(Placement::Cookies(cookies));
        }
        match sizes.store() {
            Some(Stored { reference, .. }) if reference <= available => Ok(Placement::Stored),
            store => {
                let placement = store.map_or(Placement::Cookies(self.cookies), |_| Placement::Stored);
                let parts = sizes.parts(placement);
                let needed = parts.total();
                // Where it is the browsers' limit that is in the way, so much less would fit.
                let kept = needed - if store.is_none() { sizes.excess(self.cookies) } else { 0 };
                Err(TooLarge { needed, budget: available.min(kept), parts })
            }
        }
    }
}

impl Default for Budget {
    /// One cookie in 3,000 octets: nginx answers 502 when an upstream's whole response header passes one page of 4 KiB.
    fn default() -> Self {
        Self::new(1, 3_000)
    }
}

/// Where a state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In so many cookies.
    Cookies(u8),
    /// In a store, with a reference in one cookie.
    Stored,
}

/// The sizes of one sealed state, in octets of header.
pub(crate) trait Sizes {
    /// All fields of the response when the state is in so many cookies.
    fn header(&self, cookies: u8) -> usize;
    /// By how much so many cookies are longer than a browser keeps.
    fn excess(&self, cookies: u8) -> usize;
    /// What a store would take off the header; `None` without a store.
    fn store(&self) -> Option<Stored>;
    /// What the fields are made of.
    fn parts(&self, placement: Placement) -> Parts;
}

/// The store's side of a placement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// All fields of the response when the state is stored.
    pub(crate) reference: usize,
    /// Whether the state is in the store now. It then comes back only at three quarters of the budget or less, so that
    /// a state at the edge does not move with each request.
    pub(crate) already: bool,
}
