//! A session's value to its two segments and back.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::SealError;
use crate::format::Format;
use crate::secret;
use crate::wiped::Wiped;

/// An encoded value: a public segment, which may be compressed, and a secret one, which never is.
pub(crate) struct Encoded {
    bytes: Wiped,
    public: Range<usize>,
    secret: Range<usize>,
}

impl Encoded {
    /// The segments where they stand in `bytes`.
    pub(crate) fn within(bytes: Wiped, public: Range<usize>, secret: Range<usize>) -> Self {
        Self { bytes, public, secret }
    }

    /// The two segments, one after the other.
    pub(crate) fn joined(mut public: Wiped, secret: &[u8]) -> Self {
        let end = public.len();
        public.reserve(secret.len());
        public.extend_from_slice(secret);
        Self { public: 0..end, secret: end..public.len(), bytes: public }
    }

    pub(crate) fn public(&self) -> &[u8] {
        &self.bytes[self.public.clone()]
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.bytes[self.secret.clone()]
    }

    pub(crate) fn len(&self) -> usize {
        self.public.len() + self.secret.len()
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public() && self.secret() == other.secret()
    }
}

/// How a session type is encoded, and which shapes of its values have been seen to come back.
#[derive(Default)]
pub(crate) struct Codec {
    format: Format,
    proven: Proven,
    /// The longest encoding so far: what to reserve, so that no buffer has to grow.
    longest: AtomicUsize,
}

impl Codec {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, ..Self::default() }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Encodes a value that decoding will bring back.
    ///
    /// postcard is decoded once for each shape of value (see `format::checked`), JSON each time, since what JSON
    /// cannot bring back depends on content (a float that is not a number).
    pub(crate) fn encode<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Encoded, SealError> {
        let (encoded, shape) = self.write(value)?;
        if !(self.format == Format::Postcard && self.proven.contains(shape)) {
            let returned = decode::<T>(self.format, &encoded).ok_or_else(|| {
                SealError::Encode(format!("{}{HINT}", "what was encoded does not decode again"))
            })?;
            // Shape and lengths, not bytes: the order of a `HashMap` differs from one map to the next.
            let (again, shape_again) = self.write(&returned)?;
            let lengths = |encoded: &Encoded| (encoded.public.len(), encoded.secret.len());
            if shape_again != shape || lengths(&again) != lengths(&encoded) {
                return Err(SealError::Encode(format!("what was encoded decodes to another value{HINT}")));
            }
            self.proven.insert(shape);
        }
        Ok(encoded)
    }

    fn write<T: Serialize>(&self, value: &T) -> Result<(Encoded, u64), SealError> {
        let longest = self.longest.load(Ordering::Relaxed);
        let mut public = Wiped::with_capacity(longest.max(256));
        let mut secret = Wiped::default();
        let shape = secret::sealing(self.format, &mut secret, |watch| {
            self.format.write(value, &mut public, watch).map(|()| watch.shape())
        })
        .map_err(SealError::Encode)?;
        let encoded = Encoded::joined(public, &secret);
        // Mostly it is read: a line of cache that every seal writes to would travel between the cores.
        if encoded.len() > longest {
            self.longest.fetch_max(encoded.len(), Ordering::Relaxed);
        }
        Ok((encoded, shape))
    }
}

/// The value of the two segments, if they are one of this type and nothing is left over.
pub(crate) fn decode<T: DeserializeOwned>(format: Format, encoded: &Encoded) -> Option<T> {
    let _secrets = secret::opening(format, encoded.secret())?;
    format.read(encoded.public())
}

const HINT: &str = ": an untagged or internally tagged enum, or a field that is skipped on one way only? Use the JSON \
                    codec for this type";

/// A small set of fingerprints, where a newcomer may displace another: that one is then proven again.
struct Proven([AtomicU64; 64]);

impl Proven {
    fn contains(&self, shape: u64) -> bool {
        self.slot(shape).load(Ordering::Relaxed) == shape
    }

    fn insert(&self, shape: u64) {
        self.slot(shape).store(shape, Ordering::Relaxed);
    }

    fn slot(&self, shape: u64) -> &AtomicU64 {
        &self.0[(shape >> 58) as usize]
    }
}

impl Default for Proven {
    fn default() -> Self {
        // An empty slot holds a fingerprint that belongs in another one.
        Self(std::array::from_fn(|index| AtomicU64::new(if index == 63 { 0 } else { u64::MAX })))
    }
}

#[cfg(test)]
mod tests;
