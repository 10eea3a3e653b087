//! Expiry and logout, as far as it concerns the core that does no I/O.

use hardtack::store::{Expect, Record};
use hardtack::{Budget, Lifetime, Opened, Outgoing, Reason, Session, SessionCookie, StoreOp};
use time::{Duration, OffsetDateTime};

use crate::browser::{Browser, Url};
use crate::{
    Builder, Cart, NAME, NOW, SHOP, builder, built, cart, fresh, header, names, ready, refused, ring, seal,
    set_cookies, visit,
};

/// A session that is in the store, as the record and the `Cookie` header.
#[track_caller]
fn stored(cookie: &SessionCookie<Cart>) -> (Record, String) {
    let mut session = fresh(cookie, "");
    *session = cart(9_000);
    let Ok(Outgoing::Stored(mut ops, cookies)) = seal(cookie, &session, NOW) else {
        panic!("it is too large")
    };
    let Some(StoreOp::Save(record, Expect::Absent)) = ops.pop() else { panic!("one new record") };
    (record, cookies.cookie_header())
}

#[track_caller]
fn load(cookie: &SessionCookie<Cart>, header: &str, record: Option<Record>) -> Session<Cart> {
    let Opened::Stored(lookup) = cookie.open_at([header], NOW) else { panic!("it is stored") };
    cookie.open_record_at(lookup, record, NOW)
}

fn storing() -> SessionCookie<Cart> {
    built(builder().allow_store())
}

/// The expiry is only the browser's, and a copied cookie works until the key changes (actix-session's cookie store,
/// poem, private jars).
#[test]
fn a_copied_cookie_dies_when_the_session_does() {
    let cookie = built(builder().lifetime(Lifetime::absolute(Duration::HOUR)));
    let copy = header(&cookie, cart(10));
    ready(&cookie, &copy, NOW + Duration::HOUR - Duration::SECOND);
    refused(&cookie, &copy, NOW + Duration::HOUR, Reason::Expired);
    let idle = built(builder().lifetime(Lifetime::absolute(Duration::DAY).idle(Duration::HOUR)));
    refused(&idle, &header(&idle, cart(10)), NOW + Duration::HOUR, Reason::Idle);
}

/// Sliding renewal resets the issue time, so there is no absolute limit (seshcookie).
#[test]
fn no_renewal_moves_the_absolute_limit() {
    let lifetime = Lifetime::absolute(Duration::DAY).idle(Duration::hours(2));
    let (cookie, mut browser) = (built(builder().lifetime(lifetime)), Browser::default());
    for hour in 0..24 {
        visit(&cookie, &mut browser, NOW + Duration::hours(hour), |session| {
            assert_eq!(session.is_fresh(), hour == 0);
            if hour % 2 == 0 {
                session.note.push('x');
            }
            if hour == 13 {
                session.rotate();
            }
            session.expire_at(NOW + Duration::days(9));
        });
    }
    let kept = browser.send(SHOP, NOW + Duration::hours(23)).join("; ");
    assert_eq!(ready(&cookie, &kept, NOW + Duration::hours(23)).expires_at(), Some(NOW + Duration::DAY));
    refused(&cookie, &kept, NOW + Duration::DAY, Reason::Expired);
    assert!(browser.send(SHOP, NOW + Duration::DAY).is_empty(), "the browser was told the same");
}

/// Reads do not renew (tower-sessions #74), or write the whole state each time.
#[test]
fn reads_renew_the_idle_time_and_rewrite_no_state() {
    let (cookie, mut browser) = (built(builder()), Browser::default());
    visit(&cookie, &mut browser, NOW, |session| **session = cart(500));
    let state =
        |browser: &Browser| browser.cookies().find(|cookie| cookie.name == NAME).map(|c| c.value.clone());
    let sealed = state(&browser);
    for hour in 1..10 {
        visit(&cookie, &mut browser, NOW + Duration::hours(hour), |session| assert_eq!(**session, cart(500)));
        assert_eq!(state(&browser), sealed);
        assert_eq!(names(&browser), [NAME, "__Host-session.seen"]);
    }
}

/// Each write shortens a longer lifetime (ruts 0.12).
#[test]
fn a_write_keeps_the_lifetime_that_the_session_has() {
    let (cookie, mut browser) = (built(builder()), Browser::default());
    let ends = NOW + Duration::days(20);
    visit(&cookie, &mut browser, NOW, |session| {
        session.note.push('x');
        session.expire_at(ends);
    });
    for hour in 1..20 {
        let now = NOW + Duration::hours(hour);
        visit(&cookie, &mut browser, now, |session| {
            assert_eq!(session.expires_at(), Some(ends));
            session.note.push('x');
        });
        let state = browser.cookies().find(|cookie| cookie.name == NAME).expect("it is kept");
        assert_eq!(state.expires, Some(ends));
    }
}

/// A slow parallel request undoes a logout, because the store upserts what was deleted (tower-sessions-sqlx-store;
/// actix-session on Redis; nextjs-auth0 #544, #2335); and late responses overwrite newer state (next-auth #8897,
/// lua-resty-session #57).
#[test]
fn a_stored_session_is_saved_only_over_the_version_that_was_read() {
    let cookie = storing();
    let (record, header) = stored(&cookie);
    let mut session = load(&cookie, &header, Some(record.clone()));
    session.note.push('x');
    let Ok(Outgoing::Stored(ops, _)) = seal(&cookie, &session, NOW) else { panic!("it is too large") };
    let [StoreOp::Save(saved, expect)] = ops.as_slice() else { panic!("one save") };
    assert_eq!((saved.id, *expect), (record.id, Expect::Version(record.version)));
    assert!(saved.version > record.version);
}

/// A deleted cookie can be used again (CVE-2024-31999). A stored session's cannot; that an inline one can, in whoever's
/// hands a copy is, `Session::destroy` says.
#[test]
fn the_cookie_of_a_stored_session_that_has_ended_is_worth_nothing() {
    let cookie = storing();
    let (record, header) = stored(&cookie);
    let mut session = load(&cookie, &header, Some(record.clone()));
    session.destroy();
    let Ok(Outgoing::Stored(ops, _)) = seal(&cookie, &session, NOW) else { panic!("its record goes") };
    assert!(
        matches!(ops.as_slice(), [StoreOp::End(id, version)] if (*id, *version) == (record.id, record.version))
    );
    let again = load(&cookie, &header, None);
    assert_eq!(again.refusal().map(|refusal| refusal.reason()), Some(Reason::NoRecord));
    assert_eq!(*again, Cart::default());
}

/// A removal without the same Path, Domain and Secure does not remove (actix-extras #87, #158, #282; tower-sessions
/// PR 154).
#[test]
fn a_logout_removes_the_cookies_wherever_they_were_set() {
    fn named(name: &str) -> Builder<Cart> {
        SessionCookie::builder(name, ring()).budget(Budget::new(4, 20_000)).without_compression()
    }
    let plain = Url::http("localhost", "/app/cart");
    let url = Url::https("www.shop.example", "/app/cart");
    for (url, builder) in [
        (url, named(NAME)),
        (url, named("__Secure-session").path("/app").domain("shop.example")),
        (url, named("sid").path("/app/cart").until_browser_closes()),
        (url, named("sid").domain("www.shop.example")),
        (plain, named("sid").insecure().path("/app")),
    ] {
        let (cookie, mut browser) = (built(builder), Browser::default());
        for (minutes, octets, cookies) in [(0, 11_000, 4), (20, 11_000, 5), (40, 0, 0)] {
            let now = NOW + Duration::minutes(minutes);
            let header = browser.send(url, now).join("; ");
            let (Opened::Fresh(mut session) | Opened::Ready(mut session)) = cookie.open_at([&header], now)
            else {
                panic!("nothing is stored")
            };
            assert_eq!(session.is_fresh(), minutes == 0);
            if octets == 0 {
                session.destroy();
            } else if session.is_fresh() {
                *session = cart(octets);
            }
            let sealed = seal(&cookie, &session, now).expect("it fits");
            let Outgoing::Cookies(fields) = sealed else { panic!("cookies were expected") };
            fields.iter().for_each(|field| browser.receive(url, field, now));
            assert_eq!(browser.cookies().count(), cookies);
        }
    }
}

/// The id is cycled, the old record deleted, and then the handler fails and the new one is never saved
/// (tower-sessions).
#[test]
fn a_rotation_saves_the_new_record_before_it_ends_the_old() {
    let cookie = storing();
    let (record, header) = stored(&cookie);
    let mut session = load(&cookie, &header, Some(record.clone()));
    session.rotate();
    let Ok(Outgoing::Stored(ops, _)) = seal(&cookie, &session, NOW) else { panic!("it is too large") };
    let [StoreOp::Save(new, Expect::Absent), StoreOp::Save(end, expected)] = ops.as_slice() else {
        panic!("{ops:?}")
    };
    assert_ne!(new.id, record.id);
    assert_eq!((end.id, *expected), (record.id, Expect::Version(record.version)));
    // What stands in its place opens nothing, and leads only to the end of the session.
    let old = load(&cookie, &header, Some(end.clone()));
    assert_eq!(old.refusal().map(|refusal| refusal.reason()), Some(Reason::Moved));
    assert_eq!((*old).clone(), Cart::default());
    assert_eq!(cookie.successor(end), Some((new.id, new.version)));
}

/// `renew` is cancelled by a later write (actix-extras #244, poem #196).
#[test]
fn a_write_after_a_rotation_does_not_cancel_it() {
    let cookie = built(builder());
    let before = header(&cookie, cart(10));
    let steps: [fn(&mut Session<Cart>); 2] = [Session::rotate, |session| session.note.push('x')];
    for order in [[0, 1], [1, 0]] {
        let mut session = ready(&cookie, &before, NOW);
        let id = session.id();
        for step in order {
            steps[step](&mut session);
        }
        let fields = set_cookies(&cookie, &session, NOW);
        let after = ready(&cookie, fields[0].split(';').next().expect("a pair"), NOW);
        assert_ne!(after.id(), id);
        assert_eq!(after.note, cart(10).note + "x");
        assert_eq!(after.authenticated_at(), Some(NOW));
    }
}

/// A name with `__Host-` is written and the bare one read (`axum_session`).
#[test]
fn a_prefixed_name_is_read_as_it_is_written() {
    let (cookie, mut browser) = (built(builder()), Browser::default());
    visit(&cookie, &mut browser, NOW, |session| **session = cart(10));
    assert_eq!(names(&browser), [NAME]);
    visit(&cookie, &mut browser, NOW, |session| assert_eq!(**session, cart(10)));
    let header = browser.send(SHOP, NOW).join("; ");
    fresh(&cookie, header.replace("__Host-", ""));
    fresh(&cookie, header.replace("__Host-", "__host-"));
    browser.receive(SHOP, &header, OffsetDateTime::UNIX_EPOCH);
    assert_eq!(names(&browser), [NAME], "without the attributes a browser keeps no such cookie");
}
