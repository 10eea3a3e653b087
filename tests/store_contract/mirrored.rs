//! `MirroredStore`: the contract over one, two and three mirrors, and mirrors that fail, hang, lose answers, and come back
//! behind or empty. How writers meet in between is what the model beside the code explores.

use std::error::Error;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hardtack::store::{BoxFuture, Expect, MemoryStore, MirroredStore, Record, RecordId, Store, StoreError};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::cases::{
    AnyStore, ID, delete, failed, hold_to_the_contract, in_an_hour, insert, load, numbered, record, refused,
    touch, update,
};

mod one {
    super::hold_to_the_contract!(super::one);
}

mod either_of_two {
    super::hold_to_the_contract!(super::either_of_two);
}

mod both_of_two {
    super::hold_to_the_contract!(super::both_of_two);
}

mod two_of_three {
    super::hold_to_the_contract!(super::two_of_three);
}

fn one() -> Ready<(AnyStore, ())> {
    healthy(1, 1)
}

fn either_of_two() -> Ready<(AnyStore, ())> {
    healthy(2, 1)
}

fn both_of_two() -> Ready<(AnyStore, ())> {
    healthy(2, 2)
}

fn two_of_three() -> Ready<(AnyStore, ())> {
    healthy(3, 2)
}

fn healthy(mirrors: usize, write_quorum: usize) -> Ready<(AnyStore, ())> {
    let mirrors = (0..mirrors).map(|_| Arc::new(MemoryStore::default()) as Arc<dyn Store>);
    let store = MirroredStore::new(mirrors).and_then(|store| store.write_quorum(write_quorum));
    ready((Arc::new(store.expect("a quorum that can be reached")), ()))
}

#[tokio::test(start_paused = true)]
async fn one_mirror_of_three_that_fails_hangs_or_loses_answers_costs_nothing() {
    for state in [State::Fails, State::Hangs, State::LosesAnswers] {
        for broken in 0..3 {
            let (store, mirrors) = three();
            insert(&store, &record(0, in_an_hour(), b"first")).await;
            mirrors[broken].is(state);
            live_and_end(&store, 0).await;
            let (store, mirrors) = three();
            mirrors[broken].is(state);
            insert(&store, &record(0, in_an_hour(), b"first")).await;
            live_and_end(&store, 0).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_hangs_is_waited_for_once_and_briefly() {
    for broken in 0..3 {
        let (store, mirrors) = three();
        insert(&store, &record(0, in_an_hour(), b"first")).await;
        mirrors[broken].is(State::Hangs);
        let before = Instant::now();
        update(&store, &record(1, in_an_hour(), b"second"), 0).await;
        touch(&store, ID, 1, in_an_hour() + time::Duration::HOUR).await;
        assert!(before.elapsed() <= Duration::from_millis(210), "{:?}", before.elapsed());

        let before = Instant::now();
        live_and_end(&store, 1).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}

/// An update, a touch and a deletion, each of which the next load sees.
async fn live_and_end(store: &AnyStore, version: u64) {
    let next = record(version + 1, in_an_hour(), b"next");
    update(store, &next, version).await;
    assert_eq!(store.load(&ID, version + 1).await.expect("load"), Some(next.clone()));
    refused(store.save(&next, Expect::Version(version)).await);
    let expires_at = in_an_hour() + time::Duration::MINUTE;
    touch(store, ID, version + 1, expires_at).await;
    assert_eq!(load(store, ID).await, Some(Record { expires_at, ..next.clone() }));
    refused(store.delete(&ID, Some(version)).await);
    store.delete(&ID, Some(version + 1)).await.expect("it is at this version");
    assert_eq!(load(store, ID).await, None);
    refused(store.save(&record(version + 2, in_an_hour(), b"late"), Expect::Version(version + 1)).await);
}

#[tokio::test]
async fn a_mirror_that_comes_back_old_or_empty_is_brought_up_to_date_by_a_load() {
    for (behind, empty) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
        let (store, mirrors) = three();
        insert(&store, &record(0, in_an_hour(), b"first")).await;
        mirrors[behind].is(State::Fails);
        let next = record(1, in_an_hour(), b"second");
        update(&store, &next, 0).await;
        if empty {
            mirrors[behind].empties();
        }
        mirrors[behind].is(State::Well);
        assert_eq!(load(&store, ID).await, Some(next.clone()));
        mirrors[behind].until_it_holds(b"second").await;
        only(&mirrors, behind);
        let alone = quorum(&mirrors, 2).lone_reads();
        assert_eq!(alone.load(&ID, 1).await.expect("it has what the cookie proves"), Some(next));
    }
}

#[tokio::test]
async fn the_first_mirror_takes_part_again_when_it_is_back() {
    let (store, mirrors) = three();
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    mirrors[0].is(State::Fails);
    update(&store, &record(1, in_an_hour(), b"second"), 0).await;
    mirrors[0].is(State::Well);
    update(&store, &record(2, in_an_hour(), b"third"), 1).await;
    mirrors[0].until_it_holds(b"third").await;
    for _ in 0..2 {
        update(&store, &record(3, in_an_hour(), b"fourth"), 2).await;
        store.delete(&ID, None).await.expect("delete");
        insert(&store, &record(2, in_an_hour(), b"third")).await;
    }
}

#[tokio::test]
async fn a_session_that_ended_while_a_mirror_was_away_stays_ended() {
    for behind in 0..3 {
        let (store, mirrors) = three();
        insert(&store, &record(0, in_an_hour(), b"first")).await;
        mirrors[behind].until_it_holds(b"first").await;
        mirrors[behind].is(State::Fails);
        delete(&store, ID).await;
        mirrors[behind].is(State::Well);
        for away in (0..3).filter(|away| *away != behind) {
            mirrors[away].is(State::Fails);
            assert_eq!(load(&store, ID).await, None, "with the copy of mirror {behind}");
            refused(store.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
            mirrors[away].is(State::Well);
        }
        load(&store, ID).await;
        mirrors[behind].until_it_does_not_hold(b"first").await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_two_mirrors_of_three_away_nothing_is_written_and_nothing_is_read() {
    for state in [State::Fails, State::Hangs] {
        for left in 0..3 {
            let (store, mirrors) = three();
            let saved = record(1, in_an_hour(), b"saved");
            insert(&store, &saved).await;
            mirrors[left].until_it_holds(b"saved").await;
            for (index, mirror) in mirrors.iter().enumerate() {
                mirror.is(if index == left { State::Well } else { state });
            }
            failed(store.save(&record(2, in_an_hour(), b"next"), Expect::Version(1)).await);
            failed(store.save(&numbered(7), Expect::Absent).await);
            failed(store.touch(&ID, 1, in_an_hour()).await);
            failed(store.delete(&ID, None).await);
            failed(store.delete(&ID, Some(1)).await);
            failed(store.load(&ID, 1).await);
            failed(store.load(&numbered(8).id, 0).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_served_where_the_cookie_proves_its_version_and_lone_reads_are_wanted() {
    for state in [State::Fails, State::Hangs] {
        let mirrors = faulty(3);
        let strict = quorum(&mirrors, 2);
        let store: AnyStore = Arc::new(quorum(&mirrors, 2).lone_reads());
        let saved = record(5, in_an_hour(), b"saved");
        insert(&store, &saved).await;
        mirrors[2].until_it_holds(b"saved").await;
        assert_eq!(strict.load(&ID, 5).await.expect("all are well"), Some(saved.clone()));
        mirrors[0].is(state);
        mirrors[1].is(state);
        assert_eq!(store.load(&ID, 5).await.expect("one is left"), Some(saved));
        failed(store.load(&ID, 6).await);
        failed(strict.load(&ID, 5).await);
    }
}

#[tokio::test]
async fn a_mirror_that_is_behind_is_never_believed_alone() {
    let mirrors = faulty(3);
    let store: AnyStore = Arc::new(quorum(&mirrors, 2).lone_reads());
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    mirrors[2].until_it_holds(b"first").await;
    mirrors[2].is(State::Fails);
    update(&store, &record(1, in_an_hour(), b"second"), 0).await;
    only(&mirrors, 2);
    failed(store.load(&ID, 1).await);
    mirrors[2].empties();
    failed(store.load(&ID, 0).await);
    failed(store.load(&ID, 1).await);
}

#[tokio::test]
async fn mirrors_that_agree_on_less_than_is_proven_are_not_believed_while_one_is_away() {
    let (store, mirrors) = three();
    let saved = record(3, in_an_hour(), b"saved");
    insert(&store, &saved).await;
    for away in &mirrors {
        away.is(State::Fails);
        failed(store.load(&ID, 4).await);
        away.is(State::Well);
        assert_eq!(store.load(&ID, 4).await.expect("all have answered"), Some(saved.clone()));
    }
}

#[tokio::test]
async fn of_two_mirrors_with_a_quorum_of_one_either_may_go() {
    for away in 0..2 {
        let mirrors = faulty(2);
        let store: AnyStore = Arc::new(quorum(&mirrors, 1));
        insert(&store, &record(0, in_an_hour(), b"first")).await;
        mirrors[1 - away].until_it_holds(b"first").await;
        mirrors[away].is(State::Fails);
        update(&store, &record(1, in_an_hour(), b"second"), 0).await;
        assert_eq!(store.load(&ID, 1).await.expect("load"), Some(record(1, in_an_hour(), b"second")));
        mirrors[away].is(State::Well);
        assert_eq!(load(&store, ID).await, Some(record(1, in_an_hour(), b"second")));
        mirrors[away].until_it_holds(b"second").await;
        mirrors[away].is(State::Fails);
        delete(&store, ID).await;
        assert_eq!(load(&store, ID).await, None);
        mirrors[away].is(State::Well);
        assert_eq!(load(&store, ID).await, None);
    }
}

#[tokio::test]
async fn of_two_mirrors_with_a_quorum_of_two_either_may_go_for_lone_reads() {
    for away in 0..2 {
        let mirrors = faulty(2);
        let store: AnyStore = Arc::new(quorum(&mirrors, 2).lone_reads());
        insert(&store, &record(0, in_an_hour(), b"first")).await;
        mirrors[away].is(State::Fails);
        assert_eq!(load(&store, ID).await, Some(record(0, in_an_hour(), b"first")));
        assert_eq!(load(&store, numbered(1).id).await, None);
        failed(store.save(&record(1, in_an_hour(), b"second"), Expect::Version(0)).await);
    }
}

/// Each increment writes its number into the record, so that one whose answer was lost is not done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_increments_over_failing_mirrors_each_counts_once() {
    let mirrors = faulty(3);
    let nodes: Vec<AnyStore> = (0..4).map(|_| Arc::new(quorum(&mirrors, 2)) as AnyStore).collect();
    insert(&nodes[0], &record(0, in_an_hour(), b"")).await;
    all(&mirrors, State::FailsNowAndThen);
    let increments: Vec<_> =
        (0..100).map(|number| tokio::spawn(increment(nodes[number % 4].clone(), number))).collect();
    let mut acknowledged = 0;
    for increment in increments {
        acknowledged += u64::from(increment.await.expect("no increment panics"));
    }
    all(&mirrors, State::Well);
    let mut numbers = load(&nodes[0], ID).await.expect("nobody ends it").sealed;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<u8>>());
    assert!(acknowledged > 0, "only answers that were lost");
}

/// Whether the save was acknowledged that brought `number` into the record.
async fn increment(store: AnyStore, number: usize) -> bool {
    let number = u8::try_from(number).expect("below 256");
    loop {
        let Ok(Some(loaded)) = store.load(&ID, 0).await else { continue };
        if loaded.sealed.contains(&number) {
            return false;
        }
        let sealed = [&loaded.sealed[..], &[number]].concat();
        let next = Record { version: loaded.version + 1, sealed, ..loaded };
        if store.save(&next, Expect::Version(loaded.version)).await.is_ok() {
            return true;
        }
    }
}

#[tokio::test]
async fn a_healthy_load_and_save_ask_each_mirror_once() {
    let (store, mirrors) = three();
    let calls = || mirrors.iter().map(|mirror| mirror.calls.load(Ordering::Relaxed)).collect::<Vec<_>>();
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    mirrors[1].until_it_holds(b"first").await;
    mirrors[2].until_it_holds(b"first").await;
    assert_eq!(calls(), [1, 1, 1]);
    load(&store, ID).await;
    update(&store, &record(1, in_an_hour(), b"second"), 0).await;
    mirrors[1].until_it_holds(b"second").await;
    mirrors[2].until_it_holds(b"second").await;
    assert_eq!(calls(), [3, 3, 3]);
}

#[tokio::test]
async fn a_record_that_no_mirrored_store_wrote_is_a_failure_of_its_mirror() {
    let (store, mirrors) = three();
    let foreign = record(3, in_an_hour(), b"foreign");
    mirrors[0].store().save(&foreign, Expect::Absent).await.expect("insert");
    insert(&store, &record(0, in_an_hour(), b"first")).await;
    assert_eq!(load(&store, ID).await, Some(record(0, in_an_hour(), b"first")));
    mirrors[1].is(State::Fails);
    let error = failed(store.load(&ID, 1).await);
    assert_eq!(error.to_string(), "the session store failed: reach enough mirrors");
    let source = error.source().expect("it has one");
    assert_eq!(source.to_string(), "of 3 mirrors 1 answered with what is needed");
    assert!(source.source().is_some());
}

#[test]
fn a_quorum_that_cannot_be_reached_is_refused() {
    let none = MirroredStore::new([]).expect_err("no mirrors");
    assert_eq!(none.to_string(), "mirrors: there must be at least one");
    for quorum in [0, 4] {
        let refused = MirroredStore::new(as_stores(&faulty(3))).expect("three").write_quorum(quorum);
        let message = format!("write quorum: {quorum} is not within 1 and 3");
        assert_eq!(refused.expect_err("out of range").to_string(), message);
    }
}

#[test]
fn debug_shows_the_figures() {
    let store = MirroredStore::new(as_stores(&faulty(4))).expect("four");
    assert_eq!(format!("{store:?}"), "MirroredStore { mirrors: 4, write_quorum: 3, .. }");
}

fn three() -> (AnyStore, Vec<Arc<Faulty>>) {
    let mirrors = faulty(3);
    (Arc::new(quorum(&mirrors, 2)), mirrors)
}

fn faulty(mirrors: usize) -> Vec<Arc<Faulty>> {
    (0..mirrors).map(|_| Arc::default()).collect()
}

fn quorum(mirrors: &[Arc<Faulty>], write_quorum: usize) -> MirroredStore {
    let store = MirroredStore::new(as_stores(mirrors)).and_then(|store| store.write_quorum(write_quorum));
    store.expect("a quorum that can be reached")
}

fn as_stores(mirrors: &[Arc<Faulty>]) -> Vec<Arc<dyn Store>> {
    mirrors.iter().map(|mirror| mirror.clone() as Arc<dyn Store>).collect()
}

fn all(mirrors: &[Arc<Faulty>], state: State) {
    for mirror in mirrors {
        mirror.is(state);
    }
}

/// Takes all mirrors away but this one.
fn only(mirrors: &[Arc<Faulty>], left: usize) {
    for (index, mirror) in mirrors.iter().enumerate() {
        mirror.is(if index == left { State::Well } else { State::Fails });
    }
}

/// A mirror that does as it is told.
#[derive(Default)]
struct Faulty {
    store: Mutex<Arc<MemoryStore>>,
    state: Mutex<State>,
    calls: AtomicUsize,
    dice: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Well,
    Fails,
    /// No call ever ends.
    Hangs,
    /// Calls take effect, and are answered with an error.
    LosesAnswers,
    /// Of a hundred calls, ten fail and ten lose their answers.
    FailsNowAndThen,
}

impl Faulty {
    fn is(&self, state: State) {
        *self.state.lock().expect("no test panics with it") = state;
    }

    fn empties(&self) {
        *self.store.lock().expect("no test panics with it") = Arc::default();
    }

    fn store(&self) -> Arc<MemoryStore> {
        self.store.lock().expect("no test panics with it").clone()
    }

    /// Waits for the background to bring it there.
    async fn until_it_holds(&self, sealed: &[u8]) {
        self.until(sealed, true).await;
    }

    async fn until_it_does_not_hold(&self, sealed: &[u8]) {
        self.until(sealed, false).await;
    }

    async fn until(&self, sealed: &[u8], held: bool) {
        for _ in 0..10_000 {
            if self.holds(sealed).await == held {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the background did nothing");
    }

    async fn holds(&self, sealed: &[u8]) -> bool {
        let cell = self.store().load(&ID, 0).await.expect("a memory store does not fail");
        cell.is_some_and(|cell| cell.sealed.ends_with(sealed))
    }

    async fn answer<R>(&self, call: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut state = *self.state.lock().expect("no test panics with it");
        if matches!(state, State::FailsNowAndThen) {
            let dice = self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed) >> 32;
            state = match dice % 100 {
                0..10 => State::Fails,
                10..20 => State::LosesAnswers,
                _ => State::Well,
            };
        }
        match state {
            State::Hangs => std::future::pending().await,
            State::Fails => Err(StoreError::unavailable("reach a mirror", "it is down")),
            State::LosesAnswers => {
                call.await?;
                Err(StoreError::unavailable("hear from a mirror", "its answer was lost"))
            }
            State::Well | State::FailsNowAndThen => call.await,
        }
    }
}

impl Store for Faulty {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.answer(async move { self.store().load(id, at_least).await }))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.answer(async move { self.store().save(record, expect).await }))
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.answer(async move { self.store().touch(id, version, expires_at).await }))
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.answer(async move { self.store().delete(id, expected).await }))
    }
}
