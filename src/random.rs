//! Where nonces and ids come from: an argument of the pure core, so that tests choose them.

/// A source of bytes that nobody can predict.
///
/// Everything random in a session comes through here: nonces (24 bytes a token), session ids and record ids (16 bytes
/// each). Implement it only for tests; whatever repeats a nonce breaks the encryption.
pub trait Random {
    /// Fills `bytes`.
    ///
    /// # Errors
    ///
    /// If the source failed; nothing of `bytes` may then be used.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom>;
}

/// The operating system's generator, asked anew for each token: safe across `fork` and virtual machine snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        getrandom::fill(bytes).map_err(|_| NoRandom)
    }
}

/// The random source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the random source failed")]
pub struct NoRandom;

/// An array of random bytes.
pub(crate) fn array<const N: usize>(random: &mut impl Random) -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}
