//! The browser model that the other tests rely on, held to RFC 6265bis.

mod browser;

use browser::{Browser, LEFT_AFTER_PURGE, MAX_NAME_AND_VALUE, MAX_PER_SITE, Url};
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const SHOP: Url = Url::https("www.shop.example", "/app/cart");

fn after(fields: &[&str]) -> Browser {
    let mut browser = Browser::default();
    for field in fields {
        browser.receive(SHOP, field, NOW);
    }
    browser
}

#[track_caller]
fn sends(browser: &mut Browser, url: Url, expected: &[&str]) {
    assert_eq!(browser.send(url, NOW), expected);
}

#[track_caller]
fn keeps(field: &str) {
    assert_eq!(after(&[field]).cookies().count(), 1, "{field}");
}

#[track_caller]
fn drops(field: &str) {
    assert_eq!(after(&[field]).cookies().count(), 0, "{field}");
}

#[test]
fn a_cookie_over_4096_octets_is_dropped_without_a_word() {
    let value = |len| format!("sid={}", "v".repeat(len));
    keeps(&value(MAX_NAME_AND_VALUE - 3));
    drops(&value(MAX_NAME_AND_VALUE - 2));
}

#[test]
fn a_max_age_of_zero_or_less_removes_and_one_that_is_no_number_is_not_read() {
    for age in ["0", "-1", "-99999999999999999999"] {
        assert_eq!(after(&["a=1", &format!("a=; Max-Age={age}")]).cookies().count(), 0);
    }
    for age in ["", "soon", "1h", "+1"] {
        let browser = after(&[&format!("a=1; Max-Age={age}")]);
        assert!(browser.cookies().all(|cookie| cookie.expires.is_none()));
    }
}

#[test]
fn nothing_is_kept_for_longer_than_400_days() {
    for age in ["34560001", "99999999999999999999"] {
        let browser = after(&[&format!("a=1; Max-Age={age}")]);
        let cookie = browser.cookies().next().expect("one cookie");
        assert_eq!(cookie.expires, Some(NOW + Duration::days(400)));
    }
}

#[test]
fn the_prefixes_demand_what_they_stand_for() {
    keeps("__Host-a=1; Secure; Path=/");
    drops("__Host-a=1; Path=/");
    drops("__Host-a=1; Secure");
    drops("__Host-a=1; Secure; Path=/app");
    drops("__host-a=1; Secure; Path=/; Domain=www.shop.example");
    keeps("__Secure-a=1; Secure; Domain=shop.example");
    drops("__secure-a=1");
    drops("=__Host-a=1; Secure; Path=/");
    drops("a=1; SameSite=None");
    drops("a\u{1}=1");
}

#[test]
fn a_host_sets_cookies_for_itself_and_its_parents_and_nobody_else() {
    keeps("a=1; Domain=.shop.example");
    drops("a=1; Domain=example");
    drops("a=1; Domain=other.example");
    drops("a=1; Domain=ww.shop.example");
    let mut browser = after(&["here=1", "site=1; Domain=shop.example"]);
    sends(&mut browser, Url::https("www.shop.example", "/app/"), &["here=1", "site=1"]);
    sends(&mut browser, Url::https("api.shop.example", "/app/"), &["site=1"]);
    sends(&mut browser, Url::https("ashop.example", "/app/"), &[]);
}

#[test]
fn plain_http_neither_sees_nor_sets_nor_shadows_secure_cookies() {
    let plain = Url::http("www.shop.example", "/app/cart");
    let mut browser = after(&["a=1; Secure"]);
    sends(&mut browser, plain, &[]);
    for field in ["b=1; Secure", "a=2", "a=2; Domain=shop.example"] {
        browser.receive(plain, field, NOW);
    }
    sends(&mut browser, SHOP, &["a=1"]);
}

#[test]
fn longer_paths_come_first_and_then_what_was_created_earlier() {
    let mut browser = after(&["a=1; Path=/", "b=1; Path=/app", "c=1; Path=/", "d=1", "a=2; Path=/"]);
    sends(&mut browser, SHOP, &["b=1", "d=1", "a=2", "c=1"]);
    sends(&mut browser, Url::https("www.shop.example", "/apple"), &["a=2", "c=1"]);
}

#[test]
fn one_name_on_several_paths_and_domains_is_several_cookies() {
    let mut browser = after(&["a=1; Path=/", "a=2; Path=/app", "a=3; Path=/; Domain=www.shop.example"]);
    sends(&mut browser, SHOP, &["a=2", "a=1", "a=3"]);
    browser.receive(SHOP, "a=; Path=/; Max-Age=0", NOW);
    sends(&mut browser, SHOP, &["a=2", "a=3"]);
}

#[test]
fn a_site_over_180_cookies_loses_the_least_recently_used_down_to_150() {
    let mut browser = Browser::default();
    browser.receive(Url::https("other.example", "/"), "other=1", NOW);
    for n in 0..MAX_PER_SITE {
        browser.receive(SHOP, &format!("c{n}=1; Path=/{n}"), NOW);
    }
    assert_eq!(browser.cookies().count(), 1 + MAX_PER_SITE);
    sends(&mut browser, Url::https("www.shop.example", "/0"), &["c0=1"]);
    browser.receive(SHOP, "last=1", NOW);
    let names: Vec<_> = browser.cookies().map(|cookie| cookie.name.as_str()).collect();
    assert_eq!(names.len(), 1 + LEFT_AFTER_PURGE);
    assert!(["other", "c0", "c179", "last"].iter().all(|name| names.contains(name)));
    assert!(["c1", "c31"].iter().all(|name| !names.contains(name)));
}

#[test]
fn a_cookie_without_max_age_ends_with_the_browser_and_one_with_it_on_time() {
    let mut browser = after(&["a=1", "b=1; Max-Age=60"]);
    browser.close();
    sends(&mut browser, SHOP, &["b=1"]);
    assert!(browser.send(SHOP, NOW + Duration::seconds(60)).is_empty());
}
