//! Servers that cannot or will not keep a session: each is an error that says so in the server's words.

use std::fs;
use std::sync::Arc;

use hardtack::store::{Expect, Record, RedisStore};

use super::{chain, connect, each_call};
use crate::cases::{AnyStore, ID, delete, failed, in_an_hour, insert, load, numbered, record};
use crate::servers::{Redis, free_port, until};

#[tokio::test]
async fn a_wrong_password_is_refused_at_start_and_shown_nowhere() {
    let server = Redis::start(&["--requirepass", "open-sesame"]);
    let address = format!("127.0.0.1:{}", server.port());
    for (login, words) in [(":hunter2@", "WRONGPASS"), ("user:hunter2@", "WRONGPASS"), ("", "NOAUTH")] {
        let said = chain(&failed(RedisStore::connect(&format!("redis://{login}{address}")).await));
        assert_eq!(said[0], "the session store failed: connect to Redis");
        assert_eq!(said[1], format!("at the Redis server {address}"));
        assert!(said[2].contains(words), "{said:?}");
        assert!(!said.concat().contains("hunter2"));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_at_start() {
    let port = free_port();
    let said = chain(&failed(RedisStore::connect(&format!("redis://:hunter2@127.0.0.1:{port}")).await));
    assert_eq!(said[1], format!("at the Redis server 127.0.0.1:{port}"));
    assert!(said[2].contains("refused"), "{said:?}");
    assert!(!said.concat().contains("hunter2"));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_named_at_start() {
    let server = Redis::start(&[]);
    server.signal("STOP");
    let said = chain(&failed(RedisStore::connect(&server.url()).await));
    assert_eq!(said[1], format!("at the Redis server 127.0.0.1:{}", server.port()));
    assert_eq!(said[2], "no answer within 5s");
}

#[tokio::test]
async fn an_url_that_cannot_be_read_is_not_repeated() {
    for url in ["", "http://:hunter2@host", "redis://:hunter2@host:port", "redis://:hunter2@host/hunter2"] {
        let said = chain(&failed(RedisStore::connect(url).await));
        assert_eq!(said[0], "the session store failed: read the URL of a Redis server");
        assert!(!said.concat().contains("hunter2"), "{said:?}");
    }
    let none: [&str; 0] = [];
    failed(RedisStore::cluster(&none).await);
    failed(RedisStore::sentinel(&none, "mymaster").await);
}

#[tokio::test]
async fn a_server_that_drops_live_records_when_it_is_full_is_refused_at_start() {
    let server = Redis::start(&["--maxmemory", "100mb"]);
    for policy in ["allkeys-lru", "volatile-ttl"] {
        server.ask(&["CONFIG", "SET", "maxmemory-policy", policy]);
        let said = chain(&failed(RedisStore::connect(&server.url()).await));
        let expected = format!(
            "it drops live sessions when its memory is full: maxmemory-policy is {policy}, not noeviction"
        );
        assert_eq!(said[2], expected);
    }
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    RedisStore::connect(&server.url()).await.expect("it is never full");
}

#[tokio::test]
async fn a_full_server_refuses_saves_and_touches_and_keeps_every_record() {
    let server = Redis::start(&[]);
    let store = connect(&server).await;
    for n in 0..10 {
        insert(&store, &numbered(n)).await;
    }
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let errors = [
        failed(store.save(&numbered(10), Expect::Absent).await),
        failed(store.save(&Record { version: 10, ..numbered(0) }, Expect::Version(0)).await),
        failed(store.touch(&numbered(0).id, 0, in_an_hour()).await),
    ];
    for error in errors {
        assert!(chain(&error).concat().contains("OOM"), "{:?}", chain(&error));
    }
    for n in 0..10 {
        assert_eq!(load(&store, numbered(n).id).await, Some(numbered(n)));
    }
    store.delete(&numbered(0).id, Some(0)).await.expect("deletions go on");
    delete(&store, numbered(1).id).await;

    server.ask(&["CONFIG", "SET", "maxmemory", "100mb"]);
    insert(&store, &numbered(10)).await;
}

#[tokio::test]
async fn a_replica_is_refused_at_start_and_noticed_later() {
    let server = Redis::start(&[]);
    let store = connect(&server).await;
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;

    let nowhere = free_port().to_string();
    server.ask(&["REPLICAOF", "127.0.0.1", &nowhere]);
    let said = chain(&failed(RedisStore::connect(&server.url()).await));
    assert_eq!(said[2], "it is a replica, and accepts no writes");
    let errors = [
        failed(store.save(&numbered(1), Expect::Absent).await),
        failed(store.save(&record(1, in_an_hour(), b""), Expect::Version(0)).await),
        failed(store.touch(&ID, 0, in_an_hour()).await),
        failed(store.delete(&ID, Some(0)).await),
        failed(store.delete(&ID, None).await),
    ];
    for error in errors {
        assert!(chain(&error).concat().contains("read only replica"), "{:?}", chain(&error));
    }

    server.ask(&["REPLICAOF", "NO", "ONE"]);
    store.delete(&ID, Some(0)).await.expect("it is still at version 0");
}

#[tokio::test]
async fn a_master_that_has_too_few_replicas_refuses_saves() {
    let server = Redis::start(&["--min-replicas-to-write", "1"]);
    let store = connect(&server).await;
    let error = failed(store.save(&record(0, in_an_hour(), b"sealed"), Expect::Absent).await);
    assert!(chain(&error).concat().contains("NOREPLICAS"), "{:?}", chain(&error));
    assert_eq!(load(&store, ID).await, None);
}

#[tokio::test]
async fn a_server_whose_disk_fails_refuses_saves() {
    let server = Redis::start(&["--enable-protected-configs", "yes"]);
    let store = connect(&server).await;
    let directory = server.directory().join("gone");
    fs::create_dir(&directory).expect("a folder");
    server.ask(&["CONFIG", "SET", "save", "3600 1"]);
    server.ask(&["CONFIG", "SET", "dir", directory.to_str().expect("UTF-8")]);
    fs::remove_dir(&directory).expect("it is empty");
    server.ask(&["BGSAVE"]);
    until("the snapshot has failed", || {
        server.ask(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err")
    });
    let error = failed(store.save(&record(0, in_an_hour(), b"sealed"), Expect::Absent).await);
    assert!(chain(&error).concat().contains("MISCONF"), "{:?}", chain(&error));
}

#[tokio::test]
async fn a_password_that_is_revoked_later_is_an_error_and_not_an_absent_record() {
    let server = Redis::start(&["--user", "shop", "on", ">open-sesame", "~*", "+@all"]);
    let url = format!("redis://shop:open-sesame@127.0.0.1:{}", server.port());
    let store: AnyStore = Arc::new(RedisStore::connect(&url).await.expect("connect"));
    // Which also closes its connections.
    server.ask(&["ACL", "DELUSER", "shop"]);
    for error in each_call(&store).await {
        assert!(chain(&error).concat().contains("WRONGPASS"), "{:?}", chain(&error));
    }
    server.ask(&["ACL", "SETUSER", "shop", "on", ">open-sesame", "~*", "+get", "+client"]);
    assert_eq!(load(&store, ID).await, None);
    let error = failed(store.delete(&ID, Some(0)).await);
    assert!(chain(&error).concat().contains("has no permissions"), "{:?}", chain(&error));
}
