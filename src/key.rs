//! One secret key, checked for being one.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::random::{self, NoRandom, Random};

/// A secret of 32 random bytes, from which everything else is derived. Zeroed on drop, never shown.
///
/// Made by [`generate`](Self::generate), or parsed from 32 bytes or from their base64 text. What a random source would
/// not make in the age of the universe is refused: keys that are short, repeat themselves, count, or are text.
///
/// ```
/// use hardtack::{Key, OsRandom};
///
/// let key = Key::generate(&mut OsRandom)?;
/// let text = key.expose_base64();           // for the secret's one place
/// assert_eq!(text.parse::<Key>()?, key);
/// assert!("password".parse::<Key>().is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Key([u8; Key::LEN]);

impl Key {
    /// The length of a key, in bytes.
    pub const LEN: usize = 32;

    /// A new key.
    ///
    /// # Errors
    ///
    /// If the random source failed.
    pub fn generate(random: &mut impl Random) -> Result<Self, NoRandom> {
        random::array(random).map(Self)
    }

    /// The key as standard base64, 44 characters. Whoever reads it can open and forge every session.
    pub fn expose_base64(&self) -> String {
        general_purpose::STANDARD.encode(self.0)
    }

    pub(crate) fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// A key that was not checked: published test vectors count from 0.
    #[cfg(test)]
    pub(crate) fn unchecked(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes =
            <[u8; Self::LEN]>::try_from(bytes).map_err(|_| KeyError::Length { bytes: bytes.len() })?;
        match weakness(&bytes) {
            Some(error) => Err(error),
            None => Ok(Self(bytes)),
        }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    /// Parses base64 of either alphabet, with or without padding.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let mut bytes = engine.decode(text).map_err(|_| KeyError::NotBase64)?;
        let key = Self::try_from(bytes.as_slice());
        bytes.zeroize();
        key
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        ctutils::CtEq::ct_eq(&self.0, &other.0).into()
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The name of a key, in clear in each token: four bytes derived from the key, which tell nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KeyId::LEN]);

impl KeyId {
    pub(crate) const LEN: usize = 4;

    pub(crate) const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The four bytes, as they stand in a token.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A key was refused. The message never holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not 32 bytes.
    #[error("a key has 32 bytes, this one has {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// Not base64 at all.
    #[error("a key is written as base64 of 32 random bytes, and this is not base64")]
    NotBase64,
    /// Printable characters throughout: a password, a sentence, or hexadecimal.
    #[error("this key is text, not random bytes: generate one")]
    Text,
    /// Few distinct bytes, or one half twice.
    #[error("this key repeats itself: generate one")]
    Repetitive,
    /// Most bytes differ from the one before by the same step.
    #[error("the bytes of this key are a sequence: generate one")]
    Sequential,
    /// The key of an example in the documentation.
    #[error("this is the key of an example, which everybody knows: generate one")]
    Example,
}

/// Why these bytes are no key. Each test refuses a random key with a probability below 2^-40.
fn weakness(bytes: &[u8; Key::LEN]) -> Option<KeyError> {
    let mut sorted = *bytes;
    sorted.sort_unstable();
    let distinct = 1 + sorted.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let steps = bytes.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let same_steps = (0..=u8::MAX).map(|step| steps.clone().filter(|&each| each == step).count()).max();
    let halves = bytes.split_at(Key::LEN / 2);

    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        Some(KeyError::Text)
    } else if *bytes == EXAMPLE {
        Some(KeyError::Example)
    } else if same_steps > Some(Key::LEN / 2) {
        Some(if distinct == 1 { KeyError::Repetitive } else { KeyError::Sequential })
    } else if distinct < Key::LEN / 2 || halves.0 == halves.1 {
        Some(KeyError::Repetitive)
    } else {
        None
    }
}

/// The key that stands in the README: `0x3kQ8m4pYzR7vJc1nTfWb5sLd9hGa2eUi6oXyKqBtE=`.
const EXAMPLE: [u8; Key::LEN] = [
    0xd3, 0x1d, 0xe4, 0x43, 0xc9, 0xb8, 0xa5, 0x8c, 0xd1, 0xee, 0xf2, 0x5c, 0xd6, 0x74, 0xdf, 0x59, 0xbe,
    0x6c, 0x2d, 0xdf, 0x61, 0x19, 0xad, 0x9e, 0x52, 0x2e, 0xa8, 0x5f, 0x22, 0xaa, 0x06, 0xd1,
];

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[track_caller]
    fn refused(bytes: &[u8], error: KeyError) {
        assert_eq!(Key::try_from(bytes).unwrap_err(), error);
    }

    #[test]
    fn short_patterned_and_textual_keys_are_refused() {
        refused(b"", KeyError::Length { bytes: 0 });
        refused(&[7; 16], KeyError::Length { bytes: 16 });
        refused(&[0; 32], KeyError::Repetitive);
        refused(&[0xab; 32], KeyError::Repetitive);
        refused(&[1, 2, 250, 4].repeat(8), KeyError::Repetitive);
        let half: Vec<u8> = (0..16).map(|n: u8| n.wrapping_mul(n).wrapping_mul(37) ^ 0xa5).collect();
        refused(&[half.clone(), half].concat(), KeyError::Repetitive);
        refused(&(0..32).collect::<Vec<u8>>(), KeyError::Sequential);
        refused(&(0..32).rev().collect::<Vec<u8>>(), KeyError::Sequential);
        refused(&(0..32).map(|n: u8| n.wrapping_mul(3)).collect::<Vec<u8>>(), KeyError::Sequential);
        refused(b"correct horse battery staple 123", KeyError::Text);
        refused(b"0123456789abcdef0123456789abcdef", KeyError::Text);
        refused(&EXAMPLE, KeyError::Example);
    }

    #[test]
    fn the_documented_example_key_is_the_one_that_is_refused() {
        let example = include_str!("../README.md")
            .split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)))
            .filter_map(|word| word.parse::<Key>().err())
            .filter(|&error| error == KeyError::Example);
        assert_eq!(example.count(), 1);
    }

    #[test]
    fn a_password_in_place_of_base64_is_refused() {
        for password in ["hunter2", "correct horse battery staple", "Tr0ub4dor&3", "", "c2VjcmV0"] {
            assert!(password.parse::<Key>().is_err(), "{password}");
        }
    }

    #[test]
    fn every_way_of_writing_base64_gives_the_same_key() {
        let key = Key::generate(&mut OsRandom).expect("random bytes");
        let text = key.expose_base64();
        let url = text.replace('+', "-").replace('/', "_");
        for written in [text.as_str(), text.trim_end_matches('='), &url, &format!(" {text}\n")] {
            assert_eq!(written.parse::<Key>().as_ref(), Ok(&key));
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        let key = Key::generate(&mut OsRandom).expect("random bytes");
        assert_eq!(format!("{key:?}"), "Key(..)");
    }
}
