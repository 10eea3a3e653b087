//! Calls that nobody waits for any longer: no later call may read what was meant for them.

use std::future::poll_fn;
use std::task::Poll;

use super::*;

/// One connection, so that a call that follows would find it in the state in which the dropped one left it.
async fn of_one_connection() -> (Memcached, AnyStore) {
    let server = Memcached::start(&["-I", "4m"]);
    let store: AnyStore = Arc::new(connect(&server).await.with_connections(1));
    (server, store)
}

/// Polls a future until it has been pending so many times, and drops it then, if it has not come to its end.
async fn drop_after<F: Future + Unpin>(mut call: F, pending: u64) -> Option<F::Output> {
    let mut left = pending;
    poll_fn(|context| match std::pin::Pin::new(&mut call).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_load_that_was_dropped_anywhere_leaves_nothing_for_the_next_call() {
    let (_server, store) = of_one_connection().await;
    // Large enough that its answer comes in many pieces.
    let large = Record { sealed: vec![0xaa; 1 << 20], ..named(1) };
    insert(&store, &large).await;
    insert(&store, &named(2)).await;
    let mut dropped = 0;
    for pending in 0.. {
        let ended = drop_after(store.load(&large.id, 0), pending).await;
        assert_eq!(
            load(&store, named(2).id).await,
            Some(named(2)),
            "dropped when it was pending {pending} times"
        );
        assert_eq!(load(&store, named(3).id).await, None);
        if ended.is_some() {
            break;
        }
        dropped += 1;
    }
    assert!(dropped >= 2, "it was pending {dropped} times");
}

#[tokio::test]
async fn a_write_that_was_dropped_anywhere_leaves_nothing_for_the_next_call() {
    let (_server, store) = of_one_connection().await;
    insert(&store, &named(2)).await;
    for call in 0..5 {
        for pending in 0.. {
            delete(&store, named(1).id).await;
            let first = Record { sealed: vec![0xaa; 1 << 20], ..named(1) };
            if call > 0 {
                insert(&store, &first).await;
            }
            let next = Record { version: 1, ..first.clone() };
            let ended = match call {
                0 => drop_after(store.save(&first, Expect::Absent), pending).await,
                1 => drop_after(store.save(&next, Expect::Version(0)), pending).await,
                2 => drop_after(store.touch(&first.id, 0, in_an_hour()), pending).await,
                3 => drop_after(store.delete(&first.id, Some(0)), pending).await,
                _ => drop_after(store.delete(&first.id, None), pending).await,
            };
            assert_eq!(
                load(&store, named(2).id).await,
                Some(named(2)),
                "call {call}, pending {pending} times"
            );
            refused(store.save(&named(2), Expect::Absent).await);
            if ended.is_some() {
                break;
            }
        }
    }
}

/// Many visitors with a record each, on few connections; their calls are dropped at places that are never the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn among_many_calls_that_are_dropped_everybody_loads_his_own_record() {
    let server = Memcached::start(&["-I", "4m"]);
    let proxy = Proxy::to(server.port()).await;
    let address = format!("127.0.0.1:{}", proxy.port());
    let store = MemcachedStore::connect(&address).await.expect("connect").with_connections(4);
    let store: AnyStore = Arc::new(store.with_deadline(std::time::Duration::from_secs(50)));
    let runs: Vec<_> = (0..32_u64).map(|n| tokio::spawn(visit(store.clone(), n))).collect();
    let mut dropped = 0;
    for run in runs {
        dropped += run.await.expect("everybody has his own");
    }
    assert!((100..4_700).contains(&dropped), "{dropped} of 4800 calls were dropped");
}

/// Loads one record many times, in vain or not. How many of the calls were dropped.
async fn visit(store: AnyStore, n: u64) -> u64 {
    let own =
        Record { sealed: n.to_le_bytes().repeat(if n.is_multiple_of(4) { 20_000 } else { 30 }), ..named(n) };
    insert(&store, &own).await;
    let (mut random, mut dropped) = (n, 0);
    for _ in 0..150 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match drop_after(store.load(&own.id, 0), (random >> 33) % 8).await {
            Some(loaded) => assert!(loaded.expect("load").as_ref() == Some(&own), "another's record"),
            None => dropped += 1,
        }
    }
    assert!(load(&store, own.id).await.as_ref() == Some(&own), "another's record");
    dropped
}
