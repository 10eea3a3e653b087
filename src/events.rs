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

/// The store failed at what no handler had asked for: the note that a session was used, or the cookies of one that has
/// moved. A later request does it.
#[cfg(feature = "tracing")]
pub(crate) fn postponed(cookie: &str, cause: &(dyn std::error::Error + 'static)) {
    tracing::debug!(cookie, cause, "session renewal postponed");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn postponed(_cookie: &str, _cause: &dyn std::error::Error) {}
