//! One thin file a framework: headers in, headers out, everything else is the manager's.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "tower")]
pub mod tower;
