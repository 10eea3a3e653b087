//! The settings of a session cookie, checked once.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

use super::{Keys, Schema, SessionCookie};
use crate::aead::NONCE_LEN;
use crate::budget::Budget;
use crate::codec::Codec;
use crate::cookie::{AFFINITY_LEN, Attributes, CookieSpec, Role, SameSite};
use crate::error::BuildError;
use crate::format::Format;
use crate::lifetime::Lifetime;
use crate::ring::KeyRing;
use crate::session::Fresh;
use crate::token;

/// The settings of a [`SessionCookie`], made by [`SessionCookie::builder`], or of a
/// [`SessionManager`](crate::SessionManager), made by its `builder`.
///
/// Every setting is optional. What cannot work is an error of `build`, not of a request.
#[must_use]
pub struct Builder<T, Target = Pure> {
    name: String,
    ring: KeyRing,
    app: String,
    attributes: Attributes,
    lifetime: Lifetime,
    budget: Budget,
    format: Format,
    compress: bool,
    max_value: usize,
    schema: Schema<T>,
    fresh: Fresh<T>,
    spill: bool,
    pub(crate) target: Target,
}

/// The target of a [`Builder`] that builds a [`SessionCookie`].
#[derive(Debug, Default)]
pub struct Pure(PhantomData<()>);

impl<T: Serialize + DeserializeOwned + Default + 'static> SessionCookie<T> {
    /// Settings for sessions in the cookie `name`, sealed under `ring`.
    ///
    /// `__Host-session` is the name to take unless there is a reason: browsers then refuse the cookie from anywhere but
    /// this very host over HTTPS.
    pub fn builder(name: impl Into<String>, ring: KeyRing) -> Builder<T> {
        Builder::new(name, ring, T::default, Pure::default())
    }
}

impl<T: Serialize + DeserializeOwned + 'static> SessionCookie<T> {
    /// [`builder`](Self::builder) for a type without a default: `fresh` makes the value of a new session.
    pub fn builder_with(name: impl Into<String>, ring: KeyRing, fresh: fn() -> T) -> Builder<T> {
        Builder::new(name, ring, fresh, Pure::default())
    }
}

impl<T: Serialize + DeserializeOwned + 'static, Target> Builder<T, Target> {
    pub(crate) fn new(name: impl Into<String>, ring: KeyRing, fresh: fn() -> T, target: Target) -> Self {
        Self {
            name: name.into(),
            ring,
            app: String::new(),
            attributes: Attributes::default(),
            lifetime: Lifetime::default(),
            budget: Budget::default(),
            format: Format::default(),
            compress: true,
            max_value: 64 * 1024,
            schema: Schema::default(),
            fresh,
            spill: false,
            target,
        }
    }

    /// The application's name. Applications that share a key ring cannot open each other's sessions if their names
    /// differ.
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = app.into();
        self
    }

    /// The limits of a session's life; 30 days, and 2 hours unused, by default.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// What the sessions of a response may add to its header; one cookie in 3,000 octets by default.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// How the value is serialized; [`Format::Postcard`] by default.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Turns compression off. It is on by default, for values of 512 octets and more, without their
    /// [`Secret`](crate::Secret)s. Turn it off where a client can place text beside what is secret to it and that is
    /// not in a `Secret`.
    pub fn without_compression(mut self) -> Self {
        self.compress = false;
        self
    }

    /// How many octets the encoded value may have, before compression; 65,536 by default. Sealing refuses what is
    /// larger, and opening refuses to inflate it.
    pub fn max_value(mut self, octets: usize) -> Self {
        self.max_value = octets;
        self
    }

    /// What a fresh session's value is, in place of the type's default.
    pub fn fresh_with(mut self, fresh: fn() -> T) -> Self {
        self.fresh = fresh;
        self
    }

    /// The number of the value type's current schema; 0 by default. Raise it when the type changes, and say with
    /// [`upgrade_from`](Self::upgrade_from) how the old one becomes the new.
    pub fn schema(mut self, number: u32) -> Self {
        self.schema.set_number(number);
        self
    }

    /// How a value that was sealed with an older schema number becomes a current one. What has a number that is neither
    /// current nor upgraded opens as a fresh session.
    ///
    /// ```
    /// # use hardtack::{Key, KeyRing, OsRandom, SessionCookie};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Deserialize)]
    /// struct OldCart(Vec<String>);
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Cart { items: Vec<(String, u32)> }
    ///
    /// # let ring = KeyRing::new([Key::generate(&mut OsRandom)?])?;
    /// let cookie = SessionCookie::<Cart>::builder("__Host-cart", ring)
    ///     .schema(1)
    ///     .upgrade_from(0, |old: OldCart| Cart { items: old.0.into_iter().map(|name| (name, 1)).collect() })
    ///     .build()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn upgrade_from<Old: DeserializeOwned>(
        mut self,
        number: u32,
        convert: impl Fn(Old) -> T + Send + Sync + 'static,
    ) -> Self {
        self.schema.upgrade(number, convert);
        self
    }

    /// The cookie's `SameSite`; [`SameSite::Lax`] by default.
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.attributes.same_site = same_site;
        self
    }

    /// The cookie's `Path`; `/` by default. Not with a `__Host-` name.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.attributes.path = path.into();
        self
    }

    /// The cookie's `Domain`: its subdomains get the cookie too. None by default. Not with a `__Host-` name.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.attributes.domain = Some(domain.into());
        self
    }

    /// Leaves out `Secure`, for development over plain HTTP on something other than localhost. Not with a prefixed name.
    pub fn insecure(mut self) -> Self {
        self.attributes.secure = false;
        self
    }

    /// Leaves out `Max-Age`: the browser forgets the session when it closes, as far as browsers do.
    pub fn until_browser_closes(mut self) -> Self {
        self.attributes.persistent = false;
        self
    }

    /// Sets a second cookie of this name, which must be letters only, with a tag of the session: sixteen letters that
    /// stay the same until the session is rotated. Load balancers hash on it, so that the requests of a session meet the
    /// node that has a local copy of its record (see [`CachedStore`](crate::store::CachedStore)). None by default.
    ///
    /// It carries no secret and opens nothing. Where it is lost, or made up, another node serves the request; a later
    /// response that writes the session sets it again.
    pub fn affinity(mut self, name: impl Into<String>) -> Self {
        self.attributes.affinity = Some(name.into());
        self
    }

    /// Checks the settings and derives the keys.
    pub(crate) fn build_cookie(self) -> Result<(SessionCookie<T>, Target), BuildError> {
        let cookie = CookieSpec::new(&self.name, &self.attributes)?;
        let limits = self.lifetime.checked()?;
        self.schema.check()?;
        // A token of no state at all, or a reference, and every cookie of the session expired or renewed beside it.
        let least = token::text_len(token::OVERHEAD + 56 + NONCE_LEN);
        let least = cookie.set_len(Role::State(0), least, limits.absolute)
            + cookie.set_len(Role::Seen, crate::seen::TEXT_LEN, limits.absolute);
        let affinity = cookie.set_len(Role::Affinity, AFFINITY_LEN, limits.absolute);
        let least = if cookie.has_affinity() { least + affinity } else { least };
        let budget = self.budget.checked(least, self.spill)?;
        if self.max_value == 0 {
            return Err(BuildError::new("max_value", "0 octets hold no value"));
        }
        let keys = Keys::bind(self.ring, &self.app, cookie.name());
        let built = SessionCookie {
            cookie,
            keys,
            codec: Codec::new(self.format),
            compress: self.compress,
            max_value: self.max_value,
            budget,
            limits,
            schema: self.schema,
            fresh: self.fresh,
            spill: self.spill,
        };
        Ok((built, self.target))
    }

    pub(crate) fn spill(&mut self) {
        self.spill = true;
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Builder<T> {
    /// Says that the caller has a store: what the budget does not carry is answered as
    /// [`Outgoing::Stored`](crate::Outgoing::Stored), in place of an error.
    pub fn allow_store(mut self) -> Self {
        self.spill();
        self
    }

    /// Checks the settings and derives the keys.
    ///
    /// # Errors
    ///
    /// If a name, attribute, lifetime, budget or schema cannot work; the message says which, and why.
    pub fn build(self) -> Result<SessionCookie<T>, BuildError> {
        Ok(self.build_cookie()?.0)
    }
}
