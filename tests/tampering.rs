//! A store that answers with records that are not what was saved: none is accepted, and the logs tell which it was.
#![cfg(feature = "tracing")]

use std::io;
use std::sync::{Arc, Mutex};

use hardtack::store::{BoxFuture, Expect, Record, RecordId, Store, StoreError};
use hardtack::{Budget, Key, KeyRing, OsRandom, Reason, SessionManager};
use time::OffsetDateTime;

type Sessions = SessionManager<u32>;

fn ring() -> KeyRing {
    KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key")
}

fn sessions(ring: KeyRing, store: &Arc<Shelf>) -> Sessions {
    let builder = Sessions::builder("sid", ring).budget(Budget::stored()).shared_store(store.clone());
    builder.build().expect("settings that work")
}

/// The cookies of a session that counts `count`, and its record.
async fn stored(sessions: &Sessions, shelf: &Shelf, count: u32) -> (String, Record) {
    let cookies = sessions.mint(|session| **session = count).await.expect("it is stored");
    (cookies, shelf.last())
}

/// That the answer is refused for this reason, at this level of the log.
#[track_caller]
fn refused(sessions: &Sessions, shelf: &Shelf, cookies: &str, answer: Record, reason: Reason, level: &str) {
    shelf.put(answer);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let subscriber = subscriber.with_ansi(false).with_writer(move || writer.clone()).finish();
    let session = tracing::subscriber::with_default(subscriber, || {
        let loading = std::pin::pin!(sessions.load_from([cookies]));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(session) = loading.poll(&mut context) else {
            panic!("the shelf is ready")
        };
        session.expect("the store answers")
    });
    assert!(session.is_fresh());
    assert_eq!(*session, 0);
    assert_eq!(session.refusal().map(|refusal| refusal.reason()), Some(reason));
    let log = log.text();
    assert!(log.contains(level) && log.contains(&format!("cookie=\"sid\" reason={reason}")), "{log}");
    assert!(!log.contains(cookies.split(['=', ';']).nth(1).expect("a value")), "no token in the log");
}

#[tokio::test]
async fn a_record_that_was_cut_short_is_refused() {
    let shelf = Arc::new(Shelf::default());
    let sessions = sessions(ring(), &shelf);
    let (cookies, record) = stored(&sessions, &shelf, 1).await;
    for len in 0..record.sealed.len() {
        let cut = Record { sealed: record.sealed[..len].to_vec(), ..record.clone() };
        // 61 octets are what a token takes without anything in it.
        let reason = if len < 61 { Reason::Malformed } else { Reason::Forged };
        refused(&sessions, &shelf, &cookies, cut, reason, "DEBUG");
    }
}

#[tokio::test]
async fn a_record_of_another_id_is_refused() {
    let shelf = Arc::new(Shelf::default());
    let sessions = sessions(ring(), &shelf);
    let (cookies, record) = stored(&sessions, &shelf, 1).await;
    let (_, other) = stored(&sessions, &shelf, 2).await;
    let swapped = Record { sealed: other.sealed, ..record };
    refused(&sessions, &shelf, &cookies, swapped, Reason::OtherRecord, "WARN");
}

#[tokio::test]
async fn a_record_that_was_rolled_back_is_refused() {
    let shelf = Arc::new(Shelf::default());
    let sessions = sessions(ring(), &shelf);
    let (cookies, old) = stored(&sessions, &shelf, 1).await;
    let mut session = sessions.load_from([&cookies]).await.expect("the store answers");
    *session = 2;
    let mut response = http::HeaderMap::new();
    sessions.commit(&mut session, &mut response).await.expect("it is stored");
    let newer = response["set-cookie"].to_str().expect("ASCII").split(';').next().expect("a pair");
    refused(&sessions, &shelf, newer, old.clone(), Reason::RolledBack, "WARN");
    // Whatever version the store claims for it.
    refused(&sessions, &shelf, newer, Record { version: 2, ..old }, Reason::Payload, "DEBUG");
}

#[tokio::test]
async fn a_record_under_a_foreign_key_is_refused() {
    let shelf = Arc::new(Shelf::default());
    let (own, foreign) = (sessions(ring(), &shelf), sessions(ring(), &shelf));
    let (cookies, record) = stored(&own, &shelf, 1).await;
    let (_, other) = stored(&foreign, &shelf, 2).await;
    let forged = Record { sealed: other.sealed, ..record };
    refused(&own, &shelf, &cookies, forged, Reason::UnknownKey, "DEBUG");
}

#[tokio::test]
async fn a_record_of_which_any_bit_was_changed_is_refused() {
    let shelf = Arc::new(Shelf::default());
    let sessions = sessions(ring(), &shelf);
    let (cookies, record) = stored(&sessions, &shelf, 1).await;
    for bit in 0..record.sealed.len() * 8 {
        let mut changed = record.clone();
        changed.sealed[bit / 8] ^= 1 << (bit % 8);
        shelf.put(changed);
        let session = sessions.load_from([&cookies]).await.expect("the store answers");
        assert!(session.is_fresh() && session.refusal().is_some(), "bit {bit}");
    }
}

/// A store of one record: the last that was saved, or put there.
#[derive(Default)]
struct Shelf(Mutex<Option<Record>>);

impl Shelf {
    fn last(&self) -> Record {
        self.0.lock().expect("no one panics").clone().expect("something was saved")
    }

    fn put(&self, record: Record) {
        *self.0.lock().expect("no one panics") = Some(record);
    }
}

impl Store for Shelf {
    fn load<'a>(&'a self, _: &'a RecordId, _: u64) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async { Ok(Some(self.last())) })
    }

    fn save<'a>(&'a self, record: &'a Record, _: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async {
            self.put(record.clone());
            Ok(())
        })
    }

    fn touch<'a>(
        &'a self,
        _: &'a RecordId,
        _: u64,
        _: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn delete<'a>(&'a self, _: &'a RecordId, _: Option<u64>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no one panics").clone()).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no one panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
