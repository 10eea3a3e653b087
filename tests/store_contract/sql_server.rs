//! What the stores on SQL servers promise beside the contract. Each promise is a test on each server.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hardtack::store::{Expect, Record, RecordId, StoreError};

use crate::cases::{
    AnyStore, ID, delete, failed, in_an_hour, insert, load, numbered, record, refused, touch, update,
};
use crate::servers::{Proxy, Way};

/// A server that a test has started, with one database.
pub(crate) trait SqlServer: Sized {
    const NAME: &str;
    /// SQL for the id of the row number `n`: `n` in 16 bytes.
    const NTH_ID: &str;
    /// SQL for a table of one column `n`, from 1 to 20,000.
    const NUMBERS: &str;
    const ANALYZE: &str;
    const UNKNOWN_DATABASE: &str;
    const WRONG_PASSWORD: &str;
    const NO_TABLE: &str;
    const READ_ONLY: &str;

    fn kill(&mut self);
    fn restart(&mut self);
    fn port(&self) -> u16;
    /// The URL of the database, through this port.
    fn url(&self, port: u16) -> String;
    fn connect(
        url: &str,
        connections: u16,
        deadline: Duration,
    ) -> impl Future<Output = Result<AnyStore, StoreError>> + Send;
    fn create_schema(url: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Runs statements past the store, on a connection of their own, and gives the first column as text.
    async fn run(&self, script: String) -> Vec<String>;
    /// A URL for an account that may no longer write.
    async fn read_only(&self) -> String;
    /// The statements about the table that were run last.
    async fn statements(&self) -> Vec<String>;
    /// Whether the server would read the whole table for it.
    async fn scans(&self, statement: &str) -> bool;
}

macro_rules! hold_to_the_promises_of_sql_servers {
    ($server:ty) => {
        $crate::sql_server::hold_to_the_promises_of_sql_servers! { $server:
            each_call_is_one_round_trip
            no_call_outlasts_its_deadline
            each_call_succeeds_after_a_restart_of_the_server
            nothing_acknowledged_is_lost_when_the_server_is_killed
            an_insert_whose_answer_is_lost_is_a_failure_and_no_conflict
            expired_rows_are_removed_in_batches
            parallel_inserts_over_expired_rows_do_not_fail
            no_statement_reads_the_whole_table
            many_nodes_may_create_the_schema_at_once
            who_cannot_connect_learns_why
            a_missing_table_is_named_with_its_remedy
            a_server_that_only_reads_says_so
            a_row_that_no_store_wrote_is_an_error
        }
    };
    ($server:ty: $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                $crate::sql_server::$promise::<$server>(<$server>::start()).await;
            }
        )*
    };
}
pub(crate) use hold_to_the_promises_of_sql_servers;

/// The least of many calls counts: on a busy machine, so much time may pass between two that a connection is asked for
/// a sign of life.
pub(crate) async fn each_call_is_one_round_trip<S: SqlServer>(server: S) {
    ready(&server).await;
    let proxy = Proxy::to(server.port()).await;
    let store = S::connect(&server.url(proxy.port()), 1, PATIENCE).await.expect("connect");
    // The first insert is followed by a sweep, which this awaits.
    fill(&server, 1..=1, 1).await;
    insert(&store, &numbered(0)).await;
    until(async || rows(&server).await == 1).await;

    let mut least = [u64::MAX; 6];
    for n in 1..40 {
        let next = Record { version: n + 1, ..numbered(n) };
        let mut counted = proxy.round_trips();
        let mut count = |call: usize| {
            let now = proxy.round_trips();
            least[call] = least[call].min(now - counted);
            counted = now;
        };
        insert(&store, &numbered(n)).await;
        count(0);
        assert_eq!(load(&store, next.id).await, Some(numbered(n)));
        count(1);
        update(&store, &next, n).await;
        count(2);
        touch(&store, next.id, n + 1, in_an_hour()).await;
        count(3);
        store.delete(&next.id, Some(n + 1)).await.expect("it is at this version");
        count(4);
        delete(&store, next.id).await;
        count(5);
    }
    assert_eq!(least, [1; 6]);
}

/// Each answer under a broken way is an error or the truth, and comes in time; once the way is open, all is well again.
pub(crate) async fn no_call_outlasts_its_deadline<S: SqlServer>(server: S) {
    let direct = ready(&server).await;
    let mut proxy = Proxy::to(server.port()).await;
    let store = S::connect(&server.url(proxy.port()), 3, DEADLINE).await.expect("connect");
    let stored = record(1, in_an_hour(), &[0x5e; 500]);
    insert(&direct, &stored).await;
    let cuts = [0, 1, 4, 5, 10, 11, 30, 60, 100, 200, 400, 700].map(Way::Cut);
    for way in [Way::Refuse, Way::Stall].into_iter().chain(cuts) {
        until(async || store.load(&ID, 0).await.is_ok()).await;
        for call in 0..6 {
            proxy.set(way).await;
            let started = Instant::now();
            let outcome = match call {
                0 => store.load(&ID, 0).await.map(|found| assert_eq!(found.as_ref(), Some(&stored))),
                1 => store.save(&record(1, in_an_hour(), b"other"), Expect::Absent).await,
                2 => store.save(&record(3, in_an_hour(), b"other"), Expect::Version(2)).await,
                3 => store.touch(&ID, 1, in_an_hour()).await,
                4 => store.delete(&ID, Some(2)).await,
                _ => store.delete(&numbered(0).id, None).await,
            };
            let took = started.elapsed();
            assert!(took < DEADLINE + SLACK, "call {call} under {way:?} took {took:?}");
            if matches!(way, Way::Refuse | Way::Stall | Way::Cut(..=30)) {
                failed(outcome);
            }
            proxy.set(Way::Open).await;
        }
    }
    assert_eq!(load(&direct, ID).await, Some(stored));
}

/// Its connections did not outlive the server, and nobody told the store.
pub(crate) async fn each_call_succeeds_after_a_restart_of_the_server<S: SqlServer>(mut server: S) {
    let store = ready(&server).await;
    insert(&store, &numbered(0)).await;
    for call in 0..6 {
        insert(&store, &record(call, in_an_hour(), b"stored")).await;
        // As many connections as calls at once.
        let loads = (0..4).map(|_| {
            tokio::spawn({
                let store = store.clone();
                async move { load(&store, ID).await }
            })
        });
        for load in loads.collect::<Vec<_>>() {
            assert!(load.await.expect("it does not panic").is_some());
        }
        server.restart();
        match call {
            0 => assert!(load(&store, ID).await.is_some()),
            1 => insert(&store, &numbered(1)).await,
            2 => update(&store, &record(call + 1, in_an_hour(), b"newer"), call).await,
            3 => touch(&store, ID, call, in_an_hour()).await,
            4 => store.delete(&ID, Some(call)).await.expect("it is at this version"),
            _ => delete(&store, ID).await,
        }
        delete(&store, ID).await;
    }
}

pub(crate) async fn nothing_acknowledged_is_lost_when_the_server_is_killed<S: SqlServer>(mut server: S) {
    let store = ready(&server).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers = (0..4).map(|n| {
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        // Each writes until it meets an error, and gives the last version that was acknowledged.
        tokio::spawn(async move {
            let mut next = Record { version: 0, ..numbered(n) };
            let mut expect = Expect::Absent;
            while store.save(&next, expect).await.map_err(|error| assert!(!error.is_conflict())).is_ok() {
                acknowledged.fetch_add(1, Ordering::SeqCst);
                expect = Expect::Version(next.version);
                next.version += 1;
            }
            (next.id, next.version)
        })
    });
    let writers: Vec<_> = writers.collect();
    until(async || acknowledged.load(Ordering::SeqCst) > 100).await;
    server.kill();
    let mut ends = Vec::new();
    for writer in writers {
        ends.push(writer.await.expect("an outage is no conflict"));
    }
    server.restart();
    for (id, refused) in ends {
        let version = load(&store, id).await.map(|record| record.version);
        // The one that failed may have taken effect.
        assert!(version == refused.checked_sub(1) || version == Some(refused), "{version:?}, then {refused}");
    }
}

/// It has taken effect, so whoever tried it again would find a conflict with himself.
pub(crate) async fn an_insert_whose_answer_is_lost_is_a_failure_and_no_conflict<S: SqlServer>(server: S) {
    let direct = ready(&server).await;
    let mut proxy = Proxy::to(server.port()).await;
    let store = S::connect(&server.url(proxy.port()), 1, PATIENCE).await.expect("connect");
    insert(&store, &numbered(0)).await;
    until(async || {
        // On a busy machine the connection may be asked for a sign of life first, which is what fails then.
        delete(&direct, ID).await;
        proxy.set(Way::Open).await;
        update(&store, &numbered(0), 0).await;
        proxy.set(Way::Cut(0)).await;
        failed(store.save(&record(1, in_an_hour(), b"sealed"), Expect::Absent).await);
        proxy.set(Way::Open).await;
        load(&direct, ID).await.is_some()
    })
    .await;
    refused(store.save(&record(2, in_an_hour(), b"sealed"), Expect::Absent).await);
}

pub(crate) async fn expired_rows_are_removed_in_batches<S: SqlServer>(server: S) {
    let store = ready(&server).await;
    fill(&server, 1..=200, 1).await;
    insert(&store, &numbered(0)).await;
    until(async || rows(&server).await != 201).await;
    assert_eq!(rows(&server).await, 201 - 64);
    for n in 1..16 {
        insert(&store, &numbered(n)).await;
    }
    assert_eq!(rows(&server).await, 216 - 64);
    insert(&store, &numbered(16)).await;
    until(async || rows(&server).await != 217 - 64).await;
    assert_eq!(rows(&server).await, 217 - 2 * 64);
}

/// Every second one replaces an expired row, which a sweep may have its hand on.
pub(crate) async fn parallel_inserts_over_expired_rows_do_not_fail<S: SqlServer>(server: S) {
    let store = ready(&server).await;
    fill(&server, 1..=2_000, 1).await;
    let runs: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    insert(&store, &numbered(task * 100 + n)).await;
                    insert(&store, &Record { id: nth(task * 100 + n + 1), ..numbered(n) }).await;
                }
            })
        })
        .collect();
    for run in runs {
        run.await.expect("no insert fails");
    }
    // 800 inserts are followed by 50 sweeps, which is more than enough for 1,600 rows.
    until(async || rows(&server).await == 800).await;
}

pub(crate) async fn no_statement_reads_the_whole_table<S: SqlServer>(server: S) {
    let store = ready(&server).await;
    fill(&server, 1..=1_000, 1).await;
    fill(&server, 1_001..=20_000, in_an_hour().unix_timestamp()).await;
    server.run(S::ANALYZE.to_owned()).await;

    let mut statements = BTreeSet::new();
    insert(&store, &numbered(0)).await;
    until(async || {
        statements.extend(server.statements().await);
        statements.iter().any(|statement| statement.contains("SKIP LOCKED"))
    })
    .await;
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    statements.extend(server.statements().await);
    load(&store, ID).await;
    statements.extend(server.statements().await);
    update(&store, &record(1, in_an_hour(), b"second"), 0).await;
    statements.extend(server.statements().await);
    touch(&store, ID, 1, in_an_hour()).await;
    statements.extend(server.statements().await);
    store.delete(&ID, Some(1)).await.expect("it is at version 1");
    statements.extend(server.statements().await);
    delete(&store, ID).await;
    statements.extend(server.statements().await);

    assert_eq!(statements.len(), 7, "{statements:#?}");
    for statement in statements {
        assert!(!server.scans(&statement).await, "{statement}");
    }
    assert!(server.scans("SELECT id FROM hardtack_sessions WHERE sealed = 'x'").await);
}

pub(crate) async fn many_nodes_may_create_the_schema_at_once<S: SqlServer>(server: S) {
    let url = server.url(server.port());
    let nodes = (0..100).map(|n| {
        let url = url.clone();
        tokio::spawn(async move {
            S::create_schema(&url).await.expect("create the schema");
            let store = S::connect(&url, 1, PATIENCE).await.expect("connect");
            insert(&store, &numbered(n)).await;
        })
    });
    for node in nodes.collect::<Vec<_>>() {
        node.await.expect("no node fails");
    }
    S::create_schema(&url).await.expect("once more");
    assert_eq!(rows(&server).await, 100);
}

pub(crate) async fn who_cannot_connect_learns_why<S: SqlServer>(mut server: S) {
    let url = server.url(server.port());
    let at = format!("{} at 127.0.0.1:{}, database ", S::NAME, server.port());
    let error = async |url: &str| {
        let chain = chain(&failed(S::connect(url, 1, PATIENCE).await));
        assert!(!chain.contains("horse") && !chain.contains("staple"), "{chain}");
        chain
    };

    let wrong = error(&url.replace("correct-horse", "battery-staple")).await;
    assert!(wrong.starts_with(&format!("the session store failed: connect: {at}")), "{wrong}");
    assert!(wrong.contains(S::WRONG_PASSWORD), "{wrong}");

    let unknown =
        error(&format!("{}/nowhere", url.rsplit_once('/').expect("it ends with a database").0)).await;
    assert!(
        unknown.contains(&format!("{at}nowhere: ")) && unknown.contains(S::UNKNOWN_DATABASE),
        "{unknown}"
    );

    server.kill();
    let down = error(&url).await;
    assert!(down.contains(&at) && down.contains("Connection refused"), "{down}");

    let unreadable = error("correct-horse").await;
    assert_eq!(
        unreadable.split(": ").take(2).collect::<Vec<_>>(),
        ["the session store failed", "read the URL"]
    );
}

pub(crate) async fn a_missing_table_is_named_with_its_remedy<S: SqlServer>(server: S) {
    let store = S::connect(&server.url(server.port()), 2, PATIENCE).await.expect("connect");
    let errors = [
        ("load", failed(store.load(&ID, 0).await)),
        ("save", failed(store.save(&record(0, in_an_hour(), b""), Expect::Absent).await)),
        ("save", failed(store.save(&record(1, in_an_hour(), b""), Expect::Version(0)).await)),
        ("touch", failed(store.touch(&ID, 0, in_an_hour()).await)),
        ("delete", failed(store.delete(&ID, None).await)),
        ("delete", failed(store.delete(&ID, Some(0)).await)),
    ];
    for (did, error) in errors {
        let chain = chain(&error);
        let start = format!("the session store failed: {did} a record: {} at 127.0.0.1:", S::NAME);
        assert!(chain.starts_with(&start), "{chain}");
        assert!(
            chain.contains(": the table hardtack_sessions is missing, which create_schema() makes: "),
            "{chain}"
        );
        assert!(chain.contains(S::NO_TABLE), "{chain}");
    }
}

pub(crate) async fn a_server_that_only_reads_says_so<S: SqlServer>(server: S) {
    let direct = ready(&server).await;
    insert(&direct, &numbered(1)).await;
    let store = S::connect(&server.read_only().await, 2, PATIENCE).await.expect("connect");
    for error in [
        failed(store.save(&record(0, in_an_hour(), b""), Expect::Absent).await),
        failed(store.save(&numbered(1), Expect::Version(1)).await),
        failed(store.touch(&numbered(1).id, 1, in_an_hour()).await),
        failed(store.delete(&numbered(1).id, None).await),
        failed(store.delete(&numbered(1).id, Some(1)).await),
    ] {
        let chain = chain(&error);
        assert!(chain.contains(S::READ_ONLY), "{chain}");
    }
    assert_eq!(load(&store, numbered(1).id).await, Some(numbered(1)));
}

pub(crate) async fn a_row_that_no_store_wrote_is_an_error<S: SqlServer>(server: S) {
    let store = ready(&server).await;
    for column in ["version = -1", "expires_at = 9223372036854775807"] {
        insert(&store, &record(0, in_an_hour(), b"sealed")).await;
        server.run(format!("UPDATE hardtack_sessions SET {column}")).await;
        assert!(chain(&failed(store.load(&ID, 0).await)).contains(S::NAME));
        delete(&store, ID).await;
    }
}

/// A store that is ready for use, with all the time it wants.
pub(crate) async fn ready<S: SqlServer>(server: &S) -> AnyStore {
    let url = server.url(server.port());
    S::create_schema(&url).await.expect("create the schema");
    S::connect(&url, 10, PATIENCE).await.expect("connect")
}

async fn fill<S: SqlServer>(server: &S, numbers: std::ops::RangeInclusive<u32>, expires_at: i64) {
    let (id, table) = (S::NTH_ID, S::NUMBERS);
    let script = format!(
        "INSERT INTO hardtack_sessions (id, version, expires_at, sealed) SELECT {id}, 0, {expires_at}, '' \
         FROM {table} WHERE n BETWEEN {} AND {}",
        numbers.start(),
        numbers.end()
    );
    server.run(script).await;
}

/// The id of the row number `n` that `fill` makes.
fn nth(n: u64) -> RecordId {
    RecordId::from_bytes(u128::from(n).to_be_bytes())
}

async fn rows<S: SqlServer>(server: &S) -> usize {
    server.run("SELECT 'row' FROM hardtack_sessions".to_owned()).await.len()
}

/// Asks again until it is so.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !so().await {
        assert!(started.elapsed() < PATIENCE, "it does not come about");
        tokio::task::yield_now().await;
    }
}

/// The error and its sources.
fn chain(error: &StoreError) -> String {
    let sources = std::iter::successors(error.source(), |&source| source.source());
    sources.fold(error.to_string(), |chain, source| format!("{chain}: {source}"))
}

/// For what is not about time.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

const DEADLINE: Duration = Duration::from_millis(300);

/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(2);
