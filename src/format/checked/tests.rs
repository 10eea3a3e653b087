use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::*;
use crate::format::Format;
use crate::wiped::Wiped;

/// The fingerprint of the value's shape.
#[track_caller]
fn shape<T: Serialize>(value: T) -> u64 {
    let watch = Watch::default();
    Format::Postcard.write(&value, &mut Wiped::default(), &watch).expect("postcard brings this back");
    watch.shape()
}

#[track_caller]
fn refused<T: Serialize>(value: T, message: &str) {
    let written = Format::Postcard.write(&value, &mut Wiped::default(), &Watch::default());
    assert_eq!(written.unwrap_err(), message);
}

const FLATTENED: &str = "a flattened field, or a map of unknown length, cannot be brought back by postcard; use the \
                         JSON codec for this type";

#[derive(Clone, Serialize)]
struct Item {
    name: &'static str,
    note: Option<&'static str>,
}

const PLAIN: Item = Item { name: "tea", note: None };
const NOTED: Item = Item { name: "milk", note: Some("cold") };

#[test]
fn a_field_that_is_left_out_is_refused_by_name() {
    #[derive(Serialize)]
    struct Profile {
        user: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        nick: Option<&'static str>,
    }
    #[derive(Serialize)]
    enum Event {
        Seen {
            #[serde(skip_serializing_if = "Option::is_none")]
            nick: Option<&'static str>,
        },
    }
    let message = "field `nick` was left out (skip_serializing_if), and postcard would read the next one in its place; \
                   use the JSON codec for this type";
    refused(Profile { user: "ada", nick: None }, message);
    refused(vec![(1, Profile { user: "ada", nick: None })], message);
    refused(Event::Seen { nick: None }, message);
    shape(Profile { user: "ada", nick: Some("a") });
}

#[test]
fn a_flattened_field_is_refused_and_so_is_what_does_not_say_its_length() {
    #[derive(Serialize)]
    struct Outer {
        user: &'static str,
        #[serde(flatten)]
        item: Item,
    }
    struct Endless(bool);
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 { serializer.serialize_map(None)?.end() } else { serializer.serialize_seq(None)?.end() }
        }
    }
    refused(Outer { user: "ada", item: PLAIN }, FLATTENED);
    refused(Some(Outer { user: "ada", item: PLAIN }), FLATTENED);
    refused(Endless(true), FLATTENED);
    let sequence =
        "a sequence of unknown length cannot be brought back by postcard; use the JSON codec for this type";
    refused(Endless(false), sequence);
}

#[test]
fn values_of_one_shape_differ_only_in_content_and_count() {
    assert_eq!(shape(PLAIN), shape(Item { name: "coffee", note: None }));
    assert_eq!(shape(vec![PLAIN, PLAIN]), shape(vec![PLAIN; 21]));
    assert_eq!(shape(BTreeMap::from([(1, 2)])), shape(BTreeMap::from([(3, 4), (5, 6)])));
}

#[test]
fn what_is_decoded_in_another_way_has_another_shape() {
    #[derive(Serialize)]
    enum Choice {
        A(u8),
        B(u8),
        C { c: u8 },
        D,
        E,
    }
    let shapes = [
        shape(PLAIN),
        shape(NOTED),
        shape(Choice::A(1)),
        shape(Choice::B(1)),
        shape(Choice::C { c: 1 }),
        shape(Choice::D),
        shape(Choice::E),
        shape(()),
        shape(1_u8),
        shape(1_u16),
        shape(1_i8),
        shape("1"),
        shape((1_u8, 1_u8)),
        shape(((1_u8,), 1_u8)),
        shape((1_u8, (1_u8,))),
        shape(Vec::<Item>::new()),
        shape(vec![PLAIN]),
        shape(vec![NOTED]),
        shape(vec![PLAIN, NOTED]),
        shape(vec![vec![PLAIN], vec![NOTED]]),
        shape(vec![vec![PLAIN, NOTED]]),
        shape((vec![PLAIN], vec![NOTED])),
        shape((vec![NOTED], vec![PLAIN])),
        shape(BTreeMap::from([(1, PLAIN)])),
        shape(BTreeMap::from([(1, NOTED)])),
    ];
    for (index, shape) in shapes.iter().enumerate() {
        assert_eq!(shapes.iter().position(|other| other == shape), Some(index));
    }
}

#[test]
fn the_order_of_elements_is_not_part_of_a_shape() {
    assert_eq!(shape(vec![PLAIN, NOTED]), shape(vec![NOTED, PLAIN, NOTED, PLAIN]));
    let mixed = |n: u8| (n, if n.is_multiple_of(3) { PLAIN } else { NOTED });
    // Each map has another order.
    let first = shape((0..50).map(mixed).collect::<HashMap<_, _>>());
    assert!((0..20).all(|_| shape((0..50).map(mixed).collect::<HashMap<_, _>>()) == first));
}
