//! `SqliteStore`: the contract, several handles on one file, and files that are no use.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hardtack::store::{Expect, SqliteStore, StoreError};
use sqlx::Connection;
use tempfile::TempDir;
use time::Duration;

use crate::cases::{
    AnyStore, ID, delete, failed, hold_to_the_contract, in_an_hour, insert, load, numbered, record, refused,
    this_second, touch, update, updates_at_one_version,
};

hold_to_the_contract!(fresh);

async fn fresh() -> (AnyStore, TempDir) {
    let (directory, path) = place();
    (open(&path).await, directory)
}

#[tokio::test]
async fn two_handles_see_each_others_writes() {
    let (_directory, path) = place();
    let (one, two) = (open(&path).await, open(&path).await);

    insert(&one, &record(0, in_an_hour(), b"first")).await;
    assert_eq!(load(&two, ID).await, Some(record(0, in_an_hour(), b"first")));
    update(&two, &record(1, in_an_hour(), b"second"), 0).await;
    refused(one.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    assert_eq!(load(&one, ID).await, Some(record(1, in_an_hour(), b"second")));
    delete(&one, ID).await;
    assert_eq!(load(&two, ID).await, None);
}

#[tokio::test]
async fn records_survive_reopening() {
    let (_directory, path) = place();
    let saved = record(3, in_an_hour(), b"sealed");
    insert(&open(&path).await, &saved).await;
    assert_eq!(load(&open(&path).await, ID).await, Some(saved));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_updates_from_two_handles_one_wins() {
    let (_directory, path) = place();
    let handles = [open(&path).await, open(&path).await];
    insert(&handles[0], &record(0, in_an_hour(), b"first")).await;
    updates_at_one_version(&handles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_from_two_handles_wait_for_each_other() {
    let (_directory, path) = place();
    let handles = [open(&path).await, open(&path).await];
    let runs: Vec<_> = (0..16)
        .zip(handles.iter().cycle().cloned())
        .map(|(n, store)| {
            tokio::spawn(async move {
                let first = numbered(n);
                insert(&store, &first).await;
                let mut next = first.clone();
                for version in n + 1..n + 5 {
                    next.version = version;
                    update(&store, &next, version - 1).await;
                    touch(&store, next.id, version, in_an_hour()).await;
                }
                assert_eq!(load(&store, next.id).await, Some(next.clone()));
                store.delete(&next.id, Some(next.version)).await.expect("delete");
            })
        })
        .collect();
    for run in runs {
        run.await.expect("no writer fails because the file is locked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_may_be_opened_by_many_at_once() {
    // Each round meets the moments in which they are in each other's way only sometimes.
    for _ in 0..8 {
        let (_directory, path) = place();
        let runs: Vec<_> = (0..16)
            .map(|n| {
                let path = path.clone();
                tokio::spawn(async move { insert(&open(&path).await, &numbered(n)).await })
            })
            .collect();
        for run in runs {
            run.await.expect("no opening fails because the file is locked");
        }
        assert_eq!(rows(&path).await, 16);
    }
}

#[tokio::test]
async fn each_insert_removes_a_few_expired_records() {
    let (_directory, path) = place();
    let store = open(&path).await;
    for n in 0..40 {
        insert(&store, &numbered(n)).await;
    }
    for n in 0..40 {
        touch(&store, numbered(n).id, n, this_second() - Duration::SECOND).await;
    }
    let mut left = Vec::new();
    for n in 100..104 {
        insert(&store, &numbered(n)).await;
        left.push(rows(&path).await);
    }
    assert_eq!(left, [25, 10, 3, 4]);
}

#[tokio::test]
async fn the_file_is_in_write_ahead_mode() {
    let (_directory, path) = place();
    let _store = open(&path).await;
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connect(&path).await).await.expect("pragma");
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error_and_stays_as_it_was() {
    let (_directory, path) = place();
    let text = "This is a letter, not a database. ".repeat(100);
    std::fs::write(&path, &text).expect("write");
    names_the_file(SqliteStore::open(&path).await, &path);
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
}

#[tokio::test]
async fn a_missing_directory_is_an_error() {
    let (directory, _) = place();
    let path = directory.path().join("missing").join("sessions.db");
    names_the_file(SqliteStore::open(&path).await, &path);
    assert!(!path.parent().expect("it has one").exists());
}

#[tokio::test]
async fn a_directory_and_an_empty_path_are_errors() {
    let (directory, _) = place();
    names_the_file(SqliteStore::open(directory.path()).await, directory.path());
    names_the_file(SqliteStore::open("").await, Path::new(""));
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_an_error() {
    let (_directory, path) = place();
    drop(open(&path).await);
    let mut permissions = std::fs::metadata(&path).expect("it was created").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).expect("it is ours");
    // Permissions do not bind root, so there is nothing to see for it.
    if std::fs::OpenOptions::new().write(true).open(&path).is_err() {
        names_the_file(SqliteStore::open(&path).await, &path);
    }
}

#[tokio::test]
async fn a_table_that_disappears_is_an_error_and_not_an_absent_record() {
    let (_directory, path) = place();
    let store = open(&path).await;
    sqlx::query("DROP TABLE hardtack_sessions").execute(&mut connect(&path).await).await.expect("drop");
    let errors = [
        failed(store.load(&ID, 0).await),
        failed(store.save(&record(0, in_an_hour(), b""), Expect::Absent).await),
        failed(store.save(&record(1, in_an_hour(), b""), Expect::Version(0)).await),
        failed(store.touch(&ID, 0, in_an_hour()).await),
        failed(store.delete(&ID, None).await),
        failed(store.delete(&ID, Some(0)).await),
    ];
    for error in &errors {
        assert_eq!(file_named_by(error), path);
    }
    let did = errors.map(|error| error.to_string().split(": ").last().map(str::to_owned).unwrap_or_default());
    assert_eq!(
        did,
        [
            "load a record",
            "save a record",
            "save a record",
            "touch a record",
            "delete a record",
            "delete a record"
        ]
    );
}

#[tokio::test]
async fn a_row_that_no_store_wrote_is_an_error() {
    let (_directory, path) = place();
    let store = open(&path).await;
    for column in ["version = -1", "expires_at = 9223372036854775807"] {
        insert(&store, &record(0, in_an_hour(), b"sealed")).await;
        let spoil = sqlx::AssertSqlSafe(format!("UPDATE hardtack_sessions SET {column}"));
        sqlx::query(spoil).execute(&mut connect(&path).await).await.expect("update");
        assert_eq!(file_named_by(&failed(store.load(&ID, 0).await)), path);
        delete(&store, ID).await;
    }
}

#[tokio::test]
async fn debug_shows_the_file() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).await.expect("open");
    assert_eq!(format!("{store:?}"), format!("SqliteStore {{ path: {path:?}, .. }}"));
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("sessions.db");
    (directory, path)
}

async fn open(path: &Path) -> AnyStore {
    Arc::new(SqliteStore::open(path).await.expect("open"))
}

/// A connection past the store, to see what it left in the file.
async fn connect(path: &Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    sqlx::SqliteConnection::connect_with(&options).await.expect("connect")
}

async fn rows(path: &Path) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM hardtack_sessions");
    count.fetch_one(&mut connect(path).await).await.expect("count")
}

#[track_caller]
fn names_the_file(opened: Result<SqliteStore, StoreError>, path: &Path) {
    let error = failed(opened);
    assert_eq!(error.to_string(), "the session store failed: open the SQLite file");
    assert_eq!(file_named_by(&error), path);
}

/// The file that the error's source names. Behind it there is always the cause.
#[track_caller]
fn file_named_by(error: &StoreError) -> PathBuf {
    let source = error.source().expect("a failure has a source");
    assert!(source.source().is_some(), "the cause is kept: {source}");
    let text = source.to_string();
    text.strip_prefix("in the SQLite file ").expect("it names the file").into()
}
