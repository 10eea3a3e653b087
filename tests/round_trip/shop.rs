//! A session's value with something of every kind, and any of them.

use std::collections::BTreeMap;

use hardtack::{NoRandom, Random, Secret};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shop {
    user: Option<String>,
    cart: Vec<Item>,
    delivery: Delivery,
    preferences: BTreeMap<String, Option<i64>>,
    access_token: Secret<String>,
    refresh_token: Option<Secret<String>>,
    codes: Vec<Secret<Vec<u8>>>,
    visits: u64,
    /// What makes it large.
    pub(crate) note: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    article: u32,
    count: u8,
    options: Vec<String>,
    gift: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Delivery {
    #[default]
    Undecided,
    Store(u16),
    Address {
        street: String,
        zip: [char; 3],
    },
    Locker(u8, Option<char>),
}

pub(crate) fn any_shop() -> impl Strategy<Value = Shop> {
    let item = (any::<u32>(), any::<u8>(), vec(".{0,8}", 0..3), any::<Option<bool>>())
        .prop_map(|(article, count, options, gift)| Item { article, count, options, gift });
    let delivery = prop_oneof![
        Just(Delivery::Undecided),
        any::<u16>().prop_map(Delivery::Store),
        (".{0,20}", any::<[char; 3]>()).prop_map(|(street, zip)| Delivery::Address { street, zip }),
        (any::<u8>(), any::<Option<char>>()).prop_map(|(number, side)| Delivery::Locker(number, side)),
    ];
    let secrets = (".{0,40}", option::of("[a-z]{0,40}"), vec(vec(any::<u8>(), 0..20), 0..4));
    let preferences = btree_map("[a-z]{0,6}", any::<Option<i64>>(), 0..4);
    (option::of(".{0,30}"), vec(item, 0..12), delivery, preferences, secrets, any::<u64>(), any_size())
        .prop_map(|(user, cart, delivery, preferences, (access, refresh, codes), visits, size)| Shop {
            user,
            cart,
            delivery,
            preferences,
            access_token: Secret::new(access),
            refresh_token: refresh.map(Secret::new),
            codes: codes.into_iter().map(Secret::new).collect(),
            visits,
            note: noise(size),
        })
}

/// Often small, sometimes over every budget.
pub(crate) fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..400_usize, 4 => 400..4_000_usize, 2 => 4_000..12_000_usize]
}

/// Text that hardly compresses.
pub(crate) fn noise(octets: usize) -> String {
    let mut bytes = vec![0; octets];
    Seeded(octets as u64).fill(&mut bytes).expect("it does not fail");
    bytes.iter().map(|byte| char::from(b'0' + byte % 64)).collect()
}

/// `SplitMix64`: the same bytes for the same seed, and no nonce twice.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Puts things in an order of its own.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let below = usize::try_from(self.next() % (last as u64 + 1)).expect("an index");
            things.swap(last, below);
        }
    }
}

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
