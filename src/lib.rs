//! Session cookies done right: typed state, compressed, encrypted and authenticated in the browser, and in a store behind
//! a sealed reference when it outgrows cookies.
//!
//! Start with [`SessionManager`] if there is a store or a framework, with [`SessionCookie`] if there is neither. Both are
//! built once from a name, a [`KeyRing`] and whatever of [`Builder`]'s settings should differ from the default, and give
//! out a [`Session<T>`](Session) for each request.
//!
//! # The way of the data
//!
//! `value -> codec -> compress -> budget.place -> token.seal -> chunk.split -> Set-Cookie`, and back:
//! `Cookie headers -> chunk.join -> token.open -> lifetime -> decompress -> decode`. It is written down in one place,
//! `session_cookie.rs`; everything below it is a pure function of its arguments, time and randomness included.
//!
//! # What to know before choosing
//!
//! A session that fits its [`Budget`] lives in cookies. Then no server keeps anything, any server serves any request, and
//! nothing can be recalled: [`rotate`](Session::rotate) and [`destroy`](Session::destroy) bind the browser that sent the
//! request, a copied cookie opens until its [`Lifetime`] is over, and of two parallel writers the last response wins. A
//! session that does not fit lives in the [`Store`]. It can be ended at once, and of two parallel writers one gets a
//! conflict.
//!
//! What a client sends is never an error: it is a session, or a fresh one whose [`refusal`](Session::refusal) tells the
//! log why. What does not fit is [`TooLarge`] before anything is sent. A store that fails is an error, and leaves the
//! client's cookies as they are.
//!
//! The wire format is [documented](manual::format) byte for byte.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "tower")]
mod adapter;
mod aead;
mod affinity;
mod budget;
mod chunk;
mod codec;
mod compress;
mod cookie;
mod error;
mod events;
mod format;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod lifetime;
mod manager;
pub mod manual;
mod payload;
mod random;
#[cfg(feature = "tower")]
mod request;
mod ring;
#[cfg(feature = "fs")]
mod ring_source;
mod secret;
mod seen;
mod session;
mod session_cookie;
pub mod store;
mod token;
mod varint;
#[cfg(test)]
mod vectors;
mod wiped;

#[cfg(feature = "axum")]
pub use adapter::axum;
#[cfg(feature = "tower")]
pub use adapter::tower;
pub use budget::{Budget, Placement};
pub use cookie::SameSite;
pub use error::{BuildError, OpenError, Parts, Reason, SealError, TooLarge};
pub use format::Format;
pub use key::{Key, KeyError, KeyId};
pub use lifetime::Lifetime;
pub use manager::{CommitError, Managed, SessionManager};
pub use random::{NoRandom, OsRandom, Random};
pub use ring::{KeyRing, RingEntry, RingError};
pub use secret::Secret;
pub use session::{Session, SessionId, Subject};
pub use session_cookie::{Builder, Lookup, Opened, Outgoing, SessionCookie, SetCookies, StoreOp, Usage};
pub use store::Store;

/// The programs of the README, compiled.
#[cfg(all(doctest, feature = "axum", feature = "sqlite", feature = "fs"))]
#[doc = include_str!("../README.md")]
struct Readme;
