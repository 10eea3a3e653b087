//! The moments at which a state moves between cookies and store, or out of the browser, one by one.

use hardtack::store::Record;
use hardtack::{
    Budget, Key, KeyRing, Opened, Outgoing, Placement, Reason, Session, SessionCookie, SetCookies,
};
use time::{Duration, OffsetDateTime};

use crate::browser::{Browser, LEFT_AFTER_PURGE, MAX_PER_SITE, Url};
use crate::records::Records;
use crate::shop::{Seeded, Shop, noise};

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);
const SHOP: Url = Url::https("www.shop.example", "/");

fn server(budget: Budget) -> SessionCookie<Shop> {
    let ring = KeyRing::new([Key::generate(&mut Seeded(1)).expect("seeded")]).expect("one key");
    let builder = SessionCookie::builder("__Host-session", ring).without_compression().allow_store();
    builder.budget(budget).build().expect("the settings work")
}

/// The session of a header, from the records if it is there.
#[track_caller]
fn open(server: &SessionCookie<Shop>, records: &Records, header: &str, now: OffsetDateTime) -> Session<Shop> {
    match server.open_at([header], now) {
        Opened::Fresh(session) | Opened::Ready(session) => session,
        Opened::Stored(lookup) => {
            let record = records.load(lookup.record_id(), lookup.at_least(), now);
            server.open_record_at(lookup, record, now)
        }
    }
}

#[track_caller]
fn write(
    server: &SessionCookie<Shop>,
    records: &mut Records,
    session: &Session<Shop>,
    now: OffsetDateTime,
) -> SetCookies {
    let seed = now.unix_timestamp().unsigned_abs() << 20 | session.sequence().unwrap_or(0);
    match server.seal_at(session, now, &mut Seeded(seed), 0).expect("it fits") {
        Outgoing::Unchanged => panic!("it was changed"),
        Outgoing::Cookies(cookies) => cookies,
        Outgoing::Stored(ops, cookies) => {
            for op in ops {
                records.run(op, now);
            }
            cookies
        }
    }
}

/// The `Cookie` header after a note of this size was written.
#[track_caller]
fn written(
    server: &SessionCookie<Shop>,
    records: &mut Records,
    header: &str,
    octets: usize,
    placement: Placement,
) -> String {
    let mut session = open(server, records, header, NOW);
    session.note = noise(octets);
    let header = write(server, records, &session, NOW).cookie_header();
    assert_eq!(open(server, records, &header, NOW).placement(), Some(placement));
    header
}

#[test]
fn a_state_at_the_edge_does_not_move_with_each_request() {
    let (server, mut records) = (server(Budget::default()), Records::default());
    let (edge, over) = (2_000, 2_300);
    let inline = written(&server, &mut records, "", edge, Placement::Cookies(1));
    let stored = written(&server, &mut records, &inline, over, Placement::Stored);
    let stored = written(&server, &mut records, &stored, edge, Placement::Stored);
    let stored = written(&server, &mut records, &stored, 1_600, Placement::Stored);
    let inline = written(&server, &mut records, &stored, 1_400, Placement::Cookies(1));
    written(&server, &mut records, &inline, edge, Placement::Cookies(1));
}

#[test]
fn a_request_in_flight_with_the_old_reference_finds_the_newest_state() {
    let (server, mut records) = (server(Budget::default()), Records::default());
    let stored = written(&server, &mut records, "", 5_000, Placement::Stored);
    written(&server, &mut records, &stored, 100, Placement::Cookies(1));
    let in_flight = open(&server, &records, &stored, NOW);
    assert_eq!((in_flight.note.len(), in_flight.sequence()), (100, Some(2)));
    // It has a minute for that; then the record is gone.
    let late = open(&server, &records, &stored, NOW + Duration::MINUTE);
    assert_eq!(late.refusal().map(|refusal| refusal.reason()), Some(Reason::NoRecord));
    assert_eq!(records.live(NOW + Duration::MINUTE).count(), 0);
}

#[test]
fn each_move_into_the_store_has_a_record_of_its_own() {
    let (server, mut records) = (server(Budget::default()), Records::default());
    let first = written(&server, &mut records, "", 5_000, Placement::Stored);
    let inline = written(&server, &mut records, &first, 100, Placement::Cookies(1));
    let second = written(&server, &mut records, &inline, 5_000, Placement::Stored);
    let id = |header: &str| match server.open_at([header], NOW) {
        Opened::Stored(lookup) => *lookup.record_id(),
        other => panic!("{other:?}"),
    };
    assert_ne!(id(&first), id(&second));
}

#[test]
fn a_rotation_ends_the_old_record_and_an_ended_session_has_none() {
    let (server, mut records) = (server(Budget::default()), Records::default());
    let before = written(&server, &mut records, "", 5_000, Placement::Stored);
    let mut session = open(&server, &records, &before, NOW);
    session.rotate();
    let after = write(&server, &mut records, &session, NOW).cookie_header();
    assert_eq!(
        open(&server, &records, &before, NOW).refusal().map(|refusal| refusal.reason()),
        Some(Reason::Moved)
    );
    let later = NOW + Duration::MINUTE;
    assert_eq!(
        open(&server, &records, &before, later).refusal().map(|refusal| refusal.reason()),
        Some(Reason::NoRecord)
    );
    let mut session = open(&server, &records, &after, NOW);
    assert_eq!(session.note.len(), 5_000);
    session.destroy();
    assert_eq!(write(&server, &mut records, &session, later).cookie_header(), "");
    assert_eq!(records.live(later).count(), 0);
}

#[test]
fn a_record_that_was_put_back_to_an_older_version_is_refused() {
    let (server, mut records) = (server(Budget::default()), Records::default());
    let first = written(&server, &mut records, "", 5_000, Placement::Stored);
    let old: Record = records.live(NOW).next().expect("one record").clone();
    let second = written(&server, &mut records, &first, 6_000, Placement::Stored);
    let Opened::Stored(lookup) = server.open_at([&second], NOW) else { panic!("it is stored") };
    let session = server.open_record_at(lookup, Some(old), NOW);
    assert_eq!(session.refusal().map(|refusal| refusal.reason()), Some(Reason::RolledBack));
}

#[test]
fn a_browser_that_purged_a_chunk_starts_afresh_and_goes_on() {
    let (server, mut records) = (server(Budget::new(4, 20_000)), Records::default());
    let mut browser = Browser::default();
    let mut visit = |browser: &mut Browser, octets| {
        let header = browser.send(SHOP, NOW).join("; ");
        let mut session = open(&server, &records, &header, NOW);
        let before = (session.is_fresh(), session.note.len());
        session.note = noise(octets);
        let cookies = write(&server, &mut records, &session, NOW);
        cookies.iter().for_each(|field| browser.receive(SHOP, field, NOW));
        before
    };
    assert_eq!(visit(&mut browser, 9_000), (true, 0));
    assert_eq!(visit(&mut browser, 9_001), (false, 9_000));
    // Other applications fill the site's quota; the oldest go first, and they are ours.
    let others = MAX_PER_SITE + 1 - browser.cookies().count();
    (0..others).for_each(|n| browser.receive(SHOP, &format!("other{n}=1"), NOW));
    assert_eq!(browser.cookies().count(), LEFT_AFTER_PURGE);
    assert!(browser.cookies().all(|cookie| !cookie.name.starts_with("__Host-session")));
    assert_eq!(visit(&mut browser, 9_000), (true, 0));
    // Part of ours goes.
    let oldest = browser.cookies().next().map(|cookie| cookie.name.clone());
    browser.forget(|cookie| cookie.name == "__Host-session.1" || Some(&cookie.name) == oldest.as_ref());
    assert_eq!(visit(&mut browser, 300), (true, 0));
    assert_eq!(visit(&mut browser, 301), (false, 300));
}
