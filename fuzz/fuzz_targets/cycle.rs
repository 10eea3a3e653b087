#![no_main]
//! Whatever a handler does, the next request has the session that it left, the response stays within the budget, and
//! nothing of an older state remains in the browser. The input is the settings in five bytes, and steps.

use hardtack::{Budget, Outgoing, SealError};
use hardtack_fuzz::cycle::{Browser, Store, Value, cookie, step};
use hardtack_fuzz::{Input, START, Seeded, ring};
use libfuzzer_sys::fuzz_target;
use time::Duration;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let budget = Budget::new(1 + input.byte() % 63, 600 + 64 * usize::from(input.byte()));
    let (keys, flags, mut first) = (1 + usize::from(input.byte() % 4), input.byte(), input.byte());
    let (mut browser, mut store, mut random) = (Browser::default(), Store::default(), Seeded(1));
    let (mut expected, mut now) = (Value::default(), START);
    let mut made = (first, cookie(ring(keys, first.into()), budget, flags));
    while !input.0.is_empty() {
        if made.0 != first {
            made = (first, cookie(ring(keys, first.into()), budget, flags));
        }
        let cookie = &made.1;
        let mut session = store.open(cookie, &browser, now);
        assert_eq!(*session, expected);
        step(&mut input, &mut session, &mut browser, &mut first);
        let (ops, cookies) = match cookie.seal_at(&session, now, &mut random, 0) {
            Ok(Outgoing::Cookies(cookies)) => (Vec::new(), cookies),
            Ok(Outgoing::Stored(ops, cookies)) => (ops, cookies),
            Ok(Outgoing::Unchanged) if *session == expected => continue,
            Err(SealError::TooLarge(_)) => continue,
            other => panic!("{other:?}"),
        };
        assert!(cookies.header_len() <= budget.total());
        ops.into_iter().for_each(|op| store.run(op, now));
        browser.receive(&cookies, budget);
        expected = session.clone();
        assert_eq!(*store.open(cookie, &browser, now), expected);
        now += Duration::seconds(i64::from(input.byte()));
    }
});
