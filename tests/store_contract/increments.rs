//! A hundred requests that each count a session one up, on the real servers: all of them count.

use std::sync::Arc;

use hardtack::{Budget, Key, KeyRing, OsRandom, SessionManager};
use http::HeaderMap;

use crate::cases::AnyStore;

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = hardtack::store::SqliteStore::open(folder.path().join("sessions.db")).await.expect("open");
    count_to_a_hundred(Arc::new(store)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_postgresql() {
    let server = crate::servers::Postgres::start();
    let store = hardtack::store::PostgresStore::connect(&server.url("postgres")).await.expect("connect");
    store.create_schema().await.expect("create the schema");
    count_to_a_hundred(Arc::new(store.with_deadline(PATIENCE))).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_mariadb() {
    let server = crate::servers::Mariadb::start();
    let store = hardtack::store::MySqlStore::connect(&server.url("hardtack")).await.expect("connect");
    store.create_schema().await.expect("create the schema");
    count_to_a_hundred(Arc::new(store.with_deadline(PATIENCE))).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_redis() {
    let server = crate::servers::Redis::start(&[]);
    let store = hardtack::store::RedisStore::connect(&server.url()).await.expect("connect");
    count_to_a_hundred(Arc::new(store.with_deadline(PATIENCE))).await;
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memcached() {
    let server = crate::servers::Memcached::start(&[]);
    let store = hardtack::store::MemcachedStore::connect(&server.address()).await.expect("connect");
    count_to_a_hundred(Arc::new(store.with_deadline(PATIENCE))).await;
}

/// All of them have read the same state before any of them writes.
async fn count_to_a_hundred(store: AnyStore) {
    let ring = KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
    let sessions = SessionManager::<u32>::builder("sid", ring).budget(Budget::stored()).shared_store(store);
    let sessions = Arc::new(sessions.build().expect("settings that work"));
    let cookies = sessions.mint(|session| **session = 1000).await.expect("it is stored");
    let start = Arc::new(tokio::sync::Barrier::new(100));
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (sessions, cookies, start) = (sessions.clone(), cookies.clone(), start.clone());
            tokio::spawn(async move {
                let mut session = sessions.load_from([&cookies]).await.expect("the store answers");
                start.wait().await;
                let mut response = HeaderMap::new();
                sessions.update(&mut session, &mut response, |session| **session += 1).await.expect("saved");
            })
        })
        .collect();
    for request in requests {
        request.await.expect("it does not panic");
    }
    assert_eq!(*sessions.load_from([&cookies]).await.expect("the store answers"), 1100);
}

/// On a busy machine a call among so many may take a while, and this is not about that.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis", feature = "memcached"))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
