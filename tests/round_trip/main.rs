//! From session to response to browser to request to session, over any sequence of requests: what comes back is what was
//! left, or the handler was told that it would not.

#[path = "../browser_model/browser.rs"]
mod browser;
mod moves;
mod records;
mod setting;
mod shop;
mod visit;
mod world;

use hardtack::{Budget, Format};
use proptest::collection::vec;
use proptest::prelude::*;

use setting::{Identity, Setting};
use shop::{any_shop, any_size};
use visit::{Deed, Event, Visit};
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_has_the_session_that_the_last_response_left(
        setting in any_setting(),
        visits in vec(any_visit(), 1..14),
    ) {
        let mut world = World::new(setting);
        for visit in visits {
            world.visit(visit);
        }
    }
}

fn any_setting() -> impl Strategy<Value = Setting> {
    let identity = prop_oneof![
        3 => Just(Identity::Host),
        1 => Just(Identity::Secure),
        1 => Just(Identity::OnAPath),
        1 => Just(Identity::OnADomain),
    ];
    let budget = prop_oneof![
        Just(Budget::default()),
        (1..=8_u8).prop_map(Budget::chunked),
        (0..=63_u8, 600..14_000_usize).prop_map(|(cookies, total)| Budget::new(cookies, total)),
    ];
    let idle = prop_oneof![Just(None), (600..100_000_i64).prop_map(Some)];
    let max_value = prop_oneof![4 => Just(64 * 1024), 1 => 500..9_000_usize];
    let flags = (prop::bool::weighted(0.6), any::<bool>(), prop::bool::weighted(0.8));
    (identity, budget, 1..=4_usize, idle, flags, any_format(), max_value).prop_map(
        |(identity, budget, keys, idle, (store, compress, persistent), format, max_value)| Setting {
            identity,
            budget,
            keys,
            idle,
            // A budget without cookies is for those who have a store.
            store: store || budget.cookies() == 0,
            compress,
            persistent,
            format,
            max_value,
        },
    )
}

#[cfg(feature = "json")]
fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Postcard), Just(Format::Json)]
}

#[cfg(not(feature = "json"))]
fn any_format() -> impl Strategy<Value = Format> {
    Just(Format::Postcard)
}

fn any_visit() -> impl Strategy<Value = Visit> {
    let wait = prop_oneof![3 => 0..3_i64, 3 => 60..4_000_i64, 1 => 4_000..200_000_i64];
    let event = prop_oneof![
        any::<u8>().prop_map(Event::Junk),
        (0..63_usize, "[a-zA-Z0-9._-]{0,30}", any::<bool>())
            .prop_map(|(role, value, elsewhere)| Event::Stray { role, value, elsewhere }),
        Just(Event::Copy),
    ];
    let deed = prop_oneof![
        3 => Just(Deed::Look),
        1 => Just(Deed::BorrowMutably),
        4 => any_shop().prop_map(Deed::Put),
        5 => any_size().prop_map(Deed::Resize),
        1 => Just(Deed::Rotate),
        1 => any_shop().prop_map(Deed::RotateAndPut),
        1 => Just(Deed::Destroy),
        1 => any_shop().prop_map(Deed::DestroyAndPut),
        1 => prop_oneof![Just("ada"), Just("grace")].prop_map(Deed::Subject),
        1 => Just(Deed::ClearSubject),
        1 => (-10..100_000_i64).prop_map(Deed::ExpireIn),
    ];
    let spent = prop_oneof![5 => Just(0), 1 => 0..3_000_usize];
    (wait, vec(event, 0..2), any::<usize>(), spent, any::<u64>(), 1..4_usize, deed).prop_map(
        |(wait, before, key, spent, order, fields, deed)| Visit {
            wait,
            before,
            key,
            spent,
            order,
            fields,
            deed,
        },
    )
}
