//! What a client sends does not choose how much is allocated. An allocator that counts sees to it, so this is a program
//! of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use hardtack::{Budget, Key, KeyRing, Opened, OsRandom, Outgoing, SessionCookie};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

thread_local! {
    /// What this thread holds now, and the most that it held.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(more: usize, less: usize) {
    let (now, most) = HELD.get();
    let now = (now + more).saturating_sub(less);
    HELD.set((now, most.max(now)));
}

// SAFETY: all calls are handed on to the system's allocator. `realloc` is the default one, which holds the old block and
// the new at once, as the system's may.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most that is held at once while this runs, beyond what was held before.
fn most_held<R>(run: impl FnOnce() -> R) -> (R, usize) {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let result = run();
    (result, HELD.get().1 - before)
}

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// What a session costs that has nothing to do with what came.
const FEW: usize = 2_048;

fn key() -> Key {
    Key::generate(&mut OsRandom).expect("random bytes")
}

fn cookie<T: Serialize + DeserializeOwned + Default + 'static>(name: &str, key: &Key) -> SessionCookie<T> {
    let ring = KeyRing::new([key.clone()]).expect("one key");
    SessionCookie::builder(name, ring).allow_store().build().expect("settings that work")
}

/// Nothing opens, and no more is held than so many times what came.
#[track_caller]
fn holds_at_most<T>(cookie: &SessionCookie<T>, headers: &[String], times: usize)
where
    T: Serialize + DeserializeOwned,
{
    let received: usize = headers.iter().map(String::len).sum();
    let (opened, held) = most_held(|| cookie.open_at(headers, NOW));
    assert!(matches!(opened, Opened::Fresh(_)));
    assert!(
        held <= times * received + FEW,
        "{held} octets were held for {received}, {} times",
        held / received
    );
}

/// Cookies of these names and values until the header is as long as hyper takes one.
fn header(cookies: impl Iterator<Item = (String, String)>) -> String {
    let mut header = String::new();
    for (name, value) in cookies {
        if header.len() + name.len() + value.len() > 400_000 {
            return header;
        }
        write!(header, "{name}={value};").expect("a string takes everything");
    }
    panic!("the cookies are too few")
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn digit(number: usize) -> char {
    char::from(DIGITS[number % 64])
}

/// As many generations as one likes.
fn generation(number: usize) -> String {
    [18, 12, 6, 0].map(|shift| digit(number >> shift)).iter().collect()
}

fn name(index: usize) -> String {
    if index == 0 { "s".to_owned() } else { format!("s.{index}") }
}

#[test]
fn thousands_of_chunks_take_no_more_than_a_small_multiple_of_themselves() {
    let cookie = cookie::<String>("s", &key());
    let chunk = |index: usize, count: usize, group: usize| {
        (name(index), format!("{}{}{}.x", generation(group), digit(index), digit(count)))
    };
    // The shortest there are, each of its own generation and each claiming 63.
    holds_at_most(&cookie, &[header((0..).map(|n| chunk(0, 63, n)))], 16);
    holds_at_most(&cookie, &[header((0..).map(|n| chunk(n % 63, 63, n)))], 16);
    // One of each group is missing; the same two again and again; complete pairs, which are all joined.
    holds_at_most(&cookie, &[header((0..).map(|n| chunk(n % 62, 63, n / 62)))], 16);
    holds_at_most(&cookie, &[header((0..).map(|n| chunk(n % 2, 2, 0)))], 16);
    holds_at_most(&cookie, &[header((0..).map(|n| chunk(n % 2, 2, n / 2)))], 16);
    // Over many header fields.
    let fields: Vec<_> =
        (0..40_000).map(|n| chunk(0, 63, n)).map(|(name, value)| format!("{name}={value}")).collect();
    holds_at_most(&cookie, &fields, 16);
}

#[test]
fn cookies_that_are_no_chunks_take_less() {
    let key = key();
    let cookie = cookie::<String>("s", &key);
    let kid = KeyRing::new([key]).expect("one key").key_ids().next().expect("one key");
    let prefix = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        [&[1], kid.as_bytes().as_slice(), &[0]].concat(),
    );
    // Of our version and key: a long one, seventeen, and as many as there can be.
    for len in [390_000, 23_000, 84] {
        let token = prefix.clone() + &"A".repeat(len - prefix.len());
        holds_at_most(&cookie, &[header(std::iter::repeat(("s".to_owned(), token)))], 2);
    }
    holds_at_most(&cookie, &[header(std::iter::repeat(("s".to_owned(), String::new())))], 1);
    holds_at_most(&cookie, &[header((0..).map(|n| (name(n % 63), "A".repeat(82))))], 1);
    holds_at_most(&cookie, &[header(std::iter::repeat(("s.seen".to_owned(), "A".repeat(32))))], 2);
    holds_at_most(&cookie, &[header(std::iter::repeat(("s.seen".to_owned(), String::new())))], 8);
    holds_at_most(&cookie, &["\u{1f36a}; s=\u{1f36a};;=;".repeat(20_000)], 1);
}

/// What comes with a name of ordinary length.
#[test]
fn a_longer_name_leaves_a_client_less_to_choose() {
    let cookie = cookie::<String>("__Host-session", &key());
    let chunk = |n: usize| ("__Host-session".to_owned(), format!("{}A_.x", generation(n)));
    holds_at_most(&cookie, &[header((0..).map(chunk))], 8);
}

/// An authentic token, made where the cap was higher: its size is known before anything is allocated for it.
#[test]
fn a_bomb_is_refused_before_it_is_inflated() {
    let key = key();
    let ring = KeyRing::new([key.clone()]).expect("one key");
    let careless = SessionCookie::<String>::builder("__Host-session", ring);
    let careless = careless.max_value(usize::MAX).build().expect("settings that work");
    let mut session = careless.open_at([""], NOW).into_session();
    *session = "0".repeat(24 << 20);
    let sealed = careless.seal_at(&session, NOW, &mut OsRandom, 0).expect("it compresses");
    let Outgoing::Cookies(cookies) = sealed else { panic!("it was changed") };
    let header = cookies.cookie_header();
    assert!(header.len() < 4_000, "{}", header.len());
    holds_at_most(&cookie::<String>("__Host-session", &key), &[header], 3);
}

/// Octets that are encoded as they are, and taken for another type where they are read: as after a deployment that
/// changed the type and forgot the schema's number.
#[derive(Default, Serialize, Deserialize)]
struct Raw([u8; 16]);

/// A length of 2^64 - 1, or of 2^32 - 1, and little behind it.
const HUGE: [[u8; 16]; 2] = [
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0],
    [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
];

#[track_caller]
fn holds_at_most_as<T: Serialize + DeserializeOwned + Default + 'static>(most: usize) {
    for bytes in HUGE {
        let key = key();
        let raw = cookie::<Raw>("__Host-session", &key);
        let mut session = raw.open_at([""], NOW).into_session();
        session.0 = bytes;
        let sealed = raw.seal_at(&session, NOW, &mut OsRandom, 0).expect("it fits");
        let Outgoing::Cookies(cookies) = sealed else { panic!("it was changed") };
        let header = cookies.cookie_header();
        let cookie = cookie::<T>("__Host-session", &key);
        let (opened, held) = most_held(|| cookie.open_at([&header], NOW));
        assert!(matches!(opened, Opened::Fresh(_)));
        assert!(held <= most, "{held} octets were held");
    }
}

#[test]
fn a_huge_length_inside_an_authentic_token_allocates_nothing() {
    holds_at_most_as::<String>(FEW);
    holds_at_most_as::<Vec<u8>>(FEW);
    holds_at_most_as::<Vec<String>>(FEW);
    holds_at_most_as::<Vec<(u64, Option<String>)>>(FEW);
    holds_at_most_as::<BTreeMap<String, String>>(FEW);
    holds_at_most_as::<(String, Vec<u64>)>(FEW);
    // serde trusts a map's length up to a mebibyte.
    holds_at_most_as::<HashMap<String, String>>(2 << 20);
}

/// Every case of the format's vectors, authentic tokens of broken content among them.
#[test]
fn what_the_vectors_refuse_takes_no_more_than_a_small_multiple_of_itself() {
    #[derive(Deserialize)]
    struct Case {
        keys: Vec<String>,
        app: String,
        cookie_name: String,
        now: i64,
        headers: Vec<String>,
        expect: String,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("vectors/cookie-v1.json")).expect("vectors");
    let mut refused = 0;
    for case in cases.iter().filter(|case| case.expect == "reject") {
        let keys =
            case.keys.iter().map(|key| Key::try_from(hex::decode(key).expect("hexadecimal").as_slice()));
        let ring = KeyRing::new(keys.map(|key| key.expect("a key"))).expect("keys that differ");
        let builder = SessionCookie::<String>::builder(&case.cookie_name, ring).app(&case.app).allow_store();
        let Ok(cookie) = builder.budget(Budget::default()).build() else { continue };
        let now = OffsetDateTime::from_unix_timestamp(case.now).expect("a time");
        let received: usize = case.headers.iter().map(String::len).sum();
        let (_, held) = most_held(|| cookie.open_at(&case.headers, now));
        assert!(held <= 4 * received + FEW, "{held} octets were held for {received}");
        refused += 1;
    }
    assert!(refused > 20);
}
