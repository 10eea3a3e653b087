//! What went wrong in other projects, a test for each: it cites where, and would have caught it. Through the public API
//! only, with time and randomness as arguments.

#[path = "../browser_model/browser.rs"]
mod browser;
mod chunks;
mod crypto;
mod expiry;
mod keys;
mod size;

use hardtack::{
    Budget, Builder, Key, KeyRing, NoRandom, Opened, Outgoing, Random, Reason, SealError, Session,
    SessionCookie,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use browser::{Browser, Url};

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);
const NAME: &str = "__Host-session";
const SHOP: Url = Url::https("www.shop.example", "/cart");

/// A session's value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    note: String,
}

fn cart(octets: usize) -> Cart {
    Cart { note: noise(octets) }
}

/// Text of no meaning.
fn noise(octets: usize) -> String {
    let mut bytes = vec![0; octets];
    Seeded(octets as u64).fill(&mut bytes).expect("it does not fail");
    bytes.iter().map(|byte| char::from(b'0' + byte % 64)).collect()
}

/// The same bytes for the same seed.
struct Seeded(u64);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = self.0.to_be_bytes()[0];
        }
        Ok(())
    }
}

fn key(number: u64) -> Key {
    Key::generate(&mut Seeded(number)).expect("it does not fail")
}

fn ring() -> KeyRing {
    KeyRing::new([key(1)]).expect("one key")
}

/// Without compression, so that sizes are what they seem.
fn builder() -> Builder<Cart> {
    SessionCookie::builder(NAME, ring()).without_compression()
}

fn built(builder: Builder<Cart>) -> SessionCookie<Cart> {
    builder.build().expect("settings that work")
}

fn chunked(cookies: u8) -> SessionCookie<Cart> {
    built(builder().budget(Budget::new(cookies, 60_000)))
}

/// What a response does; each has its own nonces and ids.
fn seal(
    cookie: &SessionCookie<Cart>,
    session: &Session<Cart>,
    now: OffsetDateTime,
) -> Result<Outgoing, SealError> {
    let seed = now.unix_timestamp().unsigned_abs() << 20 | session.sequence().unwrap_or(0) << 10;
    cookie.seal_at(session, now, &mut Seeded(seed | session.note.len() as u64), 0)
}

#[track_caller]
fn set_cookies(cookie: &SessionCookie<Cart>, session: &Session<Cart>, now: OffsetDateTime) -> Vec<String> {
    match seal(cookie, session, now) {
        Ok(Outgoing::Cookies(cookies)) => cookies.iter().map(str::to_owned).collect(),
        other => panic!("cookies were expected: {other:?}"),
    }
}

/// The `Cookie` header of a new browser for a session of this value.
#[track_caller]
fn header(cookie: &SessionCookie<Cart>, value: Cart) -> String {
    let mut session = fresh(cookie, "");
    *session = value;
    let Ok(Outgoing::Cookies(cookies)) = seal(cookie, &session, NOW) else { panic!("cookies were expected") };
    cookies.cookie_header()
}

#[track_caller]
fn ready(cookie: &SessionCookie<Cart>, header: &str, now: OffsetDateTime) -> Session<Cart> {
    match cookie.open_at([header], now) {
        Opened::Ready(session) => session,
        Opened::Fresh(session) => {
            panic!("it is fresh: {:?}", session.refusal().map(|refusal| refusal.reason()))
        }
        Opened::Stored(lookup) => panic!("{lookup:?}"),
    }
}

#[track_caller]
fn fresh(cookie: &SessionCookie<Cart>, header: impl AsRef<[u8]>) -> Session<Cart> {
    let Opened::Fresh(session) = cookie.open_at([&header], NOW) else { panic!("nothing should open") };
    assert_eq!(*session, Cart::default());
    session
}

#[track_caller]
fn refused(cookie: &SessionCookie<Cart>, header: &str, now: OffsetDateTime, reason: Reason) {
    let Opened::Fresh(session) = cookie.open_at([header], now) else { panic!("nothing should open") };
    assert_eq!(session.refusal().map(|refusal| refusal.reason()), Some(reason));
}

/// One request of this browser, whose handler does this.
#[track_caller]
fn visit(
    cookie: &SessionCookie<Cart>,
    browser: &mut Browser,
    now: OffsetDateTime,
    handle: impl FnOnce(&mut Session<Cart>),
) {
    let header = browser.send(SHOP, now).join("; ");
    let (Opened::Fresh(mut session) | Opened::Ready(mut session)) = cookie.open_at([&header], now) else {
        panic!("nothing is stored")
    };
    handle(&mut session);
    match seal(cookie, &session, now).expect("it fits") {
        Outgoing::Unchanged => {}
        Outgoing::Cookies(cookies) => cookies.iter().for_each(|field| browser.receive(SHOP, field, now)),
        Outgoing::Stored(..) => panic!("nothing is stored"),
    }
}

/// The names of what a browser holds, in order.
fn names(browser: &Browser) -> Vec<&str> {
    let mut names: Vec<_> = browser.cookies().map(|cookie| cookie.name.as_str()).collect();
    names.sort_unstable();
    names
}
