//! A serializer around postcard's that refuses what postcard cannot bring back, and notes the shape of what it wrote.
//!
//! postcard's bytes name nothing, so a field that is left out moves every later one, and an untagged enum cannot be
//! told apart when it is read. The first is visible here, as a call to `skip_field`, and so is a flattened field, as a
//! map of unknown length. The second is not: it takes a decoding. The fingerprint of the shape (which fields,
//! variants, options and primitives came in which order) lets the codec decode each shape once instead of each value.

use std::cell::{Cell, RefCell};
use std::fmt::Display;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// What one serialization showed: the fingerprint of its shape, and why it was refused, if it was.
///
/// Shared through cells, because serde hands serializers down by value and values up not at all.
#[derive(Default)]
pub(crate) struct Watch {
    shape: Cell<u64>,
    /// Whether the format names its fields, so that one may be left out.
    described: Cell<bool>,
    refusal: RefCell<Option<String>>,
}

impl Watch {
    /// The fingerprint of what was written so far.
    pub(crate) fn shape(&self) -> u64 {
        self.shape.get()
    }

    /// Takes part in the fingerprint.
    #[inline]
    pub(crate) fn note(&self, what: u64) {
        // FNV-1a's step, on words: cheap, and collisions would have to be made by whoever wrote the type.
        self.shape.set((self.shape.get().rotate_left(5) ^ what).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }

    /// Says that the format names its fields.
    #[cfg(feature = "json")]
    pub(super) fn described(&self) {
        self.described.set(true);
    }

    /// Keeps the reason of a refusal, which postcard's error type would drop.
    pub(crate) fn refuse(&self, why: String) {
        self.refusal.replace(Some(why));
    }

    pub(crate) fn take_refusal(&self) -> Option<String> {
        self.refusal.take()
    }
}

/// A format's serializer under watch.
pub(super) struct Checked<'w, S> {
    inner: S,
    watch: &'w Watch,
}

impl<'w, S: Serializer> Checked<'w, S> {
    pub(super) fn new(inner: S, watch: &'w Watch) -> Self {
        Self { inner, watch }
    }

    /// Refuses what needs names, unless the format has them.
    fn needs_names(&self, what: &str) -> Result<(), S::Error> {
        if self.watch.described.get() {
            return Ok(());
        }
        self.watch.refuse(format!("{what}; use the JSON codec for this type"));
        Err(S::Error::custom("refused"))
    }
}

/// A value that will be serialized under the same watch.
struct Watched<'w, 'v, T: ?Sized>(&'v T, &'w Watch);

impl<T: Serialize + ?Sized> Serialize for Watched<'_, '_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Checked::new(serializer, self.1))
    }
}

/// What kind of thing was written: the alphabet of the fingerprint.
enum Kind {
    Unit = 1,
    None,
    Some,
    Variant,
    Newtype,
    Sequence,
    Map,
    Struct,
    End,
    Primitive,
}

macro_rules! primitives {
    ($($method:ident($type:ty) = $code:literal;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.watch.note(Kind::Primitive as u64 + $code);
            self.inner.$method(value)
        }
    )*};
}

impl<'w, S: Serializer> Serializer for Checked<'w, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Elements<'w, S::SerializeSeq>;
    type SerializeTuple = Fields<'w, S::SerializeTuple>;
    type SerializeTupleStruct = Fields<'w, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Fields<'w, S::SerializeTupleVariant>;
    type SerializeMap = Elements<'w, S::SerializeMap>;
    type SerializeStruct = Fields<'w, S::SerializeStruct>;
    type SerializeStructVariant = Fields<'w, S::SerializeStructVariant>;

    primitives! {
        serialize_bool(bool) = 0;
        serialize_i8(i8) = 1;
        serialize_i16(i16) = 2;
        serialize_i32(i32) = 3;
        serialize_i64(i64) = 4;
        serialize_i128(i128) = 5;
        serialize_u8(u8) = 6;
        serialize_u16(u16) = 7;
        serialize_u32(u32) = 8;
        serialize_u64(u64) = 9;
        serialize_u128(u128) = 10;
        serialize_f32(f32) = 11;
        serialize_f64(f64) = 12;
        serialize_char(char) = 13;
        serialize_str(&str) = 14;
        serialize_bytes(&[u8]) = 15;
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::Primitive as u64 + 14);
        self.inner.collect_str(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::None as u64);
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::Some as u64);
        self.inner.serialize_some(&Watched(value, self.watch))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::Unit as u64);
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::Unit as u64);
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::Variant as u64 + (u64::from(index) << 8));
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::Newtype as u64);
        self.inner.serialize_newtype_struct(name, &Watched(value, self.watch))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.watch.note(Kind::Variant as u64 + (u64::from(index) << 8));
        self.inner.serialize_newtype_variant(name, index, variant, &Watched(value, self.watch))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        if len.is_none() {
            self.needs_names("a sequence of unknown length cannot be brought back by postcard")?;
        }
        self.watch.note(Kind::Sequence as u64);
        Ok(Elements::new(self.inner.serialize_seq(len)?, self.watch))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.watch.note(Kind::Struct as u64);
        Ok(Fields { inner: self.inner.serialize_tuple(len)?, watch: self.watch })
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.watch.note(Kind::Struct as u64);
        Ok(Fields { inner: self.inner.serialize_tuple_struct(name, len)?, watch: self.watch })
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.watch.note(Kind::Variant as u64 + (u64::from(index) << 8));
        let inner = self.inner.serialize_tuple_variant(name, index, variant, len)?;
        Ok(Fields { inner, watch: self.watch })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        if len.is_none() {
            self.needs_names(
                "a flattened field, or a map of unknown length, cannot be brought back by postcard",
            )?;
        }
        self.watch.note(Kind::Map as u64);
        Ok(Elements::new(self.inner.serialize_map(len)?, self.watch))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.watch.note(Kind::Struct as u64);
        Ok(Fields { inner: self.inner.serialize_struct(name, len)?, watch: self.watch })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.watch.note(Kind::Variant as u64 + (u64::from(index) << 8));
        let inner = self.inner.serialize_struct_variant(name, index, variant, len)?;
        Ok(Fields { inner, watch: self.watch })
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The parts of a tuple or struct: their number is the type's, so each is part of the shape.
pub(super) struct Fields<'w, C> {
    inner: C,
    watch: &'w Watch,
}

macro_rules! fields {
    ($($trait:ident :: $method:ident),*) => {$(
        impl<C: $trait> $trait for Fields<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.inner.$method(&Watched(value, self.watch))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.watch.note(Kind::End as u64);
                self.inner.end()
            }
        }
    )*};
}

fields!(
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! named_fields {
    ($($trait:ident),*) => {$(
        impl<C: $trait> $trait for Fields<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                self.inner.serialize_field(key, &Watched(value, self.watch))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), C::Error> {
                if self.watch.described.get() {
                    return self.inner.skip_field(key);
                }
                self.watch.refuse(format!(
                    "field `{key}` was left out (skip_serializing_if), and postcard would read the next one in its \
                     place; use the JSON codec for this type"
                ));
                Err(C::Error::custom("refused"))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.watch.note(Kind::End as u64);
                self.inner.end()
            }
        }
    )*};
}

named_fields!(SerializeStruct, SerializeStructVariant);

/// The elements of a sequence or map. Each shape counts once, so that a cart of 20 is shaped like a cart of 21, and their
/// order does not count, because a `HashMap` that was read again has another.
pub(super) struct Elements<'w, C> {
    inner: C,
    watch: &'w Watch,
    before: u64,
    first: Option<u64>,
    /// Nothing is allocated as long as all elements have the first one's shape.
    others: Vec<u64>,
}

impl<'w, C> Elements<'w, C> {
    fn new(inner: C, watch: &'w Watch) -> Self {
        Self { inner, watch, before: watch.shape(), first: None, others: Vec::new() }
    }

    /// Starts the fingerprint of one element.
    fn begin(&mut self) {
        self.before = self.watch.shape.replace(0);
    }

    /// Sets the element's fingerprint aside.
    fn finish(&mut self) {
        let element = self.watch.shape.replace(self.before);
        if *self.first.get_or_insert(element) != element && self.others.last() != Some(&element) {
            self.others.push(element);
        }
    }

    /// Folds the fingerprints of all elements into what came before them.
    fn fold(mut self) -> C {
        if !self.others.is_empty() {
            self.others.extend(self.first.take());
            self.others.sort_unstable();
            self.others.dedup();
        }
        self.first.into_iter().chain(self.others).for_each(|shape| self.watch.note(shape));
        self.watch.note(Kind::End as u64);
        self.inner
    }
}

impl<C: SerializeSeq> SerializeSeq for Elements<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.begin();
        self.inner.serialize_element(&Watched(value, self.watch))?;
        self.finish();
        Ok(())
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.fold().end()
    }
}

impl<C: SerializeMap> SerializeMap for Elements<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.begin();
        self.inner.serialize_key(&Watched(key, self.watch))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&Watched(value, self.watch))?;
        self.finish();
        Ok(())
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.fold().end()
    }
}

#[cfg(test)]
mod tests;
