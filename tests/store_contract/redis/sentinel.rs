//! A master that Sentinels watch: the contract, and its failover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hardtack::store::{Expect, Record, RedisStore};

use super::{chain, fresh};
use crate::cases::{
    AnyStore, ID, failed, hold_all_to_the_contract, in_an_hour, insert, load, numbered, record, update,
};
use crate::servers::{Redis, Sentinels, free_port, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sentinels_hold_to_the_contract() {
    let servers = Sentinels::start(1, &[]);
    let store = RedisStore::sentinel(&servers.urls(), "mymaster").await.expect("connect");
    hold_all_to_the_contract!(fresh(&store));
}

#[tokio::test]
async fn a_master_that_no_sentinel_knows_is_an_error_at_start() {
    let servers = Sentinels::start(0, &[]);
    let said = chain(&failed(RedisStore::sentinel(&servers.urls(), "another").await));
    assert_eq!(said[2], "this Sentinel watches no master named \"another\"");

    let nowhere = [format!("redis://127.0.0.1:{}", free_port())];
    let said = chain(&failed(RedisStore::sentinel(&nowhere, "mymaster").await));
    assert!(said[2].contains("refused"), "{said:?}");
}

#[tokio::test]
async fn a_server_that_is_not_the_master_is_not_taken_for_it() {
    let servers = Sentinels::start(1, &[]);
    let replica = servers.replicas[0].port().to_string();
    servers.ask(&["SENTINEL", "MONITOR", "mistaken", "127.0.0.1", &replica, "2"]);
    let said = chain(&failed(RedisStore::sentinel(&servers.urls()[..1], "mistaken").await));
    assert_eq!(said[1], format!("at the Redis server 127.0.0.1:{replica}"));
    assert_eq!(said[2], "the Sentinels name it, but it is not the master");
}

#[tokio::test]
async fn one_sentinel_that_answers_is_enough() {
    let servers = Sentinels::start(0, &[]);
    // One that refuses, and one that accepts and says nothing.
    let hanging = Redis::start(&[]);
    hanging.signal("STOP");
    let mut urls = vec![format!("redis://127.0.0.1:{}", free_port()), hanging.url()];
    urls.push(servers.urls().pop().expect("there are three"));
    let start = Instant::now();
    RedisStore::sentinel(&urls, "mymaster").await.expect("connect");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_master_may_have_a_password_and_another_database() {
    let servers = Sentinels::start(0, &[]);
    servers.master.ask(&["ACL", "SETUSER", "shop", "on", ">open-sesame", "~*", "+@all"]);
    let store =
        RedisStore::sentinel(&servers.urls(), "redis://shop:open-sesame@mymaster/3").await.expect("connect");
    assert!(!format!("{store:?}").contains("open-sesame"));
    let store: AnyStore = Arc::new(store);
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    assert_eq!(servers.master.ask(&["-n", "3", "DBSIZE"]), "1");
    let said = chain(&failed(RedisStore::sentinel(&servers.urls(), "redis://shop:hunter2@mymaster").await));
    assert!(said.concat().contains("WRONGPASS"));
    assert!(!said.concat().contains("hunter2"));
}

/// The old master is a replica now, and says so on the connection that the store has to it.
#[tokio::test]
async fn a_master_that_was_moved_is_followed_by_the_first_call() {
    let servers = Sentinels::start(1, &[]);
    let store = connect(&servers).await;
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    until("the replica has it", || servers.replicas[0].ask(&["DBSIZE"]) == "1");

    servers.replace_master(0);
    update(&store, &record(1, in_an_hour(), b"sealed"), 0).await;
    assert_eq!(load(&store, ID).await, Some(record(1, in_an_hour(), b"sealed")));
    assert!(servers.replicas[0].ask(&["INFO", "commandstats"]).contains("cmdstat_set:calls=2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_the_masters_death_calls_succeed_again_without_help() {
    let mut servers = Sentinels::start(2, &[]);
    let store = connect(&servers).await;
    let writers: Vec<_> = (0..4).map(|n| tokio::spawn(write(store.clone(), numbered(n << 32)))).collect();
    until("each writer has written", || servers.master.ask(&["DBSIZE"]) == "4");
    servers.master.kill();

    let (mut lost, mut failures, mut longest) = (0, 0, Duration::ZERO);
    for writer in writers {
        let written = writer.await.expect("no panic");
        assert_eq!(load(&store, written.session.id).await, Some(written.session));
        lost += written.lost;
        failures += written.failures;
        longest = longest.max(written.silence);
    }
    // What the promoted replica had not received is lost, so there is no number to insist on.
    eprintln!(
        "failover: {lost} acknowledged saves lost, {failures} calls failed, {longest:?} without a save"
    );
}

struct Written {
    session: Record,
    lost: u64,
    failures: u64,
    silence: Duration,
}

/// Saves a session again and again, through a time of errors, until ten saves after it have succeeded.
async fn write(store: AnyStore, mut session: Record) -> Written {
    let first = session.version;
    insert(&store, &session).await;
    let (mut failures, mut silence, mut after, mut lost) = (0, Duration::ZERO, 0, 0);
    let mut saved_at = Instant::now();
    let mut patience = tokio::time::interval(Duration::from_millis(20));
    while after < 10 {
        assert!(saved_at.elapsed() < Duration::from_secs(30), "no failover after {failures} failed calls");
        let mut next = session.clone();
        next.version += 1;
        if store.save(&next, Expect::Version(session.version)).await.is_ok() {
            session = next;
            after += u64::from(failures > 0);
            silence = silence.max(saved_at.elapsed());
            saved_at = Instant::now();
            continue;
        }
        failures += 1;
        patience.tick().await;
        // What was lost, or done without an answer, shows when the session is read again.
        match store.load(&session.id, 0).await {
            Ok(Some(kept)) => {
                lost += session.version.saturating_sub(kept.version);
                session = kept;
            }
            Ok(None) => {
                lost += session.version - first + 1;
                let _ = store.save(&session, Expect::Absent).await;
            }
            Err(_) => {}
        }
    }
    Written { session, lost, failures, silence }
}

async fn connect(servers: &Sentinels) -> AnyStore {
    Arc::new(RedisStore::sentinel(&servers.urls(), "mymaster").await.expect("connect"))
}
