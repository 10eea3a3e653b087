//! Size.

use hardtack::{Budget, Outgoing, SealError, SessionCookie};
use time::Duration;

use crate::browser::{Browser, MAX_NAME_AND_VALUE};
use crate::{
    Cart, NAME, NOW, SHOP, builder, built, cart, chunked, fresh, header, names, ready, ring, seal, visit,
};

/// The size is checked before encryption and encoding, and the browser drops what grew (actix-session 0.11; a cookie
/// store for tower-sessions; Rails counts the unescaped value).
#[test]
fn what_is_measured_is_what_the_browser_gets() {
    let cookie = chunked(1);
    let (mut kept, mut refused) = (0, 0);
    for octets in (2_800..3_200).step_by(7) {
        let mut session = fresh(&cookie, "");
        *session = cart(octets);
        let Ok(Outgoing::Cookies(cookies)) = seal(&cookie, &session, NOW) else {
            refused += 1;
            continue;
        };
        let mut browser = Browser::default();
        cookies.iter().for_each(|field| browser.receive(SHOP, field, NOW));
        assert_eq!(*ready(&cookie, &browser.send(SHOP, NOW).join("; "), NOW), cart(octets));
        assert_eq!(refused, 0, "a smaller one was refused");
        kept += 1;
    }
    assert!(kept > 0 && refused > 0, "the limit is not where it is looked for");
}

/// A Set-Cookie of 8 KB with status 200 (Express cookie-session).
#[test]
fn what_no_browser_keeps_is_an_error() {
    let cookie = built(builder());
    let mut session = fresh(&cookie, "");
    *session = cart(6_000);
    let Err(SealError::TooLarge(figures)) = seal(&cookie, &session, NOW) else { panic!("it is too large") };
    assert!(figures.needed > 8_000 && figures.needed > figures.budget);
    assert_eq!(figures.needed, figures.parts.total());
}

/// Large cookies break the machine in front: nginx's page of 4 KiB for a response's whole header, and request lines of
/// 8 KiB (oauth2-proxy #388, #644, #1388).
#[test]
fn the_budgets_pass_the_machines_they_are_meant_for() {
    for (budget, response, request) in
        [(Budget::default(), 4_096 - 1_024, 8_192 - 2_048), (Budget::chunked(63), 6_144, 8_192 - 2_048)]
    {
        let cookie = built(builder().budget(budget));
        let mut octets = 1_000;
        while let Ok(Outgoing::Cookies(cookies)) = {
            let mut session = fresh(&cookie, "");
            *session = cart(octets);
            seal(&cookie, &session, NOW)
        } {
            assert!(cookies.header_len() <= response);
            assert!("Cookie: \r\n".len() + cookies.cookie_header().len() <= request);
            octets += 50;
        }
        assert!(octets > 2_000);
    }
}

/// Two chunks, then a store: what the maintainers would have (oauth2-proxy #1940).
#[test]
fn what_outgrows_its_cookies_goes_to_the_store() {
    let cookie = built(builder().budget(Budget::chunked(2)).allow_store());
    let fields = [500, 3_500, 9_000].map(|octets| {
        let mut session = fresh(&cookie, "");
        *session = cart(octets);
        match seal(&cookie, &session, NOW) {
            Ok(Outgoing::Cookies(cookies)) => (cookies.iter().count(), false),
            Ok(Outgoing::Stored(_, cookies)) => (cookies.iter().count(), true),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(fields, [(1, false), (2, false), (1, true)]);
}

/// Helper cookies that nobody bounds add up to a 431 (oauth2-proxy #2163).
#[test]
fn a_thousand_visits_leave_two_cookies() {
    let (cookie, mut browser) = (built(builder()), Browser::default());
    for n in 0..1_000 {
        visit(&cookie, &mut browser, NOW + Duration::minutes(20 * n), |session| {
            if n % 10 == 0 {
                session.note.push('x');
            }
        });
    }
    assert_eq!(names(&browser), [NAME, "__Host-session.seen"]);
    assert!(browser.cookies().all(|cookie| cookie.name.len() + cookie.value.len() <= MAX_NAME_AND_VALUE));
    let header = browser.send(SHOP, NOW).join("; ");
    assert!(header.len() < 400, "{}", header.len());
}

/// The size of a compressed value says nothing of the next one: each is measured as it is sent.
#[test]
fn what_compresses_is_measured_compressed() {
    let cookie = SessionCookie::builder(NAME, ring()).build().expect("settings that work");
    let value = Cart { note: "Merino Sweater, size S; ".repeat(1_000) };
    assert!(header(&cookie, value.clone()).len() < 1_000);
    assert_eq!(*ready(&cookie, &header(&cookie, value.clone()), NOW), value);
}
