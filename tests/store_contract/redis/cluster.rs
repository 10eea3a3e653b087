//! A Cluster: the contract, slots that move, and nodes that go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hardtack::store::{Record, RecordId, RedisStore};

use super::{KEY, chain, fresh};
use crate::cases::{
    AnyStore, ID, failed, hold_all_to_the_contract, in_an_hour, insert, load, numbered, record, touch, update,
};
use crate::servers::{Cluster, Redis, free_port, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_holds_to_the_contract() {
    let servers = Cluster::start();
    let store = RedisStore::cluster(&servers.urls()).await.expect("connect");
    hold_all_to_the_contract!(fresh(&store));
}

#[tokio::test]
async fn one_node_of_the_cluster_leads_to_the_others() {
    let servers = Cluster::start();
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let store: AnyStore =
        Arc::new(RedisStore::cluster(&[nowhere.clone(), servers.masters[2].url()]).await.expect("connect"));
    for n in 0..100 {
        insert(&store, &numbered(n)).await;
    }
    let sizes: Vec<u64> =
        servers.masters.iter().map(|node| node.ask(&["DBSIZE"]).parse().expect("a number")).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 100);
    assert!(sizes.iter().all(|&size| size > 10), "{sizes:?}");

    let said = chain(&failed(RedisStore::cluster(&[nowhere]).await));
    assert!(said[2].contains("refused"), "{said:?}");
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_an_error_at_start() {
    let server = Redis::start(&[]);
    let said = chain(&failed(RedisStore::cluster(&[server.url()]).await));
    assert!(said[2].contains("cluster support disabled"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_may_move_while_its_sessions_are_in_use() {
    let servers = Cluster::start();
    let store = connect(&servers).await;
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    let done = Arc::new(AtomicBool::new(false));
    let user = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            let mut version = 0;
            while !done.load(Ordering::Relaxed) {
                let loaded = load(&store, ID).await.expect("it is never absent");
                assert_eq!(loaded.version, version);
                update(&store, &record(version + 1, in_an_hour(), b"sealed"), version).await;
                version += 1;
                touch(&store, ID, version, in_an_hour()).await;
            }
            version
        }
    });

    let slot = servers.masters[0].ask(&["CLUSTER", "KEYSLOT", KEY]);
    let (from, to) = (&servers.masters[servers.owner(KEY)], &servers.masters[(servers.owner(KEY) + 1) % 3]);
    for (from, to) in [(from, to), (to, from), (from, to)] {
        let (from_id, to_id) = (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
        to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        // The new owner has run none of the scripts for this key yet.
        to.ask(&["SCRIPT", "FLUSH"]);
        from.ask(&["MIGRATE", "127.0.0.1", &to.port().to_string(), KEY, "0", "5000"]);
        // Between the two lies the time in which the key has moved and the slot has not.
        store.load(&ID, 0).await.expect("load").expect("it is there");
        for node in [to, from, &servers.masters[(servers.owner(KEY) + 2) % 3]] {
            node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }
    done.store(true, Ordering::Relaxed);
    let version = user.await.expect("no call fails while the slot moves");
    assert_eq!(load(&store, ID).await.expect("it is there").version, version);
    assert!(version > 10, "it was in use");
}

#[tokio::test]
async fn a_key_that_has_gone_ahead_of_its_slot_is_followed() {
    let servers = Cluster::start();
    let store = connect(&servers).await;
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    let slot = servers.masters[0].ask(&["CLUSTER", "KEYSLOT", KEY]);
    let (from, to) = (&servers.masters[servers.owner(KEY)], &servers.masters[(servers.owner(KEY) + 1) % 3]);
    to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.ask(&["CLUSTER", "MYID"])]);
    from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.ask(&["CLUSTER", "MYID"])]);
    from.ask(&["MIGRATE", "127.0.0.1", &to.port().to_string(), KEY, "0", "5000"]);
    for version in 0..3 {
        to.ask(&["SCRIPT", "FLUSH"]);
        assert_eq!(load(&store, ID).await.expect("it is there").version, version);
        update(&store, &record(version + 1, in_an_hour(), b"sealed"), version).await;
    }
    store.delete(&ID, Some(3)).await.expect("it is at version 3");
    assert_eq!(load(&store, ID).await, None);
}

#[tokio::test]
async fn a_node_that_dies_costs_the_others_nothing_and_comes_back() {
    let mut servers = Cluster::start();
    let store = connect(&servers).await;
    let ids = one_for_each(&servers);
    for id in ids {
        insert(&store, &Record { id, ..record(0, in_an_hour(), b"sealed") }).await;
    }
    servers.masters[1].kill();
    for _ in 0..10 {
        failed(store.load(&ids[1], 0).await);
        for id in [ids[0], ids[2]] {
            assert!(load(&store, id).await.is_some());
        }
    }
    // It kept nothing on disk, so its sessions are gone; it is there again.
    servers.masters[1].restart();
    until("it works", || servers.masters[1].ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    let next = Record { id: ids[1], ..record(0, in_an_hour(), b"next") };
    until("it accepts writes", || servers.masters[1].ask(&["CLUSTER", "NODES"]).contains("myself,master"));
    insert(&store, &next).await;
    assert_eq!(load(&store, ids[1]).await, Some(next));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_hangs_slows_no_call_to_the_others_and_is_left_for_its_replica() {
    let servers = Cluster::start();
    let store = connect(&servers).await;
    let ids = one_for_each(&servers);
    for id in ids {
        insert(&store, &Record { id, ..record(0, in_an_hour(), b"sealed") }).await;
    }
    until("the replica has its record", || servers.replica.ask(&["DBSIZE"]) == "1");
    servers.masters[0].signal("STOP");
    let (start, mut slowest, mut failures) = (Instant::now(), Duration::ZERO, 0);
    loop {
        let hanging = tokio::spawn({
            let (store, id) = (store.clone(), ids[0]);
            async move { store.load(&id, 0).await }
        });
        while !hanging.is_finished() {
            for id in [ids[1], ids[2]] {
                let start = Instant::now();
                assert!(load(&store, id).await.is_some());
                slowest = slowest.max(start.elapsed());
            }
        }
        match hanging.await.expect("no panic") {
            Ok(found) => {
                assert_eq!(found.expect("the replica has it").version, 0);
                break;
            }
            Err(_) => failures += 1,
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no failover after {failures} failed calls");
    }
    assert!(slowest < Duration::from_millis(400), "calls to other nodes took {slowest:?}");
    eprintln!(
        "a node that hangs: {failures} calls failed in {:?}, others took at most {slowest:?}",
        start.elapsed()
    );
}

/// An id for each of the masters.
fn one_for_each(servers: &Cluster) -> [RecordId; 3] {
    let mut ids = [None; 3];
    for id in (0..).map(|n| numbered(n).id) {
        let owner = servers.owner(&format!("hardtack:{}", hex::encode(id.as_bytes())));
        ids[owner].get_or_insert(id);
        if let [Some(one), Some(two), Some(three)] = ids {
            return [one, two, three];
        }
    }
    unreachable!("each master has a third of the slots")
}

async fn connect(servers: &Cluster) -> AnyStore {
    Arc::new(RedisStore::cluster(&servers.urls()).await.expect("connect"))
}
