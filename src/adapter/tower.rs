//! A tower layer that commits a request's session to its response.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::SET_COOKIE;
use http::{Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

pub use crate::request::{ExtractError, LazySession, Session};

use crate::manager::{CommitError, SessionManager};
use crate::request::{Slot, Spent};

/// Gives the handlers behind it a [`Session<T>`], and commits it to the response, whatever its status.
///
/// A handler that never asks for the session costs nothing. Put one layer for each type of session that an application
/// has; they share one budget. A commit that fails replaces the response (see [`CommitError::status`]) and leaves the
/// client's cookies as they are.
///
/// ```
/// use hardtack::tower::{Session, SessionLayer};
/// use hardtack::{Key, KeyRing, OsRandom, SessionManager};
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Visits(u32);
/// async fn count(request: Request<String>) -> Result<Response<String>, hardtack::tower::ExtractError> {
///     let mut visits = Session::<Visits>::extract(request.extensions(), request.headers()).await?;
///     visits.0 += 1;
///     Ok(Response::new(visits.0.to_string()))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let ring = KeyRing::new([Key::generate(&mut OsRandom)?])?;
/// let sessions = SessionManager::<Visits>::builder("__Host-visits", ring).build()?;
/// let service = ServiceBuilder::new().layer(SessionLayer::new(sessions)).service(service_fn(count));
/// let response = service.oneshot(Request::new(String::new())).await?;
/// assert!(response.headers().contains_key("set-cookie"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct SessionLayer<T> {
    manager: Arc<SessionManager<T>>,
    on_error: Arc<OnError>,
}

type OnError = dyn Fn(&CommitError) -> Response<String> + Send + Sync;

impl<T> SessionLayer<T> {
    /// A layer for the manager's sessions.
    pub fn new(manager: impl Into<Arc<SessionManager<T>>>) -> Self {
        let on_error = |error: &CommitError| {
            let mut response = Response::new(error.to_string());
            *response.status_mut() = error.status();
            response
        };
        Self { manager: manager.into(), on_error: Arc::new(on_error) }
    }

    /// What to answer in place of a response whose session could not be committed.
    #[must_use]
    pub fn on_error(
        self,
        response: impl Fn(&CommitError) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        Self { on_error: Arc::new(response), ..self }
    }
}

impl<T> Clone for SessionLayer<T> {
    fn clone(&self) -> Self {
        Self { manager: Arc::clone(&self.manager), on_error: Arc::clone(&self.on_error) }
    }
}

impl<T> fmt::Debug for SessionLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer").finish_non_exhaustive()
    }
}

impl<S, T> Layer<S> for SessionLayer<T> {
    type Service = SessionService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService { inner, layer: self.clone() }
    }
}

/// The service that [`SessionLayer`] makes.
pub struct SessionService<S, T> {
    inner: S,
    layer: SessionLayer<T>,
}

impl<S: Clone, T> Clone for SessionService<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for SessionService<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, T, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S, T>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    S::Future: Send + 'static,
    ResponseBody: From<String> + Send,
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let spent = request.extensions_mut().get_or_insert_default::<Spent>().clone();
        let slot = Arc::new(Slot::new(Arc::clone(&self.layer.manager), spent));
        request.extensions_mut().insert(Arc::clone(&slot));
        let on_error = Arc::clone(&self.layer.on_error);
        let response = self.inner.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            if let Err(error) = slot.commit(response.headers_mut()).await {
                let mut failed = on_error(&error).map(ResponseBody::from);
                // What other sessions of this response have committed stands, and their cookies must say so.
                for cookie in response.headers().get_all(SET_COOKIE) {
                    failed.headers_mut().append(SET_COOKIE, cookie.clone());
                }
                response = failed;
            }
            Ok(response)
        })
    }
}
