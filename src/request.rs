//! A request's session while a handler has it: the guard, and the place that it comes back to.

use std::any::type_name;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::COOKIE;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::manager::{CommitError, SessionManager, write_headers};
use crate::session;
use crate::session_cookie::SetCookies;
use crate::store::StoreError;

/// The request's session, for one handler or extractor at a time.
///
/// It dereferences to [`hardtack::Session`](crate::Session), and that to the value. When it is dropped, the session
/// goes back to the request, so that an extractor may use it before the handler does; what was changed is committed with
/// the response.
///
/// Two of them at once for one type are an error of the second. One that is still held when the response is returned (by
/// a spawned task, by a streaming body) is an error of the response, because what it may yet change could not be sent. A
/// panic while it is held commits nothing.
pub struct Session<T> {
    /// Present until it is dropped.
    session: Option<session::Session<T>>,
    slot: Arc<Slot<T>>,
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Session<T> {
    /// Takes the session out of a request that came through its layer. Frameworks' extractors call this.
    ///
    /// # Errors
    ///
    /// If there is no layer, something else of the request holds the session, or the store failed.
    pub async fn extract(extensions: &Extensions, headers: &HeaderMap) -> Result<Self, ExtractError> {
        slot(extensions)?.take(headers.get_all(COOKIE)).await
    }

    /// Saves what was changed now, to learn now whether it can be. The cookies are sent with the response, and what is
    /// changed later is committed later.
    ///
    /// # Errors
    ///
    /// See [`CommitError`]. The session is as it was then.
    pub async fn save(&mut self) -> Result<(), CommitError> {
        let session = self.session.as_mut().expect(HELD);
        self.slot.save(session).await
    }

    /// Changes the session and saves it now; where another request has changed the stored session first, once more on
    /// its newer state. See [`SessionManager::update`].
    ///
    /// # Errors
    ///
    /// See [`SessionManager::update`].
    pub async fn update(&mut self, change: impl FnMut(&mut session::Session<T>)) -> Result<(), CommitError> {
        let session = self.session.as_mut().expect(HELD);
        self.slot.update(session, change).await
    }
}

impl<T> Deref for Session<T> {
    type Target = session::Session<T>;

    fn deref(&self) -> &session::Session<T> {
        self.session.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for Session<T> {
    fn deref_mut(&mut self) -> &mut session::Session<T> {
        self.session.as_mut().expect(HELD)
    }
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        let content = match self.session.take() {
            Some(session) if !std::thread::panicking() => Content::Here(Box::new(session)),
            _ => Content::Spoiled,
        };
        self.slot.lock().content = content;
    }
}

impl<T> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

const HELD: &str = "a guard holds its session until it is dropped";

/// The request's session, opened only when it is asked for: for handlers that mostly do without.
#[derive(Debug)]
pub struct LazySession<T> {
    slot: Arc<Slot<T>>,
    cookies: Vec<HeaderValue>,
    session: Option<Session<T>>,
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> LazySession<T> {
    /// Prepares to take the session out of a request that came through its layer. Frameworks' extractors call this.
    ///
    /// # Errors
    ///
    /// If there is no layer.
    pub fn extract(extensions: &Extensions, headers: &HeaderMap) -> Result<Self, ExtractError> {
        let cookies = headers.get_all(COOKIE).iter().cloned().collect();
        Ok(Self { slot: slot(extensions)?, cookies, session: None })
    }

    /// The session, opened and loaded the first time.
    ///
    /// # Errors
    ///
    /// If something else holds it, or the store failed.
    pub async fn get(&mut self) -> Result<&mut Session<T>, ExtractError> {
        if self.session.is_none() {
            self.session = Some(Arc::clone(&self.slot).take(&self.cookies).await?);
        }
        Ok(self.session.as_mut().expect("it was just put there"))
    }
}

/// Where a request keeps its session of one type while nobody holds it.
pub(crate) struct Slot<T> {
    manager: Arc<SessionManager<T>>,
    spent: Spent,
    state: Mutex<State<T>>,
}

struct State<T> {
    content: Content<T>,
    /// What [`Session::save`] has sealed already.
    saved: Option<SetCookies>,
}

enum Content<T> {
    /// No one has asked for it.
    Unopened,
    /// Someone holds it, or is opening it.
    Out,
    Here(Box<session::Session<T>>),
    /// Whoever held it has panicked.
    Spoiled,
}

fn slot<T: Send + Sync + 'static>(extensions: &Extensions) -> Result<Arc<Slot<T>>, ExtractError> {
    extensions.get::<Arc<Slot<T>>>().cloned().ok_or(ExtractError::NoLayer(type_name::<T>()))
}

/// What the sessions of one response have taken of its header so far, in octets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent(Arc<AtomicUsize>);

impl<T: Serialize + DeserializeOwned + 'static> Slot<T> {
    pub(crate) fn new(manager: Arc<SessionManager<T>>, spent: Spent) -> Self {
        Self { manager, spent, state: Mutex::new(State { content: Content::Unopened, saved: None }) }
    }

    /// Hands out the session, opened from these `Cookie` fields if nobody has asked before.
    pub(crate) async fn take<'h>(
        self: Arc<Self>,
        cookies: impl IntoIterator<Item = &'h HeaderValue>,
    ) -> Result<Session<T>, ExtractError> {
        let content = std::mem::replace(&mut self.lock().content, Content::Out);
        let session = match content {
            Content::Here(session) => *session,
            Content::Out => return Err(ExtractError::InUse),
            Content::Spoiled => {
                self.lock().content = Content::Spoiled;
                return Err(ExtractError::InUse);
            }
            Content::Unopened => {
                // Should the store fail, or the request be dropped meanwhile, nobody has asked for it.
                let opening = Opening(&self);
                let session = self.manager.load_from(cookies).await?;
                std::mem::forget(opening);
                session
            }
        };
        Ok(Session { session: Some(session), slot: self })
    }

    /// Commits what came back to the response's headers. What nobody asked for is none of its business.
    pub(crate) async fn commit(&self, response: &mut HeaderMap) -> Result<(), CommitError> {
        let content = std::mem::replace(&mut self.lock().content, Content::Out);
        let committed = match content {
            Content::Unopened => return Ok(()),
            Content::Here(mut session) => self.save(&mut session).await,
            Content::Out => Err(CommitError::InUse),
            Content::Spoiled => Ok(()),
        };
        // What was saved before stands, whatever came after it: its cookies must reach the client.
        write_headers(self.lock().saved.take().as_ref(), response);
        committed
    }

    async fn save(&self, session: &mut session::Session<T>) -> Result<(), CommitError> {
        let cookies = self.manager.save(session, self.spent_by_others()).await?;
        self.keep(cookies);
        Ok(())
    }

    async fn update(
        &self,
        session: &mut session::Session<T>,
        change: impl FnMut(&mut session::Session<T>),
    ) -> Result<(), CommitError> {
        let cookies = self.manager.save_update(session, self.spent_by_others(), change).await?;
        self.keep(cookies);
        Ok(())
    }

    fn spent_by_others(&self) -> usize {
        let own = self.lock().saved.as_ref().map_or(0, SetCookies::header_len);
        self.spent.0.load(Ordering::Relaxed).saturating_sub(own)
    }

    /// Keeps what was saved for the response, in place of what was saved before.
    fn keep(&self, cookies: Option<SetCookies>) {
        let Some(cookies) = cookies else { return };
        let others = self.spent_by_others();
        self.spent.0.store(others + cookies.header_len(), Ordering::Relaxed);
        self.lock().saved = Some(cookies);
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic runs while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// Puts the slot back to unopened.
struct Opening<'s, T>(&'s Slot<T>);

impl<T> Drop for Opening<'_, T> {
    fn drop(&mut self) {
        self.0.lock().content = Content::Unopened;
    }
}

/// A handler could not have the session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// No layer for sessions of this type is around the handler.
    #[error("there is no session layer for {0} around this handler")]
    NoLayer(&'static str),
    /// Something else of this request holds it. Drop that first, or use one extractor.
    #[error("the request's session is already in use: an extractor or the handler still holds it")]
    InUse,
    /// The store failed. The session is not lost: the client's cookies are untouched.
    #[error("the session could not be loaded")]
    Store(#[from] StoreError),
}

impl ExtractError {
    /// The status that a response gets: 503 for a store that failed, else 500.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoLayer(_) | Self::InUse => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
