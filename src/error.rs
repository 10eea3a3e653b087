//! What can go wrong, and who can do something about it.

use std::error::Error;
use std::fmt;

use thiserror::Error;

use crate::random::NoRandom;

/// A session could not be turned into cookies. Nothing was sent, nothing was lost: the caller still holds it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The state fits neither the cookies that the budget allows nor, without a store, anything else.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// No key of the ring may seal now: each is revoked, retired, or not active yet.
    #[error("no key of the ring may seal now")]
    NoSealingKey,
    /// The value cannot be encoded so that decoding would bring it back. The message says why.
    #[error("the session's value cannot be encoded: {0}")]
    Encode(String),
    /// The operating system's random number generator failed.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl From<NoRandom> for SealError {
    fn from(_: NoRandom) -> Self {
        Self::Random
    }
}

/// The sealed state is larger than what may be sent, with the figures. All sizes are octets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the session needs {needed} octets of response header and {budget} are allowed: {parts}")]
#[non_exhaustive]
pub struct TooLarge {
    /// What the session's `Set-Cookie` fields would take, or its encoded value where that alone is over its cap.
    pub needed: usize,
    /// What they may take: the budget, less what other sessions of the same response have taken.
    pub budget: usize,
    /// What each part of `needed` costs.
    pub parts: Parts,
}

/// What each part of a session's `Set-Cookie` fields costs, in octets. The sum is the header as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parts {
    /// The value, after compression and with its padding.
    pub value: usize,
    /// Id, times, sequence, schema, subject.
    pub metadata: usize,
    /// Version, key id, nonce, tag and MAC of the token: 61.
    pub encryption: usize,
    /// What base64url adds, and the chunk headers.
    pub encoding: usize,
    /// Field names, cookie names and attributes, the `seen` cookie, and the expiry of cookies that are not set again.
    pub cookies: usize,
}

impl Parts {
    /// The sum of the parts.
    pub fn total(&self) -> usize {
        self.value + self.metadata + self.encryption + self.encoding + self.cookies
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, metadata, encryption, encoding, cookies } = self;
        write!(
            f,
            "value {value}, metadata {metadata}, encryption {encryption}, encoding {encoding}, \
             cookie names and attributes {cookies}"
        )
    }
}

/// What a client sent was not accepted. Opaque on purpose: nothing of it belongs in a response.
///
/// [`reason`](Self::reason) is for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError {
    reason: Reason,
}

impl OpenError {
    /// Why, for logs. Never for the client: the difference between two reasons is an oracle.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl From<Reason> for OpenError {
    fn from(reason: Reason) -> Self {
        Self { reason }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session cookie was not accepted")
    }
}

impl Error for OpenError {}

/// Why a cookie, or a record, was not accepted: in the order in which things are checked, so that of several candidates
/// the one that came furthest gives the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
#[non_exhaustive]
pub enum Reason {
    /// Not the text or the length of a token, or chunks of which some are missing.
    #[error("malformed, or chunks are missing")]
    Malformed,
    /// Another version of the format.
    #[error("a token of another version")]
    Version,
    /// Sealed under a key that the ring does not hold, or may not open any more.
    #[error("sealed under a key that is unknown, expired or revoked")]
    UnknownKey,
    /// Right key, wrong authentication: damaged, forged, or sealed for another application, cookie or purpose.
    #[error("authentication failed: damaged, forged, or sealed for another purpose")]
    Forged,
    /// A store's record whose head is authentic, and which is not of this id: swapped with another, or changed inside.
    #[error("authentic, but of another record, or changed inside")]
    OtherRecord,
    /// Authentic, but its inside does not follow the format.
    #[error("authentic, but its content does not follow the format")]
    Payload,
    /// The absolute lifetime is over.
    #[error("the absolute lifetime is over")]
    Expired,
    /// No request came for longer than the idle lifetime.
    #[error("no request came for longer than the idle lifetime")]
    Idle,
    /// Authentic, but of a schema number that has no upgrade here.
    #[error("of a schema that is not known here")]
    UnknownSchema,
    /// Authentic, but the inflated value would be larger than the cap.
    #[error("the inflated value is larger than the cap")]
    TooLarge,
    /// Authentic, but the value does not decode as the session's type.
    #[error("the value does not decode as the session's type")]
    Value,
    /// The store has no such record: it ended, or its time was over.
    #[error("the store has no record of it")]
    NoRecord,
    /// Another request has rotated the session: its state is under a new id.
    #[error("the session was given a new id by another request")]
    Moved,
    /// The store's record is older than the version that the cookie saw.
    #[error("the store's record is older than the cookie's version")]
    RolledBack,
    /// The record does not belong to the cookie that names it.
    #[error("the store's record is of another session")]
    OtherSession,
}

/// A builder's settings cannot work. The message says which, and why.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{setting}: {why}")]
pub struct BuildError {
    setting: &'static str,
    why: String,
}

impl BuildError {
    pub(crate) fn new(setting: &'static str, why: impl Into<String>) -> Self {
        Self { setting, why: why.into() }
    }
}
