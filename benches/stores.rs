//! Requests with a stored session, beside tower-sessions on the same engines: its memory store, and its Redis store
//! against the same server. `cargo bench --bench stores --all-features`; it starts a Redis of its own.
//!
//! Each figure is requests per second as a multiple of tower-sessions': the median of paired slices of one run, in
//! each of which sixteen visitors make four requests, in one thread and without HTTP. Round trips are counted on the
//! network.

#[path = "paired/mod.rs"]
mod paired;
#[path = "programs/mod.rs"]
mod programs;
#[path = "samples/mod.rs"]
#[allow(dead_code, reason = "one of the samples is measured here")]
mod samples;
#[path = "../tests/servers/mod.rs"]
mod servers;

use std::sync::Arc;
use std::time::Duration;

use hardtack::Store;
use hardtack::store::{CachedStore, MemoryStore, RedisStore};
use tokio::runtime::{Builder, Runtime};
use tower_sessions_redis_store::fred::prelude::{ClientLike as _, Config, Pool};

use paired::{Timed, ratios};
use programs::Program;
use servers::{Proxy, Redis};

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return; // `cargo test --benches` asks whether it starts.
    }
    // The two have a runtime each, so that neither's tasks run in the other's slices.
    let (ours, theirs) = (runtime(), runtime());
    let redis = Redis::start(&[]);
    let proxy = ours.block_on(Proxy::to(redis.port()));

    println!("| store | request | hardtack | tower-sessions | round trips | theirs |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut controls = Vec::new();

    let hardtack = ours.block_on(Program::hardtack(Arc::new(MemoryStore::default())));
    let tower = theirs.block_on(Program::tower_sessions(tower_sessions::MemoryStore::default()));
    for path in ["/read", "/write"] {
        let ratio = compare(&ours, &hardtack, &theirs, &tower, path, &mut controls);
        println!("| memory | {} | {ratio:.2} | 1 | 0 | 0 |", &path[1..]);
    }

    let url = |port| format!("redis://127.0.0.1:{port}/");
    let through = url(proxy.port());
    let hardtack = ours.block_on(async { Program::hardtack(redis_store(&url(redis.port())).await).await });
    let tower =
        theirs.block_on(async { Program::tower_sessions(tower_store(&url(redis.port())).await).await });
    let counted = ours.block_on(async { Program::hardtack(redis_store(&through).await).await });
    let theirs_counted = ours.block_on(async { Program::tower_sessions(tower_store(&through).await).await });
    for path in ["/read", "/write"] {
        let ratio = compare(&ours, &hardtack, &theirs, &tower, path, &mut controls);
        let trips = ours.block_on(round_trips(&proxy, &counted, path));
        let theirs = ours.block_on(round_trips(&proxy, &theirs_counted, path));
        println!("| Redis | {} | {ratio:.2} | 1 | {trips} | {theirs} |", &path[1..]);
    }

    let cached = |store| Arc::new(CachedStore::new(store, 8 << 20).fresh_for(Duration::MAX));
    let hardtack =
        ours.block_on(async { Program::hardtack(cached(redis_store(&url(redis.port())).await)).await });
    let counted = ours.block_on(async { Program::hardtack(cached(redis_store(&through).await)).await });
    for path in ["/read", "/write"] {
        let ratio = compare(&ours, &hardtack, &theirs, &tower, path, &mut controls);
        let trips = ours.block_on(round_trips(&proxy, &counted, path));
        println!("| Redis, local copies | {} | {ratio:.2} | 1 | {trips} | |", &path[1..]);
    }

    let worst = controls.iter().map(|control: &f64| (control - 1.0).abs()).fold(0.0, f64::max);
    if worst <= 0.05 {
        println!("\nEvery control is within {worst:.3} of 1.");
    } else {
        println!(
            "\n*** THIS RUN SAYS NOTHING: a control is {worst:.3} away from 1, and 0.05 is allowed. ***"
        );
    }
}

/// Requests per second as a multiple of theirs; and theirs against themselves, as a control.
fn compare(
    ours: &Runtime,
    hardtack: &Program,
    theirs: &Runtime,
    tower: &Program,
    path: &str,
    controls: &mut Vec<f64>,
) -> f64 {
    let hardtack = Timed::new(|| ours.block_on(hardtack.ask_all(path)));
    let tower = Timed::new(|| theirs.block_on(tower.ask_all(path)));
    let [time, control] = ratios(&tower, [&hardtack, &tower]);
    controls.push(control);
    1.0 / time
}

/// Of one request, on warm connections.
async fn round_trips(proxy: &Proxy, program: &Program, path: &str) -> u64 {
    program.ask(path, 0).await;
    let before = proxy.round_trips();
    program.ask(path, 0).await;
    proxy.round_trips() - before
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn redis_store(url: &str) -> Arc<dyn Store> {
    Arc::new(RedisStore::connect(url).await.expect("our own server"))
}

async fn tower_store(url: &str) -> tower_sessions_redis_store::RedisStore<Pool> {
    let config = Config::from_url(url).expect("a valid URL");
    // As many connections as its documentation shows.
    let pool = Pool::new(config, None, None, None, 6).expect("settings that work");
    pool.connect();
    pool.wait_for_connect().await.expect("our own server");
    tower_sessions_redis_store::RedisStore::new(pool)
}
