#![no_main]
//! Nothing inflates to more than the cap, nor is more allocated for it; what inflates comes back when it is deflated
//! again, and what is deflated comes back when it is inflated. The input is the cap in two bytes, and a segment.

use hardtack::fuzzing::{deflate, inflate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cap, data)) = data.split_first_chunk() else { return };
    let cap = usize::from(u16::from_be_bytes(*cap));
    if let Some(public) = inflate(data, cap) {
        assert!(public.len() <= cap && public.capacity() <= cap);
        assert!(data.len() % 32 == 0, "every segment is padded");
        comes_back(&public);
        // No room to spare is as good as a lot, and one octet less is too little.
        assert_eq!(inflate(data, public.len()), Some(public.clone()));
        assert!(public.is_empty() || inflate(data, public.len() - 1).is_none());
        // A segment counts to its last octet.
        for end in [data.len() - 1, data.len() - data.len().min(32)] {
            assert_eq!(inflate(&data[..end], cap), None);
        }
        assert_eq!(inflate(&[data, &[0; 32]].concat(), cap), None);
    }
    comes_back(data);
    comes_back(&data.repeat(1 + cap / (1 + data.len())));
});

#[track_caller]
fn comes_back(public: &[u8]) {
    let Some(segment) = deflate(public) else { return };
    assert!(segment.len() < public.len() && segment.len() % 32 == 0);
    assert_eq!(inflate(&segment, public.len()).as_deref(), Some(public));
    assert_eq!(inflate(&segment, public.len() - 1), None);
}
