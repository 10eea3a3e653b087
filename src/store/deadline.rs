//! How long a call to a store's server may take.

use std::time::Duration;

use super::StoreError;

/// The time within which a call is answered, by the server or with an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Duration);

impl Default for Deadline {
    fn default() -> Self {
        Self(Duration::from_millis(500))
    }
}

impl Deadline {
    /// The outcome of `call`, or an error when the time is over. Connecting, waiting for a connection and every retry
    /// are within it.
    pub(super) async fn hold<R>(
        self,
        what: &'static str,
        call: impl Future<Output = Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        tokio::time::timeout(self.0, call)
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable(what, NoAnswer(self.0))))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);
