//! Session cookies done right.
#![forbid(unsafe_code)]

mod aead;
mod budget;
mod chunk;
mod codec;
mod compress;
mod cookie;
mod error;
mod format;
mod key;
mod lifetime;
mod payload;
mod random;
mod ring;
mod secret;
mod seen;
mod session;
mod session_cookie;
pub mod store;
mod token;
mod varint;
mod wiped;

pub use budget::{Budget, Placement};
pub use cookie::SameSite;
pub use error::{BuildError, OpenError, Parts, Reason, SealError, TooLarge};
pub use format::Format;
pub use key::{Key, KeyError, KeyId};
pub use lifetime::Lifetime;
pub use random::{NoRandom, OsRandom, Random};
pub use ring::{KeyRing, RingEntry, RingError};
pub use secret::Secret;
pub use session::{Session, SessionId, Subject};
pub use session_cookie::{Builder, Lookup, Opened, Outgoing, SessionCookie, SetCookies, StoreOp, Usage};
pub use store::Store;
