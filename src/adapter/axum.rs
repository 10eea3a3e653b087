//! Extractors for axum, on the [tower layer](super::tower).

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use super::tower::SessionLayer;
pub use crate::request::{ExtractError, LazySession, Session};

use crate::manager::CommitError;

impl<S, T> FromRequestParts<S> for Session<T>
where
    S: Sync,
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = ExtractError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ExtractError> {
        Self::extract(&parts.extensions, &parts.headers).await
    }
}

/// `None` where nothing valid came.
impl<S, T> OptionalFromRequestParts<S> for Session<T>
where
    S: Sync,
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = ExtractError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, ExtractError> {
        let session = Self::extract(&parts.extensions, &parts.headers).await?;
        Ok((!session.is_fresh()).then_some(session))
    }
}

impl<S, T> FromRequestParts<S> for LazySession<T>
where
    S: Sync,
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = ExtractError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ExtractError> {
        Self::extract(&parts.extensions, &parts.headers)
    }
}

impl IntoResponse for ExtractError {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}

/// For handlers that call [`Session::save`] and pass its error on.
impl IntoResponse for CommitError {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}
