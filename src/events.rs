//! Debug events, for whoever wants to know why a cookie was refused. Nothing secret is in them: no id, no token.

use crate::error::Reason;

/// A request carried something under the session's name that did not open.
///
/// What only the store can have done, or whoever writes to it, is a warning.
#[cfg(feature = "tracing")]
pub(crate) fn refused(cookie: &str, reason: Reason) {
    match reason {
        Reason::OtherRecord | Reason::RolledBack | Reason::OtherSession => {
            tracing::warn!(cookie, %reason, "session record refused");
        }
        _ => tracing::debug!(cookie, %reason, "session cookie refused"),
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn refused(_cookie: &str, _reason: Reason) {}
