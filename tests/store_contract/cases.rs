//! The cases of the contract. Each gets a fresh store of any kind; time is what a record says, so nothing
//! waits.
#![allow(unused_macros, unused_imports, reason = "without features there are no servers to test")]

use std::sync::{Arc, Barrier, LazyLock};

use hardtack::store::{Expect, Record, RecordId, Store, StoreError};
use time::{Duration, OffsetDateTime};
use tokio::runtime::Handle;

pub(crate) type AnyStore = Arc<dyn Store>;

/// One test for each case. `$fresh` is an async function that gives a fresh store and what has to outlive it.
macro_rules! hold_to_the_contract {
    ($fresh:path) => {
        $crate::cases::all_cases! { each_as_a_test $fresh }
    };
}
pub(crate) use hold_to_the_contract;

/// All cases in one test, for a server that takes its time to start. `$fresh` gives a fresh store on it for each case.
macro_rules! hold_all_to_the_contract {
    ($fresh:expr) => {
        $crate::cases::all_cases! { one_by_one $fresh }
    };
}
pub(crate) use hold_all_to_the_contract;

macro_rules! each_as_a_test {
    ($fresh:path; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let (store, _kept) = $fresh().await;
                $crate::cases::$case(store).await;
            }
        )*
    };
}
pub(crate) use each_as_a_test;

macro_rules! one_by_one {
    ($fresh:expr; $($case:ident)*) => {
        $(
            eprintln!("{}", stringify!($case));
            $crate::cases::$case($fresh).await;
        )*
    };
}
pub(crate) use one_by_one;

macro_rules! all_cases {
    ($form:ident $($fresh:tt)*) => {
        $crate::cases::$form! { $($fresh)*;
            an_absent_record_loads_as_none
            a_saved_record_loads_with_every_field
            an_expiry_is_kept_to_the_second
            a_record_is_absent_from_the_second_of_its_expiry_on
            a_store_that_does_not_lag_answers_what_it_has
            an_insert_never_overwrites_a_live_record
            an_insert_replaces_an_expired_record
            an_insert_replaces_an_expired_record_among_many
            an_insert_follows_a_deletion
            an_update_replaces_every_field
            an_update_at_another_version_conflicts_and_changes_nothing
            an_update_of_an_absent_record_conflicts_and_creates_nothing
            an_update_of_a_deleted_record_conflicts_and_does_not_bring_it_back
            an_update_of_an_expired_record_conflicts_and_does_not_revive_it
            no_call_changes_the_record_of_another_id
            a_touch_moves_the_expiry_and_nothing_else
            a_touch_into_the_past_ends_the_record
            a_touch_at_another_version_does_nothing
            a_touch_of_an_absent_record_does_nothing
            a_touch_does_not_revive_an_expired_record
            a_deletion_removes_the_record
            a_deletion_may_be_repeated
            a_deletion_at_the_expected_version_removes
            a_deletion_at_another_version_conflicts_and_removes_nothing
            a_deletion_at_a_version_conflicts_where_nothing_lives
            of_parallel_inserts_one_wins
            of_parallel_updates_at_one_version_one_wins
            of_a_parallel_update_and_deletion_at_one_version_one_wins
            sealed_bytes_of_any_size_and_value_come_back
            every_version_up_to_the_largest_comes_back
            a_version_above_the_largest_is_an_error
            no_record_is_at_a_version_above_the_largest
            ids_that_differ_in_one_bit_do_not_collide
        }
    };
}
pub(crate) use all_cases;

pub(crate) async fn an_absent_record_loads_as_none(store: AnyStore) {
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_saved_record_loads_with_every_field(store: AnyStore) {
    let saved = record(7, in_an_hour(), b"sealed");
    insert(&store, &saved).await;
    assert_eq!(load(&store, ID).await, Some(saved));
}

pub(crate) async fn an_expiry_is_kept_to_the_second(store: AnyStore) {
    let with_fraction = in_an_hour() + Duration::milliseconds(999);
    insert(&store, &record(0, with_fraction, b"sealed")).await;
    let loaded = load(&store, ID).await.expect("it is live for an hour");
    assert_eq!(loaded.expires_at.unix_timestamp(), with_fraction.unix_timestamp());
}

pub(crate) async fn a_record_is_absent_from_the_second_of_its_expiry_on(store: AnyStore) {
    let now = this_second();
    for expires_at in
        [now - Duration::DAY, now, now + Duration::milliseconds(999), OffsetDateTime::UNIX_EPOCH]
    {
        insert(&store, &record(0, expires_at, b"sealed")).await;
        assert_eq!(load(&store, ID).await, None, "expired at {expires_at}");
    }
}

/// `at_least` makes a store look further that may be behind; none of these may be, so what they have is the
/// truth.
pub(crate) async fn a_store_that_does_not_lag_answers_what_it_has(store: AnyStore) {
    let saved = record(3, in_an_hour(), b"sealed");
    insert(&store, &saved).await;
    for at_least in [0, 3, 4, u64::MAX] {
        assert_eq!(
            store.load(&ID, at_least).await.expect("load"),
            Some(saved.clone()),
            "at least {at_least}"
        );
    }
}

pub(crate) async fn an_insert_never_overwrites_a_live_record(store: AnyStore) {
    let first = record(1, in_an_hour(), b"first");
    insert(&store, &first).await;
    for version in [0, 1, 2] {
        let second = record(version, in_an_hour() + Duration::HOUR, b"second");
        refused(store.save(&second, Expect::Absent).await);
    }
    assert_eq!(load(&store, ID).await, Some(first));
}

pub(crate) async fn an_insert_replaces_an_expired_record(store: AnyStore) {
    expired(&store, ID, 5).await;
    let second = record(0, in_an_hour(), b"second");
    insert(&store, &second).await;
    assert_eq!(load(&store, ID).await, Some(second));
}

/// A store may remove a few expired records before it inserts: with enough of them the replaced one is still
/// there.
pub(crate) async fn an_insert_replaces_an_expired_record_among_many(store: AnyStore) {
    let others = (1..=40).map(|n| numbered(n).id).collect::<Vec<_>>();
    for id in &others {
        insert(&store, &Record { id: *id, ..record(0, in_an_hour(), b"other") }).await;
    }
    insert(&store, &record(5, in_an_hour(), b"first")).await;
    for id in &others {
        touch(&store, *id, 0, this_second() - Duration::HOUR).await;
    }
    touch(&store, ID, 5, this_second()).await;

    let second = record(0, in_an_hour(), b"second");
    insert(&store, &second).await;
    assert_eq!(load(&store, ID).await, Some(second));
}

pub(crate) async fn an_insert_follows_a_deletion(store: AnyStore) {
    insert(&store, &record(5, in_an_hour(), b"first")).await;
    delete(&store, ID).await;
    let second = record(0, in_an_hour(), b"second");
    insert(&store, &second).await;
    assert_eq!(load(&store, ID).await, Some(second));
}

pub(crate) async fn an_update_replaces_every_field(store: AnyStore) {
    insert(&store, &record(1, in_an_hour(), b"first")).await;
    // The version may grow by any step, and the expiry move either way.
    for (from, to, expires_at) in [
        (1, 2, in_an_hour() + Duration::DAY),
        (2, 3, in_an_hour() - Duration::MINUTE),
        (3, 900, in_an_hour()),
    ] {
        let next = record(to, expires_at, format!("version {to}").as_bytes());
        update(&store, &next, from).await;
        assert_eq!(load(&store, ID).await, Some(next));
    }
}

pub(crate) async fn an_update_at_another_version_conflicts_and_changes_nothing(store: AnyStore) {
    let stored = record(5, in_an_hour(), b"stored");
    insert(&store, &stored).await;
    for read in [0, 4, 6, u64::MAX] {
        let late = record(6, in_an_hour() + Duration::HOUR, b"late");
        refused(store.save(&late, Expect::Version(read)).await);
    }
    assert_eq!(load(&store, ID).await, Some(stored));
}

pub(crate) async fn an_update_of_an_absent_record_conflicts_and_creates_nothing(store: AnyStore) {
    refused(store.save(&record(1, in_an_hour(), b"sealed"), Expect::Version(0)).await);
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn an_update_of_a_deleted_record_conflicts_and_does_not_bring_it_back(store: AnyStore) {
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    delete(&store, ID).await;
    refused(store.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn an_update_of_an_expired_record_conflicts_and_does_not_revive_it(store: AnyStore) {
    expired(&store, ID, 0).await;
    refused(store.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    assert_eq!(load(&store, ID).await, None);
}

/// The neighbour is at the same version, so that only its id tells them apart.
pub(crate) async fn no_call_changes_the_record_of_another_id(store: AnyStore) {
    let neighbour = numbered(1);
    insert(&store, &neighbour).await;
    insert(&store, &record(1, in_an_hour(), b"first")).await;
    touch(&store, ID, 1, in_an_hour() + Duration::DAY).await;
    update(&store, &record(9, in_an_hour(), b"second"), 1).await;
    update(&store, &record(1, in_an_hour(), b"third"), 9).await;
    store.delete(&ID, Some(1)).await.expect("it is at version 1");
    delete(&store, ID).await;
    assert_eq!(load(&store, neighbour.id).await, Some(neighbour));
}

pub(crate) async fn a_touch_moves_the_expiry_and_nothing_else(store: AnyStore) {
    let saved = record(2, in_an_hour(), b"sealed");
    insert(&store, &saved).await;
    for expires_at in [in_an_hour() + Duration::DAY, in_an_hour() - Duration::MINUTE] {
        touch(&store, ID, 2, expires_at).await;
        assert_eq!(load(&store, ID).await, Some(Record { expires_at, ..saved.clone() }));
    }
}

pub(crate) async fn a_touch_into_the_past_ends_the_record(store: AnyStore) {
    insert(&store, &record(2, in_an_hour(), b"sealed")).await;
    touch(&store, ID, 2, this_second()).await;
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_touch_at_another_version_does_nothing(store: AnyStore) {
    let saved = record(2, in_an_hour(), b"sealed");
    insert(&store, &saved).await;
    for version in [0, 1, 3, u64::MAX] {
        touch(&store, ID, version, in_an_hour() + Duration::DAY).await;
    }
    assert_eq!(load(&store, ID).await, Some(saved));
}

pub(crate) async fn a_touch_of_an_absent_record_does_nothing(store: AnyStore) {
    touch(&store, ID, 0, in_an_hour()).await;
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_touch_does_not_revive_an_expired_record(store: AnyStore) {
    expired(&store, ID, 2).await;
    touch(&store, ID, 2, in_an_hour()).await;
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_deletion_removes_the_record(store: AnyStore) {
    insert(&store, &record(2, in_an_hour(), b"sealed")).await;
    delete(&store, ID).await;
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_deletion_may_be_repeated(store: AnyStore) {
    delete(&store, ID).await;
    insert(&store, &record(2, in_an_hour(), b"sealed")).await;
    delete(&store, ID).await;
    delete(&store, ID).await;
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_deletion_at_the_expected_version_removes(store: AnyStore) {
    insert(&store, &record(2, in_an_hour(), b"sealed")).await;
    store.delete(&ID, Some(2)).await.expect("it is at version 2");
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_deletion_at_another_version_conflicts_and_removes_nothing(store: AnyStore) {
    let saved = record(2, in_an_hour(), b"sealed");
    insert(&store, &saved).await;
    for version in [0, 1, 3, u64::MAX] {
        refused(store.delete(&ID, Some(version)).await);
    }
    assert_eq!(load(&store, ID).await, Some(saved));
}

pub(crate) async fn a_deletion_at_a_version_conflicts_where_nothing_lives(store: AnyStore) {
    for version in [0, u64::MAX] {
        refused(store.delete(&ID, Some(version)).await);
    }
    for version in [1, 2, 3] {
        expired(&store, ID, 2).await;
        refused(store.delete(&ID, Some(version)).await);
        assert_eq!(load(&store, ID).await, None);
    }
}

pub(crate) async fn of_parallel_inserts_one_wins(store: AnyStore) {
    let won = race((0..32).map(|n| {
        let record = record(n, in_an_hour(), &n.to_le_bytes());
        (store.clone(), Step::Save(record, Expect::Absent))
    }));
    let [winner] = won.await[..] else { panic!("exactly one insert wins") };
    assert_eq!(load(&store, ID).await.map(|record| record.version), Some(winner));
}

pub(crate) async fn of_parallel_updates_at_one_version_one_wins(store: AnyStore) {
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    updates_at_one_version(&[store]).await;
}

/// 32 updates at version 0, spread over handles to one store that holds `ID` at version 0: exactly one may
/// win.
pub(crate) async fn updates_at_one_version(handles: &[AnyStore]) {
    let won = race((0..32).zip(handles.iter().cycle()).map(|(n, store)| {
        let record = record(n + 1, in_an_hour(), &n.to_le_bytes());
        (store.clone(), Step::Save(record, Expect::Version(0)))
    }));
    let [winner] = won.await[..] else { panic!("exactly one update wins") };
    for store in handles {
        let loaded = load(store, ID).await.expect("updates do not delete");
        assert_eq!((loaded.version, loaded.sealed), (winner + 1, winner.to_le_bytes().to_vec()));
    }
}

pub(crate) async fn of_a_parallel_update_and_deletion_at_one_version_one_wins(store: AnyStore) {
    for round in 0..16 {
        insert(&store, &record(0, in_an_hour(), b"first")).await;
        let next = record(1, in_an_hour(), b"second");
        let mut steps = [Step::Save(next.clone(), Expect::Version(0)), Step::Delete(0)];
        steps.rotate_left(round % 2);
        let is_save = steps.each_ref().map(|step| matches!(step, Step::Save(..)));

        let won = race(steps.into_iter().map(|step| (store.clone(), step))).await;
        let [winner] = won[..] else { panic!("exactly one of the two wins") };
        let saved = is_save[usize::try_from(winner).expect("it is 0 or 1")];
        assert_eq!(load(&store, ID).await, saved.then_some(next), "round {round}");
        delete(&store, ID).await;
    }
}

pub(crate) async fn sealed_bytes_of_any_size_and_value_come_back(store: AnyStore) {
    let every_value: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every_value.iter().copied().cycle().take(1 << 20).collect();
    let mut version = 0;
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    for sealed in [&[][..], &[0], &every_value, &large, &[]] {
        update(&store, &record(version + 1, in_an_hour(), sealed), version).await;
        version += 1;
        let loaded = load(&store, ID).await.expect("it was saved");
        assert!(loaded.sealed == sealed, "{} bytes", sealed.len());
    }
}

pub(crate) async fn every_version_up_to_the_largest_comes_back(store: AnyStore) {
    let mut read = 0;
    insert(&store, &record(read, in_an_hour(), b"sealed")).await;
    for version in [1, u64::from(u32::MAX) + 1, LARGEST - 1, LARGEST] {
        update(&store, &record(version, in_an_hour(), b"sealed"), read).await;
        touch(&store, ID, version, in_an_hour() + Duration::HOUR).await;
        let loaded = load(&store, ID).await.expect("it was saved");
        assert_eq!((loaded.version, loaded.expires_at), (version, in_an_hour() + Duration::HOUR));
        read = version;
    }
    store.delete(&ID, Some(LARGEST)).await.expect("it is at the largest version");
    assert_eq!(load(&store, ID).await, None);
}

pub(crate) async fn a_version_above_the_largest_is_an_error(store: AnyStore) {
    let stored = record(0, in_an_hour(), b"stored");
    for version in [LARGEST + 1, u64::MAX] {
        let above = record(version, in_an_hour(), b"sealed");
        failed(store.save(&above, Expect::Absent).await);
        assert_eq!(load(&store, ID).await, None);

        insert(&store, &stored).await;
        failed(store.save(&above, Expect::Version(0)).await);
        assert_eq!(load(&store, ID).await, Some(stored.clone()));
        delete(&store, ID).await;
    }
}

/// A version that wrapped around would meet a record here.
pub(crate) async fn no_record_is_at_a_version_above_the_largest(store: AnyStore) {
    let stored = record(0, in_an_hour(), b"stored");
    insert(&store, &stored).await;
    for version in [LARGEST + 1, u64::MAX] {
        refused(store.save(&record(1, in_an_hour(), b"late"), Expect::Version(version)).await);
        touch(&store, ID, version, this_second()).await;
        refused(store.delete(&ID, Some(version)).await);
    }
    assert_eq!(load(&store, ID).await, Some(stored));
}

pub(crate) async fn ids_that_differ_in_one_bit_do_not_collide(store: AnyStore) {
    let ids = (0..128).map(|bit| {
        let mut bytes = *ID.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        RecordId::from_bytes(bytes)
    });
    let records: Vec<Record> = std::iter::once(ID)
        .chain(ids)
        .map(|id| Record { id, ..record(0, in_an_hour(), id.as_bytes()) })
        .collect();
    for record in &records {
        insert(&store, record).await;
    }
    for record in records {
        assert_eq!(load(&store, record.id).await, Some(record));
    }
}

/// The id of every record that needs no neighbour. It begins and ends with zeros, which no store may trim.
pub(crate) const ID: RecordId = RecordId::from_bytes([0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 0]);

/// The largest version that every store holds: databases count in signed 64-bit integers.
const LARGEST: u64 = i64::MAX as u64;

/// A record under `ID`.
pub(crate) fn record(version: u64, expires_at: OffsetDateTime, sealed: &[u8]) -> Record {
    Record { id: ID, version, expires_at, sealed: sealed.to_vec() }
}

/// One of many records, each under an id of its own, with 500 sealed bytes.
pub(crate) fn numbered(n: u64) -> Record {
    let mut id = [0xff; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Record { id: RecordId::from_bytes(id), ..record(n, in_an_hour(), &[0x5e; 500]) }
}

pub(crate) fn this_second() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(OffsetDateTime::now_utc().unix_timestamp())
        .expect("the clock is right")
}

/// An hour from when it was first asked, so that one test always gets the same.
pub(crate) fn in_an_hour() -> OffsetDateTime {
    static START: LazyLock<OffsetDateTime> = LazyLock::new(this_second);
    *START + Duration::HOUR
}

pub(crate) async fn load(store: &AnyStore, id: RecordId) -> Option<Record> {
    store.load(&id, 0).await.expect("load")
}

pub(crate) async fn insert(store: &AnyStore, record: &Record) {
    store.save(record, Expect::Absent).await.expect("insert");
}

pub(crate) async fn update(store: &AnyStore, record: &Record, read: u64) {
    store.save(record, Expect::Version(read)).await.expect("update");
}

pub(crate) async fn touch(store: &AnyStore, id: RecordId, version: u64, expires_at: OffsetDateTime) {
    store.touch(&id, version, expires_at).await.expect("touch");
}

pub(crate) async fn delete(store: &AnyStore, id: RecordId) {
    store.delete(&id, None).await.expect("delete");
}

/// Leaves an expired record behind: saved live, and then moved to the second before this one.
pub(crate) async fn expired(store: &AnyStore, id: RecordId, version: u64) {
    insert(store, &Record { id, ..record(version, in_an_hour(), b"expired") }).await;
    touch(store, id, version, this_second() - Duration::SECOND).await;
}

#[track_caller]
pub(crate) fn refused(result: Result<(), StoreError>) {
    assert!(result.expect_err("the condition does not hold").is_conflict());
}

/// The error is the store's own, not a conflict.
#[track_caller]
pub(crate) fn failed<T>(result: Result<T, StoreError>) -> StoreError {
    let Err(error) = result else { panic!("this has to fail") };
    assert!(!error.is_conflict());
    error
}

enum Step {
    Save(Record, Expect),
    Delete(u64),
}

/// Runs each step on a thread of its own, from one moment on, and gives the places of those that won. The
/// others must have lost a conflict.
async fn race(steps: impl Iterator<Item = (AnyStore, Step)>) -> Vec<u64> {
    let steps: Vec<_> = steps.collect();
    let start = Arc::new(Barrier::new(steps.len()));
    let runtime = Handle::current();
    let runs: Vec<_> = steps
        .into_iter()
        .map(|(store, step)| {
            let (start, runtime) = (start.clone(), runtime.clone());
            tokio::task::spawn_blocking(move || {
                start.wait();
                runtime.block_on(match &step {
                    Step::Save(record, expect) => store.save(record, *expect),
                    Step::Delete(version) => store.delete(&ID, Some(*version)),
                })
            })
        })
        .collect();
    let mut won = Vec::new();
    for (place, run) in (0..).zip(runs) {
        match run.await.expect("a store does not panic") {
            Ok(()) => won.push(place),
            lost => refused(lost),
        }
    }
    won
}
