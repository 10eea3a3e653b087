use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Deserializer};

use super::*;
use crate::Secret;

#[track_caller]
fn comes_back_in<T: Serialize + DeserializeOwned + PartialEq + Debug>(codec: &Codec, value: &T) {
    let encoded = codec.encode(value).expect("a value that comes back");
    assert_eq!(decode::<T>(codec.format(), &encoded).as_ref(), Some(value));
}

#[track_caller]
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    comes_back_in(&Codec::default(), value);
    #[cfg(feature = "json")]
    comes_back_in(&Codec::new(Format::Json), value);
}

/// Refused by this codec, now and again.
#[track_caller]
fn refused_by<T: Serialize + DeserializeOwned>(codec: &Codec, value: &T, message: &str) {
    for _ in 0..2 {
        let refusal = codec.encode(value).map(drop).unwrap_err().to_string();
        assert_eq!(refusal, format!("the session's value cannot be encoded: {message}"));
    }
}

/// Refused by postcard, but not by JSON.
#[track_caller]
fn needs_json<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, message: &str) {
    refused_by(&Codec::default(), value, message);
    #[cfg(feature = "json")]
    comes_back_in(&Codec::new(Format::Json), value);
}

const NOT_AGAIN: &str = "what was encoded does not decode again: an untagged or internally tagged enum, or a field \
                         that is skipped on one way only? Use the JSON codec for this type";
const ANOTHER: &str = "what was encoded decodes to another value: an untagged or internally tagged enum, or a field \
                       that is skipped on one way only? Use the JSON codec for this type";

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(u64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    Newtype(String),
    Tuple(u8, i8),
    Struct { a: Option<u8>, b: Vec<Choice> },
}

/// As `serde_bytes` does it.
#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsBytes;
        impl<'de> serde::de::Visitor<'de> for AsBytes {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_bytes(AsBytes)
    }
}

#[test]
fn every_kind_of_value_comes_back() {
    comes_back(&());
    comes_back(&(Unit, Newtype(u64::MAX), true, [1_u8; 3]));
    comes_back(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX));
    comes_back(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN));
    comes_back(&(f32::MIN_POSITIVE, f64::MAX, -0.0_f64, 0.1_f64));
    comes_back(&('a', '\u{0}', '\u{1f36a}', String::from("\u{e4}\n\0")));
    comes_back(&Bytes((0..=255).collect()));
    comes_back(&(None::<u8>, Some(Some(1)), Some(None::<u8>).map(|_| Newtype(1)), Box::new(7)));
    comes_back(&vec![vec![], vec![Some("a".to_owned())], vec![None]]);
    comes_back(&(
        BTreeMap::from([("a".to_owned(), vec![1]), (String::new(), vec![])]),
        BTreeSet::from([3, 1]),
    ));
    let leaf = || Choice::Newtype("a".into());
    let inner = Choice::Struct { a: Some(1), b: vec![Choice::Unit, leaf()] };
    comes_back(&vec![Choice::Tuple(1, -1), Choice::Struct { a: None, b: vec![inner, leaf()] }]);
    comes_back_in(&Codec::default(), &f64::INFINITY);
}

#[test]
fn maps_come_back_whatever_their_order() {
    let codec = Codec::default();
    // Each map has another order.
    for size in 0..40_u8 {
        let choice = |n: u8| match n % 3 {
            0 => None,
            1 => Some(Choice::Unit),
            _ => Some(Choice::Newtype("a".repeat(n.into()))),
        };
        comes_back(&(0..size).map(|n| (n.to_string(), choice(n))).collect::<HashMap<_, _>>());
        comes_back(&(0..size).map(|n| (u16::from(n) * 99, n.checked_sub(7))).collect::<HashSet<_>>());

        let text = |n: u8| if n.is_multiple_of(2) { None } else { Some("s".repeat(n.into())) };
        let secrets: HashMap<_, _> = (0..size).map(|n| (n, Secret::new(text(n)))).collect();
        let encoded = codec.encode(&secrets).expect("secrets come back");
        let again: HashMap<u8, Secret<Option<String>>> =
            decode(Format::Postcard, &encoded).expect("secrets come back");
        assert!((0..size).all(|n| *again[&n].expose() == text(n)));
    }
}

#[test]
fn fields_that_are_left_out_and_flattened_ones_need_json() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        nick: Option<String>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Sparse,
    }
    let skipped = "field `nick` was left out (skip_serializing_if), and postcard would read the next one in its \
                   place; use the JSON codec for this type";
    needs_json(&Sparse { nick: None }, skipped);
    let flattened = "a flattened field, or a map of unknown length, cannot be brought back by postcard; use the \
                     JSON codec for this type";
    needs_json(&Flat { inner: Sparse { nick: Some("a".into()) } }, flattened);
    needs_json(&vec![Flat { inner: Sparse { nick: Some("a".into()) } }], flattened);
}

#[test]
fn a_refusal_inside_a_secret_says_why_too() {
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        nick: Option<String>,
    }
    impl zeroize::Zeroize for Sparse {
        fn zeroize(&mut self) {
            self.nick.zeroize();
        }
    }
    let message = "field `nick` was left out (skip_serializing_if), and postcard would read the next one in its \
                   place; use the JSON codec for this type";
    let codec = Codec::default();
    refused_by(&codec, &(1, Secret::new(Sparse::default())), message);
    codec.encode(&(1, Secret::new(Sparse { nick: Some("a".into()) }))).expect("nothing is left out here");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}

#[test]
fn an_untagged_enum_is_refused_at_its_first_seal_whatever_was_sealed_before() {
    let codec = Codec::default();
    comes_back_in(&codec, &None::<Untagged>);
    comes_back_in(&codec, &Vec::<Untagged>::new());
    comes_back_in(&codec, &BTreeMap::<u8, Option<Untagged>>::from([(1, None)]));
    refused_by(&codec, &Some(Untagged::Number(1)), NOT_AGAIN);
    refused_by(&codec, &vec![Untagged::Text("a".into())], NOT_AGAIN);
    refused_by(&codec, &BTreeMap::from([(1, None), (2, Some(Untagged::Number(1)))]), NOT_AGAIN);
    needs_json(&(7, Untagged::Text("a".into())), NOT_AGAIN);
}

#[test]
fn an_internally_tagged_enum_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Login { user: String },
    }
    needs_json(&Tagged::Login { user: "ada".into() }, NOT_AGAIN);
}

#[test]
fn a_field_that_is_skipped_on_one_way_only_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Written<T> {
        #[serde(skip_serializing)]
        a: T,
        b: Vec<u8>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Read<T> {
        #[serde(skip_deserializing)]
        a: T,
        b: Vec<u8>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(skip)]
        a: u8,
        b: u8,
    }
    let codec = Codec::default();
    refused_by(&codec, &Written { a: String::new(), b: vec![] }, NOT_AGAIN);
    refused_by(&codec, &Read { a: 0_u8, b: vec![] }, NOT_AGAIN);
    // These decode, because the bytes happen to make sense without the field, or with it.
    refused_by(&codec, &Written { a: 9_u8, b: vec![1, 7] }, ANOTHER);
    refused_by(&codec, &Read { a: 1_u8, b: vec![] }, ANOTHER);
    comes_back(&Both { a: 0, b: 7 });
}

#[test]
fn what_decodes_to_another_value_of_the_same_bytes_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair(#[serde(skip_serializing_if = "is_zero")] u8, u8);
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_zero(n: &u8) -> bool {
        *n == 0
    }
    // 07, 01 00: read as (7, 1) and no byte.
    refused_by(&Codec::default(), &(Pair(0, 7), vec![0_u8]), ANOTHER);
    comes_back_in(&Codec::default(), &(Pair(1, 7), vec![0_u8]));
}

#[test]
fn a_variant_behind_a_skipped_one_is_refused_where_it_decodes_as_the_next() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Role {
        Guest,
        #[serde(skip)]
        #[expect(dead_code, reason = "it only moves the numbers of the others")]
        Internal,
        Member,
        Admin,
    }
    let codec = Codec::default();
    comes_back_in(&codec, &Role::Guest);
    refused_by(&codec, &Role::Member, ANOTHER);
    refused_by(&codec, &Role::Admin, NOT_AGAIN);
}

#[test]
fn two_secrets_that_change_places_are_proven_anew() {
    #[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
    enum Sound {
        A,
        B,
    }
    #[derive(Clone, Copy, Serialize, Deserialize)]
    enum Broken {
        A,
        #[serde(skip_deserializing)]
        B,
    }
    impl zeroize::Zeroize for Sound {
        fn zeroize(&mut self) {
            *self = Self::A;
        }
    }
    impl zeroize::Zeroize for Broken {
        fn zeroize(&mut self) {
            *self = Self::A;
        }
    }
    let codec = Codec::default();
    let pair = |broken, sound| (Secret::new(broken), Secret::new(sound));
    codec.encode(&pair(Broken::A, Sound::B)).expect("both come back");
    refused_by(&codec, &pair(Broken::B, Sound::A), NOT_AGAIN);
}

#[test]
fn a_shape_is_decoded_once_and_every_other_shape_anew() {
    thread_local! {
        static DECODED: Cell<u32> = const { Cell::new(0) };
    }
    #[derive(Serialize)]
    struct Counted(Option<String>);
    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            DECODED.set(DECODED.get() + 1);
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
    let codec = Codec::default();
    let decodings = |values: [Counted; 2]| {
        DECODED.set(0);
        codec.encode(&values).expect("a value that comes back");
        DECODED.get()
    };
    let text = |n: usize| Counted(Some("a".repeat(n)));
    assert_eq!(decodings([text(0), text(1)]), 2);
    assert_eq!((2..50).map(|n| decodings([text(n), text(2 * n)])).sum::<u32>(), 0);
    assert_eq!(decodings([text(1), Counted(None)]), 2);
    assert_eq!(decodings([Counted(None), text(1)]), 2);
    assert_eq!(decodings([text(9), Counted(None)]), 0);
    #[cfg(feature = "json")]
    {
        let codec = Codec::new(Format::Json);
        DECODED.set(0);
        (0..3).for_each(|_| drop(codec.encode(&text(1)).expect("a value that comes back")));
        assert_eq!(DECODED.get(), 3);
    }
}

#[cfg(feature = "json")]
#[test]
fn json_refuses_a_number_that_is_none_even_after_one_that_is() {
    let codec = Codec::new(Format::Json);
    comes_back_in(&codec, &1.5_f64);
    refused_by(&codec, &f64::NAN, NOT_AGAIN);
    refused_by(&codec, &f64::INFINITY, NOT_AGAIN);
}

#[test]
fn what_is_left_over_or_missing_is_no_value() {
    let encoded = Codec::default().encode(&(1_u8, 2_u8)).expect("a value that comes back");
    assert_eq!(decode::<(u8, u8)>(Format::Postcard, &encoded), Some((1, 2)));
    assert_eq!(decode::<u8>(Format::Postcard, &encoded), None);
    assert_eq!(decode::<(u8, u8, u8)>(Format::Postcard, &encoded), None);
}

proptest! {
    #[test]
    fn any_bytes_decode_to_a_value_or_to_none(
        public in proptest::collection::vec(any::<u8>(), 0..64),
        secret in proptest::collection::vec(any::<u8>(), 0..32),
    ) {
        let encoded = Encoded::joined(Wiped::from(public), &secret);
        drop(decode::<(Vec<Choice>, Option<Secret<String>>, HashMap<u32, char>)>(Format::Postcard, &encoded));
        #[cfg(feature = "json")]
        drop(decode::<(Vec<Choice>, Option<Secret<String>>)>(Format::Json, &encoded));
    }
}
