//! A session's life, with time and randomness as arguments: what is written when, what renews it, what ends it.

use hardtack::{
    Budget, Key, KeyRing, Lifetime, Opened, OsRandom, Outgoing, Parts, Placement, Reason, RingEntry,
    SealError, Session, SessionCookie, SetCookies, StoreOp,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    items: Vec<String>,
}

const START: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);

fn ring() -> KeyRing {
    KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key")
}

fn lifetime() -> Lifetime {
    Lifetime::absolute(Duration::days(30)).idle(Duration::hours(2)).renew_after(Duration::minutes(10))
}

fn cookie_of(ring: KeyRing) -> SessionCookie<Cart> {
    SessionCookie::builder("__Host-cart", ring).lifetime(lifetime()).build().expect("settings that work")
}

/// Hexadecimal that does not compress, of so many octets.
fn noise(octets: usize) -> String {
    let words = (1_u64..).map(|n| format!("{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)));
    words.flat_map(String::into_bytes).map(char::from).take(octets).collect()
}

#[track_caller]
fn seal<T>(cookie: &SessionCookie<T>, session: &Session<T>, now: OffsetDateTime) -> Outgoing
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    cookie.seal_at(session, now, &mut OsRandom, 0).expect("it fits")
}

#[track_caller]
fn cookies<T>(cookie: &SessionCookie<T>, session: &Session<T>, now: OffsetDateTime) -> SetCookies
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    match seal(cookie, session, now) {
        Outgoing::Cookies(cookies) => cookies,
        other => panic!("cookies were expected: {other:?}"),
    }
}

#[track_caller]
fn ready<T>(cookie: &SessionCookie<T>, header: &str, now: OffsetDateTime) -> Session<T>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    match cookie.open_at([header], now) {
        Opened::Ready(session) => session,
        Opened::Fresh(session) => panic!("fresh: {:?}", session.refusal().map(|error| error.reason())),
        Opened::Stored(_) => panic!("stored"),
    }
}

#[track_caller]
fn refused<T>(cookie: &SessionCookie<T>, header: &str, now: OffsetDateTime, reason: Reason)
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    match cookie.open_at([header], now) {
        Opened::Fresh(session) => assert_eq!(session.refusal().expect("a reason").reason(), reason),
        _ => panic!("it should not open"),
    }
}

fn started(cookie: &SessionCookie<Cart>) -> String {
    let mut session = cookie.open_at([""], START).into_session();
    session.items.push("tea".into());
    cookies(cookie, &session, START).cookie_header()
}

#[track_caller]
fn unchanged<T>(cookie: &SessionCookie<T>, session: &Session<T>, now: OffsetDateTime)
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    assert!(matches!(seal(cookie, session, now), Outgoing::Unchanged));
}

#[test]
fn what_is_as_it_was_is_not_written() {
    let cookie = cookie_of(ring());
    let header = started(&cookie);
    let session = ready(&cookie, &header, START);
    unchanged(&cookie, &session, START);

    let mut session = ready(&cookie, &header, START);
    session.items.push("rum".into());
    session.items.pop();
    unchanged(&cookie, &session, START);
    session.expire_at(START + Duration::days(99));
    unchanged(&cookie, &session, START);

    let mut fresh = cookie.open_at([""], START).into_session();
    unchanged(&cookie, &fresh, START);
    fresh.items.clear();
    unchanged(&cookie, &fresh, START);
}

#[test]
fn each_change_that_is_not_of_the_value_is_written_too() {
    let cookie = cookie_of(ring());
    let header = started(&cookie);
    let written = |change: fn(&mut Session<Cart>)| {
        let mut session = ready(&cookie, &header, START);
        change(&mut session);
        ready(&cookie, &cookies(&cookie, &session, START).cookie_header(), START)
    };
    let before = ready(&cookie, &header, START);

    let rotated = written(Session::rotate);
    assert_ne!(rotated.id(), before.id());
    assert_eq!(rotated.authenticated_at(), Some(START));
    assert_eq!((rotated.created_at(), rotated.expires_at()), (before.created_at(), before.expires_at()));

    let shorter = written(|session| session.expire_at(START + Duration::HOUR));
    assert_eq!(shorter.expires_at(), Some(START + Duration::HOUR));
    assert_eq!(shorter.id(), before.id());

    let owned = written(|session| session.set_subject("ada"));
    assert!(owned.subject().is_some() && before.subject().is_none());
    assert_eq!(written(|session| session.set_subject("ada")).subject(), owned.subject());
    assert_ne!(written(|session| session.set_subject("bob")).subject(), owned.subject());
    assert_eq!(owned.sequence(), Some(2));
}

#[test]
fn creation_authentication_and_expiry_survive_every_reseal() {
    let cookie = cookie_of(ring());
    let mut session = cookie.open_at([""], START).into_session();
    session.rotate();
    let mut header = cookies(&cookie, &session, START).cookie_header();
    let mut now = START;
    for n in 0..100 {
        now += Duration::HOUR;
        let mut session = ready(&cookie, &header, now);
        session.items.push(n.to_string());
        header = cookies(&cookie, &session, now).cookie_header();
    }
    let session = ready(&cookie, &header, now);
    assert_eq!(session.created_at(), Some(START));
    assert_eq!(session.authenticated_at(), Some(START));
    assert_eq!(session.expires_at(), Some(START + Duration::days(30)));
    assert_eq!((session.sealed_at(), session.sequence()), (Some(now), Some(101)));
}

#[test]
fn reads_keep_a_session_alive_without_rewriting_it() {
    let cookie = cookie_of(ring());
    let state = started(&cookie);
    let mut header = state.clone();
    let mut now = START;
    let mut renewals = 0;
    while now < START + Duration::days(30) - Duration::minutes(7) {
        now += Duration::minutes(7);
        let session = ready(&cookie, &header, now);
        if let Outgoing::Cookies(renewed) = seal(&cookie, &session, now) {
            assert!(renewed.cookie_header().starts_with("__Host-cart.seen="), "the state is left alone");
            assert!(renewed.header_len() < 150);
            header = format!("{state}; {}", renewed.cookie_header());
            renewals += 1;
        }
    }
    // Every second request is later than `renew_after`.
    assert_eq!(renewals, 30 * 24 * 60 / 14);
    refused(&cookie, &header, START + Duration::days(30), Reason::Expired);
}

#[test]
fn without_reads_the_idle_limit_ends_it() {
    let cookie = cookie_of(ring());
    let header = started(&cookie);
    ready(&cookie, &header, START + Duration::hours(2) - Duration::SECOND);
    refused(&cookie, &header, START + Duration::hours(2), Reason::Idle);
    // Another session's note of use does not help.
    let other = ready(&cookie, &started(&cookie), START + Duration::HOUR);
    let note = cookies(&cookie, &other, START + Duration::HOUR).cookie_header();
    refused(&cookie, &format!("{header}; {note}"), START + Duration::hours(2), Reason::Idle);
}

#[test]
fn a_write_renews_the_note_of_use_that_the_browser_has_and_a_logout_removes_it() {
    let cookie = cookie_of(ring());
    let state = started(&cookie);
    let now = START + Duration::HOUR;
    let note = cookies(&cookie, &ready(&cookie, &state, now), now).cookie_header();
    let header = format!("{state}; {note}");

    let mut session = ready(&cookie, &header, now);
    session.rotate();
    let set: Vec<String> = cookies(&cookie, &session, now).iter().map(str::to_owned).collect();
    assert_eq!(set.len(), 2);
    assert!(set[1].starts_with("__Host-cart.seen=") && !set[1].ends_with("Max-Age=0"));

    let mut session = ready(&cookie, &header, now);
    session.destroy();
    let set: Vec<String> = cookies(&cookie, &session, now).iter().map(str::to_owned).collect();
    let attributes = "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";
    assert_eq!(set, [format!("__Host-cart=; {attributes}"), format!("__Host-cart.seen=; {attributes}")]);
}

#[test]
fn expiry_is_checked_before_anything_is_inflated_or_decoded() {
    let ring = ring();
    let mut session = cookie_of(ring.clone()).open_at([""], START).into_session();
    session.items = vec!["tea".repeat(1000)];
    let header = cookies(&cookie_of(ring.clone()), &session, START).cookie_header();
    let small = SessionCookie::<Cart>::builder("__Host-cart", ring).lifetime(lifetime()).max_value(100);
    let small = small.build().expect("settings that work");
    refused(&small, &header, START, Reason::TooLarge);
    refused(&small, &header, START + Duration::days(31), Reason::Expired);
}

#[test]
fn a_session_moves_to_a_new_key_when_it_next_changes() {
    let (old, new) = (Key::generate(&mut OsRandom), Key::generate(&mut OsRandom));
    let (old, new) = (old.expect("random bytes"), new.expect("random bytes"));
    let header = started(&cookie_of(KeyRing::new([old.clone()]).expect("one key")));
    let activates = START + Duration::HOUR;
    let both = KeyRing::new([RingEntry::new(new).activates_at(activates), RingEntry::new(old)]);
    let both = cookie_of(both.expect("two keys"));

    let mut session = ready(&both, &header, START);
    unchanged(&both, &session, START);
    session.items.push("rum".into());
    let early = cookies(&both, &session, START).cookie_header();
    assert_eq!(ready(&both, &early, START).key_id(), session.key_id(), "the new key is not active yet");
    let late = cookies(&both, &session, activates).cookie_header();
    let moved = ready(&both, &late, activates);
    assert_ne!(moved.key_id(), session.key_id());
    assert_eq!(moved.id(), session.id());
    assert_eq!(moved.expires_at(), session.expires_at());
}

#[test]
fn without_a_key_that_may_seal_nothing_is_written_and_reading_goes_on() {
    let key = Key::generate(&mut OsRandom).expect("random bytes");
    let header = started(&cookie_of(KeyRing::new([key.clone()]).expect("one key")));
    let retired = cookie_of(KeyRing::new([RingEntry::new(key).retires_at(START)]).expect("one key"));
    let now = START + Duration::HOUR;
    let mut session = ready(&retired, &header, now);
    unchanged(&retired, &session, now);
    session.items.push("rum".into());
    let error = retired.seal_at(&session, now, &mut OsRandom, 0).expect_err("it is retired");
    assert!(matches!(error, SealError::NoSealingKey));
}

#[derive(Serialize, Deserialize)]
struct OldCart(Vec<(u64, String)>);

#[test]
fn an_older_schema_is_upgraded_and_an_unknown_one_is_fresh() {
    let ring = ring();
    let old = SessionCookie::<OldCart>::builder_with("__Host-cart", ring.clone(), || OldCart(Vec::new()));
    let old = old.schema(1).build().expect("settings that work");
    let mut session = old.open_at([""], START).into_session();
    session.0.push((3, "tea".into()));
    let header = cookies(&old, &session, START).cookie_header();

    let new = SessionCookie::<Cart>::builder("__Host-cart", ring.clone())
        .schema(2)
        .upgrade_from(1, |old: OldCart| Cart { items: old.0.into_iter().map(|(_, name)| name).collect() })
        .build()
        .expect("settings that work");
    let mut session = ready(&new, &header, START);
    assert_eq!((session.items.as_slice(), session.schema()), (["tea".to_owned()].as_slice(), Some(1)));
    unchanged(&new, &session, START);
    session.items.push("rum".into());
    let header = cookies(&new, &session, START).cookie_header();
    assert_eq!(ready(&new, &header, START).schema(), Some(2));

    // What the old program makes of the new schema, and a program of the same number with another type.
    refused(&old, &header, START, Reason::UnknownSchema);
    let other = SessionCookie::<Vec<f64>>::builder("__Host-cart", ring).schema(2).build();
    refused(&other.expect("settings that work"), &header, START, Reason::Value);
}

#[test]
fn what_does_not_fit_is_refused_with_figures_that_add_up() {
    let cookie = cookie_of(ring());
    let mut session = cookie.open_at([""], START).into_session();
    session.items = vec![noise(6000)];
    let SealError::TooLarge(error) =
        cookie.seal_at(&session, START, &mut OsRandom, 0).expect_err("it is large")
    else {
        panic!("too large was expected")
    };
    assert_eq!(error.budget, 3000);
    assert!(error.needed > 3000 && error.needed == error.parts.total());
    let Parts { value, metadata, encryption, encoding, cookies, .. } = error.parts;
    assert!(value > 2500 && metadata <= 40 && encryption == 61 && encoding > 800 && cookies < 150);
    assert_eq!(
        error.to_string(),
        format!(
            "the session needs {} octets of response header and 3000 are allowed: value {value}, metadata {metadata}, \
             encryption 61, encoding {encoding}, cookie names and attributes {cookies}",
            error.needed
        )
    );

    session.items = vec![noise(70_000)];
    assert!(matches!(cookie.seal_at(&session, START, &mut OsRandom, 0), Err(SealError::TooLarge(_))));
}

#[test]
fn what_a_browser_would_not_keep_is_too_large_by_as_much() {
    for (budget, octets) in [(Budget::new(1, 10_000), 4_200), (Budget::HAPROXY, 9_200)] {
        let builder = SessionCookie::<Cart>::builder("__Host-cart", ring()).budget(budget);
        let cookie = builder.without_compression().build().expect("settings that work");
        let mut session = cookie.open_at([""], START).into_session();
        session.items = vec![noise(octets)];
        let error = cookie.seal_at(&session, START, &mut OsRandom, 0).expect_err("a browser would drop it");
        assert!(matches!(error, SealError::TooLarge(error) if error.needed > error.budget));
    }
}

#[test]
fn what_other_sessions_took_of_the_budget_is_not_there_to_take() {
    let cookie = cookie_of(ring());
    let mut session = cookie.open_at([""], START).into_session();
    session.items = vec![noise(1000)];
    let taken = cookies(&cookie, &session, START).header_len();
    let fits = cookie.seal_at(&session, START, &mut OsRandom, 3000 - taken);
    assert!(fits.is_ok());
    let over = cookie.seal_at(&session, START, &mut OsRandom, 3001 - taken);
    assert!(matches!(over, Err(SealError::TooLarge(error)) if error.needed == error.budget + 1));
}

#[test]
fn a_stored_state_comes_back_at_three_quarters_of_the_budget() {
    let cookie = SessionCookie::<Cart>::builder("__Host-cart", ring()).allow_store().without_compression();
    let cookie = cookie.build().expect("settings that work");
    let mut session = cookie.open_at([""], START).into_session();
    session.items = vec![noise(3000)];
    let Outgoing::Stored(ops, set) = seal(&cookie, &session, START) else { panic!("it is large") };
    let [StoreOp::Save(record, _)] = ops.as_slice() else { panic!("one record: {ops:?}") };

    let mut places = Vec::new();
    for octets in (1000..2200).step_by(10) {
        let Opened::Stored(lookup) = cookie.open_at([set.cookie_header().as_str()], START) else {
            panic!("a reference was set")
        };
        let mut session = cookie.open_record_at(lookup, Some(record.clone()), START);
        assert_eq!(session.placement(), Some(Placement::Stored));
        session.items = vec![noise(octets)];
        let Outgoing::Stored(ops, set) = seal(&cookie, &session, START) else { panic!("the record changes") };
        let [StoreOp::Save(saved, _)] = ops.as_slice() else { panic!("one record: {ops:?}") };
        assert_eq!((saved.id, saved.version), (record.id, 2));
        let inline = matches!(cookie.open_at([set.cookie_header().as_str()], START), Opened::Ready(_));
        // On its way back the record stays for a moment, for requests that still hold the reference.
        assert_eq!(saved.expires_at == START + Duration::MINUTE, inline);
        places.push((inline, set.header_len()));
    }
    let largest = places.iter().filter(|(inline, _)| *inline).map(|(_, len)| *len).max();
    assert!(largest.is_some_and(|len| (2200..=2250).contains(&len)), "{largest:?}");
    assert!(places.iter().any(|(inline, _)| !inline), "what is larger stays in the store");
}

#[test]
fn a_budget_without_cookies_stores_everything_and_needs_a_store() {
    let builder = || SessionCookie::<Cart>::builder("__Host-cart", ring()).budget(Budget::stored());
    let error = builder().build().expect_err("there is no store");
    assert_eq!(error.to_string(), "budget.cookies: without a store, a state needs at least one cookie");
    let cookie = builder().allow_store().build().expect("settings that work");
    let mut session = cookie.open_at([""], START).into_session();
    session.items.push("tea".into());
    assert!(matches!(seal(&cookie, &session, START), Outgoing::Stored(..)));
}

#[test]
fn budgets_that_cannot_work_are_refused_by_name() {
    let refused = |budget| {
        let built = SessionCookie::<Cart>::builder("__Host-cart", ring()).budget(budget).build();
        built.expect_err("it cannot work").to_string()
    };
    assert_eq!(refused(Budget::new(64, 3000)), "budget.cookies: 64 are more than 63");
    assert!(
        refused(Budget::new(1, 300))
            .starts_with("budget.total: 300 octets do not carry even an empty session")
    );
}

#[test]
fn made_up_cookies_of_our_name_do_not_fill_the_response() {
    let cookie = cookie_of(ring());
    let junk: Vec<String> = (1..63).map(|n| format!("__Host-cart.{n}=x")).collect();
    let mut session = cookie.open_at([junk.join("; ").as_str()], START).into_session();
    session.items.push("tea".into());
    let set = cookies(&cookie, &session, START);
    assert!(set.header_len() <= 3000 && set.iter().count() > 20);
    let header = format!("{}; __Host-cart.seen=x; {}", set.cookie_header(), junk.join("; "));
    let mut session = ready(&cookie, &header, START);
    session.destroy();
    assert!(cookies(&cookie, &session, START).header_len() <= 3000);
}

#[cfg(feature = "json")]
#[test]
fn json_refuses_what_it_would_bring_back_as_something_else() {
    #[expect(clippy::option_option, reason = "JSON has one null for both")]
    #[derive(Default, Serialize, Deserialize)]
    struct Options(Option<Option<bool>>, Option<()>, Option<f64>, f64);
    let builder = SessionCookie::<Options>::builder("options", ring()).format(hardtack::Format::Json);
    let cookie = builder.build().expect("settings that work");
    for value in [
        Options(Some(None), None, None, 0.0),
        Options(None, Some(()), None, 0.0),
        Options(None, None, Some(f64::NAN), 0.0),
        Options(None, None, None, f64::NAN),
    ] {
        let mut session = cookie.open_at([""], START).into_session();
        *session = value;
        let sealed = cookie.seal_at(&session, START, &mut OsRandom, 0);
        assert!(matches!(sealed, Err(SealError::Encode(_))));
    }
}

#[test]
fn a_type_without_a_default_starts_as_the_builder_says() {
    #[derive(Serialize, Deserialize)]
    struct Game {
        lives: u8,
    }
    let cookie = SessionCookie::builder_with("game", ring(), || Game { lives: 3 }).build();
    let cookie = cookie.expect("settings that work");
    let mut session = cookie.open([""]).into_session();
    session.lives -= 1;
    session.destroy();
    assert_eq!(session.lives, 3);
    assert!(matches!(cookie.seal(&session), Ok(Outgoing::Unchanged)));
}

#[test]
fn neither_debug_output_nor_errors_show_a_session() {
    let cookie = cookie_of(ring());
    let mut session = cookie.open_at([""], START).into_session();
    session.items.push("hunter2".into());
    let set = cookies(&cookie, &session, START);
    let session = ready(&cookie, &set.cookie_header(), START);
    let shown = format!("{session:?} {set:?} {cookie:?} {:?} {:?}", session.id(), session.subject());
    let token = set.cookie_header();
    assert!(!shown.contains("hunter2") && !shown.contains(&token[12..40]), "{shown}");
    let opened = cookie.open_at(["__Host-cart=AAAA"], START).into_session();
    let refusal = opened.refusal().expect("something came");
    assert_eq!(refusal.to_string(), "the session cookie was not accepted");
}
