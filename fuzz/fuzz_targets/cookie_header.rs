#![no_main]
//! No `Cookie` header opens to anything but what was sealed, and nothing that stands behind the latest sealed token
//! keeps it from opening. The input is a header, written as `hardtack_fuzz::header::fields` says.

use hardtack::{Opened, Placement};
use hardtack_fuzz::START;
use hardtack_fuzz::header::{COOKIE, SEALED, fields};
use libfuzzer_sys::fuzz_target;
use time::Duration;

fuzz_target!(|data: &[u8]| {
    let [short, long] = &*SEALED;
    let mut fields = fields(data, &[&short.header, &long.header]);
    let now = START + Duration::HOUR;
    let session = COOKIE.open_at(&fields, now).into_session();
    let sealed = SEALED.iter().find(|sealed| sealed.value == *session);
    assert!(if session.is_fresh() { session.is_empty() } else { sealed.is_some() });
    if let (Some(sealed), Some(Placement::Cookies(1))) = (sealed, session.placement()) {
        assert!(fields.iter().any(|field| String::from_utf8_lossy(field).contains(&sealed.token)));
    }
    fields.insert(0, short.header.clone().into_bytes());
    let Opened::Ready(session) = COOKIE.open_at(&fields, now) else { panic!("it is the first") };
    assert_eq!(*session, short.value);
});
