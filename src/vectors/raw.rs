//! A value type that is whatever bytes there are.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeTuple as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

/// Any bytes at all, as they stand in postcard. Of JSON it takes anything and keeps nothing.
#[derive(Debug, Default)]
pub(super) struct Raw(pub(super) Vec<u8>);

impl Zeroize for Raw {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| bytes.serialize_element(byte))?;
        bytes.end()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return IgnoredAny::deserialize(deserializer).map(|_| Self::default());
        }
        deserializer.deserialize_tuple(usize::MAX, ToTheEnd)
    }
}

/// Takes bytes until there are none.
struct ToTheEnd;

impl<'de> Visitor<'de> for ToTheEnd {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Raw, A::Error> {
        Ok(Raw(std::iter::from_fn(|| bytes.next_element().ok().flatten()).collect()))
    }
}
