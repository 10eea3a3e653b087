//! Requests of one stored session that cross: what the manager makes of them, and of a store that fails in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use hardtack::store::{BoxFuture, Expect, MemoryStore, Record, RecordId, Store, StoreError};
use hardtack::{
    Budget, CommitError, Key, KeyRing, Lifetime, OsRandom, Outgoing, Placement, Reason, Session,
    SessionManager, StoreOp,
};
use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};

type Sessions = SessionManager<u32>;

fn sessions(store: Arc<dyn Store>) -> Sessions {
    let ring = KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
    let lifetime = Lifetime::absolute(Duration::DAY).idle(Duration::HOUR).renew_after(Duration::SECOND);
    let builder =
        Sessions::builder("sid", ring).budget(Budget::stored()).lifetime(lifetime).shared_store(store);
    builder.build().expect("settings that work")
}

/// The `Cookie` header of a session that counted to one.
async fn begun(sessions: &Sessions) -> String {
    sessions.mint(|session| **session = 1).await.expect("it is stored")
}

async fn load(sessions: &Sessions, cookies: &str) -> Session<u32> {
    sessions.load_from([cookies]).await.expect("the store answers")
}

/// The `Cookie` header after the response.
async fn commit(sessions: &Sessions, session: &mut Session<u32>) -> Result<String, CommitError> {
    let mut response = HeaderMap::new();
    sessions.commit(session, &mut response).await?;
    let pairs = response.get_all("set-cookie").iter().map(pair);
    Ok(pairs.filter(|pair| !pair.ends_with('=')).collect::<Vec<_>>().join("; "))
}

fn pair(field: &HeaderValue) -> &str {
    field.to_str().expect("ASCII").split(';').next().expect("a pair")
}

#[track_caller]
fn conflict<R: std::fmt::Debug>(result: Result<R, CommitError>) {
    assert!(result.expect_err("another request came first").is_conflict());
}

async fn reason(sessions: &Sessions, cookies: &str) -> Option<Reason> {
    load(sessions, cookies).await.refusal().map(|refusal| refusal.reason())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_parallel_increments_make_a_hundred() {
    let sessions = Arc::new(sessions(Arc::new(MemoryStore::default())));
    let cookies = begun(&sessions).await;
    let start = Arc::new(tokio::sync::Barrier::new(100));
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (sessions, cookies, start) = (sessions.clone(), cookies.clone(), start.clone());
            tokio::spawn(async move {
                let mut session = load(&sessions, &cookies).await;
                // Everybody has read the same state before anybody writes.
                start.wait().await;
                let mut response = HeaderMap::new();
                sessions.update(&mut session, &mut response, |session| **session += 1).await.expect("saved");
                assert!(response.contains_key("set-cookie"));
            })
        })
        .collect();
    for request in requests {
        request.await.expect("it does not panic");
    }
    assert_eq!(*load(&sessions, &cookies).await, 101);
}

#[tokio::test]
async fn of_two_writers_one_gets_a_conflict_and_changes_nothing() {
    let sessions = sessions(Arc::new(MemoryStore::default()));
    let cookies = begun(&sessions).await;
    let (mut first, mut second) = (load(&sessions, &cookies).await, load(&sessions, &cookies).await);
    (*first, *second) = (10, 20);
    commit(&sessions, &mut first).await.expect("nobody came first");
    conflict(commit(&sessions, &mut second).await);
    assert_eq!(*load(&sessions, &cookies).await, 10);
}

#[tokio::test]
async fn an_update_does_not_revive_what_was_ended_or_rotated_meanwhile() {
    for end in [Session::destroy, Session::rotate] {
        let sessions = sessions(Arc::new(MemoryStore::default()));
        let cookies = begun(&sessions).await;
        let (mut first, mut second) = (load(&sessions, &cookies).await, load(&sessions, &cookies).await);
        end(&mut first);
        commit(&sessions, &mut first).await.expect("nobody came first");
        let mut response = HeaderMap::new();
        conflict(sessions.update(&mut second, &mut response, |session| **session += 1).await);
        assert!(response.is_empty());
        assert!(load(&sessions, &cookies).await.is_fresh());
    }
}

#[tokio::test]
async fn an_update_loses_no_change_that_was_made_before_it() {
    let sessions = sessions(Arc::new(MemoryStore::default()));
    let cookies = begun(&sessions).await;
    let (mut first, mut second) = (load(&sessions, &cookies).await, load(&sessions, &cookies).await);
    *first = 10;
    commit(&sessions, &mut first).await.expect("nobody came first");
    *second = 20;
    conflict(sessions.update(&mut second, &mut HeaderMap::new(), |session| **session += 1).await);
    assert_eq!(*second, 21, "what was to be saved is still there");
}

#[tokio::test]
async fn a_logout_ends_what_a_faster_request_has_saved() {
    let sessions = sessions(Arc::new(MemoryStore::default()));
    let cookies = begun(&sessions).await;
    let (mut leaving, mut writing) = (load(&sessions, &cookies).await, load(&sessions, &cookies).await);
    *writing = 2;
    let newer = commit(&sessions, &mut writing).await.expect("nobody came first");
    leaving.destroy();
    commit(&sessions, &mut leaving).await.expect("a logout always wins");
    assert_eq!(reason(&sessions, &newer).await, Some(Reason::NoRecord));
}

#[tokio::test]
async fn a_logout_ends_a_session_that_was_rotated_on_the_way() {
    // Rotated once or several times, before or after the request that leaves has read it.
    for (rotations, reads_first) in [(1, true), (1, false), (3, true), (3, false)] {
        let sessions = sessions(Arc::new(MemoryStore::default()));
        let cookies = begun(&sessions).await;
        let mut leaving = load(&sessions, &cookies).await;
        let mut newest = cookies.clone();
        for _ in 0..rotations {
            let mut rotating = load(&sessions, &newest).await;
            rotating.rotate();
            newest = commit(&sessions, &mut rotating).await.expect("nobody came first");
        }
        assert_eq!(*load(&sessions, &newest).await, 1);
        if !reads_first {
            leaving = load(&sessions, &cookies).await;
            assert!(leaving.is_fresh(), "the old reference opens nothing");
        }
        leaving.destroy();
        commit(&sessions, &mut leaving).await.expect("a logout always wins");
        assert_eq!(reason(&sessions, &newest).await, Some(Reason::NoRecord));
    }
}

#[tokio::test]
async fn a_slow_writer_does_not_undo_a_logout() {
    let sessions = sessions(Arc::new(MemoryStore::default()));
    for change in [|session: &mut Session<u32>| **session = 2, Session::rotate] {
        let cookies = begun(&sessions).await;
        let (mut leaving, mut slow) = (load(&sessions, &cookies).await, load(&sessions, &cookies).await);
        leaving.destroy();
        commit(&sessions, &mut leaving).await.expect("a logout always wins");
        change(&mut slow);
        conflict(commit(&sessions, &mut slow).await);
        assert_eq!(reason(&sessions, &cookies).await, Some(Reason::NoRecord));
    }
}

#[tokio::test]
async fn of_two_rotations_one_wins_and_the_other_leaves_no_record() {
    let store = Arc::new(MemoryStore::default());
    let sessions = sessions(store.clone());
    let cookies = begun(&sessions).await;
    let (mut first, mut second) = (load(&sessions, &cookies).await, load(&sessions, &cookies).await);
    first.rotate();
    second.rotate();
    let newest = commit(&sessions, &mut first).await.expect("nobody came first");
    conflict(commit(&sessions, &mut second).await);
    assert_eq!(*load(&sessions, &newest).await, 1);
    let records = format!("{store:?}");
    assert!(records.ends_with("records: 2 }"), "the winner's two: {records}");
}

#[tokio::test]
async fn a_rotation_survives_a_lost_answer_and_a_short_failure() {
    for fault in [Fault::LosesTheAnswer, Fault::Fails] {
        let store = Arc::new(Flaky::default());
        let sessions = sessions(store.clone());
        let cookies = begun(&sessions).await;
        let mut session = load(&sessions, &cookies).await;
        session.rotate();
        store.plan([Fault::None, fault]);
        let newest = commit(&sessions, &mut session).await.expect("the end of the old record is repeated");
        assert_eq!(*load(&sessions, &newest).await, 1);
        assert_eq!(reason(&sessions, &cookies).await, Some(Reason::Moved));
    }
}

#[tokio::test]
async fn a_rotation_that_cannot_end_the_old_record_fails_and_leaves_it() {
    let store = Arc::new(Flaky::default());
    let sessions = sessions(store.clone());
    let cookies = begun(&sessions).await;
    let mut session = load(&sessions, &cookies).await;
    session.rotate();
    store.plan([Fault::None, Fault::Fails, Fault::Fails]);
    let error = commit(&sessions, &mut session).await.expect_err("the store fails");
    assert_eq!(error.status(), 503);
    assert_eq!(*load(&sessions, &cookies).await, 1);
}

#[tokio::test]
async fn a_repeated_end_is_not_taken_for_ones_own_after_a_logout() {
    let store = Arc::new(Flaky::default());
    let sessions = sessions(store.clone());
    let cookies = begun(&sessions).await;
    let (mut rotating, mut leaving) = (load(&sessions, &cookies).await, load(&sessions, &cookies).await);
    leaving.destroy();
    commit(&sessions, &mut leaving).await.expect("a logout always wins");
    rotating.rotate();
    store.plan([Fault::None, Fault::LosesTheAnswer]);
    conflict(commit(&sessions, &mut rotating).await);
    let records = format!("{:?}", store.inner);
    assert!(records.ends_with("records: 0 }"), "{records}");
}

#[tokio::test]
async fn a_save_is_repeated_once_and_then_an_error_and_the_session_goes_on() {
    use Fault::{Fails, LosesTheAnswer};
    for fault in [LosesTheAnswer, Fails] {
        let store = Arc::new(Flaky::default());
        let sessions = sessions(store.clone());
        let cookies = begun(&sessions).await;
        let mut session = load(&sessions, &cookies).await;
        *session = 2;
        store.plan([fault]);
        commit(&sessions, &mut session).await.expect("the second time it is answered");
        assert_eq!(*load(&sessions, &cookies).await, 2);
    }
    for (faults, after) in [([LosesTheAnswer, Fails], 2), ([Fails, Fails], 1)] {
        let store = Arc::new(Flaky::default());
        let sessions = sessions(store.clone());
        let cookies = begun(&sessions).await;
        let mut session = load(&sessions, &cookies).await;
        *session = 2;
        store.plan(faults);
        let error = commit(&sessions, &mut session).await.expect_err("the store fails");
        assert_eq!((error.status(), error.is_conflict()), (http::StatusCode::SERVICE_UNAVAILABLE, false));
        assert_eq!(*load(&sessions, &cookies).await, after);
    }
}

#[tokio::test]
async fn what_another_request_wrote_upon_an_unanswered_save_is_not_a_conflict() {
    let store = Arc::new(Flaky::default());
    let sessions = sessions(store.clone());
    let cookies = begun(&sessions).await;
    let mut session = load(&sessions, &cookies).await;
    // The save takes effect, somebody else ends the session, and the repetition finds it changed.
    *session = 2;
    store.plan([Fault::LosesTheAnswer, Fault::ComesAfterAnEnd]);
    let error = commit(&sessions, &mut session).await.expect_err("nobody knows");
    assert!(!error.is_conflict(), "update would apply the change a second time");
}

#[tokio::test]
async fn who_saves_again_after_a_lost_answer_is_not_told_that_another_request_came_first() {
    let store = Arc::new(Flaky::default());
    let sessions = sessions(store.clone());
    let cookies = begun(&sessions).await;
    let mut session = load(&sessions, &cookies).await;
    *session = 2;
    store.plan([Fault::LosesTheAnswer, Fault::Fails]);
    commit(&sessions, &mut session).await.expect_err("nobody knows");
    // As a layer does with the response after a handler that gave up.
    for _ in 0..2 {
        let error = commit(&sessions, &mut session).await.expect_err("nobody knows yet");
        assert_eq!((error.is_conflict(), error.status().as_u16()), (false, 503));
    }
    assert_eq!(*load(&sessions, &cookies).await, 2);
}

#[tokio::test]
async fn what_comes_by_the_old_reference_after_a_rotation_does_not_begin_another_session() {
    let sessions = sessions(Arc::new(MemoryStore::default()));
    let cookies = begun(&sessions).await;
    let mut rotating = load(&sessions, &cookies).await;
    rotating.rotate();
    let newest = commit(&sessions, &mut rotating).await.expect("nobody came first");

    let mut late = load(&sessions, &cookies).await;
    assert_eq!(commit(&sessions, &mut late).await.expect("nothing is written"), "");
    *late = 5;
    conflict(commit(&sessions, &mut late).await);
    // Whoever logs in gets a session, of course.
    late.rotate();
    let other = commit(&sessions, &mut late).await.expect("a session of its own");
    assert_eq!((*load(&sessions, &other).await, *load(&sessions, &newest).await), (5, 1));
}

#[tokio::test]
async fn a_browser_that_missed_the_move_into_cookies_is_told_by_its_next_request() {
    let store = Arc::new(Flaky::default());
    let ring = KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
    let sessions = SessionManager::<String>::builder("sid", ring).without_compression();
    let sessions = sessions.shared_store(store.clone()).build().expect("settings that work");
    let cookies = sessions.mint(|session| **session = "x".repeat(9_000)).await.expect("it is stored");
    let mut session = sessions.load_from([&cookies]).await.expect("the store answers");
    assert_eq!(session.placement(), Some(Placement::Stored));
    *session = "short".into();
    let mut lost = HeaderMap::new();
    sessions.commit(&mut session, &mut lost).await.expect("nobody came first");

    // Two that only read: one tells the browser, the other comes second and says nothing.
    let mut reads = Vec::new();
    for _ in 0..2 {
        reads.push(sessions.load_from([&cookies]).await.expect("the store answers"));
        assert_eq!(reads.last().map(|read| read.as_str()), Some("short"));
    }
    let (mut first, mut second) = (HeaderMap::new(), HeaderMap::new());
    sessions.commit(&mut reads[0], &mut first).await.expect("nobody came first");
    sessions.commit(&mut reads[1], &mut second).await.expect("a read does not conflict");
    assert!(!second.contains_key("set-cookie"));
    let cookies = pair(&first["set-cookie"]).to_owned();
    let session = sessions.load_from([&cookies]).await.expect("the store answers");
    assert_eq!((session.placement(), session.as_str()), (Some(Placement::Cookies(1)), "short"));
}

#[tokio::test]
async fn a_failed_renewal_of_the_idle_time_is_left_to_a_later_request() {
    let store = Arc::new(Flaky::default());
    let sessions = sessions(store.clone());
    let mut session = load(&sessions, "").await;
    *session = 1;
    let a_while_ago = OffsetDateTime::now_utc() - Duration::MINUTE;
    let sealed = sessions.cookie().seal_at(&session, a_while_ago, &mut OsRandom, 0).expect("it fits");
    let Outgoing::Stored(ops, cookies) = sealed else { panic!("it is stored") };
    let [StoreOp::Save(record, expect)] = &ops[..] else { panic!("one record: {ops:?}") };
    store.save(record, *expect).await.expect("the store answers");

    let mut session = load(&sessions, &cookies.cookie_header()).await;
    store.plan([Fault::Fails]);
    assert_eq!(commit(&sessions, &mut session).await.expect("reading goes on"), "");
    assert!(commit(&sessions, &mut session).await.expect("the store answers").starts_with("sid.seen="));
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Fails,
    /// It takes effect, and nobody learns of it.
    LosesTheAnswer,
    /// The record was ended just before.
    ComesAfterAnEnd,
}

/// A store in which the planned calls fail.
#[derive(Default)]
struct Flaky {
    inner: MemoryStore,
    plan: Mutex<VecDeque<Fault>>,
}

impl Flaky {
    /// What happens to the next calls.
    fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.plan.lock().expect("no one panics") = faults.into_iter().collect();
    }

    async fn call<R>(&self, call: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
        let fault = self.plan.lock().expect("no one panics").pop_front().unwrap_or(Fault::None);
        if fault == Fault::Fails {
            return Err(StoreError::unavailable("answer", "the test wants it so"));
        }
        let done = call.await;
        if fault == Fault::None { done } else { Err(StoreError::unavailable("answer", "it was lost")) }
    }
}

impl Store for Flaky {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.call(self.inner.load(id, at_least)))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if self.plan.lock().expect("no one panics").front() == Some(&Fault::ComesAfterAnEnd) {
                self.plan([]);
                self.inner.delete(&record.id, None).await?;
            }
            self.call(self.inner.save(record, expect)).await
        })
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.call(self.inner.touch(id, version, expires_at)))
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.call(self.inner.delete(id, expected)))
    }
}
