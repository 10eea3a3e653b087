//! Keys, as far as it concerns the core that does no I/O.

use hardtack::{Key, KeyError, KeyRing, Reason, RingEntry, RingError, Secret, SessionCookie};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{Cart, NAME, NOW, cart, header, key, ready, refused};

fn with(keys: Vec<RingEntry>) -> SessionCookie<Cart> {
    let ring = KeyRing::new(keys).expect("the keys differ");
    SessionCookie::builder(NAME, ring).build().expect("settings that work")
}

/// A rolling deployment switches writers before the readers know the key (mastodon PR 26023).
#[test]
fn a_key_is_known_everywhere_before_it_seals_anywhere() {
    let new = || RingEntry::new(key(2)).activates_at(NOW + Duration::HOUR);
    let deployed = || with(vec![key(1).into(), new()]);
    let (ahead, behind) = (deployed(), deployed());
    assert_eq!(*ready(&with(vec![key(1).into()]), &header(&ahead, cart(9)), NOW), cart(9));
    // A node whose clock is an hour ahead seals under the new key already, and the others open it.
    let eager = with(vec![key(1).into(), RingEntry::new(key(2)).activates_at(NOW)]);
    assert_eq!(*ready(&behind, &header(&eager, cart(9)), NOW), cart(9));
}

/// The oldest key signs (CVE-2025-47278).
#[test]
fn the_first_key_of_a_list_seals_and_the_latest_activated_of_a_ring() {
    let listed = KeyRing::new([key(1), key(2), key(3)]).expect("three keys");
    assert_eq!(listed.sealing_key(NOW), listed.key_ids().next());
    let since = |days| NOW - Duration::days(days);
    let ring = KeyRing::new([
        RingEntry::new(key(1)).activates_at(since(90)),
        RingEntry::new(key(2)).activates_at(since(1)),
        RingEntry::new(key(3)).activates_at(since(30)),
    ])
    .expect("three keys");
    assert_eq!(ring.sealing_key(NOW), ring.key_ids().nth(1));
}

/// A string where a list was meant becomes keys of one letter (the same class of mistakes).
#[test]
fn letters_are_no_keys() {
    assert!(matches!(KeyRing::parse("s,e,c,r,e,t"), Err(RingError::Key { number: 1, .. })));
    assert!(matches!(KeyRing::parse("secret"), Err(RingError::Key { number: 1, .. })));
    assert!(matches!(KeyRing::parse(""), Err(RingError::Empty)));
    let text = key(1).expose_base64();
    assert!(text.chars().all(|letter| letter.to_string().parse::<Key>().is_err()));
    assert_eq!(KeyRing::parse(&text).map(|ring| ring.key_ids().count()).ok(), Some(1));
}

/// A changed derivation logs everyone out (rails #46500). This is the worked example of `manual/format.md`: it opens in
/// every release that knows version 1.
#[test]
fn a_token_of_the_first_release_opens() {
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Demo {
        user: String,
        visits: u32,
        secret: Secret<String>,
    }
    let bytes =
        hex::decode("23f928fe1e3247b2fa24149d62d1845a6ceb55e26d9092a9d047253746bd5cb3").expect("hexadecimal");
    let ring = KeyRing::new([Key::try_from(bytes.as_slice()).expect("a key")]).expect("one key");
    let cookie =
        SessionCookie::<Demo>::builder(NAME, ring).app("demo").schema(1).build().expect("settings that work");
    let header = "__Host-session=ASmMjbQFbrgPSuhvCkE5opr8jsrkwDXKpugEc3pLyylKl9ELr7X3wrkefzAgUa-XazCt_dEhz1XQrtA_e\
                  498L_vrc_4KVUD9TGtMujygHQuTTbWfKWc1F5sVK1A_BcJTyfNNYxfFYjAtjWA";
    let now = OffsetDateTime::from_unix_timestamp(1_760_003_600).expect("a time");
    let session = cookie.open_at([header], now).into_session();
    assert_eq!((session.user.as_str(), session.visits), ("ada", 3));
    assert_eq!(session.secret.expose(), "s3cr3t");
    assert_eq!(session.sequence(), Some(7));
}

/// Known or default secrets in production (CVE-2023-27524).
#[test]
fn the_secrets_that_everybody_knows_are_refused() {
    let refused = |bytes: &[u8]| Key::try_from(bytes).expect_err("everybody knows it");
    assert_eq!("0x3kQ8m4pYzR7vJc1nTfWb5sLd9hGa2eUi6oXyKqBtE=".parse::<Key>().err(), Some(KeyError::Example));
    assert_eq!(refused(b"CHANGE_ME_TO_A_COMPLEX_RANDOM_SE"), KeyError::Text);
    assert_eq!(refused(b"thisismyscretkey"), KeyError::Length { bytes: 16 });
    assert_eq!(refused(&[0; 32]), KeyError::Repetitive);
}

/// A key that leaked can be taken out of a ring, and what it sealed goes with it.
#[test]
fn what_a_revoked_key_sealed_does_not_open() {
    let sealed = header(&with(vec![key(1).into()]), cart(9));
    let revoked = with(vec![key(2).into(), RingEntry::new(key(1)).revoked_at(NOW)]);
    refused(&revoked, &sealed, NOW, Reason::UnknownKey);
}
