//! Where cookies meet stores: loading a request's session, committing it to the response.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{BuildError, SealError};
use crate::events;
use crate::random::OsRandom;
use crate::ring::KeyRing;
use crate::session::Session;
use crate::session_cookie::{Builder, Lookup, Opened, Outgoing, SessionCookie, SetCookies, StoreOp};
use crate::store::{Expect, NoStore, Record, RecordId, Store, StoreError};

/// Sessions of type `T` in cookies and, where they outgrow them, in a store.
///
/// Frameworks' adapters call it; so can anything that has a request's headers and a response's.
///
/// ```
/// use hardtack::store::MemoryStore;
/// use hardtack::{Key, KeyRing, OsRandom, SessionManager};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Shop { cart: Vec<String> }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let ring = KeyRing::new([Key::generate(&mut OsRandom)?])?;
/// let sessions = SessionManager::<Shop>::builder("__Host-session", ring)
///     .app("shop")
///     .store(MemoryStore::default())
///     .build()?;
///
/// let request = http::HeaderMap::new();
/// let mut session = sessions.load(&request).await?;
/// session.cart.push("tea".into());
///
/// let mut response = http::HeaderMap::new();
/// sessions.commit(&mut session, &mut response).await?;
/// assert!(response.contains_key("set-cookie"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SessionManager<T> {
    cookie: SessionCookie<T>,
    store: Arc<dyn Store>,
}

impl<T: Serialize + DeserializeOwned + 'static> SessionManager<T> {
    /// Settings for sessions in the cookie `name`, sealed under `ring`. See [`SessionCookie::builder`].
    pub fn builder(name: impl Into<String>, ring: KeyRing) -> Builder<T, Managed>
    where
        T: Default,
    {
        Self::builder_with(name, ring, T::default)
    }

    /// [`builder`](Self::builder) for a type without a default: `fresh` makes the value of a new session.
    pub fn builder_with(name: impl Into<String>, ring: KeyRing, fresh: fn() -> T) -> Builder<T, Managed> {
        Builder::new(name, ring, fresh, Managed { store: Arc::new(NoStore) })
    }

    /// The cookie side alone.
    pub fn cookie(&self) -> &SessionCookie<T> {
        &self.cookie
    }

    /// The session of a request, from its `Cookie` fields and, if they refer to it, from the store. Whatever is not a
    /// valid session gives a fresh one.
    ///
    /// # Errors
    ///
    /// If the store failed: that is not the same as no session.
    pub async fn load(&self, request: &HeaderMap) -> Result<Session<T>, StoreError> {
        self.load_from(request.get_all(COOKIE)).await
    }

    /// [`load`](Self::load) from the values of the `Cookie` fields.
    ///
    /// # Errors
    ///
    /// If the store failed.
    pub async fn load_from<'h, H>(
        &self,
        cookies: impl IntoIterator<Item = &'h H>,
    ) -> Result<Session<T>, StoreError>
    where
        H: AsRef<[u8]> + ?Sized + 'h,
    {
        let session = match self.cookie.open(cookies) {
            Opened::Fresh(session) | Opened::Ready(session) => session,
            Opened::Stored(lookup) => {
                let record = self.store.load(lookup.record_id(), lookup.at_least()).await?;
                self.cookie.open_record(lookup, record)
            }
        };
        if let Some(refusal) = session.refusal() {
            events::refused(self.cookie.name(), refusal.reason());
        }
        Ok(session)
    }

    /// Saves what was changed: in the store first, where it belongs there, then as `Set-Cookie` fields of the response,
    /// which becomes private to this client and varies on `Cookie`.
    ///
    /// # Errors
    ///
    /// See [`CommitError`]. The headers are untouched then, and so are the client's cookies.
    pub async fn commit(
        &self,
        session: &mut Session<T>,
        response: &mut HeaderMap,
    ) -> Result<(), CommitError> {
        let cookies = self.save(session, 0).await?;
        write_headers(cookies.as_ref(), response);
        Ok(())
    }

    /// Changes the session and saves it at once. Where another request has changed the stored session first, `change`
    /// is applied once more, to the state which that one saved: so of a hundred requests that each count one up, all
    /// hundred count.
    ///
    /// An inline session has no one to ask: of two responses, the later one wins.
    ///
    /// ```
    /// # use hardtack::store::MemoryStore;
    /// # use hardtack::{Budget, Key, KeyRing, OsRandom, SessionManager};
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Shop { visits: u32 }
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let ring = KeyRing::new([Key::generate(&mut OsRandom)?])?;
    /// let sessions = SessionManager::<Shop>::builder("__Host-session", ring)
    ///     .budget(Budget::stored())
    ///     .store(MemoryStore::default())
    ///     .build()?;
    /// # let request = http::HeaderMap::new();
    /// # let mut response = http::HeaderMap::new();
    /// let mut session = sessions.load(&request).await?;
    /// sessions.update(&mut session, &mut response, |session| session.visits += 1).await?;
    /// assert_eq!(session.visits, 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`commit`](Self::commit). A conflict is left where the session was ended or rotated meanwhile, where it
    /// had changes of before that applying `change` again would lose, and after 256 attempts. When the store fails, the
    /// change may have been saved or not.
    pub async fn update(
        &self,
        session: &mut Session<T>,
        response: &mut HeaderMap,
        change: impl FnMut(&mut Session<T>),
    ) -> Result<(), CommitError> {
        let cookies = self.save_update(session, 0, change).await?;
        write_headers(cookies.as_ref(), response);
        Ok(())
    }

    /// [`update`](Self::update), when other sessions have taken `spent` octets of the budget.
    pub(crate) async fn save_update(
        &self,
        session: &mut Session<T>,
        spent: usize,
        mut change: impl FnMut(&mut Session<T>),
    ) -> Result<Option<SetCookies>, CommitError> {
        let mut attempts = if session.is_pending() { 1 } else { ATTEMPTS };
        loop {
            change(session);
            attempts -= 1;
            match self.save(session, spent).await {
                Err(error) if error.is_conflict() && attempts > 0 => {}
                done => return done,
            }
            *session = self.newest(session).await?;
        }
    }

    /// The stored session as other requests have left it.
    async fn newest(&self, session: &Session<T>) -> Result<Session<T>, StoreError> {
        let lookup = Lookup::again(session).ok_or_else(StoreError::conflict)?;
        let record = self.store.load(lookup.record_id(), lookup.at_least()).await?;
        let newest = self.cookie.open_record(lookup, record);
        // Whoever has ended or rotated the session meanwhile came first.
        if newest.is_fresh() { Err(StoreError::conflict()) } else { Ok(newest) }
    }

    /// Saves what was changed, when other sessions have taken `spent` octets of the budget. `None`: nothing was.
    pub(crate) async fn save(
        &self,
        session: &mut Session<T>,
        spent: usize,
    ) -> Result<Option<SetCookies>, CommitError> {
        let (ops, mut cookies) =
            match self.cookie.seal_at(session, SystemTime::now(), &mut OsRandom, spent)? {
                Outgoing::Unchanged => return Ok(None),
                Outgoing::Cookies(cookies) => (Vec::new(), cookies),
                Outgoing::Stored(ops, cookies) => (ops, cookies),
            };
        if session.is_superseded() {
            return Err(StoreError::conflict().into());
        }
        if let Err(error) = self.store_all(&ops).await {
            // What nobody asked for, a later request does: to note that the session was used, or to tell the browser
            // once more where it went.
            let unasked = !session.is_pending() || matches!(ops[..], [StoreOp::Touch(..)]);
            if unasked {
                events::postponed(self.cookie.name(), &error);
                return Ok(None);
            }
            // What looks like another request's change may be this session's own of before.
            let undecided = session.in_doubt && error.is_conflict();
            session.in_doubt |= !error.is_conflict();
            let error = if undecided { StoreError::unavailable("save again", Undecided) } else { error };
            return Err(error.into());
        }
        session.settle(cookies.take_settled());
        Ok(Some(cookies))
    }

    /// A valid `Cookie` header for a session that `prepare` made: for tests of handlers. Empty if it changed nothing.
    ///
    /// # Errors
    ///
    /// Those of [`commit`](Self::commit).
    pub async fn mint(&self, prepare: impl FnOnce(&mut Session<T>)) -> Result<String, CommitError> {
        let mut session = self.load_from([""; 0]).await?;
        prepare(&mut session);
        let cookies = self.save(&mut session, 0).await?;
        Ok(cookies.map(|cookies| cookies.cookie_header()).unwrap_or_default())
    }

    /// Carries out a response's steps in order. Where a later one finds that another request came first, the record
    /// that an earlier one made goes again: nothing refers to it.
    async fn store_all(&self, ops: &[StoreOp]) -> Result<(), StoreError> {
        let mut inserted = None;
        for op in ops {
            let done = match op {
                StoreOp::Save(record, expect) => self.save_surely(record, *expect, inserted.is_some()).await,
                StoreOp::Touch(id, version, expires_at) => self.store.touch(id, *version, *expires_at).await,
                StoreOp::End(id, version) => self.end(*id, *version).await,
            };
            if let (Some(id), Err(error)) = (inserted, &done)
                && error.is_conflict()
            {
                // The conflict is what to report; what is left behind expires.
                let _ = self.store.delete(&id, None).await;
            }
            done?;
            if let StoreOp::Save(record, Expect::Absent) = op {
                inserted = Some(record.id);
            }
        }
        Ok(())
    }

    /// Saves, and repeats a conditional save whose outcome is not known: it may have been carried out, and only the
    /// answer lost. Were it left at that, a state that has moved on could be lost, because nobody was told where to.
    ///
    /// Where another record is `replaced` by it, a conflict of the repetition is one: then nothing refers to that
    /// record. Otherwise another request may have written upon this very save, and it is still not known.
    async fn save_surely(&self, record: &Record, expect: Expect, replaced: bool) -> Result<(), StoreError> {
        let first = match (self.store.save(record, expect).await, expect) {
            (Err(error), Expect::Version(_)) if !error.is_conflict() => error,
            (done, _) => return done,
        };
        match self.store.save(record, expect).await {
            Err(error) if error.is_conflict() => {
                let found = self.store.load(&record.id, record.version).await?;
                if found.is_some_and(|found| found.sealed == record.sealed) {
                    return Ok(());
                }
                Err(if replaced { error } else { first })
            }
            done => done,
        }
    }

    /// Ends a session wherever other requests have taken it since `version`: to a newer one, or to another record.
    async fn end(&self, mut id: RecordId, mut version: u64) -> Result<(), StoreError> {
        // Each turn but the first is another request's success, so there are not many.
        for _ in 0..ATTEMPTS {
            match self.store.delete(&id, Some(version)).await {
                Err(error) if error.is_conflict() => {}
                done => return done,
            }
            let Some(found) = self.store.load(&id, version).await? else { return Ok(()) };
            (id, version) = match self.cookie.successor(&found) {
                // It went into cookies, and ends where they do.
                Some((next, _)) if next == id => return Ok(()),
                Some(next) => next,
                None => (id, found.version),
            };
        }
        Err(StoreError::conflict())
    }
}

/// A save failed, was tried again, and found the record changed.
#[derive(Debug, thiserror::Error)]
#[error("the record is not as it was before the save that failed, which may have been carried out")]
struct Undecided;

/// How often something is tried again because another request came first.
const ATTEMPTS: usize = 256;

/// The target of a [`Builder`] that builds a [`SessionManager`].
#[derive(Debug)]
pub struct Managed {
    store: Arc<dyn Store>,
}

impl<T: Serialize + DeserializeOwned + 'static> Builder<T, Managed> {
    /// Where states go that outgrow the cookies. Without one, a state that does not fit is an error.
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// [`store`](Self::store) for one that several managers share.
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.spill();
        self.target.store = store;
        self
    }

    /// Checks the settings and derives the keys.
    ///
    /// # Errors
    ///
    /// If a name, attribute, lifetime, budget or schema cannot work; the message says which, and why.
    pub fn build(self) -> Result<SessionManager<T>, BuildError> {
        let (cookie, Managed { store }) = self.build_cookie()?;
        Ok(SessionManager { cookie, store })
    }
}

/// A session could not be saved, and the response does not say that it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// It could not be sealed: too large, no key, or not encodable.
    #[error("the session could not be sealed")]
    Seal(#[from] SealError),
    /// The store failed, or another request has changed the session's record.
    #[error("the session could not be stored")]
    Store(#[from] StoreError),
    /// Something still holds the session while the response is sent: a spawned task, or a streaming body.
    #[error("the session is still in use: drop it before the response is returned")]
    InUse,
}

impl CommitError {
    /// Whether another request changed the session first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_conflict())
    }

    /// The status that a response gets by default: 409 for a conflict, 503 for a store that failed, else 500.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Store(error) if error.is_conflict() => StatusCode::CONFLICT,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Seal(_) | Self::InUse => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The headers of a response that has read a session and, with `cookies`, sets it.
pub(crate) fn write_headers(cookies: Option<&SetCookies>, headers: &mut HeaderMap) {
    let varies = |value: &HeaderValue| {
        let names = value.to_str().unwrap_or_default().split(',').map(str::trim);
        names.into_iter().any(|name| name == "*" || name.eq_ignore_ascii_case("cookie"))
    };
    if !headers.get_all(VARY).iter().any(varies) {
        headers.append(VARY, HeaderValue::from_static("cookie"));
    }
    let Some(cookies) = cookies else { return };
    for field in cookies.iter() {
        let value = HeaderValue::from_str(field).expect("a Set-Cookie value is visible ASCII");
        headers.append(SET_COOKIE, value);
    }
    make_private(headers);
}

/// Keeps shared caches from storing a response that sets a cookie (RFC 9111, section 7.3).
fn make_private(headers: &mut HeaderMap) {
    let mut kept = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        kept.extend(value.to_str().unwrap_or_default().split(',').map(str::trim));
    }
    let directive = |part: &str| part.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kept.iter().any(|part| *part == "private" || directive(part) == "no-store") {
        return;
    }
    kept.retain(|part| !part.is_empty() && !matches!(&*directive(part), "public" | "s-maxage" | "private"));
    kept.insert(0, "private");
    let value = HeaderValue::from_str(&kept.join(", ")).expect("made of parts of header values");
    headers.insert(CACHE_CONTROL, value);
}
