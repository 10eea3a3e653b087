#![no_main]
//! Of all bytes there are, only the very tokens that were sealed open, to what was sealed, and only as what they are
//! for. The input is `(which, position, change)` and bytes that are taken for a binding and a plaintext or token.

use hardtack::fuzzing::{Tokens, from_text, rewrite, to_text};
use hardtack_fuzz::ring;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static TOKENS: [Tokens; 2] = [Tokens::cookies(&ring(2, 0)), Tokens::records(&ring(2, 0))];
}
fuzz_target!(|data: &[u8]| TOKENS.with(|[cookies, records]| {
    let Some((&[which, high, low, change], data)) = data.split_first_chunk() else { return };
    let (bound, bytes) = data.split_at(usize::from(which % 17).min(data.len()));
    let other = if bound.is_empty() { b"x" } else { &bound[1..] };
    let sealed = [(0, 1), (0, 2), (1, 1)].map(|(key, nonce)| cookies.seal(key, bound, &[nonce; 24], bytes));
    for token in &sealed {
        assert_eq!(cookies.open(bound, token).as_deref(), Some(bytes));
        assert_eq!(cookies.open_text(bound, &to_text(token)).as_deref(), Some(bytes));
        assert_eq!(records.open(bound, token), None);
        assert_eq!(cookies.open(other, token), None);
        let at = usize::from(u16::from_be_bytes([high, low])) % token.len();
        let mut changed = token.clone();
        changed[at] ^= change;
        let spliced = [&token[..at], &sealed[usize::from(which) % 3][at..]].concat();
        for forged in [changed, spliced, token[..at].to_vec(), to_text(token).into_bytes()] {
            assert_eq!(cookies.open(bound, &forged).is_some(), sealed.contains(&forged));
        }
    }
    // The fuzzer sees what is compared and learns whole tokens by heart, so bytes of its own may open: if they are what
    // sealing gives.
    if let Some(opened) = cookies.open(bound, bytes) {
        let nonce = bytes[5..].first_chunk().expect("a token has a nonce");
        assert!([0, 1].iter().any(|&key| cookies.seal(key, bound, nonce, &opened) == bytes));
    }
    // There is one text for each token, and one plaintext for its fields.
    let text = String::from_utf8_lossy(bytes);
    assert!(from_text(&text).is_none_or(|token| to_text(&token) == text));
    assert!(rewrite(bytes).is_none_or(|written| written == bytes));
}));
