//! One value to bytes and back, in either of the two serde formats.

mod checked;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wiped::Wiped;
use checked::Checked;
pub(crate) use checked::Watch;

/// How values become bytes. The number is the codec's code in a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// [postcard](https://postcard.jamesmunns.com/wire-format): compact, not self-describing.
    #[default]
    Postcard = 0,
    /// JSON, for types that postcard cannot bring back: flattened fields, untagged and internally tagged enums,
    /// `skip_serializing_if`. About twice the size.
    #[cfg(feature = "json")]
    Json = 1,
}

impl Format {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Postcard),
            #[cfg(feature = "json")]
            1 => Some(Self::Json),
            _ => None,
        }
    }

    /// Appends the value's bytes. What `watch` saw on the way tells whether values of this shape came back before.
    pub(crate) fn write<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Wiped,
        watch: &Watch,
    ) -> Result<(), String> {
        match self {
            Self::Postcard => {
                let mut serializer = postcard::Serializer { output: Append(out) };
                value
                    .serialize(Checked::new(&mut serializer, watch))
                    .map_err(|error| watch.take_refusal().unwrap_or_else(|| error.to_string()))
            }
            #[cfg(feature = "json")]
            Self::Json => {
                watch.described();
                let mut serializer = serde_json::Serializer::new(Append(out));
                value
                    .serialize(Checked::new(&mut serializer, watch))
                    .map_err(|error| watch.take_refusal().unwrap_or_else(|| error.to_string()))
            }
        }
    }

    /// The value of exactly these bytes: nothing may be left over.
    pub(crate) fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Option<T> {
        match self {
            Self::Postcard => {
                let mut deserializer = postcard::Deserializer::from_bytes(bytes);
                let value = T::deserialize(&mut deserializer).ok()?;
                deserializer.finalize().is_ok_and(<[u8]>::is_empty).then_some(value)
            }
            #[cfg(feature = "json")]
            Self::Json => serde_json::from_slice(bytes).ok(),
        }
    }
}

/// An output of either format that appends to a buffer.
struct Append<'a>(&'a mut Wiped);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.reserve(data.len());
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.reserve(1);
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "json")]
impl std::io::Write for Append<'_> {
    #[inline]
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.reserve(data.len());
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
