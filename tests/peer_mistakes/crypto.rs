//! Crypto and context.

use hardtack::store::Expect;
use hardtack::{Opened, Outgoing, Reason, Secret, SessionCookie, StoreOp};
use serde::{Deserialize, Serialize};
use time::Duration;

use crate::browser::Browser;
use crate::{
    Cart, NAME, NOW, SHOP, builder, built, cart, chunked, fresh, header, ready, refused, ring, seal, visit,
};

fn of(app: &str, name: &str) -> SessionCookie<Cart> {
    built(SessionCookie::builder(name, ring()).app(app))
}

/// A token of one purpose accepted as another (CVE-2023-48309; two layers that share keys in seshcookie).
#[test]
fn a_token_opens_for_its_own_application_and_cookie_only() {
    let value = header(&of("shop", "session"), cart(9)).split_off("session=".len());
    ready(&of("shop", "session"), &format!("session={value}"), NOW);
    for (app, name) in [("shop", "admin"), ("blog", "session"), ("", "session"), ("Shop", "session")] {
        refused(&of(app, name), &format!("{name}={value}"), NOW, Reason::Forged);
    }
}

/// The same for the other things that are sealed under a session's keys.
#[test]
fn a_record_is_no_cookie_and_a_cookie_no_record() {
    let cookie = built(builder().allow_store());
    let mut session = fresh(&cookie, "");
    *session = cart(9_000);
    let Ok(Outgoing::Stored(mut ops, cookies)) = seal(&cookie, &session, NOW) else {
        panic!("it is too large")
    };
    let Some(StoreOp::Save(mut record, Expect::Absent)) = ops.pop() else { panic!("one new record") };
    let reference = cookies.cookie_header();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let as_cookie = base64::Engine::encode(&engine, &record.sealed);
    refused(&cookie, &format!("{NAME}={as_cookie}"), NOW, Reason::Forged);

    let token = reference.strip_prefix("__Host-session=").expect("one cookie");
    record.sealed = base64::Engine::decode(&engine, token).expect("base64url");
    let Opened::Stored(lookup) = cookie.open_at([&reference], NOW) else { panic!("it is stored") };
    let session = cookie.open_record_at(lookup, Some(record), NOW);
    assert_eq!(session.refusal().map(|refusal| refusal.reason()), Some(Reason::Forged));
}

/// Concatenated context that can be shifted (CVE-2026-6873).
#[test]
fn nothing_moves_from_the_applications_name_into_the_cookies() {
    let value = header(&of("shop", "session"), cart(9)).split_off("session=".len());
    for (app, name) in [("shops", "ession"), ("sho", "psession"), ("shopsession", "s"), ("", "shopsession")] {
        refused(&of(app, name), &format!("{name}={value}"), NOW, Reason::Forged);
    }
}

/// A MAC over the wrong bytes (CVE-2026-40372), and plaintext exposed after a failed tag (RUSTSEC-2023-0096): `fresh`
/// sees to it that nothing of the value comes out.
#[test]
fn no_bit_of_a_token_can_be_changed() {
    let cookie = built(builder());
    let whole = header(&cookie, cart(40)).into_bytes();
    for bit in NAME.len() * 8 + 8..whole.len() * 8 {
        refuses_flipped(&cookie, &whole, bit);
    }
}

/// The same for a token in two cookies, the chunks' headers included: no change makes anything else open.
#[test]
fn no_bit_of_a_chunk_can_be_changed() {
    let cookie = chunked(2);
    let whole = header(&cookie, cart(3_000)).into_bytes();
    let second = whole.iter().position(|&byte| byte == b';').expect("two cookies");
    let heads = [NAME.len() + 1, second + "; __Host-session.1=".len()];
    assert!(heads.iter().all(|head| whole[head + 6] == b'.'));
    for head in heads {
        for bit in head * 8..(head + 40) * 8 {
            refuses_flipped(&cookie, &whole, bit);
        }
    }
    // Of the rest each octet once: what is before the MAC is checked bit by bit above.
    for (octet, bit) in (0..whole.len()).zip((0..8).cycle()) {
        let in_a_value = (heads[0]..second).contains(&octet) || octet >= heads[1];
        if in_a_value {
            refuses_flipped(&cookie, &whole, octet * 8 + bit);
        }
    }
}

/// The same for the note of the last request, which is authenticated on its own.
#[test]
fn no_bit_of_the_seen_cookie_can_be_changed() {
    let (cookie, mut browser) = (built(builder()), Browser::default());
    visit(&cookie, &mut browser, NOW, |session| **session = cart(9));
    let later = NOW + Duration::MINUTE * 100;
    visit(&cookie, &mut browser, later, |_| {});
    let whole = browser.send(SHOP, later).join("; ").into_bytes();
    // The note alone keeps the session alive by now.
    let idle = NOW + Duration::MINUTE * 130;
    assert!(matches!(cookie.open_at([&whole], idle), Opened::Ready(_)));
    let seen = whole.len() - 32;
    assert!(whole[..seen].ends_with(b".seen="));
    for bit in seen * 8..whole.len() * 8 {
        assert!(matches!(cookie.open_at([flipped(&whole, bit)].iter(), idle), Opened::Fresh(_)));
    }
}

/// With this bit changed nothing opens, and not for what is inside: that was not even looked at.
#[track_caller]
fn refuses_flipped(cookie: &SessionCookie<Cart>, header: &[u8], bit: usize) {
    let session = fresh(cookie, flipped(header, bit));
    assert!(session.refusal().is_none_or(|refusal| refusal.reason() <= Reason::Forged));
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// A leaked key becomes remote code execution through deserialization (CVE-2018-15133, CVE-2024-55556): whatever an
/// authentic token holds, it is a value of the session's type or nothing.
#[test]
fn an_authentic_token_of_another_type_is_a_fresh_session() {
    #[derive(Default, Serialize, Deserialize)]
    struct Gadget {
        class: u64,
        arguments: Vec<u8>,
    }
    let gadgets = SessionCookie::<Gadget>::builder(NAME, ring()).build().expect("settings that work");
    let mut session = gadgets.open_at([""], NOW).into_session();
    *session = Gadget { class: u64::MAX, arguments: b"calc.exe".to_vec() };
    let sealed = gadgets.seal_at(&session, NOW, &mut crate::Seeded(1), 0).expect("it fits");
    let Outgoing::Cookies(cookies) = sealed else { panic!("cookies were expected") };
    refused(&built(builder()), &cookies.cookie_header(), NOW, Reason::Value);
}

/// Decompression bombs (CVE-2024-28176, CVE-2024-28180).
#[test]
fn what_inflates_beyond_the_cap_is_neither_opened_nor_sealed() {
    let bomb = Cart { note: "0".repeat(4 << 20) };
    let builder = || SessionCookie::builder(NAME, ring());
    let careless = built(builder().max_value(8 << 20));
    let header = header(&careless, bomb.clone());
    assert!(header.len() < 1_500, "{}", header.len());
    let cookie = built(builder());
    refused(&cookie, &header, NOW, Reason::TooLarge);
    let mut session = fresh(&cookie, "");
    *session = bomb;
    assert!(seal(&cookie, &session, NOW).is_err());
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
struct Login {
    user: String,
    access_token: Secret<String>,
}

/// Session cookies in error reports and logs (crates.io).
#[test]
fn neither_debug_output_nor_errors_show_a_session() {
    let cookie =
        SessionCookie::<Login>::builder(NAME, ring()).allow_store().build().expect("settings that work");
    let secret = crate::noise(3_500);
    let mut session = cookie.open_at([""], NOW).into_session();
    *session = Login { user: "lovelace".into(), access_token: Secret::new("hunter2".into()) };
    session.set_subject("lovelace@example.com");
    let mut shown =
        vec![format!("{session:?}"), format!("{cookie:?}"), format!("{:?}", session.access_token)];
    let Ok(Outgoing::Cookies(inline)) = cookie.seal_at(&session, NOW, &mut crate::Seeded(1), 0) else {
        panic!()
    };
    session.access_token = Secret::new(secret.clone());
    let stored = cookie.seal_at(&session, NOW, &mut crate::Seeded(2), 0).expect("it goes to the store");
    shown.extend([format!("{inline:?}"), format!("{stored:?}"), format!("{:?}", ring())]);
    let Outgoing::Stored(ops, reference) = stored else { panic!("it goes to the store") };
    let [StoreOp::Save(record, _)] = ops.as_slice() else { panic!("one record") };
    let opened = cookie.open_at([&inline.cookie_header()], NOW);
    let lookup = cookie.open_at([&reference.cookie_header()], NOW);
    let forged = cookie.open_at([&format!("{}A", inline.cookie_header())], NOW);
    shown.extend([
        format!("{opened:?}"),
        format!("{lookup:?}"),
        format!("{forged:?}"),
        format!("{record:?}"),
    ]);
    let refusal = forged.into_session().refusal().expect("it was refused");
    shown.extend([format!("{refusal} {refusal:?}"), format!("{}", refusal.reason())]);
    session.user = crate::noise(99_999);
    let error = cookie.seal_at(&session, NOW, &mut crate::Seeded(3), 0).expect_err("it is too large");
    shown.extend([format!("{error} {error:?}"), format!("{:?}", hardtack::Key::try_from(&b"hunter2"[..]))]);

    let session = opened.into_session();
    let (id, subject) = (session.id().expect("it is not fresh"), session.subject().expect("it was set"));
    let bytes = [id.as_bytes().as_slice(), subject.as_bytes(), record.id.as_bytes(), &record.sealed];
    let texts =
        [inline.cookie_header(), reference.cookie_header()].map(|header| header[NAME.len() + 1..].to_owned());
    let mut hidden = vec!["lovelace".to_owned(), "hunter2".into(), secret];
    hidden.extend(texts);
    for bytes in bytes {
        let bytes = &bytes[..8];
        hidden.extend([hex::encode(bytes), hex::encode_upper(bytes), format!("{bytes:?}")[1..20].to_owned()]);
    }
    for shown in &shown {
        for hidden in &hidden {
            let part = &hidden[..hidden.len().min(12)];
            assert!(!shown.contains(part), "{part} is in {shown}");
        }
    }
}
