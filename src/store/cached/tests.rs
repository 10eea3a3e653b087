//! What a node's copies are worth as time passes.

mod fleet;
mod interleaved;

use std::sync::atomic::AtomicBool;

use time::Duration as Span;

use super::*;
use crate::store::MemoryStore;

#[tokio::test]
async fn a_saved_record_is_served_without_a_call() {
    let node = Node::new();
    node.save(1).await;
    for at_least in [0, 1] {
        assert_eq!(node.load(at_least).await, Some(record(1)));
    }
    assert_eq!(node.shared.loads(), 0);
}

#[tokio::test]
async fn a_loaded_record_is_served_without_another_call() {
    let node = Node::new();
    node.elsewhere().save(1).await;
    for _ in 0..10 {
        assert_eq!(node.load(1).await, Some(record(1)));
    }
    assert_eq!(node.shared.loads(), 1);
}

#[tokio::test]
async fn a_session_that_another_node_ended_is_served_for_five_seconds_and_not_longer() {
    let node = Node::new();
    node.save(1).await;
    node.elsewhere().delete().await;
    node.clock.advance(Duration::from_millis(4_999));
    assert_eq!(node.load(1).await, Some(record(1)));
    node.clock.advance(Duration::from_millis(1));
    assert_eq!(node.load(1).await, None);
}

#[tokio::test]
async fn a_hit_and_a_touch_make_a_copy_no_younger() {
    let node = Node::new();
    node.save(1).await;
    node.elsewhere().delete().await;
    node.clock.advance(Duration::from_secs(3));
    assert_eq!(node.load(1).await, Some(record(1)));
    node.store.touch(&ID, 1, in_an_hour() + Span::HOUR).await.expect("touch");
    node.clock.advance(Duration::from_secs(2));
    assert_eq!(node.load(1).await, None);
}

#[tokio::test]
async fn the_age_counts_from_before_the_call_that_brought_the_copy() {
    for by_load in [false, true] {
        let node = Node::new();
        node.shared.each_call_takes(Duration::from_secs(3));
        if by_load {
            node.elsewhere().save(1).await;
            node.load(1).await;
        } else {
            node.save(1).await;
        }
        let before = node.shared.loads();
        node.clock.advance(Duration::from_millis(1_999));
        node.load(1).await;
        assert_eq!(node.shared.loads(), before, "by a load: {by_load}");
        node.clock.advance(Duration::from_millis(1));
        node.load(1).await;
        assert_eq!(node.shared.loads(), before + 1, "by a load: {by_load}");
    }
}

#[tokio::test]
async fn zero_serves_no_copy_and_the_longest_time_serves_it_for_years() {
    for (fresh_for, calls) in [(Duration::ZERO, 2), (Duration::MAX, 0)] {
        let node = Node::fresh_for(fresh_for);
        node.save(1).await;
        node.load(1).await;
        node.clock.advance(Duration::from_hours(20 * 365 * 24));
        node.load(1).await;
        assert_eq!(node.shared.loads(), calls, "{fresh_for:?}");
    }
}

#[tokio::test]
async fn a_copy_that_is_older_than_the_cookie_names_is_passed_over() {
    let node = Node::new();
    node.save(1).await;
    node.elsewhere().save(2).await;
    assert_eq!(node.load(2).await, Some(record(2)));
    assert_eq!(node.load(1).await, Some(record(2)));
    assert_eq!(node.shared.loads(), 1);
}

/// It may have been brought back from a backup. What it answers is the truth, but no cookie is served an older copy.
#[tokio::test]
async fn a_store_that_has_an_older_version_than_the_cookie_names_is_asked_each_time() {
    let node = Node::new();
    node.save(1).await;
    for calls in 1..4 {
        assert_eq!(node.load(2).await, Some(record(1)));
        assert_eq!(node.shared.loads(), calls);
    }
}

/// A replica behind it may lag, and must know how far it has to look.
#[tokio::test]
async fn the_shared_store_is_told_which_version_the_cookie_names() {
    let node = Node::new();
    node.save(1).await;
    for at_least in [2, 7] {
        node.load(at_least).await;
        assert_eq!(node.shared.at_least.load(Ordering::SeqCst), at_least);
    }
}

#[tokio::test]
async fn a_copy_expires_at_a_whole_second_as_its_record_does() {
    let node = Node::new();
    let expires_at = in_an_hour() + Span::milliseconds(999);
    node.store.save(&Record { expires_at, ..record(1) }, Expect::Absent).await.expect("insert");
    assert_eq!(node.load(1).await, Some(record(1)));
    assert_eq!(node.shared.loads(), 0);
}

#[tokio::test]
async fn an_absence_is_not_kept() {
    let node = Node::new();
    assert_eq!(node.load(0).await, None);
    node.elsewhere().save(1).await;
    assert_eq!(node.load(0).await, Some(record(1)));
}

#[tokio::test]
async fn an_absence_ends_the_copy() {
    let node = Node::new();
    node.save(1).await;
    node.elsewhere().delete().await;
    assert_eq!(node.load(2).await, None);
    assert_eq!(node.load(1).await, None);
}

#[tokio::test]
async fn an_expired_copy_is_not_served() {
    let node = Node::new();
    let now = OffsetDateTime::now_utc().truncate_to_second();
    for (expires_at, calls) in [(now, 1), (now + Span::milliseconds(999), 2), (now - Span::DAY, 3)] {
        node.store.save(&Record { expires_at, ..record(1) }, Expect::Absent).await.expect("insert");
        assert_eq!(node.load(1).await, None);
        assert_eq!(node.shared.loads(), calls);
    }
}

#[tokio::test]
async fn a_touch_moves_the_expiry_of_the_copy() {
    let node = Node::new();
    node.save(1).await;
    let later = in_an_hour() + Span::HOUR;
    node.store.touch(&ID, 1, later + Span::milliseconds(999)).await.expect("touch");
    assert_eq!(node.load(1).await, Some(Record { expires_at: later, ..record(1) }));
    assert_eq!(node.shared.loads(), 0);
}

/// The shared store has let it expire. Its own clock decides, so its answer to the touch says nothing.
#[tokio::test]
async fn a_touch_does_not_revive_a_copy_that_has_expired() {
    let node = Node::new();
    node.save(1).await;
    node.store.touch(&ID, 1, OffsetDateTime::UNIX_EPOCH).await.expect("touch");
    node.store.touch(&ID, 1, in_an_hour()).await.expect("touch");
    assert_eq!(node.load(1).await, None);
    assert_eq!(node.shared.loads(), 1);
}

#[tokio::test]
async fn a_change_that_failed_leaves_no_copy() {
    for change in [Change::Save, Change::Touch, Change::Delete, Change::DeleteAt] {
        let node = Node::new();
        node.save(1).await;
        node.shared.fail(true);
        let failed = node.change(change).await.expect_err("the store is down");
        assert_eq!(failed.to_string(), "the session store failed: answer");
        node.shared.fail(false);
        assert_eq!(node.load(0).await, Some(record(1)), "{change:?}");
        assert_eq!(node.shared.loads(), 1, "{change:?}");
    }
}

/// Who lost must read the state that won, or it would lose again and again.
#[tokio::test]
async fn a_change_that_lost_a_conflict_leaves_no_copy() {
    for change in [Change::Save, Change::DeleteAt] {
        let node = Node::new();
        node.save(1).await;
        node.elsewhere().save(2).await;
        assert!(node.change(change).await.expect_err("it is at version 2").is_conflict());
        assert_eq!(node.load(0).await, Some(record(2)), "{change:?}");
    }
}

#[tokio::test]
async fn an_error_of_the_shared_store_is_not_hidden_by_a_copy_that_is_too_old() {
    let node = Node::new();
    node.save(1).await;
    node.shared.fail(true);
    node.clock.advance(Duration::from_secs(4));
    node.store.load(&ID, 1).await.expect("the copy is fresh");
    node.clock.advance(Duration::from_secs(1));
    node.store.load(&ID, 1).await.expect_err("the copy is not fresh, and the store is down");
}

#[tokio::test]
async fn a_save_may_go_to_a_lower_version() {
    let node = Node::new();
    node.save(9).await;
    node.store.save(&record(1), Expect::Version(9)).await.expect("save");
    assert_eq!(node.load(0).await, Some(record(1)));
    assert_eq!(node.shared.loads(), 0);
}

#[tokio::test]
async fn what_is_forgotten_is_asked_for_again() {
    for all in [false, true] {
        let node = Node::fresh_for(Duration::MAX);
        let neighbour = Record { id: RecordId::from_bytes([0; 16]), ..record(1) };
        node.store.save(&neighbour, Expect::Absent).await.expect("insert");
        node.save(1).await;
        node.elsewhere().delete().await;
        assert_eq!(node.load(1).await, Some(record(1)));
        node.forget(all);
        assert_eq!(node.load(1).await, None);
        node.store.load(&neighbour.id, 1).await.expect("load");
        assert_eq!(node.shared.loads(), 1 + usize::from(all));
    }
}

#[tokio::test]
async fn what_is_asked_for_after_all_was_forgotten_is_kept_again() {
    let node = Node::new();
    node.save(1).await;
    node.store.forget_all();
    for _ in 0..2 {
        assert_eq!(node.load(1).await, Some(record(1)));
    }
    assert_eq!(node.shared.loads(), 1);
}

#[tokio::test]
async fn the_copies_stay_within_their_bytes_and_the_latest_stay_longest() {
    let shared = Shared::new(Clock::new());
    let store = CachedStore::new(shared.clone(), 10 * 1_000);
    let numbered = |n: u8| Record {
        id: RecordId::from_bytes([n; 16]),
        sealed: vec![n; 1_000 - OVERHEAD as usize],
        ..record(1)
    };
    for n in 0..100 {
        store.save(&numbered(n), Expect::Absent).await.expect("insert");
        // The first one is popular, and stays for that; the newcomers are let in nevertheless.
        for _ in 0..10 {
            store.load(&numbered(0).id, 1).await.expect("load");
        }
        store.copies.run_pending_tasks();
        assert!(store.copies.weighted_size() <= 10_000, "after {n}");
    }
    let kept: Vec<u8> = (0..100).filter(|n| store.current(&numbered(*n).id, 1).is_some()).collect();
    assert_eq!(kept, [0, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
    assert_eq!(shared.loads(), 0);
}

#[tokio::test]
async fn a_record_that_is_larger_than_the_room_is_not_kept() {
    let store = CachedStore::new(MemoryStore::default(), 10_000);
    let large = Record { sealed: vec![7; 10_000], ..record(1) };
    store.save(&large, Expect::Absent).await.expect("insert");
    store.copies.run_pending_tasks();
    assert!(store.current(&ID, 1).is_none());
    assert_eq!(store.load(&ID, 1).await.expect("load"), Some(large));
}

#[test]
fn debug_shows_the_settings() {
    let store = CachedStore::new(MemoryStore::default(), 1_000).fresh_for(Duration::from_millis(20));
    assert_eq!(format!("{store:?}"), "CachedStore { capacity: 1000, fresh_for: 20ms, .. }");
}

/// One node, its clock, and the store behind it.
struct Node {
    store: CachedStore,
    shared: Arc<Shared>,
    clock: Clock,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Save,
    Touch,
    Delete,
    DeleteAt,
}

impl Node {
    fn new() -> Self {
        let clock = Clock::new();
        let shared = Shared::new(clock.clone());
        let store = CachedStore { clock: clock.boxed(), ..CachedStore::new(shared.clone(), 1 << 20) };
        Self { store, shared, clock }
    }

    fn fresh_for(age: Duration) -> Self {
        let Self { store, shared, clock } = Self::new();
        Self { store: store.fresh_for(age), shared, clock }
    }

    /// Another node on the same shared store.
    fn elsewhere(&self) -> Self {
        let store = CachedStore::new(self.shared.clone(), 1 << 20);
        Self { store, shared: self.shared.clone(), clock: self.clock.clone() }
    }

    async fn load(&self, at_least: u64) -> Option<Record> {
        self.store.load(&ID, at_least).await.expect("load")
    }

    /// Saves version 1 as a new record, and others over the version before.
    async fn save(&self, version: u64) {
        let expect = if version == 2 { Expect::Version(1) } else { Expect::Absent };
        self.store.save(&record(version), expect).await.expect("save");
    }

    async fn delete(&self) {
        self.store.delete(&ID, None).await.expect("delete");
    }

    /// A change of what was read at version 1.
    async fn change(&self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Save => self.store.save(&record(2), Expect::Version(1)).await,
            Change::Touch => self.store.touch(&ID, 1, in_an_hour() + Span::HOUR).await,
            Change::Delete => self.store.delete(&ID, None).await,
            Change::DeleteAt => self.store.delete(&ID, Some(1)).await,
        }
    }

    fn forget(&self, all: bool) {
        if all { self.store.forget_all() } else { self.store.forget(&ID) }
    }
}

/// A store in memory that counts loads, takes its time, and fails when it is told to.
struct Shared {
    records: MemoryStore,
    loads: AtomicU64,
    /// What the last load named.
    at_least: AtomicU64,
    failing: AtomicBool,
    takes: Mutex<Duration>,
    clock: Clock,
}

impl Shared {
    fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            records: MemoryStore::default(),
            loads: AtomicU64::new(0),
            at_least: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            takes: Mutex::default(),
            clock,
        })
    }

    fn loads(&self) -> usize {
        usize::try_from(self.loads.load(Ordering::SeqCst)).expect("few")
    }

    fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    fn each_call_takes(&self, time: Duration) {
        *self.takes.lock().expect("no test panicked") = time;
    }

    fn called(&self) -> Result<(), StoreError> {
        self.clock.advance(*self.takes.lock().expect("no test panicked"));
        if self.failing.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("answer", "it was told to fail"));
        }
        Ok(())
    }
}

impl Store for Shared {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            self.loads.fetch_add(1, Ordering::SeqCst);
            self.at_least.store(at_least, Ordering::SeqCst);
            self.called()?;
            self.records.load(id, at_least).await
        })
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.called()?;
            self.records.save(record, expect).await
        })
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.called()?;
            self.records.touch(id, version, expires_at).await
        })
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.called()?;
            self.records.delete(id, expected).await
        })
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
struct Clock(Arc<Mutex<Instant>>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().expect("no test panicked") += by;
    }

    fn boxed(&self) -> Box<dyn Fn() -> Instant + Send + Sync> {
        let clock = self.0.clone();
        Box::new(move || *clock.lock().expect("no test panicked"))
    }
}

const ID: RecordId = RecordId::from_bytes([7; 16]);

fn record(version: u64) -> Record {
    Record { id: ID, version, expires_at: in_an_hour(), sealed: version.to_le_bytes().to_vec() }
}

/// An hour from when it was first asked, so that one test always gets the same.
fn in_an_hour() -> OffsetDateTime {
    static START: std::sync::LazyLock<OffsetDateTime> = std::sync::LazyLock::new(OffsetDateTime::now_utc);
    START.truncate_to_second() + Span::HOUR
}
