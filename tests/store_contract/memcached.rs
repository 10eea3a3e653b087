//! `MemcachedStore`: the contract, what memcached makes of expiry and memory, and servers that fail.

mod broken;
mod mixed_up;

use std::error::Error;
use std::sync::Arc;

use hardtack::store::{Expect, MemcachedStore, Record, RecordId, Store, StoreError};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::cases::{
    AnyStore, ID, delete, failed, hold_to_the_contract, in_an_hour, insert, load, numbered, record, refused,
    this_second, touch, update, updates_at_one_version,
};
use crate::servers::{Memcached, Proxy};

hold_to_the_contract!(fresh);

async fn fresh() -> (AnyStore, Memcached) {
    // The contract saves a MiB, and by default that is the largest item with all that belongs to it.
    let server = Memcached::start(&["-I", "4m"]);
    (Arc::new(connect(&server).await), server)
}

#[tokio::test]
async fn two_handles_see_each_others_writes() {
    let server = Memcached::start(&[]);
    let (one, two) = (any(&server).await, any(&server).await);

    insert(&one, &record(0, in_an_hour(), b"first")).await;
    assert_eq!(load(&two, ID).await, Some(record(0, in_an_hour(), b"first")));
    update(&two, &record(1, in_an_hour(), b"second"), 0).await;
    refused(one.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    assert_eq!(load(&one, ID).await, Some(record(1, in_an_hour(), b"second")));
    delete(&one, ID).await;
    assert_eq!(load(&two, ID).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_updates_from_two_handles_that_have_loaded_one_wins() {
    let server = Memcached::start(&[]);
    let handles = [any(&server).await, any(&server).await];
    insert(&handles[0], &record(0, in_an_hour(), b"first")).await;
    for store in &handles {
        load(store, ID).await;
    }
    updates_at_one_version(&handles).await;
}

/// What one handle has seen of the item is out of date then, but not the version.
#[tokio::test]
async fn a_touch_by_another_handle_is_in_the_way_of_no_save_and_no_deletion() {
    let server = Memcached::start(&[]);
    let (one, two) = (any(&server).await, any(&server).await);
    let later = in_an_hour() + Duration::HOUR;

    insert(&one, &record(0, in_an_hour(), b"first")).await;
    load(&one, ID).await;
    touch(&two, ID, 0, later).await;
    update(&one, &record(1, in_an_hour(), b"second"), 0).await;
    assert_eq!(load(&one, ID).await, Some(record(1, in_an_hour(), b"second")));
    touch(&two, ID, 1, later).await;
    one.delete(&ID, Some(1)).await.expect("it is at version 1");
    assert_eq!(load(&two, ID).await, None);
}

#[tokio::test]
async fn a_touch_into_the_past_by_another_handle_ends_what_was_loaded() {
    let server = Memcached::start(&[]);
    let (one, two) = (any(&server).await, any(&server).await);
    insert(&one, &record(0, in_an_hour(), b"first")).await;
    load(&one, ID).await;
    touch(&two, ID, 0, this_second()).await;
    refused(one.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    assert_eq!(load(&two, ID).await, None);
}

#[tokio::test]
async fn each_call_costs_one_round_trip_if_the_record_was_loaded() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::to(server.port()).await;
    let store = MemcachedStore::connect(&format!("127.0.0.1:{}", proxy.port())).await.expect("connect");
    let store: AnyStore = Arc::new(store);
    let mut before = proxy.round_trips();
    let mut round_trips = || proxy.round_trips() - std::mem::replace(&mut before, proxy.round_trips());

    insert(&store, &record(0, in_an_hour(), b"first")).await;
    assert_eq!(round_trips(), 1, "insert");
    load(&store, ID).await;
    assert_eq!(round_trips(), 1, "load");
    update(&store, &record(1, in_an_hour(), b"second"), 0).await;
    assert_eq!(round_trips(), 1, "save what was loaded");
    update(&store, &record(2, in_an_hour(), b"third"), 1).await;
    assert_eq!(round_trips(), 2, "save what was not");
    touch(&store, ID, 2, in_an_hour() + Duration::HOUR).await;
    assert_eq!(round_trips(), 2, "touch");
    load(&store, ID).await;
    round_trips();
    store.delete(&ID, Some(2)).await.expect("it is at version 2");
    assert_eq!(round_trips(), 1, "delete what was loaded");
    delete(&store, ID).await;
    assert_eq!(round_trips(), 1, "delete");
    load(&store, ID).await;
    assert_eq!(round_trips(), 1, "load nothing");
}

/// memcached reads what is above thirty days as a time of its own calendar.
#[tokio::test]
async fn a_record_lives_however_far_its_expiry_is() {
    let server = Memcached::start(&[]);
    let store = any(&server).await;
    let month = Duration::days(30);
    for (ahead, expected) in [
        (Duration::seconds(30), 90),
        (Duration::HOUR, 3_660),
        (month - Duration::MINUTE - Duration::SECOND, 2_591_999),
        (month - Duration::MINUTE, 2_592_000),
        (month - Duration::MINUTE + Duration::SECOND, 2_592_001),
        (month - Duration::SECOND, 2_592_059),
        (month, 2_592_060),
        (month + Duration::SECOND, 2_592_061),
        (Duration::days(400), 34_560_060),
    ] {
        let saved = record(0, this_second() + ahead, b"sealed");
        insert(&store, &saved).await;
        assert_eq!(load(&store, ID).await, Some(saved), "{ahead}");
        let left = i64::try_from(left(&server).await.expect("it ends")).expect("not so long");
        assert!((left - expected).abs() <= 3, "{ahead}: the server drops it in {left} seconds");
        delete(&store, ID).await;
    }
    for ends in [i64::from(i32::MAX) + 1, i64::from(u32::MAX) + 50, 253_402_300_799] {
        let saved = record(0, OffsetDateTime::from_unix_timestamp(ends).expect("before 10000"), b"sealed");
        insert(&store, &saved).await;
        assert_eq!(load(&store, ID).await, Some(saved), "{ends}");
        assert_eq!(left(&server).await, None, "{ends}");
        delete(&store, ID).await;
    }
}

#[tokio::test]
async fn a_record_that_has_expired_when_it_is_saved_takes_no_memory() {
    let server = Memcached::start(&[]);
    let store = any(&server).await;
    insert(&store, &record(0, this_second() - Duration::HOUR, b"sealed")).await;
    assert_eq!(say(&server, &format!("mg {KEY} v")).await, ["EN"]);
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    touch(&store, ID, 0, this_second()).await;
    assert_eq!(say(&server, &format!("mg {KEY} v")).await, ["EN"]);
}

/// The server's clock is not ours, and moves once a second.
#[tokio::test]
async fn a_record_is_absent_from_its_expiry_on_though_the_server_still_has_it() {
    let server = Memcached::start(&[]);
    let store = any(&server).await;
    let expect_none = async || assert_eq!(load(&store, ID).await, None);

    expired(&store, &server).await;
    expect_none().await;
    refused(store.save(&record(6, in_an_hour(), b"late"), Expect::Version(5)).await);
    refused(store.delete(&ID, Some(5)).await);
    touch(&store, ID, 5, in_an_hour()).await;
    expect_none().await;
    assert!(say(&server, &format!("mg {KEY} s")).await[0].starts_with("HD"), "the server still has it");
    insert(&store, &record(0, in_an_hour(), b"second")).await;
    assert_eq!(load(&store, ID).await, Some(record(0, in_an_hour(), b"second")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_inserts_over_what_has_expired_one_wins() {
    let server = Memcached::start(&[]);
    let store = any(&server).await;
    expired(&store, &server).await;
    let runs: Vec<_> = (0..32)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(
                async move { store.save(&record(n, in_an_hour(), b"new"), Expect::Absent).await.is_ok() },
            )
        })
        .collect();
    let mut won = Vec::new();
    for (n, run) in (0..).zip(runs) {
        if run.await.expect("a store does not panic") {
            won.push(n);
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(load(&store, ID).await.map(|record| record.version), Some(won[0]));
}

#[tokio::test]
async fn what_no_store_has_written_is_an_error_and_not_an_absent_record() {
    let server = Memcached::start(&[]);
    let store = any(&server).await;
    let flags = u32::from_be_bytes(*b"HTK\x01");
    let sound: [u8; 20] = std::array::from_fn(|at| u8::from(at == 12));
    let mut late = sound;
    late[15] = 0x70;
    let mut above = sound;
    above[7] = 0x80;
    for (flags, value) in [
        (0, &sound[..]),
        (flags + 1, &sound),
        (flags, b""),
        (flags, &sound[..15]),
        (flags, &late),
        (flags, &above),
        (0, b"<h1>a page that was cached under this key</h1>"),
    ] {
        put(&server, flags, value).await;
        for error in [
            failed(store.load(&ID, 0).await),
            failed(store.save(&record(0, in_an_hour(), b""), Expect::Absent).await),
            failed(store.save(&record(1, in_an_hour(), b""), Expect::Version(0)).await),
            failed(store.touch(&ID, 0, in_an_hour()).await),
            failed(store.delete(&ID, Some(0)).await),
        ] {
            assert_eq!(causes(&error).last().expect("a cause"), "the item is no record of this store");
        }
    }
    put(&server, flags, &sound).await;
    assert!(load(&store, ID).await.is_some(), "this is one");
    delete(&store, ID).await;
    assert_eq!(load(&store, ID).await, None);
}

#[tokio::test]
async fn a_full_server_refuses_and_keeps_every_live_record() {
    let server = Memcached::start(&["-M", "-m", "2"]);
    let store = any(&server).await;
    let large = |n| Record { sealed: vec![0x5e; 20_000], ..numbered(n) };
    let mut kept = 0;
    let error = loop {
        match store.save(&large(kept), Expect::Absent).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(kept > 20, "{kept} records of 20 kB");
    assert_eq!(
        causes(&error),
        [
            "the session store failed: save a record".to_owned(),
            format!("at the memcached server {}", server.address()),
            "the server answered \"SERVER_ERROR out of memory storing object\"".to_owned(),
        ]
    );
    assert_eq!(load(&store, large(kept).id).await, None);
    // Neither what is larger, nor what is there already, may push out the record that it was for.
    let mut refused = 0;
    for n in 0..kept {
        let grown = Record { version: n + 1, sealed: vec![0; 200_000], ..large(n) };
        let left = match store.save(&grown, Expect::Version(n)).await {
            // There was some room for larger ones.
            Ok(()) => grown.clone(),
            Err(_) => large(n),
        };
        refused += usize::from(left != grown);
        store.save(&grown, Expect::Absent).await.expect_err("there is one");
        assert!(load(&store, grown.id).await == Some(left), "{n} of {kept}");
    }
    assert!(refused > 20, "{refused} of {kept}");
}

#[tokio::test]
async fn a_record_that_is_too_large_for_the_server_is_an_error_and_leaves_what_was_there() {
    let server = Memcached::start(&[]);
    let store = any(&server).await;
    let kept = record(0, in_an_hour(), b"kept");
    insert(&store, &kept).await;
    for (size, cause) in [
        (1 << 20, "the server answered \"SERVER_ERROR object too large for cache\""),
        (64 << 20, "a value of 67108880 octets is larger than the 67108864 that are read or written"),
    ] {
        let large = record(1, in_an_hour(), &vec![0; size]);
        for expect in [Expect::Version(0), Expect::Absent] {
            let error = failed(store.save(&large, expect).await);
            assert_eq!(causes(&error).last().expect("a cause"), cause);
        }
        assert_eq!(load(&store, ID).await, Some(kept.clone()));
    }
}

#[tokio::test]
async fn a_store_says_whether_its_servers_drop_live_sessions() {
    let (drops, refuses) = (Memcached::start(&[]), Memcached::start(&["-M"]));
    assert!(connect(&drops).await.evicts());
    assert!(!connect(&refuses).await.evicts());
    let both = MemcachedStore::cluster([refuses.address(), drops.address()]).await.expect("connect");
    assert!(both.evicts());
}

#[tokio::test]
async fn a_server_without_cas_is_refused() {
    let server = Memcached::start(&["-C"]);
    let error = failed(MemcachedStore::connect(&server.address()).await);
    assert_eq!(
        causes(&error),
        [
            "the session store failed: connect to memcached".to_owned(),
            format!("at the memcached server {}", server.address()),
            "the server keeps no CAS uniques (it was started with -C), and without them saves would overwrite one \
             another"
                .to_owned(),
        ]
    );
}

#[tokio::test]
async fn prefixes_keep_applications_apart() {
    let server = Memcached::start(&[]);
    let with = async |prefix: &str| {
        let store = connect(&server).await.with_prefix(prefix).expect("a sound prefix");
        Arc::new(store) as AnyStore
    };
    let (longest, none) = ("x".repeat(228), String::new());
    for (n, prefix) in (0..).zip(["shop:", "blog:", &longest, &none]) {
        insert(&with(prefix).await, &record(n, in_an_hour(), prefix.as_bytes())).await;
    }
    for (n, prefix) in (0..).zip(["shop:", "blog:", &longest, &none]) {
        let kept = record(n, in_an_hour(), prefix.as_bytes());
        assert_eq!(load(&with(prefix).await, ID).await, Some(kept));
    }
}

#[tokio::test]
async fn a_prefix_that_memcached_cannot_have_in_a_key_is_refused() {
    let server = Memcached::start(&[]);
    for prefix in ["a b", "a\r\nflush_all\r\n", "a\tb", "\0", "\u{7f}", "café:", &"x".repeat(229)] {
        let error = failed(connect(&server).await.with_prefix(prefix));
        assert_eq!(
            causes(&error),
            [
                "the session store failed: take a prefix for memcached's keys".to_owned(),
                format!("{prefix:?} is not at most 228 visible characters of ASCII"),
            ]
        );
    }
}

#[tokio::test]
async fn a_cluster_finds_each_record_whatever_the_order_and_loses_only_what_a_server_had() {
    let servers: Vec<_> = (0..3).map(|_| Memcached::start(&[])).collect();
    let cluster = async |of: &[usize]| {
        let addresses = of.iter().map(|&n| servers[n].address());
        Arc::new(MemcachedStore::cluster(addresses).await.expect("connect")) as AnyStore
    };
    // Their first octets are their numbers, so they are less random than ids are.
    let all: Vec<_> = (0..300).map(numbered).collect();
    let store = cluster(&[0, 1, 2]).await;
    for record in &all {
        insert(&store, record).await;
    }
    let mut on = Vec::new();
    for server in &servers {
        let alone = any(server).await;
        let mut had = 0;
        for record in &all {
            had += usize::from(load(&alone, record.id).await.is_some());
        }
        on.push(had);
    }
    assert_eq!(on.iter().sum::<usize>(), 300, "each is on one");
    assert!(on.iter().all(|&had| (60..140).contains(&had)), "{on:?}");

    let (turned, fewer) = (cluster(&[2, 0, 1]).await, cluster(&[0, 2]).await);
    let mut left = 0;
    for record in &all {
        assert_eq!(load(&turned, record.id).await.as_ref(), Some(record));
        left += usize::from(load(&fewer, record.id).await.is_some());
    }
    assert_eq!(left, 300 - on[1]);
}

#[tokio::test]
async fn a_cluster_of_none_is_an_error() {
    let error = failed(MemcachedStore::cluster([] as [&str; 0]).await);
    assert_eq!(causes(&error), ["the session store failed: connect to memcached", "no server was given"]);
}

#[tokio::test]
async fn debug_shows_the_way_to_the_servers_and_no_record() {
    let server = Memcached::start(&[]);
    let store = connect(&server).await;
    store.save(&record(0, in_an_hour(), b"sealed"), Expect::Absent).await.expect("insert");
    assert_eq!(
        format!("{store:?}"),
        format!(
            "MemcachedStore {{ servers: [\"{}\"], prefix: \"hardtack:\", deadline: 500ms }}",
            server.address()
        )
    );
}

async fn connect(server: &Memcached) -> MemcachedStore {
    MemcachedStore::connect(&server.address()).await.expect("connect")
}

async fn any(server: &Memcached) -> AnyStore {
    Arc::new(connect(server).await)
}

/// The key of `ID`.
const KEY: &str = "hardtack:AAADBAUGBwgJCgsMDQ4AAA";

/// What the server answers to a line, past the store.
async fn say(server: &Memcached, request: &str) -> Vec<String> {
    let mut stream = BufReader::new(TcpStream::connect(server.address()).await.expect("connect"));
    stream.write_all(format!("{request}\r\nmn\r\n").as_bytes()).await.expect("write");
    let (mut lines, mut said) = (stream.lines(), Vec::new());
    loop {
        match lines.next_line().await.expect("it answers in ASCII").expect("it ends with MN") {
            line if line == "MN" => return said,
            line => said.push(line),
        }
    }
}

/// Puts an item under the key of `ID`, past the store.
async fn put(server: &Memcached, flags: u32, value: &[u8]) {
    let mut stream = BufReader::new(TcpStream::connect(server.address()).await.expect("connect"));
    let line = format!("set {KEY} {flags} 0 {}\r\n", value.len());
    stream.write_all(&[line.as_bytes(), value, b"\r\n"].concat()).await.expect("write");
    let mut said = String::new();
    stream.read_line(&mut said).await.expect("read");
    assert_eq!(said, "STORED\r\n");
}

/// An item of `ID` at version 5 that the server keeps, but whose record has just expired.
async fn expired(store: &AnyStore, server: &Memcached) {
    let seconds = (this_second().unix_timestamp()).to_le_bytes();
    let value = [&5_u64.to_le_bytes()[..], &seconds, b"expired"].concat();
    put(server, u32::from_be_bytes(*b"HTK\x01"), &value).await;
    // Whatever the store has seen of it before is not what it is.
    assert_eq!(load(store, ID).await, None);
}

/// In how many seconds the server drops the item of `ID`, if ever.
async fn left(server: &Memcached) -> Option<u64> {
    let said = say(server, &format!("mg {KEY} t")).await;
    said[0].strip_prefix("HD t").expect("it is there").parse().ok()
}

/// The texts of an error and of its causes.
fn causes(error: &StoreError) -> Vec<String> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source()).map(ToString::to_string).collect()
}

/// The id of a record whose text is its own.
fn named(n: u64) -> Record {
    let id: RecordId = numbered(n).id;
    Record { id, ..record(0, in_an_hour(), format!("the record {n}").as_bytes()) }
}
