//! `CachedStore`: the contract, before a store that it has alone, and before one that it shares. What its copies are worth
//! as time passes, its own tests say.

use std::future::{Ready, ready};
use std::sync::Arc;

use hardtack::store::{CachedStore, Expect, MemoryStore, Store};
use time::Duration;

use crate::cases::{
    AnyStore, ID, delete, hold_to_the_contract, in_an_hour, insert, load, record, refused, touch, update,
    updates_at_one_version,
};

hold_to_the_contract!(fresh);

fn fresh() -> Ready<(AnyStore, ())> {
    ready((node(MemoryStore::default()), ()))
}

#[tokio::test]
async fn two_nodes_see_each_others_writes_as_soon_as_a_cookie_names_them() {
    let [one, two] = nodes();
    insert(&one, &record(0, in_an_hour(), b"first")).await;
    assert_eq!(load(&two, ID).await, Some(record(0, in_an_hour(), b"first")));
    update(&two, &record(1, in_an_hour(), b"second"), 0).await;
    assert_eq!(one.load(&ID, 1).await.expect("load"), Some(record(1, in_an_hour(), b"second")));
}

#[tokio::test]
async fn a_write_is_refused_that_starts_from_an_outdated_copy() {
    let [one, two] = nodes();
    insert(&one, &record(0, in_an_hour(), b"first")).await;
    update(&two, &record(1, in_an_hour(), b"second"), 0).await;
    assert_eq!(load(&one, ID).await, Some(record(0, in_an_hour(), b"first")));
    refused(one.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    assert_eq!(load(&one, ID).await, Some(record(1, in_an_hour(), b"second")));
}

#[tokio::test]
async fn a_session_that_another_node_ended_is_not_brought_back() {
    let [one, two] = nodes();
    insert(&one, &record(0, in_an_hour(), b"first")).await;
    delete(&two, ID).await;
    assert_eq!(load(&one, ID).await, Some(record(0, in_an_hour(), b"first")));
    touch(&one, ID, 0, in_an_hour() + Duration::DAY).await;
    refused(one.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    refused(one.delete(&ID, Some(0)).await);
    assert_eq!(load(&one, ID).await, None);
    assert_eq!(load(&two, ID).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_updates_from_two_nodes_one_wins() {
    let nodes = nodes();
    insert(&nodes[0], &record(0, in_an_hour(), b"first")).await;
    // Those that lost have no copy, and the one that won has its own.
    updates_at_one_version(&nodes).await;
}

/// Two nodes on one store.
fn nodes() -> [AnyStore; 2] {
    let shared: AnyStore = Arc::new(MemoryStore::default());
    [node(shared.clone()), node(shared)]
}

fn node(inner: impl Store) -> AnyStore {
    Arc::new(CachedStore::new(inner, 16 << 20))
}
