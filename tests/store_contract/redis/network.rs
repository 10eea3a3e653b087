//! What a call costs on the network, and what becomes of it when the network breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hardtack::store::{Expect, RedisStore, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{chain, each_call};
use crate::cases::{AnyStore, ID, delete, failed, in_an_hour, insert, load, record, touch, update};
use crate::servers::{Proxy, Redis, Way};

#[tokio::test]
async fn each_call_is_one_round_trip() {
    let server = Redis::start(&[]);
    let proxy = Proxy::to(server.port()).await;
    let store = connect(proxy.port()).await;
    let mut before = proxy.round_trips();
    let mut spent = |what: &str| {
        assert_eq!(proxy.round_trips() - before, 1, "{what}");
        before = proxy.round_trips();
    };

    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    spent("insert");
    update(&store, &record(1, in_an_hour(), b"sealed"), 0).await;
    spent("update");
    load(&store, ID).await;
    spent("load");
    touch(&store, ID, 1, in_an_hour()).await;
    spent("touch");
    store.delete(&ID, Some(1)).await.expect("delete");
    spent("delete at a version");
    delete(&store, ID).await;
    spent("delete");
}

#[tokio::test]
async fn every_call_is_answered_in_time_and_the_next_one_succeeds_once_the_way_is_open() {
    let server = Redis::start(&[]);
    let mut proxy = Proxy::to(server.port()).await;
    let store = connect(proxy.port()).await;
    let kept = record(7, in_an_hour(), &[0x5e; 100]);
    insert(&store, &kept).await;
    for way in [Way::Refuse, Way::Stall, Way::Cut(0), Way::Cut(1), Way::Cut(3)] {
        proxy.set(way).await;
        let start = Instant::now();
        for (n, error) in (1..).zip(each_call(&store).await) {
            assert!(start.elapsed() < 5 * (DEADLINE + SLACK), "{way:?}, call {n}: {error:?}");
        }
        let start = Instant::now();
        failed(store.delete(&record(0, in_an_hour(), b"").id, None).await);
        assert!(start.elapsed() < DEADLINE + SLACK, "{way:?}");

        proxy.set(Way::Open).await;
        delete(&store, ID).await;
        insert(&store, &kept).await;
        assert_eq!(load(&store, ID).await, Some(kept.clone()), "{way:?}");
    }
    // In the middle of a record.
    proxy.set(Way::Cut(50)).await;
    failed(store.load(&ID, 0).await);
    proxy.set(Way::Open).await;
    assert_eq!(load(&store, ID).await, Some(kept));
}

#[tokio::test]
async fn a_server_that_hangs_is_an_error_in_time_and_no_obstacle_once_it_goes_on() {
    let server = Redis::start(&[]);
    let store = connect(server.port()).await;
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    server.signal("STOP");
    for _ in 0..3 {
        let start = Instant::now();
        let error = failed(store.load(&ID, 0).await);
        assert!(start.elapsed() < DEADLINE + SLACK);
        assert_eq!(chain(&error), ["the session store failed: load a record", "no answer within 200ms"]);
    }
    server.signal("CONT");
    assert_eq!(load(&store, ID).await, Some(record(0, in_an_hour(), b"sealed")));
}

#[tokio::test]
async fn calls_that_wait_together_all_fail_in_time() {
    let server = Redis::start(&[]);
    let mut proxy = Proxy::to(server.port()).await;
    let store = connect(proxy.port()).await;
    proxy.set(Way::Stall).await;
    let start = Instant::now();
    // The second round finds no connection, and a server that accepts one and says nothing.
    for _ in 0..2 {
        let calls: Vec<_> = (0..200)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { failed(store.load(&ID, 0).await) })
            })
            .collect();
        for call in calls {
            call.await.expect("it fails in its own way");
        }
    }
    assert!(start.elapsed() < 2 * (DEADLINE + SLACK), "{:?}", start.elapsed());
    proxy.set(Way::Open).await;
    assert_eq!(load(&store, ID).await, None);
}

#[tokio::test]
async fn a_connection_that_the_network_has_forgotten_costs_one_call() {
    let server = Redis::start(&[]);
    let relay = Relay::to(server.port()).await;
    let store = connect(relay.port).await;
    insert(&store, &record(0, in_an_hour(), b"sealed")).await;
    relay.forget_the_connections();
    failed(store.load(&ID, 0).await);
    assert_eq!(load(&store, ID).await, Some(record(0, in_an_hour(), b"sealed")));
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_is_repeated_without_doing_its_work_twice() {
    let server = Redis::start(&[]);
    let relay = Relay::to(server.port()).await;
    let store = connect(relay.port).await;

    relay.lose_the_next_answer();
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    relay.lose_the_next_answer();
    update(&store, &record(1, in_an_hour(), b"second"), 0).await;
    relay.lose_the_next_answer();
    assert_eq!(load(&store, ID).await, Some(record(1, in_an_hour(), b"second")));
    relay.lose_the_next_answer();
    touch(&store, ID, 1, in_an_hour() + time::Duration::HOUR).await;
    assert_eq!(load(&store, ID).await, Some(record(1, in_an_hour() + time::Duration::HOUR, b"second")));
    relay.lose_the_next_answer();
    delete(&store, ID).await;
    assert_eq!(load(&store, ID).await, None);
    assert!(!relay.loses.load(Ordering::SeqCst), "each answer was lost");
}

/// A conflict would say that nothing was done.
#[tokio::test]
async fn where_a_repetition_cannot_tell_what_the_first_call_did_the_answer_is_no_conflict() {
    let server = Redis::start(&[]);
    let relay = Relay::to(server.port()).await;
    let store = connect(relay.port).await;
    insert(&store, &record(3, in_an_hour(), b"sealed")).await;

    relay.lose_the_next_answer();
    unknown(store.save(&record(1, in_an_hour(), b"sealed"), Expect::Version(0)).await);
    relay.lose_the_next_answer();
    // The same version, and other octets.
    unknown(store.save(&record(3, in_an_hour(), b"another"), Expect::Absent).await);
    relay.lose_the_next_answer();
    unknown(store.delete(&ID, Some(3)).await);
    assert_eq!(load(&store, ID).await, None);
}

#[track_caller]
fn unknown(result: Result<(), StoreError>) {
    let error = failed(result);
    assert!(chain(&error)[1].starts_with("at the Redis server 127.0.0.1:"), "{error:?}");
}

/// A way to the server that can lose one answer, with its connection, after the server has done what it was asked, and
/// that can forget the connections it has, of which nobody is told.
struct Relay {
    port: u16,
    loses: Arc<AtomicBool>,
    forgets: watch::Sender<()>,
}

impl Relay {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it has one").port();
        let relay = Self { port, loses: Arc::default(), forgets: watch::Sender::new(()) };
        let (loses, forgets) = (relay.loses.clone(), relay.forgets.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut forgets = forgets.clone();
                forgets.mark_unchanged();
                tokio::spawn(carry(client, server, loses.clone(), forgets));
            }
        });
        relay
    }

    fn lose_the_next_answer(&self) {
        assert!(!self.loses.swap(true, Ordering::SeqCst), "the last one was lost");
    }

    fn forget_the_connections(&self) {
        self.forgets.send_replace(());
    }
}

async fn carry(
    mut client: TcpStream,
    server: u16,
    loses: Arc<AtomicBool>,
    mut forgets: watch::Receiver<()>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            biased;
            _ = forgets.changed() => return std::future::pending().await,
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                read => server.write_all(&asked[..read]).await?,
            },
            read = server.read(&mut answered) => match read? {
                0 => return Ok(()),
                _ if loses.swap(false, Ordering::SeqCst) => return Ok(()),
                read => client.write_all(&answered[..read]).await?,
            },
        }
    }
}

const DEADLINE: Duration = Duration::from_millis(200);

/// For a machine with more to do than this.
const SLACK: Duration = Duration::from_millis(500);

async fn connect(port: u16) -> AnyStore {
    let store = RedisStore::connect(&format!("redis://127.0.0.1:{port}")).await.expect("connect");
    Arc::new(store.with_deadline(DEADLINE))
}
