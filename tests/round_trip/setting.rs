//! How a scenario's server is set up, and which cookies are its own.

use hardtack::{Budget, Format, Key, KeyRing, Lifetime, SessionCookie};
use time::Duration;

use crate::browser::{Cookie, Url};
use crate::shop::Shop;

/// Where every request goes.
pub(crate) const SHOP: Url = Url::https("www.shop.example", "/app/cart");

/// How long a session lives at the most.
pub(crate) const ABSOLUTE: Duration = Duration::days(7);

/// How the server is set up, for all of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) identity: Identity,
    pub(crate) budget: Budget,
    pub(crate) keys: usize,
    pub(crate) idle: Option<i64>,
    pub(crate) store: bool,
    pub(crate) compress: bool,
    pub(crate) persistent: bool,
    pub(crate) format: Format,
    pub(crate) max_value: usize,
}

/// Under which name the cookie goes, and to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Identity {
    Host,
    Secure,
    OnAPath,
    OnADomain,
}

impl Setting {
    pub(crate) fn server(&self, keys: &[Key], first: usize, store: bool) -> SessionCookie<Shop> {
        let lifetime = Lifetime::absolute(ABSOLUTE);
        let lifetime = self.idle.map_or(lifetime, |idle| lifetime.idle(Duration::seconds(idle)));
        let mut builder = SessionCookie::builder(self.name(), ring(keys, first))
            .app("shop")
            .budget(self.budget)
            .lifetime(lifetime)
            .format(self.format)
            .max_value(self.max_value);
        match self.identity {
            Identity::Host | Identity::Secure => {}
            Identity::OnAPath => builder = builder.path("/app"),
            Identity::OnADomain => builder = builder.domain("shop.example"),
        }
        if store {
            builder = builder.allow_store();
        }
        if !self.compress {
            builder = builder.without_compression();
        }
        if !self.persistent {
            builder = builder.until_browser_closes();
        }
        builder.build().expect("the settings work")
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.identity {
            Identity::Host => "__Host-session",
            Identity::Secure => "__Secure-session",
            Identity::OnAPath | Identity::OnADomain => "sid",
        }
    }

    /// The attributes under which our cookies are kept.
    pub(crate) fn attributes(&self) -> &'static str {
        match self.identity {
            Identity::Host | Identity::Secure => "; Secure; Path=/",
            Identity::OnAPath => "; Secure; Path=/app",
            Identity::OnADomain => "; Secure; Path=/; Domain=shop.example",
        }
    }

    /// Whether a cookie is kept under our name, path and domain, so that we can replace it.
    pub(crate) fn is_own(&self, cookie: &Cookie) -> bool {
        let (path, domain) = match self.identity {
            Identity::Host | Identity::Secure => ("/", None),
            Identity::OnAPath => ("/app", None),
            Identity::OnADomain => ("/", Some("shop.example")),
        };
        let (domain, host_only) = domain.map_or(("www.shop.example", true), |domain| (domain, false));
        let here =
            (cookie.path.as_str(), cookie.domain.as_str(), cookie.host_only) == (path, domain, host_only);
        here && self.role(cookie).is_some()
    }

    /// The number of a cookie of ours; `NAME.seen` counts as 0.
    pub(crate) fn role(&self, cookie: &Cookie) -> Option<usize> {
        match cookie.name.strip_prefix(self.name())? {
            "" | ".seen" => Some(0),
            suffix => suffix.strip_prefix('.')?.parse().ok(),
        }
    }
}

/// The ring of these keys, the one with this number in front.
pub(crate) fn ring(keys: &[Key], first: usize) -> KeyRing {
    let mut keys = keys.to_vec();
    keys.rotate_left(first);
    KeyRing::new(keys).expect("the keys differ")
}
