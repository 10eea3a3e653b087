//! `MemoryStore`: the contract, and its bound.

use std::future::{Ready, ready};
use std::sync::Arc;

use hardtack::store::{Expect, MemoryStore, Record, Store};

use crate::cases::{
    AnyStore, delete, failed, hold_to_the_contract, in_an_hour, insert, load, numbered, record, this_second,
    touch, update,
};

hold_to_the_contract!(fresh);

fn fresh() -> Ready<(AnyStore, ())> {
    ready((Arc::new(MemoryStore::default()), ()))
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_every_live_record() {
    let (store, kept) = full().await;
    let error = failed(store.save(&numbered(kept), Expect::Absent).await);
    assert_eq!(
        error.to_string(),
        "the session store failed: save a record, because the memory store is full"
    );
    assert_eq!(load(&store, numbered(kept).id).await, None);
    for n in 0..kept {
        assert_eq!(load(&store, numbered(n).id).await, Some(numbered(n)));
    }
}

#[tokio::test]
async fn the_refusal_gives_the_figures() {
    let store: AnyStore = Arc::new(MemoryStore::with_capacity(1_000));
    insert(&store, &record(0, in_an_hour(), &[0; 300])).await;
    let error = failed(store.save(&numbered(1), Expect::Absent).await);
    let figures = std::error::Error::source(&error).expect("it has a source").to_string();
    assert_eq!(figures, "500 of 1000 bytes are taken, and the record takes 700");
}

#[tokio::test]
async fn a_full_store_accepts_again_after_a_deletion() {
    let (store, kept) = full().await;
    delete(&store, numbered(0).id).await;
    insert(&store, &numbered(kept)).await;
    failed(store.save(&numbered(kept + 1), Expect::Absent).await);
}

#[tokio::test]
async fn a_full_store_makes_room_by_dropping_what_has_expired() {
    let (store, kept) = full().await;
    for n in 0..kept {
        touch(&store, numbered(n).id, n, this_second()).await;
    }
    // As large as all of them: each has to go at once.
    let large = record(0, in_an_hour(), &vec![0; CAPACITY - 700]);
    insert(&store, &large).await;
    assert_eq!(load(&store, large.id).await, Some(large));
}

#[tokio::test]
async fn a_full_store_still_updates_what_does_not_grow() {
    let (store, kept) = full().await;
    let same = Record { version: kept, ..numbered(1) };
    update(&store, &same, 1).await;
    assert_eq!(load(&store, same.id).await, Some(same));
}

#[tokio::test]
async fn an_update_that_does_not_fit_leaves_the_record_as_it_was() {
    let (store, kept) = full().await;
    let grown = Record { version: kept, sealed: vec![0; CAPACITY], ..numbered(1) };
    failed(store.save(&grown, Expect::Version(1)).await);
    assert_eq!(load(&store, grown.id).await, Some(numbered(1)));
}

#[tokio::test]
async fn what_was_replaced_or_deleted_no_longer_counts() {
    let store: AnyStore = Arc::new(MemoryStore::with_capacity(CAPACITY));
    for version in 0..1_000 {
        insert(&store, &record(version, in_an_hour(), &vec![0; CAPACITY / 3])).await;
        touch(&store, record(0, in_an_hour(), b"").id, version, in_an_hour()).await;
        update(&store, &record(version + 1, in_an_hour(), &vec![0; CAPACITY / 2]), version).await;
        delete(&store, record(0, in_an_hour(), b"").id).await;
    }
}

#[tokio::test]
async fn debug_shows_figures_and_no_bytes() {
    let store = MemoryStore::with_capacity(1_000);
    store.save(&record(0, in_an_hour(), b"sealed"), Expect::Absent).await.expect("insert");
    assert_eq!(format!("{store:?}"), "MemoryStore { capacity: 1000, used: 206, records: 1 }");
}

const CAPACITY: usize = 40_000;

/// A store with as many live numbered records as it takes, and their number.
async fn full() -> (AnyStore, u64) {
    let store = MemoryStore::with_capacity(CAPACITY);
    let mut kept = 0;
    while kept < 100 && store.save(&numbered(kept), Expect::Absent).await.is_ok() {
        kept += 1;
    }
    assert!((20..80).contains(&kept), "{kept} records of 500 sealed bytes in {CAPACITY}");
    (Arc::new(store), kept)
}
