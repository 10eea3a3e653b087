//! The manual: what does not belong to one item.

#[doc = include_str!("format.md")]
pub mod format {}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("stores.md")]
pub mod stores {}

#[doc = include_str!("threat_model.md")]
pub mod threat_model {}
