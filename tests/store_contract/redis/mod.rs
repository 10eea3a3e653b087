//! `RedisStore`: the contract on each kind of deployment, what it costs, and what becomes of sessions when something
//! breaks.

mod cluster;
mod network;
mod refusals;
mod sentinel;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hardtack::store::{Expect, RedisStore, StoreError};
use time::Duration;

use crate::cases::{
    AnyStore, ID, delete, failed, hold_all_to_the_contract, in_an_hour, insert, load, numbered, record,
    refused, touch, update, updates_at_one_version,
};
use crate::servers::{Redis, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server_holds_to_the_contract() {
    let server = Redis::start(&[]);
    let store = RedisStore::connect(&server.url()).await.expect("connect");
    hold_all_to_the_contract!(fresh(&store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_handles_see_each_others_writes() {
    let server = Redis::start(&[]);
    let handles = [connect(&server).await, connect(&server).await];
    let [one, two] = &handles;

    insert(one, &record(0, in_an_hour(), b"first")).await;
    assert_eq!(load(two, ID).await, Some(record(0, in_an_hour(), b"first")));
    update(two, &record(1, in_an_hour(), b"second"), 0).await;
    refused(one.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    delete(one, ID).await;
    assert_eq!(load(two, ID).await, None);

    insert(one, &record(0, in_an_hour(), b"first")).await;
    updates_at_one_version(&handles).await;
}

#[tokio::test]
async fn applications_with_different_prefixes_do_not_meet() {
    let server = Redis::start(&[]);
    let store = RedisStore::connect(&server.url()).await.expect("connect");
    let (shop, blog): (AnyStore, AnyStore) =
        (Arc::new(store.clone().with_prefix("shop:")), Arc::new(store.with_prefix("blog:")));
    insert(&shop, &record(0, in_an_hour(), b"shop")).await;
    assert_eq!(load(&blog, ID).await, None);
    delete(&blog, ID).await;
    assert_eq!(load(&shop, ID).await, Some(record(0, in_an_hour(), b"shop")));
    assert_eq!(server.ask(&["KEYS", "*"]), "shop:0000030405060708090a0b0c0d0e0000");
}

#[tokio::test]
async fn the_server_drops_a_record_at_the_second_of_its_expiry() {
    let server = Redis::start(&[]);
    let store = connect(&server).await;
    let last_millisecond = || server.ask(&["PEXPIRETIME", KEY]).parse::<i64>().expect("a number");

    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    assert_eq!(last_millisecond(), in_an_hour().unix_timestamp() * 1000 - 1);
    touch(&store, ID, 0, in_an_hour() + Duration::HOUR).await;
    assert_eq!(last_millisecond(), (in_an_hour() + Duration::HOUR).unix_timestamp() * 1000 - 1);
    update(&store, &record(1, in_an_hour(), b"sealed"), 0).await;
    assert_eq!(last_millisecond(), in_an_hour().unix_timestamp() * 1000 - 1);
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let server = Redis::start(&[]);
    let store = connect(&server).await;
    for version in 0..3 {
        server.ask(&["SCRIPT", "FLUSH"]);
        if version == 0 {
            insert(&store, &record(0, in_an_hour(), b"sealed")).await;
        } else {
            update(&store, &record(version, in_an_hour(), b"sealed"), version - 1).await;
        }
        server.ask(&["SCRIPT", "FLUSH"]);
        touch(&store, ID, version, in_an_hour() + Duration::HOUR).await;
    }
    assert_eq!(load(&store, ID).await, Some(record(2, in_an_hour() + Duration::HOUR, b"sealed")));
    server.ask(&["SCRIPT", "FLUSH"]);
    refused(store.delete(&ID, Some(1)).await);
    server.ask(&["SCRIPT", "FLUSH"]);
    store.delete(&ID, Some(2)).await.expect("it is at version 2");
    assert_eq!(load(&store, ID).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_outlives_a_crash_of_the_server() {
    let mut server = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = connect(&server).await;
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                // Each saves one session again and again, until the server is gone.
                let mut session = numbered(n << 32);
                insert(&store, &session).await;
                loop {
                    let mut next = session.clone();
                    next.version += 1;
                    if store.save(&next, Expect::Version(session.version)).await.is_err() {
                        return session;
                    }
                    session = next;
                }
            })
        })
        .collect();
    until("each writer has written", || server.ask(&["DBSIZE"]) == "8");
    server.kill();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await.expect("no panic"));
    }
    server.restart();
    for session in acknowledged {
        let kept =
            store.load(&session.id, 0).await.expect("the first call succeeds").expect("it is not lost");
        // A save whose answer the crash has swallowed may have happened.
        assert!((session.version..=session.version + 1).contains(&kept.version));
        assert_eq!(kept.sealed, session.sealed);
    }
}

#[tokio::test]
async fn a_value_that_no_store_wrote_is_an_error_and_not_an_absent_record() {
    let server = Redis::start(&[]);
    let store = connect(&server).await;
    for foreign in ["", "short", "fifteen octets.", "\u{7f}the expiry is beyond any calendar"] {
        server.ask(&["SET", KEY, foreign]);
        let error = failed(store.load(&ID, 0).await);
        assert_eq!(
            chain(&error),
            ["the session store failed: load a record", "the key holds what no session store wrote"]
        );
    }
    server.ask(&["DEL", KEY]);
    server.ask(&["RPUSH", KEY, "a list"]);
    refused(store.save(&record(0, in_an_hour(), b"sealed"), Expect::Absent).await);
    for error in [
        failed(store.load(&ID, 0).await),
        failed(store.save(&record(1, in_an_hour(), b"sealed"), Expect::Version(0)).await),
        failed(store.touch(&ID, 0, in_an_hour()).await),
        failed(store.delete(&ID, Some(0)).await),
    ] {
        assert!(chain(&error).concat().contains("WRONGTYPE"), "{error:?}");
    }
}

#[tokio::test]
async fn debug_shows_the_server_and_no_password() {
    let server = Redis::start(&["--requirepass", "open-sesame"]);
    let url = format!("redis://:open-sesame@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url).await.expect("connect");
    let expected = format!(
        "RedisStore {{ servers: 127.0.0.1:{}, prefix: \"hardtack:\", deadline: 500ms }}",
        server.port()
    );
    assert_eq!(format!("{store:?}"), expected);
}

/// The key of `ID`.
const KEY: &str = "hardtack:0000030405060708090a0b0c0d0e0000";

async fn connect(server: &Redis) -> AnyStore {
    Arc::new(RedisStore::connect(&server.url()).await.expect("connect"))
}

/// The same store where nobody has written yet.
fn fresh(store: &RedisStore) -> AnyStore {
    static FRESH: AtomicU64 = AtomicU64::new(0);
    Arc::new(store.clone().with_prefix(&format!("fresh-{}:", FRESH.fetch_add(1, Ordering::Relaxed))))
}

/// The error of each call but the unconditional deletion, which asks for nothing of what it deletes.
async fn each_call(store: &AnyStore) -> [StoreError; 5] {
    [
        failed(store.load(&ID, 0).await),
        failed(store.save(&record(0, in_an_hour(), b"sealed"), Expect::Absent).await),
        failed(store.save(&record(1, in_an_hour(), b"sealed"), Expect::Version(0)).await),
        failed(store.touch(&ID, 0, in_an_hour()).await),
        failed(store.delete(&ID, Some(0)).await),
    ]
}

/// What the error and its sources say.
fn chain(error: &StoreError) -> Vec<String> {
    let mut said = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        said.push(error.to_string());
        next = error.source();
    }
    said
}
