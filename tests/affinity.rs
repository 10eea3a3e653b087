//! The cookie for load balancers: a stable tag of the session, which nothing depends on.

#[path = "browser_model/browser.rs"]
mod browser;

use browser::{Browser, Url};
use hardtack::{Budget, Builder, Key, KeyRing, Lifetime, Opened, OsRandom, Outgoing, Session, SessionCookie};
use time::{Duration, OffsetDateTime};

type Note = String;

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);
const SHOP: Url = Url::https("www.shop.example", "/cart");

fn builder(name: &str) -> Builder<Note> {
    let ring = KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
    SessionCookie::builder(name, ring)
        .lifetime(Lifetime::absolute(Duration::days(9)).idle(Duration::hours(2)))
}

fn server() -> SessionCookie<Note> {
    builder("__Host-session").affinity("node").build().expect("settings that work")
}

/// One request, and the names of the cookies that its response set.
#[track_caller]
fn visit(
    server: &SessionCookie<Note>,
    browser: &mut Browser,
    now: OffsetDateTime,
    handle: impl FnOnce(&mut Session<Note>),
) -> Vec<String> {
    let header = browser.send(SHOP, now).join("; ");
    let (Opened::Fresh(mut session) | Opened::Ready(mut session)) = server.open_at([&header], now) else {
        panic!("nothing is stored")
    };
    handle(&mut session);
    let cookies = match server.seal_at(&session, now, &mut OsRandom, 0).expect("it fits") {
        Outgoing::Unchanged => return Vec::new(),
        Outgoing::Cookies(cookies) => cookies,
        Outgoing::Stored(..) => panic!("nothing is stored"),
    };
    cookies.iter().for_each(|field| browser.receive(SHOP, field, now));
    cookies.iter().map(|field| field.split('=').next().expect("a name").to_owned()).collect()
}

fn tag(browser: &Browser) -> Option<String> {
    browser.cookies().find(|cookie| cookie.name == "node").map(|cookie| cookie.value.clone())
}

#[test]
fn the_first_write_sets_the_tag_and_later_ones_leave_it() {
    let (server, mut browser) = (server(), Browser::default());
    assert!(visit(&server, &mut browser, NOW, |_| ()).is_empty());
    assert_eq!(visit(&server, &mut browser, NOW, |session| session.push('a')), ["__Host-session", "node"]);
    let first = tag(&browser).expect("it was set");
    assert!(first.len() == 16 && first.bytes().all(|letter| letter.is_ascii_lowercase()));
    assert_eq!(visit(&server, &mut browser, NOW, |session| session.push('b')), ["__Host-session"]);
    assert_eq!(tag(&browser), Some(first));
}

#[test]
fn a_tag_that_was_lost_or_made_up_is_set_again_and_harms_nothing() {
    let (server, mut browser) = (server(), Browser::default());
    visit(&server, &mut browser, NOW, |session| session.push('a'));
    let first = tag(&browser).expect("it was set");
    for field in ["node=; Max-Age=0", "node=x", "node=", &format!("node={first}x"), "node=aaaaaaaaaaaaaaaa"] {
        browser.receive(SHOP, &format!("{field}; Secure; HttpOnly; SameSite=Lax; Path=/"), NOW);
        assert!(tag(&browser) != Some(first.clone()));
        let set = visit(&server, &mut browser, NOW, |session| session.push('b'));
        assert_eq!(set, ["__Host-session", "node"], "{field}");
        assert_eq!(tag(&browser), Some(first.clone()));
    }
    // Two of one name: what another path has set comes first.
    browser.receive(SHOP, "node=x; Path=/cart", NOW);
    visit(&server, &mut browser, NOW, |session| assert_eq!(**session, "abbbbb"));
}

#[test]
fn a_renewal_of_the_idle_time_brings_back_a_lost_tag() {
    let (server, mut browser) = (server(), Browser::default());
    visit(&server, &mut browser, NOW, |session| session.push('a'));
    let first = tag(&browser);
    browser.forget(|cookie| cookie.name == "node");
    assert!(visit(&server, &mut browser, NOW, |_| ()).is_empty(), "a read alone writes nothing");
    let later = NOW + Duration::HOUR;
    assert_eq!(visit(&server, &mut browser, later, |_| ()), ["__Host-session.seen", "node"]);
    assert_eq!(tag(&browser), first);
}

#[test]
fn a_rotation_changes_the_tag_and_an_ending_removes_it() {
    let (server, mut browser) = (server(), Browser::default());
    visit(&server, &mut browser, NOW, |session| session.push('a'));
    let first = tag(&browser);
    assert_eq!(visit(&server, &mut browser, NOW, Session::rotate), ["__Host-session", "node"]);
    assert!(tag(&browser).is_some() && tag(&browser) != first);
    assert_eq!(visit(&server, &mut browser, NOW, Session::destroy), ["__Host-session", "node"]);
    assert_eq!(browser.cookies().count(), 0);
}

#[test]
fn the_tag_counts_in_the_budget_to_the_octet() {
    let key = || KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
    let mut needed = Vec::new();
    for affinity in [None, Some("node")] {
        let builder = SessionCookie::<Note>::builder("__Host-session", key());
        let server =
            affinity.into_iter().fold(builder, Builder::affinity).build().expect("settings that work");
        let mut session = server.open(["a=b"]).into_session();
        session.push_str(&"state ".repeat(80));
        let Ok(Outgoing::Cookies(cookies)) = server.seal(&session) else { panic!("it is small") };
        assert_eq!(server.usage(&session).expect("it fits").header, cookies.header_len());
        needed.push(cookies.header_len());
    }
    let field =
        "Set-Cookie: node=abcdefghijklmnop; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=2592000\r\n";
    assert_eq!(needed[1] - needed[0], field.len());

    let budget = Budget::new(1, needed[1]);
    for (affinity, fits) in [("node", true), ("nodes", false)] {
        let server =
            SessionCookie::<Note>::builder("__Host-session", key()).budget(budget).affinity(affinity);
        let server = server.build().expect("settings that work");
        let mut session = server.open(["a=b"]).into_session();
        session.push_str(&"state ".repeat(80));
        assert_eq!(server.seal(&session).is_ok(), fits);
    }
}

#[test]
fn names_that_begin_alike_are_kept_apart() {
    for (name, affinity) in [("n", "node"), ("node-session", "node"), ("nod", "node")] {
        let server = builder(name).affinity(affinity).build().expect("settings that work");
        let mut browser = Browser::default();
        assert_eq!(visit(&server, &mut browser, NOW, |session| session.push('a')), [name, affinity]);
        assert_eq!(
            visit(&server, &mut browser, NOW, |session| session.push('b')),
            [name],
            "the tag came back"
        );
        visit(&server, &mut browser, NOW, |session| assert_eq!(**session, "ab"));
    }
}

#[test]
fn a_name_that_cannot_work_is_refused_when_it_is_built() {
    let refused = |name: &str, why: &str| {
        let built = builder("sid").affinity(name).build();
        assert_eq!(built.expect_err("it cannot work").to_string(), format!("affinity: {name:?} {why}"));
    };
    for name in ["", "node1", "__Host-node", "no de", "n\u{f6}de", &"n".repeat(65)] {
        refused(name, "is not 1 to 64 letters");
    }
    refused("SID", "is the name of the session's own cookie");
}
