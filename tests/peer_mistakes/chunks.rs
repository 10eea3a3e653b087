//! Chunks.

use hardtack::Reason;
use time::Duration;

use crate::browser::Browser;
use crate::{
    NAME, NOW, SHOP, builder, built, cart, chunked, fresh, header, names, ready, refused, set_cookies, visit,
};

fn pairs(header: &str) -> Vec<&str> {
    header.split("; ").collect()
}

/// Old chunks stay when a session shrinks or grows (oauth2-proxy; aspnetcore #4639; `mod_auth_openidc` #450, a login
/// loop).
#[test]
fn growing_and_shrinking_leave_the_browser_with_the_newest_cookies_only() {
    let (cookie, mut browser) = (chunked(8), Browser::default());
    let numbered = |count: usize| -> Vec<String> {
        let mut names: Vec<_> = (1..count).map(|number| format!("{NAME}.{number}")).collect();
        names.insert(0, NAME.to_owned());
        names
    };
    for (now, (octets, count)) in [(300, 1), (11_000, 4), (5_000, 2), (19_000, 7), (300, 1), (7_000, 3)]
        .into_iter()
        .enumerate()
        .map(|(minute, step)| (NOW + Duration::minutes(i64::try_from(minute).expect("six")), step))
    {
        visit(&cookie, &mut browser, now, |session| **session = cart(octets));
        assert_eq!(names(&browser), numbered(count));
        visit(&cookie, &mut browser, now, |session| assert_eq!(**session, cart(octets)));
    }
}

/// The stale single cookie shadows the new chunks, or a stale third joins two new ones (the same).
#[test]
fn what_is_stale_neither_shadows_nor_joins_what_is_new() {
    let cookie = chunked(4);
    let old_single = header(&cookie, cart(300));
    let old_three = header(&cookie, cart(7_000));
    let mut session = ready(&cookie, &old_three, NOW);
    *session = cart(5_000);
    let fields = set_cookies(&cookie, &session, NOW + Duration::MINUTE);
    let new_two: Vec<_> = fields[..2].iter().map(|field| field.split(';').next().expect("a pair")).collect();
    let stale_third = pairs(&old_three)[2];
    for stale in [&old_single, stale_third, &old_three] {
        let new = new_two.join("; ");
        for header in [format!("{stale}; {new}"), format!("{new}; {stale}")] {
            assert_eq!(*ready(&cookie, &header, NOW + Duration::MINUTE), cart(5_000));
        }
    }
}

/// A chunk count from the client drives an allocation (CVE-2022-29117). How much is allocated, `tests/allocations.rs`
/// says.
#[test]
fn a_count_that_a_client_claims_is_nothing_to_wait_for() {
    let cookie = built(builder());
    for value in ["AAAAA_.x", "AAAA__.x", "AAAAAA.x", "AAAAAB.x", "AAAA999999999.x", "AAAAA-1.x"] {
        fresh(&cookie, format!("{NAME}={value}"));
    }
}

/// Partial cookies raise a 500 (aspnet/Security #1349).
#[test]
fn a_part_of_the_chunks_is_a_fresh_session_that_can_be_written() {
    let cookie = chunked(4);
    let whole = header(&cookie, cart(11_000));
    for missing in 0..4 {
        let mut part = pairs(&whole);
        part.remove(missing);
        let part = part.join("; ");
        refused(&cookie, &part, NOW, Reason::Malformed);
        let mut session = fresh(&cookie, &part);
        *session = cart(10);
        let fields = set_cookies(&cookie, &session, NOW);
        assert_eq!(
            fields.iter().filter(|field| field.ends_with("; Max-Age=0")).count(),
            3 - usize::from(missing > 0)
        );
    }
}

/// Every cookie whose name starts with the prefix is joined (Auth.js).
#[test]
fn a_name_that_only_starts_like_ours_is_somebody_elses() {
    let cookie = chunked(2);
    let whole = header(&cookie, cart(5_000));
    assert_eq!(pairs(&whole).len(), 2);
    for like in [".1x", ".01", ".1.1", "-1", ".+1", "1", ".\u{661}", ".seen"] {
        fresh(&cookie, whole.replace(".1=", &format!("{like}=")));
    }
    let value = "AAAAAC.x";
    let around = format!("{NAME}x={value}; {NAME}.01={value}; x{NAME}={value}; {whole}; {NAME}-1={value}");
    assert_eq!(*ready(&cookie, &around, NOW), cart(5_000));
}

/// Indices sorted as text, 10 before 2 (next-auth PR 8284).
#[test]
fn twelve_chunks_come_back_in_whatever_order_their_names_sort() {
    let cookie = chunked(12);
    let whole = header(&cookie, cart(34_500));
    let mut sorted = pairs(&whole);
    assert_eq!(sorted.len(), 12);
    sorted.sort_by_key(|pair| pair.split('=').next());
    assert!(sorted[2].starts_with("__Host-session.10="));
    assert_eq!(*ready(&cookie, &sorted.join("; "), NOW), cart(34_500));
    sorted.reverse();
    assert_eq!(*ready(&cookie, &sorted.join("; "), NOW), cart(34_500));
}

/// A parent domain's cookie of the same name shadows ours for ever (`mod_auth_openidc` #560).
#[test]
fn a_parent_domains_cookie_of_our_name_does_not_shadow_ours() {
    let cookie = hardtack::SessionCookie::builder("sid", crate::ring()).build().expect("settings that work");
    let stranger = header(&cookie, cart(20)).split_off("sid=".len());
    for value in ["junk", "AAAAAC.x", &stranger] {
        let mut browser = Browser::default();
        browser.receive(SHOP, &format!("sid={value}; Domain=shop.example; Path=/; Secure"), NOW);
        let later = NOW + Duration::MINUTE;
        visit(&cookie, &mut browser, later, |session| **session = cart(50));
        assert_eq!(browser.send(SHOP, later)[0], format!("sid={value}"), "the older cookie comes first");
        visit(&cookie, &mut browser, later, |session| assert_eq!(**session, cart(50)));
    }
}
